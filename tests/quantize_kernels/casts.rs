//! Casts to and from 8-bit floats.

use half::{bf16, f16};
use lowbit::format::{Axis, Code, Element, Fp8, Matrix, Scheme};
use lowbit::{ops, reference};

use crate::golden::Golden;
use crate::world::{Device, FENCE, Way, bits, check, input};

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
    if !x.is_empty() {
        from_codes::<E>(device, format, &expected, shift);
    }
}

fn from_codes<E: Element>(device: &Device, format: Fp8, codes: &[u8], shift: usize) {
    let Device { stream, kernels } = device;
    let len = codes.len();
    let mut values = vec![E::from_f32(0.0); len];
    reference::cast::from_fp8(format, codes, &mut values).unwrap();
    let mut out = stream.clone_htod(&vec![E::from_f32(7.0); shift + len + 1]).unwrap();
    let padded = stream.clone_htod(&[&vec![0u8; shift + 1][..], codes].concat()).unwrap();
    let (codes, mut view) = (padded.slice(shift + 1..), out.slice_mut(shift..shift + len));
    ops::cast::from_fp8(kernels, stream, format, &codes, &mut view).unwrap();
    // Again from aligned codes.
    let aligned = stream.clone_htod(&stream.clone_dtoh(&codes).unwrap()).unwrap();
    let first = stream.clone_dtoh(&out).unwrap();
    ops::cast::from_fp8(kernels, stream, format, &aligned.as_view(), &mut out.slice_mut(shift..shift + len)).unwrap();
    for found in [first, stream.clone_dtoh(&out).unwrap()] {
        assert_eq!(bits(&found[shift..shift + len]), bits(&values), "{format:?} to {}", E::DTYPE);
        assert!(found[..shift].iter().chain(&found[shift + len..]).all(|v| v.to_f32() == 7.0));
    }
}

fn every_pattern(device: &Device, format: Fp8) {
    casts(device, format, &(0..=u16::MAX).map(f16::from_bits).collect::<Vec<_>>(), 0);
    casts(device, format, &(0..=u16::MAX).map(bf16::from_bits).collect::<Vec<_>>(), 0);
    casts(device, format, &Golden::open("fp8").f32(&format!("probe_{}", format.name())), 0);
    // Every code, NaN and infinities too, at every place of a chunk.
    let codes: Vec<u8> = (0..8192).map(|i| (i + i / 256) as u8).collect();
    from_codes::<f32>(device, format, &codes, 0);
    from_codes::<f16>(device, format, &codes, 0);
    from_codes::<bf16>(device, format, &codes, 0);
}

#[test]
fn ragged_and_misaligned() {
    let device = Device::new();
    for format in [Fp8::E4m3, Fp8::E5m2] {
        for shift in [0, 1, 4, 8] {
            casts(&device, format, &input::<f32>(77, 1, true), shift);
            casts(&device, format, &input::<f16>(77, 2, true), shift);
            casts(&device, format, &input::<bf16>(9000, 2, true), shift);
        }
    }
    casts::<f32>(&device, Fp8::E4m3, &[], 0);
}

/// The image for compute_80 codes 8-bit floats by integer steps, that for compute_89 by the hardware's conversion.
#[test]
fn both_images_agree_on_8_bit_floats() {
    let _ = Device::new(); // the driver is there: before, no model can be set
    for model in ["sm_80", "sm_89"] {
        nvcuda::client::set_model(model); // the calling thread's; a GPU stays what it is
        let device = Device::new();
        for format in [Fp8::E4m3, Fp8::E5m2] {
            every_pattern(&device, format);
            for axis in [Axis::Tensor, Axis::Row, Axis::Column, Axis::Group(32)] {
                let (scheme, shape) = (Scheme { code: Code::Fp8(format), axis }, Matrix::dense(9, 96));
                check(&device, scheme, shape, &input::<f32>(shape.span(), 3, true), Way::default(), [0, 0]);
                check(&device, scheme, shape, &input::<f16>(shape.span(), 3, false), Way::default(), [0, 0]);
            }
        }
    }
    nvcuda::client::reset_modes();
}

#[test]
fn into_too_little_is_refused() {
    let Device { stream, kernels } = Device::new();
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
