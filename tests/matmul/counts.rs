//! What the kernels ask of memory, on the software device: every weight once, in whole sectors, no bank conflicts.

use half::f16;
use nvcuda::client::{self, Class};

use crate::world::*;

/// Sectors of 32 bytes that x takes: every row tile reads every run of 32 k, 64 bytes a row. Columns of a product without
/// a row read the last row again: in the same request, but for a product (8 of the `columns`) that has no row at all.
fn x_sectors(n: usize, k: usize, rows: usize, columns: usize) -> u64 {
    let products = (0..columns).step_by(8).map(|first| rows.saturating_sub(first).clamp(1, 8));
    (n.div_ceil(16) * (k / 32) * 2 * products.sum::<usize>()) as u64
}

#[test]
fn weights_are_read_once_in_whole_sectors() {
    let world = world();
    if !client::active() {
        eprintln!("not softcuda: nothing is counted");
        return;
    }
    let n = 256;
    // Shapes whose k is not split over blocks: no workspace to read.
    for (kernel, kind, k, group, most) in [
        ("w4a16_f16_zero4_g128", Kind::Zeros, 2048, 128, 1.03),
        ("w4a16_f16_sym_g128", Kind::Symmetric, 2048, 128, 1.0),
        ("w4a16_f16_sym_g32", Kind::Symmetric, 2048, 32, 1.0),
        ("w4a16_f16_min_g32", Kind::Min, 2048, 32, 1.0),
        ("w8a16_f16_g32", Kind::Int8, 1024, 32, 1.0),
    ] {
        let weights = random_weights(&mut rng(13), kind, n, k, group);
        let layout = weights.layout();
        // Scales of 16 outputs are whole sectors; 4-bit zeros of a group of 128 are 8 bytes.
        let ideal = (layout.code_bytes() + layout.scale_bytes() + layout.zero_bytes()) as f64 / 32.0;
        let x = activations::<f16>(&mut rng(14), "gauss", 32 * k);
        for (rows, columns, suffix) in
            [(1, 8, ""), (4, 8, ""), (8, 8, ""), (9, 16, "_m16"), (16, 16, "_m16"), (17, 32, "_m32"), (32, 32, "_m32")]
        {
            client::reset_counters();
            Call::<f16, f16>::new(&weights, &x, rows).run(&world).unwrap();
            let counters = client::counters_of(&format!("{kernel}{suffix}"));
            let stats = &counters.stats;
            assert_eq!(counters.launches, 1, "{kernel}");
            let requested = (stats.global_load_sectors - x_sectors(n, k, rows, columns)) as f64;
            assert!(
                requested >= ideal && requested <= most * ideal,
                "{kernel} rows {rows}: {requested} sectors of weights for {ideal}"
            );
            assert_eq!(stats.shared_wavefronts, stats.shared_ideal_wavefronts, "{kernel} rows {rows}: bank conflicts");
            assert_eq!(stats.local_requests, 0, "{kernel} rows {rows}");
        }
    }
}

/// Products and loads are the same for every number of rows; only the epilogue grows.
#[test]
fn rows_are_free() {
    let world = world();
    if !client::active() {
        eprintln!("not softcuda: nothing is counted");
        return;
    }
    let (n, k) = (64, 4096);
    let weights = random_weights(&mut rng(15), Kind::Min, n, k, 32);
    let x = activations::<f16>(&mut rng(16), "gauss", 8 * k);
    let count = |rows: usize| {
        client::reset_counters();
        Call::<f16, f32>::new(&weights, &x, rows).run(&world).unwrap();
        client::counters_of("w4a16_f16_min_g32").stats
    };
    let (one, eight) = (count(1), count(8));
    let instructions = |stats: &client::LaunchStats| stats.warp_instructions.iter().sum::<u64>() as f64;
    let mma = Class::Mma as usize;
    assert_eq!(one.warp_instructions[mma], eight.warp_instructions[mma]);
    assert!(instructions(&eight) <= 1.1 * instructions(&one), "{} and {}", instructions(&one), instructions(&eight));
}
