//! f16 and bf16 arithmetic, scalar and packed (PTX ISA 9.7.4).

use super::mods;
use super::row::{Mods, Row, row};
use crate::arith::half::{self, Bf16, F16, Half as _, HalfMode};
use crate::count::Class::Half;
use crate::exec::lift::{lift2, lift3};
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec, lane1};
use crate::ptx::Ty;

/// An instruction of a two-operand function in all four types; plain mode as a constant. `$wide` is the function on f32.
macro_rules! two {
    ($m:expr, $f:ident, $wide:expr) => {
        match ($m.ty(), mods::pack($m)) {
            (Ty::F16, 0) => exec!(|c, i| lift2(c, i, |a: u16, b: u16| half::$f::<F16>(a, b, PLAIN))),
            (Ty::BF16, 0) => exec!(|c, i| lift2(c, i, |a: u16, b: u16| half::$f::<Bf16>(a, b, PLAIN))),
            (Ty::F16x2, 0) => exec!(|c, i, FAST| packed::<FAST, 2>(c, i, |[a, b]| $wide(a, b))),
            (Ty::BF16x2, 0) => {
                exec!(|c, i| lift2(c, i, |a: u32, b: u32| half::both2(a, b, |a, b| half::$f::<Bf16>(a, b, PLAIN))))
            }
            (Ty::F16, other) => exec!(|c, i| {
                let mode = mods::half_mode(i.mods);
                lift2(c, i, |a: u16, b: u16| half::$f::<F16>(a, b, mode))
            })
            .with(other),
            (Ty::F16x2, other) => exec!(|c, i| {
                let mode = mods::half_mode(i.mods);
                lift2(c, i, |a: u32, b: u32| half::both2(a, b, |a, b| half::$f::<F16>(a, b, mode)))
            })
            .with(other),
            (_, other) => exec!(|c, i| {
                let mode = mods::half_mode(i.mods);
                lift2(c, i, |a: u32, b: u32| half::both2(a, b, |a, b| half::$f::<Bf16>(a, b, mode)))
            })
            .with(other),
        }
    };
}

const PLAIN: HalfMode = HalfMode { ftz: false, sat: false, relu: false };

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("add{.rn}{.ftz}{.sat}.(f16|f16x2) d, a, b",        "9.7.4.1", Half, |m| Some(two!(m, add, |a: f32, b: f32| a + b))),
        row("add{.rn}.(bf16|bf16x2) d, a, b",                  "9.7.4.1", Half, |m| Some(two!(m, add, |a: f32, b: f32| a + b))).since(90),
        row("sub{.rn}{.ftz}{.sat}.(f16|f16x2) d, a, b",        "9.7.4.2", Half, |m| Some(two!(m, sub, |a: f32, b: f32| a - b))),
        row("sub{.rn}.(bf16|bf16x2) d, a, b",                  "9.7.4.2", Half, |m| Some(two!(m, sub, |a: f32, b: f32| a - b))).since(90),
        row("mul{.rn}{.ftz}{.sat}.(f16|f16x2) d, a, b",        "9.7.4.3", Half, |m| Some(two!(m, mul, |a: f32, b: f32| a * b))),
        row("mul{.rn}.(bf16|bf16x2) d, a, b",                  "9.7.4.3", Half, |m| Some(two!(m, mul, |a: f32, b: f32| a * b))).since(90),
        row("fma.rn{.ftz}{.sat}.(f16|f16x2) d, a, b, c",       "9.7.4.4", Half, |m| Some(fma(m))),
        row("fma.rn{.ftz}.relu.(f16|f16x2) d, a, b, c",        "9.7.4.4", Half, |m| Some(fma(m))),
        row("fma.rn{.relu}.(bf16|bf16x2) d, a, b, c",          "9.7.4.4", Half, |m| Some(fma(m))),
        row("neg{.ftz}.(f16|f16x2) d, a",                      "9.7.4.5", Half, |m| Some(neg(m))),
        row("neg.(bf16|bf16x2) d, a",                          "9.7.4.5", Half, |m| Some(neg(m))),
        row("abs{.ftz}.(f16|f16x2) d, a",                      "9.7.4.6", Half, |m| Some(abs(m))),
        row("abs.(bf16|bf16x2) d, a",                          "9.7.4.6", Half, |m| Some(abs(m))),
        row("min{.ftz}{.NaN}{.xorsign}{.abs}.(f16|f16x2) d, a, b", "9.7.4.7", Half, extreme::<false>),
        row("min{.NaN}{.xorsign}{.abs}.(bf16|bf16x2) d, a, b",     "9.7.4.7", Half, extreme::<false>),
        row("max{.ftz}{.NaN}{.xorsign}{.abs}.(f16|f16x2) d, a, b", "9.7.4.8", Half, extreme::<true>),
        row("max{.NaN}{.xorsign}{.abs}.(bf16|bf16x2) d, a, b",     "9.7.4.8", Half, extreme::<true>),
    ]
}

/// Packed f16 in plain mode: `f` of the `N` operands in f32, rounded once more. See `arith/half.rs` for why that is exact.
#[inline(always)]
fn packed<const FAST: bool, const N: usize>(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn([f32; N]) -> f32) -> Flow {
    let mut x = [[[0.0; 32]; 2]; N];
    for k in 0..N {
        // SAFETY: FAST is set in code of the AVX2 tier alone.
        x[k] = unsafe { half::widen_lanes::<FAST>(&c.warp.regs.r32[i.o[k + 1] as usize]) };
    }
    let mut out = [[0.0; 32]; 2];
    for h in 0..2 {
        for l in 0..32 {
            let mut operands = [0.0; N];
            for k in 0..N {
                operands[k] = x[k][h][l];
            }
            out[h][l] = f(operands);
        }
    }
    // SAFETY: as above.
    let out = unsafe { half::narrow_lanes::<FAST>(&out) };
    c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
    Flow::Next
}

fn fma(m: &Mods) -> Exec {
    match (m.ty(), mods::pack(m)) {
        (Ty::F16, 0) => exec!(|c, i| lift3(c, i, |a: u16, b: u16, d: u16| half::fma::<F16>(a, b, d, PLAIN))),
        (Ty::F16x2, 0) => exec!(|c, i, FAST| packed::<FAST, 3>(c, i, |[a, b, d]| F16::fused(a, b, d))),
        (Ty::F16, other) => exec!(|c, i| {
            let mode = mods::half_mode(i.mods);
            lift3(c, i, |a: u16, b: u16, d: u16| half::fma::<F16>(a, b, d, mode))
        })
        .with(other),
        (Ty::F16x2, other) => exec!(|c, i| {
            let mode = mods::half_mode(i.mods);
            lift3(c, i, |a: u32, b: u32, d: u32| half::both3(a, b, d, |a, b, d| half::fma::<F16>(a, b, d, mode)))
        })
        .with(other),
        (Ty::BF16, other) => exec!(|c, i| {
            let mode = mods::half_mode(i.mods);
            lift3(c, i, |a: u16, b: u16, d: u16| half::fma::<Bf16>(a, b, d, mode))
        })
        .with(other),
        (_, other) => exec!(|c, i| {
            let mode = mods::half_mode(i.mods);
            lift3(c, i, |a: u32, b: u32, d: u32| half::both3(a, b, d, |a, b, d| half::fma::<Bf16>(a, b, d, mode)))
        })
        .with(other),
    }
}

fn neg(m: &Mods) -> Exec {
    match (m.ty(), m.has("ftz")) {
        (Ty::F16, true) => lane1!(u16, |a| half::neg::<F16>(a, true)),
        (Ty::F16, false) => lane1!(u16, |a| half::neg::<F16>(a, false)),
        (Ty::F16x2, true) => lane1!(u32, |a| half::both1(a, |a| half::neg::<F16>(a, true))),
        (Ty::F16x2, false) => lane1!(u32, |a| half::both1(a, |a| half::neg::<F16>(a, false))),
        (Ty::BF16, _) => lane1!(u16, |a| half::neg::<Bf16>(a, false)),
        _ => lane1!(u32, |a| half::both1(a, |a| half::neg::<Bf16>(a, false))),
    }
    .taint(Taint::Bytewise)
}

fn abs(m: &Mods) -> Exec {
    match (m.ty(), m.has("ftz")) {
        (Ty::F16, true) => lane1!(u16, |a| half::abs::<F16>(a, true)),
        (Ty::F16, false) => lane1!(u16, |a| half::abs::<F16>(a, false)),
        (Ty::F16x2, true) => lane1!(u32, |a| half::both1(a, |a| half::abs::<F16>(a, true))),
        (Ty::F16x2, false) => lane1!(u32, |a| half::both1(a, |a| half::abs::<F16>(a, false))),
        (Ty::BF16, _) => lane1!(u16, |a| half::abs::<Bf16>(a, false)),
        _ => lane1!(u32, |a| half::both1(a, |a| half::abs::<Bf16>(a, false))),
    }
    .taint(Taint::Bytewise)
}

/// The functions of one direction.
macro_rules! direction {
    ($m:expr, $max:literal) => {
        match ($m.ty(), mods::pack($m)) {
            (Ty::F16, other) => exec!(|c, i| {
                let mode = mods::extreme_mode(i.mods);
                lift2(c, i, |a: u16, b: u16| half::extreme::<F16, $max>(a, b, mode))
            })
            .with(other),
            (Ty::BF16, other) => exec!(|c, i| {
                let mode = mods::extreme_mode(i.mods);
                lift2(c, i, |a: u16, b: u16| half::extreme::<Bf16, $max>(a, b, mode))
            })
            .with(other),
            (Ty::F16x2, other) => exec!(|c, i| {
                let mode = mods::extreme_mode(i.mods);
                lift2(c, i, |a: u32, b: u32| half::both2(a, b, |a, b| half::extreme::<F16, $max>(a, b, mode)))
            })
            .with(other),
            (_, other) => exec!(|c, i| {
                let mode = mods::extreme_mode(i.mods);
                lift2(c, i, |a: u32, b: u32| half::both2(a, b, |a, b| half::extreme::<Bf16, $max>(a, b, mode)))
            })
            .with(other),
        }
    };
}

fn extreme<const MAX: bool>(m: &Mods) -> Option<Exec> {
    if m.has("xorsign") != m.has("abs") {
        return None;
    }
    Some(if MAX { direction!(m, true) } else { direction!(m, false) })
}
