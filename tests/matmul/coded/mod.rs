//! Products of 8-bit activations.

mod arguments;
mod counts;
mod invariance;
mod layout;
mod products;
mod world;
