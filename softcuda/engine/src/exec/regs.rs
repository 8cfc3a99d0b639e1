//! The registers of one warp: a structure of arrays, 32 lanes a register.
//!
//! Three files: 32-bit cells (16-bit registers live in the low half, the upper half zero), 64-bit cells, and predicates as
//! lane masks. Slot 0 of each takes what is written to `_`.

use super::shadow::Shadow;

/// The files of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum File {
    /// 16- and 32-bit registers.
    #[default]
    R32,
    /// 64-bit registers.
    R64,
    /// Predicates.
    Pred,
}

/// The registers of one warp.
#[derive(Default)]
pub struct Regs {
    /// 16- and 32-bit registers.
    pub r32: Vec<[u32; 32]>,
    /// 64-bit registers.
    pub r64: Vec<[u64; 32]>,
    /// Predicates, a bit a lane.
    pub pred: Vec<u32>,
    /// Which bytes of them were never written; empty when nobody asks.
    pub shadow: Shadow,
}

/// A value of one lane, and the file it lives in.
pub trait Lane: Copy {
    /// What the file holds for a lane.
    type Cell: Copy + Default;
    /// The register's cells.
    fn cells(regs: &Regs, slot: u32) -> &[Self::Cell; 32];
    /// The register's cells.
    fn cells_mut(regs: &mut Regs, slot: u32) -> &mut [Self::Cell; 32];
    /// The value in a cell.
    fn from_cell(cell: Self::Cell) -> Self;
    /// The cell of a value.
    fn cell(self) -> Self::Cell;
}

macro_rules! lane {
    ($($t:ty, $cell:ty, $file:ident, $from:expr, $to:expr;)*) => {$(
        impl Lane for $t {
            type Cell = $cell;
            #[inline(always)]
            fn cells(regs: &Regs, slot: u32) -> &[$cell; 32] {
                &regs.$file[slot as usize]
            }
            #[inline(always)]
            fn cells_mut(regs: &mut Regs, slot: u32) -> &mut [$cell; 32] {
                &mut regs.$file[slot as usize]
            }
            #[inline(always)]
            fn from_cell(cell: $cell) -> $t {
                $from(cell)
            }
            #[inline(always)]
            fn cell(self) -> $cell {
                $to(self)
            }
        }
    )*};
}
lane! {
    u16, u32, r32, (|c| c as u16), u32::from;
    i16, u32, r32, (|c| c as i16), (|v| v as u16 as u32);
    u32, u32, r32, (|c| c), (|v| v);
    i32, u32, r32, (|c| c as i32), (|v| v as u32);
    f32, u32, r32, f32::from_bits, f32::to_bits;
    u64, u64, r64, (|c| c), (|v| v);
    i64, u64, r64, (|c| c as i64), (|v| v as u64);
    f64, u64, r64, f64::from_bits, f64::to_bits;
}

impl Regs {
    /// Writes the lanes of a mask.
    #[inline(always)]
    pub fn put<T: Lane>(&mut self, slot: u32, mask: u32, out: &[T::Cell; 32]) {
        let cells = T::cells_mut(self, slot);
        if mask == u32::MAX {
            *cells = *out;
        } else {
            for l in 0..32 {
                cells[l] = if mask >> l & 1 != 0 { out[l] } else { cells[l] };
            }
        }
    }

    /// Writes the lanes of a mask of a predicate.
    #[inline(always)]
    pub fn put_pred(&mut self, slot: u32, mask: u32, bits: u32) {
        let p = &mut self.pred[slot as usize];
        *p = (*p & !mask) | (bits & mask);
    }

    /// A register of either width as 64-bit values, zero-extended.
    #[inline(always)]
    pub fn widened(&self, slot: u32, is64: bool) -> [u64; 32] {
        if is64 { self.r64[slot as usize] } else { self.r32[slot as usize].map(u64::from) }
    }
}
