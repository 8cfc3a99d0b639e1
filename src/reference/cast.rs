//! Casts between real numbers and 8-bit floats: the definition of [`crate::ops::cast`].

use crate::error::{Error, Result};
use crate::format::{Element, Fp8, Rounding, uniform};

/// `codes[i] = format.encode(x[i])`: nearest, ties to even, saturating, NaN to 0x7F.
///
/// # Errors
/// [`Error::Argument`] when `codes` is shorter than `x`.
pub fn to_fp8<E: Element>(format: Fp8, x: &[E], codes: &mut [u8]) -> Result<()> {
    check_length("cast::to_fp8", "codes", x.len(), codes.len())?;
    for (code, x) in codes.iter_mut().zip(x) {
        *code = format.encode(x.to_f32());
    }
    Ok(())
}

/// As [`to_fp8`], with a rounding: stochastic draws by element index ([`Fp8::encode_stochastic`]).
///
/// # Errors
/// [`Error::Argument`] when `codes` is shorter than `x`.
pub fn to_fp8_with<E: Element>(format: Fp8, x: &[E], codes: &mut [u8], rounding: Rounding) -> Result<()> {
    let Rounding::Stochastic { seed } = rounding else { return to_fp8(format, x, codes) };
    check_length("cast::to_fp8", "codes", x.len(), codes.len())?;
    for (i, (code, x)) in codes.iter_mut().zip(x).enumerate() {
        *code = format.encode_stochastic(x.to_f32(), uniform(seed, i as u64));
    }
    Ok(())
}

/// `out[i] = format.decode(codes[i])`, rounded to the output's type (exact but for E5M2 NaN payloads).
///
/// # Errors
/// [`Error::Argument`] when `out` is shorter than `codes`.
pub fn from_fp8<E: Element>(format: Fp8, codes: &[u8], out: &mut [E]) -> Result<()> {
    check_length("cast::from_fp8", "out", codes.len(), out.len())?;
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = E::from_f32(format.decode(code));
    }
    Ok(())
}

/// The destination must hold at least as much as comes.
pub(crate) fn check_length(op: &'static str, argument: &'static str, needed: usize, found: usize) -> Result<()> {
    if found >= needed {
        return Ok(());
    }
    Err(Error::argument(op, argument, format!("at least {needed} elements"), found.to_string()))
}
