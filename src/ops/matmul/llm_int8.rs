//! The product of LLM.int8(): int8 codes, and columns of outliers in x's own type.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr};

use super::act8::{
    Act8, Act8Params, CodedConfig, Dispatch, Epilogue, MAX_CODED_ROWS, SKINNY_ROWS, check_coded, check_rest, launch,
    point_to_coded,
};
use super::arguments::Arguments;
use super::split::Split;
use super::w8a8::{family, matrix, point_to_parts};
use crate::error::{Error, Result};
use crate::format::{ByteCode, CodedRows, CodedScale, Element, Half16};
use crate::runtime::{Entry, EntryRow, Kernels};
use crate::weights::ByteLayout;

const OP: &str = "matmul::llm_int8";

const DENSE_F16: Act8 = Entry::new("matmul/llm_int8", "llm_int8_dense_f16");
const DENSE_BF16: Act8 = Entry::new("matmul/llm_int8", "llm_int8_dense_bf16");
/// Rows of a block of the dense kernels.
const DENSE_ROWS: usize = 32;

pub(super) fn entries() -> impl Iterator<Item = EntryRow> {
    [DENSE_F16, DENSE_BF16].into_iter().map(|entry| entry.row())
}

/// Weights, x, and what [`crate::ops::outliers::extract`] made of x.
#[derive(Clone, Copy)]
pub struct LlmInt8Operands<'a, X> {
    /// Shape of the weights, int8.
    pub layout: &'a ByteLayout,
    /// The packed buffer, [`ByteLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`, row stride `x_stride`: read when the list of columns overflowed.
    pub x: &'a CudaView<'a, X>,
    /// From row to row of x, elements.
    pub x_stride: usize,
    /// `[rows, k]`, dense.
    pub codes: &'a CudaView<'a, u8>,
    /// `[rows]`.
    pub scale: &'a CudaView<'a, f32>,
    /// `[cap]`.
    pub columns: &'a CudaView<'a, u32>,
    /// `[2]`.
    pub count: &'a CudaView<'a, u32>,
    /// `[rows, cap]`, dense.
    pub values: &'a CudaView<'a, X>,
}

/// Bytes of workspace that [`llm_int8`] needs; 0 for most shapes.
pub fn llm_int8_workspace_bytes(kernels: &Kernels, layout: &ByteLayout, rows: usize) -> usize {
    super::w8a8_workspace_bytes(kernels, layout, rows)
}

/// `y = sx * sw * (Q_x Q_w) + X_outliers W_outliers (+ bias) (+ residual)`; defined by [`crate::reference::matmul::llm_int8`].
///
/// The int8 part is exact as in [`super::w8a8()`]. The columns that were taken out are multiplied in f32 with the decoded
/// weights, whose codes are those of the int8 part: no second copy of the weights. If there were more of them than the list
/// holds, which only the device knows, all of x is multiplied as it is. Two kernels, of which one does nothing; no
/// synchronisation. Within `u*|y| + 2^-20 * sum_k |x||w|` of the definition. Which columns are outliers depends on all
/// rows, and so does a row's result.
///
/// # Errors
/// As [`super::w8a8()`]; [`Error::Unsupported`] for weights other than int8.
pub fn llm_int8<X: Half16, O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &CodedConfig,
    operands: &LlmInt8Operands<'_, X>,
    epilogue: &Epilogue<'_, O>,
    out: &mut CudaViewMut<'_, O>,
    workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let layout = operands.layout;
    let (k, rows, cap) = (layout.k(), config.rows, operands.columns.len());
    let arguments = Arguments { op: OP, rows };
    if layout.code() != ByteCode::Int8 {
        return Err(Error::unsupported(OP, format!("{} weights", layout.code().name()), "int8"));
    }
    arguments.rows(MAX_CODED_ROWS)?;
    let coded = CodedRows {
        code: ByteCode::Int8,
        codes: operands.codes,
        row_stride: k,
        scale: CodedScale::Row(operands.scale),
        zero: None,
    };
    check_coded(arguments, &coded, k)?;
    arguments.matrix("x", ("x_stride", operands.x_stride), k, operands.x.len())?;
    if cap > k {
        return Err(Error::argument(OP, "columns", format!("at most the {k} columns"), cap.to_string()));
    }
    arguments.at_least("count", 2, operands.count.len())?;
    arguments.at_least("values", rows * cap, operands.values.len())?;
    let family = family(layout, config.fast_accumulation)?;
    let dispatch = family.choose(rows, layout.row_tiles(), layout.blocks(), kernels.sm_count());
    let weights = matrix(layout, operands.weights);
    let needed = dispatch.workspace_bytes(layout.row_tiles(), rows);
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    check_rest(arguments, config, &weights, epilogue, out.len(), (has, needed))?;

    let (columns, _columns) = operands.columns.device_ptr(stream);
    let (count, _count) = operands.count.device_ptr(stream);
    let (values, _values) = operands.values.device_ptr(stream);
    let outliers = Act8Params {
        outlier_columns: columns,
        outlier_count: count,
        outlier_values: values,
        outlier_cap: cap as u32,
        outlier_type: X::DTYPE as u32,
        ..Default::default()
    };
    let format = |params: &mut _| point_to_parts(params, layout);
    let mut params = outliers;
    let wide = if rows > SKINNY_ROWS { 16 } else { 8 };
    let _coded = point_to_coded(&mut params, stream, &coded, (rows, k), wide);
    // SAFETY: the checks above; the offsets are the layout's; the kernel reads of the list what it may hold, and columns
    // below k.
    unsafe {
        launch(arguments, kernels, stream, &dispatch, config, &weights, epilogue, params, format, out, workspace)?
    };

    let (x, _x) = operands.x.device_ptr(stream);
    let params = outliers.with_wide_rows(x, operands.x_stride, rows);
    let split = Split { splits: 1, ..Split::new(layout.row_tiles(), layout.blocks(), kernels.sm_count()) };
    let entry = if X::DTYPE == crate::format::DType::F16 { DENSE_F16 } else { DENSE_BF16 };
    let dense = Dispatch { entry, block_rows: DENSE_ROWS, split };
    // SAFETY: as above, with x itself.
    unsafe { launch(arguments, kernels, stream, &dense, config, &weights, epilogue, params, format, out, None) }
}
