//! How a matrix is coded: the code of an element, and what one scale covers.

use crate::error::{Error, Result};
use crate::format::Fp8;

/// The code of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Symmetric integer of 8 bits, two's complement, -127..=127; f32 scale.
    Int8,
    /// Symmetric integer of 4 bits, two's complement, -7..=7; f32 scale.
    Int4,
    /// 8-bit float; f32 scale.
    Fp8(Fp8),
    /// Asymmetric integer of 8 bits, 0..=255; f16 scale and minimum.
    Uint8,
    /// Asymmetric integer of 4 bits, 0..=15; f16 scale and minimum.
    Uint4,
    /// Asymmetric integer of 2 bits, 0..=3; f16 scale and minimum.
    Uint2,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 7] =
        [Code::Int8, Code::Int4, Code::Fp8(Fp8::E4m3), Code::Fp8(Fp8::E5m2), Code::Uint8, Code::Uint4, Code::Uint2];

    /// Bits of one code. Codes are packed least significant bits first; every row starts at a whole byte.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int8 | Self::Fp8(_) | Self::Uint8 => 8,
            Self::Int4 | Self::Uint4 => 4,
            Self::Uint2 => 2,
        }
    }

    /// The largest code's value: the divisor of amax, or of max - min.
    pub const fn top(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Int4 => 7.0,
            Self::Fp8(format) => format.max(),
            Self::Uint8 => 255.0,
            Self::Uint4 => 15.0,
            Self::Uint2 => 3.0,
        }
    }

    /// Whether a region has an f16 scale and an f16 minimum instead of one f32 scale.
    pub const fn asymmetric(self) -> bool {
        matches!(self, Self::Uint8 | Self::Uint4 | Self::Uint2)
    }

    /// Name as in the kernels: `int8`, `e4m3`, `uint4`...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Fp8(format) => format.name(),
            Self::Uint8 => "uint8",
            Self::Uint4 => "uint4",
            Self::Uint2 => "uint2",
        }
    }
}

/// What one scale covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// The whole matrix.
    Tensor,
    /// A row: one token, or one (token, head).
    Row,
    /// A column: one channel.
    Column,
    /// This many consecutive elements of a row; must divide the columns.
    Group(usize),
}

/// A code and what one scale of it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// The code of an element.
    pub code: Code,
    /// What one scale covers.
    pub axis: Axis,
}

/// Scales as f32, or as f16 with f16 minima: `F` and `H` are slices or device views of these.
///
/// The order of regions: rows before groups, groups in column order.
#[derive(Debug)]
pub enum Scales<F, H> {
    /// Of the symmetric codes.
    Symmetric(F),
    /// Of the asymmetric codes.
    Asymmetric {
        /// Value of one step.
        scale: H,
        /// Value of code 0.
        min: H,
    },
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
        if rows > limit || cols > limit || rows.checked_mul(row_stride.max(cols)).is_none_or(|n| n > limit * 64) {
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

    /// Number of scales.
    pub const fn regions(&self, shape: Matrix) -> usize {
        match self.axis {
            Axis::Tensor => 1,
            Axis::Row => shape.rows,
            Axis::Column => shape.cols,
            Axis::Group(size) => shape.rows * (shape.cols / size),
        }
    }

    /// The region of element (`row`, `col`).
    pub const fn region(&self, shape: Matrix, row: usize, col: usize) -> usize {
        match self.axis {
            Axis::Tensor => 0,
            Axis::Row => row,
            Axis::Column => col,
            Axis::Group(size) => row * (shape.cols / size) + col / size,
        }
    }

    /// Checks the shape and every length against it.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument; [`Error::Unsupported`] for an asymmetric code per tensor or column.
    pub fn validate(&self, op: &'static str, shape: Matrix, lengths: Lengths) -> Result<()> {
        let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
        let Matrix { rows, cols, row_stride } = shape;
        if rows > 1 && row_stride < cols {
            return wrong("shape.row_stride", format!("at least the {cols} columns"), row_stride.to_string());
        }
        let limit = i32::MAX as usize;
        if rows > limit || cols > limit || rows.checked_mul(row_stride.max(cols)).is_none_or(|n| n > limit * 64) {
            return wrong("shape", format!("at most {limit} rows and columns, 2^37 elements"), format!("{shape:?}"));
        }
        match self.axis {
            Axis::Group(size) if !(8..=1024).contains(&size) || !size.is_multiple_of(8) => {
                return wrong("scheme.axis", "a group of 8 to 1024 elements, a multiple of 8".into(), size.to_string());
            }
            Axis::Group(size) if !cols.is_multiple_of(size) => {
                return wrong("shape.cols", format!("a multiple of the group of {size}"), cols.to_string());
            }
            Axis::Tensor | Axis::Column if self.code.asymmetric() => {
                return Err(Error::unsupported(
                    op,
                    format!("{} per {}", self.code.name(), if self.axis == Axis::Tensor { "tensor" } else { "column" }),
                    "int8, int4, e4m3, e5m2 per tensor, row, column or group; uint8, uint4, uint2 per row or group",
                ));
            }
            _ => {}
        }
        if lengths.elements < shape.span() {
            return wrong(
                lengths.element_name,
                format!("at least {} elements", shape.span()),
                lengths.elements.to_string(),
            );
        }
        let bytes = rows * self.row_bytes(cols);
        if lengths.codes < bytes {
            return wrong("codes", format!("at least {bytes} bytes"), lengths.codes.to_string());
        }
        let regions = self.regions(shape);
        match (&lengths.scales, self.code.asymmetric()) {
            (Scales::Symmetric(scales), false) if *scales >= regions => Ok(()),
            (Scales::Asymmetric { scale, min }, true) if *scale >= regions && *min >= regions => Ok(()),
            (Scales::Symmetric(scales), false) => {
                wrong("scales", format!("at least {regions} f32"), scales.to_string())
            }
            (Scales::Asymmetric { scale, min }, true) => {
                wrong("scales", format!("at least {regions} f16 scales and minima"), format!("{scale} and {min}"))
            }
            (_, false) => {
                wrong("scales", format!("f32 scales for {}", self.code.name()), "f16 scales and minima".into())
            }
            (_, true) => {
                wrong("scales", format!("f16 scales and minima for {}", self.code.name()), "f32 scales".into())
            }
        }
    }
}

/// What came with a call, for [`Scheme::validate`].
#[derive(Debug)]
pub struct Lengths {
    /// Name of the argument with the real numbers: `x` or `out`.
    pub element_name: &'static str,
    /// Real numbers.
    pub elements: usize,
    /// Bytes of codes.
    pub codes: usize,
    /// Scales, or scales and minima.
    pub scales: Scales<usize, usize>,
}

/// Reads code `index` of a row packed least significant bits first.
pub fn unpack(row: &[u8], bits: usize, index: usize) -> u8 {
    let bit = index * bits;
    (row[bit / 8] >> (bit % 8)) & (0xFF >> (8 - bits))
}

/// Writes code `index` of a row packed least significant bits first; the other bits of its byte stay.
pub fn pack(row: &mut [u8], bits: usize, index: usize, code: u8) {
    let (bit, mask) = (index * bits, 0xFF >> (8 - bits));
    let byte = &mut row[bit / 8];
    *byte = (*byte & !(mask << (bit % 8))) | ((code & mask) << (bit % 8));
}
