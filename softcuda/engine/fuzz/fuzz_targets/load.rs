//! Any bytes as a module: it loads, or the error says why not.
#![no_main]

#[path = "../harness.rs"]
#[allow(dead_code)] // the other target's half
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = harness::load(input);
});
