//! What the software device counts: K and V are read once whatever the number of query heads, in whole sectors, without
//! bank conflicts and without local memory.
#![cfg(kernels_built)]

mod attend_device;
mod kv_world;

use attend_device::Gpu;
use kv_world::{World, noise};
use lowbit::cache::{KvFormat, KvLayout, KvShape};
use lowbit::format::DType;
use lowbit::reference::attend::Options;
use nvcuda::client;

const TOKENS: usize = 4096;
const D: usize = 128;
const CHUNKS: usize = 16;

/// Sectors of 32 bytes that the kernel loads with `heads` query heads on one KV head and `rows` new tokens, and those that
/// codes and scales fill.
fn sectors(kernel: &str, format: KvFormat, heads: usize, rows: usize) -> (u64, u64) {
    let gpu = Gpu::new();
    let shape = KvShape { num_kv_heads: 1, head_dim: D, page_tokens: 64, max_append: 4, dtype: DType::F16 };
    let layout = KvLayout::new(shape, format).unwrap();
    let mut world = World::new(layout, 1, TOKENS, 3);
    for (tokens, seed, prefill) in [(TOKENS - rows, 1, true), (rows, 3, false)] {
        let step = world.step(&[tokens]);
        world.append(&step, &noise(tokens * D, seed), &noise(tokens * D, seed + 1), prefill);
    }
    let step = kv_world::Step {
        seq_lens: vec![TOKENS as i32],
        cu_q_lens: vec![0, rows as i32],
        max_q_len: rows,
        total_q: rows,
    };
    client::with_modes(
        |modes| modes.count = true,
        || {
            client::reset_counters();
            gpu.attend(&world, &step, &noise(rows * heads * D, 5), heads, &Options::new(0.02));
        },
    );
    let stats = client::counters_of(kernel).stats;
    assert_eq!(stats.shared_wavefronts, stats.shared_ideal_wavefronts, "{kernel}: bank conflicts");
    assert_eq!(stats.local_requests, 0, "{kernel}: local memory");
    // With one row and R = 32 F_k = 4064, F_v = 4063: a tile of codes of which V is read to its last token but one, and
    // the window.
    let (keys, values) = match layout.residual() {
        0 => (TOKENS, TOKENS),
        r => ((TOKENS - 1) / r * r, TOKENS - 1 - r),
    };
    let (coded, window) = (keys, (2 * TOKENS - keys - values) * D * 2);
    let ideal = (coded * layout.bytes_per_token() + window) / 32;
    // The query's rows, in every chunk; they come from cache but for the first.
    let query = (CHUNKS * rows * heads * D * 2) / 32;
    (stats.global_load_sectors - query as u64, ideal as u64)
}

#[test]
fn keys_and_values_are_read_once() {
    // Only the software device counts.
    drop(Gpu::new());
    if !client::active() {
        return;
    }
    for (kernel, format) in [
        ("attend_f16_d128", KvFormat::FLOAT),
        ("attend_int8_d128", KvFormat::INT8),
        ("attend_e4m3_d128", KvFormat::E4M3),
        ("attend_int4_d128", KvFormat::INT4),
        ("attend_nvfp4_d128", KvFormat::NVFP4),
        ("attend_int8_int4_d128", KvFormat::INT8_INT4),
        ("attend_kivi4_d128", KvFormat::kivi4(32)),
        ("attend_kivi2_d128", KvFormat::kivi2(32)),
        ("attend_kivi2_g64_d128", KvFormat::kivi2(64).with_token_group(64)),
    ] {
        let (one, ideal) = sectors(kernel, format, 1, 1);
        let (eight, _) = sectors(kernel, format, 8, 1);
        let (four_rows, _) = sectors(kernel, format, 2, 4);
        println!(
            "{kernel}: {one} sectors with one query head, {eight} with eight, {four_rows} with two heads and four rows, ideal {ideal}"
        );
        for sectors in [one, eight] {
            assert!(sectors as f64 <= 1.05 * ideal as f64, "{kernel}: {sectors} sectors, ideal {ideal}");
        }
        assert!(one.abs_diff(eight) as f64 <= 0.02 * one as f64, "{kernel}: {one} and {eight} sectors");
        let apart = one.abs_diff(four_rows) as f64;
        assert!(apart <= 0.05 * one as f64, "{kernel}: {one} sectors for one row, {four_rows} for four");
    }
}
