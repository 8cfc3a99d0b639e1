//! Statements to instructions ready to run: the row is found, operands are typed and become register slots, constants and special registers become
//! registers too, labels become places, variables become addresses.

use crate::exec::code::{CallSite, Code, Origin, Preload, Roles};
use crate::exec::regs::File;
use crate::exec::{ABSENT, Inst, Mem};
use crate::liveness::{Slots, Touch, allocate};
use crate::module::{LoadError, LoadErrorKind};
use crate::ptx::{Body, Function, Operand, Stmt, Unit};
use std::cell::OnceCell;
use std::collections::HashMap;

mod call;
mod graph;
mod layout;
mod operand;
mod statement;

use graph::Graph;
pub use layout::{Layout, param_offsets};

type Result<T> = std::result::Result<T, LoadError>;

/// What a kernel's decoding needs of its module.
pub struct Env<'a> {
    /// The module.
    pub unit: &'a Unit<'a>,
    /// Its text.
    pub source: &'a str,
    /// [`Env::functions`] of the module.
    pub functions: HashMap<&'a str, &'a Function<'a>>,
    /// Addresses of functions, as pointers to them hold them.
    pub addresses: &'a HashMap<&'a str, u64>,
    /// See [`Env::taken`].
    pub taken: OnceCell<Vec<&'a Function<'a>>>,
    /// Addresses of `.global` and `.const` variables.
    pub globals: &'a HashMap<&'a str, u64>,
    /// Use the functions for any processor.
    pub base_tier: bool,
}

impl<'a> Env<'a> {
    /// The functions of a module by name: a definition rather than a declaration.
    pub fn functions(unit: &'a Unit<'a>) -> HashMap<&'a str, &'a Function<'a>> {
        let declared = unit.functions.iter().filter(|f| f.body.is_none());
        declared.chain(unit.functions.iter().filter(|f| f.body.is_some())).map(|f| (f.name, f)).collect()
    }

    /// The functions whose address the module takes.
    fn taken(&self) -> &[&'a Function<'a>] {
        self.taken.get_or_init(|| graph::taken(self.unit))
    }

    fn function(&self, name: &str) -> Option<&'a Function<'a>> {
        self.functions.get(name).copied()
    }
}

/// A statement refused.
pub fn refuse(stmt: &Stmt<'_>, kind: LoadErrorKind, reason: impl Into<String>) -> LoadError {
    let text = if stmt.text.is_empty() { stmt.op } else { stmt.text };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    LoadError { line: stmt.line, text, reason: reason.into(), kind }
}

/// An instruction whose registers are still numbers of the function's, see [`Reg`].
struct Draft {
    inst: Inst,
    /// What each place of `inst.o` is.
    places: [Option<(Reg, Use)>; 6],
    /// What each element of `inst.list` is; empty when the list holds no registers.
    elements: Vec<(Reg, Use)>,
    guard: Option<(Reg, Use)>,
    /// Where it may go besides the next instruction, in the function.
    targets: Vec<u32>,
    falls: bool,
}

impl Draft {
    /// Every register that it mentions.
    fn registers(&self) -> impl Iterator<Item = &(Reg, Use)> {
        self.places.iter().flatten().chain(&self.elements).chain(&self.guard)
    }
}

/// A register before slots are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reg {
    /// Number in [`Body::regs`], its file and bits.
    Own(u32, File, u32),
    /// Number in `Preloads`.
    Preload(u32, File),
    /// What `_` names.
    Trash(File),
}

impl Reg {
    fn file(self) -> File {
        match self {
            Reg::Own(_, file, _) | Reg::Preload(_, file) | Reg::Trash(file) => file,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Reg::Own(_, _, bits) => bits,
            Reg::Preload(_, file) | Reg::Trash(file) => match file {
                File::R32 => 32,
                File::R64 => 64,
                File::Pred => 1,
            },
        }
    }
}

/// What an instruction does with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    Write,
    /// An address, or a value that decides control.
    Decide,
}

/// Constants and special registers of a kernel, each once; and its calls.
#[derive(Default)]
struct Preloads {
    list: Vec<(File, Preload)>,
    known: HashMap<(File, Preload), u32>,
    /// The calls, in the order of the text.
    calls: Vec<CallSite>,
}

impl Preloads {
    fn reg(&mut self, file: File, value: Preload) -> Reg {
        let list = &mut self.list;
        let n = *self.known.entry((file, value)).or_insert_with(|| {
            list.push((file, value));
            list.len() as u32 - 1
        });
        Reg::Preload(n, file)
    }
}

/// The file of a declared type.
fn file_of(bits: u32) -> File {
    match bits {
        1 => File::Pred,
        64 => File::R64,
        _ => File::R32,
    }
}

/// Decodes a kernel and the functions it calls.
pub fn kernel<'a>(env: &Env<'a>, entry: &'a Function<'a>) -> Result<Code> {
    let graph = Graph::new(env, entry)?;
    let layout = Layout::new(env, &graph)?;
    let functions = &graph.functions;
    let mut starts = HashMap::new();
    let mut at = 0;
    for f in functions {
        starts.insert(f.name, at);
        at += body(f).stmts.len() as u32;
    }
    let mut preloads = Preloads::default();
    let [frame, stack] = [Preload::Frame, Preload::Stack].map(|p| preloads.reg(File::R64, p));
    let mut code = Code {
        insts: Vec::new(),
        roles: Vec::new(),
        origins: Vec::new(),
        slots: [1, 1, 1],
        preload: Vec::new(),
        unset: Vec::new(),
        static_shared: layout.static_shared,
        dynamic_at: layout.dynamic_at,
        local_bytes: layout.local_bytes,
        stack_bytes: layout.stack_bytes,
        calls: Vec::new(),
        frame: 0,
        stack: 0,
        ranges: Vec::new(),
        taken: Vec::new(),
    };
    let mut drafts = Vec::new();
    for (n, f) in functions.iter().enumerate() {
        let decoder =
            statement::Decoder { env, function: f, number: n, graph: &graph, layout: &layout, starts: &starts };
        let start = starts[f.name];
        let list: Result<Vec<Draft>> = body(f).stmts.iter().map(|s| decoder.draft(s, start, &mut preloads)).collect();
        let list = list?;
        let first = code.slots;
        let slots = slots(&list, body(f), &mut code.slots, &mut code.unset);
        code.ranges.push(std::array::from_fn(|k| (first[k] as u32, code.slots[k] as u32)));
        drafts.push((list, slots));
    }
    // Constants stand behind all other registers of their file.
    let first = code.slots;
    let mut preload_slots = Vec::new();
    for (file, value) in &preloads.list {
        let slot = &mut code.slots[*file as usize];
        preload_slots.push(*slot as u32);
        code.preload.push((*file, *slot as u32, *value));
        *slot += 1;
    }
    let slot_of = |r: Reg| if let Reg::Preload(n, _) = r { preload_slots[n as usize] } else { 0 };
    (code.frame, code.stack) = (slot_of(frame), slot_of(stack));
    code.calls = preloads.calls;
    code.taken = graph.taken.iter().map(|&n| layout.target(env, &graph, &starts, n)).collect();
    debug_assert!(first.iter().zip(&code.slots).all(|(a, b)| a <= b));
    for ((list, slots), f) in drafts.into_iter().zip(functions) {
        for (draft, stmt) in list.into_iter().zip(&body(f).stmts) {
            let slot = |r: Reg| match r {
                Reg::Own(n, ..) => slots[n as usize],
                Reg::Preload(n, _) => preload_slots[n as usize],
                Reg::Trash(_) => 0,
            };
            let (inst, roles) = finish(draft, &slot);
            code.insts.push(inst);
            code.roles.push(roles);
            let offset =
                if stmt.text.is_empty() { 0 } else { stmt.text.as_ptr() as usize - env.source.as_ptr() as usize };
            code.origins.push(Origin { text: (offset as u32, (offset + stmt.text.len()) as u32), loc: stmt.loc });
        }
    }
    Ok(code)
}

fn body<'a>(f: &'a Function<'a>) -> &'a Body<'a> {
    f.body.as_ref().expect("only functions with a body are decoded")
}

/// Slots of a function's registers, behind those given out so far; and those that it may read before it writes them.
fn slots(list: &[Draft], body: &Body<'_>, next: &mut [usize; 3], unset: &mut Vec<(File, u32)>) -> Vec<u32> {
    let mut slots = vec![0; body.regs.len()];
    for file in [File::R32, File::R64, File::Pred] {
        // Numbers of those that are used, within the file, so that the sets are small.
        let mut dense = vec![u32::MAX; body.regs.len()];
        let mut own = Vec::new();
        for &(reg, _) in list.iter().flat_map(Draft::registers) {
            if let Reg::Own(r, f, _) = reg
                && f == file
                && dense[r as usize] == u32::MAX
            {
                dense[r as usize] = own.len() as u32;
                own.push(r);
            }
        }
        let touches: Vec<Touch> = list.iter().map(|d| touch(d, file, &dense)).collect();
        let Slots { given, count, early } = allocate(&touches, own.len());
        unset.extend(early.iter().map(|&n| (file, next[file as usize] as u32 + given[n as usize])));
        for (n, &r) in own.iter().enumerate() {
            slots[r as usize] = next[file as usize] as u32 + given[n];
        }
        next[file as usize] += count as usize;
    }
    slots
}

fn touch(d: &Draft, file: File, dense: &[u32]) -> Touch {
    let mut t = Touch { targets: d.targets.clone(), falls: d.falls, ..Touch::default() };
    for &(reg, used) in d.registers() {
        if let Reg::Own(n, f, _) = reg
            && f == file
        {
            let n = dense[n as usize];
            if used == Use::Write {
                t.writes.push(n);
            }
            // A guarded write may leave the old value.
            if used != Use::Write || d.guard.is_some() {
                t.reads.push(n);
            }
        }
    }
    t
}

/// Registers to slots.
fn finish(draft: Draft, slot: &dyn Fn(Reg) -> u32) -> (Inst, Roles) {
    let Draft { mut inst, places, elements, guard, .. } = draft;
    let (mut reads, mut uses, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    let mut files = [File::R32; 6];
    let mut note = |reg: Reg, used: Use| {
        let s = slot(reg);
        match used {
            Use::Read => reads.push((reg.file(), s)),
            Use::Decide => uses.push((reg.file(), s)),
            Use::Write => writes.push((reg.file(), s, reg.bits())),
        }
        s
    };
    for (k, place) in places.iter().enumerate() {
        if let Some((reg, used)) = *place {
            inst.o[k] = note(reg, used);
            files[k] = reg.file();
        }
    }
    if !elements.is_empty() {
        inst.list = elements.iter().map(|&(reg, used)| note(reg, used)).collect();
    }
    inst.guard = guard.map_or(ABSENT, |(reg, _)| slot(reg));
    let roles = Roles { reads: reads.into(), uses: uses.into(), writes: writes.into(), files };
    (inst, roles)
}

fn is_label(operand: &Operand<'_>) -> Option<u32> {
    if let Operand::Label(at) = operand { Some(*at) } else { None }
}

fn no_mem() -> Mem {
    Mem::default()
}
