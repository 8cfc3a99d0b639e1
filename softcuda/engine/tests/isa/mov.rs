//! Moves, byte permutation, address conversion (PTX ISA 9.7.9).

use super::bench::{Case, case};
use softcuda_engine::memory::space::{LOCAL_WINDOW, SHARED_WINDOW};

#[rustfmt::skip] // One example a line.
pub fn cases() -> Vec<Case> {
    vec![
        case("mov.pred", "9.7.9.3", &[1], 1),
        case("mov.b16", "9.7.9.3", &[0x1234], 0x1234),
        case("mov.f64", "9.7.9.3", &[0x1234_5678_9abc_def0], 0x1234_5678_9abc_def0),
        case("prmt.b32", "9.7.9.7", &[0x3322_1100, 0x7766_5544, 0x7520], 0x7755_2200),
        // Bit 3 of a selector repeats the sign of the byte.
        case("prmt.b32", "9.7.9.7", &[0x0000_0080, 0, 0x8880], 0xffff_ff80),
        case("prmt.b32.f4e", "9.7.9.7", &[0x3322_1100, 0x7766_5544, 1], 0x4433_2211),
        case("prmt.b32.b4e", "9.7.9.7", &[0x3322_1100, 0x7766_5544, 1], 0x6677_0011),
        case("prmt.b32.rc8", "9.7.9.7", &[0x3322_1100, 0, 2], 0x2222_2222),
        case("prmt.b32.ecl", "9.7.9.7", &[0x3322_1100, 0, 2], 0x3322_2222),
        case("prmt.b32.ecr", "9.7.9.7", &[0x3322_1100, 0, 2], 0x2222_1100),
        case("prmt.b32.rc16", "9.7.9.7", &[0x3322_1100, 0, 1], 0x3322_3322),
        case("isspacep.shared", "9.7.9.19", &[SHARED_WINDOW + 4], 1),
        case("isspacep.local", "9.7.9.19", &[SHARED_WINDOW + 4], 0),
        case("isspacep.global", "9.7.9.19", &[SHARED_WINDOW + 4], 0),
        case("isspacep.global", "9.7.9.19", &[0x7e00_0000_0000], 1),
        case("cvta.to.shared.u64", "9.7.9.20", &[SHARED_WINDOW + 64], 64),
        case("cvta.to.global.u64", "9.7.9.20", &[0x7e00_0000_0000], 0x7e00_0000_0000),
        case("cvta.local.u64", "9.7.9.20", &[16], LOCAL_WINDOW + 16),
    ]
}
