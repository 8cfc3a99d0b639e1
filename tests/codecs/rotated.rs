//! Schemes of `ops::quantize` with a transform on the way.

use lowbit::format::{Axis, Code, Element, Fp8, Matrix, Rotation, Scales, Scheme, Transform, unpack};
use lowbit::half::{bf16, f16};
use lowbit::{ops, reference};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::{Fenced, Gpu, bits, finite, gpu, in_every_mode, input, is_untouched, untouched};

const CODES: [Code; 6] = [Code::Int8, Code::Int4, Code::Fp8(Fp8::E4m3), Code::Uint8, Code::Uint4, Code::Uint2];

/// Codes and scales; the f32 scales are empty for an asymmetric code, the f16 ones for a symmetric.
#[derive(Debug, PartialEq)]
struct Coded {
    codes: Vec<u8>,
    scale: Vec<u32>,
    halves: Vec<u32>,
    min: Vec<u32>,
}

/// Lengths of f32 scales and of f16 scales.
fn counts(scheme: Scheme, shape: Matrix) -> (usize, usize) {
    let regions = scheme.regions(shape);
    if scheme.code.asymmetric() { (0, regions) } else { (regions, 0) }
}

/// `fused`: by `reference::transform::quantize`, else the transform and then the quantizer.
fn by_reference<E: Element>(
    scheme: Scheme,
    transform: &Transform<&[f32]>,
    shape: Matrix,
    x: &[E],
    fused: bool,
) -> Coded {
    let mut codes = vec![0; shape.rows * scheme.row_bytes(shape.cols)];
    let (f32s, f16s) = counts(scheme, shape);
    let (mut scale, mut halves, mut min) = (vec![0f32; f32s], vec![f16::ZERO; f16s], vec![f16::ZERO; f16s]);
    let scales = match scheme.code.asymmetric() {
        true => Scales::Asymmetric { scale: &mut halves[..], min: &mut min[..] },
        false => Scales::Symmetric(&mut scale[..]),
    };
    if fused {
        reference::transform::quantize(scheme, transform, shape, x, &mut codes, scales).unwrap();
    } else {
        let mut y = x.to_vec();
        reference::transform::forward(transform, shape, x, &mut y).unwrap();
        reference::quantize::quantize(scheme, shape, &y, &mut codes, scales).unwrap();
    }
    Coded { codes, scale: bits(&scale), halves: bits(&halves), min: bits(&min) }
}

fn by_device<E: Element>(
    gpu: &Gpu,
    scheme: Scheme,
    transform: &Transform<&[f32]>,
    shape: Matrix,
    x: &[E],
    shift: usize,
) -> Coded {
    let Gpu { stream, kernels } = gpu;
    let x = Fenced::new(gpu, x, shift);
    let vector = |v: Option<&[f32]>| v.map(|v| Fenced::new(gpu, v, shift));
    let (offset, smoothing) = (vector(transform.offset), vector(transform.smoothing));
    let transform = Transform {
        offset: offset.as_ref().map(Fenced::view),
        smoothing: smoothing.as_ref().map(Fenced::view),
        rotation: transform.rotation,
    };
    let mut codes = Fenced::new(gpu, &untouched::<u8>(shape.rows * scheme.row_bytes(shape.cols)), shift);
    let (f32s, f16s) = counts(scheme, shape);
    let mut scale = Fenced::new(gpu, &untouched::<f32>(f32s), 0);
    let (mut halves, mut min) = (Fenced::new(gpu, &untouched(f16s), 0), Fenced::new(gpu, &untouched(f16s), shift));
    {
        let mut scales = match scheme.code.asymmetric() {
            true => Scales::Asymmetric { scale: halves.view_mut(), min: min.view_mut() },
            false => Scales::Symmetric(scale.view_mut()),
        };
        let (x, codes) = (&x.view(), &mut codes.view_mut());
        ops::transform::quantize(kernels, stream, scheme, &transform, shape, x, codes, &mut scales).unwrap();
    }
    Coded {
        codes: codes.read(gpu),
        scale: bits(&scale.read(gpu)),
        halves: bits::<f16>(&halves.read(gpu)),
        min: bits::<f16>(&min.read(gpu)),
    }
}

fn check<E: Element>(gpu: &Gpu, scheme: Scheme, transform: &Transform<&[f32]>, shape: Matrix, x: &[E], shift: usize) {
    let expected = by_reference(scheme, transform, shape, x, false);
    assert_eq!(by_reference(scheme, transform, shape, x, true), expected);
    let what = || format!("{scheme:?} {:?} {shape:?} {} shift {shift}", transform.rotation, E::DTYPE);
    assert_eq!(by_device(gpu, scheme, transform, shape, x, shift), expected, "{}", what());
}

/// Rotated keys of every head dimension in 4 bits: codes, scales and minima of the golden files.
#[test]
fn golden_groups_of_rotated_heads() {
    let (file, gpu) = (Golden::open("hadamard"), gpu());
    for dim in [64usize, 80, 96, 112, 128, 256] {
        let part = |name: &str| format!("d{dim}.{name}");
        let x = file.f16(&part("x"));
        let shape = Matrix::dense(x.len() / dim, dim);
        let group = 1 << dim.trailing_zeros().min(5); // gcd(32, D)
        let scheme = Scheme { code: Code::Uint4, axis: Axis::Group(group) };
        let transform = Transform::rotation(Rotation::of_head(dim));
        match dim {
            80 | 256 => in_every_mode(|_| check(&gpu, scheme, &transform, shape, &x, 0)),
            _ => check(&gpu, scheme, &transform, shape, &x, 0),
        }
        let found = by_device(&gpu, scheme, &transform, shape, &x, 0);
        let codes: Vec<u8> = (0..x.len()).map(|i| unpack(&found.codes, 4, i)).collect();
        assert_eq!(codes, file.bytes(&part("int4_group.q")), "{dim}");
        assert_eq!(found.halves, bits(&file.f16(&part("int4_group.scale"))), "{dim}");
        assert_eq!(found.min, bits(&file.f16(&part("int4_group.min"))), "{dim}");
    }
}

#[test]
fn every_code_and_part_over_shapes() {
    let gpu = gpu();
    let shapes = [
        (Matrix::dense(0, 64), 0),
        (Matrix::dense(2, 0), 0),
        (Matrix::dense(1, 64), 0),
        (Matrix::dense(37, 128), 1),
        (Matrix { rows: 5, cols: 192, row_stride: 195 }, 0),
        (Matrix { rows: 7, cols: 768, row_stride: 776 }, 8),
    ];
    for (i, (shape, shift)) in shapes.into_iter().enumerate() {
        let (offset, smoothing): (Vec<f32>, Vec<f32>) =
            (0..shape.cols).map(|i| (i as f32 * 0.01, 0.5 + i as f32 / 64.0)).unzip();
        for (j, code) in CODES.into_iter().enumerate() {
            let group = [8, 16, 32, 64][(i + j) % 4];
            let scheme = Scheme { code, axis: Axis::Group(group) };
            let rotation = Rotation::SignedHadamard { block: [64, 16, 8, 32][j % 4], seed: 3 };
            let parts = [(false, false), (true, false), (false, true), (true, true)][(i + j / 2) % 4];
            let transform = Transform {
                offset: parts.0.then_some(&offset[..]),
                smoothing: parts.1.then_some(&smoothing[..]),
                rotation: if j == 4 { Rotation::None } else { rotation },
            };
            let seed = (10 * i + j) as u64;
            match (i + j) % 3 {
                0 => check(&gpu, scheme, &transform, shape, &input::<f32>(shape.span(), seed), shift),
                1 => check(&gpu, scheme, &transform, shape, &input::<f16>(shape.span(), seed), shift),
                _ => check(&gpu, scheme, &transform, shape, &input::<bf16>(shape.span(), seed), shift),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 0usize..20, group in 3u32..=8, block in 3u32..=8, wide in 1usize..4, gap in 0usize..9, shift in 0usize..9,
        code in 0usize..6, seed in any::<u32>(),
    ) {
        let cols = wide << group.max(block);
        let scheme = Scheme { code: CODES[code], axis: Axis::Group(1 << group) };
        let transform = Transform::rotation(Rotation::SignedHadamard { block: 1 << block, seed });
        let shape = Matrix { rows, cols, row_stride: cols + gap };
        check(&gpu(), scheme, &transform, shape, &finite::<f16>(shape.span(), seed.into()), shift);
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let gpu = gpu();
    let Gpu { stream, kernels } = &gpu;
    let x = Fenced::new(&gpu, &[f16::ONE; 128], 0);
    let dense = Matrix::dense(2, 64);
    let int8 = |axis| Scheme { code: Code::Int8, axis };
    let list = "is not supported; supported: int8, int4, e4m3, uint8, uint4, uint2 per Group of 8 to 256, a power of two; else \
                transform, then quantize";
    let e5m2 = Scheme { code: Code::Fp8(Fp8::E5m2), axis: Axis::Group(32) };
    // scheme, shape, block, elements, bytes of codes, scales, the error
    let table = [
        (int8(Axis::Row), dense, 64, 128, 128, 4, format!("int8 per Row {list}")),
        (int8(Axis::Group(24)), dense, 64, 128, 128, 4, format!("int8 per Group(24) {list}")),
        (int8(Axis::Group(512)), dense, 64, 128, 128, 4, format!("int8 per Group(512) {list}")),
        (e5m2, dense, 64, 128, 128, 4, format!("e5m2 per Group(32) {list}")),
        (int8(Axis::Group(32)), dense, 64, 127, 128, 4, "`x`: expected at least 128 elements, found 127".into()),
        (int8(Axis::Group(32)), dense, 64, 128, 127, 4, "`codes`: expected at least 128 bytes, found 127".into()),
        (int8(Axis::Group(32)), dense, 64, 128, 128, 3, "`scales`: expected at least 4 f32, found 3".into()),
        (
            int8(Axis::Group(32)),
            dense,
            128,
            128,
            128,
            4,
            "`shape.cols`: expected a multiple of the rotation's block of 128, found 64".into(),
        ),
        (
            int8(Axis::Group(32)),
            Matrix::dense(2, 48),
            16,
            128,
            128,
            4,
            "`shape.cols`: expected a multiple of the group of 32, found 48".into(),
        ),
    ];
    for (scheme, shape, block, elements, bytes, scale_count, expected) in table {
        let mut codes = Fenced::new(&gpu, &untouched::<u8>(128), 0);
        let mut scale = Fenced::new(&gpu, &untouched::<f32>(4), 0);
        let transform = Transform::rotation(Rotation::Hadamard { block });
        {
            let mut scales = Scales::Symmetric(scale.part_mut(scale_count));
            let (x, codes) = (&x.part(elements), &mut codes.part_mut(bytes));
            let error = ops::transform::quantize(kernels, stream, scheme, &transform, shape, x, codes, &mut scales);
            assert_eq!(error.unwrap_err().to_string(), format!("transform::quantize: {expected}"));
        }
        assert!(is_untouched(&codes.read(&gpu)) && is_untouched(&scale.read(&gpu)));
    }
}
