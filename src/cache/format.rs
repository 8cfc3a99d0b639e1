//! What a cache stores: code and scale axis of keys and of values, and the residual window.

use std::fmt;

/// The code of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvCode {
    /// The model's own 16-bit float, bit for bit.
    Float,
    /// Symmetric 8-bit integer -127..=127, stored as the byte `q + 128`.
    Int8,
    /// fp8 E4M3 (1-4-3, no infinity), the byte.
    E4m3,
    /// fp8 E5M2 (1-5-2), the byte; never an infinity.
    E5m2,
    /// Asymmetric 4-bit integer 0..=15; y = q * scale + min.
    Int4,
    /// fp4 E2M1 (1-2-1): 0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign.
    E2m1,
    /// Code of ggml's q8_0: -127..=127, stored as the byte `q + 128`.
    Q8_0,
    /// Code of ggml's q4_0: -8..=7, stored as `q + 8`.
    Q4_0,
    /// Asymmetric 2-bit integer 0..=3, as [`KvCode::Int4`].
    Int2,
    /// Asymmetric 8-bit integer 0..=255, as [`KvCode::Int4`].
    Uint8,
    /// Index into a table of 16 levels.
    Nuq4,
    /// Index into a table of 8 levels.
    Nuq3,
}

impl KvCode {
    /// Bits of one code.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Float => 16,
            Self::Int8 | Self::E4m3 | Self::E5m2 | Self::Uint8 | Self::Q8_0 => 8,
            Self::Int4 | Self::E2m1 | Self::Q4_0 | Self::Nuq4 => 4,
            Self::Nuq3 => 3,
            Self::Int2 => 2,
        }
    }

    /// The largest code of an asymmetric integer: 15 of 4 bits.
    pub(crate) const fn top(self) -> u32 {
        (1 << self.bits()) - 1
    }
}

/// What shares one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvScale {
    /// Nothing is scaled.
    None,
    /// One f32 per KV head, given by the caller on the device (`[1]` means the same for all heads).
    Head,
    /// One E4M3 per this many consecutive channels of one token, times the f32 of [`KvScale::Head`].
    HeadBlock(u32),
    /// One f32 per KV head and channel, given by the caller on the device, `[num_kv_heads, head_dim]`.
    Channel,
    /// One f32 per token and head: `amax / 127`.
    Token,
    /// y = level * range + zero, range and zero per channel of a KV head, given by the caller with the levels
    /// ([`nuq_key_table`](super::nuq_key_table)); outliers of a token aside.
    ChannelRange,
    /// The same with an f16 range and zero per token and head, levels from the caller
    /// ([`nuq_value_table`](super::nuq_value_table)); outliers of a token aside.
    TokenRange,
    /// f16 scale and f16 minimum per this many consecutive channels of one token; where the head dim is no multiple of
    /// it, per the largest divisor of both ([`KvSide::channel_group`]).
    ChannelGroup(u32),
    /// One f16 per 32 consecutive channels of one token, as ggml's blocks have it.
    Block,
    /// f16 scale and f16 minimum per this many consecutive tokens of one channel (KIVI keys). The tokens of a group are
    /// coded together when the group leaves the window.
    TokenGroup(u32),
}

impl KvScale {
    /// True if the caller gives an f32 per KV head.
    pub const fn is_per_head(self) -> bool {
        matches!(self, Self::Head | Self::HeadBlock(_))
    }
}

/// Code and scale of one side, K or V.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvSide {
    /// The code.
    pub code: KvCode,
    /// The scale's axis.
    pub scale: KvScale,
}

/// A cache format: both sides and the window.
///
/// The parts are open so that a format reads as what it is; the list of what has kernels is closed
/// ([`KvFormat::SUPPORTED`], checked by [`KvLayout::new`](super::KvLayout::new)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvFormat {
    /// Keys.
    pub k: KvSide,
    /// Values.
    pub v: KvSide,
    /// R: how many of the last tokens stay in the model's dtype; 0 where nothing does. See [`window`](super::window).
    pub residual: u32,
    /// How many of the first tokens are read as they were given, in the model's dtype, and not from their codes.
    pub sink: u32,
}

impl KvSide {
    /// Channels of one token that share a scale: gcd of the format's number and the head dim, 16 where groups of 32
    /// meet 80 or 112 channels. The whole head where the scale is not one per group of channels.
    pub const fn channel_group(self, head_dim: usize) -> usize {
        let KvScale::ChannelGroup(size) = self.scale else { return head_dim };
        let (mut a, mut b) = (size as usize, head_dim);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }
}

const fn both(code: KvCode, scale: KvScale) -> KvFormat {
    KvFormat { k: KvSide { code, scale }, v: KvSide { code, scale }, residual: 0, sink: 0 }
}

impl KvFormat {
    /// The model's dtype, not quantized.
    pub const FLOAT: Self = both(KvCode::Float, KvScale::None);
    /// int8, one f32 scale per token and head.
    pub const INT8: Self = both(KvCode::Int8, KvScale::Token);
    /// int8 with the caller's f32 scale per head and channel, calibrated; what is beyond 127 of them saturates.
    pub const INT8_STATIC: Self = both(KvCode::Int8, KvScale::Channel);
    /// E4M3 with the caller's f32 scale per head (1.0 for a plain cast).
    pub const E4M3: Self = both(KvCode::E4m3, KvScale::Head);
    /// E5M2, as [`KvFormat::E4M3`].
    pub const E5M2: Self = both(KvCode::E5m2, KvScale::Head);
    /// int4, f16 scale and minimum per token and 32 channels.
    pub const INT4: Self = both(KvCode::Int4, KvScale::ChannelGroup(32));
    /// NVFP4: E2M1, an E4M3 scale per token and 16 channels, over it the caller's f32 scale per head.
    pub const NVFP4: Self = both(KvCode::E2m1, KvScale::HeadBlock(16));
    /// Keys of [`KvFormat::INT8`], values of [`KvFormat::E4M3`].
    pub const INT8_E4M3: Self = Self { v: Self::E4M3.v, ..Self::INT8 };
    /// Keys of [`KvFormat::INT8`], values of [`KvFormat::INT4`].
    pub const INT8_INT4: Self = Self { v: Self::INT4.v, ..Self::INT8 };

    /// The codes and scales of ggml's q8_0 blocks, in another order; [`export_blocks`](crate::ops::kv::export_blocks) gives
    /// them back byte for byte.
    pub const Q8_0: Self = both(KvCode::Q8_0, KvScale::Block);
    /// Those of q4_0.
    pub const Q4_0: Self = both(KvCode::Q4_0, KvScale::Block);
    /// Keys of [`KvFormat::Q8_0`], values of [`KvFormat::Q4_0`].
    pub const Q8_0_Q4_0: Self = Self { v: Self::Q4_0.v, ..Self::Q8_0 };

    /// KIVI with 4-bit keys per channel over 32 tokens, 4-bit values per token over 32 channels and a window of
    /// `residual` tokens (Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache", section 3).
    pub const fn kivi4(residual: u32) -> Self {
        Self::kivi(KvCode::Int4, KvCode::Int4, residual)
    }

    /// KIVI with keys and values of 2 bits.
    pub const fn kivi2(residual: u32) -> Self {
        Self::kivi(KvCode::Int2, KvCode::Int2, residual)
    }

    /// KIVI with keys of 8 bits and values of 2.
    pub const fn kivi8_2(residual: u32) -> Self {
        Self::kivi(KvCode::Uint8, KvCode::Int2, residual)
    }

    const fn kivi(k: KvCode, v: KvCode, residual: u32) -> Self {
        Self {
            k: KvSide { code: k, scale: KvScale::TokenGroup(32) },
            v: KvSide { code: v, scale: KvScale::ChannelGroup(32) },
            residual,
            sink: 0,
        }
    }

    /// KVQuant's 4-bit cache: keys before RoPE in a table of 16 levels, range and zero per channel from calibration; values
    /// per token; one outlier aside for every 100 channels begun, of keys two at least; the first `sink` tokens exact (Hooper
    /// et al. 2024, "KVQuant", section 3).
    pub const fn nuq4(sink: u32) -> Self {
        Self::nuq(KvCode::Nuq4, sink)
    }

    /// The same with 3 bits, 8 levels.
    pub const fn nuq3(sink: u32) -> Self {
        Self::nuq(KvCode::Nuq3, sink)
    }

    const fn nuq(code: KvCode, sink: u32) -> Self {
        Self {
            k: KvSide { code, scale: KvScale::ChannelRange },
            v: KvSide { code, scale: KvScale::TokenRange },
            residual: 0,
            sink,
        }
    }

    /// KIVI with keys that share a scale over `tokens` tokens, 32 or 64; the residual is a multiple of it.
    pub const fn with_token_group(self, tokens: u32) -> Self {
        Self { k: KvSide { scale: KvScale::TokenGroup(tokens), ..self.k }, ..self }
    }

    /// A name and a format for everything that has kernels, KIVI with the usual windows; for tables and plots.
    pub const PRESETS: &'static [(&'static str, Self)] = &[
        ("float16", Self::FLOAT),
        ("int8", Self::INT8),
        ("int8 static", Self::INT8_STATIC),
        ("e4m3", Self::E4M3),
        ("e5m2", Self::E5M2),
        ("int8/e4m3", Self::INT8_E4M3),
        ("int8/int4", Self::INT8_INT4),
        ("int4", Self::INT4),
        ("nvfp4", Self::NVFP4),
        ("q8_0", Self::Q8_0),
        ("q8_0/q4_0", Self::Q8_0_Q4_0),
        ("q4_0", Self::Q4_0),
        ("kivi4 R=128", Self::kivi4(128)),
        ("kivi4 R=32", Self::kivi4(32)),
        ("kivi4 g=64 R=128", Self::kivi4(128).with_token_group(64)),
        ("kivi8/2 R=128", Self::kivi8_2(128)),
        ("kivi8/2 g=64 R=128", Self::kivi8_2(128).with_token_group(64)),
        ("kivi2 R=128", Self::kivi2(128)),
        ("kivi2 g=64 R=128", Self::kivi2(128).with_token_group(64)),
        ("nuq4", Self::nuq4(1)),
        ("nuq3", Self::nuq3(1)),
    ];

    /// What has kernels, in words; the text of every "unsupported" error about a format.
    pub const SUPPORTED: &str = "float; int8 per token; int8 per channel; e4m3 per head; e5m2 per head; int4 per 32 channels; nvfp4; int8 per token \
         with e4m3 per head; int8 per token with int4 per 32 channels; q8_0; q8_0 with q4_0; q4_0; kivi4, kivi2 and kivi8_2 \
         with keys per 32 or 64 tokens and a residual that is a multiple of that up to 1024; nuq4, nuq3 with a sink of 0 to 16 tokens";

    /// The list of [`KvFormat::SUPPORTED`], but for KIVI.
    const LIST: [Self; 12] = [
        Self::FLOAT,
        Self::INT8,
        Self::INT8_STATIC,
        Self::E4M3,
        Self::E5M2,
        Self::INT4,
        Self::NVFP4,
        Self::INT8_E4M3,
        Self::INT8_INT4,
        Self::Q8_0,
        Self::Q8_0_Q4_0,
        Self::Q4_0,
    ];

    /// True if the format is in the closed list of [`KvFormat::SUPPORTED`].
    pub fn is_supported(&self) -> bool {
        let KvScale::TokenGroup(group) = self.k.scale else {
            return Self::LIST.contains(self) || (self.is_nuq() && self.sink <= 16);
        };
        let kivi = [Self::kivi4, Self::kivi2, Self::kivi8_2].map(|kivi| kivi(self.residual).with_token_group(group));
        kivi.contains(self)
            && [32, 64].contains(&group)
            && self.residual.is_multiple_of(group)
            && (group..=1024).contains(&self.residual)
    }

    /// True for codes with tables and outliers, whatever the sink.
    pub(crate) fn is_nuq(&self) -> bool {
        [Self::nuq4(self.sink), Self::nuq3(self.sink)].contains(self)
    }

    /// Head dims that have kernels.
    pub fn head_dims(&self) -> &'static [usize] {
        match (*self, self.k.code, self.k.scale) {
            (Self::FLOAT | Self::E5M2 | Self::INT8_E4M3 | Self::INT8_INT4, ..) => &[64, 128],
            (_, _, KvScale::TokenGroup(64)) => &[64, 128],
            (Self::Q8_0_Q4_0, ..) => &[64, 96, 128],
            (_, _, KvScale::Block) => &[64, 96, 128, 256],
            (_, KvCode::Int2, _) => &[64, 96, 128, 192, 256],
            (_, KvCode::Uint8, _) => &[64, 96, 128, 192],
            _ if self.is_nuq() => &[64, 96, 128, 256],
            _ => &[64, 80, 96, 112, 128, 192, 256],
        }
    }

    /// True if the last tokens are kept in the model's dtype.
    pub const fn has_window(&self) -> bool {
        self.residual > 0
    }

    /// True if a sequence needs a state slot: for a window or a sink.
    pub const fn has_state(&self) -> bool {
        self.residual > 0 || self.sink > 0
    }

    /// Tokens of one tile record: those that share a scale of a key's channel; else 32 where either side has codes of
    /// less than 8 bits, and 16 in other formats.
    pub const fn tile_tokens(&self) -> usize {
        match self.k.scale {
            KvScale::TokenGroup(tokens) => tokens as usize,
            _ if self.k.code.bits() < 8 || self.v.code.bits() < 8 => 32,
            _ => 16,
        }
    }
}

impl fmt::Display for KvSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.code {
            KvCode::Float => "float",
            KvCode::Int8 => "int8",
            KvCode::E4m3 => "e4m3",
            KvCode::E5m2 => "e5m2",
            KvCode::Int4 => "int4",
            KvCode::E2m1 => "e2m1",
            KvCode::Int2 => "int2",
            KvCode::Q8_0 => "q8_0",
            KvCode::Q4_0 => "q4_0",
            KvCode::Uint8 => "uint8",
            KvCode::Nuq4 => "nuq4",
            KvCode::Nuq3 => "nuq3",
        };
        match self.scale {
            KvScale::None | KvScale::Block => write!(f, "{code}"),
            KvScale::Head => write!(f, "{code} per head"),
            KvScale::HeadBlock(g) => write!(f, "{code} per head and {g} channels"),
            KvScale::Channel => write!(f, "{code} per channel"),
            KvScale::Token => write!(f, "{code} per token"),
            KvScale::ChannelRange => write!(f, "{code} per channel"),
            KvScale::TokenRange => write!(f, "{code} per token"),
            KvScale::ChannelGroup(g) => write!(f, "{code} per {g} channels"),
            KvScale::TokenGroup(g) => write!(f, "{code} per {g} tokens"),
        }
    }
}

/// `k: int8 per token, v: int8 per token, residual 0`.
impl fmt::Display for KvFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k: {}, v: {}, residual {}", self.k, self.v, self.residual)?;
        if self.sink > 0 { write!(f, ", sink {}", self.sink) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_closed() {
        for (name, format) in KvFormat::PRESETS {
            assert!(format.is_supported(), "{name}: {format}");
        }
        let mixed = KvFormat { v: KvFormat::INT8.v, ..KvFormat::E4M3 };
        let window = KvFormat { residual: 32, ..KvFormat::INT8 };
        let group = KvFormat::INT8.with_token_group(32);
        let kivi = KvFormat::kivi2(96).with_token_group(64);
        let sink = KvFormat { sink: 1, ..KvFormat::INT8 };
        let wrong = [KvFormat::kivi4(0), KvFormat::kivi4(48), KvFormat::kivi4(1056), KvFormat::nuq4(17)];
        for format in [mixed, window, group, kivi, sink].into_iter().chain(wrong) {
            assert!(!format.is_supported(), "{format}");
        }
    }
}
