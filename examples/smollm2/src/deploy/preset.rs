//! The deployments this program knows by name: what becomes of weights, activations and the KV cache.

use std::str::FromStr;

use lowbit::cache::KvFormat;
use lowbit::format::ByteCode;

use crate::formats::{Format, plain};

/// How the linear layers of a block are stored and multiplied. The output projection is W8A16 in all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scheme {
    /// 4-bit weights, f16 activations.
    W4A16(Source),
    /// Weights with a scale an output, activations with a scale a token, both of the code.
    W8A8 {
        /// Of weights and activations.
        code: ByteCode,
        /// Whether SmoothQuant's factors are folded in first.
        smooth: bool,
    },
}

/// Where 4-bit weights come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// The blocks of the file, bit for bit.
    Stored,
    /// Rounded to nearest in groups of [`GROUP`] with 4-bit zeros and the clipping of least squared error.
    Rounded,
}

/// k that share a scale with [`Source::Rounded`].
pub const GROUP: usize = 32;

/// A named deployment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deployment {
    /// As on the command line and in reports.
    pub name: &'static str,
    /// The linear layers.
    pub linear: Scheme,
    /// The cache.
    pub kv: Format,
}

const STORED: Scheme = Scheme::W4A16(Source::Stored);
const ROUNDED: Scheme = Scheme::W4A16(Source::Rounded);
const SMOOTH: Scheme = Scheme::W8A8 { code: ByteCode::Int8, smooth: true };
const PLAIN: Scheme = Scheme::W8A8 { code: ByteCode::Int8, smooth: false };
const FP8: Scheme = Scheme::W8A8 { code: ByteCode::E4m3, smooth: false };

const HOST: Format = Format { name: "f32", kv: None };
const INT8: Format = plain("int8", KvFormat::INT8);
const E4M3: Format = plain("e4m3", KvFormat::E4M3);
const KIVI: Format = plain("kivi4-r32", KvFormat::kivi4(32));

/// Every deployment; those with the same weights stand together, which loads them once. `w8a8` and `w8a8-smooth` have
/// attention on the host in f32, so that what smoothing is worth shows alone.
#[rustfmt::skip] // One deployment, one line.
pub const ALL: [Deployment; 8] = [
    Deployment { name: "memory-first", linear: STORED, kv: INT8 },
    Deployment { name: "balanced", linear: STORED, kv: KIVI },
    Deployment { name: "memory-first-rtn", linear: ROUNDED, kv: INT8 },
    Deployment { name: "balanced-rtn", linear: ROUNDED, kv: KIVI },
    Deployment { name: "speed-first", linear: SMOOTH, kv: E4M3 },
    Deployment { name: "w8a8-smooth", linear: SMOOTH, kv: HOST },
    Deployment { name: "w8a8", linear: PLAIN, kv: HOST },
    Deployment { name: "speed-first-fp8", linear: FP8, kv: E4M3 },
];

impl FromStr for Deployment {
    type Err = String;

    fn from_str(name: &str) -> Result<Deployment, String> {
        let names = || ALL.map(|d| d.name).join(", ");
        ALL.into_iter().find(|d| d.name == name).ok_or_else(|| format!("no such deployment; there are {}", names()))
    }
}

impl Scheme {
    /// Whether the activations of a calibration run are needed.
    pub fn smooths(&self) -> bool {
        matches!(self, Scheme::W8A8 { smooth: true, .. })
    }
}
