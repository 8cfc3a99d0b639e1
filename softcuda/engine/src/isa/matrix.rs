//! Matrix products and the moves that feed them (PTX ISA 9.7.14). All need the whole warp; which lane holds which element is in `fragment`.

use super::row::{Mods, Row, row};
use crate::arith::mma::{Accumulator, Element, Mma, Operands, Register};
use crate::arith::wmma;
use crate::count::Class::{Memory, Mma as MmaClass, Warp};
use crate::exec::regs::{File, Regs};
use crate::exec::shadow::Source;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec};
use crate::fragment;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("mma.sync.aligned.m16n8k8.row.col.f32.(f16|bf16).(f16|bf16).f32 d:4xf32, a:2xb32, b:1xb32, c:4xf32",          "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 d:2xb32, a:2xb32, b:1xb32, c:2xb32",                        "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k16.row.col.f32.(f16|bf16).(f16|bf16).f32 d:4xf32, a:4xb32, b:2xb32, c:4xf32",         "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 d:2xb32, a:4xb32, b:2xb32, c:2xb32",                       "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 d:4xf32, a:2xb32, b:1xb32, c:4xf32",                      "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 d:4xf32, a:4xb32, b:2xb32, c:4xf32",                      "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k16.row.col.f32.(e4m3|e5m2).(e4m3|e5m2).f32 d:4xf32, a:2xb32, b:1xb32, c:4xf32",       "9.7.14.5.13", MmaClass, mma).since(89),
        row("mma.sync.aligned.m16n8k16.row.col.f16.(e4m3|e5m2).(e4m3|e5m2).f16 d:2xb32, a:2xb32, b:1xb32, c:2xb32",       "9.7.14.5.13", MmaClass, mma).since(89),
        row("mma.sync.aligned.m16n8k32.row.col.f32.(e4m3|e5m2).(e4m3|e5m2).f32 d:4xf32, a:4xb32, b:2xb32, c:4xf32",       "9.7.14.5.13", MmaClass, mma).since(89),
        row("mma.sync.aligned.m16n8k32.row.col.f16.(e4m3|e5m2).(e4m3|e5m2).f16 d:2xb32, a:4xb32, b:2xb32, c:2xb32",       "9.7.14.5.13", MmaClass, mma).since(89),
        row("mma.sync.aligned.m16n8k16.row.col{.satfinite}.s32.(s8|u8).(s8|u8).s32 d:4xb32, a:2xb32, b:1xb32, c:4xb32",   "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k32.row.col{.satfinite}.s32.(s8|u8).(s8|u8).s32 d:4xb32, a:4xb32, b:2xb32, c:4xb32",   "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k32.row.col{.satfinite}.s32.(s4|u4).(s4|u4).s32 d:4xb32, a:2xb32, b:1xb32, c:4xb32",   "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m16n8k64.row.col{.satfinite}.s32.(s4|u4).(s4|u4).s32 d:4xb32, a:4xb32, b:2xb32, c:4xb32",   "9.7.14.5.13", MmaClass, mma),
        row("mma.sync.aligned.m8n8k16.row.col{.satfinite}.s32.(s8|u8).(s8|u8).s32 d:2xb32, a:1xb32, b:1xb32, c:2xb32",    "9.7.14.5.13", MmaClass, half_rows),
        row("mma.sync.aligned.m8n8k32.row.col{.satfinite}.s32.(s4|u4).(s4|u4).s32 d:2xb32, a:1xb32, b:1xb32, c:2xb32",    "9.7.14.5.13", MmaClass, half_rows),
        row("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.(xor|and).popc d:2xb32, a:1xb32, b:1xb32, c:2xb32",          "9.7.14.5.13", MmaClass, |m| Some(product_bits(m))),
        row("mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.(xor|and).popc d:4xb32, a:2xb32, b:1xb32, c:4xb32",         "9.7.14.5.13", MmaClass, |m| Some(product_bits(m))),
        row("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.(xor|and).popc d:4xb32, a:4xb32, b:2xb32, c:4xb32",         "9.7.14.5.13", MmaClass, |m| Some(product_bits(m))),
        row("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64{.rn} d:2xf64, a:1xf64, b:1xf64, c:2xf64",                    "9.7.14.5.13", MmaClass, |_| Some(product_f64(8, 4))),
        row("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64{.rn} d:4xf64, a:2xf64, b:1xf64, c:4xf64",                   "9.7.14.5.13", MmaClass, |_| Some(product_f64(16, 4))).since(90),
        row("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64{.rn} d:4xf64, a:4xf64, b:2xf64, c:4xf64",                   "9.7.14.5.13", MmaClass, |_| Some(product_f64(16, 8))).since(90),
        row("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64{.rn} d:4xf64, a:8xf64, b:4xf64, c:4xf64",                  "9.7.14.5.13", MmaClass, |_| Some(product_f64(16, 16))).since(90),
        row("ldmatrix.sync.aligned.m8n8.x1{.trans}{.shared|.shared::cta}.b16 d:1xb32, [a]",                               "9.7.14.5.14", Memory, |m| Some(ldmatrix(m, 1))),
        row("ldmatrix.sync.aligned.m8n8.x2{.trans}{.shared|.shared::cta}.b16 d:2xb32, [a]",                               "9.7.14.5.14", Memory, |m| Some(ldmatrix(m, 2))),
        row("ldmatrix.sync.aligned.m8n8.x4{.trans}{.shared|.shared::cta}.b16 d:4xb32, [a]",                               "9.7.14.5.14", Memory, |m| Some(ldmatrix(m, 4))),
        row("stmatrix.sync.aligned.m8n8.x1{.trans}{.shared|.shared::cta}.b16 [a], b:1xb32",                               "9.7.14.5.15", Memory, |m| Some(stmatrix(m, 1))).since(90),
        row("stmatrix.sync.aligned.m8n8.x2{.trans}{.shared|.shared::cta}.b16 [a], b:2xb32",                               "9.7.14.5.15", Memory, |m| Some(stmatrix(m, 2))).since(90),
        row("stmatrix.sync.aligned.m8n8.x4{.trans}{.shared|.shared::cta}.b16 [a], b:4xb32",                               "9.7.14.5.15", Memory, |m| Some(stmatrix(m, 4))).since(90),
        row("movmatrix.sync.aligned.m8n8.trans.b16 d:b32, a:b32",                                                         "9.7.14.5.16", Warp, |_| Some(exec!(|c, i| {
            whole(c, i, |c, i| {
                if c.launch.init {
                    crate::exec::taint::moved(c, i.o[1], i.o[0], fragment::movmatrix);
                }
                let out = fragment::movmatrix(&c.warp.regs.r32[i.o[1] as usize]);
                c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
                Flow::Next
            })
        }).taint(Taint::Own))),
    ]
}

/// Runs `f` when all 32 lanes are here; waits while some are elsewhere.
#[inline(always)]
pub fn whole(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(&mut Ctx<'_, '_>, &Inst) -> Flow) -> Flow {
    if c.mask == u32::MAX {
        return f(c, i);
    }
    if c.warp.live == u32::MAX {
        return Flow::Wait;
    }
    let missing = !c.warp.live;
    c.fail(
        i,
        c.mask,
        FaultKind::WarpSync,
        format!("needs all 32 lanes, but lanes {missing:#010x} have exited or never were"),
    )
}

const ELEMENTS: [(&str, Element); 9] = [
    ("f16", Element::F16),
    ("bf16", Element::Bf16),
    ("tf32", Element::Tf32),
    ("e4m3", Element::E4m3),
    ("e5m2", Element::E5m2),
    ("s8", Element::S8),
    ("u8", Element::U8),
    ("s4", Element::S4),
    ("u4", Element::U4),
];
const DEPTHS: [(&str, usize); 5] =
    [("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16), ("m16n8k32", 32), ("m16n8k64", 64)];

/// What `mods` of an `mma` holds: places in the tables above, the accumulator, `.satfinite`.
fn instruction(mods: u32) -> Option<Mma> {
    let k = DEPTHS[(mods & 7) as usize].1;
    let element = |shift: u32| ELEMENTS[(mods >> shift & 15) as usize].1;
    let accumulator = [Accumulator::F32, Accumulator::F16, Accumulator::S32][(mods >> 12 & 3) as usize];
    Mma::new(k, element(4), element(8), accumulator, mods >> 14 & 1 != 0)
}

fn mma(m: &Mods) -> Option<Exec> {
    let k = DEPTHS.iter().position(|d| m.has(d.0))? as u32;
    // `.row.col{.satfinite}.D.A.B.C`: the last four parts.
    let [d, a, b, _] = m.parts.last_chunk::<4>()?;
    let place = |name: &str| ELEMENTS.iter().position(|e| e.0 == name).map(|p| p as u32);
    let accumulator = match *d {
        "f32" => 0,
        "f16" => 1,
        _ => 2,
    };
    let mods = k | place(a)? << 4 | place(b)? << 8 | accumulator << 12 | u32::from(m.has("satfinite")) << 14;
    instruction(mods)?;
    Some(exec!(|c, i| whole(c, i, |c, i| multiply(c, i))).with(mods).taint(Taint::Own))
}

/// Operands d, a, b, c begin at `o[0..4]` in `list`.
#[inline(always)]
fn multiply(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let Some(mma) = instruction(i.mods) else {
        return c.fail(i, c.mask, FaultKind::Bug, "an mma that the row should have refused");
    };
    let (na, nb, nc) = mma.registers();
    let regs = &c.warp.regs;
    #[inline(always)]
    fn take<'a, const N: usize>(i: &Inst, regs: &'a Regs, operand: usize, count: usize) -> [&'a Register; N] {
        let slots = &i.list[i.o[operand] as usize..];
        let mut registers = [&regs.r32[slots[0] as usize]; N];
        for k in 1..count {
            registers[k] = &regs.r32[slots[k] as usize];
        }
        registers
    }
    let operands = Operands { a: take(i, regs, 1, na), b: take(i, regs, 2, nb), c: take(i, regs, 3, nc) };
    let seed = c.launch.seed ^ c.clock << 20 ^ u64::from(c.pc);
    let mut out = [[0; 32]; 4];
    mma.run(&operands, c.launch.numerics.mma, seed, &mut out);
    if c.launch.init {
        crate::exec::taint::multiplied(c, i, (na, nb, nc));
    }
    for k in 0..nc {
        c.warp.regs.put::<u32>(i.list[i.o[0] as usize + k], c.mask, &out[k]);
    }
    Flow::Next
}

/// The eight-row shapes of integers: those of sixteen rows with nothing in the lower ones.
fn half_rows(m: &Mods) -> Option<Exec> {
    let name = if m.has("m8n8k16") { "m16n8k16" } else { "m16n8k32" };
    let parts = m.parts.iter().map(|p| if p.starts_with("m8n8") { name } else { *p }).collect();
    let mods = mma(&Mods { parts })?.mods;
    Some(exec!(|c, i| whole(c, i, multiply_half)).with(mods).taint(Taint::Own))
}

fn multiply_half(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let Some(mma) = instruction(i.mods) else {
        return c.fail(i, c.mask, FaultKind::Bug, "an mma that the row should have refused");
    };
    let register = |k: usize, n: usize| &c.warp.regs.r32[i.list[i.o[k] as usize + n] as usize];
    let zero = &[0; 32];
    let operands = Operands {
        a: [register(1, 0), zero, zero, zero],
        b: [register(2, 0); 2],
        c: [register(3, 0), register(3, 1), zero, zero],
    };
    let mut out = [[0; 32]; 4];
    mma.run(&operands, c.launch.numerics.mma, 0, &mut out);
    taint_all(c, i);
    for (from, slot) in out[..2].iter().zip(&i.list) {
        c.warp.regs.put::<u32>(*slot, c.mask, from);
    }
    Flow::Next
}

/// The slots of operand `k` of a product, whose operands d, a, b, c follow one another in `list`.
fn operand(i: &Inst, k: usize) -> &[u32] {
    let end = if k == 3 { i.list.len() } else { i.o[k + 1] as usize };
    &i.list[i.o[k] as usize..end]
}

/// A product of f64; `mods`: rows, and columns of A.
pub fn product_f64(rows: u32, k: u32) -> Exec {
    exec!(|c, i| whole(c, i, |c, i| {
        let take = |k: usize| -> Vec<_> { operand(i, k).iter().map(|s| c.warp.regs.r64[*s as usize]).collect() };
        let out = wmma::product_f64((i.mods >> 8) as usize, (i.mods & 0xff) as usize, &take(1), &take(2), &take(3));
        taint_all(c, i);
        for (register, slot) in out.iter().zip(&i.list) {
            c.warp.regs.put::<u64>(*slot, c.mask, register);
        }
        Flow::Next
    }))
    .with(rows << 8 | k)
    .taint(Taint::Own)
}

/// A product of bits; `mods` 1 is `.and`.
pub fn product_bits(m: &Mods) -> Exec {
    exec!(|c, i| whole(c, i, |c, i| {
        let take = |k: usize| -> Vec<_> { operand(i, k).iter().map(|s| c.warp.regs.r32[*s as usize]).collect() };
        let out = wmma::product_bits(i.mods != 0, &take(1), &take(2), &take(3));
        taint_all(c, i);
        for (register, slot) in out.iter().zip(&i.list) {
            c.warp.regs.put::<u32>(*slot, c.mask, register);
        }
        Flow::Next
    }))
    .with(u32::from(m.has("and")))
    .taint(Taint::Own)
}

/// If anything that a product reads is unwritten in some lane, all of its result is.
pub fn taint_all(c: &mut Ctx<'_, '_>, i: &Inst) {
    if !c.warp.regs.shadow.any() {
        return;
    }
    let file =
        if c.launch.code.roles[c.pc as usize].writes.iter().any(|w| w.0 == File::R64) { File::R64 } else { File::R32 };
    let read = &i.list[i.o[1] as usize..];
    let source = Source { computed: true, ..crate::exec::taint::any(c, file, read.iter()) };
    let shadow = &mut c.warp.regs.shadow;
    let dirty = read.iter().fold(0, |m, s| m | shadow.dirty(file, *s));
    for slot in operand(i, 0) {
        if dirty == 0 {
            shadow.clean(file, *slot, u32::MAX);
        } else {
            (0..32).for_each(|l| shadow.set(file, *slot, l, u64::MAX, source));
        }
    }
}

// `mods` of the matrix moves: the number of matrices, and 8 for `.trans`.
const TRANS: u32 = 8;

fn ldmatrix(m: &Mods, count: u32) -> Exec {
    exec!(|c, i| whole(c, i, |c, i| load(c, i))).with(count | if m.has("trans") { TRANS } else { 0 }).taint(Taint::Own)
}

#[inline(always)]
fn load(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let count = (i.mods & 7) as usize;
    let addresses = c.addresses(i.o[1], i.offset, i.mem.base64);
    let mut access = c.access(i, 16);
    // Lane 8 i + r gives the address of row r of matrix i.
    access.mask = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
    if let Err(fault) = c.door.load(&access, &addresses, c.wide) {
        return c.fault(fault);
    }
    let mut rows = [[0u8; 16]; 32];
    for (l, row) in rows.iter_mut().enumerate().take(8 * count) {
        for (k, word) in c.wide.lane(l).iter().enumerate() {
            row[4 * k..4 * k + 4].copy_from_slice(&word.to_le_bytes());
        }
    }
    let out = fragment::ldmatrix(&rows, count, i.mods & TRANS != 0);
    for (from, slot) in out[..count].iter().zip(&i.list) {
        c.warp.regs.put::<u32>(*slot, c.mask, from);
    }
    if c.launch.init && (c.wide.tainted != 0 || c.warp.regs.shadow.any()) {
        let missing: [[u8; 16]; 32] = std::array::from_fn(|l| {
            let uninit = if c.wide.tainted >> l & 1 != 0 && l < 8 * count { c.wide.uninit[l] } else { 0 };
            std::array::from_fn(|k| if uninit >> k & 1 != 0 { 0xff } else { 0 })
        });
        let bits = fragment::ldmatrix(&missing, count, i.mods & TRANS != 0);
        for (k, (bits, slot)) in bits[..count].iter().zip(&i.list).enumerate() {
            // The first row of the matrix that lacks bytes.
            let row = (8 * k..8 * k + 8).find(|&l| missing[l] != [0; 16]).unwrap_or(8 * k);
            crate::exec::taint::set32(c, *slot, bits, |c, _| crate::exec::taint::source_of(c, row, addresses[row]));
        }
    }
    Flow::Next
}

fn stmatrix(m: &Mods, count: u32) -> Exec {
    exec!(|c, i| whole(c, i, |c, i| store(c, i))).with(count | if m.has("trans") { TRANS } else { 0 }).taint(Taint::Own)
}

fn store(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let count = (i.mods & 7) as usize;
    let addresses = c.addresses(i.o[0], i.offset, i.mem.base64);
    let mut access = c.access(i, 16);
    access.mask = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
    let registers: Vec<[u32; 32]> = i.list.iter().map(|s| c.warp.regs.r32[*s as usize]).collect();
    let rows = fragment::stmatrix(&registers, i.mods & TRANS != 0);
    for (l, row) in rows.iter().enumerate() {
        for k in 0..4 {
            c.wide.words[k][l] = u32::from_le_bytes([row[4 * k], row[4 * k + 1], row[4 * k + 2], row[4 * k + 3]]);
        }
    }
    c.wide.uninit = [0; 32];
    c.wide.tainted = 0;
    if c.launch.init && c.warp.regs.shadow.any() {
        let bits: Vec<[u32; 32]> = i.list.iter().map(|s| crate::exec::taint::get32(c, *s)).collect();
        let rows = fragment::stmatrix(&bits, i.mods & TRANS != 0);
        for (l, row) in rows.iter().enumerate() {
            let missing = (0..16).filter(|&k| row[k] != 0).fold(0u16, |m, k| m | 1 << k);
            c.wide.uninit[l] = missing;
            c.wide.tainted |= u32::from(missing != 0) << l;
        }
    }
    c.wrote = true;
    match c.door.store(&access, &addresses, c.wide) {
        Ok(()) => Flow::Next,
        Err(fault) => c.fault(fault),
    }
}
