//! Barrier objects, clusters, dependent launches.

use super::{Case, case, integers, words};

pub fn cases() -> Vec<Case> {
    vec![
        case("barrier_objects", 3, integers, |x, i| {
            let across = x.of(i / 128 * 128 + 127 - i % 128)[0];
            let sum = (0..4).fold(0u32, |s, round| s.wrapping_mul(3).wrapping_add(across.wrapping_add(round)));
            words([sum, 1, u32::from(i % 128 == 0)])
        }),
        case("barrier_copies", 1, integers, |x, i| words([x.of(i / 128 * 128 + 127 - i % 128)[2]])),
        case("barrier_parity", 2, integers, |x, i| words([x.of(i ^ 64)[1], 1])),
        case("clusters", 4, integers, |x, i| words([0, 0, 1, x.of(i / 128 * 128 + 127 - i % 128)[2]])),
        case("dependents", 1, integers, |_, i| words([u32::from(i % 32 == 0)])),
    ]
}
