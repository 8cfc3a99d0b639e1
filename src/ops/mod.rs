//! Safe wrappers over the kernels: validation, launch. Mirrors `kernels/` family by family.

pub mod attend;
pub mod cast;
pub mod ggml;
pub mod kv;
pub mod matmul;
pub mod quantize;
pub mod transform;
