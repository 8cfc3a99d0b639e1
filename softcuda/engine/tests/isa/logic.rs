//! Logic and shifts (PTX ISA 9.7.8).

use super::bench::{Case, case, s};

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("and.b32", "9.7.8.1", &[0xff00_ff00, 0x0ff0_0ff0], 0x0f00_0f00),
        case("and.pred", "9.7.8.1", &[1, 0], 0),
        case("and.pred", "9.7.8.1", &[1, 1], 1),
        case("or.b64", "9.7.8.2", &[1 << 63, 1], 1 << 63 | 1),
        case("or.pred", "9.7.8.2", &[1, 0], 1),
        case("xor.b16", "9.7.8.3", &[0xffff, 0x00ff], 0xff00),
        case("xor.pred", "9.7.8.3", &[1, 1], 0),
        case("not.b16", "9.7.8.4", &[0x00ff], 0xff00),
        case("not.b64", "9.7.8.4", &[0], u64::MAX),
        case("not.pred", "9.7.8.4", &[1], 0),
        case("cnot.b32", "9.7.8.5", &[0], 1),
        case("cnot.b32", "9.7.8.5", &[7], 0),
        // ta = 0xF0, tb = 0xCC, tc = 0xAA: the table is the function of these.
        case("lop3.b32", "9.7.8.6", &[0xffff_0000, 0xff00_ff00, 0xf0f0_f0f0, 0x80], 0xf000_0000),
        case("lop3.b32", "9.7.8.6", &[0xffff_0000, 0xff00_ff00, 0xf0f0_f0f0, 0xea], 0xfff0_f0f0),
        case("lop3.b32", "9.7.8.6", &[0xffff_0000, 0xff00_ff00, 0xf0f0_f0f0, 0x1a], 0x000f_f0f0),
        case("lop3.b32", "9.7.8.6", &[1, 2, 4, 0xfe], 7),
        case("lop3.b32", "9.7.8.6", &[1, 3, 4, 0x96], 6),
        case("shf.l.wrap.b32", "9.7.8.7", &[0x1234_5678, 0x9abc_def0, 8], 0xbcde_f012),
        case("shf.l.wrap.b32", "9.7.8.7", &[0x1234_5678, 0x9abc_def0, 40], 0xbcde_f012),
        case("shf.l.clamp.b32", "9.7.8.7", &[0x1234_5678, 0x9abc_def0, 40], 0x1234_5678),
        case("shf.r.wrap.b32", "9.7.8.7", &[0x1234_5678, 0x9abc_def0, 8], 0xf012_3456),
        case("shf.r.clamp.b32", "9.7.8.7", &[0x1234_5678, 0x9abc_def0, 40], 0x9abc_def0),
        case("shl.b32", "9.7.8.8", &[1, 31], 0x8000_0000),
        case("shl.b32", "9.7.8.8", &[1, 32], 0),
        case("shl.b16", "9.7.8.8", &[0xffff, 8], 0xff00),
        case("shl.b64", "9.7.8.8", &[1, 63], 1 << 63),
        case("shr.u32", "9.7.8.9", &[0x8000_0000, 31], 1),
        case("shr.s32", "9.7.8.9", &[s(-8), 1], s(-4)),
        case("shr.s32", "9.7.8.9", &[s(-8), 99], s(-1)),
        case("shr.u64", "9.7.8.9", &[u64::MAX, 64], 0),
        case("shr.s16", "9.7.8.9", &[0x8000, 4], 0xf800),
    ]
}
