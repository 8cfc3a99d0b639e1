//! The fundamental types of PTX (PTX ISA, "Fundamental Types", "Alternate Floating-Point Data Formats", "Packed Data Types").

/// A PTX type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the ISA's.
pub enum Ty {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    F32,
    F64,
    Tf32,
    E4M3,
    E5M2,
    E4M3x2,
    E5M2x2,
    E2M1x2,
    U16x2,
    S16x2,
}

#[rustfmt::skip] // One type a line: name, type, bits.
const TYPES: [(&str, Ty, u32); 28] = [
    ("pred", Ty::Pred, 1),
    ("b8", Ty::B8, 8),
    ("b16", Ty::B16, 16),
    ("b32", Ty::B32, 32),
    ("b64", Ty::B64, 64),
    ("b128", Ty::B128, 128),
    ("u8", Ty::U8, 8),
    ("u16", Ty::U16, 16),
    ("u32", Ty::U32, 32),
    ("u64", Ty::U64, 64),
    ("s8", Ty::S8, 8),
    ("s16", Ty::S16, 16),
    ("s32", Ty::S32, 32),
    ("s64", Ty::S64, 64),
    ("f16", Ty::F16, 16),
    ("f16x2", Ty::F16x2, 32),
    ("bf16", Ty::BF16, 16),
    ("bf16x2", Ty::BF16x2, 32),
    ("f32", Ty::F32, 32),
    ("f64", Ty::F64, 64),
    ("tf32", Ty::Tf32, 32),
    ("e4m3", Ty::E4M3, 8),
    ("e5m2", Ty::E5M2, 8),
    ("e4m3x2", Ty::E4M3x2, 16),
    ("e5m2x2", Ty::E5M2x2, 16),
    ("e2m1x2", Ty::E2M1x2, 8),
    ("u16x2", Ty::U16x2, 32),
    ("s16x2", Ty::S16x2, 32),
];

impl Ty {
    /// The type with this name, without its dot.
    pub fn by_name(name: &str) -> Option<Ty> {
        TYPES.iter().find(|t| t.0 == name).map(|t| t.1)
    }

    /// The name without its dot.
    pub fn name(self) -> &'static str {
        TYPES[self as usize].0
    }

    /// Width in bits; 1 for a predicate.
    pub fn bits(self) -> u32 {
        TYPES[self as usize].2
    }

    /// Width in bytes.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether a signed integer.
    pub fn signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64 | Ty::S16x2)
    }

    /// Whether a floating-point type.
    pub fn float(self) -> bool {
        use Ty::{BF16, BF16x2, E2M1x2, E4M3, E4M3x2, E5M2, E5M2x2, F16, F16x2, F32, F64, Tf32};
        matches!(self, F16 | F16x2 | BF16 | BF16x2 | F32 | F64 | Tf32 | E4M3 | E5M2 | E4M3x2 | E5M2x2 | E2M1x2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enum() {
        for (i, t) in TYPES.iter().enumerate() {
            assert_eq!(t.1 as usize, i);
            assert_eq!(Ty::by_name(t.0), Some(t.1));
        }
    }
}
