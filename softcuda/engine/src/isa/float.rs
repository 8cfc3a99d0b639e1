//! f32 and f64 arithmetic (PTX ISA 9.7.3), except the approximate functions, which are in `special.rs`.

use super::mods;
use super::row::{Mods, Row, row};
use crate::arith::round::{self, ExtremeMode, FloatMode, Property};
use crate::count::Class::{Compare, F32, F64};
use crate::exec::lift::{lift1, lift2, lift3};
use crate::exec::{Exec, Taint, exec, lane1, lane2};
use crate::ptx::Ty;

/// An instruction of a function that takes a mode: the two common modes as constants, the others from `mods`.
macro_rules! moded {
    ($m:expr, $lift:ident, $t:ty, $f:path, ($($x:ident),*)) => {
        match mods::pack($m) {
            0 => exec!(|c, i| $lift(c, i, |$($x: $t),*| $f($($x),*, FloatMode::RN))),
            4 => exec!(|c, i| $lift(c, i, |$($x: $t),*| $f($($x),*, FloatMode::RN_FTZ))),
            other => exec!(|c, i| {
                let mode = mods::float_mode(i.mods);
                $lift(c, i, |$($x: $t),*| $f($($x),*, mode))
            })
            .with(other),
        }
    };
}

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("testp.(finite|infinite|number|notanumber|normal|subnormal).(f32|f64) p, a", "9.7.3.1", Compare, testp),
        row("copysign.(f32|f64) d, a, b",                    "9.7.3.2", F32, |m| Some(if m.ty() == Ty::F32 { lane2!(f32, round::copysign) } else { lane2!(f64, round::copysign64) })),
        row("add{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32 d, a, b",  "9.7.3.3", F32, |m| Some(moded!(m, lift2, f32, round::add, (a, b)))),
        row("add{.rn|.rz|.rm|.rp}.f64 d, a, b",              "9.7.3.3", F64, |m| Some(moded!(m, lift2, f64, round::add64, (a, b)))),
        row("sub{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32 d, a, b",  "9.7.3.4", F32, |m| Some(moded!(m, lift2, f32, round::sub, (a, b)))),
        row("sub{.rn|.rz|.rm|.rp}.f64 d, a, b",              "9.7.3.4", F64, |m| Some(moded!(m, lift2, f64, round::sub64, (a, b)))),
        row("mul{.rn|.rz|.rm|.rp}{.ftz}{.sat}.f32 d, a, b",  "9.7.3.5", F32, |m| Some(moded!(m, lift2, f32, round::mul, (a, b)))),
        row("mul{.rn|.rz|.rm|.rp}.f64 d, a, b",              "9.7.3.5", F64, |m| Some(moded!(m, lift2, f64, round::mul64, (a, b)))),
        row("fma.(rn|rz|rm|rp){.ftz}{.sat}.f32 d, a, b, c",  "9.7.3.6", F32, |m| Some(moded!(m, lift3, f32, round::fma, (a, b, c)))),
        row("fma.(rn|rz|rm|rp).f64 d, a, b, c",              "9.7.3.6", F64, |m| Some(moded!(m, lift3, f64, round::fma64, (a, b, c)))),
        row("mad.(rn|rz|rm|rp){.ftz}{.sat}.f32 d, a, b, c",  "9.7.3.7", F32, |m| Some(moded!(m, lift3, f32, round::fma, (a, b, c)))),
        row("mad.(rn|rz|rm|rp).f64 d, a, b, c",              "9.7.3.7", F64, |m| Some(moded!(m, lift3, f64, round::fma64, (a, b, c)))),
        row("div.(rn|rz|rm|rp){.ftz}.f32 d, a, b",           "9.7.3.8", F32, |m| Some(moded!(m, lift2, f32, round::div, (a, b)))),
        row("div.(rn|rz|rm|rp).f64 d, a, b",                 "9.7.3.8", F64, |m| Some(moded!(m, lift2, f64, round::div64, (a, b)))),
        row("abs{.ftz}.f32 d, a",                            "9.7.3.9", F32, |m| Some(if m.has("ftz") { lane1!(f32, |a| round::abs(a, true)) } else { lane1!(f32, |a| round::abs(a, false)) })),
        row("abs.f64 d, a",                                  "9.7.3.9", F64, |_| Some(lane1!(f64, f64::abs))),
        row("neg{.ftz}.f32 d, a",                            "9.7.3.10", F32, |m| Some(if m.has("ftz") { lane1!(f32, |a| round::neg(a, true)) } else { lane1!(f32, |a| round::neg(a, false)) })),
        row("neg.f64 d, a",                                  "9.7.3.10", F64, |_| Some(lane1!(f64, |a: f64| -a))),
        row("min{.ftz}{.NaN}{.xorsign}{.abs}.f32 d, a, b",   "9.7.3.11", F32, |m| extreme(m, false)),
        row("min.f64 d, a, b",                               "9.7.3.11", F64, |_| Some(lane2!(f64, round::extreme64::<false>))),
        row("max{.ftz}{.NaN}{.xorsign}{.abs}.f32 d, a, b",   "9.7.3.12", F32, |m| extreme(m, true)),
        row("max.f64 d, a, b",                               "9.7.3.12", F64, |_| Some(lane2!(f64, round::extreme64::<true>))),
        row("rcp.(rn|rz|rm|rp){.ftz}.f32 d, a",              "9.7.3.13", F32, |m| Some(moded!(m, lift1, f32, round::rcp, (a)))),
        row("rcp.(rn|rz|rm|rp).f64 d, a",                    "9.7.3.13", F64, |m| Some(moded!(m, lift1, f64, round::rcp64, (a)))),
        row("sqrt.(rn|rz|rm|rp){.ftz}.f32 d, a",             "9.7.3.15", F32, |m| Some(moded!(m, lift1, f32, round::sqrt, (a)))),
        row("sqrt.(rn|rz|rm|rp).f64 d, a",                   "9.7.3.15", F64, |m| Some(moded!(m, lift1, f64, round::sqrt64, (a)))),
    ]
}

fn extreme(m: &Mods, max: bool) -> Option<Exec> {
    if m.has("xorsign") != m.has("abs") {
        return None;
    }
    const PLAIN: ExtremeMode = ExtremeMode { ftz: false, nan: false, xorsign: false };
    Some(match (mods::pack(m), max) {
        (0, false) => lane2!(f32, |a, b| round::min(a, b, PLAIN)),
        (0, true) => lane2!(f32, |a, b| round::max(a, b, PLAIN)),
        (other, false) => exec!(|c, i| {
            let mode = mods::extreme_mode(i.mods);
            lift2(c, i, |a, b| round::min(a, b, mode))
        })
        .with(other),
        (other, true) => exec!(|c, i| {
            let mode = mods::extreme_mode(i.mods);
            lift2(c, i, |a, b| round::max(a, b, mode))
        })
        .with(other),
    })
}

const PROPERTIES: [(&str, Property); 6] = [
    ("finite", Property::Finite),
    ("infinite", Property::Infinite),
    ("number", Property::Number),
    ("notanumber", Property::NotANumber),
    ("normal", Property::Normal),
    ("subnormal", Property::Subnormal),
];

fn testp(m: &Mods) -> Option<Exec> {
    let which = PROPERTIES.iter().position(|p| m.has(p.0))? as u32;
    let exec = if m.ty() == Ty::F32 {
        exec!(|c, i| {
            let a = c.warp.regs.r32[i.o[1] as usize];
            let property = PROPERTIES[i.mods as usize].1;
            let bits = (0..32).fold(0, |m, l| m | u32::from(round::testp(f32::from_bits(a[l]), property)) << l);
            c.warp.regs.put_pred(i.o[0], c.mask, bits);
            Flow::Next
        })
    } else {
        exec!(|c, i| {
            let a = c.warp.regs.r64[i.o[1] as usize];
            let property = PROPERTIES[i.mods as usize].1;
            let bits = (0..32).fold(0, |m, l| m | u32::from(round::testp64(f64::from_bits(a[l]), property)) << l);
            c.warp.regs.put_pred(i.o[0], c.mask, bits);
            Flow::Next
        })
    };
    Some(exec.with(which).taint(Taint::Whole))
}
