//! The arithmetic of `atom` and `red` (PTX ISA, atom): pure functions of the old value and the operands.

use crate::arith::half::{Bf16, F16, HalfMode, add as add_half, both2};

/// Operation of `atom` and `red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomOp {
    /// Sum.
    Add,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// Bits of both.
    And,
    /// Bits of either.
    Or,
    /// Bits of one.
    Xor,
    /// The operand.
    Exch,
    /// The second operand, if the old value equals the first.
    Cas,
    /// `old >= x ? 0 : old + 1`.
    Inc,
    /// `old == 0 || old > x ? x : old - 1`.
    Dec,
}

impl AtomOp {
    /// Whether the new value depends on the old one.
    pub(crate) fn uses_old(self) -> bool {
        self != AtomOp::Exch
    }
}

/// Type of `atom` and `red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are PTX's.
pub enum AtomTy {
    B16,
    B32,
    B64,
    U32,
    S32,
    U64,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl AtomTy {
    /// Width in bytes.
    pub fn size(self) -> u32 {
        match self {
            AtomTy::B16 | AtomTy::F16 | AtomTy::Bf16 => 2,
            AtomTy::B64 | AtomTy::U64 | AtomTy::S64 | AtomTy::F64 => 8,
            _ => 4,
        }
    }
}

/// The new value. `flush` says that f32 sums flush subnormals to zero, as they do in global memory.
pub fn apply(op: AtomOp, ty: AtomTy, flush: bool, old: u64, x: u64, y: u64) -> u64 {
    let bits = 8 * ty.size();
    let keep = u64::MAX >> (64 - bits);
    let (old, x, y) = (old & keep, x & keep, y & keep);
    let new = match op {
        AtomOp::Exch => x,
        AtomOp::Cas if old == x => y,
        AtomOp::Cas => old,
        AtomOp::And => old & x,
        AtomOp::Or => old | x,
        AtomOp::Xor => old ^ x,
        AtomOp::Inc if old >= x => 0,
        AtomOp::Inc => old + 1,
        AtomOp::Dec if old == 0 || old > x => x,
        AtomOp::Dec => old - 1,
        AtomOp::Min | AtomOp::Max => {
            let signed = matches!(ty, AtomTy::S32 | AtomTy::S64);
            let shift = 64 - bits;
            let less = if signed { (x << shift) as i64 <= (old << shift) as i64 } else { x <= old };
            if less == (op == AtomOp::Min) { x } else { old }
        }
        AtomOp::Add => add(ty, flush, old, x),
    };
    new & keep
}

fn add(ty: AtomTy, flush: bool, a: u64, b: u64) -> u64 {
    let mode = HalfMode::default();
    match ty {
        AtomTy::F32 => add_f32(a as u32, b as u32, flush) as u64,
        AtomTy::F64 => {
            let sum = f64::from_bits(a) + f64::from_bits(b);
            if sum.is_nan() { 0x7fff_ffff_ffff_ffff } else { sum.to_bits() }
        }
        AtomTy::F16 => add_half::<F16>(a as u16, b as u16, mode) as u64,
        AtomTy::Bf16 => add_half::<Bf16>(a as u16, b as u16, mode) as u64,
        AtomTy::F16x2 => both2(a as u32, b as u32, |a, b| add_half::<F16>(a, b, mode)) as u64,
        AtomTy::Bf16x2 => both2(a as u32, b as u32, |a, b| add_half::<Bf16>(a, b, mode)) as u64,
        _ => a.wrapping_add(b),
    }
}

fn add_f32(a: u32, b: u32, flush: bool) -> u32 {
    let ftz = |v: u32| if flush && v & 0x7f80_0000 == 0 { v & 0x8000_0000 } else { v };
    let sum = f32::from_bits(ftz(a)) + f32::from_bits(ftz(b));
    if sum.is_nan() { 0x7fff_ffff } else { ftz(sum.to_bits()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_words() {
        let run = |op, ty, old: i64, x: i64| apply(op, ty, false, old as u64, x as u64, 99);
        assert_eq!(run(AtomOp::Add, AtomTy::U32, -1, 2), 1);
        assert_eq!(run(AtomOp::Min, AtomTy::S32, 5, -1), 0xffff_ffff);
        assert_eq!(run(AtomOp::Min, AtomTy::U32, 5, -1), 5);
        assert_eq!(run(AtomOp::Max, AtomTy::S64, 5, -1), 5);
        assert_eq!(run(AtomOp::Max, AtomTy::U64, 5, -1), u64::MAX);
        assert_eq!(run(AtomOp::Inc, AtomTy::U32, 7, 7), 0);
        assert_eq!(run(AtomOp::Inc, AtomTy::U32, 6, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 0, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 9, 7), 7);
        assert_eq!(run(AtomOp::Dec, AtomTy::U32, 3, 7), 2);
        assert_eq!(run(AtomOp::Cas, AtomTy::B16, 0x1_0005, 5), 99);
        assert_eq!(run(AtomOp::Cas, AtomTy::B16, 6, 5), 6);
        assert_eq!(run(AtomOp::Exch, AtomTy::B32, 6, -1), 0xffff_ffff);
    }

    #[test]
    fn float_sums_flush_only_where_asked() {
        let tiny = 1u32;
        assert_eq!(apply(AtomOp::Add, AtomTy::F32, true, tiny as u64, 0, 0), 0);
        assert_eq!(apply(AtomOp::Add, AtomTy::F32, false, tiny as u64, 0, 0), 1);
        let nan = apply(
            AtomOp::Add,
            AtomTy::F32,
            false,
            f32::INFINITY.to_bits() as u64,
            f32::NEG_INFINITY.to_bits() as u64,
            0,
        );
        assert_eq!(nan, 0x7fff_ffff);
        let pair = apply(AtomOp::Add, AtomTy::F16x2, false, 0x3c00_4000, 0x3c00_3c00, 0);
        assert_eq!(pair, 0x4000_4200);
    }
}
