//! A loaded PTX module: its kernels as a launcher sees them, and launching one.

use crate::config::Model;
use crate::decode::{self, Env, param_offsets};
use crate::device::{Device, Launch};
use crate::exec::code::Code;
use crate::exec::{LaunchInfo, Limits, run};
use crate::listing::Listing;
use crate::memory::space::Label;
use crate::memory::{LaunchMemory, LaunchShape};
use crate::ptx::{self, Function, Init, Space, Unit, Variable};
use crate::report::{Fault, FaultKind, Report, Site};
use crate::{LaunchStats, OutOfMemory};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loaded PTX module. Its global variables live in the device it was loaded for until it is dropped.
pub struct Module {
    device: Device,
    text: Arc<str>,
    files: Arc<[(u32, String)]>,
    kernels: Vec<Kernel>,
    codes: Vec<Arc<Code>>,
    globals: Vec<(String, u64, u64)>,
}

impl Drop for Module {
    fn drop(&mut self) {
        for (_, address, _) in &self.globals {
            // The address came from the device; nobody else frees it, or the fault is theirs and was reported there.
            let _ = self.device.free(*address);
        }
    }
}

/// What a launcher needs to know of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The entry's name.
    pub name: String,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the whole parameter block.
    pub param_bytes: u32,
    /// Statically declared shared bytes.
    pub static_shared: u32,
    /// Local bytes of one thread.
    pub local_bytes: u32,
    /// `.const` bytes of the module.
    pub const_bytes: u32,
    /// Threads of a block that the kernel allows (`.maxntid`, `.reqntid`, else the model's limit).
    pub max_threads: u32,
    /// `.reqntid`, if given.
    pub required_block: Option<[u32; 3]>,
    /// `.minnctapersm`, if given.
    pub min_blocks_per_sm: Option<u32>,
    /// PTX ISA version times ten.
    pub ptx_version: u32,
    /// `.target` times one: 80 for `sm_80`.
    pub target: u32,
}

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Offset in the parameter block.
    pub offset: u32,
}

/// Why a module was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Line of the PTX text, from 1; 0 for the module as a whole.
    pub line: u32,
    /// The text of the statement.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// What kind of refusal this is.
    pub kind: LoadErrorKind,
}

/// The kind of a [`LoadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// The text is not PTX that an assembler takes.
    Syntax,
    /// PTX that this device does not execute.
    Unsupported,
    /// `.target` is above the device's compute capability.
    Target,
    /// A symbol that nothing defines.
    Undefined,
    /// The device's memory is used up.
    Memory,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = shown(&self.reason);
        if self.line == 0 {
            write!(f, "{reason}")
        } else {
            write!(f, "line {}: {reason}: {}", self.line, shown(&self.text))
        }
    }
}

/// The beginning of what may be as long as the module.
fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(1000) {
        Some((end, _)) => format!("{} ..", &text[..end]).into(),
        None => text.into(),
    }
}

impl std::error::Error for LoadError {}

/// Bytes of a module's `.const` variables (PTX ISA 5.1.3).
const CONST: u64 = 64 << 10;
/// Instructions of a module: a call copies nothing, but each kernel has the functions it calls to itself, so that a short text can grow long.
const INSTRUCTIONS: usize = 1 << 22;

impl Module {
    /// Parses and checks PTX text (an ending NUL is allowed) and places its global variables in the device's memory.
    ///
    /// # Errors
    /// Anything that is not PTX, or that this device does not execute exactly: never a wrong value later.
    pub fn load(device: &Device, text: &str) -> Result<Module, LoadError> {
        Module::load_for(device, text, false)
    }

    /// [`Module::load`]; with `base_tier` the module runs on the functions for any processor. Results are the same, which tests compare.
    ///
    /// # Errors
    /// As [`Module::load`].
    pub fn load_for(device: &Device, text: &str, base_tier: bool) -> Result<Module, LoadError> {
        let text: Arc<str> = text.trim_end_matches('\0').into();
        let unit = ptx::parse(&text)?;
        let model = device.config().model;
        supported(&unit, &model)?;
        let sizes = unit.variables.iter().filter(|v| v.space == Space::Const).map(|v| v.size);
        let consts = sizes.fold(0, u64::saturating_add);
        if consts > CONST {
            let (text, kind) = (String::new(), LoadErrorKind::Syntax);
            let reason = format!("{consts} bytes of .const variables, a module may have {CONST}");
            return Err(LoadError { line: 0, text, reason, kind });
        }
        let files = unit.files.iter().map(|f| (f.0, f.1.to_string())).collect();
        let (kernels, codes) = (Vec::new(), Vec::new());
        let mut module =
            Module { device: device.clone(), text: text.clone(), files, kernels, codes, globals: Vec::new() };
        let pointers = function_addresses(&unit);
        let addresses = module.place(&unit, &pointers)?;
        let functions = Env::functions(&unit);
        let env = Env {
            unit: &unit,
            source: &text,
            functions,
            addresses: &pointers,
            taken: OnceCell::new(),
            globals: &addresses,
            base_tier,
        };
        let mut instructions = 0;
        for f in unit.functions.iter().filter(|f| f.entry && f.body.is_some()) {
            let code = decode::kernel(&env, f)?;
            instructions += code.insts.len();
            if instructions > INSTRUCTIONS {
                let reason =
                    format!("more than {INSTRUCTIONS} instructions, with those of called functions in each kernel");
                return Err(LoadError { line: f.line, text: f.name.into(), reason, kind: LoadErrorKind::Memory });
            }
            module.kernels.push(describe(&unit, f, &code, consts as u32, &model)?);
            module.codes.push(Arc::new(code));
        }
        Ok(module)
    }

    /// Gives module-level `.global` and `.const` variables their addresses and first values.
    fn place<'a>(
        &mut self,
        unit: &Unit<'a>,
        functions: &HashMap<&'a str, u64>,
    ) -> Result<HashMap<&'a str, u64>, LoadError> {
        let mut addresses = HashMap::new();
        let stored = |v: &&Variable<'a>| matches!(v.space, Space::Global | Space::Const);
        for v in unit.variables.iter().filter(stored) {
            if v.external {
                let reason = "external variables need a linker".to_string();
                return Err(LoadError { line: v.line, text: v.name.into(), reason, kind: LoadErrorKind::Undefined });
            }
            let label = match v.space {
                Space::Const => Label::Const(v.name.into()),
                _ => Label::Global(v.name.into()),
            };
            let address = self.device.memory_mut().alloc_labelled(v.size, label).map_err(|e: OutOfMemory| {
                LoadError { line: v.line, text: v.name.into(), reason: e.to_string(), kind: LoadErrorKind::Memory }
            })?;
            self.globals.push((v.name.into(), address, v.size));
            addresses.insert(v.name, address);
        }
        for v in unit.variables.iter().filter(stored).filter(|v| !v.init.is_empty()) {
            let refuse = |reason: String, kind| LoadError { line: v.line, text: v.name.into(), reason, kind };
            let mut bytes = Vec::with_capacity(v.size as usize);
            for init in &v.init {
                let bits = match *init {
                    Init::Bits(b) => b,
                    Init::Address(name, _, offset) => {
                        match addresses.get(name).or_else(|| functions.get(name)).copied() {
                            Some(a) => a.wrapping_add(offset as u64),
                            None => {
                                let reason = format!("the initialiser names `{name}`, which has no address");
                                return Err(refuse(reason, LoadErrorKind::Undefined));
                            }
                        }
                    }
                };
                bytes.extend_from_slice(&bits.to_le_bytes()[..v.element as usize]);
            }
            if bytes.len() as u64 > v.size {
                return Err(refuse("more initial values than elements".into(), LoadErrorKind::Syntax));
            }
            let written = self.device.memory_mut().write(addresses[v.name], &bytes);
            written.map_err(|_| refuse("the variable's memory is gone".into(), LoadErrorKind::Memory))?;
        }
        Ok(addresses)
    }

    /// The module's kernels, in the order of the text.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }

    /// Address and size of a `.global` or `.const` variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.globals.iter().find(|g| g.0 == name).map(|g| (g.1, g.2))
    }

    /// The PTX text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines behind a kernel's instructions.
    ///
    /// # Panics
    /// The module has no kernel of that name.
    pub fn listing(&self, kernel: &str) -> Listing {
        let index = self.kernels.iter().position(|k| k.name == kernel).expect("a kernel of this module");
        self.listing_of(self.codes[index].clone())
    }

    fn listing_of(&self, code: Arc<Code>) -> Listing {
        Listing { text: self.text.clone(), files: self.files.clone(), code }
    }
}

/// The addresses of a module's functions, as pointers to functions hold them: outside everything that loads and stores can reach.
fn function_addresses<'a>(unit: &Unit<'a>) -> HashMap<&'a str, u64> {
    let functions = unit.functions.iter().enumerate().filter(|(_, f)| !f.entry && f.body.is_some());
    functions.map(|(n, f)| (f.name, FUNCTIONS + 16 * n as u64)).collect()
}

/// Address of a module's first function.
const FUNCTIONS: u64 = 0x7a00_0000_0000;

/// The first PTX ISA and target that this device does not run.
fn supported(unit: &Unit<'_>, model: &Model) -> Result<(), LoadError> {
    let (major, minor) = model.compute_capability;
    let have = major * 10 + minor;
    let specific = unit.target_name.ends_with('a') && unit.target != have;
    if unit.target > have || specific {
        let (text, name) = (format!(".target {}", unit.target_name), model.name);
        let reason = format!("the module is for {}, the device is {name}", unit.target_name);
        return Err(LoadError { line: 0, text, reason, kind: LoadErrorKind::Target });
    }
    Ok(())
}

fn describe(
    unit: &Unit<'_>,
    f: &Function<'_>,
    code: &Code,
    const_bytes: u32,
    model: &Model,
) -> Result<Kernel, LoadError> {
    let (offsets, param_bytes) = param_offsets(&f.params)?;
    let param =
        |(p, offset): (&Variable<'_>, u32)| Param { name: p.name.into(), size: p.size as u32, align: p.align, offset };
    let product = |d: [u32; 3]| d.iter().fold(1, |n: u32, &x| n.saturating_mul(x));
    Ok(Kernel {
        name: f.name.into(),
        params: f.params.iter().zip(offsets).map(param).collect(),
        param_bytes,
        static_shared: code.static_shared,
        local_bytes: code.local_bytes,
        const_bytes,
        max_threads: f.required_threads.or(f.max_threads).map_or(model.max_threads_per_block, product),
        required_block: f.required_threads,
        min_blocks_per_sm: f.min_blocks,
        ptx_version: unit.version,
        target: unit.target,
    })
}

/// Bytes between parameters: offset and length.
fn padding(params: &[Param]) -> Vec<(u32, u32)> {
    let gap = |p: &[Param]| (p[0].offset + p[0].size, p[1].offset - p[0].offset - p[0].size);
    params.windows(2).map(gap).filter(|g| g.1 != 0).collect()
}

/// What of a launch the device cannot do, if anything.
fn refused(kernel: &Kernel, launch: &Launch<'_>, shared: u32, model: &Model, resident: u64) -> Option<String> {
    let product = |d: [u32; 3]| d.iter().fold(1, |n: u64, &x| n.saturating_mul(x.into()));
    let (threads, blocks) = (product(launch.block), product(launch.grid));
    let [bx, by, bz] = launch.block;
    let [gx, gy, gz] = launch.grid;
    if blocks == 0 || threads == 0 {
        return Some(format!("grid ({gx},{gy},{gz}) of blocks ({bx},{by},{bz}) is empty"));
    }
    if gx > i32::MAX as u32 || gy > 65535 || gz > 65535 {
        return Some(format!("grid ({gx},{gy},{gz}): the limits are 2147483647, 65535, 65535"));
    }
    if bx > 1024 || by > 1024 || bz > 64 || threads > u64::from(kernel.max_threads.min(model.max_threads_per_block)) {
        let limit = kernel.max_threads.min(model.max_threads_per_block);
        return Some(format!("block ({bx},{by},{bz}) has {threads} threads, the kernel allows {limit}"));
    }
    if kernel.required_block.is_some_and(|r| r != launch.block) {
        return Some(format!("block ({bx},{by},{bz}) is not the one that .reqntid names"));
    }
    if shared > model.max_shared_per_block {
        return Some(format!(
            "{shared} bytes of shared memory, the device allows {} in a block",
            model.max_shared_per_block
        ));
    }
    // A GPU sets the local memory of every thread it can hold aside.
    let held = u64::from(model.max_threads_per_sm) * u64::from(model.sm_count);
    if u64::from(kernel.local_bytes) * held > model.memory_bytes {
        let local = kernel.local_bytes;
        return Some(format!("{local} bytes of local memory a thread, for the {held} threads that the device holds"));
    }
    if launch.params.len() < kernel.param_bytes as usize {
        return Some(format!("{} parameter bytes, the kernel takes {}", launch.params.len(), kernel.param_bytes));
    }
    if launch.cooperative && blocks > resident {
        return Some(format!("{blocks} blocks of a cooperative launch, {resident} fit the device at once"));
    }
    None
}

/// Blocks that the modelled device holds at once, by threads and shared memory; registers are not known.
fn resident_blocks(launch: &Launch<'_>, shared: u32, model: &Model) -> u64 {
    let threads = launch.block.iter().fold(1, |n: u32, &x| n.saturating_mul(x)).clamp(1, 1 << 16).next_multiple_of(32);
    let by_shared = (model.max_shared_per_sm / 1024).checked_div(shared.div_ceil(1024) + 1).unwrap_or(u32::MAX);
    let by_shared = if shared == 0 { u32::MAX } else { by_shared.max(1) };
    let each = (model.max_threads_per_sm / threads).min(model.max_blocks_per_sm).min(by_shared).max(1);
    u64::from(each) * u64::from(model.sm_count)
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Device {
    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// A launch that the model does not allow, a fault of the kernel, a limit reached.
    pub fn launch(&self, module: &Module, kernel: &str, launch: Launch<'_>) -> Result<LaunchStats, Box<Report>> {
        let config = self.config();
        let model = &config.model;
        let report = |fault: Box<Fault>, block: [u32; 3], code: Option<&Arc<Code>>| {
            let at = |pc| code.map_or((String::new(), None), |c| module.listing_of(c.clone()).statement(pc));
            let (text, source) = at(fault.site.pc);
            let (other_text, other_source) = fault.other.as_ref().map(|(site, _)| at(site.pc)).unzip();
            let other_source = other_source.flatten();
            let (kernel, block_dim, seed) = (kernel.to_string(), launch.block, config.seed);
            Box::new(Report { fault: *fault, kernel, block, block_dim, text, other_text, source, other_source, seed })
        };
        let refuse = |what: String| report(Fault::new(FaultKind::Launch, Site::default(), 0, what), [0; 3], None);
        let Some(index) = module.kernels.iter().position(|k| k.name == kernel) else {
            return Err(refuse(format!("the module has no kernel `{kernel}`")));
        };
        let (info, code) = (&module.kernels[index], module.codes[index].clone());
        let dynamic = launch.dynamic_shared;
        let shared_bytes = if dynamic == 0 { code.static_shared } else { code.dynamic_at.saturating_add(dynamic) };
        let resident = resident_blocks(&launch, shared_bytes, model);
        if let Some(what) = refused(info, &launch, shared_bytes, model, resident) {
            return Err(refuse(what));
        }
        let params = &launch.params[..info.param_bytes as usize];
        let mut setup = LaunchInfo {
            code: code.clone(),
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: dynamic,
            shared_bytes,
            sm_count: model.sm_count,
            warps_per_sm: model.max_threads_per_sm / 32,
            workspace: 0,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            numerics: config.numerics,
            seed: config.seed,
            schedule: config.schedule,
            checks: config.checks,
            init: config.checks.init,
            count: config.count,
        };
        let shape = LaunchShape {
            threads: setup.threads(),
            shared_bytes,
            local_bytes: code.local_bytes + code.stack_bytes,
            padding: padding(&info.params),
            instructions: code.insts.len(),
            checks: config.checks,
            count: config.count,
            late_stores: config.late_stores,
        };
        let mut space = self.memory_mut();
        if launch.cooperative {
            let label = Label::Global("grid workspace".into());
            setup.workspace = space.alloc_labelled(64, label).map_err(|e| refuse(e.to_string()))?;
        }
        let memory = LaunchMemory::new(&mut space, params, shape);
        let limits = Limits { threads: config.threads, resident, instructions: config.instruction_limit };
        let outcome = run(&setup, &memory, limits);
        let distinct = memory.distinct_sectors();
        drop(memory);
        if launch.cooperative {
            // It was allocated above, and kernels cannot free.
            let _ = space.free(setup.workspace);
        }
        match outcome {
            Ok(mut counts) => {
                counts.forget_local(|pc| code.insts[pc].mem.passes);
                let class = |pc: usize| (code.insts[pc].class, code.insts[pc].line);
                Ok(LaunchStats::from_counts(kernel, setup.blocks(), &counts, class, distinct, config.count))
            }
            Err(failed) => Err(report(failed.fault, setup.coordinates(failed.block), Some(&code))),
        }
    }
}
