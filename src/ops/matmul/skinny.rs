//! The wrapper of the skinny product: checks, the split of the work, the launch.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut};

use super::instance::{self, SkinnyParams};
use super::split::Split;
use crate::error::{Error, Result};
use crate::format::{DType, Element, Half16};
use crate::runtime::{Kernels, Launch, check_stream};
use crate::weights::{PackedLayout, WeightFormat, ZeroPoint};

const OP: &str = "matmul::skinny";

/// The most rows of x in one call.
pub const MAX_ROWS: usize = 8;

/// Threads of a block: 8 warps.
const THREADS: u32 = 256;

/// How codes become operands of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decode {
    /// The zero is removed by a second product. What engines want.
    #[default]
    Fast,
    /// The zero is subtracted from every weight; about a fifth more instructions. To compare with.
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
    /// From row to row of the output, at least n.
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

/// What is added to the product before it is rounded.
#[derive(Clone, Copy)]
pub enum Residual<'a, O> {
    /// Nothing.
    None,
    /// `[rows, n]` from another buffer.
    From(&'a CudaView<'a, O>),
    /// What the output holds (with `residual_stride` not used).
    Output,
}

/// What a call reads. The product is rounded to `O` once, after bias and residual.
#[derive(Clone, Copy)]
pub struct Operands<'a, X, O> {
    /// Shape and format of the weights.
    pub layout: &'a PackedLayout,
    /// The packed buffer, [`PackedLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`.
    pub x: &'a CudaView<'a, X>,
    /// `[n]`.
    pub bias: Option<&'a CudaView<'a, O>>,
    /// `[rows, n]`.
    pub residual: Residual<'a, O>,
}

fn split_of(layout: &PackedLayout, kernels: &Kernels) -> Split {
    Split::new(layout.row_tiles(), layout.blocks(), kernels.sm_count())
}

/// Bytes of workspace that [`skinny`] needs; 0 for most shapes.
pub fn workspace_bytes(kernels: &Kernels, layout: &PackedLayout, rows: usize) -> usize {
    split_of(layout, kernels).workspace_bytes(layout.row_tiles(), rows, 1)
}

fn at_least(argument: &'static str, least: usize, found: usize) -> Result<()> {
    if found >= least {
        return Ok(());
    }
    Err(Error::argument(OP, argument, format!("at least {least}"), found.to_string()))
}

/// Elements of `rows` rows of `columns`, `stride` apart.
fn extent(argument: &'static str, rows: usize, stride: usize, columns: usize) -> Result<usize> {
    (rows - 1)
        .checked_mul(stride)
        .and_then(|start| start.checked_add(columns))
        .filter(|&e| e <= isize::MAX as usize / 4)
        .ok_or_else(|| {
            Error::argument(OP, argument, "a matrix that fits the address space", format!("{rows} rows {stride} apart"))
        })
}

/// Everything that can be known to be wrong without the device's addresses.
fn check<X: Half16, O: Element>(
    config: &SkinnyConfig,
    operands: &Operands<'_, X, O>,
    out: usize,
    (workspace, workspace_needed): (usize, usize),
) -> Result<()> {
    let (n, k, rows) = (operands.layout.n(), operands.layout.k(), config.rows);
    if rows == 0 || rows > MAX_ROWS {
        return Err(Error::argument(OP, "config.rows", format!("1 to {MAX_ROWS}"), rows.to_string()));
    }
    at_least("config.x_stride", k, config.x_stride)?;
    at_least("config.out_stride", n, config.out_stride)?;
    at_least("weights", operands.layout.bytes(), operands.weights.len())?;
    at_least("x", extent("config.x_stride", rows, config.x_stride, k)?, operands.x.len())?;
    if let Some(bias) = operands.bias {
        at_least("bias", n, bias.len())?;
    }
    if let Residual::From(residual) = operands.residual {
        at_least("config.residual_stride", n, config.residual_stride)?;
        at_least("residual", extent("config.residual_stride", rows, config.residual_stride, n)?, residual.len())?;
    }
    at_least("out", extent("config.out_stride", rows, config.out_stride, n)?, out)?;
    at_least("workspace", workspace_needed, workspace)
}

fn aligned(argument: &'static str, pointer: u64, to: u64) -> Result<()> {
    if pointer.is_multiple_of(to) {
        return Ok(());
    }
    Err(Error::argument(OP, argument, format!("a start at a multiple of {to} bytes"), format!("{pointer:#x}")))
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`.
///
/// Accumulated in f32; within `u*|y| + 2^-20 * sum_k |x||w|` of the exact value, u the unit roundoff of `O` (0 for f32). Row m
/// depends on row m of x only, bit for bit. One kernel; shapes that split k over blocks (those for which
/// [`workspace_bytes`] is not 0) also clear a few counters in `workspace` first. `workspace` may be `None` where it
/// needs 0 bytes, and its contents mean nothing before or after.
///
/// # Errors
/// [`Error::Argument`] for rows, strides, lengths or alignments that do not fit, a stream of another context;
/// [`Error::Unsupported`] exactly when [`super::supported`] is false; errors of loading and launching.
pub fn skinny<X: Half16, O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &SkinnyConfig,
    operands: &Operands<'_, X, O>,
    out: &mut CudaViewMut<'_, O>,
    mut workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let layout = operands.layout;
    let entry = instance::entry(OP, layout, X::DTYPE, config.decode)?;
    let split = split_of(layout, kernels);
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    check(config, operands, out.len(), (has, split.workspace_bytes(layout.row_tiles(), config.rows, 1)))?;
    check_stream(OP, kernels, stream)?;

    let counters_len = split.counter_bytes(1);
    let (out_pointer, _out) = out.device_ptr_mut(stream);
    let (weights, _weights) = operands.weights.device_ptr(stream);
    let (x, _x) = operands.x.device_ptr(stream);
    let bias = operands.bias.map(|bias| bias.device_ptr(stream));
    let residual = match operands.residual {
        Residual::From(residual) => Some(residual.device_ptr(stream)),
        Residual::None | Residual::Output => None,
    };
    aligned("weights", weights, 16)?;
    let parts = split.parts();
    let mut params = SkinnyParams {
        codes: weights,
        meta: weights + layout.scales_at() as u64,
        zeros: weights + layout.zeros_at() as u64,
        x,
        bias: bias.as_ref().map_or(0, |bias| bias.0),
        residual: match operands.residual {
            Residual::Output => out_pointer,
            _ => residual.as_ref().map_or(0, |residual| residual.0),
        },
        out: out_pointer,
        x_stride: config.x_stride as u64,
        residual_stride: match operands.residual {
            Residual::Output => config.out_stride as u64,
            _ => config.residual_stride as u64,
        },
        out_stride: config.out_stride as u64,
        m: config.rows as u32,
        n: layout.n() as u32,
        k: layout.k() as u32,
        row_tiles: layout.row_tiles() as u32,
        tiles: layout.tiles() as u32,
        blocks: layout.blocks() as u32,
        x_aligned: u32::from(x.is_multiple_of(16) && (config.rows == 1 || config.x_stride.is_multiple_of(8))),
        meta_blocks: layout.records() as u32,
        meta_shift: meta_shift(layout),
        k_warps_log2: split.k_warps.ilog2(),
        out_type: O::DTYPE as u32,
        part_blocks: (layout.blocks() / parts) as u32,
        longer_parts: (layout.blocks() % parts) as u32,
        minus_base: minus_base(layout, X::DTYPE),
        ..SkinnyParams::default()
    };
    let _workspace = if counters_len > 0
        && let Some(workspace) = workspace.as_mut()
    {
        stream.memset_zeros(&mut workspace.slice_mut(..counters_len))?;
        let (pointer, guard) = workspace.device_ptr_mut(stream);
        aligned("workspace", pointer, 4)?;
        params.counters = pointer;
        params.partials = pointer + counters_len as u64;
        Some(guard)
    } else {
        None
    };
    let grid = (split.columns as u32, split.splits as u32, 1);
    let launch = Launch { op: OP, entry, grid, block: (THREADS, 1, 1), shared: 0 };
    // SAFETY: 1. The buffers are borrowed for the call by the guards, and were checked to hold every element that the
    // kernel reads (weights: all of the layout; x, bias, residual: rows x k or n) or writes (out; counters and partials
    // of the workspace). cudarc frees device memory in stream order. 2. The guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}

/// Block b of k uses record `b >> meta_shift` where records are groups; one group: record 0.
fn meta_shift(layout: &PackedLayout) -> u32 {
    if layout.groups() == 1 { 31 } else { (layout.group() / layout.format().block_k()).max(1).ilog2() }
}

/// What the kernel takes from the decoded codes of register i of the A operand, when the stored zero is 0: two halves
/// `-plus` in the units of the decode (`Code4` in w4.cuh), bf16 less its bias. The kernel adds the stored zero.
fn minus_base(layout: &PackedLayout, x: DType) -> [u32; 4] {
    let plus = match layout.format() {
        WeightFormat::Int4(ZeroPoint::Bits4 { plus }) => u32::from(plus),
        _ => 0,
    };
    let (low, high) = match x {
        DType::F16 => (0x8000 + (plus << 6), 0x8000 + (plus << 2)),
        _ => (0xbf80 + (plus << 3), 0xbf80 + (plus << 3)),
    };
    [low, high, low, high].map(|half| half << 16 | half)
}
