//! ggml blocks, codebooks and the transforms before coding: references against golden vectors, kernels against references.
#![cfg(kernels_built)]

#[allow(dead_code)] // Each test file uses a part of it.
#[path = "../common/golden.rs"]
mod golden;

mod calibrate;
mod codebook;
mod ggml;
mod rotated;
mod transform;
mod world;
