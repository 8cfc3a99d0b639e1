//! The wrapper of the products of 16-bit activations with E4M3 weights.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr};

use super::act8::{
    Act8, Act8Params, CodedConfig, Dispatch, Epilogue, Family, MAX_CODED_ROWS, check_exact, check_rest, launch,
};
use super::arguments::Arguments;
use super::w8a8::{matrix, point_to_parts};
use crate::error::{Error, Result};
use crate::format::{ByteCode, DType, Element, Half16};
use crate::runtime::{Entry, EntryRow, Kernels};
use crate::weights::{ByteAxis, ByteLayout};

const OP: &str = "matmul::w8a16";

const fn f16(name: &'static str) -> Act8 {
    Entry::new("matmul/w8a16_e4m3_f16", name)
}
const fn bf16(name: &'static str) -> Act8 {
    Entry::new("matmul/w8a16_e4m3_bf16", name)
}

/// Of 8 rows, and of 32, which do for 16 too.
const fn family(c1: Act8, c4: Act8) -> Family {
    Family { skinny: [c1, c4, c4], tiled: None }
}

/// The closed table: type of x, what a scale covers, kernels.
const TABLE: &[(DType, ByteAxis, Family)] = &[
    (DType::F16, ByteAxis::Output, family(f16("w8a16_e4m3_f16_c1"), f16("w8a16_e4m3_f16_c4"))),
    (DType::F16, ByteAxis::Block, family(f16("w8a16_e4m3_f16_block_c1"), f16("w8a16_e4m3_f16_block_c4"))),
    (DType::Bf16, ByteAxis::Output, family(bf16("w8a16_e4m3_bf16_c1"), bf16("w8a16_e4m3_bf16_c4"))),
    (DType::Bf16, ByteAxis::Block, family(bf16("w8a16_e4m3_bf16_block_c1"), bf16("w8a16_e4m3_bf16_block_c4"))),
];

pub(super) fn entries() -> impl Iterator<Item = EntryRow> {
    TABLE.iter().flat_map(|(_, _, Family { skinny: [c1, _, c4], .. })| [c1.row(), c4.row()])
}

/// Weights and activations of one product.
#[derive(Clone, Copy)]
pub struct W8A16Operands<'a, X> {
    /// Shape and format of the weights: E4M3.
    pub layout: &'a ByteLayout,
    /// The packed buffer, [`ByteLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`, row stride `x_stride`. Rows that start at multiples of 16 bytes are read faster.
    pub x: &'a CudaView<'a, X>,
    /// From row to row of x, elements, at least k.
    pub x_stride: usize,
}

fn dispatch(kernels: &Kernels, layout: &ByteLayout, x: DType, rows: usize) -> Option<Dispatch> {
    let (_, _, family) = TABLE.iter().find(|(dtype, axis, _)| (*dtype, *axis) == (x, layout.axis()))?;
    let known = layout.code() == ByteCode::E4m3;
    known.then(|| family.choose(rows, layout.row_tiles(), layout.blocks(), kernels.sm_count()))
}

/// Bytes of workspace that [`w8a16`] needs; 0 for most shapes.
pub fn w8a16_workspace_bytes(kernels: &Kernels, layout: &ByteLayout, rows: usize) -> usize {
    dispatch(kernels, layout, DType::F16, rows).map_or(0, |it| it.workspace_bytes(layout.row_tiles(), rows))
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`; x f16 or bf16, weights E4M3 with a scale
/// an output or for 128 x 128 of them. Defined by [`crate::reference::matmul::w8a16`]. (int8 weights in groups:
/// [`super::skinny()`].)
///
/// The codes are multiplied in x's type, which holds them exactly, and added in f32, 128 k at a time before they join the row's
/// sum. Within `u*|y| + 2^-20 * sum_k |x||w|` of the exact value, u the unit roundoff of `O`. Row m depends on row m of x only, bit
/// for bit, and not on the number of rows.
///
/// One kernel; a block takes up to 32 rows, so that more rows read the weights again. Shapes that split k over blocks also clear a
/// few counters in `workspace` first, which may be `None` where [`w8a16_workspace_bytes`] is 0.
///
/// # Errors
/// [`Error::Argument`] for rows, strides, lengths or alignments that do not fit, fast accumulation, a stream of another context;
/// [`Error::Unsupported`] for weights other than E4M3; errors of loading and launching.
pub fn w8a16<X: Half16, O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &CodedConfig,
    operands: &W8A16Operands<'_, X>,
    epilogue: &Epilogue<'_, O>,
    out: &mut CudaViewMut<'_, O>,
    workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let &W8A16Operands { layout, weights, x, x_stride } = operands;
    let (rows, arguments) = (config.rows, Arguments { op: OP, rows: config.rows });
    check_exact(arguments, config)?;
    let dispatch = dispatch(kernels, layout, X::DTYPE, rows)
        .ok_or_else(|| Error::unsupported(OP, format!("{} weights", layout.code().name()), "e4m3"))?;
    arguments.rows(MAX_CODED_ROWS)?;
    arguments.matrix("x", ("x_stride", x_stride), layout.k(), x.len())?;
    let weights = matrix(layout, weights);
    let needed = dispatch.workspace_bytes(layout.row_tiles(), rows);
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    check_rest(arguments, config, &weights, epilogue, out.len(), (has, needed))?;
    let (x, _x) = x.device_ptr(stream);
    let params = Act8Params::default().with_wide_rows(x, x_stride, rows);
    let format = |params: &mut _| point_to_parts(params, layout);
    // SAFETY: the checks above; the offsets are the layout's.
    unsafe { launch(arguments, kernels, stream, &dispatch, config, &weights, epilogue, params, format, out, workspace) }
}
