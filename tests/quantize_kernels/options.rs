//! Given scales, clip ratios and stochastic rounding.

use half::f16;
use lowbit::format::{Axis, Code, Fp8, Matrix, Options, Rounding, Scheme};
use lowbit::{ops, reference};
use proptest::prelude::*;

use crate::world::{Device, Way, bits, check_type, input, schemes};

const STOCHASTIC: [Code; 3] = [Code::Int8, Code::Fp8(Fp8::E4m3), Code::Fp8(Fp8::E5m2)];

fn clip(clip_ratio: f32) -> Options {
    Options { clip_ratio, ..Options::default() }
}

#[test]
fn every_scheme_by_clipped_and_by_given_scales() {
    let device = Device::new();
    for (shape, shift) in
        [(Matrix::dense(8, 96), 0), (Matrix { rows: 8, cols: 64, row_stride: 67 }, 1), (Matrix::dense(3, 7), 0)]
    {
        for (i, scheme) in schemes(shape).into_iter().enumerate() {
            let kind = (i % 3, i as u64);
            check_type(&device, scheme, shape, kind, Way::Measured(clip(0.7)), [shift, shift]);
            if scheme.code.block().is_none() {
                check_type(&device, scheme, shape, kind, Way::Given(0.6, Rounding::Nearest), [shift, shift]);
            }
        }
    }
    let given = Options { given_tensor_scale: true, ..Options::default() };
    let scheme = Scheme { code: Code::Nvfp4, axis: Axis::Group(16) };
    check_type(&device, scheme, Matrix::dense(5, 48), (1, 1), Way::Measured(given), [0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_options(
        rows in 1usize..20, eights in 1usize..20, ragged in 0usize..8, shift in 0usize..3, ratio in 0.05f32..1.0,
        pick in any::<prop::sample::Index>(), seed in any::<u64>(), dtype in 0usize..3,
    ) {
        let shape = Matrix::dense(rows, eights * 8 - if seed % 4 < 2 { 0 } else { ragged });
        let schemes = schemes(shape);
        let scheme = schemes[pick.index(schemes.len())];
        let random = STOCHASTIC.contains(&scheme.code) && seed % 5 < 2;
        let rounding = if random { Rounding::Stochastic { seed } } else { Rounding::Nearest };
        let options = Options { rounding, ..clip(ratio) };
        let device = Device::new();
        check_type(&device, scheme, shape, (dtype, seed), Way::Measured(options), [shift, shift]);
        if scheme.code.block().is_none() {
            check_type(&device, scheme, shape, (dtype, seed), Way::Given(ratio, rounding), [shift, shift]);
        }
    }
}

#[test]
fn stochastic_rounding_on_every_axis() {
    let device = Device::new();
    let rounding = Rounding::Stochastic { seed: 0x0123_4567_89AB_CDEF };
    let options = Options { rounding, ..Options::default() };
    for shape in [Matrix::dense(8, 48), Matrix { rows: 8, cols: 13, row_stride: 15 }] {
        for scheme in schemes(shape).into_iter().filter(|s| STOCHASTIC.contains(&s.code)) {
            check_type(&device, scheme, shape, (1, 4), Way::Measured(options), [0, 0]);
            check_type(&device, scheme, shape, (0, 4), Way::Given(0.9, rounding), [0, 0]);
        }
    }
}

/// The numbers of a column do not depend on where it lies: a launch over part of the matrix draws the same when the
/// index is the same, and the mean of many draws is the quotient.
#[test]
fn stochastic_codes_are_unbiased() {
    let (rows, cols) = (64, 512);
    let shape = Matrix::dense(rows, cols);
    for (code, scale) in [(Code::Int8, 0.01f32), (Code::Fp8(Fp8::E4m3), 1.0), (Code::Fp8(Fp8::E5m2), 1.0)] {
        let scheme = Scheme { code, axis: Axis::Tensor };
        let values: Vec<f32> = input::<f32>(cols, 9, false).iter().map(|v| v / 128.0).collect();
        let x: Vec<f32> = (0..rows * cols).map(|i| values[i % cols]).collect();
        let mut sum = vec![0f64; cols];
        for seed in 0..8 {
            let mut codes = vec![0; rows * cols];
            let scales = lowbit::format::Scales::Symmetric(&[scale][..]);
            let rounding = Rounding::Stochastic { seed };
            reference::quantize::quantize_static(scheme, shape, &x, scales, &mut codes, rounding).unwrap();
            let mut y = vec![0f32; rows * cols];
            let scales = lowbit::format::Scales::Symmetric(&[scale][..]);
            reference::quantize::dequantize(scheme, shape, &codes, scales, &mut y).unwrap();
            y.iter().enumerate().for_each(|(i, &v)| sum[i % cols] += f64::from(v) / f64::from(8 * rows as u32));
        }
        for (mean, &value) in sum.iter().zip(&values) {
            // Half a step is the largest standard deviation of one draw; 512 draws; five deviations.
            let step = match code {
                Code::Fp8(format) => {
                    let below = format.decode(format.encode_stochastic(value.abs(), 1.0 - f32::EPSILON));
                    let above = format.decode(format.encode_stochastic(value.abs(), 0.0));
                    f64::from(above - below)
                }
                _ => f64::from(scale),
            };
            let error = (mean - f64::from(value)).abs();
            assert!(error <= 5.0 * 0.5 * step / 512f64.sqrt() + 1e-7, "{code:?} {value}: mean {mean}, step {step}");
        }
    }
}

#[test]
fn stochastic_casts() {
    let device = Device::new();
    let rounding = Rounding::Stochastic { seed: 77 };
    for (format, shift, len) in [(Fp8::E4m3, 0, 9000), (Fp8::E5m2, 0, 8192), (Fp8::E4m3, 3, 77), (Fp8::E5m2, 1, 9)] {
        let x = input::<f16>(len, 3, true);
        let mut expected = vec![0; len];
        reference::cast::to_fp8_with(format, &x, &mut expected, rounding).unwrap();
        let padded = [&vec![f16::ONE; shift][..], &x].concat();
        let x_device = device.stream.clone_htod(&padded).unwrap();
        let mut codes = device.stream.clone_htod(&vec![0u8; len + shift]).unwrap();
        let (view, mut out) = (x_device.slice(shift..), codes.slice_mut(shift..));
        ops::cast::to_fp8_with(&device.kernels, &device.stream, format, &view, &mut out, rounding).unwrap();
        assert_eq!(device.stream.clone_dtoh(&codes).unwrap()[shift..], expected, "{format:?} shift {shift}");
        // Both neighbours occur, and nothing else.
        let (mut values, mut nearest) = (vec![0f32; len], vec![0; len]);
        reference::cast::from_fp8(format, &expected, &mut values).unwrap();
        reference::cast::to_fp8(format, &x, &mut nearest).unwrap();
        assert!(len < 1000 || (0..len).any(|i| expected[i] != nearest[i]));
        assert!(!bits(&values).is_empty());
    }
}
