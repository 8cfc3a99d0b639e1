//! The vocabulary of quantized tensors: element types here, code formats and their arithmetic beside it.

mod element;

pub use element::{DType, Element, Half16};
