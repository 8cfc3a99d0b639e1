//! The quantizers of the cache, on the numbers of a group.

use half::{bf16, f16};

use crate::cache::tile::MetaPlace;
use crate::cache::{KvCode, Part};
use crate::format::{DType, Fp8};

/// The value of 16 bits of the model's dtype.
pub(crate) fn to_f32(bits: u16, dtype: DType) -> f32 {
    match dtype {
        DType::Bf16 => bf16::from_bits(bits).to_f32(),
        _ => f16::from_bits(bits).to_f32(),
    }
}

/// NaN to 0 (noted), clamped to the f16 range.
pub(super) fn sanitize(bits: u16, dtype: DType, nan: &mut bool) -> f32 {
    let x = to_f32(bits, dtype);
    *nan |= x.is_nan();
    if x.is_nan() { 0.0 } else { x.clamp(-65504.0, 65504.0) }
}

/// The byte q + 128. A quotient that is NaN counts as 0.
pub(super) fn int8(x: f32, scale: f32) -> u32 {
    let q = if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even().clamp(-127.0, 127.0) };
    (q as i32 + 128) as u32
}

pub(super) fn fp8(code: KvCode, x: f32, scale: f32, nan: &mut bool) -> u8 {
    let format = if code == KvCode::E4m3 { Fp8::E4m3 } else { Fp8::E5m2 };
    // `clamp` keeps NaN.
    let quotient = if scale == 0.0 && !x.is_nan() { 0.0 } else { x.clamp(-65504.0, 65504.0) / scale };
    *nan |= quotient.is_nan();
    if quotient.is_nan() { 0 } else { format.encode(quotient) }
}

/// Scale and minimum of a group of asymmetric integers.
pub(super) struct Group {
    scale: f16,
    min: f16,
    /// The largest code.
    top: f32,
}

impl Group {
    pub(super) fn of(code: KvCode, x: &[f32]) -> Self {
        let top = code.top() as f32;
        // + 0.0 turns -0 into +0.
        let low = f16::from_f32(x.iter().copied().fold(f32::INFINITY, f32::min) + 0.0);
        let high = f16::from_f32(x.iter().copied().fold(f32::NEG_INFINITY, f32::max) + 0.0);
        Self { scale: f16::from_f32((high.to_f32() - low.to_f32()) / top), min: low, top }
    }

    pub(super) fn code(&self, x: f32) -> u32 {
        match self.scale.to_f32() {
            0.0 => 0,
            scale => ((x - self.min.to_f32()) / scale).round_ties_even().clamp(0.0, self.top) as u32,
        }
    }

    pub(super) fn store(&self, record: &mut [u8], meta: Part, place: MetaPlace) {
        let MetaPlace::ScaleMin16(scale, min) = place else { unreachable!("a group has a scale and a minimum") };
        record[meta.offset + scale..][..2].copy_from_slice(&self.scale.to_le_bytes());
        record[meta.offset + min..][..2].copy_from_slice(&self.min.to_le_bytes());
    }
}

/// A row of the sink: NaN -> 0, and within the range of f16.
pub(super) fn kept(row: &[u16], dtype: DType) -> Vec<u16> {
    let kept = |&x: &u16| match (dtype, sanitize(x, dtype, &mut false)) {
        (DType::Bf16, x) => bf16::from_f32(x.clamp(-65280.0, 65280.0)).to_bits(),
        (_, x) => f16::from_f32(x).to_bits(),
    };
    row.iter().map(kept).collect()
}
