//! Runs one instruction on given operands: a kernel whose thread i takes the operands of example i.

use super::coverage::{Executed, forms, one_statement_a_line};
use super::gpu;
use softcuda_engine::isa::{Mods, OperandTy, Role, Row, lookup};
use softcuda_engine::ptx::Ty;
use softcuda_engine::{Checks, Class, Config, Device, Launch, Model, Module};
use std::collections::HashMap;
use std::fmt::Write;

/// One example.
#[derive(Clone, Debug)]
pub struct Case {
    /// Mnemonic with modifiers.
    pub op: String,
    /// Section of the PTX ISA.
    pub section: &'static str,
    /// Register bits of the operands read, in order.
    pub args: Vec<u64>,
    /// Register bits of the operands written, in order.
    pub want: Vec<u64>,
}

/// One example of an instruction with one result.
pub fn case(op: &str, section: &'static str, args: &[u64], want: u64) -> Case {
    Case { op: op.into(), section, args: args.to_vec(), want: vec![want] }
}

/// Bits of an f32.
pub fn f(x: f32) -> u64 {
    u64::from(x.to_bits())
}

/// Bits of an f64.
pub fn d(x: f64) -> u64 {
    x.to_bits()
}

/// Bits of an f16.
pub fn h(x: f32) -> u64 {
    u64::from(half::f16::from_f32(x).to_bits())
}

/// Bits of a bf16.
pub fn b(x: f32) -> u64 {
    u64::from(half::bf16::from_f32(x).to_bits())
}

/// Two halves, the upper one first.
pub fn two(high: u64, low: u64) -> u64 {
    high << 16 | low
}

/// A signed number in a register of 32 bits.
pub fn s(x: i32) -> u64 {
    u64::from(x as u32)
}

impl Case {
    /// Examples with the same key can share a kernel. The truth table of `lop3` is part of the text.
    pub fn key(&self) -> String {
        if self.op == "lop3.b32" { format!("{} {}", self.op, self.args[3]) } else { self.op.clone() }
    }
}

/// Whether the row is a function of each lane's registers alone.
pub fn is_lane_row(row: &Row) -> bool {
    let class =
        !matches!(row.class, Class::Control | Class::Sync | Class::Memory | Class::Atomic | Class::Warp | Class::Misc);
    let plain = |t: OperandTy| !matches!(t, OperandTy::Vector | OperandTy::Elements(..) | OperandTy::Special);
    class && row.operands.iter().all(|o| o.role != Role::Address && plain(o.ty))
}

/// Types of a row's operands for a spelling.
pub fn types(row: &Row, mods: &Mods) -> Vec<(Role, Ty)> {
    let wide = |t: Ty| if t.bits() == 16 { Ty::B32 } else { Ty::B64 };
    let ty = |o: OperandTy| match o {
        OperandTy::Nth(n) => mods.nth_ty(n).expect("the row has that many types"),
        OperandTy::Fixed(t) => t,
        OperandTy::Wide => wide(mods.ty()),
        _ => mods.ty(),
    };
    row.operands.iter().map(|o| (o.role, ty(o.ty))).collect()
}

/// A kernel `name(in, out)`: `in` holds 32 u64 for each operand read, then 32 for each written (what it holds before); `out` 32 for each written.
/// With `guarded`, only odd threads execute the instruction.
pub fn kernel(
    name: &str,
    op: &str,
    row: &Row,
    mods: &Mods,
    literal: Option<u64>,
    skip: usize,
    guarded: bool,
) -> String {
    let types = types(row, mods);
    let kept = types.len() - skip;
    let mut text = format!(
        ".visible .entry {name}(.param .u64 in, .param .u64 out) {{\n.reg .pred %p<8>, %g; .reg .b16 %h<8>; .reg .b32 %r<8>, %t; .reg .b64 %d<8>, %in, %out, %v;\n\
         mov.u32 %t, %tid.x; mul.wide.u32 %v, %t, 8; ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; add.s64 %in, %in, %v; add.s64 %out, %out, %v;\n\
         and.b32 %t, %t, 1; setp.ne.u32 %g, %t, 0;\n"
    );
    let reg = |k: usize, t: Ty| match t.bits() {
        1 => format!("%p{k}"),
        64 => format!("%d{k}"),
        32 => format!("%r{k}"),
        _ => format!("%h{k}"),
    };
    let mut at = 0;
    for role in [Role::Read, Role::Write] {
        for (k, (_, t)) in types.iter().enumerate().take(kept).filter(|o| o.1.0 == role) {
            let _ = writeln!(text, "ld.global.u64 %v, [%in+{}];", 256 * at);
            let _ = match t.bits() {
                1 => writeln!(text, "setp.ne.u64 %p{k}, %v, 0;"),
                64 => writeln!(text, "mov.b64 %d{k}, %v;"),
                32 => writeln!(text, "cvt.u32.u64 %r{k}, %v;"),
                _ => writeln!(text, "cvt.u16.u64 %h{k}, %v;"),
            };
            at += 1;
        }
    }
    let mut operands = String::new();
    for (k, (_, t)) in types.iter().enumerate().take(kept) {
        if k > 0 {
            operands += if row.operands[k].piped { "|" } else { ", " };
        }
        match literal.filter(|_| k == kept - 1) {
            Some(v) => operands += &v.to_string(),
            None => operands += &reg(k, *t),
        }
    }
    let guard = if guarded { "@%g " } else { "" };
    let _ = writeln!(text, "//= {guard}{op}\n{guard}{op} {operands};");
    for (n, (k, (_, t))) in types.iter().enumerate().take(kept).filter(|o| o.1.0 == Role::Write).enumerate() {
        let _ = match t.bits() {
            1 => writeln!(text, "selp.u64 %v, 1, 0, %p{k};"),
            64 => writeln!(text, "mov.b64 %v, %d{k};"),
            32 => writeln!(text, "cvt.u64.u32 %v, %r{k};"),
            _ => writeln!(text, "cvt.u64.u16 %v, %h{k};"),
        };
        let _ = writeln!(text, "st.global.u64 [%out+{}], %v;", 256 * n);
    }
    text + "ret;\n}\n"
}

/// A device and a module of kernels as [`kernel`] makes them.
pub struct Bench {
    device: Device,
    module: Module,
    text: String,
    forms: HashMap<u32, String>,
    input: u64,
    output: u64,
}

impl Bench {
    pub fn new(kernels: &str, base_tier: bool) -> Bench {
        let model = Model::by_name("sm_90").expect("a known name");
        let device = Device::new(Config { checks: Checks::NONE, threads: 1, model, ..Config::default() });
        let text = one_statement_a_line(&format!(".version 8.5\n.target sm_90\n.address_size 64\n{kernels}"));
        let module = Module::load_for(&device, &text, base_tier).unwrap_or_else(|e| panic!("{e}"));
        let (input, output) = (device.alloc(256 * 8).unwrap(), device.alloc(256 * 2).unwrap());
        Bench { device, module, forms: forms(&text), text, input, output }
    }

    /// Results, 32 of each operand written.
    pub fn run(&self, kernel: &str, input: &[[u64; 32]]) -> [[u64; 32]; 2] {
        self.run_counted(kernel, input, &mut Executed::default())
    }

    /// [`Bench::run`], noting what was executed.
    fn run_counted(&self, kernel: &str, input: &[[u64; 32]], executed: &mut Executed) -> [[u64; 32]; 2] {
        let bytes: Vec<u8> = input.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        self.device.write(self.input, &bytes).unwrap();
        let mut untouched = [0u8; 512];
        self.device.read(self.output, &mut untouched).unwrap();
        let params: Vec<u8> = [self.input, self.output].iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch { grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
        let stats = self.device.launch(&self.module, kernel, launch).unwrap_or_else(|r| panic!("{r}"));
        executed.add(&self.forms, &stats, "examples");
        let mut out = [0u8; 512];
        self.device.read(self.output, &mut out).unwrap();
        let text = gpu::only(&self.text, kernel);
        gpu::compare(&gpu::Launched {
            what: text.lines().find_map(|line| line.strip_prefix("//= ")).unwrap_or(kernel),
            text: &text,
            kernel,
            grid: 1,
            block: 32,
            word: 8,
            arguments: &[
                gpu::Argument::Buffer { before: &bytes, after: &bytes },
                gpu::Argument::Buffer { before: &untouched, after: &out },
            ],
        });
        let word = |n: usize| u64::from_le_bytes(out[8 * n..8 * n + 8].try_into().unwrap());
        [std::array::from_fn(word), std::array::from_fn(|n| word(32 + n))]
    }
}

/// The results of up to 32 examples of one key.
pub fn run(cases: &[Case], executed: &mut Executed) -> Vec<[u64; 2]> {
    let first = &cases[0];
    let reads = |row: &Row| row.operands.iter().filter(|o| o.role == Role::Read).count();
    let optional = |row: &Row| row.operands.iter().filter(|o| o.role == Role::Read && o.optional).count();
    let fits = |row: &Row| (reads(row) - optional(row)..=reads(row)).contains(&first.args.len());
    let rows = lookup(&first.op);
    let found =
        rows.iter().find(|(row, mods)| (row.build)(mods).is_some() && row.section == first.section && fits(row));
    let (row, mods) = found.unwrap_or_else(|| panic!("no row of section {} for {first:?}", first.section));
    let literal = (first.op == "lop3.b32").then(|| first.args[3]);
    let skip = reads(row) - first.args.len();
    let bench = Bench::new(&kernel("k", &first.op, row, mods, literal, skip, false), false);
    let column = |k: usize| std::array::from_fn(|i| cases.get(i).and_then(|c| c.args.get(k)).copied().unwrap_or(0));
    let mut input: Vec<[u64; 32]> = (0..first.args.len()).map(column).collect();
    input.resize(8, [0; 32]);
    let out = bench.run_counted("k", &input, executed);
    (0..cases.len()).map(|i| [out[0][i], out[1][i]]).collect()
}
