//! The wrapper of the tiled product: any number of rows.

use std::sync::Arc;

use cudarc::driver::CudaStream;

use super::arguments::Arguments;
use super::instance;
use super::operands::{Call, Operands, Output, Strides};
use super::skinny::{Decode, split_of};
use super::split::WARPS;
use crate::error::Result;
use crate::format::{Element, Half16};
use crate::runtime::{Kernels, Launch, check_stream};
use crate::weights::PackedLayout;

const OP: &str = "matmul::tiled";

/// The most rows of x in one call.
pub const MAX_TILED_ROWS: usize = 1 << 20;

/// Threads of a block: 8 warps.
const THREADS: u32 = 256;

/// Shape of a call. Strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TiledConfig {
    /// Rows of x and of the output, 1 to [`MAX_TILED_ROWS`].
    pub rows: usize,
    /// From row to row of x, at least k. Rows that start at multiples of 16 bytes are read faster.
    pub x_stride: usize,
    /// From row to row of the residual, at least n.
    pub residual_stride: usize,
    /// From row to row of the output, at least n (gated: n / 2).
    pub out_stride: usize,
}

impl TiledConfig {
    /// Contiguous rows.
    pub fn contiguous(layout: &PackedLayout, rows: usize) -> Self {
        let n = layout.n();
        Self { rows, x_stride: layout.k(), residual_stride: n, out_stride: n }
    }
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`, to where `out` says: for more rows than
/// [`super::skinny()`] takes, on the same packed weights, of every format. A block makes 128 outputs of 64 rows (of 32 with real
/// zeros or minima) and reads the weights of these outputs once for them.
///
/// Accumulated in f32, with the tolerance of [`super::skinny()`]. Row m depends on row m of x only, bit for bit, and not on the
/// number of rows. Where [`super::workspace_bytes`] is 0 it is the row that [`super::skinny()`] gives with
/// [`super::Decode::Exact`], bit for bit; other shapes are summed in another order there. One kernel, no workspace.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for rows, strides, lengths or alignments that do not fit, a stream of another
/// context; [`Error::Unsupported`](crate::Error::Unsupported) for a gate `GeluErf`; errors of loading and launching.
pub fn tiled<'o, 'v: 'o, X: Half16, O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &TiledConfig,
    operands: &Operands<'_, X, O>,
    out: impl Into<Output<'o, 'v, O>>,
) -> Result<()> {
    let &TiledConfig { rows, x_stride, residual_stride, out_stride } = config;
    let layout = operands.layout;
    let (entry, block_rows) = instance::tiled_entry(OP, layout, X::DTYPE)?;
    let arguments = Arguments { op: OP, rows };
    let strides = Strides { x: x_stride, residual: residual_stride, out: out_stride };
    let mut call = Call { arguments, strides, operands, output: out.into() };
    call.check(MAX_TILED_ROWS)?;
    check_stream(OP, kernels, stream)?;
    // The parts of k of the skinny kernel, whose sums are added in its order.
    let mut split = split_of(layout, kernels);
    if let Output::Gated(..) = call.output {
        split = split.paired(layout.row_tiles());
    }
    let mut bound = call.bind(stream, Decode::Exact)?;
    bound.params.divide(split);
    let grid = (layout.row_tiles().div_ceil(WARPS) as u32, rows.div_ceil(block_rows) as u32, 1);
    let launch = Launch { op: OP, entry, grid, block: (THREADS, 1, 1), shared: 0 };
    // SAFETY: 1. The buffers are borrowed for the call by the guards, and were checked to hold every element that the
    // kernel reads (weights: all of the layout; x, bias, residual: rows x k or n) or writes (the parts of the output).
    // cudarc frees device memory in stream order. 2. The guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &bound.params) }
}
