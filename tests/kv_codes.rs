//! Codes and scales that the reference's append stores, decoded and compared bit for bit with golden quantization: real
//! and synthetic tokens, ties, NaN and infinities, bf16 beyond the range of f16.

#[path = "common/golden.rs"]
mod golden;
mod kv_world;

use golden::Golden;
use half::f16;
use kv_world::{Step, World};
use lowbit::cache::{KvFormat, KvLayout, KvShape, Status};
use lowbit::format::{Fp8, Half16};
use lowbit::reference::attend::{Dequantized, dequantize};

/// Keys and values as they are read back from codes after `x` `[tokens, heads, d]` was appended as both.
fn coded<T: Half16>(
    format: KvFormat,
    heads: usize,
    d: usize,
    x: &[T],
    scales: Option<Vec<f32>>,
) -> (Dequantized, Status) {
    let tokens = x.len() / (heads * d);
    let shape = KvShape { num_kv_heads: heads, head_dim: d, page_tokens: 32, max_append: 1, dtype: T::DTYPE };
    let mut world = World::new(KvLayout::new(shape, format).unwrap(), 1, tokens + 100, 3);
    (world.k_scale, world.v_scale) = (scales.clone(), scales);
    let step = world.step(&[tokens]);
    world.append(&step, x, x, true);
    // A call so far ahead that all of `x` is read as codes.
    let n = tokens as i32 + 2 * format.residual as i32 + 1;
    let ahead = Step { seq_lens: vec![n], cu_q_lens: vec![0, 1], max_q_len: 1, total_q: 1 };
    let (read, _) = dequantize(&world.cache_ref(), &world.batch(&ahead), 0).unwrap();
    let mut read = read.unwrap();
    read.k.truncate(x.len());
    read.v.truncate(x.len());
    (read, world.status)
}

fn same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        // A zero's sign is not part of a value: y = 0 * scale + min may give either.
        assert!(a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0), "{what}: element {i}: {a} instead of {b}");
    }
}

fn check<T: Half16>(golden: &Golden, prefix: &str, x: &[T], heads: usize, d: usize) {
    let y = |scheme: &str| golden.f32(&format!("{prefix}{scheme}.y"));
    let (int8, _) = coded(KvFormat::INT8, heads, d, x, None);
    same_bits(&int8.k, &y("int8_token"), &format!("{prefix} int8 keys"));
    same_bits(&int8.v, &y("int8_token"), &format!("{prefix} int8 values"));
    let (kivi, _) = coded(KvFormat::kivi4(32), heads, d, x, None);
    same_bits(&kivi.k, &y("kivi_k4_g32"), &format!("{prefix} KIVI keys"));
    same_bits(&kivi.v, &y("int4_group32"), &format!("{prefix} KIVI values"));
    if golden.names().iter().any(|name| *name == format!("{prefix}kivi_k2_g32.y")) {
        let (kivi, _) = coded(KvFormat::kivi2(32), heads, d, x, None);
        same_bits(&kivi.k, &y("kivi_k2_g32"), &format!("{prefix} 2-bit KIVI keys"));
        same_bits(&kivi.v, &y("int2_group32"), &format!("{prefix} 2-bit KIVI values"));
        let (kivi, _) = coded(KvFormat::kivi8_2(32), heads, d, x, None);
        same_bits(&kivi.k, &y("kivi_k8_g32"), &format!("{prefix} 8-bit KIVI keys"));
    }
}

#[test]
fn real_and_synthetic_tokens() {
    for name in ["quantize_real_k", "quantize_real_v", "quantize_synthetic"] {
        let golden = Golden::open(name);
        let shape = golden.shape("x");
        let x = golden.f16("x");
        check(&golden, "", &x, shape[1], shape[2]);
        let (e4m3, _) = coded(KvFormat::E4M3, shape[1], shape[2], &x, Some(golden.f32("e4m3_head.scale")));
        same_bits(&e4m3.k, &golden.f32("e4m3_head.y"), &format!("{name} e4m3 keys"));
        same_bits(&e4m3.v, &golden.f32("e4m3_head.y"), &format!("{name} e4m3 values"));
    }
}

#[test]
fn bf16_tokens() {
    let golden = Golden::open("quantize_bf16");
    for prefix in ["real.", "wide."] {
        let shape = golden.shape(&format!("{prefix}x"));
        check(&golden, prefix, &golden.bf16(&format!("{prefix}x")), shape[1], shape[2]);
    }
}

/// Every row of a `ties` set to `width` columns by repeating its last element, which changes no statistic.
fn padded(row: &[f16], width: usize) -> Vec<f16> {
    (0..width).map(|i| row[i.min(row.len() - 1)]).collect()
}

#[test]
fn ties_and_policy() {
    let golden = Golden::open("ties");
    for set in ["reciprocal_int8", "subnormal", "tiny_range", "sym4_half", "asym4_half", "policy"] {
        let (x, columns) = (golden.f16(&format!("{set}.x")), golden.shape(&format!("{set}.x"))[1]);
        let rows: Vec<f16> = x.chunks(columns).flat_map(|row| padded(row, 64)).collect();
        let (read, status) = coded(KvFormat::INT8, 1, 64, &rows, None);
        let scheme = if set == "reciprocal_int8" { "y" } else { "int8.y" };
        let y = golden.f32(&format!("{set}.{scheme}"));
        for (side, found) in [("keys", &read.k), ("values", &read.v)] {
            let unpadded: Vec<f32> = found.chunks(64).flat_map(|row| row[..columns].to_vec()).collect();
            same_bits(&unpadded, &y, &format!("{set} int8 {side}"));
        }
        assert_eq!(status.contains(Status::NAN), x.iter().any(|x| x.is_nan()), "{set}");
    }
    for set in ["asym2_half", "asym4_half", "sym4_half", "policy"] {
        let (x, columns) = (golden.f16(&format!("{set}.x")), golden.shape(&format!("{set}.x"))[1]);
        let y = golden.f32(&format!("{set}.int4_asym.y"));
        let count = x.len() / columns;
        // As values: a row is a channel group of a token, twice. As keys: a row is a channel over a tile's tokens.
        let rows: Vec<f16> = x.chunks(columns).flat_map(|row| [padded(row, 32), padded(row, 32)].concat()).collect();
        let (read, _) = coded(KvFormat::kivi4(32), 1, 64, &rows[..rows.len() / 64 * 64], None);
        let values: Vec<f32> = read.v.chunks(64).flat_map(|row| row[..columns].to_vec()).collect();
        same_bits(&values, &y, &format!("{set} KIVI values"));
        let row_of = |channel: usize| channel % count;
        let columns_as_channels: Vec<f16> =
            (0..32 * 64).map(|i| padded(&x[row_of(i % 64) * columns..][..columns], 32)[i / 64]).collect();
        let (read, _) = coded(KvFormat::kivi4(32), 1, 64, &columns_as_channels, None);
        for channel in 0..64 {
            let found: Vec<f32> = (0..columns).map(|token| read.k[token * 64 + channel]).collect();
            same_bits(
                &found,
                &y[row_of(channel) * columns..][..columns],
                &format!("{set} KIVI keys, channel {channel}"),
            );
        }
    }
}

#[test]
fn e4m3_with_unit_scale_maps_nan_to_zero() {
    let golden = Golden::open("ties");
    let (x, columns) = (golden.f16("policy.x"), golden.shape("policy.x")[1]);
    let rows: Vec<f16> = x.chunks(columns).flat_map(|row| padded(row, 64)).collect();
    let (read, status) = coded(KvFormat::E4M3, 1, 64, &rows, Some(vec![1.0]));
    let expected: Vec<f32> = golden.bytes("policy.e4m3_append.q").iter().map(|&q| Fp8::E4m3.decode(q)).collect();
    for found in [&read.k, &read.v] {
        let unpadded: Vec<f32> = found.chunks(64).flat_map(|row| row[..columns].to_vec()).collect();
        for (i, (a, b)) in unpadded.iter().zip(&expected).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "element {i}: {a} instead of {b}");
        }
    }
    assert_eq!(status, Status::NAN);
}
