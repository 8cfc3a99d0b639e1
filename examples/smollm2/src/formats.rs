//! The cache formats this program knows by name.

use std::str::FromStr;

use lowbit::cache::{KeyRope, KvFormat, KvLayout, KvScale, KvShape};
use lowbit::format::{DType, RopeStyle, Rotation};

use crate::gguf::Config;

/// A named cache format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Format {
    /// As on the command line and in reports.
    pub name: &'static str,
    /// What the cache stores; `None` is attention on the host in f32, without a cache.
    pub kv: Option<Stored>,
}

/// The kernels' format, and how keys and values are rotated before they are coded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored {
    /// Codes and scales.
    pub format: KvFormat,
    /// Of keys and of values.
    pub rotations: [Rotation; 2],
}

const HADAMARD: Rotation = Rotation::Hadamard { block: 64 };

/// Without rotations.
pub const fn plain(name: &'static str, format: KvFormat) -> Format {
    rotated(name, format, [Rotation::None; 2])
}

const fn rotated(name: &'static str, format: KvFormat, rotations: [Rotation; 2]) -> Format {
    Format { name, kv: Some(Stored { format, rotations }) }
}

/// Every format, the f32 baseline first.
pub const ALL: [Format; 24] = [
    Format { name: "f32", kv: None },
    plain("f16", KvFormat::FLOAT),
    plain("int8", KvFormat::INT8),
    plain("e4m3", KvFormat::E4M3),
    plain("e5m2", KvFormat::E5M2),
    plain("int8-e4m3", KvFormat::INT8_E4M3),
    plain("int8-int4", KvFormat::INT8_INT4),
    plain("int4-g32", KvFormat::INT4),
    rotated("int4-g32-rotated-k", KvFormat::INT4, [HADAMARD, Rotation::None]),
    plain("nvfp4", KvFormat::NVFP4),
    plain("q8_0", KvFormat::Q8_0),
    plain("q8_0-q4_0", KvFormat::Q8_0_Q4_0),
    plain("q4_0", KvFormat::Q4_0),
    rotated("q4_0-rotated", KvFormat::Q4_0, [HADAMARD; 2]),
    plain("nuq4-1%", KvFormat::nuq4(SINK)),
    plain("nuq3-1%", KvFormat::nuq3(SINK)),
    plain("kivi4-r128", KvFormat::kivi4(128)),
    plain("kivi4-r32", KvFormat::kivi4(32)),
    plain("kivi4-g64-r128", KvFormat::kivi4(128).with_token_group(64)),
    plain("kivi8-2-r128", KvFormat::kivi8_2(128)),
    plain("kivi8-2-g64-r128", KvFormat::kivi8_2(128).with_token_group(64)),
    plain("kivi2-r128", KvFormat::kivi2(128)),
    plain("kivi2-r32", KvFormat::kivi2(32)),
    plain("kivi2-g64-r128", KvFormat::kivi2(128).with_token_group(64)),
];

/// First tokens that tables leave exact. KVQuant keeps 1; without a window every query reads the rest as codes, and over three pieces of the
/// text that are not evaluated 8 had a divergence 1 to 3 % below that of 4.
const SINK: u32 = 8;

/// Tokens of a page in every cache of this program.
pub const PAGE_TOKENS: usize = 64;

impl Format {
    /// Whether the cache cannot be filled without tables from a calibration.
    pub fn needs_tables(&self) -> bool {
        self.kv.is_some_and(|kv| kv.format.k.scale == KvScale::ChannelRange)
    }

    /// Whether a calibration makes it better.
    pub fn gains_by_calibration(&self) -> bool {
        self.needs_tables() || *self == plain(self.name, KvFormat::NVFP4)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Format, String> {
        let names = || ALL.map(|f| f.name).join(", ");
        ALL.into_iter().find(|f| f.name == name).ok_or_else(|| format!("no such format; there are {}", names()))
    }
}

/// The layout of one layer's cache.
pub fn layout(config: &Config, stored: Stored, max_append: usize) -> lowbit::Result<KvLayout> {
    let shape = KvShape {
        num_kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        page_tokens: PAGE_TOKENS,
        max_append,
        dtype: DType::F16,
    };
    let layout = KvLayout::new(shape, stored.format)?;
    match stored.format.k.scale {
        KvScale::ChannelRange => {
            layout.pre_rope(KeyRope { style: RopeStyle::Interleaved, rotary_dim: config.rotary_dim })
        }
        _ => layout.rotated(stored.rotations[0], stored.rotations[1]),
    }
}

/// Bytes that one token takes in the caches of all layers, windows aside.
pub fn bytes_per_token(config: &Config, format: &Format) -> lowbit::Result<usize> {
    let layer = match format.kv {
        None => 2 * config.kv_heads * config.head_dim * 4,
        Some(kv) => layout(config, kv, 1)?.bytes_per_token(),
    };
    Ok(config.layers * layer)
}

/// Bits of one stored number, scales included.
pub fn bits(config: &Config, format: &Format) -> lowbit::Result<f64> {
    let numbers = config.layers * 2 * config.kv_heads * config.head_dim;
    Ok(8.0 * bytes_per_token(config, format)? as f64 / numbers as f64)
}
