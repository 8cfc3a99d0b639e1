//! What the products of 8-bit activations share: parameters, checks, the launch.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop};

use super::arguments::Arguments;
use super::operands::Residual;
use super::split::Split;
use crate::error::{Error, Result};
use crate::format::{ByteCode, CodedRows, Element};
use crate::runtime::{Entry, Kernels, Launch, check_stream};

/// The most rows of 8-bit activations in one call.
pub const MAX_CODED_ROWS: usize = 1 << 20;
/// The most rows of a call that keeps its weights in registers for all of them; beyond, x passes through shared memory.
pub(super) const SKINNY_ROWS: usize = 32;
/// Rows of a block of a tiled kernel.
pub(super) const TILED_ROWS: usize = 64;

/// Threads of a block: 8 warps.
const THREADS: u32 = 256;

/// Activations on the device.
pub type Coded<'a> = CodedRows<&'a CudaView<'a, u8>, &'a CudaView<'a, f32>, &'a CudaView<'a, i32>>;

/// Shape of a product of 8-bit activations. Strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodedConfig {
    /// Rows of x and of the output, 1 to [`MAX_CODED_ROWS`].
    pub rows: usize,
    /// From row to row of the residual, at least n.
    pub residual_stride: usize,
    /// From row to row of the output, at least n.
    pub out_stride: usize,
    /// E4M3 by E4M3 only: the product of 8-bit floats of devices from 8.9 on, whose tensor cores sum 32 products with
    /// about 13 bits below the largest of them; these sums are added in f32. It has twice the rate of f16 on 8.9, which many
    /// rows profit from; 9.0 makes it of f16, and devices below 8.9 do as without it.
    pub fast_accumulation: bool,
}

impl CodedConfig {
    /// Contiguous rows of `n` outputs, accumulated exactly.
    pub const fn contiguous(rows: usize, n: usize) -> Self {
        Self { rows, residual_stride: n, out_stride: n, fast_accumulation: false }
    }
}

/// What is added to a product before it is rounded to `O`, once.
#[derive(Clone, Copy)]
pub struct Epilogue<'a, O> {
    /// `[n]`.
    pub bias: Option<&'a CudaView<'a, O>>,
    /// `[rows, n]`.
    pub residual: Residual<'a, O>,
}

impl<O> Default for Epilogue<'_, O> {
    fn default() -> Self {
        Self { bias: None, residual: Residual::None }
    }
}

/// What a launch passes; `Act8Params` of `kernels/matmul/act8.cuh`, where the fields are explained.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Act8Params {
    pub codes: u64,
    pub meta: u64,
    pub zeros: u64,
    pub sums: u64,
    pub x: u64,
    pub x_scale: u64,
    pub x_zero: u64,
    pub bias: u64,
    pub residual: u64,
    pub out: u64,
    pub partials: u64,
    pub counters: u64,
    pub outlier_columns: u64,
    pub outlier_count: u64,
    pub outlier_values: u64,
    pub x_stride: u64,
    pub residual_stride: u64,
    pub out_stride: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub row_tiles: u32,
    pub tiles: u32,
    pub blocks: u32,
    pub x_aligned: u32,
    pub meta_blocks: u32,
    pub meta_shift: u32,
    pub k_warps_log2: u32,
    pub part_blocks: u32,
    pub longer_parts: u32,
    pub out_type: u32,
    pub x_scale_stride: u32,
    pub x_zero_stride: u32,
    pub outlier_cap: u32,
    pub outlier_type: u32,
    pub minus_base: [u32; 4],
    pub reserved: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for Act8Params {}

impl Act8Params {
    /// With rows of 16-bit x at `x`, `stride` elements apart.
    pub fn with_wide_rows(self, x: u64, stride: usize, rows: usize) -> Self {
        let aligned = x.is_multiple_of(16) && (rows == 1 || stride.is_multiple_of(8));
        Self { x, x_stride: stride as u64, x_aligned: u32::from(aligned), ..self }
    }
}

pub(super) type Act8 = Entry<Act8Params>;

/// Kernels of one format by the rows that a block takes: 8, 16, 32, and tiled.
pub(super) struct Family {
    pub skinny: [Act8; 3],
    pub tiled: Option<Act8>,
}

impl Family {
    pub fn entries(&self) -> impl Iterator<Item = &Act8> {
        self.skinny.iter().chain(&self.tiled)
    }

    /// The kernel for so many rows, and how its work is divided.
    pub fn choose(&self, rows: usize, row_tiles: usize, blocks: usize, sm_count: u32) -> Dispatch {
        match self.tiled {
            Some(entry) if rows > SKINNY_ROWS => {
                Dispatch { entry, block_rows: TILED_ROWS, split: Split::along_outputs(row_tiles) }
            }
            _ => {
                let tiles = rows.div_ceil(8).min(4).next_power_of_two();
                let split = Split::new(row_tiles, blocks, sm_count);
                Dispatch { entry: self.skinny[tiles.ilog2() as usize], block_rows: 8 * tiles, split }
            }
        }
    }
}

/// A kernel and its grid.
#[derive(Clone, Copy)]
pub(super) struct Dispatch {
    pub entry: Act8,
    /// Rows of x that a block takes.
    pub block_rows: usize,
    pub split: Split,
}

impl Dispatch {
    fn row_groups(&self, rows: usize) -> usize {
        rows.div_ceil(self.block_rows)
    }

    pub fn workspace_bytes(&self, row_tiles: usize, rows: usize) -> usize {
        self.split.workspace_bytes(row_tiles, rows, self.row_groups(rows))
    }
}

/// The weights of a product.
pub(super) struct Matrix<'a> {
    pub buffer: &'a CudaView<'a, u8>,
    pub bytes: usize,
    pub n: usize,
    pub k: usize,
    pub row_tiles: usize,
    pub tiles: usize,
    pub blocks: usize,
}

/// Refuses fast accumulation, for products that are not of 8-bit floats.
pub(super) fn check_exact(arguments: Arguments, config: &CodedConfig) -> Result<()> {
    if config.fast_accumulation {
        let expected = "false, its products are not of 8-bit floats";
        return Err(Error::argument(arguments.op, "config.fast_accumulation", expected, "true"));
    }
    Ok(())
}

/// Refuses coded rows whose buffers do not hold them.
pub(super) fn check_coded(arguments: Arguments, x: &Coded<'_>, k: usize) -> Result<()> {
    arguments.matrix("x.codes", ("x.row_stride", x.row_stride), k, x.codes.len())?;
    let (_, scales) = x.scale.extent(arguments.rows, k);
    arguments.at_least("x.scale", scales, x.scale.buffer().len())?;
    if let Some(zero) = &x.zero {
        if x.code != ByteCode::Int8 {
            let what = format!("a zero point of {}", x.code.name());
            return Err(Error::unsupported(arguments.op, what, "zero points of int8"));
        }
        arguments.at_least("x.zero", zero.extent(arguments.rows).1, zero.buffer().len())?;
    }
    Ok(())
}

/// Fills in x; the guards are to be alive across the launch. `bytes`: what a row must be a multiple of to be read wide.
pub(super) fn point_to_coded<'a>(
    params: &mut Act8Params,
    stream: &'a CudaStream,
    x: &Coded<'a>,
    (rows, k): (usize, usize),
    bytes: usize,
) -> [Option<SyncOnDrop<'a>>; 3] {
    let (pointer, codes) = x.codes.device_ptr(stream);
    params.x = pointer;
    params.x_stride = x.row_stride as u64;
    params.x_aligned =
        u32::from(pointer.is_multiple_of(bytes as u64) && (rows == 1 || x.row_stride.is_multiple_of(bytes)));
    let (pointer, scale) = x.scale.buffer().device_ptr(stream);
    params.x_scale = pointer;
    params.x_scale_stride = x.scale.extent(rows, k).0 as u32;
    let zero = x.zero.map(|zero| {
        let (pointer, guard) = zero.buffer().device_ptr(stream);
        params.x_zero = pointer;
        params.x_zero_stride = zero.extent(rows).0 as u32;
        guard
    });
    [Some(codes), Some(scale), zero]
}

/// Everything about weights, epilogue, output and workspace that can be known to be wrong without addresses.
pub(super) fn check_rest<O: Element>(
    arguments: Arguments,
    config: &CodedConfig,
    weights: &Matrix<'_>,
    epilogue: &Epilogue<'_, O>,
    out: usize,
    (workspace, needed): (usize, usize),
) -> Result<()> {
    let n = weights.n;
    arguments.at_least("weights", weights.bytes, weights.buffer.len())?;
    if let Some(bias) = epilogue.bias {
        arguments.at_least("bias", n, bias.len())?;
    }
    if let Residual::From(residual) = epilogue.residual {
        arguments.matrix("residual", ("config.residual_stride", config.residual_stride), n, residual.len())?;
    }
    arguments.matrix("out", ("config.out_stride", config.out_stride), n, out)?;
    arguments.at_least("workspace", needed, workspace)
}

/// Launches a product whose arguments were checked. `params` holds x; `format` adds what lies where in the weights.
///
/// # Safety
/// 1. [`check_rest`], and a check of x as `params` describes it, were passed, and the guards of x are alive.
/// 2. `format` sets offsets within the weights' buffer.
#[allow(clippy::too_many_arguments)] // What three operations share; private.
pub(super) unsafe fn launch<O: Element>(
    arguments: Arguments,
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    dispatch: &Dispatch,
    config: &CodedConfig,
    weights: &Matrix<'_>,
    epilogue: &Epilogue<'_, O>,
    params: Act8Params,
    format: impl FnOnce(&mut Act8Params),
    out: &mut CudaViewMut<'_, O>,
    mut workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    check_stream(arguments.op, kernels, stream)?;
    let split = dispatch.split;
    let row_groups = dispatch.row_groups(config.rows);
    let (out_pointer, _out) = out.device_ptr_mut(stream);
    let (codes, _weights) = weights.buffer.device_ptr(stream);
    let bias = epilogue.bias.map(|bias| bias.device_ptr(stream));
    let residual = match epilogue.residual {
        Residual::From(residual) => Some(residual.device_ptr(stream)),
        Residual::None | Residual::Output => None,
    };
    arguments.aligned("weights", codes, 16)?;
    let (residual_pointer, residual_stride) = match epilogue.residual {
        Residual::Output => (out_pointer, config.out_stride),
        _ => (residual.as_ref().map_or(0, |residual| residual.0), config.residual_stride),
    };
    let mut params = Act8Params {
        codes,
        bias: bias.as_ref().map_or(0, |bias| bias.0),
        residual: residual_pointer,
        out: out_pointer,
        residual_stride: residual_stride as u64,
        out_stride: config.out_stride as u64,
        m: config.rows as u32,
        n: weights.n as u32,
        k: weights.k as u32,
        row_tiles: weights.row_tiles as u32,
        tiles: weights.tiles as u32,
        blocks: weights.blocks as u32,
        k_warps_log2: split.k_warps.ilog2(),
        part_blocks: (weights.blocks / split.parts()) as u32,
        longer_parts: (weights.blocks % split.parts()) as u32,
        out_type: O::DTYPE as u32,
        ..params
    };
    format(&mut params);
    let counter_bytes = split.counter_bytes(row_groups);
    let _workspace = if counter_bytes > 0
        && let Some(workspace) = workspace.as_mut()
    {
        stream.memset_zeros(&mut workspace.slice_mut(..counter_bytes))?;
        let (pointer, guard) = workspace.device_ptr_mut(stream);
        arguments.aligned("workspace", pointer, 4)?;
        params.counters = pointer;
        params.partials = pointer + counter_bytes as u64;
        Some(guard)
    } else {
        None
    };
    let grid = (split.columns as u32, split.splits as u32, row_groups as u32);
    let launch = Launch { op: arguments.op, entry: dispatch.entry, grid, block: (THREADS, 1, 1), shared: 0 };
    // SAFETY: 1. The buffers are borrowed for the call by the guards, the caller's and those above, and were checked to
    // hold every element that the kernel reads or writes. cudarc frees device memory in stream order. 2. The guards live
    // to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
