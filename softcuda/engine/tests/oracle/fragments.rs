//! The shapes of `mma.m16n8kK` and the ISA's fragment tables ("Matrix Fragments for mma.m16n8kK"), typed as the ISA prints them and apart from
//! the engine's maps.

use softcuda_engine::arith::mma::{Accumulator, Element};

/// K, types of A, B, C, and the registers of A, B, C.
pub type Shape = (usize, Element, Element, Accumulator, (usize, usize, usize));

/// Every shape and type mix that the ISA lists for m16n8kK, with its number of A, B and C registers.
pub fn shapes() -> Vec<Shape> {
    use Accumulator as Acc;
    use Element::*;
    let mut list = vec![
        (8, F16, F16, Acc::F32, (2, 1, 4)),
        (8, F16, F16, Acc::F16, (2, 1, 2)),
        (8, Bf16, Bf16, Acc::F32, (2, 1, 4)),
        (16, F16, F16, Acc::F32, (4, 2, 4)),
        (16, F16, F16, Acc::F16, (4, 2, 2)),
        (16, Bf16, Bf16, Acc::F32, (4, 2, 4)),
        (4, Tf32, Tf32, Acc::F32, (2, 1, 4)),
        (8, Tf32, Tf32, Acc::F32, (4, 2, 4)),
    ];
    for a in [E4m3, E5m2] {
        for b in [E4m3, E5m2] {
            list.push((16, a, b, Acc::F32, (2, 1, 4)));
            list.push((32, a, b, Acc::F32, (4, 2, 4)));
            list.push((32, a, b, Acc::F16, (4, 2, 2)));
        }
    }
    for (a, b) in [(S8, S8), (S8, U8), (U8, S8), (U8, U8)] {
        list.push((16, a, b, Acc::S32, (2, 1, 4)));
        list.push((32, a, b, Acc::S32, (4, 2, 4)));
    }
    for (a, b) in [(S4, S4), (S4, U4), (U4, S4), (U4, U4)] {
        list.push((32, a, b, Acc::S32, (2, 1, 4)));
        list.push((64, a, b, Acc::S32, (4, 2, 4)));
    }
    list
}

/// Row and column of A's element `i` in `lane`: "Matrix Fragments for mma.m16n8kK", the `row =`, `col =` lines of each shape.
pub fn isa_a(element: Element, k: usize, lane: usize, i: usize) -> (usize, usize) {
    use Element::*;
    let (group, thread) = (lane >> 2, lane % 4);
    match (element, k) {
        (Tf32, 4) => (if i == 0 { group } else { group + 8 }, thread),
        (Tf32, 8) => {
            (if i == 0 || i == 2 { group } else { group + 8 }, if i == 0 || i == 1 { thread } else { thread + 4 })
        }
        (F16 | Bf16, 8) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        (F16 | Bf16, 16) => (
            if i < 2 || (4..6).contains(&i) { group } else { group + 8 },
            if i < 4 { thread * 2 + (i & 1) } else { thread * 2 + (i & 1) + 8 },
        ),
        (S8 | U8 | E4m3 | E5m2, 16) => (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3)),
        (S8 | U8 | E4m3 | E5m2, 32) => (
            if i < 4 || (8..12).contains(&i) { group } else { group + 8 },
            if i < 8 { thread * 4 + (i & 3) } else { thread * 4 + (i & 3) + 16 },
        ),
        (S4 | U4, 32) => (if i < 8 { group } else { group + 8 }, thread * 8 + (i & 7)),
        (S4 | U4, 64) => (
            if i < 8 || (16..24).contains(&i) { group } else { group + 8 },
            if i < 16 { thread * 8 + (i & 7) } else { thread * 8 + (i & 7) + 32 },
        ),
        _ => unreachable!(),
    }
}

/// Row and column of B's element `i` in `lane`, same chapter.
pub fn isa_b(element: Element, k: usize, lane: usize, i: usize) -> (usize, usize) {
    use Element::*;
    let (group, thread) = (lane >> 2, lane % 4);
    let row = match (element, k) {
        (Tf32, 4) => thread,
        (Tf32, 8) => {
            if i == 0 {
                thread
            } else {
                thread + 4
            }
        }
        (F16 | Bf16, 8) => thread * 2 + i,
        (F16 | Bf16, 16) => {
            if i < 2 {
                thread * 2 + (i & 1)
            } else {
                thread * 2 + (i & 1) + 8
            }
        }
        (S8 | U8 | E4m3 | E5m2, 16) => thread * 4 + i,
        (S8 | U8 | E4m3 | E5m2, 32) => {
            if i < 4 {
                thread * 4 + (i & 3)
            } else {
                thread * 4 + (i & 3) + 16
            }
        }
        (S4 | U4, 32) => thread * 8 + i,
        (S4 | U4, 64) => {
            if i < 8 {
                thread * 8 + (i & 7)
            } else {
                thread * 8 + (i & 7) + 32
            }
        }
        _ => unreachable!(),
    };
    (row, group)
}

/// Row and column of C's and D's element `i` in `lane`, the same for every shape.
pub fn isa_c(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

pub fn per_register(element: Element) -> usize {
    use Element::*;
    match element {
        Tf32 => 1,
        F16 | Bf16 => 2,
        E4m3 | E5m2 | S8 | U8 => 4,
        S4 | U4 => 8,
    }
}
