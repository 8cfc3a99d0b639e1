//! Every scheme and type over shapes, strides and alignments.

use half::{bf16, f16};
use lowbit::format::{Axis, Code, Fp8, Matrix, Scheme};
use proptest::prelude::*;

use crate::world::{Device, Way, check, check_type, input, schemes};

#[test]
fn every_scheme_and_type() {
    let device = Device::new();
    let shapes = [
        (Matrix::dense(0, 8), 0),
        (Matrix::dense(3, 0), 0),
        (Matrix::dense(1, 1), 0),
        (Matrix::dense(3, 7), 0),
        (Matrix::dense(8, 32), 0),
        (Matrix::dense(7, 96), 1),
        (Matrix { rows: 4, cols: 40, row_stride: 43 }, 3),
        (Matrix { rows: 40, cols: 64, row_stride: 72 }, 0),
        (Matrix::dense(2, 1025), 0),
        (Matrix::dense(2, 1024), 0),
    ];
    for (i, (shape, shift)) in shapes.into_iter().enumerate() {
        for scheme in schemes(shape) {
            for dtype in 0..3 {
                check_type(&device, scheme, shape, (dtype, i as u64), Way::default(), [shift, shift]);
            }
        }
    }
}

/// Codes of less than a sector a lane, or a tile: lanes exchange them, or they wait for each other. Groups that two and
/// four lanes fill, whose chunks are no power of two, and more tiles than a block takes in turn.
#[test]
fn gathered_codes() {
    let device = Device::new();
    let (groups, tokens) = (Matrix::dense(5, 768), Matrix { rows: 32, cols: 328, row_stride: 336 });
    let axes = [32, 48, 64, 96, 128, 192, 256].map(Axis::Group);
    for code in [Code::Int4, Code::Uint4, Code::Int2, Code::Uint2] {
        for dtype in 0..3 {
            for (i, axis) in axes.into_iter().enumerate() {
                // Aligned rows whose codes begin at a multiple of 16, 2, 4 and 8 bytes.
                for shift in [[0, 0], [8, 2], [0, 4], [8, 8]] {
                    check_type(&device, Scheme { code, axis }, groups, (dtype, i as u64), Way::default(), shift);
                }
            }
            for (shape, size) in [(tokens, 16), (tokens, 32), (Matrix::dense(256, 72), 256)] {
                let scheme = Scheme { code, axis: Axis::TokenGroup(size) };
                check_type(&device, scheme, shape, (dtype, size as u64), Way::default(), [0, 0]);
            }
        }
    }
}

/// Lanes of a block share a row, first all of its registers, then more than they hold.
#[test]
fn long_rows() {
    let device = Device::new();
    for cols in [2048, 4104, 32_768, 32_776, 40_001] {
        for code in [Code::Int8, Code::Uint4, Code::Fp8(Fp8::E4m3)] {
            for special in [false, true] {
                let (scheme, shape) = (Scheme { code, axis: Axis::Row }, Matrix::dense(2, cols));
                check(&device, scheme, shape, &input::<f16>(shape.span(), 5, special), Way::default(), [0, 0]);
            }
        }
    }
}

#[test]
fn more_rows_than_blocks_stride_over() {
    let device = Device::new();
    let shape = Matrix::dense(5000, 9);
    for code in [Code::Int8, Code::Uint4] {
        for axis in [Axis::Tensor, Axis::Column] {
            check(&device, Scheme { code, axis }, shape, &input::<bf16>(shape.span(), 6, true), Way::default(), [0, 0]);
        }
    }
    // 256 rows of one chunk are a block, and 4096 blocks the grid.
    let shape = Matrix::dense(4096 * 256 + 5, 8);
    let scheme = Scheme { code: Code::Uint2, axis: Axis::Group(8) };
    check(&device, scheme, shape, &vec![f16::ONE; shape.span()], Way::default(), [0, 0]);
}

/// Passes over codes whose blocks take two rows: each has its own scale.
#[test]
fn scales_of_several_rows_a_block() {
    let (device, shape) = (Device::new(), Matrix::dense(5000, 9));
    for code in [Code::Int8, Code::Uint4] {
        let scheme = Scheme { code, axis: Axis::Row };
        check(&device, scheme, shape, &input::<bf16>(shape.span(), 7, false), Way::default(), [0, 0]);
    }
}

/// Magnitudes where scales or quotients are subnormal, and rows of zeros.
#[test]
fn tiny_and_zero_rows() {
    let device = Device::new();
    let shape = Matrix::dense(8, 64);
    for (i, scheme) in schemes(shape).into_iter().enumerate() {
        for scale in [1e-36f32, 3e-41, 0.0] {
            let x: Vec<bf16> =
                input::<f32>(shape.span(), i as u64, false).iter().map(|v| bf16::from_f32(v * scale)).collect();
            check(&device, scheme, shape, &x, Way::default(), [0, 0]);
        }
        let x: Vec<f16> = input::<f32>(shape.span(), i as u64, false).iter().map(|v| f16::from_f32(v * 6e-8)).collect();
        check(&device, scheme, shape, &x, Way::default(), [0, 0]);
    }
}

/// Rows that hold one NaN and nothing else out of the ordinary, here beside the largest magnitude, there far from it.
#[test]
fn lone_nans() {
    fn rows<E: lowbit::format::Element>(device: &Device, scheme: Scheme, shape: Matrix, seed: u64) {
        let mut x = input::<E>(shape.span(), seed, false);
        for row in 0..shape.rows {
            let at = row * shape.row_stride;
            x[at + (row * 37 + 5) % shape.cols] = E::from_f32(f32::NAN);
            x[at + (row * 37 + 5 + [2, 1, 8, 128][row % 4]) % shape.cols] = E::from_f32(-200.0);
        }
        check(device, scheme, shape, &x, Way::default(), [0, 0]);
    }
    let device = Device::new();
    let shape = Matrix::dense(32, 256);
    for (i, scheme) in schemes(shape).into_iter().enumerate() {
        rows::<f32>(&device, scheme, shape, i as u64);
        rows::<f16>(&device, scheme, shape, i as u64);
        rows::<bf16>(&device, scheme, shape, i as u64);
    }
}

/// Largest magnitudes whose significand 127 divides, and few of them: exact ties in every row.
#[test]
fn rows_full_of_ties() {
    let device = Device::new();
    let shape = Matrix::dense(64, 256);
    let x = |row: usize, col: usize| {
        let amax = [127.0, 254.0 * 3.0, 1.0, 1.5, 1016.0, 2032.0, 3.0, 127.0 / 4096.0][row % 8];
        match col {
            0 => amax,
            1 => -amax / 2.0,
            _ => amax * ((row * 31 + col * 7) % 509) as f32 / 254.0 - amax,
        }
    };
    let values = |row: usize, col: usize| if col < 2 { x(row, col) } else { x(row, col).clamp(-x(row, 0), x(row, 0)) };
    let all = (0..64).flat_map(|row| (0..256).map(move |col| (row, col)));
    let halves: Vec<f16> = all.clone().map(|(row, col)| f16::from_f32(values(row, col))).collect();
    let brains: Vec<bf16> = all.clone().map(|(row, col)| bf16::from_f32(values(row, col))).collect();
    let floats: Vec<f32> = all.map(|(row, col)| values(row, col)).collect();
    for scheme in schemes(shape) {
        check(&device, scheme, shape, &halves, Way::default(), [0, 0]);
        check(&device, scheme, shape, &brains, Way::default(), [0, 0]);
        check(&device, scheme, shape, &floats, Way::default(), [0, 0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 1usize..66, eights in 1usize..40, ragged in 0usize..8, gap in 0usize..9, shift in 0usize..9,
        code_shift in 0usize..17,
        pick in any::<prop::sample::Index>(), seed in any::<u64>(), dtype in 0usize..3,
    ) {
        // Half of the cases have aligned rows.
        let (cols, gap) = if seed % 4 < 2 { (eights * 8, gap / 3 * 8) } else { (eights * 8 - ragged, gap) };
        let shift = if seed % 3 == 0 { [shift / 4 * 8, code_shift / 2 * 2] } else { [shift, code_shift] };
        let shape = Matrix { rows, cols, row_stride: cols + gap };
        let schemes = schemes(shape);
        let scheme = schemes[pick.index(schemes.len())];
        check_type(&Device::new(), scheme, shape, (dtype, seed), Way::default(), shift);
    }
}
