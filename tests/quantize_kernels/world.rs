//! Runs a scheme by the reference and by the device, and compares everything that is written.

use std::sync::Arc;

use half::f16;
use lowbit::cudarc::driver::{CudaSlice, CudaStream};
use lowbit::format::{Axis, Code, Element, Matrix, Options, Rounding, ScaleKind, Scales, Scheme};
use lowbit::ops::quantize::{DeviceScales, DeviceScalesMut};
use lowbit::{Kernels, ops, reference, testing};
use nvcuda::client;
use rand::{RngExt, SeedableRng};

use crate::scales::OwnedScales;

/// What lies behind every output, to see that nothing else is written.
pub const FENCE: u8 = 0xA5;

/// A device that checks everything.
pub struct Device {
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

impl Device {
    /// On softcuda with every check, blocks and warps in an order of the seed, approximations perturbed by it.
    pub fn new() -> Self {
        let (context, kernels) = testing::device();
        if let Some(modes) = client::modes() {
            client::set_modes(client::Modes {
                checks: client::Checks::ALL,
                schedule: client::Schedule::Adversarial,
                approx: client::Approx::Perturbed,
                ..modes
            });
        }
        Self { stream: context.default_stream(), kernels }
    }
}

/// Bits of a real number, all NaN being one.
pub fn bits<E: Element>(x: &[E]) -> Vec<u32> {
    x.iter().map(|v| if v.to_f32().is_nan() { 0x7FC0_0000 } else { v.to_f32().to_bits() }).collect()
}

/// Numbers of many magnitudes with the special ones among them: one of 400 if `special`.
pub fn input<E: Element>(len: usize, seed: u64, special: bool) -> Vec<E> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 65504.0, -1e38, 6e-8];
    let each = |random: &mut rand_chacha::ChaCha8Rng| match random.random_range(0..400) {
        i if special && i < values.len() => values[i],
        _ => random.random_range(-4.0f32..4.0) * [1.0, 1.0, 1.0, 30.0, 0.01][random.random_range(0..5)],
    };
    (0..len).map(|_| E::from_f32(each(&mut random))).collect()
}

/// Every scheme that fits the shape.
pub fn schemes(shape: Matrix) -> Vec<Scheme> {
    let groups = [8, 16, 24, 32, 64, 128, 256, 1024].into_iter().map(Axis::Group);
    let tokens = [8, 32, 40, 64, 256].into_iter().map(Axis::TokenGroup);
    let axes: Vec<Axis> = [Axis::Tensor, Axis::Row, Axis::Column].into_iter().chain(groups).chain(tokens).collect();
    let fits = |scheme: &Scheme| match (scheme.code.block(), scheme.axis) {
        (Some(block), axis) if axis != Axis::Group(block) => false,
        (_, Axis::Group(size)) => shape.cols > 0 && shape.cols.is_multiple_of(size),
        (_, Axis::TokenGroup(size)) => shape.rows > 0 && shape.rows.is_multiple_of(size),
        _ => true,
    };
    Code::ALL.iter().flat_map(|&code| axes.iter().map(move |&axis| Scheme { code, axis })).filter(fits).collect()
}

/// Scales on the device, each kind with three more than it needs.
struct Owned {
    scheme: Scheme,
    regions: usize,
    f32: CudaSlice<f32>,
    f16: CudaSlice<f16>,
    min: CudaSlice<f16>,
    block: CudaSlice<u8>,
}

const FENCE_32: f32 = 9.0;

impl Owned {
    fn new(device: &Device, scheme: Scheme, host: &OwnedScales, regions: usize) -> Self {
        let fence16 = [f16::from_f32(FENCE_32); 3];
        let stream = &device.stream;
        Self {
            scheme,
            regions,
            f32: stream.clone_htod(&[&host.f32[..], &[FENCE_32; 3]].concat()).unwrap(),
            f16: stream.clone_htod(&[&host.f16[..], &fence16].concat()).unwrap(),
            min: stream.clone_htod(&[&host.min[..], &fence16].concat()).unwrap(),
            block: stream.clone_htod(&[&host.block[..], &[FENCE; 3]].concat()).unwrap(),
        }
    }

    fn view(&self) -> DeviceScales<'_> {
        let all = ..self.regions;
        match self.scheme.code.scale_kind() {
            ScaleKind::F32 => Scales::Symmetric(self.f32.slice(all)),
            ScaleKind::F16WithMin => Scales::Asymmetric { scale: self.f16.slice(all), min: self.min.slice(all) },
            ScaleKind::E4m3UnderF32 => Scales::Blocks { block: self.block.slice(all), tensor: self.f32.slice(..1) },
            ScaleKind::E8m0 => Scales::Exponents(self.block.slice(all)),
        }
    }

    fn view_mut(&mut self) -> DeviceScalesMut<'_> {
        let all = ..self.regions;
        match self.scheme.code.scale_kind() {
            ScaleKind::F32 => Scales::Symmetric(self.f32.slice_mut(all)),
            ScaleKind::F16WithMin => {
                Scales::Asymmetric { scale: self.f16.slice_mut(all), min: self.min.slice_mut(all) }
            }
            ScaleKind::E4m3UnderF32 => {
                Scales::Blocks { block: self.block.slice_mut(all), tensor: self.f32.slice_mut(..1) }
            }
            ScaleKind::E8m0 => Scales::Exponents(self.block.slice_mut(all)),
        }
    }

    /// Checks what lies behind, and takes it off.
    fn download(&self, device: &Device) -> OwnedScales {
        let stream = &device.stream;
        let (mut f32, mut f16) = (stream.clone_dtoh(&self.f32).unwrap(), stream.clone_dtoh(&self.f16).unwrap());
        let (mut min, mut block) = (stream.clone_dtoh(&self.min).unwrap(), stream.clone_dtoh(&self.block).unwrap());
        assert!(f32.split_off(f32.len() - 3).iter().all(|&v| v == FENCE_32), "f32 scales outside the output");
        let fence16 = |v: &f16| v.to_f32() == FENCE_32;
        assert!(f16.split_off(f16.len() - 3).iter().all(fence16), "f16 scales outside the output");
        assert!(min.split_off(min.len() - 3).iter().all(fence16), "minima outside the output");
        assert!(block.split_off(block.len() - 3).iter().all(|&v| v == FENCE), "block scales outside the output");
        OwnedScales { kind: self.scheme.code.scale_kind(), f32, f16, min, block }
    }
}

/// A way of quantizing.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// Scales from the data.
    Measured(Options),
    /// Scales given: those of the data times this.
    Given(f32, Rounding),
}

impl Default for Way {
    fn default() -> Self {
        Self::Measured(Options::default())
    }
}

/// Codes, scales and values.
struct Coded {
    codes: Vec<u8>,
    scales: OwnedScales,
    y: Vec<u32>,
}

/// What `scales` hold before the call.
fn before<E: Element>(scheme: Scheme, shape: Matrix, x: &[E], way: Way) -> OwnedScales {
    let mut scales = OwnedScales::new(scheme, shape);
    match way {
        Way::Measured(options) if options.given_tensor_scale => scales.f32.fill(0.017),
        Way::Measured(_) => {}
        Way::Given(factor, _) => {
            let mut codes = vec![0; shape.rows * scheme.row_bytes(shape.cols)];
            reference::quantize::quantize(scheme, shape, x, &mut codes, scales.view_mut()).unwrap();
            scales.f32.iter_mut().for_each(|s| *s *= factor);
            scales.f16.iter_mut().for_each(|s| *s = f16::from_f32(s.to_f32() * factor));
        }
    }
    scales
}

fn by_reference<E: Element>(scheme: Scheme, shape: Matrix, x: &[E], way: Way) -> Coded {
    let mut codes = vec![0; shape.rows * scheme.row_bytes(shape.cols)];
    let mut y = vec![E::from_f32(7.0); shape.span()];
    let mut scales = before(scheme, shape, x, way);
    match way {
        Way::Measured(options) => {
            reference::quantize::quantize_with(scheme, shape, x, &mut codes, scales.view_mut(), options).unwrap();
        }
        Way::Given(_, rounding) => {
            reference::quantize::quantize_static(scheme, shape, x, scales.view(), &mut codes, rounding).unwrap();
        }
    }
    reference::quantize::dequantize(scheme, shape, &codes, scales.view(), &mut y).unwrap();
    Coded { codes, scales, y: bits(&y) }
}

/// How far the device buffers are off their allocation's start: values in elements, codes in bytes.
pub type Shift = [usize; 2];

fn by_device<E: Element>(
    device: &Device,
    scheme: Scheme,
    shape: Matrix,
    x: &[E],
    way: Way,
    [shift, code_shift]: Shift,
) -> Coded {
    let Device { stream, kernels } = device;
    let (bytes, span) = (shape.rows * scheme.row_bytes(shape.cols), shape.span());
    let padded: Vec<E> = vec![E::from_f32(3.0); shift].into_iter().chain(x.iter().copied()).collect();
    let x_device = stream.clone_htod(&[&padded[..], &[E::from_f32(0.0)]].concat()).unwrap();
    let x_view = x_device.slice(shift..shift + x.len());
    let mut codes = stream.clone_htod(&vec![FENCE; code_shift + bytes + 9]).unwrap();
    let mut y = stream.clone_htod(&vec![E::from_f32(7.0); shift + span + 9]).unwrap();
    let mut scales = Owned::new(device, scheme, &before(scheme, shape, x, way), scheme.regions(shape));
    let mut code_view = codes.slice_mut(code_shift..code_shift + bytes);
    match way {
        Way::Measured(options) => {
            let scales = &mut scales.view_mut();
            ops::quantize::quantize_with(kernels, stream, scheme, shape, &x_view, &mut code_view, scales, options)
        }
        Way::Given(_, rounding) => {
            let scales = &scales.view();
            ops::quantize::quantize_static(kernels, stream, scheme, shape, &x_view, scales, &mut code_view, rounding)
        }
    }
    .unwrap();
    let mut y_view = y.slice_mut(shift..shift + span);
    let code_view = codes.slice(code_shift..code_shift + bytes);
    ops::quantize::dequantize(kernels, stream, scheme, shape, &code_view, &scales.view(), &mut y_view).unwrap();
    let (codes, y) = (stream.clone_dtoh(&codes).unwrap(), stream.clone_dtoh(&y).unwrap());
    assert!(
        codes[..code_shift].iter().chain(&codes[code_shift + bytes..]).all(|&b| b == FENCE),
        "codes outside the output"
    );
    let outside = y[..shift].iter().chain(&y[shift + span..]);
    assert!(outside.into_iter().all(|v| v.to_f32() == 7.0), "values outside the output");
    Coded {
        codes: codes[code_shift..][..bytes].to_vec(),
        scales: scales.download(device),
        y: bits(&y[shift..][..span]),
    }
}

/// Compares codes, scales and values.
pub fn check<E: Element>(device: &Device, scheme: Scheme, shape: Matrix, x: &[E], way: Way, shift: Shift) {
    let expected = by_reference(scheme, shape, x, way);
    let found = by_device(device, scheme, shape, x, way, shift);
    let what = || format!("{scheme:?} {shape:?} {} {way:?} shift {shift:?}", E::DTYPE);
    assert_eq!(bits(&found.scales.f32), bits(&expected.scales.f32), "f32 scales of {}", what());
    assert_eq!(bits(&found.scales.f16), bits(&expected.scales.f16), "f16 scales of {}", what());
    assert_eq!(bits(&found.scales.min), bits(&expected.scales.min), "minima of {}", what());
    assert_eq!(found.scales.block, expected.scales.block, "block scales of {}", what());
    if let Some(at) = (0..found.codes.len()).find(|&i| found.codes[i] != expected.codes[i]) {
        let (f, e) = (found.codes[at], expected.codes[at]);
        panic!("byte {at} of the codes is {f:#04x}, not {e:#04x}: {}", what());
    }
    assert_eq!(found.y, expected.y, "values of {}", what());
}

/// [`check`] with an input of this type number.
pub fn check_type(device: &Device, scheme: Scheme, shape: Matrix, (dtype, seed): (usize, u64), way: Way, shift: Shift) {
    let (len, special) = (shape.span(), seed % 2 == 0);
    match dtype {
        0 => check(device, scheme, shape, &input::<f32>(len, seed, special), way, shift),
        1 => check(device, scheme, shape, &input::<f16>(len, seed, special), way, shift),
        _ => check(device, scheme, shape, &input::<half::bf16>(len, seed, special), way, shift),
    }
}
