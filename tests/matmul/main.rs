//! The skinny matmul kernels against their definition, on every mode of the software device.
#![cfg(kernels_built)]

#[path = "../common/golden.rs"]
mod golden;
mod world;

mod arguments;
mod coded;
mod counts;
mod epilogue;
mod invariance;
mod order;
mod products;
mod repack;
mod tiled;
