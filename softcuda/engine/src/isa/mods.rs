//! Modifiers as the arithmetic takes them, and how they travel in `Inst::mods`.

use super::row::Mods;
use crate::arith::half::HalfMode;
use crate::arith::round::{ExtremeMode, FloatMode, Rounding};

/// `.rn`, `.rz`, `.rm`, `.rp` and their integral forms; nearest when none is there.
pub fn rounding(m: &Mods) -> Rounding {
    match m.which(&["rz", "rm", "rp", "rzi", "rmi", "rpi"]) {
        Some("rz" | "rzi") => Rounding::Rz,
        Some("rm" | "rmi") => Rounding::Rm,
        Some("rp" | "rpi") => Rounding::Rp,
        _ => Rounding::Rn,
    }
}

const ROUNDINGS: [Rounding; 4] = [Rounding::Rn, Rounding::Rz, Rounding::Rm, Rounding::Rp];

fn bit(m: &Mods, name: &str, place: u32) -> u32 {
    u32::from(m.has(name)) << place
}

/// Rounding in bits 0 and 1, then a bit each for `.ftz`, `.sat`, `.relu`, `.NaN`, `.xorsign`, `.satfinite`.
pub fn pack(m: &Mods) -> u32 {
    rounding(m) as u32
        | bit(m, "ftz", 2)
        | bit(m, "sat", 3)
        | bit(m, "relu", 4)
        | bit(m, "NaN", 5)
        | bit(m, "xorsign", 6)
        | bit(m, "satfinite", 7)
}

/// The rounding of packed modifiers.
#[inline(always)]
pub fn round_of(mods: u32) -> Rounding {
    ROUNDINGS[(mods & 3) as usize]
}

/// `.ftz` of packed modifiers.
#[inline(always)]
pub fn ftz(mods: u32) -> bool {
    mods & 4 != 0
}

/// `.sat` of packed modifiers.
#[inline(always)]
pub fn sat(mods: u32) -> bool {
    mods & 8 != 0
}

/// `.relu` of packed modifiers.
#[inline(always)]
pub fn relu(mods: u32) -> bool {
    mods & 16 != 0
}

/// `.satfinite` of packed modifiers.
#[inline(always)]
pub fn satfinite(mods: u32) -> bool {
    mods & 128 != 0
}

/// The mode of f32 and f64 arithmetic.
#[inline(always)]
pub fn float_mode(mods: u32) -> FloatMode {
    FloatMode { round: round_of(mods), ftz: ftz(mods), sat: sat(mods) }
}

/// The mode of f16 and bf16 arithmetic.
#[inline(always)]
pub fn half_mode(mods: u32) -> HalfMode {
    HalfMode { ftz: ftz(mods), sat: sat(mods), relu: relu(mods) }
}

/// The mode of min and max.
#[inline(always)]
pub fn extreme_mode(mods: u32) -> ExtremeMode {
    ExtremeMode { ftz: ftz(mods), nan: mods & 32 != 0, xorsign: mods & 64 != 0 }
}
