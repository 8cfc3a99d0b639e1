//! Any bytes as a module whose kernels are launched: they end, or the report says why not.
#![no_main]

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = harness::run(input);
});
