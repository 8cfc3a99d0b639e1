//! The cache formats this program knows by name.

use std::str::FromStr;

use lowbit::cache::{KeyRope, KvFormat, KvLayout, KvScale, KvShape};
use lowbit::format::{DType, RopeStyle};

use crate::gguf::Config;

/// A named cache format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Format {
    /// As on the command line and in reports.
    pub name: &'static str,
    /// The kernels' format; `None` is attention on the host in f32, without a cache.
    pub kv: Option<KvFormat>,
}

/// Every format, the f32 baseline first.
pub const ALL: [Format; 22] = [
    Format { name: "f32", kv: None },
    Format { name: "f16", kv: Some(KvFormat::FLOAT) },
    Format { name: "int8", kv: Some(KvFormat::INT8) },
    Format { name: "e4m3", kv: Some(KvFormat::E4M3) },
    Format { name: "e5m2", kv: Some(KvFormat::E5M2) },
    Format { name: "int8-e4m3", kv: Some(KvFormat::INT8_E4M3) },
    Format { name: "int8-int4", kv: Some(KvFormat::INT8_INT4) },
    Format { name: "int4-g32", kv: Some(KvFormat::INT4) },
    Format { name: "nvfp4", kv: Some(KvFormat::NVFP4) },
    Format { name: "q8_0", kv: Some(KvFormat::Q8_0) },
    Format { name: "q8_0-q4_0", kv: Some(KvFormat::Q8_0_Q4_0) },
    Format { name: "q4_0", kv: Some(KvFormat::Q4_0) },
    Format { name: "nuq4-1%", kv: Some(KvFormat::nuq4(4)) },
    Format { name: "nuq3-1%", kv: Some(KvFormat::nuq3(4)) },
    Format { name: "kivi4-r128", kv: Some(KvFormat::kivi4(128)) },
    Format { name: "kivi4-r32", kv: Some(KvFormat::kivi4(32)) },
    Format { name: "kivi4-g64-r128", kv: Some(KvFormat::kivi4(128).with_token_group(64)) },
    Format { name: "kivi8-2-r128", kv: Some(KvFormat::kivi8_2(128)) },
    Format { name: "kivi8-2-g64-r128", kv: Some(KvFormat::kivi8_2(128).with_token_group(64)) },
    Format { name: "kivi2-r128", kv: Some(KvFormat::kivi2(128)) },
    Format { name: "kivi2-r32", kv: Some(KvFormat::kivi2(32)) },
    Format { name: "kivi2-g64-r128", kv: Some(KvFormat::kivi2(128).with_token_group(64)) },
];

/// Tokens of a page in every cache of this program.
pub const PAGE_TOKENS: usize = 64;

impl Format {
    /// Whether the cache cannot be filled without tables from a calibration.
    pub fn needs_tables(&self) -> bool {
        self.kv.is_some_and(|kv| kv.k.scale == KvScale::ChannelRange)
    }

    /// Whether a calibration makes it better.
    pub fn gains_by_calibration(&self) -> bool {
        self.needs_tables() || self.kv == Some(KvFormat::NVFP4)
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
pub fn layout(config: &Config, format: KvFormat, max_append: usize) -> lowbit::Result<KvLayout> {
    let shape = KvShape {
        num_kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        page_tokens: PAGE_TOKENS,
        max_append,
        dtype: DType::F16,
    };
    let layout = KvLayout::new(shape, format)?;
    match format.k.scale {
        KvScale::ChannelRange => {
            layout.pre_rope(KeyRope { style: RopeStyle::Interleaved, rotary_dim: config.rotary_dim })
        }
        _ => Ok(layout),
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
