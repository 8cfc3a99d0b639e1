//! Products of 8-bit activations.

mod arguments;
mod counts;
mod four_bits;
mod invariance;
mod layout;
mod llm_int8;
mod products;
mod smooth;
mod wide;
mod world;
