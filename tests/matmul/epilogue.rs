//! Bias, residual, gate, segments, and every output type.

use half::{bf16, f16};
use lowbit::Result;
use lowbit::format::activation::Gate;
use lowbit::format::{Element, Half16};
use lowbit::ops::matmul::{self, Operands, Output, Residual, Segment, SkinnyConfig};
use lowbit::weights::Packed;

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

    // The residual in rows of its own stride, NaN between them; and in place: what the output holds is the residual.
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
    let expected = bytes_of(&from.run(&world).unwrap());
    assert_eq!(bytes_of(&stream.clone_dtoh(&out).unwrap()), expected, "{case} in place");
    let stride = n + 3;
    let mut padded = vec![O::from_f32(f32::NAN); (rows - 1) * stride + n];
    for (to, from) in padded.chunks_mut(stride).zip(residual.chunks(n)) {
        to[..n].copy_from_slice(from);
    }
    let padded = stream.clone_htod(&padded).unwrap();
    let padded = padded.as_view();
    let operands = Operands { residual: Residual::From(&padded), ..operands };
    let config = SkinnyConfig { residual_stride: stride, ..config };
    matmul::skinny(kernels, stream, &config, &operands, &mut out.as_view_mut(), None).unwrap();
    assert_eq!(bytes_of(&stream.clone_dtoh(&out).unwrap()), expected, "{case} strided residual");
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

/// The outputs of `weights` with `rows` rows of `x`, written where `output` says, rows `out_stride` apart.
fn multiply<'o, 'v: 'o, X: Half16, O: Element>(
    World { kernels, stream }: &World,
    weights: &Packed,
    (x, rows): (&[X], usize),
    bias: Option<&[O]>,
    out_stride: usize,
    output: Output<'o, 'v, O>,
) -> Result<()> {
    let layout = weights.layout();
    let (device_x, bytes) = (stream.clone_htod(x)?, stream.clone_htod(weights.bytes())?);
    let bias = bias.map(|bias| stream.clone_htod(bias)).transpose()?;
    let bias = bias.as_ref().map(|bias| bias.as_view());
    let mut workspace = stream.alloc_zeros::<u8>(matmul::workspace_bytes(kernels, layout, rows).max(1))?;
    let config = SkinnyConfig { out_stride, ..SkinnyConfig::contiguous(layout, rows) };
    let operands = Operands {
        layout,
        weights: &bytes.as_view(),
        x: &device_x.as_view(),
        bias: bias.as_ref(),
        residual: Residual::None,
    };
    matmul::skinny(kernels, stream, &config, &operands, output, Some(&mut workspace.as_view_mut()))
}

/// A gated output: rounded once, in its own row stride, nothing written beside it.
fn gated<X: Half16, O: Element>(function: Gate, (n, k, rows): (usize, usize, usize), case: &str) {
    let world = world();
    let mut rng = rng(31);
    let weights = random_weights(&mut rng, Kind::Zeros, n, k, 128);
    let x = activations::<X>(&mut rng, "gauss", rows * k);
    let bias: Vec<O> = activations::<f16>(&mut rng, "gauss", n).iter().map(|x| O::from_f32(x.to_f32())).collect();
    let (half, stride) = (n / 2, n / 2 + 3);
    for bias in [None, Some(&bias[..])] {
        let marker = O::from_f32(-77.0);
        let mut out = world.stream.clone_htod(&vec![marker; (rows - 1) * stride + half]).unwrap();
        let mut view = out.as_view_mut();
        multiply(&world, &weights, (&x, rows), bias, stride, Output::Gated(function, &mut view)).unwrap();
        let found = world.stream.clone_dtoh(&out).unwrap();
        let whole = lowbit::reference::matmul::skinny(&weights, &x, bias, None);
        let expected = lowbit::reference::matmul::gated(function, &whole, n);
        let rows_of: Vec<O> = found.chunks(stride).flat_map(|row| row[..half].to_vec()).collect();
        assert_close(&rows_of, &expected, &format!("{case} {function:?} {n} x {k} rows {rows}"));
        for row in found.chunks(stride) {
            assert!(row[half..].iter().all(|y| y.to_f32() == -77.0), "{case}: written between rows");
        }
    }
}

#[test]
fn gate_and_up_are_one_product() {
    // Few outputs, k in four parts of a block; many parts of it; many outputs; k split over blocks; every width.
    for (n, k, rows) in [(32, 576, 1), (96, 256, 8), (64, 1303, 9), (2080, 128, 3), (32, 8192, 2), (160, 160, 32)] {
        in_every_mode(|mode| {
            gated::<f16, f16>(Gate::Silu, (n, k, rows), &format!("f16 {mode}"));
            gated::<bf16, f32>(Gate::GeluTanh, (n, k, rows), &format!("bf16 {mode}"));
        });
    }
    in_every_mode(|mode| gated::<f16, bf16>(Gate::Silu, (96, 320, 17), &format!("f16 to bf16 {mode}")));
}

/// Query, key and value in one matrix of weights: each segment is bit for bit its part of the whole.
#[test]
fn segments_are_parts_of_the_whole() {
    let world = world();
    let mut rng = rng(32);
    for (columns, k, rows) in
        [(&[40, 8, 8][..], 320, 3), (&[1, 15, 17, 30], 256, 12), (&[24], 576, 20), (&[16, 16], 8192, 1)]
    {
        let n = columns.iter().sum();
        let weights = random_weights(&mut rng, Kind::Min, n, k, 32);
        let x = activations::<f16>(&mut rng, "plus3", rows * k);
        let bias: Vec<f32> = activations::<f16>(&mut rng, "gauss", n).iter().map(|x| x.to_f32()).collect();
        let whole = Call { bias: Some(&bias[..]), ..Call::<f16, f32>::new(&weights, &x, rows) }.run(&world).unwrap();
        let mut buffers: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(at, columns)| world.stream.clone_htod(&vec![-77f32; rows * (columns + at)]).unwrap())
            .collect();
        let mut segments: Vec<_> = buffers
            .iter_mut()
            .zip(columns)
            .enumerate()
            .map(|(at, (out, &columns))| Segment { out: out.as_view_mut(), columns, stride: columns + at })
            .collect();
        multiply(&world, &weights, (&x, rows), Some(&bias), 0, Output::Segments(&mut segments)).unwrap();
        drop(segments);
        let mut first = 0;
        for (at, (buffer, columns)) in buffers.iter().zip(columns).enumerate() {
            let found = world.stream.clone_dtoh(buffer).unwrap();
            for (row, line) in found.chunks(columns + at).enumerate() {
                let part = &whole[row * n + first..][..*columns];
                let bits = |values: &[f32]| bytemuck::cast_slice::<f32, u32>(values).to_vec();
                assert_eq!(bits(&line[..*columns]), bits(part), "segment {at}");
                assert!(line[*columns..].iter().all(|&y| y == -77.0), "segment {at}: written between rows");
            }
            first += columns;
        }
    }
}

#[test]
fn wrong_outputs_are_named() {
    let world = world();
    let mut rng = rng(33);
    let weights = random_weights(&mut rng, Kind::Symmetric, 48, 64, 32);
    let x = activations::<f16>(&mut rng, "gauss", 2 * 64);
    let mut buffers: Vec<_> = (0..5).map(|_| world.stream.clone_htod(&vec![42f32; 96]).unwrap()).collect();
    // Columns and strides of segments, each in 96 elements.
    for (parts, message) in [
        (&[][..], "`segments`: expected 1 to 4 segments, found 0"),
        (&[(10, 10), (10, 10), (10, 10), (10, 10), (8, 8)], "`segments`: expected 1 to 4 segments, found 5"),
        (&[(48, 48), (0, 8)], "`segments.columns`: expected at least 1, found 0"),
        (&[(24, 24), (16, 16)], "`segments.columns`: expected 48 columns together, found 40"),
        (&[(24, 23), (24, 24)], "`segments.stride`: expected at least 24, found 23"),
        (&[(24, 24), (24, 80)], "`segments.out`: expected at least 104, found 96"),
    ] {
        let mut segments: Vec<_> = buffers
            .iter_mut()
            .zip(parts)
            .map(|(out, &(columns, stride))| Segment { out: out.as_view_mut(), columns, stride })
            .collect();
        let output = Output::Segments(&mut segments);
        let error = multiply(&world, &weights, (&x, 2), None, 48, output).unwrap_err().to_string();
        assert_eq!(error, format!("matmul::skinny: {message}"));
    }
    let mut gate = |weights: &Packed, function, stride| {
        let mut view = buffers[0].as_view_mut();
        multiply(&world, weights, (&x, 2), None, stride, Output::Gated(function, &mut view)).unwrap_err().to_string()
    };
    let message = "matmul::skinny: `layout`: expected n a multiple of 32 for a gated output, found 48";
    assert_eq!(gate(&weights, Gate::Silu, 24), message);
    let weights = random_weights(&mut rng, Kind::Symmetric, 64, 64, 32);
    let message = "matmul::skinny: a gate GeluErf is not supported; supported: Silu, GeluTanh";
    assert_eq!(gate(&weights, Gate::GeluErf, 32), message);
    assert_eq!(gate(&weights, Gate::Silu, 31), "matmul::skinny: `config.out_stride`: expected at least 32, found 31");
    assert_eq!(gate(&weights, Gate::Silu, 65), "matmul::skinny: `out`: expected at least 97, found 96");
    for buffer in &buffers {
        assert!(world.stream.clone_dtoh(buffer).unwrap().iter().all(|&y| y == 42.0), "an error writes nothing");
    }
    // A residual has no place in a gate.
    let World { kernels, stream } = &world;
    let (device_x, bytes) = (stream.clone_htod(&x).unwrap(), stream.clone_htod(weights.bytes()).unwrap());
    let operands = Operands {
        layout: weights.layout(),
        weights: &bytes.as_view(),
        x: &device_x.as_view(),
        bias: None,
        residual: Residual::Output,
    };
    let config = SkinnyConfig::contiguous(weights.layout(), 1);
    let mut view = buffers[0].as_view_mut();
    let output = Output::Gated(Gate::Silu, &mut view);
    let error = matmul::skinny(kernels, stream, &config, &operands, output, None).unwrap_err().to_string();
    let message = "matmul::skinny: `residual`: expected none with a gated output or segments, found a residual";
    assert_eq!(error, message);
}

/// Far from 1 on both sides: f16 activations up to the largest, scales that are subnormal.
#[test]
fn extremes_of_f16_are_kept() {
    use lowbit::weights::{PlainWeights, Zeros};
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
