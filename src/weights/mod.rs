//! Weight matrices `w [n outputs, k]` in the packed layout that the skinny matmul kernels read, and importers to it.
//!
//! - [`PackedLayout`]: the layout as a value: every byte offset, documented and versioned.
//! - [`Packed`]: a matrix packed on the host, from [ggml blocks](Packed::from_ggml) (Q4_0, Q4_1, Q8_0) or from
//!   [plain codes](Packed::from_plain), and [back](Packed::to_plain).
//! - [`ByteLayout`], [`PackedBytes`]: 8-bit weights (int8, E4M3) for products with 8-bit activations.
//! - [`Gptq`], [`Awq`], [`CompressedTensors`]: checkpoints' tensors to plain codes and back, bit by bit; [`Checkpoint`] finds
//!   them by name in a safetensors file.
//! - [`quantize_rtn`]: plain codes from weights, by rounding to nearest.
//!
//! The engine uploads [`Packed::bytes`] and hands the kernels that buffer together with the layout.

mod awq;
mod bytes;
#[cfg(feature = "safetensors")]
mod checkpoint;
mod compressed;
mod ggml;
mod gptq;
mod layout;
mod order;
mod packed;
mod plain;
mod rtn;
mod words;

pub use crate::format::GgmlType;
pub use awq::{Awq, AwqWords};
pub use bytes::{BYTES_VERSION, ByteAxis, ByteLayout, ByteScales, PackedBytes};
#[cfg(feature = "safetensors")]
pub use checkpoint::{Checkpoint, CheckpointFormat};
pub use compressed::{CompressedTensors, CompressedWords};
pub use gptq::{Gptq, GptqVersion, GptqWords};
pub use layout::{CodePlace, PACKED_VERSION, PackedLayout, WeightFormat, ZeroPoint};
pub use order::{ActOrder, Imported, PADDING};
pub use packed::Packed;
pub use plain::{PlainWeights, Zeros};
pub use rtn::{Clip, RtnZeros, quantize_rtn};
pub use words::{ScaleValues, Words};
