//! The lane maps of `mma` against the ISA's tables, and `ldmatrix`, `stmatrix`, `movmatrix`: every element of numbered matrices lands where the
//! ISA's figure says.

#![allow(clippy::needless_range_loop)] // the indices are lanes and matrices

mod oracle;

use oracle::fragments::{isa_a, isa_b, isa_c, per_register, shapes};
use softcuda_engine::fragment;

#[test]
fn matrix_loads_and_moves_follow_the_isa_figure() {
    // Element (row, column) of matrix i is the number 64 i + 8 row + column.
    let number = |i: usize, row: usize, column: usize| (64 * i + 8 * row + column) as u32;
    let mut rows = [[0u8; 16]; 32];
    for (lane, bytes) in rows.iter_mut().enumerate() {
        for column in 0..8 {
            bytes[2 * column] = number(lane / 8, lane % 8, column) as u8;
        }
    }
    for count in [1, 2, 4] {
        let plain = fragment::ldmatrix(&rows, count, false);
        let transposed = fragment::ldmatrix(&rows, count, true);
        for i in 0..4 {
            for lane in 0..32 {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                let pair = |low: u32, high: u32| if i < count { low | high << 16 } else { 0 };
                assert_eq!(plain[i][lane], pair(number(i, row, column), number(i, row, column + 1)));
                assert_eq!(transposed[i][lane], pair(number(i, column, row), number(i, column + 1, row)));
            }
        }
        for trans in [false, true] {
            let stored = fragment::stmatrix(&fragment::ldmatrix(&rows, count, trans)[..count], trans);
            assert_eq!(stored[..8 * count], rows[..8 * count], "stmatrix undoes ldmatrix");
        }
        assert_eq!(fragment::movmatrix(&plain[count - 1]), transposed[count - 1]);
    }
}

#[test]
fn the_maps_as_data_equal_the_isa_tables() {
    for (k, ea, eb, _, (a, b, _)) in shapes() {
        let e = per_register(ea);
        let (map_a, map_b) = (fragment::mma_a(e, k), fragment::mma_b(e, k));
        assert_eq!((map_a.values(), map_b.values()), (e * a, e * b));
        for lane in 0..32 {
            for i in 0..e * a {
                assert_eq!(map_a.at(lane, i), isa_a(ea, k, lane, i), "A {ea:?} k{k} lane {lane} {i}");
            }
            for i in 0..e * b {
                assert_eq!(map_b.at(lane, i), isa_b(eb, k, lane, i), "B {eb:?} k{k} lane {lane} {i}");
            }
            for i in 0..4 {
                assert_eq!(fragment::MMA_C.at(lane, i), isa_c(lane, i));
            }
        }
    }
}
