//! What is asked of the software device before a program's first CUDA call counts. A program of its own: no other test may load
//! the driver before it.
#![cfg(kernels_built)]

use lowbit::testing;
use nvcuda::client;

#[test]
fn a_model_chosen_before_the_first_call_counts() {
    client::set_model("sm_80");
    let active = client::active();
    let (_, kernels) = testing::device();
    assert_eq!(active, client::active());
    assert!(!active || kernels.compute_capability() == (8, 0), "{kernels:?}");
}
