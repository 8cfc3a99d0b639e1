//! f16 and bf16 arithmetic (PTX ISA 9.7.4).

use super::bench::{Case, b, case, h, two};

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("add.f16", "9.7.4.1", &[h(1.0), h(2.5)], h(3.5)),
        // 2048 + 1 lies between two halves: to even.
        case("add.f16", "9.7.4.1", &[h(2048.0), h(1.0)], h(2048.0)),
        case("add.f16", "9.7.4.1", &[h(2048.0), h(3.0)], h(2052.0)),
        case("add.ftz.f16", "9.7.4.1", &[1, 1], 0),
        case("add.sat.f16", "9.7.4.1", &[h(1.0), h(1.0)], h(1.0)),
        case("add.f16x2", "9.7.4.1", &[two(h(1.0), h(2.0)), two(h(3.0), h(-2.0))], two(h(4.0), h(0.0))),
        case("add.bf16", "9.7.4.1", &[b(256.0), b(1.0)], b(256.0)),
        case("add.bf16x2", "9.7.4.1", &[two(b(1.0), b(2.0)), two(b(3.0), b(4.0))], two(b(4.0), b(6.0))),
        case("sub.f16x2", "9.7.4.2", &[two(h(1.0), h(2.0)), two(h(3.0), h(2.0))], two(h(-2.0), h(0.0))),
        case("sub.bf16", "9.7.4.2", &[b(1.0), b(3.0)], b(-2.0)),
        case("mul.f16", "9.7.4.3", &[h(300.0), h(300.0)], 0x7c00),
        case("mul.f16x2", "9.7.4.3", &[two(h(1.5), h(2.0)), two(h(3.0), h(0.5))], two(h(4.5), h(1.0))),
        case("mul.bf16x2", "9.7.4.3", &[two(b(1.5), b(2.0)), two(b(3.0), b(0.5))], two(b(4.5), b(1.0))),
        // (1 + u)^2 - (1 + 2u) = u^2 = 2^-20 is a half subnormal.
        case("fma.rn.f16", "9.7.4.4", &[0x3c01, 0x3c01, 0xbc02], 0x0010),
        case("fma.rn.f16x2", "9.7.4.4", &[two(h(2.0), h(1.0)), two(h(3.0), h(1.0)), two(h(1.0), h(1.0))], two(h(7.0), h(2.0))),
        case("fma.rn.relu.f16", "9.7.4.4", &[h(1.0), h(1.0), h(-5.0)], 0),
        case("fma.rn.bf16", "9.7.4.4", &[b(2.0), b(3.0), b(1.0)], b(7.0)),
        case("fma.rn.relu.bf16x2", "9.7.4.4", &[two(b(2.0), b(1.0)), two(b(3.0), b(-9.0)), two(b(1.0), b(1.0))], two(b(7.0), 0)),
        case("neg.f16", "9.7.4.5", &[h(1.0)], h(-1.0)),
        case("neg.f16x2", "9.7.4.5", &[two(h(1.0), h(-2.0))], two(h(-1.0), h(2.0))),
        case("neg.bf16x2", "9.7.4.5", &[two(b(1.0), b(-2.0))], two(b(-1.0), b(2.0))),
        case("abs.f16", "9.7.4.6", &[h(-1.0)], h(1.0)),
        case("abs.bf16", "9.7.4.6", &[b(-1.0)], b(1.0)),
        case("min.f16", "9.7.4.7", &[0x7e00, h(2.0)], h(2.0)),
        case("min.NaN.f16", "9.7.4.7", &[0x7e00, h(2.0)], 0x7fff),
        case("min.bf16x2", "9.7.4.7", &[two(b(1.0), b(5.0)), two(b(2.0), b(4.0))], two(b(1.0), b(4.0))),
        case("max.f16x2", "9.7.4.8", &[two(h(1.0), h(5.0)), two(h(2.0), h(4.0))], two(h(2.0), h(5.0))),
        case("max.NaN.bf16", "9.7.4.8", &[0x7fc0, b(2.0)], 0x7fff),
        case("min.NaN.bf16", "9.7.4.7", &[b(1.0), 0x7fc0], 0x7fff),
    ]
}
