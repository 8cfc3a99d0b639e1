//! Atomics and reductions on memory (PTX ISA 9.7.13.5, 9.7.13.6).

use super::mem::count;
use super::row::{Mods, Row, row};
use crate::count::Class::Atomic;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec};
use crate::memory::{AtomOp, AtomTy, lanes};
use crate::ptx::Ty;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("atom{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}{.global|.shared|.shared::cta|.shared::cluster}.(and|or|xor|exch|add|inc|dec|min|max){.noftz}.(b32|b64|u32|u64|s32|s64|f16|f16x2|bf16|bf16x2|f32|f64) d, [a], b", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("atom{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}{.global|.shared|.shared::cta|.shared::cluster}.cas.(b16|b32|b64|u32|u64|s32|s64) d, [a], b, c", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("atom.(global|shared).(relaxed|acquire|release|acq_rel){.cta|.cluster|.gpu|.sys}.(and|or|xor|exch|add|inc|dec|min|max).(b32|b64|u32|u64|s32|s64|f32|f64) d, [a], b", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("atom.(global|shared).(relaxed|acquire|release|acq_rel){.cta|.cluster|.gpu|.sys}.cas.(b16|b32|b64) d, [a], b, c", "9.7.13.5", Atomic, |m| atomic(m, true)),
        // The scope without an ordering behind the space, as compilers write block- and system-wide atomics.
        row("atom.(global|shared).(cta|cluster|gpu|sys).(and|or|xor|exch|add|inc|dec|min|max){.noftz}.(b32|b64|u32|u64|s32|s64|f16|f16x2|bf16|bf16x2|f32|f64) d, [a], b", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("atom.(global|shared).(cta|cluster|gpu|sys).cas.(b16|b32|b64) d, [a], b, c", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("red.(global|shared).(cta|cluster|gpu|sys).(and|or|xor|add|inc|dec|min|max){.noftz}.(b32|b64|u32|u64|s32|s64|f16|f16x2|bf16|bf16x2|f32|f64) [a], b", "9.7.13.6", Atomic, |m| atomic(m, false)),
        // The ordering behind the operation, as the headers of cooperative groups write it.
        row("atom{.global|.shared}.(and|or|xor|exch|add|inc|dec|min|max).(relaxed|acquire|release|acq_rel){.cta|.cluster|.gpu|.sys}.(b32|b64|u32|u64|s32|s64|f32|f64) d, [a], b", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("atom{.global|.shared}.cas.(relaxed|acquire|release|acq_rel){.cta|.cluster|.gpu|.sys}.(b16|b32|b64) d, [a], b, c", "9.7.13.5", Atomic, |m| atomic(m, true)),
        row("red{.global|.shared}.(and|or|xor|add|inc|dec|min|max).(relaxed|release){.cta|.cluster|.gpu|.sys}.(b32|b64|u32|u64|s32|s64|f32|f64) [a], b", "9.7.13.6", Atomic, |m| atomic(m, false)),
        row("red{.relaxed|.release}{.cta|.cluster|.gpu|.sys}{.global|.shared|.shared::cta|.shared::cluster}.(and|or|xor|add|inc|dec|min|max){.noftz}.(b32|b64|u32|u64|s32|s64|f16|f16x2|bf16|bf16x2|f32|f64) [a], b", "9.7.13.6", Atomic, |m| atomic(m, false)),
        row("red.(global|shared).(relaxed|release){.cta|.cluster|.gpu|.sys}.(and|or|xor|add|inc|dec|min|max).(b32|b64|u32|u64|s32|s64|f32|f64) [a], b", "9.7.13.6", Atomic, |m| atomic(m, false)),
        row("atom{.relaxed|.acquire|.release|.acq_rel}{.cta|.cluster|.gpu|.sys}{.global}.add{.noftz}.(v2|v4|v8).(f32|f16|f16x2|bf16|bf16x2) d:v, [a], b:v", "9.7.13.5", Atomic, |m| vector(m, true)).since(90),
        row("red{.relaxed|.release}{.cta|.cluster|.gpu|.sys}{.global}.add{.noftz}.(v2|v4|v8).(f32|f16|f16x2|bf16|bf16x2) [a], b:v", "9.7.13.6", Atomic, |m| vector(m, false)).since(90),
    ]
}

const OPS: [(&str, AtomOp); 10] = [
    ("add", AtomOp::Add),
    ("min", AtomOp::Min),
    ("max", AtomOp::Max),
    ("and", AtomOp::And),
    ("or", AtomOp::Or),
    ("xor", AtomOp::Xor),
    ("exch", AtomOp::Exch),
    ("cas", AtomOp::Cas),
    ("inc", AtomOp::Inc),
    ("dec", AtomOp::Dec),
];

const TYPES: [(Ty, AtomTy); 13] = [
    (Ty::B16, AtomTy::B16),
    (Ty::B32, AtomTy::B32),
    (Ty::B64, AtomTy::B64),
    (Ty::U32, AtomTy::U32),
    (Ty::S32, AtomTy::S32),
    (Ty::U64, AtomTy::U64),
    (Ty::S64, AtomTy::S64),
    (Ty::F16, AtomTy::F16),
    (Ty::F16x2, AtomTy::F16x2),
    (Ty::BF16, AtomTy::Bf16),
    (Ty::BF16x2, AtomTy::Bf16x2),
    (Ty::F32, AtomTy::F32),
    (Ty::F64, AtomTy::F64),
];

/// Which pairs the ISA has: bitwise on bits, sums and extremes on numbers, counters on u32.
fn allowed(op: AtomOp, ty: Ty) -> bool {
    let bits = matches!(ty, Ty::B16 | Ty::B32 | Ty::B64);
    match op {
        AtomOp::And | AtomOp::Or | AtomOp::Xor => bits,
        AtomOp::Exch | AtomOp::Cas => !ty.float(),
        AtomOp::Inc | AtomOp::Dec => ty == Ty::U32,
        AtomOp::Add => !bits,
        AtomOp::Min | AtomOp::Max => !bits && !ty.float(),
    }
}

/// With `returns`, the operands are d, a, b, c; without, a, b.
fn atomic(m: &Mods, returns: bool) -> Option<Exec> {
    let op = OPS.iter().position(|o| m.has(o.0))?;
    let ty = TYPES.iter().position(|t| t.0 == m.ty())?;
    if !allowed(OPS[op].1, m.ty()) {
        return None;
    }
    let exec = exec!(|c, i| {
        let returns = i.mods & 1 != 0;
        let (op, ty) = (OPS[(i.mods >> 1 & 15) as usize].1, TYPES[(i.mods >> 5) as usize].1);
        let at = usize::from(returns);
        let wide = ty.size() == 8;
        let addresses = c.addresses(i.o[at], i.offset, i.mem.base64);
        let x = c.warp.regs.widened(i.o[at + 1], wide);
        let y = if i.o[at + 2] == crate::exec::ABSENT { [0; 32] } else { c.warp.regs.widened(i.o[at + 2], wide) };
        let access = c.access(i, ty.size());
        let mut old = [0; 32];
        c.wrote = true;
        if let Err(fault) = c.door.atomic(&access, op, ty, &addresses, &x, &y, Some(&mut old)) {
            return c.fault(fault);
        }
        if returns && wide {
            c.warp.regs.put::<u64>(i.o[0], c.mask, &old);
        } else if returns {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &old.map(|v| v as u32));
        }
        Flow::Next
    });
    Some(exec.with(u32::from(returns) | (op as u32) << 1 | (ty as u32) << 5).taint(Taint::Whole))
}

/// Bytes of the longest vector of `atom` and `red`.
const LONGEST: u32 = 16;

/// Sums of vectors, each element an atomic of its own. With `returns`, the operands are d, a, b; without, a, b.
fn vector(m: &Mods, returns: bool) -> Option<Exec> {
    let ty = TYPES.iter().position(|t| t.0 == m.ty())?;
    // Sums of halves never flush, and say so.
    if m.ty().bytes() * count(m) > LONGEST || m.has("noftz") == (m.ty() == Ty::F32) {
        return None;
    }
    Some(exec!(|c, i| add_vector(c, i)).with(u32::from(returns) | (ty as u32) << 1).taint(Taint::Whole))
}

fn add_vector(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (returns, ty) = (i.mods & 1 != 0, TYPES[(i.mods >> 1) as usize].1);
    let at = usize::from(returns);
    let start = i.o[at + 1] as usize;
    let elements = if returns { start } else { i.list.len() };
    let addresses = c.addresses(i.o[at], i.offset, i.mem.base64);
    let whole = u64::from(ty.size()) * elements as u64;
    if let Some(l) = lanes(c.mask).find(|&l| !addresses[l].is_multiple_of(whole)) {
        let what = format!("an atomic vector of {whole} bytes at {:#x}", addresses[l]);
        return c.fail(i, 1 << l, FaultKind::Misaligned, what);
    }
    let access = c.access(i, ty.size());
    let mut old = [[0; 32]; LONGEST as usize / 2];
    c.wrote = true;
    for (k, old) in old[..elements].iter_mut().enumerate() {
        let element = addresses.map(|a| a + k as u64 * u64::from(ty.size()));
        let x = c.warp.regs.r32[i.list[start + k] as usize].map(u64::from);
        if let Err(fault) = c.door.atomic(&access, AtomOp::Add, ty, &element, &x, &[0; 32], Some(old)) {
            return c.fault(fault);
        }
    }
    if returns {
        for (old, d) in old[..elements].iter().zip(&i.list) {
            c.warp.regs.put::<u32>(*d, c.mask, &old.map(|v| v as u32));
        }
    }
    Flow::Next
}
