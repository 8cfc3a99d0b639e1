//! The CPU definition of every operation, on slices; mirrors `ops` one to one. This is what the kernels are held to.

pub mod activation;
pub mod attend;
pub mod cast;
pub mod codebook;
pub mod ggml;
pub mod kv;
pub mod matmul;
pub mod outliers;
pub mod quantize;
pub mod transform;
