//! Safe wrappers over the kernels: validation, launch. Mirrors `kernels/` family by family.

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
