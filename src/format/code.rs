//! The code of one element, and the kind of scale that belongs to it.

use crate::format::Fp8;

/// The code of one element together with the type of its scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Symmetric integer of 8 bits, two's complement, -127..=127; f32 scale.
    Int8,
    /// Symmetric integer of 4 bits, two's complement, -7..=7; f32 scale.
    Int4,
    /// Symmetric integer of 2 bits, two's complement, -1..=1; f32 scale.
    Int2,
    /// 8-bit float; f32 scale.
    Fp8(Fp8),
    /// Asymmetric integer of 8 bits, 0..=255; f16 scale and minimum.
    Uint8,
    /// Asymmetric integer of 4 bits, 0..=15; f16 scale and minimum.
    Uint4,
    /// Asymmetric integer of 2 bits, 0..=3; f16 scale and minimum.
    Uint2,
    /// E2M1 in blocks of 16 with an E4M3 scale each, under one f32 scale of the tensor.
    Nvfp4,
    /// E2M1 in blocks of 32 with an E8M0 scale each.
    Mxfp4,
    /// 8-bit float in blocks of 32 with an E8M0 scale each.
    Mxfp8(Fp8),
}

/// The type of a code's scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleKind {
    /// One f32 a region.
    F32,
    /// An f16 step and an f16 minimum a region.
    F16WithMin,
    /// An E4M3 byte a block, and one f32 for the tensor.
    E4m3UnderF32,
    /// An E8M0 byte a block: 2^(byte - 127).
    E8m0,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 12] = [
        Code::Int8,
        Code::Int4,
        Code::Int2,
        Code::Fp8(Fp8::E4m3),
        Code::Fp8(Fp8::E5m2),
        Code::Uint8,
        Code::Uint4,
        Code::Uint2,
        Code::Nvfp4,
        Code::Mxfp4,
        Code::Mxfp8(Fp8::E4m3),
        Code::Mxfp8(Fp8::E5m2),
    ];

    /// Bits of one code. Codes are packed least significant bits first; every row starts at a whole byte.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int8 | Self::Fp8(_) | Self::Uint8 | Self::Mxfp8(_) => 8,
            Self::Int4 | Self::Uint4 | Self::Nvfp4 | Self::Mxfp4 => 4,
            Self::Int2 | Self::Uint2 => 2,
        }
    }

    /// The largest code's value: the divisor of amax, or of max - min.
    pub const fn top(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Int4 => 7.0,
            Self::Int2 => 1.0,
            Self::Fp8(format) | Self::Mxfp8(format) => format.max(),
            Self::Uint8 => 255.0,
            Self::Uint4 => 15.0,
            Self::Uint2 => 3.0,
            Self::Nvfp4 | Self::Mxfp4 => 6.0,
        }
    }

    /// The type of its scales.
    pub const fn scale_kind(self) -> ScaleKind {
        match self {
            Self::Int8 | Self::Int4 | Self::Int2 | Self::Fp8(_) => ScaleKind::F32,
            Self::Uint8 | Self::Uint4 | Self::Uint2 => ScaleKind::F16WithMin,
            Self::Nvfp4 => ScaleKind::E4m3UnderF32,
            Self::Mxfp4 | Self::Mxfp8(_) => ScaleKind::E8m0,
        }
    }

    /// Whether a region has an f16 scale and an f16 minimum.
    pub const fn asymmetric(self) -> bool {
        matches!(self.scale_kind(), ScaleKind::F16WithMin)
    }

    /// Elements of a block, for the codes whose definition fixes it.
    pub const fn block(self) -> Option<usize> {
        match self {
            Self::Nvfp4 => Some(16),
            Self::Mxfp4 | Self::Mxfp8(_) => Some(32),
            _ => None,
        }
    }

    /// Name as in the kernels: `int8`, `e4m3`, `uint4`, `mxfp4`...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Int2 => "int2",
            Self::Fp8(format) => format.name(),
            Self::Uint8 => "uint8",
            Self::Uint4 => "uint4",
            Self::Uint2 => "uint2",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8(Fp8::E4m3) => "mxfp8_e4m3",
            Self::Mxfp8(Fp8::E5m2) => "mxfp8_e5m2",
        }
    }
}
