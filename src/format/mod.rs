//! The vocabulary of quantized tensors: element types here, code formats and their arithmetic beside it.

pub mod activation;
mod codebook;
mod coded;
mod element;
mod fp8;
mod ggml;
pub mod outliers;
mod rope;
mod scheme;
mod transform;

pub use codebook::{Codebook, CodebookLengths, MAX_CODEBOOK_COLS, MAX_OUTLIER_SLOTS, Outliers, Spread, outlier_slots};
pub use coded::{ByteCode, CodedRows, CodedScale, CodedZero};
pub use element::{DType, Element, Half16};
pub use fp8::Fp8;
pub use ggml::{GgmlType, IQ4_NL};
pub use rope::{RopeStyle, rope_table};
pub use scheme::{Axis, Code, Lengths, Matrix, Scales, Scheme, pack, unpack};
pub use transform::{MAX_ROTATION, Rotation, Transform, sign};
