//! Comparison and selection (PTX ISA 9.7.6, 9.7.7).

use super::bench::{Case, b, case, d, f, h, s, two};

const NAN: u64 = 0x7fc0_0000;

/// An example of `setp` with both results.
fn both(op: &str, section: &'static str, args: &[u64], p: u64, q: u64) -> Case {
    Case { want: vec![p, q], ..case(op, section, args, 0) }
}

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("set.lt.u32.s32", "9.7.6.1", &[s(-1), 1], 0xffff_ffff),
        case("set.lt.u32.u32", "9.7.6.1", &[s(-1), 1], 0),
        case("set.eq.f32.u64", "9.7.6.1", &[5, 5], f(1.0)),
        case("set.gt.f32.f32", "9.7.6.1", &[f(2.0), f(1.0)], f(1.0)),
        case("set.gt.and.f32.f32", "9.7.6.1", &[f(2.0), f(1.0), 0], 0),
        case("set.ltu.u32.f32", "9.7.6.1", &[NAN, f(1.0)], 0xffff_ffff),
        case("set.eq.f16.f16", "9.7.7.1", &[h(0.0), h(-0.0)], h(1.0)),
        case("set.ne.u16.f16", "9.7.7.1", &[h(1.0), h(2.0)], 0xffff),
        case("set.eq.f16x2.f16x2", "9.7.7.1", &[two(h(1.0), h(2.0)), two(h(1.0), h(3.0))], two(h(1.0), 0)),
        case("set.ge.u32.bf16x2", "9.7.7.1", &[two(b(1.0), b(2.0)), two(b(1.0), b(3.0))], 0xffff_0000),
        case("set.lt.f32.f32", "9.7.6.1", &[f(1.0), f(2.0)], f(1.0)),
        case("set.neu.f32.f32", "9.7.6.1", &[NAN, f(2.0)], f(1.0)),
        case("set.ge.f32.f32", "9.7.6.1", &[NAN, f(2.0)], 0),
        both("setp.ne.b32", "9.7.6.2", &[4, 5], 1, 0),
        both("setp.eq.b16", "9.7.6.2", &[0x1_0004, 4], 1, 0),
        both("setp.eq.b64", "9.7.6.2", &[1 << 40, 0], 0, 1),
        both("setp.le.s32", "9.7.6.2", &[s(-1), 0], 1, 0),
        both("setp.le.u16", "9.7.6.2", &[0xffff, 0], 0, 1),
        both("setp.ge.u16", "9.7.6.2", &[0xffff, 0], 1, 0),
        both("setp.lt.u16", "9.7.6.2", &[0, 0xffff], 1, 0),
        both("setp.lt.s16", "9.7.6.2", &[0, 0xffff], 0, 1),
        both("setp.ge.s64", "9.7.6.2", &[u64::MAX, 0], 0, 1),
        both("setp.le.s64", "9.7.6.2", &[u64::MAX, 0], 1, 0),
        both("setp.le.u64", "9.7.6.2", &[u64::MAX, 0], 0, 1),
        both("setp.leu.f32", "9.7.6.2", &[NAN, f(1.0)], 1, 0),
        both("setp.neu.ftz.f32", "9.7.6.2", &[1, 0], 0, 1),
        both("setp.le.f16", "9.7.7.2", &[h(1.0), h(1.0)], 1, 0),
        both("setp.ge.f16", "9.7.7.2", &[h(0.5), h(1.0)], 0, 1),
        both("setp.eq.s32", "9.7.6.2", &[4, 4], 1, 0),
        both("setp.ne.s16", "9.7.6.2", &[0x1_0004, 4], 0, 1),
        both("setp.lo.u32", "9.7.6.2", &[1, 0xffff_ffff], 1, 0),
        both("setp.lt.s64", "9.7.6.2", &[u64::MAX, 0], 1, 0),
        both("setp.ge.u64", "9.7.6.2", &[u64::MAX, 0], 1, 0),
        both("setp.gt.and.s32", "9.7.6.2", &[5, 4, 0], 0, 0),
        both("setp.gt.or.s32", "9.7.6.2", &[5, 4, 1], 1, 1),
        both("setp.gt.xor.s32", "9.7.6.2", &[5, 4, 1], 0, 1),
        both("setp.lt.f32", "9.7.6.2", &[NAN, f(1.0)], 0, 1),
        both("setp.ltu.f32", "9.7.6.2", &[NAN, f(1.0)], 1, 0),
        both("setp.neu.f32", "9.7.6.2", &[NAN, NAN], 1, 0),
        both("setp.ne.f32", "9.7.6.2", &[NAN, NAN], 0, 1),
        both("setp.num.f32", "9.7.6.2", &[f(1.0), f(2.0)], 1, 0),
        both("setp.nan.f64", "9.7.6.2", &[d(f64::NAN), d(2.0)], 1, 0),
        both("setp.eq.ftz.f32", "9.7.6.2", &[1, 0], 1, 0),
        both("setp.eq.f32", "9.7.6.2", &[f(0.0), f(-0.0)], 1, 0),
        both("setp.gt.f16", "9.7.7.2", &[h(2.0), h(1.0)], 1, 0),
        both("setp.leu.bf16", "9.7.7.2", &[0x7fc0, b(1.0)], 1, 0),
        both("setp.lt.f16x2", "9.7.7.2", &[two(h(1.0), h(5.0)), two(h(2.0), h(6.0))], 1, 1),
        both("setp.lt.f16x2", "9.7.7.2", &[two(h(3.0), h(5.0)), two(h(2.0), h(6.0))], 1, 0),
        case("selp.b32", "9.7.6.3", &[7, 9, 1], 7),
        case("selp.f64", "9.7.6.3", &[d(1.0), d(2.0), 0], d(2.0)),
        case("selp.b16", "9.7.6.3", &[7, 9, 0], 9),
        case("slct.s32.s32", "9.7.6.4", &[7, 9, s(-1)], 9),
        case("slct.b64.f32", "9.7.6.4", &[7, 9, f(-0.0)], 7),
        case("slct.b64.f32", "9.7.6.4", &[7, 9, NAN], 9),
    ]
}
