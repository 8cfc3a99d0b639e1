//! Fused activations: a norm or a gated activation and the codes of its result, one launch, one read of the row.
//! Defined by [`crate::reference::activation`].
//!
//! Codes and scales equal those of quantizing the row that is written, bit for bit. The row itself is computed in f32:
//! it is within half a unit of the model's type plus 2^-16 of itself of the reference's, where sums of squares and
//! products stay in f32's range. Sigmoids below 2^-126 count as 0, so that an infinite `up` times one is NaN.
//!
//! Without rows or columns nothing is written. A row is held in shared memory: at most
//! [`MAX_COLS`](crate::format::activation::MAX_COLS) columns. Any alignment and stride is correct; accesses are wide (16
//! bytes) when every pointer is 16-byte aligned, columns are a multiple of 8 and strides are multiples of 8 elements,
//! else element by element.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop};

use crate::error::Result;
use crate::format::activation::{
    GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows, check_lengths, check_shape, outputs, span,
};
use crate::format::{Code, Half16, Matrix};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Views of the device.
pub type Outputs<'a, 'v, E> =
    RowOutputs<CudaViewMut<'v, E>, CudaViewMut<'v, u8>, &'a CudaView<'v, f32>, CudaViewMut<'v, f32>>;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ActivationParams {
    x: u64,
    other: u64,
    weight: u64,
    smooth: u64,
    row: u64,
    codes: u64,
    scale: u64,
    x_stride: u64,
    other_stride: u64,
    rows: u32,
    cols: u32,
    epsilon: f32,
    scales: u32,
    gate: u32,
    aligned: u32,
}

// SAFETY: `repr(C)`, plain numbers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for ActivationParams {}

type Activation = Entry<ActivationParams>;

/// By dtype (f16, bf16), then code (int8, E4M3).
const NORM: [[Activation; 2]; 2] = [
    [
        Entry::new("activation/rms_norm", "rms_norm_f16_int8"), //
        Entry::new("activation/rms_norm", "rms_norm_f16_e4m3"),
    ],
    [Entry::new("activation/rms_norm", "rms_norm_bf16_int8"), Entry::new("activation/rms_norm", "rms_norm_bf16_e4m3")],
];
/// By dtype (f16, bf16), then code (int8, E4M3).
const GATE: [[Activation; 2]; 2] = [
    [
        Entry::new("activation/gate_mul", "gate_mul_f16_int8"), //
        Entry::new("activation/gate_mul", "gate_mul_f16_e4m3"),
    ],
    [Entry::new("activation/gate_mul", "gate_mul_bf16_int8"), Entry::new("activation/gate_mul", "gate_mul_bf16_e4m3")],
];

pub(crate) fn entries() -> Vec<EntryRow> {
    NORM.iter().chain(&GATE).flatten().map(Entry::row).collect()
}

/// `[residual add +] RMSNorm [+ smoothing]` of `rows` x `cols`; see [`RmsNorm`] and
/// [`crate::reference::activation::rms_norm_quantize`].
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a shape above the limits, a short buffer or stride, no output, or a
/// stream of another device; [`Error::Unsupported`](crate::Error::Unsupported) for another code than int8 or E4M3;
/// loading and launching.
pub fn rms_norm_quantize<E: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    rows: usize,
    cols: usize,
    norm: RmsNorm<&CudaView<'_, E>, CudaViewMut<'_, E>, &CudaView<'_, f32>>,
    out: Outputs<'_, '_, E>,
) -> Result<()> {
    const OP: &str = "activation::rms_norm_quantize";
    let RmsNorm { x, mut residual, weight, smooth, epsilon } = norm;
    check_shape(OP, rows, cols)?;
    let matrix = |argument, row_stride| span(OP, argument, Matrix { rows, cols, row_stride });
    let mut lengths = vec![("x", x.data.len(), matrix("x.row_stride", x.row_stride)?)];
    if let Some(Rows { data, row_stride }) = &residual {
        lengths.push(("residual", data.len(), matrix("residual.row_stride", *row_stride)?));
    }
    lengths.push(("weight", weight.len(), cols));
    lengths.extend(smooth.map(|smooth| ("smooth", smooth.len(), cols)));
    let (x, _x) = strided(stream, x);
    let (weight, _weight) = weight.device_ptr(stream);
    let (smooth, _smooth) = smooth.map(|smooth| smooth.device_ptr(stream)).unzip();
    let other_stride = residual.as_ref().map_or(0, |residual| residual.row_stride);
    let (other, _residual) = residual.as_mut().map(|residual| residual.data.device_ptr_mut(stream)).unzip();
    let params = ActivationParams {
        x: x.data,
        other: other.unwrap_or(0),
        weight,
        smooth: smooth.unwrap_or(0),
        x_stride: x.row_stride as u64,
        other_stride: other_stride as u64,
        epsilon,
        ..Default::default()
    };
    // SAFETY: `lengths` holds x, residual, weight and smooth against the shape; their guards live to the end of this
    // function.
    unsafe { launch(OP, kernels, stream, &NORM, (rows, cols), params, lengths, out) }
}

/// f(gate) * up of `rows` x `cols`; see [`GateMul`] and [`crate::reference::activation::gate_mul_quantize`].
///
/// # Errors
/// Those of [`rms_norm_quantize`].
pub fn gate_mul_quantize<E: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    rows: usize,
    cols: usize,
    input: GateMul<&CudaView<'_, E>, &CudaView<'_, f32>>,
    out: Outputs<'_, '_, E>,
) -> Result<()> {
    const OP: &str = "activation::gate_mul_quantize";
    let GateMul { function, gate, up, smooth } = input;
    check_shape(OP, rows, cols)?;
    let matrix = |argument, row_stride| span(OP, argument, Matrix { rows, cols, row_stride });
    let mut lengths = vec![
        ("gate", gate.data.len(), matrix("gate.row_stride", gate.row_stride)?),
        ("up", up.data.len(), matrix("up.row_stride", up.row_stride)?),
    ];
    lengths.extend(smooth.map(|smooth| ("smooth", smooth.len(), cols)));
    let (smooth, _smooth) = smooth.map(|smooth| smooth.device_ptr(stream)).unzip();
    let (gate, _gate) = strided(stream, gate);
    let (up, _up) = strided(stream, up);
    let params = ActivationParams {
        x: gate.data,
        other: up.data,
        smooth: smooth.unwrap_or(0),
        x_stride: gate.row_stride as u64,
        other_stride: up.row_stride as u64,
        gate: function as u32,
        ..Default::default()
    };
    // SAFETY: `lengths` holds gate, up and smooth against the shape; their guards live to the end of this function.
    unsafe { launch(OP, kernels, stream, &GATE, (rows, cols), params, lengths, out) }
}

fn strided<'a, E: Half16>(stream: &'a CudaStream, x: Rows<&'a CudaView<'_, E>>) -> (Rows<u64>, SyncOnDrop<'a>) {
    let (data, guard) = x.data.device_ptr(stream);
    (Rows { data, row_stride: x.row_stride }, guard)
}

/// Checks all lengths, adds the outputs to the parameters, launches a block a row.
///
/// # Safety
/// 1. `lengths` holds the length and the need of every buffer that `params` points to.
/// 2. Their guards are alive.
#[allow(clippy::too_many_arguments)] // What the two operations share; private.
unsafe fn launch<E: Half16>(
    op: &'static str,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    table: &[[Activation; 2]; 2],
    (rows, cols): (usize, usize),
    params: ActivationParams,
    mut lengths: Vec<(&'static str, usize, usize)>,
    mut out: Outputs<'_, '_, E>,
) -> Result<()> {
    let coded = out.coded.as_ref().map(|RowCodes { code, codes, scale }| {
        let scale = match scale {
            RowScale::Token(scale) => RowScale::Token(scale.len()),
            RowScale::Static(scale) => RowScale::Static(scale.len()),
            RowScale::Group(scale) => RowScale::Group(scale.len()),
        };
        (*code, codes.len(), scale)
    });
    lengths.extend(outputs(op, rows, cols, out.row.as_ref().map(|row| row.len()), coded)?);
    check_lengths(op, &lengths)?;
    check_stream(op, kernels, stream)?;
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let code = out.coded.as_ref().map_or(Code::Int8, |coded| coded.code);
    let (row, _row) = out.row.as_mut().map(|row| row.device_ptr_mut(stream)).unzip();
    let (mut codes, mut scale, mut scales, mut _guards) = (0, 0, 0, (None, None));
    if let Some(coded) = &mut out.coded {
        let (pointer, guard) = coded.codes.device_ptr_mut(stream);
        (codes, _guards.0) = (pointer, Some(guard));
        let (kind, (pointer, guard)) = match &mut coded.scale {
            RowScale::Token(scale) => (1, scale.device_ptr_mut(stream)),
            RowScale::Static(scale) => (2, scale.device_ptr(stream)),
            RowScale::Group(scale) => (3, scale.device_ptr_mut(stream)),
        };
        (scales, scale, _guards.1) = (kind, pointer, Some(guard));
    }
    let params = ActivationParams {
        row: row.unwrap_or(0),
        codes,
        scale,
        rows: rows as u32,
        cols: cols as u32,
        scales,
        ..params
    };
    let params = ActivationParams { aligned: aligned(&params).into(), ..params };
    let entry = table[E::DTYPE as usize - 1][usize::from(code != Code::Int8)];
    let eights = cols.div_ceil(8) as u32;
    let threads = eights.div_ceil(2).next_multiple_of(32).min(512);
    let launch = Launch { op, entry, grid: (rows as u32, 1, 1), block: (threads, 1, 1), shared: 16 * eights };
    // SAFETY: the inputs are the caller's obligations; the outputs were checked above, and the kernels write just
    // `rows` x `cols` elements and codes and the scales of that shape. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

/// Whether every eight elements of every row start at 16 bytes, and their codes at 8.
fn aligned(p: &ActivationParams) -> bool {
    let several = p.rows > 1;
    let wide = |pointer: u64, stride: u64| pointer.is_multiple_of(16) && (!several || stride.is_multiple_of(8));
    let cols = u64::from(p.cols);
    wide(p.x, p.x_stride)
        && wide(p.other, p.other_stride)
        && wide(p.weight, 0)
        && wide(p.smooth, 0)
        && wide(p.row, if p.row == 0 { 0 } else { cols })
        && p.codes.is_multiple_of(8)
        && (!several || p.codes == 0 || cols.is_multiple_of(8))
}
