//! LLM.int8(): the split of x, and the product, without a look at the device in between.

use half::{bf16, f16};
use lowbit::Result;
use lowbit::format::outliers::OutlierOutputs;
use lowbit::format::{ByteCode, Half16, Matrix};
use lowbit::ops::matmul::{self, CodedConfig, Epilogue, LlmInt8Operands, Residual};
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteScales, PackedBytes};
use lowbit::{ops, reference};
use rand::RngExt;

use super::products::transposed;
use super::world::*;
use crate::golden::Golden;

const THRESHOLD: f32 = 6.0;

fn by_device<X: Half16>(
    weights: &PackedBytes,
    x: &[X],
    cap: usize,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let World { kernels, stream } = world();
    let layout = weights.layout();
    let (n, k) = (layout.n(), layout.k());
    let rows = x.len() / k;
    let x = stream.clone_htod(x)?;
    let x = x.as_view();
    let (mut codes, mut scale) = (stream.alloc_zeros::<u8>(rows * k)?, stream.alloc_zeros::<f32>(rows)?);
    let (mut columns, mut count) = (stream.clone_htod(&vec![9u32; cap + 1])?, stream.alloc_zeros::<u32>(2)?);
    let mut values = stream.alloc_zeros::<X>(rows * cap + 1)?;
    let mut words = stream.alloc_zeros::<u32>(ops::outliers::workspace_words(k))?;
    let out = OutlierOutputs {
        codes: codes.as_view_mut(),
        scale: scale.as_view_mut(),
        columns: columns.slice_mut(..cap),
        count: count.as_view_mut(),
        values: values.slice_mut(..rows * cap),
    };
    ops::outliers::extract(kernels, stream, THRESHOLD, Matrix::dense(rows, k), &x, out, &mut words.as_view_mut())?;
    let packed = stream.clone_htod(weights.bytes())?;
    let operands = LlmInt8Operands {
        layout,
        weights: &packed.as_view(),
        x: &x,
        x_stride: k,
        codes: &codes.as_view(),
        scale: &scale.as_view(),
        columns: &columns.slice(..cap),
        count: &count.as_view(),
        values: &values.slice(..rows * cap),
    };
    let bias = bias.map(|bias| stream.clone_htod(bias)).transpose()?;
    let bias = bias.as_ref().map(|bias| bias.as_view());
    // The residual is what the output holds: it is added once, whichever kernel works.
    let mut y = stream.clone_htod(residual.unwrap_or(&vec![f32::NAN; rows * n]))?;
    let epilogue =
        Epilogue { bias: bias.as_ref(), residual: if residual.is_some() { Residual::Output } else { Residual::None } };
    let bytes = matmul::llm_int8_workspace_bytes(kernels, layout, rows);
    let mut workspace = stream.alloc_zeros::<u8>(bytes.max(1))?;
    let workspace = Some(&mut workspace.as_view_mut());
    let config = CodedConfig::contiguous(rows, n);
    matmul::llm_int8(kernels, stream, &config, &operands, &epilogue, &mut y.as_view_mut(), workspace)?;
    Ok(stream.clone_dtoh(&y)?)
}

#[test]
fn golden_products() {
    let golden = Golden::open("matmul_w8a8_int8");
    for (k, n) in [(256, 96), (160, 24)] {
        let name = |part: &str| format!("k{k}_n{n}.{part}");
        let codes = transposed(&golden.bytes(&name("w_q")), n, k);
        let scales = golden.f32(&name("w_scale"));
        let weights = PackedBytes::from_codes(n, k, ByteCode::Int8, &codes, ByteScales::Output(&scales)).unwrap();
        let x = golden.f16(&name("x"));
        let found = golden.bytes(&name("outlier_columns")).iter().filter(|&&column| column != 0).count();
        for cap in [found, found + 3, k] {
            let definition =
                reference::matmul::llm_int8::<f16, f32>(&weights, &x, (THRESHOLD, cap), None, None).unwrap();
            let expected = Product { y: golden.f64(&name("llm_int8.y")), ..definition.clone() };
            for (y, oracle) in definition.y.iter().zip(&expected.y) {
                assert!((y - oracle).abs() <= 1e-12 * oracle.abs().max(1.0), "the reference: {y} for {oracle}");
            }
            in_every_mode(|mode| {
                let y = by_device(&weights, &x, cap, None, None).unwrap();
                assert_close(&y, &expected, &format!("{n} x {k} cap {cap} {mode}"));
            });
        }
    }
}

fn counts_of_columns<X: Half16>(shapes: &[(usize, usize, usize, usize)], case: &str) {
    let mut rng = rng(14);
    for &(n, k, rows, cap) in shapes {
        let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
        let (bias, residual): (Vec<f32>, Vec<f32>) = (
            (0..n).map(|_| rng.random_range(-9.0..9.0)).collect(),
            (0..rows * n).map(|_| rng.random_range(-9.0..9.0)).collect(),
        );
        for outliers in [0, 1, cap, cap + 1, k / 4] {
            let mut x: Vec<X> = (0..rows * k).map(|_| X::from_f32(rng.random_range(-5.0..5.0))).collect();
            for i in 0..outliers {
                let column = i * k / outliers;
                x[rng.random_range(0..rows) * k + column] = X::from_f32([6.0, -60.0, 600.0][i % 3]);
            }
            in_every_mode(|mode| {
                let (bias, residual) = (Some(&bias[..]), Some(&residual[..]));
                let expected = reference::matmul::llm_int8(&weights, &x, (THRESHOLD, cap), bias, residual).unwrap();
                let y = by_device(&weights, &x, cap, bias, residual).unwrap();
                assert_close(&y, &expected, &format!("{case} {n} x {k} rows {rows}: {outliers} of {cap} {mode}"));
            });
        }
    }
}

#[test]
fn none_one_as_many_as_fit_and_more() {
    let shapes = [(40, 200, 3, 5), (24, 663, 12, 4), (16, 1056, 1, 33), (40, 160, 40, 7), (16, 8192, 2, 3)];
    counts_of_columns::<f16>(&shapes, "f16");
    counts_of_columns::<bf16>(&shapes[..2], "bf16");
}

#[test]
fn without_room_every_outlier_is_too_many() {
    let mut rng = rng(15);
    let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, 16, 64);
    for x in [vec![f16::ONE; 64], vec![f16::from_f32(7.0); 64]] {
        let expected = reference::matmul::llm_int8::<f16, f32>(&weights, &x, (THRESHOLD, 0), None, None).unwrap();
        assert_close(&by_device(&weights, &x, 0, None, None).unwrap(), &expected, "no room");
    }
}

/// What a list from elsewhere says is not believed: columns beyond k are passed over, and so are more than there are.
#[test]
fn a_list_of_nonsense_stays_inside() {
    let World { kernels, stream } = world();
    let mut rng = rng(16);
    let (n, k, cap) = (16, 96, 4);
    let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
    let zeros = |len: usize| stream.alloc_zeros::<u8>(len).unwrap();
    let (x, codes, scale) = (stream.alloc_zeros::<f16>(k).unwrap(), zeros(k), stream.alloc_zeros::<f32>(1).unwrap());
    let columns = stream.clone_htod(&[3u32, 96, u32::MAX, 1 << 31]).unwrap();
    let count = stream.clone_htod(&[u32::MAX, 0]).unwrap();
    let values = stream.clone_htod(&[f16::ONE; 4]).unwrap();
    let mut y = stream.alloc_zeros::<f32>(n).unwrap();
    let packed = stream.clone_htod(weights.bytes()).unwrap();
    let operands = LlmInt8Operands {
        layout: weights.layout(),
        weights: &packed.as_view(),
        x: &x.as_view(),
        x_stride: k,
        codes: &codes.as_view(),
        scale: &scale.as_view(),
        columns: &columns.slice(..cap),
        count: &count.as_view(),
        values: &values.as_view(),
    };
    let config = CodedConfig::contiguous(1, n);
    matmul::llm_int8(kernels, stream, &config, &operands, &Epilogue::default(), &mut y.as_view_mut(), None).unwrap();
    let expected: Vec<f32> = (0..n).map(|n| weights.weight(n, 3) as f32).collect();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), expected);
}
