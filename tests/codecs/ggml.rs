//! ggml blocks.

use lowbit::format::{Element, GgmlType, Matrix, Rotation, Transform};
use lowbit::half::{bf16, f16};
use lowbit::{ops, reference};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::{Fenced, Gpu, SHAPES, bits, f16s, gpu, in_every_mode, input, is_untouched, untouched};

fn blocks_of<E: Element>(kind: GgmlType, transform: &Transform<&[f32]>, shape: Matrix, x: &[E]) -> Vec<u8> {
    let mut blocks = vec![0; shape.rows * kind.row_bytes(shape.cols)];
    reference::ggml::quantize(kind, transform, shape, x, &mut blocks).unwrap();
    blocks
}

fn values_of<E: Element>(kind: GgmlType, shape: Matrix, blocks: &[u8]) -> Vec<E> {
    let mut y = untouched::<E>(shape.span());
    reference::ggml::dequantize(kind, shape, blocks, &mut y).unwrap();
    y
}

/// The device's blocks and values equal the reference's, byte for byte.
fn check<E: Element>(gpu: &Gpu, kind: GgmlType, rotation: Rotation, shape: Matrix, x: &[E], shift: usize) {
    let what = format!("{} {rotation:?} {shape:?} {} shift {shift}", kind.name(), E::DTYPE);
    let expected = blocks_of(kind, &Transform::rotation(rotation), shape, x);
    let Gpu { stream, kernels } = gpu;
    let x = Fenced::new(gpu, x, shift);
    let mut blocks = Fenced::new(gpu, &untouched::<u8>(expected.len()), shift);
    let transform = Transform::rotation(rotation);
    ops::ggml::quantize(kernels, stream, kind, &transform, shape, &x.view(), &mut blocks.view_mut()).unwrap();
    assert_eq!(blocks.read(gpu), expected, "blocks of {what}");
    let mut y = Fenced::new(gpu, &untouched::<E>(shape.span()), shift);
    ops::ggml::dequantize(kernels, stream, kind, shape, &blocks.view(), &mut y.view_mut()).unwrap();
    assert_eq!(bits(&y.read(gpu)), bits(&values_of::<E>(kind, shape, &expected)), "values of {what}");
}

#[test]
fn the_reference_is_ggml_byte_for_byte() {
    let (file, table) = (Golden::open("ggml"), Golden::open("ggml_iq4_nl"));
    let x = file.f32("x");
    let shape = Matrix::dense(file.shape("x")[0], file.shape("x")[1]);
    for kind in GgmlType::ALL {
        let file = if kind == GgmlType::Iq4Nl { &table } else { &file };
        let blocks = blocks_of(kind, &Transform::NONE, shape, &x);
        assert!(blocks == file.bytes(&format!("{}.bytes", kind.name())), "{}", kind.name());
        let y = values_of::<f32>(kind, shape, &blocks);
        assert_eq!(bits(&y), bits(&file.f32(&format!("{}.y", kind.name()))), "{}", kind.name());
    }
}

#[test]
fn kernels_on_the_golden_input_in_every_mode() {
    let x = Golden::open("ggml").f32("x");
    let shape = Matrix::dense(x.len() / 64, 64);
    let gpu = gpu();
    in_every_mode(|_| GgmlType::ALL.iter().for_each(|&kind| check(&gpu, kind, Rotation::None, shape, &x, 0)));
}

#[test]
fn kernels_of_every_type_over_shapes() {
    let gpu = gpu();
    for (i, (shape, shift)) in SHAPES.into_iter().enumerate() {
        for kind in GgmlType::ALL {
            let seed = i as u64;
            check(&gpu, kind, Rotation::None, shape, &input::<f32>(shape.span(), seed), shift);
            check(&gpu, kind, Rotation::None, shape, &input::<f16>(shape.span(), seed), shift);
            check(&gpu, kind, Rotation::None, shape, &input::<bf16>(shape.span(), seed), shift);
        }
    }
}

/// Blocks with a scale of exactly 1: all halves and whole numbers between the codes, and their f32 neighbours.
fn ties() -> Vec<f32> {
    let mut x = Vec::new();
    for half in -256i32..=256 {
        let tie = half as f32 / 2.0;
        x.extend([tie, tie.next_up(), tie.next_down()]);
    }
    // 127, -8 or 0 with 15, -16 or 0 with 31: what makes the scale 1 for Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
    let ends: [(&[f32], f32, f32); 5] = [
        (&[127.0], -127.0, 127.0),
        (&[-8.0], -8.0, 8.0),
        (&[0.0, 15.0], 0.0, 15.0),
        (&[-16.0], -16.0, 16.0),
        (&[0.0, 31.0], 0.0, 31.0),
    ];
    let mut blocks = Vec::new();
    for (ends, low, high) in ends {
        let inside: Vec<f32> = x.iter().copied().filter(|v| (low..=high).contains(v)).collect();
        for chunk in inside.chunks(32 - ends.len()) {
            blocks.extend_from_slice(ends);
            blocks.extend_from_slice(chunk);
            blocks.resize(blocks.len().next_multiple_of(32), 0.0);
        }
    }
    blocks
}

#[test]
fn exact_halves_and_their_neighbours() {
    let (x, gpu) = (ties(), gpu());
    for kind in GgmlType::ALL {
        check(&gpu, kind, Rotation::None, Matrix::dense(1, x.len()), &x, 0);
    }
    // Away from zero at the halves of Q8_0, not to even.
    let block: Vec<f32> = [127.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.5f32.next_down()].into_iter().chain([0.0; 25]).collect();
    let blocks = blocks_of(GgmlType::Q8_0, &Transform::NONE, Matrix::dense(1, 32), &block);
    assert_eq!(blocks[..10], [0x00, 0x3C, 127, 1, 0xFF, 2, 3, 0xFD, 0, 0]);
}

/// The signs of zeros and which of equal extremes comes first show in the bytes.
#[test]
fn the_first_of_equals_decides() {
    let gpu = gpu();
    let mut rows = Vec::new();
    for (i, j) in [(0, 31), (3, 4), (7, 8), (15, 16), (20, 2), (31, 0)] {
        for (a, b) in [(2.0, -2.0), (-2.0, 2.0), (-0.0, 0.0), (0.0, -0.0)] {
            let mut row = if f32::abs(a) == 2.0 { [0.25f32; 32] } else { [1.0; 32] };
            (row[i], row[j]) = (a, b);
            rows.extend(row);
        }
    }
    let shape = Matrix::dense(rows.len() / 32, 32);
    GgmlType::ALL.iter().for_each(|&kind| check(&gpu, kind, Rotation::None, shape, &rows, 0));
    let mut row = [0.25f32; 32];
    (row[20], row[2]) = (2.0, -2.0); // the first is -2: d = -2 / -8
    let d = blocks_of(GgmlType::Q4_0, &Transform::NONE, Matrix::dense(1, 32), &row)[..2].to_vec();
    assert_eq!(d, f16::from_f32(0.25).to_le_bytes());
}

#[test]
fn nan_infinity_and_scales_too_small_to_store() {
    let gpu = gpu();
    let mut rows = Vec::new();
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, 1e-38, 1e-39, 1e-44, 1e-16, 0.0, -0.0] {
        for rest in [0.0, 1.0, x] {
            rows.extend((0..32).map(|j| if j == 9 { x } else { rest }));
        }
    }
    let shape = Matrix::dense(rows.len() / 32, 32);
    for kind in GgmlType::ALL {
        check(&gpu, kind, Rotation::None, shape, &rows, 0);
        let y = values_of::<f32>(kind, shape, &blocks_of(kind, &Transform::NONE, shape, &rows));
        assert!(y.iter().all(|v| v.abs() <= 66_000.0), "{}: nothing decodes to NaN or infinity", kind.name());
    }
    // NaN is 0.
    let blocks = |x| blocks_of(GgmlType::Q4_1, &Transform::NONE, Matrix::dense(1, 32), &[x; 32]);
    assert_eq!(blocks(f32::NAN), blocks(0.0));
}

/// A transform on the way gives what the transform alone and then the quantizer give.
#[test]
fn transforms_on_the_way() {
    let gpu = gpu();
    let Gpu { stream, kernels } = &gpu;
    for block in [8, 16, 32, 64, 128, 256] {
        let shape = Matrix { rows: 7, cols: 768, row_stride: 776 };
        for rotation in [Rotation::Hadamard { block }, Rotation::SignedHadamard { block, seed: 5 }] {
            check(&gpu, GgmlType::Q4_0, rotation, shape, &crate::world::finite::<f16>(shape.span(), 3), 0);
            let dense = Matrix::dense(3, 256);
            check(&gpu, GgmlType::Q8_0, rotation, dense, &crate::world::finite::<bf16>(dense.span(), 4), 1);
        }
    }
    let shape = Matrix::dense(11, 96);
    let (offset, smoothing): (Vec<f32>, Vec<f32>) = (0..96).map(|i| (i as f32 * 0.1, 0.5 + i as f32 / 32.0)).unzip();
    let rotation = Rotation::SignedHadamard { block: 32, seed: 9 };
    let on_host = Transform { offset: Some(&offset[..]), smoothing: Some(&smoothing[..]), rotation };
    let (offset, smoothing) = (Fenced::new(&gpu, &offset, 1), Fenced::new(&gpu, &smoothing, 0));
    let on_device = Transform { offset: Some(offset.view()), smoothing: Some(smoothing.view()), rotation };
    let x = crate::world::finite::<f16>(shape.span(), 1);
    let x_device = Fenced::new(&gpu, &x, 0);
    for kind in GgmlType::ALL {
        let mut transformed = x.clone();
        reference::transform::forward(&on_host, shape, &x, &mut transformed).unwrap();
        let expected = blocks_of(kind, &Transform::NONE, shape, &transformed);
        assert_eq!(blocks_of(kind, &on_host, shape, &x), expected);
        let mut blocks = Fenced::new(&gpu, &untouched::<u8>(expected.len()), 0);
        let view = &mut blocks.view_mut();
        ops::ggml::quantize(kernels, stream, kind, &on_device, shape, &x_device.view(), view).unwrap();
        assert_eq!(blocks.read(&gpu), expected, "{}", kind.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 0usize..20, row_blocks in 0usize..9, gap in 0usize..9, shift in 0usize..9, kind in 0usize..6,
        seed in any::<u64>(), dtype in 0..3,
    ) {
        let shape = Matrix { rows, cols: 32 * row_blocks, row_stride: 32 * row_blocks + gap };
        let (gpu, kind) = (gpu(), GgmlType::ALL[kind]);
        match dtype {
            0 => check(&gpu, kind, Rotation::None, shape, &input::<f32>(shape.span(), seed), shift),
            1 => check(&gpu, kind, Rotation::None, shape, &input::<f16>(shape.span(), seed), shift),
            _ => check(&gpu, kind, Rotation::None, shape, &input::<bf16>(shape.span(), seed), shift),
        }
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let gpu = gpu();
    let Gpu { stream, kernels } = &gpu;
    let x = Fenced::new(&gpu, &f16s(&[1.0; 256]), 0);
    let vector = Fenced::new(&gpu, &[1f32; 63], 0);
    let dense = Matrix::dense(2, 64);
    let rotated = |block| Transform::rotation(Rotation::Hadamard { block });
    let offset = || Transform { offset: Some(vector.view()), ..Transform::NONE };
    let smoothing = || Transform { smoothing: Some(vector.view()), ..Transform::NONE };
    // transform, shape, elements, bytes of blocks, the error
    let table = [
        (Transform::NONE, dense, 127, 72, "`x`: expected at least 128 elements, found 127"),
        (Transform::NONE, dense, 128, 71, "`blocks`: expected at least 72 bytes, found 71"),
        (
            Transform::NONE,
            Matrix::dense(2, 40),
            128,
            72,
            "`shape.cols`: expected a multiple of the block of 32, found 40",
        ),
        (
            Transform::NONE,
            Matrix { row_stride: 63, ..dense },
            128,
            72,
            "`shape.row_stride`: expected at least the 64 columns, found 63",
        ),
        (offset(), dense, 128, 72, "`transform.offset`: expected at least 64 f32, found 63"),
        (smoothing(), dense, 128, 72, "`transform.smoothing`: expected at least 64 f32, found 63"),
        (
            rotated(4),
            dense,
            128,
            72,
            "`transform.rotation`: expected a block of 8 to 256 channels, a power of two, found 4",
        ),
        (rotated(128), dense, 128, 72, "`shape.cols`: expected a multiple of the rotation's block of 128, found 64"),
    ];
    for (transform, shape, elements, bytes, expected) in table {
        let mut blocks = Fenced::new(&gpu, &untouched::<u8>(256), 0);
        let (x, out) = (x.part(elements), &mut blocks.part_mut(bytes));
        let error = ops::ggml::quantize(kernels, stream, GgmlType::Q4_0, &transform, shape, &x, out).unwrap_err();
        assert_eq!(error.to_string(), format!("ggml::quantize: {expected}"));
        assert!(is_untouched(&blocks.read(&gpu)));
    }
    let blocks = Fenced::new(&gpu, &[0u8; 256], 0);
    // shape, elements, bytes of blocks, the error
    let table = [
        (dense, 127, 136, "`out`: expected at least 128 elements, found 127"),
        (dense, 128, 135, "`blocks`: expected at least 136 bytes, found 135"),
        (Matrix::dense(2, 33), 128, 136, "`shape.cols`: expected a multiple of the block of 32, found 33"),
    ];
    for (shape, elements, bytes, expected) in table {
        let mut y = Fenced::new(&gpu, &untouched::<f16>(256), 0);
        let (blocks, out) = (blocks.part(bytes), &mut y.part_mut(elements));
        let error = ops::ggml::dequantize(kernels, stream, GgmlType::Q8_0, shape, &blocks, out).unwrap_err();
        assert_eq!(error.to_string(), format!("ggml::dequantize: {expected}"));
        assert!(is_untouched(&y.read(&gpu)));
    }
    let too_many = Matrix { rows: i32::MAX as usize, cols: 96, row_stride: 0 };
    let error = GgmlType::Q4_0.validate("ggml::quantize", Matrix { row_stride: 96, ..too_many }, ("x", usize::MAX), 0);
    assert!(error.unwrap_err().to_string().contains("2^37 elements"));
}
