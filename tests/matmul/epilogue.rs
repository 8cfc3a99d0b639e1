//! Bias, residual, and every output type.

use half::{bf16, f16};
use lowbit::format::{Element, Half16};
use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig};

use crate::world::*;

fn epilogues<X: Half16, O: Element>(case: &str) {
    let world = world();
    let mut rng = rng(11);
    let (n, k, rows) = (40, 320, 3);
    let weights = random_weights(&mut rng, Kind::Min, n, k, 32);
    let x = activations::<X>(&mut rng, "gauss", rows * k);
    let bias: Vec<O> = activations::<f16>(&mut rng, "plus3", n).iter().map(|x| O::from_f32(x.to_f32())).collect();
    let residual: Vec<O> =
        activations::<f16>(&mut rng, "gauss", rows * n).iter().map(|x| O::from_f32(5.0 * x.to_f32())).collect();
    let plain = || Call::<X, O>::new(&weights, &x, rows);
    plain().check(&world, case);
    Call { bias: Some(&bias[..]), ..plain() }.check(&world, &format!("{case} bias"));
    let from = Call { residual: Some(&residual[..]), ..plain() };
    from.check(&world, &format!("{case} residual"));
    Call { bias: Some(&bias[..]), residual: Some(&residual[..]), ..plain() }.check(&world, &format!("{case} both"));

    // In place: what the output holds is the residual.
    let World { kernels, stream } = &world;
    let (device_x, bytes) = (stream.clone_htod(&x).unwrap(), stream.clone_htod(weights.bytes()).unwrap());
    let mut out = stream.clone_htod(&residual).unwrap();
    let operands = Operands {
        layout: weights.layout(),
        weights: &bytes.as_view(),
        x: &device_x.as_view(),
        bias: None,
        residual: Residual::Output,
    };
    let config = SkinnyConfig::contiguous(weights.layout(), rows);
    matmul::skinny(kernels, stream, &config, &operands, &mut out.as_view_mut(), None).unwrap();
    let bytes_of = |values: &[O]| bytemuck::cast_slice::<O, u8>(values).to_vec();
    assert_eq!(bytes_of(&stream.clone_dtoh(&out).unwrap()), bytes_of(&from.run(&world).unwrap()), "{case} in place");
}

#[test]
fn bias_and_residual_are_added_before_the_rounding() {
    in_every_mode(|mode| {
        epilogues::<f16, f32>(&format!("f16 to f32 {mode}"));
        epilogues::<f16, f16>(&format!("f16 to f16 {mode}"));
        epilogues::<f16, bf16>(&format!("f16 to bf16 {mode}"));
        epilogues::<bf16, f32>(&format!("bf16 to f32 {mode}"));
        epilogues::<bf16, bf16>(&format!("bf16 to bf16 {mode}"));
    });
}

/// Far from 1 on both sides: f16 activations up to the largest, scales that are subnormal.
#[test]
fn extremes_of_f16_are_kept() {
    use lowbit::weights::{Packed, PlainWeights, Zeros};
    let (n, k) = (16, 128);
    let x: Vec<f16> = (0..k).map(|at| [f16::MAX, f16::from_bits(1), f16::MIN, f16::from_f32(-0.0)][at % 4]).collect();
    let mut rng = rng(12);
    let mut plain = random_weights(&mut rng, Kind::Zeros, n, k, 32).to_plain().unwrap();
    for (at, scale) in plain.scales.iter_mut().enumerate() {
        *scale = [f16::from_bits(1), f16::ZERO, f16::from_bits(0x3ff), f16::from_f32(-1.0)][at % 4];
    }
    in_every_mode(|mode| {
        for zeros in [plain.zeros.clone(), Zeros::Symmetric, Zeros::Min(vec![f16::from_bits(3); plain.scales.len()])] {
            let weights = Packed::from_plain(&PlainWeights { zeros, ..plain.clone() }).unwrap();
            Call::<f16, f32>::new(&weights, &x, 1).check(&world(), &format!("{:?} {mode}", weights.layout().format()));
        }
    });
}
