//! Instructions, as text through the whole engine, against formulations of their own: all inputs where there are 2^16, else many at random.

#![allow(clippy::needless_range_loop)] // the indices are lanes and matrix coordinates

mod cvt;
#[path = "../gpu/mod.rs"]
mod gpu;
mod grid;
mod half;
mod int;
mod matrix;
mod modes;
#[path = "../oracle/mod.rs"]
mod oracle;
mod small_matrix;
mod table;
