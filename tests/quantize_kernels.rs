//! Casts and quantization on the device equal their references, bit for bit.
#![cfg(kernels_built)]

#[allow(dead_code)] // Each test file uses a part of it.
#[path = "common/golden.rs"]
mod golden;

use std::sync::Arc;

use cudarc::driver::CudaStream;
use golden::Golden;
use half::{bf16, f16};
use lowbit::cudarc;
use lowbit::format::{Axis, Code, Element, Fp8, Matrix, Scales, Scheme};
use lowbit::{Kernels, ops, reference, testing};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

/// What lies behind every output, to see that nothing else is written.
const FENCE: u8 = 0xA5;

struct Device {
    stream: Arc<CudaStream>,
    kernels: Kernels,
}

fn device() -> Device {
    let (context, kernels) = testing::device();
    Device { stream: context.default_stream(), kernels }
}

/// Bits of a real number, all NaN being one.
fn bits<E: Element>(x: &[E]) -> Vec<u32> {
    x.iter().map(|v| if v.to_f32().is_nan() { 0x7FC0_0000 } else { v.to_f32().to_bits() }).collect()
}

/// Codes, scales, minima and their values, as the reference or the device gave them.
#[derive(PartialEq)]
struct Coded {
    codes: Vec<u8>,
    scale: Vec<u32>,
    min: Vec<u32>,
    y: Vec<u32>,
}

fn by_reference<E: Element>(scheme: Scheme, shape: Matrix, x: &[E]) -> Coded {
    let (bytes, regions) = (shape.rows * scheme.row_bytes(shape.cols), scheme.regions(shape));
    let (mut codes, mut y) = (vec![0; bytes], vec![E::from_f32(7.0); shape.span()]);
    let (mut s32, mut s16, mut m16) = (vec![0f32; regions], vec![f16::ZERO; regions], vec![f16::ZERO; regions]);
    if scheme.code.asymmetric() {
        let scales = Scales::Asymmetric { scale: &mut s16[..], min: &mut m16[..] };
        reference::quantize::quantize(scheme, shape, x, &mut codes, scales).unwrap();
        let scales = Scales::Asymmetric { scale: &s16[..], min: &m16[..] };
        reference::quantize::dequantize(scheme, shape, &codes, scales, &mut y).unwrap();
    } else {
        reference::quantize::quantize(scheme, shape, x, &mut codes, Scales::Symmetric(&mut s32[..])).unwrap();
        reference::quantize::dequantize(scheme, shape, &codes, Scales::Symmetric(&s32[..]), &mut y).unwrap();
    }
    let scale = if scheme.code.asymmetric() { bits(&s16) } else { bits(&s32) };
    let min = if scheme.code.asymmetric() { bits(&m16) } else { Vec::new() };
    Coded { codes, scale, min, y: bits(&y) }
}

/// `shift`: elements and bytes by which the device buffers are off their allocation's start.
fn by_device<E: Element>(device: &Device, scheme: Scheme, shape: Matrix, x: &[E], shift: usize) -> Coded {
    let Device { stream, kernels } = device;
    let (bytes, regions) = (shape.rows * scheme.row_bytes(shape.cols), scheme.regions(shape));
    let padded: Vec<E> = vec![E::from_f32(3.0); shift].into_iter().chain(x.iter().copied()).collect();
    let x_device = stream.clone_htod(&[&padded[..], &[E::from_f32(0.0)]].concat()).unwrap();
    let x_view = x_device.slice(shift..shift + x.len());
    let mut codes = stream.clone_htod(&vec![FENCE; shift + bytes + 9]).unwrap();
    let mut y = stream.clone_htod(&vec![E::from_f32(7.0); shift + shape.span() + 9]).unwrap();
    let fence16 = vec![f16::from_f32(9.0); regions + 3];
    let mut s32 = stream.clone_htod(&vec![9f32; regions + 3]).unwrap();
    let (mut s16, mut m16) = (stream.clone_htod(&fence16).unwrap(), stream.clone_htod(&fence16).unwrap());
    let mut scales = match scheme.code.asymmetric() {
        true => Scales::Asymmetric { scale: s16.slice_mut(..regions), min: m16.slice_mut(..regions) },
        false => Scales::Symmetric(s32.slice_mut(..regions)),
    };
    let mut code_view = codes.slice_mut(shift..shift + bytes);
    ops::quantize::quantize(kernels, stream, scheme, shape, &x_view, &mut code_view, &mut scales).unwrap();
    let scales = match scheme.code.asymmetric() {
        true => Scales::Asymmetric { scale: s16.slice(..regions), min: m16.slice(..regions) },
        false => Scales::Symmetric(s32.slice(..regions)),
    };
    let mut y_view = y.slice_mut(shift..shift + shape.span());
    let code_view = codes.slice(shift..shift + bytes);
    ops::quantize::dequantize(kernels, stream, scheme, shape, &code_view, &scales, &mut y_view).unwrap();
    let (codes, y) = (stream.clone_dtoh(&codes).unwrap(), stream.clone_dtoh(&y).unwrap());
    let (s32, s16, m16) =
        (stream.clone_dtoh(&s32).unwrap(), stream.clone_dtoh(&s16).unwrap(), stream.clone_dtoh(&m16).unwrap());
    assert!(codes[..shift].iter().chain(&codes[shift + bytes..]).all(|&b| b == FENCE), "codes outside the output");
    let outside = y[..shift].iter().chain(&y[shift + shape.span()..]);
    assert!(outside.into_iter().all(|v| v.to_f32() == 7.0), "values outside the output");
    assert!(
        s32[regions..].iter().all(|&v| v == 9.0)
            && s16[regions..] == fence16[regions..]
            && m16[regions..] == fence16[regions..]
    );
    let scale = if scheme.code.asymmetric() { bits(&s16[..regions]) } else { bits(&s32[..regions]) };
    let min = if scheme.code.asymmetric() { bits(&m16[..regions]) } else { Vec::new() };
    Coded { codes: codes[shift..shift + bytes].to_vec(), scale, min, y: bits(&y[shift..shift + shape.span()]) }
}

fn check<E: Element>(device: &Device, scheme: Scheme, shape: Matrix, x: &[E], shift: usize) {
    let (expected, found) = (by_reference(scheme, shape, x), by_device(device, scheme, shape, x, shift));
    let what = || format!("{scheme:?} {shape:?} {} shift {shift}", E::DTYPE);
    assert_eq!(found.scale, expected.scale, "scales of {}", what());
    assert_eq!(found.min, expected.min, "minima of {}", what());
    assert_eq!(found.codes, expected.codes, "codes of {}", what());
    assert_eq!(found.y, expected.y, "values of {}", what());
}

/// Numbers of many magnitudes with the special ones among them.
fn input<E: Element>(len: usize, seed: u64) -> Vec<E> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 65504.0, -1e38, 6e-8];
    let each = |random: &mut rand_chacha::ChaCha8Rng| match random.random_range(0..400) {
        i if i < special.len() => special[i],
        _ => random.random_range(-4.0f32..4.0) * [1.0, 1.0, 1.0, 30.0, 0.01][random.random_range(0..5)],
    };
    (0..len).map(|_| E::from_f32(each(&mut random))).collect()
}

fn schemes(cols: usize) -> Vec<Scheme> {
    let groups =
        [8, 16, 24, 32, 64, 128, 256].into_iter().filter(|&g| cols > 0 && cols.is_multiple_of(g)).map(Axis::Group);
    let axes: Vec<Axis> = [Axis::Tensor, Axis::Row, Axis::Column].into_iter().chain(groups).collect();
    let all = Code::ALL.iter().flat_map(|&code| axes.iter().map(move |&axis| Scheme { code, axis }));
    all.filter(|s| !(s.code.asymmetric() && matches!(s.axis, Axis::Tensor | Axis::Column))).collect()
}

#[test]
fn every_scheme_and_type_over_shapes() {
    let device = device();
    let shapes = [
        (Matrix::dense(0, 8), 0),
        (Matrix::dense(3, 0), 0),
        (Matrix::dense(1, 1), 0),
        (Matrix::dense(3, 7), 0),
        (Matrix::dense(5, 32), 0),
        (Matrix::dense(7, 96), 1),
        (Matrix { rows: 4, cols: 40, row_stride: 43 }, 3),
        (Matrix { rows: 3, cols: 64, row_stride: 72 }, 0),
        (Matrix::dense(2, 1025), 0),
    ];
    for (i, (shape, shift)) in shapes.into_iter().enumerate() {
        for scheme in schemes(shape.cols) {
            check(&device, scheme, shape, &input::<f32>(shape.span(), i as u64), shift);
            check(&device, scheme, shape, &input::<f16>(shape.span(), i as u64), shift);
            check(&device, scheme, shape, &input::<bf16>(shape.span(), i as u64), shift);
        }
    }
}

#[test]
fn rows_longer_than_what_a_block_keeps() {
    let device = device();
    for cols in [8191, 8192, 8200, 20_001] {
        for code in [Code::Int8, Code::Uint4, Code::Fp8(Fp8::E4m3)] {
            let shape = Matrix::dense(2, cols);
            check(&device, Scheme { code, axis: Axis::Row }, shape, &input::<f16>(shape.span(), 5), 0);
        }
    }
}

#[test]
fn more_rows_than_blocks_stride_over() {
    let device = device();
    let shape = Matrix::dense(5000, 9);
    for axis in [Axis::Tensor, Axis::Column] {
        check(&device, Scheme { code: Code::Int8, axis }, shape, &input::<bf16>(shape.span(), 6), 0);
    }
}

#[test]
fn golden_rows_of_exact_halves() {
    let device = device();
    let file = Golden::open("ties");
    for set in file.names().iter().filter_map(|n| n.strip_suffix(".x")) {
        let (x, shape) = (file.f16(&format!("{set}.x")), file.shape(&format!("{set}.x")));
        for code in Code::ALL {
            check(&device, Scheme { code, axis: Axis::Row }, Matrix::dense(shape[0], shape[1]), &x, 0);
        }
    }
}

fn casts<E: Element>(device: &Device, format: Fp8, x: &[E], shift: usize) {
    let Device { stream, kernels } = device;
    let mut expected = vec![0; x.len()];
    reference::cast::to_fp8(format, x, &mut expected).unwrap();
    let fence = vec![E::from_f32(1.0); shift + 1];
    let padded = stream.clone_htod(&[&fence[..shift], x, &fence[..1]].concat()).unwrap();
    let mut codes = stream.clone_htod(&vec![FENCE; shift + x.len() + 9]).unwrap();
    let mut view = codes.slice_mut(shift..shift + x.len());
    ops::cast::to_fp8(kernels, stream, format, &padded.slice(shift..shift + x.len()), &mut view).unwrap();
    let found = stream.clone_dtoh(&codes).unwrap();
    assert_eq!(found[shift..shift + x.len()], expected, "{format:?} from {} shift {shift}", E::DTYPE);
    assert!(found[..shift].iter().chain(&found[shift + x.len()..]).all(|&b| b == FENCE));
    let mut values = vec![E::from_f32(0.0); x.len()];
    reference::cast::from_fp8(format, &expected, &mut values).unwrap();
    let mut out = stream.clone_htod(&vec![E::from_f32(7.0); shift + x.len() + 1]).unwrap();
    let (codes, mut view) = (codes.slice(shift..shift + x.len()), out.slice_mut(shift..shift + x.len()));
    ops::cast::from_fp8(kernels, stream, format, &codes, &mut view).unwrap();
    let found = stream.clone_dtoh(&out).unwrap();
    assert_eq!(bits(&found[shift..shift + x.len()]), bits(&values), "{format:?} to {}", E::DTYPE);
    assert_eq!(found[shift + x.len()].to_f32(), 7.0);
}

#[test]
fn casts_of_every_16_bit_pattern_and_of_ties() {
    let device = device();
    let file = Golden::open("fp8");
    for format in [Fp8::E4m3, Fp8::E5m2] {
        casts(&device, format, &(0..=u16::MAX).map(f16::from_bits).collect::<Vec<_>>(), 0);
        casts(&device, format, &(0..=u16::MAX).map(bf16::from_bits).collect::<Vec<_>>(), 0);
        casts(&device, format, &file.f32(&format!("probe_{}", format.name())), 0);
        for shift in [1, 4, 8] {
            casts(&device, format, &input::<f32>(77, 1), shift);
            casts(&device, format, &input::<f16>(77, 2), shift);
        }
    }
    casts::<f32>(&device, Fp8::E4m3, &[], 0);
}

/// The image for compute_80 codes 8-bit floats by integer steps, that for compute_89 by the hardware's conversion.
#[test]
fn both_images_agree_on_8_bit_floats() {
    for model in ["sm_80", "sm_89"] {
        nvcuda::client::set_model(model); // the calling thread's; a GPU stays what it is
        let device = device();
        for format in [Fp8::E4m3, Fp8::E5m2] {
            casts(&device, format, &(0..=u16::MAX).map(f16::from_bits).collect::<Vec<_>>(), 0);
            casts(&device, format, &(0..=u16::MAX).map(bf16::from_bits).collect::<Vec<_>>(), 0);
            casts(&device, format, &Golden::open("fp8").f32(&format!("probe_{}", format.name())), 0);
            for axis in [Axis::Tensor, Axis::Row, Axis::Column, Axis::Group(32)] {
                let (scheme, shape) = (Scheme { code: Code::Fp8(format), axis }, Matrix::dense(9, 96));
                check(&device, scheme, shape, &input::<f32>(shape.span(), 3), 0);
            }
        }
    }
    nvcuda::client::reset_modes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 1usize..9, eights in 1usize..40, ragged in 0usize..8, gap in 0usize..9, shift in 0usize..9,
        pick in any::<prop::sample::Index>(), seed in any::<u64>(), dtype in 0..3,
    ) {
        let cols = eights * 8 - ragged;
        let schemes = schemes(cols);
        let scheme = schemes[pick.index(schemes.len())];
        let shape = Matrix { rows, cols, row_stride: cols + gap };
        let device = device();
        match dtype {
            0 => check(&device, scheme, shape, &input::<f32>(shape.span(), seed), shift),
            1 => check(&device, scheme, shape, &input::<f16>(shape.span(), seed), shift),
            _ => check(&device, scheme, shape, &input::<bf16>(shape.span(), seed), shift),
        }
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let Device { stream, kernels } = device();
    let x = stream.clone_htod(&vec![1f32; 64]).unwrap();
    let int8 = |axis| Scheme { code: Code::Int8, axis };
    let dense = Matrix::dense(2, 32);
    // scheme, shape, elements, bytes of codes, f32 scales, the error
    let table = [
        (int8(Axis::Row), dense, 63, 64, 2, "`x`: expected at least 64 elements, found 63"),
        (int8(Axis::Row), dense, 64, 63, 2, "`codes`: expected at least 64 bytes, found 63"),
        (int8(Axis::Row), dense, 64, 64, 1, "`scales`: expected at least 2 f32, found 1"),
        (int8(Axis::Column), dense, 64, 64, 31, "`scales`: expected at least 32 f32, found 31"),
        (
            int8(Axis::Group(32)),
            Matrix::dense(2, 30),
            64,
            64,
            64,
            "`shape.cols`: expected a multiple of the group of 32, found 30",
        ),
        (
            int8(Axis::Group(12)),
            dense,
            64,
            64,
            64,
            "`scheme.axis`: expected a group of 8 to 1024 elements, a multiple of 8, found 12",
        ),
        (
            int8(Axis::Group(0)),
            dense,
            64,
            64,
            64,
            "`scheme.axis`: expected a group of 8 to 1024 elements, a multiple of 8, found 0",
        ),
        (
            int8(Axis::Row),
            Matrix { rows: 2, cols: 32, row_stride: 31 },
            64,
            64,
            2,
            "`shape.row_stride`: expected at least the 32 columns, found 31",
        ),
        (
            Scheme { code: Code::Uint4, axis: Axis::Row },
            dense,
            64,
            64,
            2,
            "`scales`: expected f16 scales and minima for uint4, found f32 scales",
        ),
        (
            Scheme { code: Code::Uint4, axis: Axis::Tensor },
            dense,
            64,
            64,
            2,
            "uint4 per tensor is not supported; supported: int8, int4, e4m3, e5m2 per tensor, row, column or group; uint8, uint4, uint2 per row or group",
        ),
    ];
    for (scheme, shape, elements, bytes, count, expected) in table {
        let mut codes = stream.clone_htod(&[FENCE; 64]).unwrap();
        let mut scales = stream.clone_htod(&[9f32; 64]).unwrap();
        let error = ops::quantize::quantize(
            &kernels,
            &stream,
            scheme,
            shape,
            &x.slice(..elements),
            &mut codes.slice_mut(..bytes),
            &mut Scales::Symmetric(scales.slice_mut(..count)),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), format!("quantize::quantize: {expected}"));
        assert!(stream.clone_dtoh(&codes).unwrap().iter().all(|&b| b == FENCE));
        assert!(stream.clone_dtoh(&scales).unwrap().iter().all(|&s| s == 9.0));
    }
    let codes = stream.clone_htod(&[0x11u8; 64]).unwrap();
    let scales = stream.clone_htod(&[9f32; 64]).unwrap();
    // scheme, elements, bytes of codes, f32 scales, the error
    let table = [
        (int8(Axis::Row), 63, 64, 2, "`out`: expected at least 64 elements, found 63"),
        (int8(Axis::Row), 64, 63, 2, "`codes`: expected at least 64 bytes, found 63"),
        (int8(Axis::Column), 64, 64, 31, "`scales`: expected at least 32 f32, found 31"),
        (
            Scheme { code: Code::Uint2, axis: Axis::Row },
            64,
            64,
            2,
            "`scales`: expected f16 scales and minima for uint2, found f32 scales",
        ),
    ];
    for (scheme, elements, bytes, count, expected) in table {
        let mut out = stream.clone_htod(&[7f32; 64]).unwrap();
        let error = ops::quantize::dequantize(
            &kernels,
            &stream,
            scheme,
            dense,
            &codes.slice(..bytes),
            &Scales::Symmetric(scales.slice(..count)),
            &mut out.slice_mut(..elements),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), format!("quantize::dequantize: {expected}"));
        assert!(stream.clone_dtoh(&out).unwrap().iter().all(|&v| v == 7.0));
    }
}

#[test]
fn casts_into_too_little_are_refused() {
    let Device { stream, kernels } = device();
    let x = stream.clone_htod(&vec![1f32; 64]).unwrap();
    let mut codes = stream.clone_htod(&[FENCE; 63]).unwrap();
    let error = ops::cast::to_fp8(&kernels, &stream, Fp8::E4m3, &x.as_view(), &mut codes.as_view_mut()).unwrap_err();
    assert_eq!(error.to_string(), "cast::to_fp8: `codes`: expected at least 64 elements, found 63");
    assert!(stream.clone_dtoh(&codes).unwrap().iter().all(|&b| b == FENCE));
    let mut out = stream.clone_htod(&[7f32; 62]).unwrap();
    let error =
        ops::cast::from_fp8(&kernels, &stream, Fp8::E5m2, &codes.as_view(), &mut out.as_view_mut()).unwrap_err();
    assert_eq!(error.to_string(), "cast::from_fp8: `out`: expected at least 63 elements, found 62");
    assert!(stream.clone_dtoh(&out).unwrap().iter().all(|&v| v == 7.0));
}
