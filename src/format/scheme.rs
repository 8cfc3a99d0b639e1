//! How a matrix is coded: the code of an element, and what one scale covers.

use crate::error::{Error, Result};
use crate::format::Code;

/// What one scale covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// The whole matrix.
    Tensor,
    /// A row: one token, or one (token, head).
    Row,
    /// A column: one channel.
    Column,
    /// This many consecutive elements of a row; must divide the columns. With the head dimension as the group, a scale
    /// per token and head.
    Group(usize),
    /// This many consecutive rows (tokens) of one column; must divide the rows. KIVI's keys.
    TokenGroup(usize),
}

/// A code and what one scale of it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// The code of an element.
    pub code: Code,
    /// What one scale covers.
    pub axis: Axis,
}

/// A row-major matrix whose rows may lie further apart than they are long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Elements from one row's start to the next's; at least `cols`.
    pub row_stride: usize,
}

/// The most elements of a matrix, with the gaps between its rows.
const MOST: usize = 1 << 37;

impl Matrix {
    /// Rows without gaps.
    pub const fn dense(rows: usize, cols: usize) -> Matrix {
        Matrix { rows, cols, row_stride: cols }
    }

    /// Elements from the first to one past the last.
    pub const fn span(&self) -> usize {
        if self.rows == 0 || self.cols == 0 { 0 } else { (self.rows - 1) * self.row_stride + self.cols }
    }

    /// Checks the shape itself, and a buffer's name and length against it.
    ///
    /// # Errors
    /// [`Error::Argument`]: rows that overlap, more elements than kernels can number, too short a buffer.
    pub fn validate(&self, op: &'static str, (name, len): (&'static str, usize)) -> Result<()> {
        let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
        let Matrix { rows, cols, row_stride } = *self;
        if rows > 1 && row_stride < cols {
            return wrong("shape.row_stride", format!("at least the {cols} columns"), row_stride.to_string());
        }
        let limit = i32::MAX as usize;
        if rows > limit || cols > limit || rows.checked_mul(row_stride.max(cols)).is_none_or(|n| n > MOST) {
            return wrong("shape", format!("at most {limit} rows and columns, 2^37 elements"), format!("{self:?}"));
        }
        if len < self.span() {
            return wrong(name, format!("at least {} elements", self.span()), len.to_string());
        }
        Ok(())
    }
}

impl Scheme {
    /// Bytes of one row of codes.
    pub const fn row_bytes(&self, cols: usize) -> usize {
        (cols * self.code.bits()).div_ceil(8)
    }

    /// Number of scales, in this order: rows (or groups of rows) first, then columns (or groups of columns).
    pub const fn regions(&self, shape: Matrix) -> usize {
        match self.axis {
            Axis::Tensor => 1,
            Axis::Row => shape.rows,
            Axis::Column => shape.cols,
            Axis::Group(size) => shape.rows * (shape.cols / size),
            Axis::TokenGroup(size) => shape.rows / size * shape.cols,
        }
    }

    /// The region of element (`row`, `col`).
    pub const fn region(&self, shape: Matrix, row: usize, col: usize) -> usize {
        match self.axis {
            Axis::Tensor => 0,
            Axis::Row => row,
            Axis::Column => col,
            Axis::Group(size) => row * (shape.cols / size) + col / size,
            Axis::TokenGroup(size) => row / size * shape.cols + col,
        }
    }
}
