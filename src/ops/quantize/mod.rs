//! Quantize and dequantize a matrix; defined by [`crate::reference::quantize`], with which codes, scales and minima
//! agree bit for bit.
//!
//! Inputs and outputs are f32, f16 or bf16; rows may lie further apart than they are long.
//!
//! Which codes, axes and scales there are, what each reads how often, special values, alignment and the test of each line:
//! docs/quantize.md.
//!
//! A scale per head over all tokens is a scale per tensor of the head's strided matrix; one per token and head is a group of
//! the head dimension.

mod params;
mod table;

use std::sync::Arc;

use cudarc::driver::{
    CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop, ValidAsZeroBits,
};
use half::f16;

use crate::error::Result;
use crate::format::{Axis, Code, Element, Lengths, Matrix, Options, Rounding, ScaleKind, Scales, Scheme};
use crate::reference::quantize::check_static;
use crate::runtime::{Kernels, Launch, check_stream};
use params::{Addresses, BLOCK, Cut, QuantizeParams, grid_x};
use table::{BLOCKS, DECODE, ENCODE, Quantize, ROWS, STATISTICS, STOCHASTIC, TOKENS, index};

pub(crate) use table::entries;

/// Scales on the device, read.
pub type DeviceScales<'a> = Scales<CudaView<'a, f32>, CudaView<'a, f16>, CudaView<'a, u8>>;
/// Scales on the device, written.
pub type DeviceScalesMut<'a> = Scales<CudaViewMut<'a, f32>, CudaViewMut<'a, f16>, CudaViewMut<'a, u8>>;

/// Codes `x` by `scheme`; see [`crate::reference::quantize::quantize`] for the arithmetic and the layout of `codes`.
///
/// # Errors
/// Those of [`Scheme::validate`]; a stream of another device; loading and launching.
pub fn quantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    scales: &mut DeviceScalesMut<'_>,
) -> Result<()> {
    quantize_with(kernels, stream, scheme, shape, x, codes, scales, Options::default())
}

/// As [`quantize`], with [`Options`]; see [`crate::reference::quantize::quantize_with`].
///
/// # Errors
/// Those of [`quantize`] and of [`Options::validate`].
#[allow(clippy::too_many_arguments)] // Those of `quantize` and one.
pub fn quantize_with<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    x: &CudaView<'_, E>,
    codes: &mut CudaViewMut<'_, u8>,
    scales: &mut DeviceScalesMut<'_>,
    options: Options,
) -> Result<()> {
    const OP: &str = "quantize::quantize";
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    options.validate(OP, scheme.code)?;
    check_stream(OP, kernels, stream)?;
    let empty = shape.rows == 0 || shape.cols == 0;
    let passes = matches!(scheme.axis, Axis::Tensor | Axis::Column);
    let regions = scheme.regions(shape);
    if empty || passes {
        match scales {
            Scales::Symmetric(scale) => zero(stream, scale, regions)?,
            Scales::Asymmetric { scale, min } => {
                zero(stream, scale, regions)?;
                zero(stream, min, regions)?;
            }
            Scales::Blocks { block, .. } | Scales::Exponents(block) => zero(stream, block, regions)?,
        }
    }
    if let (Scales::Blocks { tensor, .. }, false) = (&mut *scales, options.given_tensor_scale) {
        zero(stream, tensor, 1)?;
    }
    if empty {
        return Ok(());
    }
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _coding) = codes.device_ptr_mut(stream);
    let ((scale, min), _guards) = addresses_mut(scales, stream);
    let at = Addresses { x, codes, scale, min };
    let seed = match options.rounding {
        Rounding::Nearest => 0,
        Rounding::Stochastic { seed } => seed,
    };
    let mut params = QuantizeParams::new(scheme, shape, E::DTYPE, at, options.clip_ratio, seed);
    let run = |entry: Quantize, Cut { grid, block, shared }: Cut, params: &QuantizeParams| {
        let launch = Launch { op: OP, entry, grid, block, shared };
        // SAFETY: 1. `validate` has held the lengths of `x`, `codes` and the scales to the shape, and the kernels touch
        // just the elements, code bytes and regions of that shape. 2. All guards live to the end of this function.
        unsafe { launch.run(kernels, stream, params) }
    };
    let kind = scheme.code.scale_kind();
    if passes || (kind == ScaleKind::E4m3UnderF32 && !options.given_tensor_scale) {
        let [pass, finish] = STATISTICS[usize::from(kind == ScaleKind::F16WithMin)];
        // NVFP4's scale of the tensor is the scale of all of x.
        let whole = kind == ScaleKind::E4m3UnderF32;
        let mut statistics = if whole { QuantizeParams { scale: min, axis: 0, ..params } } else { params };
        run(pass, statistics.elementwise(), &statistics)?;
        let regions = if whole { 1 } else { regions as u64 };
        statistics.segment = regions as u32;
        run(finish, Cut::plain((grid_x(OP, regions, BLOCK.into())?, 1)), &statistics)?;
    }
    let code = index(scheme.code);
    match scheme.axis {
        Axis::Tensor | Axis::Column => {}
        Axis::Row | Axis::Group(_) => {
            let cut = params.by_segment(OP, scheme.code)?;
            let entries = code.checked_sub(ROWS.len()).map_or_else(|| ROWS[code], |code| BLOCKS[code]);
            run(entries[E::DTYPE as usize], cut, &params)?;
        }
        Axis::TokenGroup(_) => run(TOKENS[code], params.by_tokens(scheme.code), &params)?,
    }
    match stochastic(options.rounding, scheme.code) {
        // Over the codes to nearest, by the scales just made.
        Some(entry) => run(entry, params.elementwise(), &params),
        None if passes => run(ENCODE[code], params.elementwise(), &params),
        None => Ok(()),
    }
}

/// Codes `x` by given scales; see [`crate::reference::quantize::quantize_static`].
///
/// # Errors
/// Those of [`Scheme::validate`]; [`crate::Error::Unsupported`] for the block formats and for stochastic rounding to another
/// code than those listed at [`Rounding`]; a stream of another device; loading and launching.
#[allow(clippy::too_many_arguments)] // Those of `quantize` and one.
pub fn quantize_static<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    x: &CudaView<'_, E>,
    scales: &DeviceScales<'_>,
    codes: &mut CudaViewMut<'_, u8>,
    rounding: Rounding,
) -> Result<()> {
    const OP: &str = "quantize::quantize_static";
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "x", elements: x.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    check_static(OP, scheme.code, rounding)?;
    check_stream(OP, kernels, stream)?;
    if shape.rows == 0 || shape.cols == 0 {
        return Ok(());
    }
    let (x, _reading) = x.device_ptr(stream);
    let (codes, _coding) = codes.device_ptr_mut(stream);
    let ((scale, min), _guards) = addresses(scales, stream);
    let seed = if let Rounding::Stochastic { seed } = rounding { seed } else { 0 };
    let at = Addresses { x, codes, scale, min };
    let mut params = QuantizeParams::new(scheme, shape, E::DTYPE, at, 1.0, seed);
    let Cut { grid, block, shared } = params.elementwise();
    let entry = stochastic(rounding, scheme.code).unwrap_or(ENCODE[index(scheme.code)]);
    let launch = Launch { op: OP, entry, grid, block, shared };
    // SAFETY: as in `quantize_with`.
    unsafe { launch.run(kernels, stream, &params) }
}

/// Values of the codes; see [`crate::reference::quantize::dequantize`].
///
/// # Errors
/// Those of [`Scheme::validate`]; a stream of another device; loading and launching.
pub fn dequantize<E: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    scheme: Scheme,
    shape: Matrix,
    codes: &CudaView<'_, u8>,
    scales: &DeviceScales<'_>,
    out: &mut CudaViewMut<'_, E>,
) -> Result<()> {
    const OP: &str = "quantize::dequantize";
    let counts = scales.map(|f| f.len(), |h| h.len(), |b| b.len());
    let lengths = Lengths { element_name: "out", elements: out.len(), codes: codes.len(), scales: counts };
    scheme.validate(OP, shape, lengths)?;
    check_stream(OP, kernels, stream)?;
    if shape.rows == 0 || shape.cols == 0 {
        return Ok(());
    }
    let (codes, _reading) = codes.device_ptr(stream);
    let (x, _writing) = out.device_ptr_mut(stream);
    let ((scale, min), _guards) = addresses(scales, stream);
    let mut params = QuantizeParams::new(scheme, shape, E::DTYPE, Addresses { x, codes, scale, min }, 1.0, 0);
    let Cut { grid, block, shared } = params.elementwise();
    let launch = Launch { op: OP, entry: DECODE[index(scheme.code)], grid, block, shared };
    // SAFETY: 1. `validate` has held every length to the shape; the kernel writes just the elements of the shape. 2. All
    // guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

fn stochastic(rounding: Rounding, code: Code) -> Option<Quantize> {
    let Rounding::Stochastic { .. } = rounding else { return None };
    match code {
        Code::Int8 => Some(STOCHASTIC[0]),
        Code::Fp8(format) => Some(STOCHASTIC[1 + format as usize]),
        _ => None,
    }
}

pub(crate) type Guards<'a> = (SyncOnDrop<'a>, Option<SyncOnDrop<'a>>);

/// The addresses of `scale` and `min` (for NVFP4 of the blocks' and the tensor's), with their guards.
fn addresses<'a>(scales: &'a DeviceScales<'_>, stream: &'a CudaStream) -> ((u64, u64), Guards<'a>) {
    match scales {
        Scales::Symmetric(scale) => one(scale.device_ptr(stream)),
        Scales::Asymmetric { scale, min } => two(scale.device_ptr(stream), min.device_ptr(stream)),
        Scales::Blocks { block, tensor } => two(block.device_ptr(stream), tensor.device_ptr(stream)),
        Scales::Exponents(block) => one(block.device_ptr(stream)),
    }
}

pub(crate) fn addresses_mut<'a>(
    scales: &'a mut DeviceScalesMut<'_>,
    stream: &'a CudaStream,
) -> ((u64, u64), Guards<'a>) {
    match scales {
        Scales::Symmetric(scale) => one(scale.device_ptr_mut(stream)),
        Scales::Asymmetric { scale, min } => two(scale.device_ptr_mut(stream), min.device_ptr_mut(stream)),
        Scales::Blocks { block, tensor } => two(block.device_ptr_mut(stream), tensor.device_ptr_mut(stream)),
        Scales::Exponents(block) => one(block.device_ptr_mut(stream)),
    }
}

fn one((scale, guard): (u64, SyncOnDrop<'_>)) -> ((u64, u64), Guards<'_>) {
    ((scale, 0), (guard, None))
}

fn two<'a>(first: (u64, SyncOnDrop<'a>), second: (u64, SyncOnDrop<'a>)) -> ((u64, u64), Guards<'a>) {
    ((first.0, second.0), (first.1, Some(second.1)))
}

fn zero<T: DeviceRepr + ValidAsZeroBits>(
    stream: &Arc<CudaStream>,
    x: &mut CudaViewMut<'_, T>,
    len: usize,
) -> Result<()> {
    if len > 0 {
        stream.memset_zeros(&mut x.slice_mut(..len))?;
    }
    Ok(())
}
