//! The approximate functions (PTX ISA 9.7.3.8, 9.7.3.13 to 9.7.3.22, 9.7.4.9, 9.7.4.10): correctly rounded, or moved by a seeded error within the
//! stated bound.

use super::row::{Mods, Row, row};
use crate::arith::approx;
use crate::arith::half::{Bf16, F16, both1};
use crate::config::Approx;
use crate::count::Class::Special;
use crate::exec::lift::{lift1, lift2};
use crate::exec::{Ctx, Exec, exec, lane1};
use crate::ptx::Ty;

/// The seed of the errors, if there are to be any.
#[inline(always)]
fn perturb(c: &Ctx<'_, '_>) -> Option<u64> {
    (c.launch.numerics.approx == Approx::Perturbed).then_some(c.launch.seed)
}

/// A function of one f32; `mods` 1 is `.ftz`.
macro_rules! one {
    ($m:expr, $f:path) => {
        Some(
            exec!(|c, i| {
                let (ftz, seed) = (i.mods != 0, perturb(c));
                match seed {
                    None => lift1(c, i, |x: f32| $f(x, ftz, None)),
                    seed => lift1(c, i, |x: f32| $f(x, ftz, seed)),
                }
            })
            .with(u32::from($m.has("ftz"))),
        )
    };
}

/// A function of two f32.
macro_rules! two {
    ($m:expr, $f:path) => {
        Some(
            exec!(|c, i| {
                let (ftz, seed) = (i.mods != 0, perturb(c));
                lift2(c, i, |x: f32, y: f32| $f(x, y, ftz, seed))
            })
            .with(u32::from($m.has("ftz"))),
        )
    };
}

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("div.approx{.ftz}.f32 d, a, b",         "9.7.3.8", Special, |m| two!(m, approx::div)),
        row("div.full{.ftz}.f32 d, a, b",           "9.7.3.8", Special, |m| two!(m, approx::div_full)),
        row("rcp.approx{.ftz}.f32 d, a",            "9.7.3.13", Special, |m| one!(m, approx::rcp)),
        row("rcp.approx.ftz.f64 d, a",              "9.7.3.14", Special, |_| Some(lane1!(f64, approx::rcp64))),
        row("sqrt.approx{.ftz}.f32 d, a",           "9.7.3.15", Special, |m| one!(m, approx::sqrt)),
        row("rsqrt.approx{.ftz}.f32 d, a",          "9.7.3.16", Special, |m| one!(m, approx::rsqrt)),
        row("rsqrt.approx.f64 d, a",                "9.7.3.16", Special, |_| Some(lane1!(f64, approx::rsqrt_f64))),
        row("rsqrt.approx.ftz.f64 d, a",            "9.7.3.17", Special, |_| Some(lane1!(f64, approx::rsqrt64))),
        row("sin.approx{.ftz}.f32 d, a",            "9.7.3.18", Special, |m| one!(m, approx::sin)),
        row("cos.approx{.ftz}.f32 d, a",            "9.7.3.19", Special, |m| one!(m, approx::cos)),
        row("lg2.approx{.ftz}.f32 d, a",            "9.7.3.20", Special, |m| one!(m, approx::lg2)),
        row("ex2.approx{.ftz}.f32 d, a",            "9.7.3.21", Special, |m| one!(m, approx::ex2)),
        row("tanh.approx.f32 d, a",                 "9.7.3.22", Special, |_| Some(exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: f32| approx::tanh(x, seed))
        }))),
        row("tanh.approx.(f16|f16x2|bf16|bf16x2) d, a",  "9.7.4.9", Special, |m| Some(tanh(m))),
        row("ex2.approx.(f16|f16x2) d, a",          "9.7.4.10", Special, |m| Some(ex2(m))),
        row("ex2.approx.ftz.(bf16|bf16x2) d, a",    "9.7.4.10", Special, |m| Some(ex2(m))).since(90),
    ]
}

fn tanh(m: &Mods) -> Exec {
    use approx::{TANH_BF16, TANH_F16, tanh_half};
    match m.ty() {
        Ty::F16 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u16| tanh_half::<F16>(x, TANH_F16, seed))
        }),
        Ty::F16x2 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u32| both1(x, |x| tanh_half::<F16>(x, TANH_F16, seed)))
        }),
        Ty::BF16 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u16| tanh_half::<Bf16>(x, TANH_BF16, seed))
        }),
        _ => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u32| both1(x, |x| tanh_half::<Bf16>(x, TANH_BF16, seed)))
        }),
    }
}

fn ex2(m: &Mods) -> Exec {
    use approx::{EX2_BF16, EX2_F16, ex2_half};
    match m.ty() {
        Ty::F16 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u16| ex2_half::<F16>(x, false, EX2_F16, seed))
        }),
        Ty::F16x2 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u32| both1(x, |x| ex2_half::<F16>(x, false, EX2_F16, seed)))
        }),
        Ty::BF16 => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u16| ex2_half::<Bf16>(x, true, EX2_BF16, seed))
        }),
        _ => exec!(|c, i| {
            let seed = perturb(c);
            lift1(c, i, |x: u32| both1(x, |x| ex2_half::<Bf16>(x, true, EX2_BF16, seed)))
        }),
    }
}
