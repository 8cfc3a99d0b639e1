//! Casts and quantization on the device equal their references, bit for bit, on every mode of the software device.
#![cfg(kernels_built)]

#[allow(dead_code)] // Each test file uses a part of it.
#[path = "../common/golden.rs"]
mod golden;
#[path = "../common/scales.rs"]
mod scales;
mod world;

mod casts;
mod errors;
mod golden_rows;
mod options;
mod shapes;
