//! A row's bits depend on the row alone.

use half::{bf16, f16};
use lowbit::format::Half16;
use lowbit::weights::Packed;

use crate::world::*;

fn rows_alone_and_together<X: Half16>(weights: &Packed, seed: u64, case: &str) {
    let world = world();
    let (n, k) = (weights.layout().n(), weights.layout().k());
    const ROWS: usize = 32;
    let x = activations::<X>(&mut rng(seed), "gauss", ROWS * k);
    let together = Call::<X, f32>::new(weights, &x, ROWS).run(&world).unwrap();
    let again = Call::<X, f32>::new(weights, &x, ROWS).run(&world).unwrap();
    assert_eq!(bits(&together), bits(&again), "{case}: run to run");
    for rows in [1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31] {
        let some = Call::<X, f32>::new(weights, &x, rows).run(&world).unwrap();
        assert_eq!(bits(&some), bits(&together[..rows * n]), "{case}: {rows} rows");
    }
    for row in [0, 1, 7, 8, 15, 16, 23, 31] {
        let alone = Call::<X, f32>::new(weights, &x[row * k..], 1).run(&world).unwrap();
        assert_eq!(bits(&alone), bits(&together[row * n..][..n]), "{case}: row {row} alone");
    }
    // A neighbour full of NaN and infinities changes nothing.
    let mut spoiled = x.clone();
    for (at, x) in spoiled[k..2 * k].iter_mut().enumerate() {
        *x = X::from_f32([f32::NAN, f32::INFINITY, f32::NEG_INFINITY][at % 3]);
    }
    let beside = Call::<X, f32>::new(weights, &spoiled, ROWS).run(&world).unwrap();
    assert_eq!(bits(&beside[..n]), bits(&together[..n]), "{case}: before a spoiled row");
    assert_eq!(bits(&beside[2 * n..]), bits(&together[2 * n..]), "{case}: after a spoiled row");
    assert!(beside[n..2 * n].iter().all(|y| y.is_nan()), "{case}: NaN in, NaN out");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn rows_do_not_depend_on_each_other() {
    let mut rng = rng(7);
    for (kind, n, k, group) in [
        (Kind::Min, 40, 576, 32),
        (Kind::Zeros, 24, 1000, 128),
        // Alone a row is aligned, together they are not.
        (Kind::Symmetric, 16, 1303, 64),
        (Kind::ZerosFromOne, 16, 1303, 128),
        (Kind::Min, 16, 1303, 32),
        (Kind::Real, 8, 700, 256),
        (Kind::Int8, 24, 672, 32),
        // k split over blocks.
        (Kind::Symmetric, 16, 8192, 128),
    ] {
        let weights = random_weights(&mut rng, kind, n, k, group);
        in_repeatable_modes(|mode| {
            let case = format!("{kind:?} {n} x {k} group {group} {mode}");
            rows_alone_and_together::<f16>(&weights, 8, &case);
            rows_alone_and_together::<bf16>(&weights, 9, &format!("{case} bf16"));
        });
    }
}

/// Rows that cannot be read 16 bytes at a time take another path through memory, not through arithmetic.
#[test]
fn alignment_of_rows_does_not_change_bits() {
    use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig};
    let World { kernels, stream } = world();
    let (n, k) = (24, 704);
    let mut rng = rng(10);
    let weights = random_weights(&mut rng, Kind::Zeros, n, k, 64);
    let x = activations::<f16>(&mut rng, "plus3", 3 * k);
    let plain = Call::<f16, f32>::new(&weights, &x, 3).run(&world()).unwrap();
    let bytes = stream.clone_htod(weights.bytes()).unwrap();
    for (stride, offset) in [(k + 1, 0), (k, 3), (k + 8, 8), (k + 3, 5)] {
        let mut padded = vec![f16::NAN; 3 * stride + offset];
        for row in 0..3 {
            padded[offset + row * stride..][..k].copy_from_slice(&x[row * k..][..k]);
        }
        let padded = stream.clone_htod(&padded).unwrap();
        let out_stride = n + 5;
        let mut out = stream.clone_htod(&vec![-7f32; 3 * out_stride]).unwrap();
        let config = SkinnyConfig { x_stride: stride, out_stride, ..SkinnyConfig::contiguous(weights.layout(), 3) };
        let operands = Operands {
            layout: weights.layout(),
            weights: &bytes.as_view(),
            x: &padded.slice(offset..offset + 2 * stride + k),
            bias: None,
            residual: Residual::None,
        };
        matmul::skinny(&kernels, &stream, &config, &operands, &mut out.as_view_mut(), None).unwrap();
        let out = stream.clone_dtoh(&out).unwrap();
        for row in 0..3 {
            assert_eq!(
                bits(&out[row * out_stride..][..n]),
                bits(&plain[row * n..][..n]),
                "stride {stride} offset {offset}"
            );
            assert!(out[row * out_stride + n..][..5].iter().all(|&y| y == -7.0), "written beyond n");
        }
    }
}
