//! SmoothQuant: the golden factors, and what they are for.

use half::f16;
use lowbit::calibrate::{channel_max, fold_into_norm, fold_into_weights, smooth};
use lowbit::format::{Axis, ByteCode, Code, CodedScale, Matrix, Scales, Scheme};
use lowbit::reference;
use lowbit::weights::{ByteAxis, PackedBytes};
use rand::RngExt;

use super::world::*;
use crate::golden::Golden;

fn maxima(x: &[f32], columns: usize) -> Vec<f32> {
    let mut most = vec![0.0; columns];
    channel_max(x, &mut most).unwrap();
    most
}

#[test]
fn factors_are_the_golden_ones() {
    let golden = Golden::open("matmul_w8a8_int8");
    for (k, n) in [(256, 96), (160, 24)] {
        let x: Vec<f32> = golden.f16(&format!("k{k}_n{n}.x")).iter().map(|x| x.to_f32()).collect();
        let w: Vec<f32> = golden.f16(&format!("k{k}_n{n}.w")).iter().map(|w| w.to_f32()).collect();
        let w: Vec<f32> = (0..n * k).map(|at| w[at % k * n + at / k]).collect();
        for (alpha, name) in [(0.5, "0_5"), (0.8, "0_8")] {
            let found = smooth(alpha, &maxima(&x, k), &maxima(&w, k)).unwrap();
            for (found, golden) in found.iter().zip(golden.f64(&format!("k{k}_n{n}.smooth_alpha_{name}"))) {
                assert!((f64::from(*found) - golden).abs() <= 2f64.powi(-24) * golden, "{found} for {golden}");
            }
        }
    }
}

/// x int8 per row, w int8 per output, on the device: the squared error against the exact product.
fn error(x: &[f32], w: &[f32], (rows, n, k): (usize, usize, usize), exact: &[f64]) -> f64 {
    let (mut codes, mut scale) = (vec![0; rows * k], vec![0.0; rows]);
    let scheme = Scheme { code: Code::Int8, axis: Axis::Row };
    let scales = Scales::Symmetric(&mut scale[..]);
    reference::quantize::quantize(scheme, Matrix::dense(rows, k), x, &mut codes, scales).unwrap();
    let rows_of_x = HostRows { code: ByteCode::Int8, codes, stride: k, scale: CodedScale::Row(scale), zero: None };
    let weights = PackedBytes::quantize(n, k, ByteCode::Int8, ByteAxis::Output, w).unwrap();
    let y = Call::<f32>::new(&weights, &rows_of_x, rows).run(world()).unwrap();
    y.iter().zip(exact).map(|(y, exact)| (f64::from(*y) - exact).powi(2)).sum()
}

/// A norm's output with a few channels a hundred times larger than the others: W8A8 with the factors folded in is at least
/// ten times nearer (in squares) than without. The exact product stays.
#[test]
fn smoothing_helps_against_outlier_channels() {
    let mut rng = rng(20);
    let (rows, n, k) = (8, 48, 256);
    let row: Vec<f32> = (0..rows * k).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut norm: Vec<f32> = (0..k).map(|at| if at % 40 == 3 { 100.0 } else { 1.0 }).collect();
    let mut w: Vec<f32> = (0..n * k).map(|_| rng.random_range(-0.1..0.1)).collect();
    let of = |norm: &[f32]| -> Vec<f32> { row.iter().enumerate().map(|(at, row)| row * norm[at % k]).collect() };
    let product = |x: &[f32], w: &[f32]| -> Vec<f64> {
        let one = |at: usize| (0..k).map(|j| f64::from(x[at / n * k + j]) * f64::from(w[at % n * k + j])).sum();
        (0..rows * n).map(one).collect()
    };
    let x = of(&norm);
    let exact = product(&x, &w);
    let without = error(&x, &w, (rows, n, k), &exact);
    let factors = smooth(0.5, &maxima(&x, k), &maxima(&w, k)).unwrap();
    fold_into_norm(&mut norm, 1, &factors).unwrap();
    fold_into_weights(&mut w, &factors).unwrap();
    let x = of(&norm);
    for (folded, exact) in product(&x, &w).iter().zip(&exact) {
        assert!((folded - exact).abs() <= 1e-3, "{folded} for {exact}");
    }
    let with = error(&x, &w, (rows, n, k), &exact);
    assert!(with * 10.0 <= without, "{with} with, {without} without");
}

#[test]
fn wrong_arguments_are_named() {
    let text = |error: lowbit::Error| error.to_string();
    let op = "calibrate::smooth";
    assert_eq!(text(smooth(1.5, &[], &[]).unwrap_err()), format!("{op}: `alpha`: expected 0 to 1, found 1.5"));
    let lengths = smooth(0.5, &[1.0], &[]).unwrap_err();
    assert_eq!(text(lengths), format!("{op}: `w_max`: expected 1 channels, found 0"));
    let nan = smooth(0.5, &[f32::NAN], &[1.0]).unwrap_err();
    assert_eq!(text(nan), format!("{op}: `x_max`: expected finite maxima, none negative, found NaN"));
    let rows = channel_max(&[f16::ONE; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(text(rows), "calibrate::channel_max: `x`: expected a multiple of 2 elements, found 3");
    let norm = fold_into_norm(&mut [1f32; 3], 2, &[1.0]).unwrap_err();
    assert_eq!(text(norm), "calibrate::fold_into_norm: `weight`: expected 2 for each of 1 factors, found 3");
    let weights = fold_into_weights(&mut [1f32; 3], &[1.0; 2]).unwrap_err();
    assert_eq!(text(weights), "calibrate::fold_into_weights: `weights`: expected a multiple of 2 elements, found 3");
}
