//! The fragments and products of `wmma` (PTX ISA 9.7.14.4). The ISA leaves open which lane holds which element, so one rule serves all shapes:
//! the elements of A in row order, of B in column order, of C and D in row order are dealt to the lanes in runs of as many as a lane holds, and
//! dealt again where the lanes hold more than the matrix has.

use super::mma::{Accumulator, Element, Mma, Operands, Register};
use crate::MmaMode;
use crate::fragment::{self, MMA_C};

/// Rows of A, columns of B, columns of A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
}

/// Which matrix a fragment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// A.
    A,
    /// B.
    B,
    /// C or D.
    C,
}

impl Shape {
    /// Row and column of the element that `lane` holds in place `i` of its `each`.
    pub fn element(&self, matrix: Matrix, lane: usize, i: usize, each: usize) -> (usize, usize) {
        let e = lane * each + i;
        match matrix {
            Matrix::A => (e % (self.m * self.k) / self.k, e % self.k),
            Matrix::B => (e % self.k, e % (self.k * self.n) / self.k),
            Matrix::C => (e % (self.m * self.n) / self.n, e % self.n),
        }
    }

    /// Lane and place of an element.
    fn holder(&self, matrix: Matrix, row: usize, column: usize, each: usize) -> (usize, usize) {
        let e = match matrix {
            Matrix::A => row * self.k + column,
            Matrix::B => column * self.k + row,
            Matrix::C => row * self.n + column,
        };
        (e / each, e % each)
    }
}

/// A fragment: registers, and bits of an element.
#[derive(Clone, Copy)]
pub struct Fragment<'a> {
    /// The registers.
    pub registers: &'a [Register],
    /// Bits of an element.
    pub bits: usize,
}

impl Fragment<'_> {
    fn each(&self) -> usize {
        self.registers.len() * 32 / self.bits
    }

    fn get(&self, lane: usize, i: usize) -> u32 {
        let at = i * self.bits;
        let keep = u32::MAX >> (32 - self.bits);
        self.registers[at / 32][lane] >> (at % 32) & keep
    }
}

/// D = A x B + C with 16-bit, tf32 or integer elements, as tiles of `mma.m16n8k<K>`; rows that a shape lacks are zero.
pub fn product(
    shape: Shape,
    (a_type, b_type): (Element, Element),
    (a, b, c): (Fragment<'_>, Fragment<'_>, Fragment<'_>),
    (accumulator, saturate): (Accumulator, bool),
    (mode, seed): (MmaMode, u64),
) -> Option<Vec<Register>> {
    let mma = Mma::new(shape.k, a_type, b_type, accumulator, saturate)?;
    // The instruction's accumulators may be of another type than C's registers hold: f16 widens and narrows exactly.
    let (na, nb, nc) = mma.registers();
    let e = a_type.per_register();
    let (map_a, map_b) = (fragment::mma_a(e, shape.k), fragment::mma_b(e, shape.k));
    let per_c = 32 / c.bits;
    let mut d = vec![[0; 32]; c.registers.len()];
    for row in (0..shape.m).step_by(16) {
        for column in (0..shape.n).step_by(8) {
            let gather = |count: usize, per: usize, bits: usize, find: &dyn Fn(usize, usize) -> u32| {
                let register = |r: usize| -> Register {
                    std::array::from_fn(|lane| (0..per).fold(0, |w, i| w | find(lane, r * per + i) << (i * bits)))
                };
                (0..count).map(register).collect::<Vec<_>>()
            };
            let find_a = |lane: usize, value: usize| {
                let (m, k) = map_a.at(lane, value);
                if row + m >= shape.m {
                    return 0;
                }
                let (lane, i) = shape.holder(Matrix::A, row + m, k, a.each());
                a.get(lane, i)
            };
            let find_b = |lane: usize, value: usize| {
                let (k, n) = map_b.at(lane, value);
                let (lane, i) = shape.holder(Matrix::B, k, column + n, b.each());
                b.get(lane, i)
            };
            let find_c = |lane: usize, value: usize| {
                let (m, n) = MMA_C.at(lane, value);
                if row + m >= shape.m {
                    return 0;
                }
                let (lane, i) = shape.holder(Matrix::C, row + m, column + n, c.each());
                c.get(lane, i)
            };
            let ra = gather(na, e, a.bits, &find_a);
            let rb = gather(nb, e, b.bits, &find_b);
            let rc = gather(nc, per_c, c.bits, &find_c);
            let operands = Operands {
                a: std::array::from_fn(|k| &ra[k.min(na - 1)]),
                b: std::array::from_fn(|k| &rb[k.min(nb - 1)]),
                c: std::array::from_fn(|k| &rc[k.min(nc - 1)]),
            };
            let mut out = [[0; 32]; 4];
            mma.run(&operands, mode, seed ^ (row * 64 + column) as u64, &mut out);
            for lane in 0..32 {
                for value in 0..4 {
                    let (m, n) = MMA_C.at(lane, value);
                    if row + m < shape.m {
                        let (to, i) = shape.holder(Matrix::C, row + m, column + n, c.each());
                        let keep = u32::MAX >> (32 - c.bits);
                        let x = out[value / per_c][lane] >> (value % per_c * c.bits) & keep;
                        d[i / per_c][to] |= x << (i % per_c * c.bits);
                    }
                }
            }
        }
    }
    Some(d)
}

/// D = A x B + C in f64, fused, k ascending; `k` columns of A in registers of one element, `map_a` as [`fragment::mma_a`].
pub fn product_f64(rows: usize, k: usize, a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]]) -> Vec<[u64; 32]> {
    let (map_a, map_b) = (fragment::mma_a(1, k), fragment::mma_b(1, k));
    let (mut left, mut right) = (vec![[0.0; 16]; 16], vec![[0.0; 8]; 16]);
    for lane in 0..32 {
        // A shape of eight rows has the registers of the upper rows only.
        for (r, register) in a.iter().enumerate() {
            let value = if rows == 8 { 2 * r } else { r };
            let (row, column) = map_a.at(lane, value);
            left[row][column] = f64::from_bits(register[lane]);
        }
        for (r, register) in b.iter().enumerate() {
            let (row, column) = map_b.at(lane, r);
            right[row][column] = f64::from_bits(register[lane]);
        }
    }
    let sum = |lane: usize, r: usize, c: f64| {
        let (row, column) = MMA_C.at(lane, r);
        (0..k).fold(c, |sum, k| left[row][k].mul_add(right[k][column], sum))
    };
    let register = |(r, c): (usize, &[u64; 32])| -> [u64; 32] {
        std::array::from_fn(|lane| super::round::canonical64(sum(lane, r, f64::from_bits(c[lane]))).to_bits())
    };
    c.iter().enumerate().map(register).collect()
}

/// D = popc(A op B) + C for matrices of bits: `and`, else exclusive or. A has `k / 128` registers for each eight rows.
pub fn product_bits(and: bool, a: &[Register], b: &[Register], c: &[Register]) -> Vec<Register> {
    let halves = if c.len() == 4 { 2 } else { 1 };
    let register = |(r, c): (usize, &Register)| -> Register {
        std::array::from_fn(|lane| {
            let (row, column) = MMA_C.at(lane, r);
            let mut sum = c[lane];
            for (step, b) in b.iter().enumerate() {
                let a = &a[step * halves + row / 8];
                for t in 0..4 {
                    let (x, y) = (a[4 * (row % 8) + t], b[4 * column + t]);
                    sum = sum.wrapping_add(if and { x & y } else { x ^ y }.count_ones());
                }
            }
            sum
        })
    };
    c.iter().enumerate().map(register).collect()
}
