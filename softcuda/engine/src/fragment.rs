//! Which lane holds which matrix element: the fragments of `mma`, `ldmatrix`, `stmatrix` and `movmatrix` as data.
//!
//! A map goes from (lane, value) to (row, column). Both inputs are split into digits, lowest first, and each digit has a stride in rows and
//! in columns, so that a whole table of the ISA is a line here (the notation of CuTe: shape and stride). `value` counts the elements that a
//! lane holds, lowest bits of the first register first.

/// One digit of a lane or value number: its size and what a step of it adds to the row and to the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// How many values the digit takes.
    pub size: usize,
    /// Rows for each step.
    pub row: usize,
    /// Columns for each step.
    pub column: usize,
}

/// Shorthand: a digit of `size` steps of (`row`, `column`).
const fn digit(size: usize, row: usize, column: usize) -> Digit {
    Digit { size, row, column }
}

/// A fragment: (lane, value) -> (row, column).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneMap {
    /// The digits of the lane, lowest first; sizes multiply to 32.
    pub lane: [Digit; 2],
    /// The digits of the value number, lowest first; unused ones have size 1.
    pub value: [Digit; 3],
}

impl LaneMap {
    /// How many elements a lane holds.
    pub const fn values(&self) -> usize {
        self.value[0].size * self.value[1].size * self.value[2].size
    }

    /// The element (row, column) that `lane` holds as its `value`-th.
    #[inline(always)]
    pub const fn at(&self, lane: usize, value: usize) -> (usize, usize) {
        let l = [lane % self.lane[0].size, lane / self.lane[0].size];
        let rest = value / self.value[0].size;
        let v = [value % self.value[0].size, rest % self.value[1].size, rest / self.value[1].size];
        (
            l[0] * self.lane[0].row
                + l[1] * self.lane[1].row
                + v[0] * self.value[0].row
                + v[1] * self.value[1].row
                + v[2] * self.value[2].row,
            l[0] * self.lane[0].column
                + l[1] * self.lane[1].column
                + v[0] * self.value[0].column
                + v[1] * self.value[1].column
                + v[2] * self.value[2].column,
        )
    }
}

/// A of `mma.m16n8kK` with `e` elements in a register (1: tf32, 2: f16 and bf16, 4: 8 bits, 8: 4 bits).
/// PTX ISA 9.7.14.5, "Matrix Fragments for mma.m16n8k4 .. mma.m16n8k64". With lane = 4g + t:
/// ```text
/// (T32,V(e,2,K/4e)) -> (M16,K)     row g + 8 r0,  column e t + i + 4e r1     for element i of register r0 + 2 r1
/// ```
pub const fn mma_a(e: usize, k: usize) -> LaneMap {
    LaneMap {
        lane: [digit(4, 0, e), digit(8, 1, 0)],
        value: [digit(e, 0, 1), digit(2, 8, 0), digit(k / (4 * e), 0, 4 * e)],
    }
}

/// B of `mma.m16n8kK` with `e` elements in a register, same chapter:
/// ```text
/// (T32,V(e,K/4e)) -> (K,N8)        row e t + i + 4e r,  column g             for element i of register r
/// ```
pub const fn mma_b(e: usize, k: usize) -> LaneMap {
    LaneMap {
        lane: [digit(4, e, 0), digit(8, 0, 1)],
        value: [digit(e, 1, 0), digit(k / (4 * e), 4 * e, 0), digit(1, 0, 0)],
    }
}

/// C and D of every `mma.m16n8kK`, same chapter (f32, s32: four registers; f16: two registers of two):
/// ```text
/// (T32,V(2,2)) -> (M16,N8)         row g + 8 v1,  column 2t + v0
/// ```
pub const MMA_C: LaneMap =
    LaneMap { lane: [digit(4, 0, 2), digit(8, 1, 0)], value: [digit(2, 0, 1), digit(2, 8, 0), digit(1, 0, 0)] };

/// One 8x8 matrix of 16-bit elements in a register, as `ldmatrix` and `movmatrix` hold it (9.7.14.5, "ldmatrix"):
/// ```text
/// (T32,V2) -> (M8,N8)              row g,  column 2t + v
/// ```
pub const MATRIX_8X8: LaneMap =
    LaneMap { lane: [digit(4, 0, 2), digit(8, 1, 0)], value: [digit(2, 0, 1), digit(1, 0, 0), digit(1, 0, 0)] };

/// The same with `.trans`:
/// ```text
/// (T32,V2) -> (M8,N8)              row 2t + v,  column g
/// ```
pub const MATRIX_8X8_TRANSPOSED: LaneMap =
    LaneMap { lane: [digit(4, 2, 0), digit(8, 0, 1)], value: [digit(2, 1, 0), digit(1, 0, 0), digit(1, 0, 0)] };

/// The map of an 8x8 matrix in a register.
const fn matrix_map(transposed: bool) -> LaneMap {
    if transposed { MATRIX_8X8_TRANSPOSED } else { MATRIX_8X8 }
}

/// `ldmatrix.sync.aligned.m8n8.xN{.trans}.b16`: `rows[8 i + r]` is row `r` of matrix `i`, the 16 bytes at the address of lane `8 i + r`.
/// Register `i` of the result holds matrix `i`; only the first `count` (1, 2 or 4) are written.
#[inline(always)]
pub fn ldmatrix(rows: &[[u8; 16]; 32], count: usize, transposed: bool) -> [[u32; 32]; 4] {
    let map = matrix_map(transposed);
    let mut registers = [[0; 32]; 4];
    for (i, register) in registers.iter_mut().enumerate().take(count) {
        for (lane, word) in register.iter_mut().enumerate() {
            let half = |value| {
                let (row, column) = map.at(lane, value);
                let bytes = &rows[8 * i + row];
                u16::from_le_bytes([bytes[2 * column], bytes[2 * column + 1]]) as u32
            };
            *word = half(0) | half(1) << 16;
        }
    }
    registers
}

/// `stmatrix.sync.aligned.m8n8.xN{.trans}.shared.b16`: the inverse of [`ldmatrix`], the 16 bytes to store at each lane's address.
#[inline(always)]
pub fn stmatrix(registers: &[[u32; 32]], transposed: bool) -> [[u8; 16]; 32] {
    let map = matrix_map(transposed);
    let mut rows = [[0; 16]; 32];
    for (i, register) in registers.iter().enumerate() {
        for (lane, word) in register.iter().enumerate() {
            for value in 0..2 {
                let (row, column) = map.at(lane, value);
                let half = (word >> (16 * value)) as u16;
                rows[8 * i + row][2 * column..2 * column + 2].copy_from_slice(&half.to_le_bytes());
            }
        }
    }
    rows
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`: the transposed 8x8 matrix.
#[inline(always)]
pub fn movmatrix(a: &[u32; 32]) -> [u32; 32] {
    let mut matrix = [[0u16; 8]; 8];
    for (lane, word) in a.iter().enumerate() {
        for value in 0..2 {
            let (row, column) = MATRIX_8X8.at(lane, value);
            matrix[row][column] = (word >> (16 * value)) as u16;
        }
    }
    core::array::from_fn(|lane| {
        let half = |value| {
            let (row, column) = MATRIX_8X8_TRANSPOSED.at(lane, value);
            matrix[row][column] as u32
        };
        half(0) | half(1) << 16
    })
}
