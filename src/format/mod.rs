//! The vocabulary of quantized tensors: element types here, code formats and their arithmetic beside it.

pub mod activation;
mod code;
mod codebook;
mod coded;
mod e2m1;
mod element;
mod fp8;
mod ggml;
pub mod outliers;
mod pack;
mod philox;
mod rope;
mod scales;
mod scheme;
mod transform;

pub use code::{Code, ScaleKind};
pub use codebook::{Codebook, CodebookLengths, MAX_CODEBOOK_COLS, MAX_OUTLIER_SLOTS, Outliers, Spread, outlier_slots};
pub use coded::{ByteCode, CodedRows, CodedScale, CodedZero};
pub use e2m1::{E2M1, decode_e2m1, decode_e8m0, encode_e2m1, encode_e8m0};
pub use element::{DType, Element, Half16};
pub use fp8::Fp8;
pub use ggml::{GgmlType, IQ4_NL};
pub use pack::{pack, unpack};
pub use philox::{philox4x32_10, uniform};
pub use rope::{RopeStyle, rope_table};
pub use scales::{HostScales, HostScalesMut, Lengths, Options, Rounding, Scales};
pub use scheme::{Axis, Matrix, Scheme};
pub use transform::{MAX_ROTATION, Rotation, Transform, sign};
