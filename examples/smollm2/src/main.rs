//! A llama-architecture language model on quantized kernels.
fn main() {}
