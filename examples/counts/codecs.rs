//! ggml blocks, codebooks and transforms, alone and inside the quantizers per group.

use lowbit::calibrate::lloyd_max;
use lowbit::cudarc::driver::CudaView;
use lowbit::format::{Axis, Code, GgmlType, Matrix, Outliers, Rotation, Scales, Scheme, Spread, Transform};
use lowbit::half::f16;
use lowbit::ops::{codebook, ggml, transform};

use crate::{Bench, Case, Outcome};

const ROWS: usize = 64;
const COLS: usize = 4096;
const LEN: usize = ROWS * COLS;

pub fn run(bench: &Bench) -> Outcome {
    blocks(bench)?;
    transforms(bench)?;
    rotated(bench)?;
    codebooks(bench)
}

fn values(len: usize) -> Vec<f16> {
    (0..len).map(|i| f16::from_f32((i * 7919 % 2003) as f32 / 100.0 - 10.0)).collect()
}

fn blocks(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    let x = stream.clone_htod(&values(LEN))?;
    let mut out = stream.alloc_zeros::<f16>(LEN)?;
    let mut blocks = stream.alloc_zeros::<u8>(2 * LEN)?;
    let shape = Matrix::dense(ROWS, COLS);
    let rotated = Transform::rotation(Rotation::of_head(128));
    let kinds = [
        (GgmlType::Q4_0, "ggml_quantize_f16_q4_0", "ggml_dequantize_f16_q4_0"),
        (GgmlType::Q4_1, "ggml_quantize_f16_q4_1", "ggml_dequantize_f16_q4_1"),
        (GgmlType::Q5_0, "ggml_quantize_f16_q5_0", "ggml_dequantize_f16_q5_0"),
        (GgmlType::Q5_1, "ggml_quantize_f16_q5_1", "ggml_dequantize_f16_q5_1"),
        (GgmlType::Q8_0, "ggml_quantize_f16_q8_0", "ggml_dequantize_f16_q8_0"),
        (GgmlType::Iq4Nl, "ggml_quantize_f16_iq4_nl", "ggml_dequantize_f16_iq4_nl"),
    ];
    for (kind, quantize, dequantize) in kinds {
        let bytes = 2 * LEN + LEN / 32 * kind.block_bytes();
        for (case, transform) in [("blocks of 32", &Transform::NONE), ("rotated by 128", &rotated)] {
            bench.count(Case { kernel: quantize, case, bytes, units: LEN }, || {
                ggml::quantize(kernels, stream, kind, transform, shape, &x.as_view(), &mut blocks.as_view_mut())
            })?;
        }
        bench.count(Case { kernel: dequantize, case: "blocks of 32", bytes, units: LEN }, || {
            ggml::dequantize(kernels, stream, kind, shape, &blocks.as_view(), &mut out.as_view_mut())
        })?;
    }
    Ok(())
}

fn transforms(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    // So many rows that a block goes down 16: its vectors are read once a block.
    const ROWS: usize = 4096;
    const LEN: usize = ROWS * COLS;
    let x = stream.clone_htod(&values(LEN))?;
    let mut out = stream.alloc_zeros::<f16>(LEN)?;
    let vector = stream.clone_htod(&vec![1.5f32; COLS])?;
    let shape = Matrix::dense(ROWS, COLS);
    let vectors = |rotation| Transform { offset: Some(vector.as_view()), smoothing: Some(vector.as_view()), rotation };
    let cases: [(_, Transform<CudaView<'_, f32>>, _); 3] = [
        ("rotated by 64", Transform::rotation(Rotation::of_head(64)), 0),
        ("rotated by 128", Transform::rotation(Rotation::of_head(128)), 0),
        ("offset and smoothing", vectors(Rotation::None), 8 * COLS),
    ];
    for (case, transform, bytes) in cases {
        bench.count(Case { kernel: "transform_f16", case, bytes: 4 * LEN + bytes, units: LEN }, || {
            transform::forward(kernels, stream, &transform, shape, &x.as_view(), &mut out.as_view_mut())
        })?;
    }
    Ok(())
}

/// Codes per group, transformed on the way.
fn rotated(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    let x = stream.clone_htod(&values(LEN))?;
    let mut codes = stream.alloc_zeros::<u8>(LEN)?;
    let shape = Matrix::dense(ROWS, COLS);
    let transform = Transform::rotation(Rotation::of_head(128));

    let int8 = Scheme { code: Code::Int8, axis: Axis::Group(128) };
    let mut scale = stream.alloc_zeros::<f32>(int8.regions(shape))?;
    let bytes = 3 * LEN + 4 * int8.regions(shape);
    let case = "per head, rotated by 128";
    bench.count(Case { kernel: "quantize_rotated_f16_int8", case, bytes, units: LEN }, || {
        let mut scales = Scales::Symmetric(scale.as_view_mut());
        let (x, codes) = (&x.as_view(), &mut codes.as_view_mut());
        transform::quantize(kernels, stream, int8, &transform, shape, x, codes, &mut scales)
    })?;

    let uint4 = Scheme { code: Code::Uint4, axis: Axis::Group(32) };
    let (mut scale, mut min) =
        (stream.alloc_zeros::<f16>(uint4.regions(shape))?, stream.alloc_zeros::<f16>(uint4.regions(shape))?);
    let bytes = 2 * LEN + LEN / 2 + 4 * uint4.regions(shape);
    let case = "groups of 32, rotated by 128";
    bench.count(Case { kernel: "quantize_rotated_f16_uint4", case, bytes, units: LEN }, || {
        let mut scales = Scales::Asymmetric { scale: scale.as_view_mut(), min: min.as_view_mut() };
        let (x, codes) = (&x.as_view(), &mut codes.as_view_mut());
        transform::quantize(kernels, stream, uint4, &transform, shape, x, codes, &mut scales)
    })
}

fn codebooks(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    const DIM: usize = 128;
    const SLOTS: usize = 2;
    // One head, and so many tokens that a group of lanes goes through several: its ranges are read once.
    const ROWS: usize = 65_536;
    let shape = Matrix::dense(ROWS, DIM);
    let x = stream.clone_htod(&values(shape.span()))?;
    let mut out = stream.alloc_zeros::<f16>(shape.span())?;
    let mut codes = stream.alloc_zeros::<u8>(shape.span() / 2)?;
    let (mut range, mut zero) = (stream.alloc_zeros::<f16>(ROWS)?, stream.alloc_zeros::<f16>(ROWS)?);
    let (mut channel, mut value) = (stream.alloc_zeros::<u8>(SLOTS * ROWS)?, stream.alloc_zeros::<f16>(SLOTS * ROWS)?);
    let given = stream.clone_htod(&vec![f16::from_f32(4.0); DIM])?;
    let kinds = [
        (2, "codebook_quantize_f16_nuq2_row", "codebook_dequantize_f16_nuq2_row"),
        (3, "codebook_quantize_f16_nuq3_row", "codebook_dequantize_f16_nuq3_row"),
        (4, "codebook_quantize_f16_nuq4_row", "codebook_dequantize_f16_nuq4_row"),
    ];
    let units = shape.span();
    let case = |kernel, case, bytes| Case { kernel, case, bytes, units };
    for (bits, quantize, dequantize) in kinds {
        let book = lloyd_max(bits)?;
        let bytes = units * 2 + units * bits / 8 + ROWS * (4 + 3 * SLOTS);
        bench.count(case(quantize, "per token, outliers", bytes), || {
            let mut spread = Spread::Row { range: range.as_view_mut(), zero: zero.as_view_mut() };
            let mut kept = Outliers { slots: SLOTS, channel: channel.as_view_mut(), value: value.as_view_mut() };
            let (x, codes, kept) = (x.as_view(), &mut codes.as_view_mut(), Some(&mut kept));
            codebook::quantize(kernels, stream, &book, &Transform::NONE, shape, &x, codes, &mut spread, kept)
        })?;
        bench.count(case(dequantize, "per token, outliers", bytes), || {
            let spread = Spread::Row { range: range.as_view(), zero: zero.as_view() };
            let kept = Outliers { slots: SLOTS, channel: channel.as_view(), value: value.as_view() };
            let (codes, out) = (codes.as_view(), &mut out.as_view_mut());
            codebook::dequantize(kernels, stream, &book, shape, &codes, &spread, Some(&kept), out)
        })?;
    }
    let book = lloyd_max(4)?;
    let bytes = units * 2 + units / 2;
    bench.count(case("codebook_quantize_f16_nuq4_norm", "rotated by 128", bytes + 2 * ROWS), || {
        let mut spread = Spread::Norm { range: range.as_view_mut() };
        let rotation = Transform::rotation(Rotation::SignedHadamard { block: DIM, seed: 1 });
        let (x, codes) = (x.as_view(), &mut codes.as_view_mut());
        codebook::quantize(kernels, stream, &book, &rotation, shape, &x, codes, &mut spread, None)
    })?;
    bench.count(
        case("codebook_quantize_f16_nuq4_channel", "per channel, outliers", bytes + ROWS * 3 * SLOTS + 4 * DIM),
        || {
            let mut spread = Spread::Channel { heads: 1, range: given.as_view(), zero: given.as_view() };
            let mut kept = Outliers { slots: SLOTS, channel: channel.as_view_mut(), value: value.as_view_mut() };
            let (x, codes, kept) = (x.as_view(), &mut codes.as_view_mut(), Some(&mut kept));
            codebook::quantize(kernels, stream, &book, &Transform::NONE, shape, &x, codes, &mut spread, kept)
        },
    )
}
