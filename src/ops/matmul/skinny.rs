//! The wrapper of the skinny product: checks, the split of the work, the launch.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaViewMut, DevicePtrMut};

use super::arguments::Arguments;
use super::instance;
use super::operands::{Call, Operands, Output, Strides};
use super::split::Split;
use crate::error::Result;
use crate::format::{Element, Half16};
use crate::runtime::{Kernels, Launch, check_stream};
use crate::weights::PackedLayout;

const OP: &str = "matmul::skinny";

/// The most rows of x in one call.
pub const MAX_ROWS: usize = 32;

/// Threads of a block: 8 warps.
const THREADS: u32 = 256;

/// How codes become operands of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decode {
    /// The zero is removed by a second product. What engines want.
    #[default]
    Fast,
    /// The zero is subtracted from every weight, as in [`super::tiled()`]; about as many instructions and half the products.
    Exact,
}

/// Shape of a call. Strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkinnyConfig {
    /// Rows of x and of the output, 1 to [`MAX_ROWS`].
    pub rows: usize,
    /// From row to row of x, at least k. Rows that start at multiples of 16 bytes are read faster.
    pub x_stride: usize,
    /// From row to row of the residual, at least n.
    pub residual_stride: usize,
    /// From row to row of the output, at least n (gated: n / 2).
    pub out_stride: usize,
    /// How codes become operands.
    pub decode: Decode,
}

impl SkinnyConfig {
    /// Contiguous rows, fast decode.
    pub fn contiguous(layout: &PackedLayout, rows: usize) -> Self {
        let n = layout.n();
        Self { rows, x_stride: layout.k(), residual_stride: n, out_stride: n, decode: Decode::Fast }
    }
}

pub(super) fn split_of(layout: &PackedLayout, kernels: &Kernels) -> Split {
    Split::new(layout.row_tiles(), layout.blocks(), kernels.sm_count())
}

/// Bytes of workspace that [`skinny`] needs; 0 for most shapes.
pub fn workspace_bytes(kernels: &Kernels, layout: &PackedLayout, rows: usize) -> usize {
    // Those of gated outputs are never more.
    split_of(layout, kernels).workspace_bytes(layout.row_tiles(), rows, 1)
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`, to where `out` says.
///
/// Accumulated in f32; within `u*|y| + 2^-20 * sum_k |x||w|` of the exact value, u the unit roundoff of `O` (0 for f32). Row m
/// depends on row m of x only, bit for bit, and not on the number of rows. One kernel; shapes that split k over blocks
/// (those for which [`workspace_bytes`] is not 0) also clear a few counters in `workspace` first. `workspace` may be `None`
/// where it needs 0 bytes, and its contents mean nothing before or after.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for rows, strides, lengths or alignments that do not fit, a stream of another
/// context; [`Error::Unsupported`](crate::Error::Unsupported) exactly when [`super::supported`] is false or a gate is
/// `GeluErf`; errors of loading and launching.
pub fn skinny<'o, 'v: 'o, X: Half16, O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &SkinnyConfig,
    operands: &Operands<'_, X, O>,
    out: impl Into<Output<'o, 'v, O>>,
    mut workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let &SkinnyConfig { rows, x_stride, residual_stride, out_stride, decode } = config;
    let layout = operands.layout;
    let entry = instance::entry(OP, layout, X::DTYPE, decode, rows)?;
    let arguments = Arguments { op: OP, rows };
    let strides = Strides { x: x_stride, residual: residual_stride, out: out_stride };
    let mut call = Call { arguments, strides, operands, output: out.into() };
    call.check(MAX_ROWS)?;
    let mut split = split_of(layout, kernels);
    if let Output::Gated(..) = call.output {
        split = split.paired(layout.row_tiles());
    }
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    arguments.at_least("workspace", split.workspace_bytes(layout.row_tiles(), rows, 1), has)?;
    check_stream(OP, kernels, stream)?;

    let mut bound = call.bind(stream, decode)?;
    bound.params.divide(split);
    let counter_bytes = split.counter_bytes(1);
    let _workspace = if counter_bytes > 0
        && let Some(workspace) = workspace.as_mut()
    {
        stream.memset_zeros(&mut workspace.slice_mut(..counter_bytes))?;
        let (pointer, guard) = workspace.device_ptr_mut(stream);
        arguments.aligned("workspace", pointer, 4)?;
        bound.params.counters = pointer;
        bound.params.partials = pointer + counter_bytes as u64;
        Some(guard)
    } else {
        None
    };
    let grid = (split.columns as u32, split.splits as u32, 1);
    let launch = Launch { op: OP, entry, grid, block: (THREADS, 1, 1), shared: 0 };
    // SAFETY: 1. The buffers are borrowed for the call by the guards, and were checked to hold every element that the
    // kernel reads (weights: all of the layout; x, bias, residual: rows x k or n) or writes (the parts of the output;
    // counters and partials of the workspace). cudarc frees device memory in stream order. 2. The guards live to the end
    // of this function.
    unsafe { launch.run(kernels, stream, &bound.params) }
}
