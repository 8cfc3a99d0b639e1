//! Fused activations on the device against their references: the row within its bound, codes and scales bit for bit.
#![cfg(kernels_built)]

mod arguments;
mod counts;
mod golden_rows;
mod outliers;
mod rows;
mod world;

#[allow(dead_code)] // Each test file uses a part of it.
#[path = "../common/golden.rs"]
mod golden;
