//! Integer arithmetic and extended-precision integer arithmetic (PTX ISA 9.7.1, 9.7.2).

use super::row::{Mods, Row, row};
use crate::arith::bits::{self, Word};
use crate::count::Class::Int;
use crate::exec::lift::lift4;
use crate::exec::{Exec, Taint, by_int, by_width, exec, lane1, lane2, lane3};
use crate::ptx::Ty;

/// Both halves of each word apart: the packed 16-bit forms.
macro_rules! packed {
    ($ty:expr, $f:expr) => {
        match $ty {
            Ty::U16x2 => Some(lane2!(u32, |a, b| {
                let f = $f;
                u32::from(f(a as u16 as i32, b as u16 as i32) as u16)
                    | (f((a >> 16) as i32, (b >> 16) as i32) as u32) << 16
            })),
            Ty::S16x2 => Some(lane2!(u32, |a, b| {
                let f = $f;
                let half = |x: u32, s: u32| i32::from((x >> s) as i16);
                u32::from(f(half(a, 0), half(b, 0)) as u16) | (f(half(a, 16), half(b, 16)) as u32) << 16
            })),
            _ => None,
        }
    };
}

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("add.(u16x2|s16x2) d, a, b",                      "9.7.1.1", Int, |m| packed!(m.ty(), |a: i32, b: i32| a + b)).since(90),
        row("add.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.1", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.plus(b)))),
        row("add.sat.s32 d, a, b",                            "9.7.1.1", Int, |_| Some(lane2!(i32, |a: i32, b: i32| a.saturating_add(b)))),
        row("sub.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.2", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.minus(b)))),
        row("sub.sat.s32 d, a, b",                            "9.7.1.2", Int, |_| Some(lane2!(i32, |a: i32, b: i32| a.saturating_sub(b)))),
        row("mul.lo.(u16|u32|u64|s16|s32|s64) d, a, b",       "9.7.1.3", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.wrapping_mul(b)))),
        row("mul.hi.(u16|u32|u64|s16|s32|s64) d, a, b",       "9.7.1.3", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.mul_hi(b)))),
        row("mul.wide.(u16|u32|s16|s32) d:wide, a, b",        "9.7.1.3", Int, mul_wide),
        row("mad.lo.(u16|u32|u64|s16|s32|s64) d, a, b, c",    "9.7.1.4", Int, |m| by_int!(m.ty(), T => lane3!(T, |a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c)))),
        row("mad.hi.(u16|u32|u64|s16|s32|s64) d, a, b, c",    "9.7.1.4", Int, |m| by_int!(m.ty(), T => lane3!(T, |a: T, b: T, c: T| a.mul_hi(b).wrapping_add(c)))),
        row("mad.hi.sat.s32 d, a, b, c",                      "9.7.1.4", Int, |_| Some(lane3!(i32, |a: i32, b: i32, c: i32| a.mul_hi(b).saturating_add(c)))),
        row("mad.wide.(u16|u32|s16|s32) d:wide, a, b, c:wide", "9.7.1.4", Int, mad_wide),
        row("mul24.(hi|lo).(u32|s32) d, a, b",                "9.7.1.5", Int, mul24),
        row("mad24.(hi|lo).(u32|s32) d, a, b, c",             "9.7.1.6", Int, mad24),
        row("sad.(u16|u32|u64|s16|s32|s64) d, a, b, c",       "9.7.1.7", Int, |m| by_int!(m.ty(), T => lane3!(T, |a: T, b: T, c: T| bits::sad(a, b, c)))),
        row("div.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.8", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.quotient(b)))),
        row("rem.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.9", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.remainder(b)))),
        row("abs.(s16|s32|s64) d, a",                         "9.7.1.10", Int, |m| match m.ty() { Ty::S16 => Some(lane1!(i16, i16::wrapping_abs)), Ty::S32 => Some(lane1!(i32, i32::wrapping_abs)), _ => Some(lane1!(i64, i64::wrapping_abs)) }),
        row("neg.(s16|s32|s64) d, a",                         "9.7.1.11", Int, |m| by_int!(m.ty(), T => lane1!(T, |a: T| a.wrapping_neg()))),
        row("min.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.12", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.min(b)))),
        row("min.(u16x2|s16x2) d, a, b",                      "9.7.1.12", Int, |m| packed!(m.ty(), |a: i32, b: i32| a.min(b))).since(90),
        row("min.relu.(s16x2|s32) d, a, b",                   "9.7.1.12", Int, |m| if m.ty() == Ty::S32 { Some(lane2!(i32, |a: i32, b: i32| a.min(b).max(0))) } else { packed!(m.ty(), |a: i32, b: i32| a.min(b).max(0)) }).since(90),
        row("min.(s16x2|s32).relu d, a, b",                   "9.7.1.12", Int, |m| if m.ty() == Ty::S32 { Some(lane2!(i32, |a: i32, b: i32| a.min(b).max(0))) } else { packed!(m.ty(), |a: i32, b: i32| a.min(b).max(0)) }).since(90),
        row("max.(u16|u32|u64|s16|s32|s64) d, a, b",          "9.7.1.13", Int, |m| by_int!(m.ty(), T => lane2!(T, |a: T, b: T| a.max(b)))),
        row("max.(u16x2|s16x2) d, a, b",                      "9.7.1.13", Int, |m| packed!(m.ty(), |a: i32, b: i32| a.max(b))).since(90),
        row("max.relu.(s16x2|s32) d, a, b",                   "9.7.1.13", Int, |m| if m.ty() == Ty::S32 { Some(lane2!(i32, |a: i32, b: i32| a.max(b).max(0))) } else { packed!(m.ty(), |a: i32, b: i32| a.max(b).max(0)) }).since(90),
        row("max.(s16x2|s32).relu d, a, b",                   "9.7.1.13", Int, |m| if m.ty() == Ty::S32 { Some(lane2!(i32, |a: i32, b: i32| a.max(b).max(0))) } else { packed!(m.ty(), |a: i32, b: i32| a.max(b).max(0)) }).since(90),
        row("popc.(b32|b64) d:u32, a",                        "9.7.1.14", Int, |m| by_width!(m.ty(), T => lane1!(T => u32, |a: T| a.count_ones()))),
        row("clz.(b32|b64) d:u32, a",                         "9.7.1.15", Int, |m| by_width!(m.ty(), T => lane1!(T => u32, |a: T| a.leading_zeros()))),
        row("bfind{.shiftamt}.(u32|u64|s32|s64) d:u32, a",    "9.7.1.16", Int, bfind),
        row("fns.b32 d, a, b, c:s32",                         "9.7.1.17", Int, |_| Some(lane3!(u32, u32, i32 => u32, |a: u32, b: u32, c: i32| bits::fns(a, b, c)))),
        row("brev.(b32|b64) d, a",                            "9.7.1.18", Int, |m| by_width!(m.ty(), T => lane1!(T, |a: T| a.reverse_bits()))),
        row("bfe.(u32|u64|s32|s64) d, a, b:u32, c:u32",       "9.7.1.19", Int, bfe),
        row("bfi.(b32|b64) d, a, b, c:u32, e:u32",            "9.7.1.20", Int, bfi),
        row("szext.(clamp|wrap).(u32|s32) d, a, b:u32",       "9.7.1.21", Int, szext),
        row("bmsk.(clamp|wrap).b32 d, a, b",                  "9.7.1.22", Int, |m| Some(if m.has("clamp") { lane2!(u32, bits::bmsk::<true>) } else { lane2!(u32, bits::bmsk::<false>) })),
        row("dp4a.(u32|s32).(u32|s32) d:b32, a:b32, b:b32, c:b32",      "9.7.1.23", Int, dp4a),
        row("dp2a.(lo|hi).(u32|s32).(u32|s32) d:b32, a:b32, b:b32, c:b32", "9.7.1.24", Int, dp2a),
        row("add.cc.(u32|s32|u64|s64) d, a, b",               "9.7.2.1", Int, |m| carry(m, false, true)),
        row("addc{.cc}.(u32|s32|u64|s64) d, a, b",            "9.7.2.2", Int, |m| carry(m, true, true)),
        row("sub.cc.(u32|s32|u64|s64) d, a, b",               "9.7.2.3", Int, |m| carry(m, false, false)),
        row("subc{.cc}.(u32|s32|u64|s64) d, a, b",            "9.7.2.4", Int, |m| carry(m, true, false)),
        row("mad.(lo|hi).cc.(u32|s32|u64|s64) d, a, b, c",    "9.7.2.5", Int, |m| mad_carry(m, false)),
        row("madc.(lo|hi){.cc}.(u32|s32|u64|s64) d, a, b, c", "9.7.2.6", Int, |m| mad_carry(m, true)),
    ]
}

fn mul_wide(m: &Mods) -> Option<Exec> {
    Some(match m.ty() {
        Ty::U16 => lane2!(u16, u16 => u32, |a: u16, b: u16| u32::from(a) * u32::from(b)),
        Ty::S16 => lane2!(i16, i16 => i32, |a: i16, b: i16| i32::from(a) * i32::from(b)),
        Ty::U32 => lane2!(u32, u32 => u64, |a: u32, b: u32| u64::from(a) * u64::from(b)),
        _ => lane2!(i32, i32 => i64, |a: i32, b: i32| i64::from(a) * i64::from(b)),
    })
}

fn mad_wide(m: &Mods) -> Option<Exec> {
    Some(match m.ty() {
        Ty::U16 => lane3!(u16, u16, u32 => u32, |a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c)),
        Ty::S16 => lane3!(i16, i16, i32 => i32, |a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c)),
        Ty::U32 => lane3!(u32, u32, u64 => u64, |a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c)),
        _ => lane3!(i32, i32, i64 => i64, |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c)),
    })
}

fn mul24(m: &Mods) -> Option<Exec> {
    Some(match (m.ty().signed(), m.has("hi")) {
        (false, false) => lane2!(u32, bits::mul24::<false, false>),
        (false, true) => lane2!(u32, bits::mul24::<false, true>),
        (true, false) => lane2!(u32, bits::mul24::<true, false>),
        (true, true) => lane2!(u32, bits::mul24::<true, true>),
    })
}

fn mad24(m: &Mods) -> Option<Exec> {
    Some(match (m.ty().signed(), m.has("hi")) {
        (false, false) => lane3!(u32, |a, b, c: u32| bits::mul24::<false, false>(a, b).wrapping_add(c)),
        (false, true) => lane3!(u32, |a, b, c: u32| bits::mul24::<false, true>(a, b).wrapping_add(c)),
        (true, false) => lane3!(u32, |a, b, c: u32| bits::mul24::<true, false>(a, b).wrapping_add(c)),
        (true, true) => lane3!(u32, |a, b, c: u32| bits::mul24::<true, true>(a, b).wrapping_add(c)),
    })
}

fn bfind(m: &Mods) -> Option<Exec> {
    // `mods` is 1 for `.shiftamt`.
    let exec = match m.ty() {
        Ty::U32 => exec!(|c, i| {
            let shift = i.mods != 0;
            crate::exec::lift::lift1(c, i, |a: u32| bits::bfind_u32(a, shift))
        }),
        Ty::S32 => exec!(|c, i| {
            let shift = i.mods != 0;
            crate::exec::lift::lift1(c, i, |a: u32| bits::bfind_s32(a, shift))
        }),
        Ty::U64 => exec!(|c, i| {
            let shift = i.mods != 0;
            crate::exec::lift::lift1(c, i, |a: u64| bits::bfind_u64(a, shift))
        }),
        _ => exec!(|c, i| {
            let shift = i.mods != 0;
            crate::exec::lift::lift1(c, i, |a: u64| bits::bfind_s64(a, shift))
        }),
    };
    Some(exec.with(u32::from(m.has("shiftamt"))))
}

fn bfe(m: &Mods) -> Option<Exec> {
    Some(
        match m.ty() {
            Ty::U32 => lane3!(u32, bits::bfe_u32),
            Ty::S32 => lane3!(u32, bits::bfe_s32),
            Ty::U64 => lane3!(u64, u32, u32 => u64, bits::bfe_u64),
            _ => lane3!(u64, u32, u32 => u64, bits::bfe_s64),
        }
        .taint(Taint::Extract),
    )
}

fn bfi(m: &Mods) -> Option<Exec> {
    Some(
        if m.ty().bits() == 32 {
            exec!(|c, i| lift4(c, i, |a: u32, b: u32, at: u32, len: u32| bits::bfi_b32(a, b, at, len)))
        } else {
            exec!(|c, i| lift4(c, i, |a: u64, b: u64, at: u32, len: u32| bits::bfi_b64(a, b, at, len)))
        }
        .taint(Taint::Insert),
    )
}

fn szext(m: &Mods) -> Option<Exec> {
    Some(match (m.ty().signed(), m.has("clamp")) {
        (false, false) => lane2!(u32, bits::szext::<false, false>),
        (false, true) => lane2!(u32, bits::szext::<false, true>),
        (true, false) => lane2!(u32, bits::szext::<true, false>),
        (true, true) => lane2!(u32, bits::szext::<true, true>),
    })
}

fn signs(m: &Mods) -> (bool, bool) {
    let signed = |n| m.nth_ty(n).is_some_and(Ty::signed);
    (signed(0), signed(1))
}

fn dp4a(m: &Mods) -> Option<Exec> {
    Some(match signs(m) {
        (false, false) => lane3!(u32, bits::dp4a::<false, false>),
        (false, true) => lane3!(u32, bits::dp4a::<false, true>),
        (true, false) => lane3!(u32, bits::dp4a::<true, false>),
        (true, true) => lane3!(u32, bits::dp4a::<true, true>),
    })
}

fn dp2a(m: &Mods) -> Option<Exec> {
    let (a, b) = signs(m);
    Some(match (a, b, m.has("hi")) {
        (false, false, false) => lane3!(u32, bits::dp2a::<false, false, false>),
        (false, true, false) => lane3!(u32, bits::dp2a::<false, true, false>),
        (true, false, false) => lane3!(u32, bits::dp2a::<true, false, false>),
        (true, true, false) => lane3!(u32, bits::dp2a::<true, true, false>),
        (false, false, true) => lane3!(u32, bits::dp2a::<false, false, true>),
        (false, true, true) => lane3!(u32, bits::dp2a::<false, true, true>),
        (true, false, true) => lane3!(u32, bits::dp2a::<true, false, true>),
        (true, true, true) => lane3!(u32, bits::dp2a::<true, true, true>),
    })
}

// The carry flag of a thread is a bit of `Warp::carry`. Bits of `mods`: 1 reads it, 2 writes it, 4 adds (else subtracts), 8 multiplies
// for the high half.
const READS: u32 = 1;
const WRITES: u32 = 2;
const ADDS: u32 = 4;
const HIGH: u32 = 8;

fn flags(m: &Mods, reads: bool, adds: bool) -> u32 {
    let writes = !reads || m.has("cc");
    u32::from(reads) * READS | u32::from(writes) * WRITES | u32::from(adds) * ADDS | u32::from(m.has("hi")) * HIGH
}

/// Runs `f(lane, carry in)`, which gives the carry out.
#[inline(always)]
fn carried(c: &mut crate::exec::Ctx<'_, '_>, mods: u32, mut f: impl FnMut(usize, u32) -> u32) {
    let old = c.warp.carry;
    let mut new = 0;
    for l in 0..32 {
        let carry = if mods & READS != 0 { old >> l & 1 } else { 0 };
        new |= f(l, carry) << l;
    }
    if mods & WRITES != 0 {
        c.warp.carry = (old & !c.mask) | (new & c.mask);
    }
}

fn carry(m: &Mods, reads: bool, adds: bool) -> Option<Exec> {
    let exec = if m.ty().bits() == 32 {
        exec!(|c, i| {
            let (a, b) = (c.warp.regs.r32[i.o[1] as usize], c.warp.regs.r32[i.o[2] as usize]);
            let mut out = [0; 32];
            let f = if i.mods & ADDS != 0 { bits::add_carry } else { bits::sub_borrow };
            carried(c, i.mods, |l, carry| {
                let (v, carry) = f(a[l], b[l], carry);
                out[l] = v;
                carry
            });
            c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
            Flow::Next
        })
    } else {
        exec!(|c, i| {
            let (a, b) = (c.warp.regs.r64[i.o[1] as usize], c.warp.regs.r64[i.o[2] as usize]);
            let mut out = [0; 32];
            let f = if i.mods & ADDS != 0 { bits::add_carry64 } else { bits::sub_borrow64 };
            carried(c, i.mods, |l, carry| {
                let (v, carry) = f(a[l], b[l], carry);
                out[l] = v;
                carry
            });
            c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
            Flow::Next
        })
    };
    Some(exec.with(flags(m, reads, adds)))
}

fn mad_carry(m: &Mods, reads: bool) -> Option<Exec> {
    let exec = match (m.ty().bits(), m.ty().signed()) {
        (32, false) => exec!(|c, i| {
            mad_carry32(c, i, |a, b| a.mul_hi(b));
            Flow::Next
        }),
        (32, true) => exec!(|c, i| {
            mad_carry32(c, i, |a, b| (a as i32).mul_hi(b as i32) as u32);
            Flow::Next
        }),
        (_, false) => exec!(|c, i| {
            mad_carry64(c, i, |a, b| a.mul_hi(b));
            Flow::Next
        }),
        (_, true) => exec!(|c, i| {
            mad_carry64(c, i, |a, b| (a as i64).mul_hi(b as i64) as u64);
            Flow::Next
        }),
    };
    Some(exec.with(flags(m, reads, true)))
}

#[inline(always)]
fn mad_carry32(c: &mut crate::exec::Ctx<'_, '_>, i: &crate::exec::Inst, high: impl Fn(u32, u32) -> u32) {
    let [a, b, add] = [1, 2, 3].map(|k| c.warp.regs.r32[i.o[k] as usize]);
    let mut out = [0; 32];
    carried(c, i.mods, |l, carry| {
        let product = if i.mods & HIGH != 0 { high(a[l], b[l]) } else { a[l].wrapping_mul(b[l]) };
        let (v, carry) = bits::add_carry(product, add[l], carry);
        out[l] = v;
        carry
    });
    c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
}

#[inline(always)]
fn mad_carry64(c: &mut crate::exec::Ctx<'_, '_>, i: &crate::exec::Inst, high: impl Fn(u64, u64) -> u64) {
    let [a, b, add] = [1, 2, 3].map(|k| c.warp.regs.r64[i.o[k] as usize]);
    let mut out = [0; 32];
    carried(c, i.mods, |l, carry| {
        let product = if i.mods & HIGH != 0 { high(a[l], b[l]) } else { a[l].wrapping_mul(b[l]) };
        let (v, carry) = bits::add_carry64(product, add[l], carry);
        out[l] = v;
        carry
    });
    c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
}
