//! What the kernels ask of memory, on the software device: inputs once, outputs once, no bank conflicts.

use half::f16;
use lowbit::format::Code;
use lowbit::format::activation::Gate;
use nvcuda::client;

use crate::world::*;

#[test]
fn rows_are_read_and_written_once() {
    let world = world();
    if !client::active() {
        eprintln!("not softcuda: nothing is counted");
        return;
    }
    let (rows, cols) = (4, 4096);
    let len = rows * cols;
    let norm = Input::Norm {
        x: numbers::<f16>(len, 1, false),
        residual: Some(numbers(len, 2, false)),
        weight: numbers(cols, 3, false),
        smooth: None,
        epsilon: 1e-5,
    };
    let gate =
        Input::Gate { function: Gate::Silu, gate: numbers(len, 1, false), up: numbers(len, 2, false), smooth: None };
    // Per row: x and residual, the weight; gate and up.
    for (kernel, input, read, written) in
        [("rms_norm_f16_int8", norm, 6 * len, 3 * len), ("gate_mul_f16_int8", gate, 4 * len, len)]
    {
        for kind in [Kind::Token, Kind::Group] {
            let coded = Some((Code::Int8, kind));
            let call = Call { rows, cols, stride: cols, shift: 0, input: input.clone(), coded };
            client::reset_counters();
            call.by_device(&world, false);
            let stats = client::counters_of(kernel).stats;
            let scales = 4 * rows * if kind == Kind::Group { cols / 128 } else { 1 };
            let (loads, stores) = (stats.global_load_sectors as f64, stats.global_store_sectors as f64);
            assert!(loads <= 1.02 * read as f64 / 32.0, "{kernel} {kind:?}: {loads} sectors read for {read} bytes");
            let scale_sectors = rows as f64 * if kind == Kind::Group { cols as f64 / 128.0 } else { 1.0 };
            assert!(
                stores <= 1.02 * written as f64 / 32.0 + scale_sectors,
                "{kernel} {kind:?}: {stores} for {written} and {scales}"
            );
            assert_eq!(stats.shared_wavefronts, stats.shared_ideal_wavefronts, "{kernel} {kind:?}: bank conflicts");
            assert_eq!(stats.local_requests, 0, "{kernel} {kind:?}");
        }
    }
}
