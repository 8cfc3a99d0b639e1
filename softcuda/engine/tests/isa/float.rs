//! f32 and f64 arithmetic (PTX ISA 9.7.3).

use super::bench::{Case, case, d, f};

const NAN: u64 = 0x7fff_ffff;
/// 1 + one unit of the last place.
const NEXT: u64 = 0x3f80_0001;
const TINY: u64 = 1;

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("testp.finite.f32", "9.7.3.1", &[f(1.0)], 1),
        case("testp.infinite.f32", "9.7.3.1", &[f(1.0)], 0),
        case("testp.notanumber.f64", "9.7.3.1", &[d(f64::NAN)], 1),
        case("testp.subnormal.f32", "9.7.3.1", &[TINY], 1),
        case("testp.normal.f32", "9.7.3.1", &[0], 1),
        case("testp.normal.f64", "9.7.3.1", &[d(-0.0)], 1),
        case("copysign.f32", "9.7.3.2", &[f(-1.0), f(2.0)], f(-2.0)),
        case("copysign.f64", "9.7.3.2", &[d(1.0), d(-2.0)], d(2.0)),
        case("add.f32", "9.7.3.3", &[f(1.5), f(2.25)], f(3.75)),
        case("add.f32", "9.7.3.3", &[f(f32::INFINITY), f(f32::NEG_INFINITY)], NAN),
        case("add.rz.f32", "9.7.3.3", &[f(1.0), 0x3380_0001], f(1.0)),
        case("add.rn.f32", "9.7.3.3", &[f(1.0), 0x3380_0001], NEXT),
        case("add.rp.f32", "9.7.3.3", &[f(1.0), TINY], NEXT),
        case("add.ftz.f32", "9.7.3.3", &[TINY, TINY], 0),
        case("add.f32", "9.7.3.3", &[TINY, TINY], 2),
        case("add.sat.f32", "9.7.3.3", &[f(1.0), f(2.0)], f(1.0)),
        case("add.f64", "9.7.3.3", &[d(0.1), d(0.2)], d(0.1 + 0.2)),
        case("add.rm.f64", "9.7.3.3", &[d(1.0), 1], d(1.0)),
        case("sub.f32", "9.7.3.4", &[f(1.0), f(1.0)], 0),
        case("sub.rm.f32", "9.7.3.4", &[f(1.0), f(1.0)], f(-0.0)),
        case("sub.f64", "9.7.3.4", &[d(1.0), d(3.0)], d(-2.0)),
        case("mul.f32", "9.7.3.5", &[NEXT, NEXT], 0x3f80_0002),
        case("mul.rp.f32", "9.7.3.5", &[NEXT, NEXT], 0x3f80_0003),
        case("mul.f64", "9.7.3.5", &[d(0.1), d(3.0)], d(0.1 * 3.0)),
        // (1 + u)^2 - (1 + 2u) = u^2: only one rounding shows it.
        case("fma.rn.f32", "9.7.3.6", &[NEXT, NEXT, 0xbf80_0002], 0x2880_0000),
        case("fma.rm.f32", "9.7.3.6", &[f(1.0), f(1.0), 0xb300_0000], 0x3f7f_ffff),
        case("fma.rn.f64", "9.7.3.6", &[d(2.0), d(3.0), d(1.0)], d(7.0)),
        case("mad.rn.f32", "9.7.3.7", &[f(2.0), f(3.0), f(1.0)], f(7.0)),
        case("mad.rn.f64", "9.7.3.7", &[d(2.0), d(3.0), d(1.0)], d(7.0)),
        case("div.rn.f32", "9.7.3.8", &[f(1.0), f(3.0)], 0x3eaa_aaab),
        case("div.rz.f32", "9.7.3.8", &[f(1.0), f(3.0)], 0x3eaa_aaaa),
        case("div.rn.f64", "9.7.3.8", &[d(1.0), d(3.0)], d(1.0 / 3.0)),
        case("abs.f32", "9.7.3.9", &[f(-2.0)], f(2.0)),
        case("abs.ftz.f32", "9.7.3.9", &[0x8000_0001], 0),
        case("abs.f64", "9.7.3.9", &[d(-2.0)], d(2.0)),
        case("neg.f32", "9.7.3.10", &[f(2.0)], f(-2.0)),
        case("neg.f64", "9.7.3.10", &[d(0.0)], d(-0.0)),
        case("min.f32", "9.7.3.11", &[f(f32::NAN), f(2.0)], f(2.0)),
        case("min.f32", "9.7.3.11", &[f(0.0), f(-0.0)], f(-0.0)),
        case("min.NaN.f32", "9.7.3.11", &[f(f32::NAN), f(2.0)], NAN),
        case("min.xorsign.abs.f32", "9.7.3.11", &[f(-1.0), f(2.0)], f(-1.0)),
        case("min.f64", "9.7.3.11", &[d(-1.0), d(2.0)], d(-1.0)),
        case("max.f32", "9.7.3.12", &[f(-1.0), f(2.0)], f(2.0)),
        case("max.ftz.f32", "9.7.3.12", &[TINY, f(-2.0)], 0),
        case("max.f64", "9.7.3.12", &[d(f64::NAN), d(2.0)], d(2.0)),
        case("rcp.rn.f32", "9.7.3.13", &[f(3.0)], 0x3eaa_aaab),
        case("rcp.rn.f64", "9.7.3.13", &[d(3.0)], d(1.0 / 3.0)),
        case("sqrt.rn.f32", "9.7.3.15", &[f(2.0)], 0x3fb5_04f3),
        case("mul.ftz.f32", "9.7.3.5", &[TINY, f(1e30)], 0),
        case("sub.ftz.f32", "9.7.3.4", &[f(1.5), TINY], f(1.5)),
        case("fma.rn.ftz.f32", "9.7.3.6", &[f(2.0), f(3.0), TINY], f(6.0)),
        case("sqrt.rn.f32", "9.7.3.15", &[f(-2.0)], NAN),
        case("sqrt.rn.f32", "9.7.3.15", &[0x7f81_8fed], NAN),
        case("sqrt.rn.f64", "9.7.3.15", &[d(2.0)], d(std::f64::consts::SQRT_2)),
    ]
}
