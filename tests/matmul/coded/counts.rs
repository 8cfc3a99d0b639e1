//! What the kernels ask of memory, on the software device: every weight once, in whole sectors, no bank conflicts.

use half::f16;
use lowbit::format::ByteCode;
use lowbit::weights::ByteAxis;
use nvcuda::client;

use super::world::*;

#[test]
fn weights_are_read_once_in_whole_sectors() {
    let world = world();
    if !client::active() {
        eprintln!("not softcuda: nothing is counted");
        return;
    }
    let (n, k) = (256, 1024);
    let mut rng = rng(7);
    for (kernel, rows) in
        [("w8a8_int8_c1", 1), ("w8a8_int8_c1", 8), ("w8a8_int8_c2", 16), ("w8a8_int8_c4", 32), ("w8a8_int8_tiled", 64)]
    {
        let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
        let x = random_rows(&mut rng, ByteCode::Int8, "gauss", rows, k);
        client::reset_counters();
        Call::<f16>::new(&weights, &x, rows).run(world).unwrap();
        let counters = client::counters_of(kernel);
        let stats = &counters.stats;
        assert_eq!(counters.launches, 1, "{kernel}");
        // Every row tile reads every row of x (tiled: every eight), and each output asks for its scale and its row's.
        let readers = if rows > 32 { n / 128 } else { n / 16 };
        let x_sectors = readers * rows * k / 32;
        let scales = rows * n / 32 * (4 + 32);
        let requested = stats.global_load_sectors as f64;
        let ideal = (weights.layout().code_bytes() / 32 + x_sectors) as f64;
        assert!(
            requested >= ideal && requested <= ideal + scales as f64,
            "{kernel} rows {rows}: {requested} sectors for {ideal}"
        );
        assert_eq!(stats.shared_wavefronts, stats.shared_ideal_wavefronts, "{kernel} rows {rows}: bank conflicts");
        assert_eq!(stats.local_requests, 0, "{kernel} rows {rows}");
    }
}
