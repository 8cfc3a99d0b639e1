//! Memory traffic of the append kernel: chunks move few sectors beyond those that their bytes fill, and a single token's
//! cost does not grow with the length of its sequence.
#![cfg(kernels_built)]

mod kv_world;

use half::f16;
use kv_world::device::{Device, NewRows};
use kv_world::{World, formats, noise};
use lowbit::cache::{KvCode, KvFormat, KvLayout, KvShape};
use lowbit::format::DType;
use nvcuda::client;

fn kernel(format: KvFormat, d: usize) -> String {
    let name = match format.k.code {
        KvCode::Float => "float",
        KvCode::Int8 => "int8",
        KvCode::E4m3 => "e4m3",
        _ => "kivi4",
    };
    format!("append_{name}_d{d}")
}

/// Counters of one call that brings `new` tokens to a sequence of `len`.
fn count(device: &Device, format: KvFormat, d: usize, len: usize, new: usize, prefill: bool) -> client::LaunchStats {
    let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: 64, max_append: 1, dtype: DType::F16 };
    let mut world = World::new(KvLayout::new(shape, format).unwrap(), 1, len + new, 1);
    let row = world.row();
    if len > 0 {
        let step = world.step(&[len]);
        let x = noise(len * row, 2);
        world.append(&step, &x, &x, true);
    }
    let step = world.step(&[new]);
    let x: Vec<f16> = noise(new * row, 3);
    let rows = || NewRows { data: x.as_slice(), skip: 0, stride: row };
    client::reset_counters();
    device.append(&mut world, &step, rows(), rows(), prefill).unwrap();
    let counters = client::counters_of(&kernel(format, d));
    assert_eq!(counters.launches, 1);
    counters.stats
}

#[test]
fn chunks_move_few_sectors_beyond_their_bytes() {
    let device = Device::new();
    if !client::active() {
        eprintln!("kv_counts: not on softcuda, nothing is counted");
        return;
    }
    for format in formats() {
        for d in [64, 128] {
            let tokens = 256;
            let stats = count(&device, format, d, 0, tokens, true);
            let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: 64, max_append: 1, dtype: DType::F16 };
            let layout = KvLayout::new(shape, format).unwrap();
            // Each row once, K and V; the rows that also go to the window are read and written a second time.
            let rows = 2 * 2 * d * 2;
            let window = if format.has_window() { (format.residual as usize + 1).min(tokens) * rows } else { 0 };
            let (read, written) = (tokens * rows + window, tokens * layout.bytes_per_token() + window);
            let ideal = |bytes: usize| bytes as f64 / 32.0;
            let (load, store) = (stats.global_load_sectors as f64, stats.global_store_sectors as f64);
            eprintln!(
                "{:<18} chunk of {tokens}: sectors read {load} (bytes fill {}), written {store} (bytes fill {})",
                kernel(format, d),
                ideal(read),
                ideal(written)
            );
            assert!(ideal(read) >= 0.7 * load, "{format} D {d}: reads {load} sectors for {read} bytes");
            assert!(ideal(written) >= 0.7 * store, "{format} D {d}: writes {store} sectors for {written} bytes");
        }
    }
}

#[test]
fn a_token_costs_the_same_at_every_length() {
    let device = Device::new();
    if !client::active() {
        eprintln!("kv_counts: not on softcuda, nothing is counted");
        return;
    }
    for format in formats() {
        let at = |len| {
            let stats = count(&device, format, 128, len, 1, false);
            (stats.total_warp_instructions(), stats.global_load_sectors, stats.global_store_sectors)
        };
        // Same place in its tile and no flush: R divides neither.
        let (short, long) = (at(5), at(5 + 640));
        assert_eq!(short.1, long.1, "{format}: sectors read");
        assert_eq!(short.2, long.2, "{format}: sectors written");
        let ratio = long.0 as f64 / short.0 as f64;
        assert!(ratio < 1.02, "{format}: {} warp instructions at 645 tokens, {} at 5", long.0, short.0);
        eprintln!(
            "{format}: one token of 2 heads, D 128: {} warp instructions, {} sectors read, {} written",
            short.0, short.1, short.2
        );
    }
}
