//! What makes softcuda believable and needs nvcc: its headers as a second opinion, and its PTX of the shipped kernels, spoiled.
#![cfg(kernels_built)]

mod compiler;
mod headers;
#[path = "../../softcuda/engine/tests/mutate/mod.rs"]
mod mutate;
mod mutations;
mod readme;
