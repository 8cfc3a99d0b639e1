//! Comparison and selection (PTX ISA 9.7.6, 9.7.7): set, setp, selp, slct, for integers and all float types.

use super::row::{Mods, Row, row};
use crate::arith::half::{Bf16, F16, Half};
use crate::arith::round;
use crate::count::Class::Compare;
use crate::exec::lift::{lift3, test2};
use crate::exec::regs::Lane;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, by_width, exec};
use crate::ptx::Ty;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("set.(eq|ne|lt|le|gt|ge|lo|ls|hi|hs){.and|.or|.xor}.(u32|s32|f32).(b16|b32|b64|u16|u32|u64|s16|s32|s64) d:0, a, b{, c:pred}", "9.7.6.1", Compare, set),
        row("set.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(u32|s32|f32).(f32|f64) d:0, a, b{, c:pred}",    "9.7.6.1", Compare, set),
        row("set.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(u16|s16|u32|s32|f16|bf16).(f16|bf16) d:0, a, b{, c:pred}", "9.7.7.1", Compare, set),
        row("set.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(f16x2|bf16x2|u32|s32).(f16x2|bf16x2) d:0, a, b{, c:pred}", "9.7.7.1", Compare, set_packed),
        row("setp.(eq|ne|lt|le|gt|ge|lo|ls|hi|hs){.and|.or|.xor}.(b16|b32|b64|u16|u32|u64|s16|s32|s64) p{|q}, a, b{, c:pred}", "9.7.6.2", Compare, setp),
        row("setp.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(f32|f64) p{|q}, a, b{, c:pred}", "9.7.6.2", Compare, setp),
        row("setp.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(f16|bf16) p{|q}, a, b{, c:pred}", "9.7.7.2", Compare, setp),
        row("setp.(eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan){.and|.or|.xor}{.ftz}.(f16x2|bf16x2) p|q, a, b{, c:pred}", "9.7.7.2", Compare, setp_packed),
        row("selp.(b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64) d, a, b, c:pred", "9.7.6.3", Compare, |m| by_width!(m.ty(), T => exec!(|c, i| {
            let (a, b, p) = (T::cells(&c.warp.regs, i.o[1]), T::cells(&c.warp.regs, i.o[2]), c.warp.regs.pred[i.o[3] as usize]);
            let mut out = *b;
            for l in 0..32 {
                out[l] = if p >> l & 1 != 0 { a[l] } else { b[l] };
            }
            c.warp.regs.put::<T>(i.o[0], c.mask, &out);
            Flow::Next
        }).taint(Taint::Select))),
        row("slct{.ftz}.(b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64).s32 d:0, a:0, b:0, c:s32", "9.7.6.4", Compare, |m| by_width!(m.nth_ty(0)?, T => exec!(|c, i| lift3(c, i, |a: T, b: T, s: i32| if s >= 0 { a } else { b })))),
        row("slct{.ftz}.(b16|b32|b64|u16|u32|u64|s16|s32|s64|f64).f32 d:0, a:0, b:0, c:f32", "9.7.6.4", Compare, |m| by_width!(m.nth_ty(0)?, T => exec!(|c, i| lift3(c, i, |a: T, b: T, s: f32| if s >= 0.0 { a } else { b })))),
    ]
}

// What a comparison accepts: bits of the outcome less, equal, greater, unordered.
const LESS: u32 = 1;
const EQUAL: u32 = 2;
const GREATER: u32 = 4;
const UNORDERED: u32 = 8;

fn accepted(m: &Mods) -> u32 {
    let name = m.parts[0];
    let base = match name {
        "eq" | "equ" => EQUAL,
        "ne" | "neu" => LESS | GREATER,
        "lt" | "ltu" | "lo" => LESS,
        "le" | "leu" | "ls" => LESS | EQUAL,
        "gt" | "gtu" | "hi" => GREATER,
        "ge" | "geu" | "hs" => GREATER | EQUAL,
        "num" => LESS | EQUAL | GREATER,
        _ => 0,
    };
    let unordered = matches!(name, "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan");
    base | if unordered { UNORDERED } else { 0 }
}

// Behind the four bits in `mods`: how the third operand joins, `.ftz`, and what `set` writes.
const AND: u32 = 1 << 4;
const OR: u32 = 2 << 4;
const XOR: u32 = 3 << 4;
const JOIN: u32 = 3 << 4;
const FTZ: u32 = 1 << 6;
const ONE_SHIFT: u32 = 8;

fn packed(m: &Mods) -> u32 {
    let join = match m.which(&["and", "or", "xor"]) {
        Some("and") => AND,
        Some("or") => OR,
        Some(_) => XOR,
        None => 0,
    };
    accepted(m) | join | if m.has("ftz") { FTZ } else { 0 }
}

/// Joins the comparison's bits with the predicate operand in place `k`.
#[inline(always)]
fn join_at(c: &Ctx<'_, '_>, i: &Inst, bits: u32, k: usize) -> u32 {
    if i.mods & JOIN == 0 || i.o[k] == crate::exec::ABSENT {
        return bits;
    }
    let p = c.warp.regs.pred[i.o[k] as usize];
    let p = if i.negated { !p } else { p };
    match i.mods & JOIN {
        AND => bits & p,
        OR => bits | p,
        _ => bits ^ p,
    }
}

#[inline(always)]
fn compare<T: PartialOrd>(a: T, b: T, accept: u32) -> bool {
    let outcome = u32::from(a < b) * LESS | u32::from(a == b) * EQUAL | u32::from(a > b) * GREATER;
    (if outcome == 0 { UNORDERED } else { outcome }) & accept != 0
}

/// The lanes for which the comparison holds; `a` and `b` are operand places.
#[inline(always)]
fn holds<T: Lane + PartialOrd>(c: &Ctx<'_, '_>, i: &Inst, a: usize, b: usize) -> u32 {
    let (a, b) = (i.o[a], i.o[b]);
    match i.mods & 15 {
        EQUAL => test2(c, a, b, |x: T, y: T| x == y),
        LESS => test2(c, a, b, |x: T, y: T| x < y),
        GREATER => test2(c, a, b, |x: T, y: T| x > y),
        accept => test2(c, a, b, |x: T, y: T| compare(x, y, accept)),
    }
}

#[inline(always)]
fn holds_f32(c: &Ctx<'_, '_>, i: &Inst, a: usize, b: usize) -> u32 {
    if i.mods & FTZ == 0 {
        return holds::<f32>(c, i, a, b);
    }
    test2(c, i.o[a], i.o[b], |x: f32, y: f32| compare(round::flush(x), round::flush(y), i.mods & 15))
}

#[inline(always)]
fn half_value<H: Half>(h: u16, ftz: bool) -> f32 {
    H::widen(if ftz { crate::arith::half::flush::<H>(h) } else { h })
}

#[inline(always)]
fn holds_half<H: Half>(c: &Ctx<'_, '_>, i: &Inst, a: usize, b: usize, shift: u32) -> u32 {
    let ftz = i.mods & FTZ != 0;
    let value = |x: u32| half_value::<H>((x >> shift) as u16, ftz);
    test2(c, i.o[a], i.o[b], |x: u32, y: u32| compare(value(x), value(y), i.mods & 15))
}

/// `setp` for one way to compare.
macro_rules! setp {
    ($holds:expr) => {
        exec!(|c, i| {
            let yes: u32 = $holds(c, i, 2, 3);
            let (p, q) = (join(c, i, yes), join(c, i, !yes));
            c.warp.regs.put_pred(i.o[1], c.mask, q);
            c.warp.regs.put_pred(i.o[0], c.mask, p);
            Flow::Next
        })
    };
}

fn setp(m: &Mods) -> Option<Exec> {
    let exec = match m.ty() {
        Ty::B16 | Ty::U16 => setp!(holds::<u16>),
        Ty::B32 | Ty::U32 => setp!(holds::<u32>),
        Ty::B64 | Ty::U64 => setp!(holds::<u64>),
        Ty::S16 => setp!(holds::<i16>),
        Ty::S32 => setp!(holds::<i32>),
        Ty::S64 => setp!(holds::<i64>),
        Ty::F32 => setp!(holds_f32),
        Ty::F64 => setp!(holds::<f64>),
        Ty::F16 => setp!(|c, i, a, b| holds_half::<F16>(c, i, a, b, 0)),
        Ty::BF16 => setp!(|c, i, a, b| holds_half::<Bf16>(c, i, a, b, 0)),
        _ => return None,
    };
    Some(exec.with(packed(m)))
}

fn setp_packed(m: &Mods) -> Option<Exec> {
    let exec = if m.ty() == Ty::F16x2 {
        exec!(|c, i| {
            let (low, high) = (holds_half::<F16>(c, i, 2, 3, 0), holds_half::<F16>(c, i, 2, 3, 16));
            let (p, q) = (join(c, i, low), join(c, i, high));
            c.warp.regs.put_pred(i.o[0], c.mask, p);
            c.warp.regs.put_pred(i.o[1], c.mask, q);
            Flow::Next
        })
    } else {
        exec!(|c, i| {
            let (low, high) = (holds_half::<Bf16>(c, i, 2, 3, 0), holds_half::<Bf16>(c, i, 2, 3, 16));
            let (p, q) = (join(c, i, low), join(c, i, high));
            c.warp.regs.put_pred(i.o[0], c.mask, p);
            c.warp.regs.put_pred(i.o[1], c.mask, q);
            Flow::Next
        })
    };
    Some(exec.with(packed(m)))
}

/// What `set` writes for true, packed behind the other bits: 1.0 of the type, or all ones.
fn truth(ty: Ty) -> u32 {
    match ty {
        Ty::F32 => 1,
        Ty::F16 | Ty::F16x2 => 2,
        Ty::BF16 | Ty::BF16x2 => 3,
        Ty::U16 | Ty::S16 => 4,
        _ => 0,
    }
}

const TRUTHS: [u32; 5] = [u32::MAX, 0x3f80_0000, 0x3c00, 0x3f80, 0xffff];

/// `set` for one way to compare. Operands: d, a, b, c.
macro_rules! set {
    ($holds:expr) => {
        exec!(|c, i| {
            let yes: u32 = $holds(c, i, 1, 2);
            let yes = join3(c, i, yes);
            let one = TRUTHS[(i.mods >> ONE_SHIFT) as usize];
            let out = std::array::from_fn(|l| if yes >> l & 1 != 0 { one } else { 0 });
            c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
            Flow::Next
        })
    };
}

/// The predicate of `set`.
#[inline(always)]
fn join3(c: &Ctx<'_, '_>, i: &Inst, bits: u32) -> u32 {
    join_at(c, i, bits, 3)
}

/// The predicate of `setp`.
#[inline(always)]
fn join(c: &Ctx<'_, '_>, i: &Inst, bits: u32) -> u32 {
    join_at(c, i, bits, 4)
}

fn set(m: &Mods) -> Option<Exec> {
    let exec = match m.ty() {
        Ty::B16 | Ty::U16 => set!(holds::<u16>),
        Ty::B32 | Ty::U32 => set!(holds::<u32>),
        Ty::B64 | Ty::U64 => set!(holds::<u64>),
        Ty::S16 => set!(holds::<i16>),
        Ty::S32 => set!(holds::<i32>),
        Ty::S64 => set!(holds::<i64>),
        Ty::F32 => set!(holds_f32),
        Ty::F64 => set!(holds::<f64>),
        Ty::F16 => set!(|c, i, a, b| holds_half::<F16>(c, i, a, b, 0)),
        Ty::BF16 => set!(|c, i, a, b| holds_half::<Bf16>(c, i, a, b, 0)),
        _ => return None,
    };
    Some(exec.with(packed(m) | truth(m.nth_ty(0)?) << ONE_SHIFT))
}

fn set_packed(m: &Mods) -> Option<Exec> {
    let d = m.nth_ty(0)?;
    // A float result has the source's type; an integer one is 0xffff a half.
    let one = if d.float() { (d == m.ty()).then(|| truth(d))? } else { 4 };
    let exec = if m.ty() == Ty::F16x2 {
        exec!(|c, i| {
            let (low, high) = (holds_half::<F16>(c, i, 1, 2, 0), holds_half::<F16>(c, i, 1, 2, 16));
            halves(c, i, low, high)
        })
    } else {
        exec!(|c, i| {
            let (low, high) = (holds_half::<Bf16>(c, i, 1, 2, 0), holds_half::<Bf16>(c, i, 1, 2, 16));
            halves(c, i, low, high)
        })
    };
    Some(exec.with(packed(m) | one << ONE_SHIFT))
}

#[inline(always)]
fn halves(c: &mut Ctx<'_, '_>, i: &Inst, low: u32, high: u32) -> Flow {
    let (low, high) = (join3(c, i, low), join3(c, i, high));
    let one = TRUTHS[(i.mods >> ONE_SHIFT) as usize];
    let out = std::array::from_fn(|l| (low >> l & 1) * one | (high >> l & 1) * one << 16);
    c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
    Flow::Next
}
