//! Every family of kernels, on a GPU; without one, the CPU reference that defines it. docs/performance.md says how to read it.
//!
//! `cargo bench [-- FILTER]`. On a GPU a group has the family's name, and a time is that of one call, by CUDA events around
//! graphs of calls whose large operands are in turn different copies: together four times what the second-level cache
//! holds, so that they come from memory. What a call made is compared with the reference before it is timed, and again
//! after. Without a GPU (the software device is none) the groups end in `(reference)`.
//!
//! `cargo test --bench kernels` takes small shapes and checks everything once, on whatever device there is.

mod activation;
mod attention;
mod cache;
mod coded;
mod data;
mod device;
mod kv;
mod llm_int8;
mod measure;
mod quantize;
mod w16;
mod wide;

use std::time::Duration;

use criterion::Criterion;
use measure::Bench;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut bench = Bench::new(&mut criterion);
    quantize::run(&mut bench);
    activation::run(&mut bench);
    kv::run(&mut bench);
    attention::run(&mut bench);
    w16::run(&mut bench);
    wide::run(&mut bench);
    coded::run(&mut bench);
    llm_int8::run(&mut bench);
    criterion.final_summary();
}
