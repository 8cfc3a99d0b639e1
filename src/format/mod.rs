//! The vocabulary of quantized tensors: element types here, code formats and their arithmetic beside it.

mod element;
mod fp8;

pub use element::{DType, Element, Half16};
pub use fp8::Fp8;
