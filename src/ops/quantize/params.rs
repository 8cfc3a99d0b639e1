//! The parameters of a launch, and how a matrix is cut into blocks.

use cudarc::driver::DeviceRepr;

use crate::error::{Error, Result};
use crate::format::{Axis, Code, DType, Matrix, ScaleKind, Scheme};

/// Threads of a block, as in the elementwise kernels.
pub(super) const BLOCK: u32 = 256;
/// Threads that may share a segment in `quantize/rows`.
const MOST_LANES: u32 = 512;
/// Chunks that each of them holds; of the block formats.
const HELD: u32 = 8;
const HELD_OF_BLOCKS: u32 = 4;
/// Bytes that memory moves at once.
const SECTOR: u32 = 32;
/// Bytes of a row that a block of `quantize/tokens` takes at once: eight chunks.
const TOKEN_TILE_BYTES: u32 = 8 * 16;
/// Blocks enough for any device; beyond, each takes several rows.
const ENOUGH_BLOCKS: u32 = 4096;
/// Rows of a block at least, where scales are those of columns.
const COLUMN_ROWS: u32 = 32;
const MOST_GRID_Y: u32 = 65_535;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct QuantizeParams {
    pub x: u64,
    pub codes: u64,
    pub scale: u64,
    pub min: u64,
    pub row_stride: u64,
    pub row_bytes: u64,
    pub seed: u64,
    pub rows: u32,
    pub cols: u32,
    pub segment: u32,
    pub per_row: u32,
    pub lanes_log2: u32,
    pub across_log2: u32,
    pub below: u32,
    pub chunk_bytes: u32,
    pub code_bytes: u32,
    pub gather: u32,
    pub block_rows: u32,
    pub axis: u32,
    pub dtype: u32,
    pub aligned: u32,
    pub clip: f32,
    pub top: f32,
}

// SAFETY: `repr(C)`, plain numbers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for QuantizeParams {}

/// Where the buffers of a call lie.
pub(super) struct Addresses {
    pub x: u64,
    pub codes: u64,
    pub scale: u64,
    pub min: u64,
}

/// How a launch is cut.
pub(super) struct Cut {
    pub grid: (u32, u32, u32),
    pub block: (u32, u32, u32),
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

impl Cut {
    /// Blocks of [`BLOCK`] threads, in x and y.
    pub(super) const fn plain((x, y): (u32, u32)) -> Self {
        Self { grid: (x, y, 1), block: (BLOCK, 1, 1), shared: 0 }
    }
}

impl QuantizeParams {
    pub(super) fn new(scheme: Scheme, shape: Matrix, dtype: DType, at: Addresses, clip: f32, seed: u64) -> Self {
        let row_bytes = scheme.row_bytes(shape.cols);
        let several = shape.rows > 1;
        // Eight codes take as many bytes as a code has bits.
        let eight = scheme.code.bits() as u64;
        let aligned = at.x.is_multiple_of(16)
            && shape.cols.is_multiple_of(8)
            && (!several || (shape.row_stride * dtype.bytes()).is_multiple_of(16))
            && at.codes.is_multiple_of(eight)
            && (!several || (row_bytes as u64).is_multiple_of(eight));
        let (axis, segment) = match scheme.axis {
            Axis::Tensor => (0, shape.cols),
            Axis::Row => (1, shape.cols),
            Axis::Column => (2, shape.cols),
            Axis::Group(size) => (3, size),
            Axis::TokenGroup(size) => (4, size),
        };
        let per_row = if axis == 4 { 1 } else { shape.cols / segment };
        Self {
            x: at.x,
            codes: at.codes,
            scale: at.scale,
            min: at.min,
            row_stride: shape.row_stride as u64,
            row_bytes: row_bytes as u64,
            seed,
            rows: shape.rows as u32,
            cols: shape.cols as u32,
            segment: segment as u32,
            per_row: per_row as u32,
            lanes_log2: 0,
            across_log2: 0,
            below: 0,
            chunk_bytes: 0,
            code_bytes: 0,
            gather: 0,
            block_rows: 0,
            axis,
            dtype: dtype as u32,
            aligned: aligned.into(),
            clip,
            top: match scheme.code.scale_kind() {
                ScaleKind::E4m3UnderF32 => 6.0 * 448.0,
                _ => scheme.code.top(),
            },
        }
    }

    fn element_bytes(&self) -> u32 {
        if self.dtype == DType::F32 as u32 { 4 } else { 2 }
    }

    fn chunk(&self) -> u32 {
        16 / self.element_bytes()
    }

    /// For the kernels where a thread owns a chunk of columns: sets the rows of a block.
    pub(super) fn elementwise(&mut self) -> Cut {
        let across = u64::from(self.cols).div_ceil(u64::from(self.chunk() * BLOCK)) as u32;
        let down = self.rows.min((ENOUGH_BLOCKS / across).clamp(1, MOST_GRID_Y));
        // A scale a column is loaded, or raised, once a block.
        let least = if self.axis == 2 { COLUMN_ROWS } else { 1 };
        self.block_rows = self.rows.div_ceil(down).max(least);
        Cut::plain((across, self.rows.div_ceil(self.block_rows)))
    }

    /// For the kernels where lanes share a segment of a row: sets how many, and how segments lie in a block.
    pub(super) fn by_segment(&mut self, op: &'static str, code: Code) -> Result<Cut> {
        let chunks = self.segment.div_ceil(self.chunk());
        let blocks = code.block().is_some();
        let holds = if blocks { HELD_OF_BLOCKS } else { HELD };
        let enough = chunks.div_ceil(holds).next_power_of_two().clamp(2, MOST_LANES);
        // Of a chunk, bytes of codes.
        let unit = self.chunk() * code.bits() as u32 / 8;
        // Lanes whose codes fill a sector at once; but where neighbours can exchange codes, as few as hold the segment.
        let gathers = match (self.element_bytes(), unit, blocks) {
            (2, 2 | 4, false) if chunks.is_multiple_of(enough) => gathered(chunks / enough, enough, unit),
            _ => 1,
        };
        // One store takes them all. Rows and segments are whole multiples of it, so the first has to be in its place.
        let gathers = if self.codes.is_multiple_of((gathers * unit).into()) { gathers } else { 1 };
        let lanes = match chunks {
            0..=1 => 1,
            _ if gathers > 1 => enough,
            _ => enough.max((SECTOR / unit).min(chunks.next_power_of_two())),
        };
        let block = if lanes > 32 { lanes } else { BLOCK };
        let segments = block / lanes;
        let across = self.per_row.next_power_of_two().min(segments);
        (self.lanes_log2, self.across_log2) = (lanes.ilog2(), across.ilog2());
        let held = self.aligned != 0 && chunks.div_ceil(lanes) <= holds;
        self.gather = if held { gathers } else { 0 };
        (self.chunk_bytes, self.code_bytes) = (16 * lanes, lanes * unit);
        let wide = grid_x(op, self.per_row.into(), across.into())?;
        let down = self.rows.div_ceil(segments / across).min((ENOUGH_BLOCKS / wide).max(1));
        self.below = down * (segments / across);
        Ok(Cut { grid: (wide, down, 1), block: (block, 1, 1), shared: 0 })
    }

    /// For the kernel of groups of tokens.
    pub(super) fn by_tokens(&self, code: Code) -> Cut {
        let row_bytes = u64::from(self.cols) * u64::from(self.element_bytes());
        let down = (self.rows / self.segment).min(MOST_GRID_Y);
        // A tile's bytes of codes in a row; of several tiles they wait until they are a sector.
        let unit = self.chunk() * code.bits() as u32 / 8;
        let turns = (SECTOR / (TOKEN_TILE_BYTES / 16 * unit)).max(1);
        let cut = Cut::plain((row_bytes.div_ceil(u64::from(turns * TOKEN_TILE_BYTES)) as u32, down));
        let staged = if turns > 1 { SECTOR } else { 0 };
        Cut { shared: self.segment * (TOKEN_TILE_BYTES + staged), ..cut }
    }
}

/// How many chunks' codes, `unit` bytes each, a lane stores at once so that `lanes` lanes with `slots` chunks each fill
/// sectors (`quantize/gather.cuh`); 1 where they do as it is, or cannot.
const fn gathered(slots: u32, lanes: u32, unit: u32) -> u32 {
    let most = match lanes {
        2 => 16 / unit,
        // All lanes store neighbours, two each.
        _ if lanes * unit < SECTOR && 2 * lanes * unit >= SECTOR => 2,
        _ => 1,
    };
    if slots.is_power_of_two() && slots < most {
        slots
    } else if slots.is_multiple_of(most) {
        most
    } else {
        1
    }
}

/// Blocks in x for `units`.
pub(super) fn grid_x(op: &'static str, units: u64, per_block: u64) -> Result<u32> {
    match i32::try_from(units.div_ceil(per_block)) {
        Ok(blocks) => Ok(blocks as u32),
        Err(_) => {
            let most = per_block * i32::MAX as u64;
            Err(Error::argument(op, "shape", format!("at most {most} scales"), units.to_string()))
        }
    }
}
