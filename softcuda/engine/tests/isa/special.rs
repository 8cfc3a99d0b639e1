//! The approximate functions, in the mode that rounds them correctly (PTX ISA 9.7.3, 9.7.4). Results that the tables of the manual fix
//! are exact; the others are the nearest values.

use super::bench::{Case, b, case, d, f, h, two};

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("div.approx.f32", "9.7.3.8", &[f(6.0), f(3.0)], f(2.0)),
        case("div.full.f32", "9.7.3.8", &[f(1.0), f(4.0)], f(0.25)),
        case("rcp.approx.f32", "9.7.3.13", &[f(-0.0)], f(f32::NEG_INFINITY)),
        case("rcp.approx.ftz.f32", "9.7.3.13", &[f(4.0)], f(0.25)),
        case("rcp.approx.ftz.f64", "9.7.3.14", &[d(4.0)], d(0.25)),
        case("sqrt.approx.f32", "9.7.3.15", &[f(9.0)], f(3.0)),
        case("rsqrt.approx.f32", "9.7.3.16", &[f(4.0)], f(0.5)),
        case("rsqrt.approx.f64", "9.7.3.16", &[d(16.0)], d(0.25)),
        case("rsqrt.approx.f64", "9.7.3.16", &[d(-0.0)], d(f64::NEG_INFINITY)),
        case("rsqrt.approx.f64", "9.7.3.16", &[d(-1.0)], 0xfff8_0000_0000_0000),
        case("rsqrt.approx.f64", "9.7.3.16", &[d(f64::INFINITY)], 0),
        case("rsqrt.approx.ftz.f64", "9.7.3.17", &[d(4.0)], d(0.5)),
        case("sin.approx.f32", "9.7.3.18", &[f(0.0)], f(0.0)),
        case("sin.approx.f32", "9.7.3.18", &[f(1.0)], f(0.84147096)),
        case("cos.approx.f32", "9.7.3.19", &[f(0.0)], f(1.0)),
        case("cos.approx.f32", "9.7.3.19", &[f(2.0)], f(-0.41614684)),
        case("lg2.approx.f32", "9.7.3.20", &[f(8.0)], f(3.0)),
        case("lg2.approx.ftz.f32", "9.7.3.20", &[f(0.0)], f(f32::NEG_INFINITY)),
        case("ex2.approx.f32", "9.7.3.21", &[f(-3.0)], f(0.125)),
        case("ex2.approx.ftz.f32", "9.7.3.21", &[f(0.5)], 0x3fb5_04f3),
        case("ex2.approx.ftz.f32", "9.7.3.21", &[f(-127.0)], 0),
        case("tanh.approx.f32", "9.7.3.22", &[f(f32::INFINITY)], f(1.0)),
        case("tanh.approx.f32", "9.7.3.22", &[f(1.0)], f(0.7615942)),
        case("tanh.approx.f16", "9.7.4.9", &[h(0.0)], h(0.0)),
        case("tanh.approx.f16x2", "9.7.4.9", &[two(h(1.0), h(-1.0))], two(h(0.7615942), h(-0.7615942))),
        case("tanh.approx.bf16", "9.7.4.9", &[b(1.0)], b(0.7615942)),
        case("ex2.approx.f16", "9.7.4.10", &[h(3.0)], h(8.0)),
        case("ex2.approx.f16x2", "9.7.4.10", &[two(h(-1.0), h(2.0))], two(h(0.5), h(4.0))),
        case("ex2.approx.ftz.bf16", "9.7.4.10", &[b(3.0)], b(8.0)),
        case("div.approx.ftz.f32", "9.7.3.8", &[f(6.0), f(2.0)], f(3.0)),
    ]
}
