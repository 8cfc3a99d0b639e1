//! Activations in the order of sorted weights (act-order).

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr};

use super::arguments::Arguments;
use super::tiled::MAX_TILED_ROWS;
use crate::error::Result;
use crate::format::Half16;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};

const OP: &str = "matmul::arrange";
const THREADS: usize = 256;

/// `ArrangeParams` of `kernels/matmul/arrange.cu`, where the fields are explained.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ArrangeParams {
    x: u64,
    order: u64,
    out: u64,
    x_stride: u64,
    out_stride: u64,
    rows: u32,
    inputs: u32,
    positions: u32,
    aligned: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for ArrangeParams {}

const ENTRY: Entry<ArrangeParams> = Entry::new("matmul/arrange", "arrange");

/// The lines of the launch table.
pub(super) fn entries() -> [EntryRow; 1] {
    [ENTRY.row()]
}

/// Shape of a call. Strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrangeConfig {
    /// Rows of x, 1 to [`MAX_TILED_ROWS`].
    pub rows: usize,
    /// Elements of a row of x ([`Imported::inputs`](crate::weights::Imported::inputs)).
    pub inputs: usize,
    /// Positions of the weights, k of their layout; a row of the output.
    pub positions: usize,
    /// From row to row of x, at least `inputs`.
    pub x_stride: usize,
    /// From row to row of the output, at least `positions`. A multiple of 8 is written, and read by the product, faster.
    pub out_stride: usize,
}

impl ArrangeConfig {
    /// Contiguous rows of x; rows of the output at multiples of 16 bytes.
    pub fn contiguous(rows: usize, inputs: usize, positions: usize) -> Self {
        Self { rows, inputs, positions, x_stride: inputs, out_stride: positions.next_multiple_of(8) }
    }
}

/// `out[r][j] = x[r][order[j]]`, and 0 where `order[j]` is not below `inputs`, such as [`PADDING`](crate::weights::PADDING):
/// the activations that weights with an [`Imported::order`](crate::weights::Imported::order) multiply. `x` is `[rows, inputs]`,
/// `order` `[positions]`, `out` `[rows, positions]`; elements of `out` between rows are not written. Defined by
/// [`crate::reference::matmul::arrange`].
///
/// Once per layer's input and order: a product reads x once for every 16 outputs, and would have to gather it each time.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for rows, strides or lengths that do not fit, a stream of another context;
/// errors of loading and launching.
pub fn arrange<X: Half16>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &ArrangeConfig,
    order: &CudaView<'_, u32>,
    x: &CudaView<'_, X>,
    out: &mut CudaViewMut<'_, X>,
) -> Result<()> {
    let &ArrangeConfig { rows, inputs, positions, x_stride, out_stride } = config;
    let arguments = Arguments { op: OP, rows };
    arguments.rows(MAX_TILED_ROWS)?;
    for (argument, value) in [("config.inputs", inputs), ("config.positions", positions)] {
        arguments.within(argument, 1..=1 << 24, value)?;
    }
    arguments.at_least("order", positions, order.len())?;
    arguments.matrix("x", ("config.x_stride", x_stride), inputs, x.len())?;
    arguments.matrix("out", ("config.out_stride", out_stride), positions, out.len())?;
    check_stream(OP, kernels, stream)?;
    let (x, _x) = x.device_ptr(stream);
    let (order, _order) = order.device_ptr(stream);
    let (out, _out) = out.device_ptr_mut(stream);
    let aligned = order.is_multiple_of(16) && out.is_multiple_of(16) && (rows == 1 || out_stride.is_multiple_of(8));
    let params = ArrangeParams {
        x,
        order,
        out,
        x_stride: x_stride as u64,
        out_stride: out_stride as u64,
        rows: rows as u32,
        inputs: inputs as u32,
        positions: positions as u32,
        aligned: u32::from(aligned),
    };
    let grid = (positions.div_ceil(8 * THREADS) as u32, rows.min(65_535) as u32, 1);
    let launch = Launch { op: OP, entry: ENTRY, grid, block: (THREADS as u32, 1, 1), shared: 0 };
    // SAFETY: 1. The buffers are borrowed for the call by the guards, and were checked to hold every element that the
    // kernel reads (an index of x is compared with `inputs` first) or writes. 2. The guards live to the end of this function.
    unsafe { launch.run(kernels, stream, &params) }
}
