//! Outlier columns taken out of an int8 matrix, all on the device; defined by [`crate::reference::outliers`], with which
//! every output agrees bit for bit.
//!
//! Three launches and no synchronisation: which columns, their list, codes and values. x is read twice. Alignment as in
//! [`crate::ops::activation`].

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use crate::error::{Error, Result};
pub use crate::format::outliers::workspace_words;
use crate::format::outliers::{OutlierLengths, OutlierOutputs, check};
use crate::format::{Half16, Matrix};
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

/// Views of the device.
pub type Outputs<'v, E> =
    OutlierOutputs<CudaViewMut<'v, u8>, CudaViewMut<'v, f32>, CudaViewMut<'v, u32>, CudaViewMut<'v, E>>;

#[repr(C)]
#[derive(Clone, Copy)]
struct OutlierParams {
    x: u64,
    mask: u64,
    columns: u64,
    count: u64,
    codes: u64,
    scale: u64,
    values: u64,
    x_stride: u64,
    rows: u32,
    cols: u32,
    cap: u32,
    threshold: f32,
    aligned: u32,
    reserved: u32,
}

// SAFETY: `repr(C)`, plain numbers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for OutlierParams {}

type Outlier = Entry<OutlierParams>;

const fn entry(name: &'static str) -> Outlier {
    Entry::new("activation/outliers", name)
}

/// By dtype (f16, bf16).
const MASK: [Outlier; 2] = [entry("outlier_mask_f16"), entry("outlier_mask_bf16")];
const LIST: Outlier = entry("outlier_list");
/// By dtype (f16, bf16).
const QUANTIZE: [Outlier; 2] = [entry("outlier_quantize_f16"), entry("outlier_quantize_bf16")];

pub(crate) fn entries() -> Vec<EntryRow> {
    MASK.iter().chain([&LIST]).chain(&QUANTIZE).map(Entry::row).collect()
}

/// Takes the columns with |x| >= threshold out of the int8 matrix; see [`OutlierOutputs`] and
/// [`crate::reference::outliers::extract`]. `workspace` holds [`workspace_words`], of any content.
///
/// # Errors
/// [`Error::Argument`] for a threshold that is not above 0, a shape above the limits, more places than columns, a buffer
/// that is too short, or a stream of another device; loading and launching.
pub fn extract<E: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    threshold: f32,
    shape: Matrix,
    x: &CudaView<'_, E>,
    mut out: Outputs<'_, E>,
    workspace: &mut CudaViewMut<'_, u32>,
) -> Result<()> {
    const OP: &str = "outliers::extract";
    let lengths = OutlierLengths {
        x: x.len(),
        codes: out.codes.len(),
        scale: out.scale.len(),
        columns: out.columns.len(),
        count: out.count.len(),
        values: out.values.len(),
    };
    check(OP, threshold, shape, lengths)?;
    let Matrix { rows, cols, row_stride } = shape;
    let words = workspace_words(cols);
    if workspace.len() < words {
        let (expected, found) = (format!("at least {words} elements"), workspace.len().to_string());
        return Err(Error::argument(OP, "workspace", expected, found));
    }
    check_stream(OP, kernels, stream)?;
    if words > 0 {
        stream.memset_zeros(&mut workspace.slice_mut(..words))?;
    }
    let cap = out.columns.len() as u32;
    let (x, _x) = x.device_ptr(stream);
    let (mask, _mask) = workspace.device_ptr_mut(stream);
    let (codes, _codes) = out.codes.device_ptr_mut(stream);
    let (scale, _scale) = out.scale.device_ptr_mut(stream);
    let (columns, _columns) = out.columns.device_ptr_mut(stream);
    let (count, _count) = out.count.device_ptr_mut(stream);
    let (values, _values) = out.values.device_ptr_mut(stream);
    let aligned = x.is_multiple_of(16)
        && codes.is_multiple_of(8)
        && (rows <= 1 || (row_stride.is_multiple_of(8) && cols.is_multiple_of(8)));
    let params = OutlierParams {
        x,
        mask,
        columns,
        count,
        codes,
        scale,
        values,
        x_stride: row_stride as u64,
        rows: rows as u32,
        cols: cols as u32,
        cap,
        threshold,
        aligned: aligned.into(),
        reserved: 0,
    };
    let eights = cols.div_ceil(8) as u32;
    let across = eights.div_ceil(128);
    let down = (rows as u32).min((2048 / across.max(1)).clamp(1, 65_535));
    let threads = eights.div_ceil(2).next_multiple_of(32).clamp(32, 512);
    let of_type = E::DTYPE as usize - 1;
    for (entry, grid, block, shared) in [
        (MASK[of_type], (across, down, 1), 128, 0),
        (LIST, (1, 1, 1), 512, 0),
        (QUANTIZE[of_type], (rows as u32, 1, 1), threads, 16 * eights),
    ] {
        let launch = Launch { op: OP, entry, grid, block: (block, 1, 1), shared };
        // SAFETY: 1. `check` and the length of the workspace hold every buffer to the shape and to `cap`; the kernels
        // touch just these, and read a column of the list only where it is one. 2. All guards live to the end of this
        // function.
        unsafe { launch.run(kernels, stream, &params)? };
    }
    Ok(())
}
