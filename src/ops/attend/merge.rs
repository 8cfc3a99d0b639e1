//! Merging of partial results.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, DeviceSlice};

use super::{BLOCK, WARPS};
use crate::cache::check_context;
use crate::error::{Error, Result};
use crate::format::Element;
use crate::runtime::{Entry, Kernels, Launch, check_stream};

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct MergeParams {
    parts_out: u64,
    parts_lse: u64,
    out: u64,
    lse: u64,
    rows: i64,
    parts: i32,
    head_dim: i32,
    dtype: u32,
    reserved: u32,
}

// SAFETY: `repr(C)`, plain numbers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for MergeParams {}

pub(super) const STATES: Entry<MergeParams> = Entry::new("attention/merge", "merge_states");

/// Merges attention results over disjoint sets of keys: `parts_out` `[parts, rows, head_dim]` with their natural LSE
/// `parts_lse` `[parts, rows]`, in the order of the parts, in f32:
/// `lse = log sum exp(lse_i)`, `out = sum exp(lse_i - lse) * out_i`.
///
/// A part with LSE -inf saw nothing, and its output is not read. Rows whose parts are all empty: out 0, LSE -inf.
///
/// # Errors
/// [`Error::Argument`]: `head_dim` not a positive multiple of 32; no part; lengths that do not fit `parts * rows * head_dim`;
/// 2^31 or more parts, or 2^33 or more rows; memory or a stream of another context. Then loading and launching.
#[allow(clippy::too_many_arguments)]
pub fn merge_states<T: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    parts: usize,
    head_dim: usize,
    parts_out: &CudaView<'_, T>,
    parts_lse: &CudaView<'_, f32>,
    out: &mut CudaViewMut<'_, T>,
    lse: Option<&mut CudaViewMut<'_, f32>>,
) -> Result<()> {
    const OP: &str = "merge_states";
    let wrong =
        |argument, expected: String, found: usize| Err(Error::argument(OP, argument, expected, found.to_string()));
    check_stream(OP, kernels, stream)?;
    if head_dim == 0 || !head_dim.is_multiple_of(32) || i32::try_from(head_dim).is_err() {
        return wrong("head_dim", "a positive multiple of 32".into(), head_dim);
    }
    if parts == 0 || i32::try_from(parts).is_err() {
        return wrong("parts", format!("1..={}", i32::MAX), parts);
    }
    let rows = out.len() / head_dim;
    if !out.len().is_multiple_of(head_dim) || rows >= 1 << 33 {
        return wrong("out", format!("a multiple of {head_dim} elements, fewer than 2^33 rows"), out.len());
    }
    let lse_len = lse.as_ref().map_or(rows, |lse| lse.len());
    for (argument, expected, found) in [
        ("parts_out", parts.checked_mul(out.len()), parts_out.len()),
        ("parts_lse", parts.checked_mul(rows), parts_lse.len()),
        ("lse", Some(rows), lse_len),
    ] {
        if expected != Some(found) {
            let expected = expected.map_or("fewer than 2^64".to_string(), |n| n.to_string());
            return wrong(argument, format!("{expected} elements"), found);
        }
    }
    for (argument, of) in [
        ("parts_out", parts_out.stream()),
        ("parts_lse", parts_lse.stream()),
        ("out", out.stream()),
        ("lse", lse.as_ref().map_or(stream, |lse| lse.stream())),
    ] {
        check_context(OP, argument, of, stream)?;
    }
    let (parts_out, _parts_guard) = parts_out.device_ptr(stream);
    let (parts_lse, _parts_lse_guard) = parts_lse.device_ptr(stream);
    let (out, _out_guard) = out.device_ptr_mut(stream);
    let lse = lse.map(|lse| lse.device_ptr_mut(stream));
    let params = MergeParams {
        parts_out,
        parts_lse,
        out,
        lse: lse.as_ref().map_or(0, |(pointer, _guard)| *pointer),
        rows: rows as i64,
        parts: parts as i32,
        head_dim: head_dim as i32,
        dtype: T::DTYPE as u32,
        reserved: 0,
    };
    let grid = (rows.div_ceil(WARPS) as u32, 1, 1);
    let launch = Launch { op: OP, entry: STATES, grid, block: (BLOCK, 1, 1), shared: 0 };
    // SAFETY: 1. the lengths were checked against `parts`, `rows`, `head_dim`, which bound every index of the kernel.
    // 2. All guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// The same numbers stand in kernels/attention/merge.cu.
    #[test]
    fn offsets_are_those_of_the_kernel() {
        assert_eq!(size_of::<MergeParams>(), 56);
        assert_eq!([offset_of!(MergeParams, rows), offset_of!(MergeParams, dtype)], [32, 48]);
    }
}
