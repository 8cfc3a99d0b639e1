//! Offset, smoothing and rotation.

use lowbit::format::{Element, Matrix, Rotation, Transform, sign};
use lowbit::half::{bf16, f16};
use lowbit::{ops, reference};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::{Fenced, Gpu, bits, finite, gpu, in_every_mode, input, is_untouched, untouched};

/// The vectors of a test transform: `parts` says which are there.
struct Vectors {
    offset: Vec<f32>,
    smoothing: Vec<f32>,
    parts: (bool, bool),
    rotation: Rotation,
}

impl Vectors {
    fn new(cols: usize, parts: (bool, bool), rotation: Rotation) -> Vectors {
        let offset = (0..cols).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        Vectors { offset, smoothing: (0..cols).map(|i| 0.25 + (i * 11 % 17) as f32 / 3.0).collect(), parts, rotation }
    }

    fn transform(&self) -> Transform<&[f32]> {
        Transform {
            offset: self.parts.0.then_some(&self.offset[..]),
            smoothing: self.parts.1.then_some(&self.smoothing[..]),
            rotation: self.rotation,
        }
    }
}

/// Both directions, apart and in place, equal the reference bit for bit.
fn check<E: Element>(gpu: &Gpu, vectors: &Vectors, shape: Matrix, x: &[E], shift: usize) {
    let what = format!("{:?} {:?} {shape:?} {} shift {shift}", vectors.parts, vectors.rotation, E::DTYPE);
    let Gpu { stream, kernels } = gpu;
    let (offset, smoothing) = (Fenced::new(gpu, &vectors.offset, shift), Fenced::new(gpu, &vectors.smoothing, 0));
    let transform = Transform {
        offset: vectors.parts.0.then(|| offset.view()),
        smoothing: vectors.parts.1.then(|| smoothing.view()),
        rotation: vectors.rotation,
    };
    let x_device = Fenced::new(gpu, x, shift);
    for inverse in [false, true] {
        let mut expected = untouched::<E>(shape.span());
        let mut in_place = Fenced::new(gpu, x, shift);
        let mut out = Fenced::new(gpu, &untouched::<E>(shape.span()), shift);
        let (source, target, place) = (&x_device.view(), &mut out.view_mut(), &mut in_place.view_mut());
        if inverse {
            reference::transform::inverse(&vectors.transform(), shape, x, &mut expected).unwrap();
            ops::transform::inverse(kernels, stream, &transform, shape, source, target).unwrap();
            ops::transform::inverse_in_place(kernels, stream, &transform, shape, place).unwrap();
        } else {
            reference::transform::forward(&vectors.transform(), shape, x, &mut expected).unwrap();
            ops::transform::forward(kernels, stream, &transform, shape, source, target).unwrap();
            ops::transform::forward_in_place(kernels, stream, &transform, shape, place).unwrap();
        }
        assert_eq!(bits(&out.read(gpu)), bits(&expected), "inverse {inverse} of {what}");
        let (found, gap) = (in_place.read(gpu), |i: usize| shape.cols > 0 && i % shape.row_stride >= shape.cols);
        let expected: Vec<E> = (0..x.len()).map(|i| if gap(i) { x[i] } else { expected[i] }).collect();
        assert_eq!(bits(&found), bits(&expected), "in place, inverse {inverse} of {what}");
    }
}

#[test]
fn golden_rotations_of_every_head_dim() {
    let (file, gpu) = (Golden::open("hadamard"), gpu());
    for dim in [64, 80, 96, 112, 128, 256] {
        let x = file.f16(&format!("d{dim}.x"));
        let shape = Matrix::dense(x.len() / dim, dim);
        let wide: Vec<f32> = x.iter().map(|v| v.to_f32()).collect();
        let vectors = Vectors::new(dim, (false, false), Rotation::of_head(dim));
        let mut rotated = vec![0f32; x.len()];
        reference::transform::forward(&vectors.transform(), shape, &wide, &mut rotated).unwrap();
        assert_eq!(bits(&rotated), bits(&file.f32(&format!("d{dim}.rotated_f32"))), "{dim}");
        let mut rotated = vec![f16::ZERO; x.len()];
        reference::transform::forward(&vectors.transform(), shape, &x, &mut rotated).unwrap();
        assert_eq!(bits(&rotated), bits(&file.f16(&format!("d{dim}.rotated_f16"))), "{dim}");
        in_every_mode(|_| check(&gpu, &vectors, shape, &x, 0));
        check(&gpu, &vectors, shape, &wide, 0);
    }
}

/// The butterflies against the matrix itself: entry (i, j) is (-1)^popcount(i & j) / sqrt(n).
#[test]
fn a_rotation_is_the_matrix_and_its_own_inverse() {
    for block in [8usize, 16, 32, 64, 128, 256] {
        for seed in [None, Some(7)] {
            let rotation = seed.map_or(Rotation::Hadamard { block }, |seed| Rotation::SignedHadamard { block, seed });
            let x: Vec<f32> = (0..block).map(|i| ((i * i * 31 + 7) % 97) as f32 - 48.0).collect();
            let flip = |j: usize| if seed.is_some_and(|seed| sign(seed, j)) { -1.0 } else { 1.0 };
            let (mut y, mut back) = (vec![0f32; block], vec![0f32; block]);
            let (transform, shape) = (Transform::rotation(rotation), Matrix::dense(1, block));
            reference::transform::forward(&transform, shape, &x, &mut y).unwrap();
            for (i, &found) in y.iter().enumerate() {
                let term = |j: usize| {
                    f64::from(x[j]) * flip(j) * if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
                };
                let exact = (0..block).map(term).sum::<f64>() / (block as f64).sqrt();
                // Sums of whole numbers are exact; the scale and the product round.
                assert!(
                    (f64::from(found) - exact).abs() <= exact.abs() * 2f64.powi(-22),
                    "{block} {i}: {found} {exact}"
                );
            }
            reference::transform::inverse(&transform, shape, &y, &mut back).unwrap();
            for (x, back) in x.iter().zip(&back) {
                assert!((x - back).abs() <= 1e-4, "{block}: {x} {back}");
            }
        }
    }
}

#[test]
fn every_part_alone_and_together() {
    let gpu = gpu();
    let shapes = [
        (Matrix::dense(0, 64), 0),
        (Matrix::dense(2, 0), 0),
        (Matrix::dense(13, 64), 0),
        (Matrix::dense(5, 192), 1),
        (Matrix { rows: 6, cols: 320, row_stride: 323 }, 0),
        (Matrix { rows: 3, cols: 256, row_stride: 264 }, 8),
    ];
    for (i, (shape, shift)) in shapes.into_iter().enumerate() {
        let seed = i as u64;
        for rotation in
            [Rotation::None, Rotation::Hadamard { block: 64 }, Rotation::SignedHadamard { block: 32, seed: 3 }]
        {
            for parts in [(false, false), (true, false), (false, true), (true, true)] {
                let vectors = Vectors::new(shape.cols, parts, rotation);
                check(&gpu, &vectors, shape, &input::<f32>(shape.span(), seed), shift);
                check(&gpu, &vectors, shape, &input::<f16>(shape.span(), seed), shift);
                check(&gpu, &vectors, shape, &input::<bf16>(shape.span(), seed), shift);
            }
        }
    }
}

/// More rows than the grid has places for: a block walks down.
#[test]
fn many_rows() {
    let gpu = gpu();
    let shape = Matrix::dense(33_000, 64);
    let vectors = Vectors::new(64, (true, false), Rotation::Hadamard { block: 16 });
    check(&gpu, &vectors, shape, &finite::<f16>(shape.span(), 2), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 0usize..40, cols in 0usize..300, block in 0u32..6, rotated in any::<bool>(), offset in any::<bool>(),
        smoothing in any::<bool>(), gap in 0usize..9, shift in 0usize..9, seed in any::<u32>(),
    ) {
        let block = 8usize << block;
        let cols = if rotated { cols.next_multiple_of(block) } else { cols };
        let rotation = if rotated { Rotation::SignedHadamard { block, seed } } else { Rotation::None };
        let vectors = Vectors::new(cols, (offset, smoothing), rotation);
        let shape = Matrix { rows, cols, row_stride: cols + gap };
        check(&gpu(), &vectors, shape, &input::<f16>(shape.span(), seed.into()), shift);
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let gpu = gpu();
    let Gpu { stream, kernels } = &gpu;
    let x = Fenced::new(&gpu, &[f16::ONE; 256], 0);
    let vector = Fenced::new(&gpu, &[1f32; 63], 0);
    let dense = Matrix::dense(2, 64);
    let rotated = |block| Transform::rotation(Rotation::SignedHadamard { block, seed: 1 });
    let with = |offset: bool| Transform {
        offset: offset.then(|| vector.view()),
        smoothing: (!offset).then(|| vector.view()),
        rotation: Rotation::None,
    };
    // transform, shape, elements of x, of out, the error
    let table = [
        (Transform::NONE, dense, 127, 128, "`x`: expected at least 128 elements, found 127"),
        (Transform::NONE, dense, 128, 127, "`out`: expected at least 128 elements, found 127"),
        (
            Transform::NONE,
            Matrix { row_stride: 60, ..dense },
            128,
            128,
            "`shape.row_stride`: expected at least the 64 columns, found 60",
        ),
        (with(true), dense, 128, 128, "`transform.offset`: expected at least 64 f32, found 63"),
        (with(false), dense, 128, 128, "`transform.smoothing`: expected at least 64 f32, found 63"),
        (
            rotated(48),
            dense,
            128,
            128,
            "`transform.rotation`: expected a block of 8 to 256 channels, a power of two, found 48",
        ),
        (
            rotated(512),
            dense,
            128,
            128,
            "`transform.rotation`: expected a block of 8 to 256 channels, a power of two, found 512",
        ),
        (
            rotated(32),
            Matrix::dense(2, 48),
            128,
            128,
            "`shape.cols`: expected a multiple of the rotation's block of 32, found 48",
        ),
    ];
    for (transform, shape, elements, outputs, expected) in table {
        let mut out = Fenced::new(&gpu, &untouched::<f16>(256), 0);
        let (x, y) = (&x.part(elements), &mut out.part_mut(outputs));
        let error = ops::transform::forward(kernels, stream, &transform, shape, x, y).unwrap_err();
        assert_eq!(error.to_string(), format!("transform::forward: {expected}"));
        let error = ops::transform::inverse(kernels, stream, &transform, shape, x, y).unwrap_err();
        assert_eq!(error.to_string(), format!("transform::inverse: {expected}"));
        assert!(is_untouched(&out.read(&gpu)));
    }
    let mut x = Fenced::new(&gpu, &untouched::<f16>(127), 0);
    let error = ops::transform::forward_in_place(kernels, stream, &Transform::NONE, dense, &mut x.view_mut());
    let expected = "transform::forward_in_place: `x`: expected at least 128 elements, found 127";
    assert_eq!(error.unwrap_err().to_string(), expected);
    let error = ops::transform::inverse_in_place(kernels, stream, &rotated(4), dense, &mut x.view_mut()).unwrap_err();
    assert!(error.to_string().starts_with("transform::inverse_in_place: `x`"), "{error}");
    assert!(is_untouched(&x.read(&gpu)));
}
