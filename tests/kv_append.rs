//! The append kernel against the reference: every byte of pages, state and status, in ragged batches of every format.
#![cfg(kernels_built)]

mod kv_world;

use half::{bf16, f16};
use kv_world::device::{Device, NewRows};
use kv_world::{KIVI_FORMATS, NUQ_FORMATS, Step, TOKEN_FORMATS, World, formats, noise, rng};
use lowbit::cache::{KvFormat, KvLayout, KvShape, Status};
use lowbit::format::Half16;
use proptest::prelude::*;
use rand::RngExt;

fn layout<T: Half16>(format: KvFormat, num_kv_heads: usize, head_dim: usize, page_tokens: usize) -> KvLayout {
    let shape = KvShape { num_kv_heads, head_dim, page_tokens, max_append: 5, dtype: T::DTYPE };
    kv_world::pre_rope(KvLayout::new(shape, format).unwrap(), page_tokens / 32 + head_dim / 64)
}

/// Tokens with everything that a quantizer can meet: wide spreads, both zeros, NaN, infinities, subnormals.
fn hostile<T: Half16>(len: usize, seed: u64) -> Vec<T> {
    let mut random = rng(seed + 77);
    noise(len, seed)
        .into_iter()
        .map(|x| match random.random_range(0..400) {
            0 => T::from_f32(f32::NAN),
            1 => T::from_f32(f32::INFINITY),
            2 => T::from_f32(f32::NEG_INFINITY),
            3 => T::from_f32(-0.0),
            4 => T::from_f32(65504.0),
            5 => T::from_f32(6e-8),
            6 => T::from_f32(1e30),
            _ => T::from_f32(x.to_f32()),
        })
        .collect()
}

/// Runs one call by the reference and by the kernel on the same world, and compares all bytes.
fn both<T: Half16>(device: &Device, world: &mut World, step: &Step, k: &[T], v: &[T], prefill: bool, what: &str) {
    let mut found = world.clone();
    world.append(step, k, v, prefill);
    let stride = world.row();
    let rows = |data| NewRows { data, skip: 0, stride };
    device.append(&mut found, step, rows(k), rows(v), prefill).unwrap();
    same(&found, world, what);
}

fn same(found: &World, expected: &World, what: &str) {
    let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).position(|(a, b)| a != b);
    let layout = &expected.layout;
    let pages = differ(&found.pages, &expected.pages).map(|at| {
        let (page, byte) = (at / layout.page_bytes(), at % layout.page_bytes());
        let tile = layout.tile();
        let in_record = byte % tile.bytes;
        format!("page {page} head {} byte {in_record} of a record {tile:?}", byte / layout.head_bytes())
    });
    assert_eq!(pages, None, "{what}: pages differ");
    let state = differ(&found.state, &expected.state).map(|at| {
        format!("slot {} byte {} of {:?}", at / layout.state_bytes(), at % layout.state_bytes(), layout.window())
    });
    assert_eq!(state, None, "{what}: state differs");
    assert_eq!(found.status, expected.status, "{what}: status");
}

/// A ragged batch through a serving loop: lengths around R and the page, then calls of 1, of up to `max_append`, of
/// whole chunks; some rows of every call are padding.
fn serve<T: Half16>(device: &Device, format: KvFormat, d: usize, page_tokens: usize, seed: u64) {
    let heads = 2;
    let r = format.residual as usize;
    let lens = [0, 1, page_tokens - 1, page_tokens, page_tokens + 1, r.max(1) - 1, r, r + 1, 2 * r + 3];
    let mut world = World::new(layout::<T>(format, heads, d, page_tokens), lens.len(), 2 * r + 230, seed);
    let row = world.row();
    let tokens = |step: &Step, seed| hostile::<T>(step.total_q * row, seed);
    let step = world.step(&lens);
    let (k, v) = (tokens(&step, seed), tokens(&step, seed + 1));
    let what = |text: &str| format!("{format} D {d} pages of {page_tokens} {}: {text}", T::DTYPE);
    both(device, &mut world, &step, &k, &v, true, &what("first prompts"));
    let calls: [(&str, [usize; 9], bool); 4] = [
        ("one token each", [1; 9], false),
        ("with padding", [1, 0, 1, 1, 0, 0, 1, 1, 1], false),
        ("up to max_append", [5, 4, 0, 3, 2, 1, 5, 5, 5], false),
        ("chunks", [1, 31, 33, page_tokens + 1, 0, 100, 16, 64, 7], true),
    ];
    for (text, new, prefill) in calls {
        let step = world.step(&new);
        let (k, v) = (tokens(&step, seed + 2), tokens(&step, seed + 3));
        both(device, &mut world, &step, &k, &v, prefill, &what(text));
    }
}

#[test]
fn float_batches() {
    let device = Device::new();
    serve::<f16>(&device, KvFormat::FLOAT, 64, 16, 1);
    serve::<bf16>(&device, KvFormat::FLOAT, 128, 32, 2);
}

#[test]
fn int8_batches() {
    let device = Device::new();
    serve::<f16>(&device, KvFormat::INT8, 64, 16, 3);
    serve::<f16>(&device, KvFormat::INT8, 128, 64, 4);
    serve::<bf16>(&device, KvFormat::INT8, 128, 32, 5);
}

#[test]
fn e4m3_batches() {
    let device = Device::new();
    serve::<f16>(&device, KvFormat::E4M3, 64, 16, 6);
    serve::<f16>(&device, KvFormat::E4M3, 128, 64, 7);
    serve::<bf16>(&device, KvFormat::E4M3, 64, 32, 8);
}

#[test]
fn kivi_batches() {
    let device = Device::new();
    serve::<f16>(&device, KvFormat::kivi4(32), 64, 32, 9);
    serve::<f16>(&device, KvFormat::kivi4(32), 128, 64, 10);
    serve::<f16>(&device, KvFormat::kivi4(128), 128, 32, 11);
    serve::<bf16>(&device, KvFormat::kivi4(96), 64, 64, 12);
    serve::<f16>(&device, KvFormat::kivi2(32), 64, 64, 13);
    serve::<bf16>(&device, KvFormat::kivi8_2(64).with_token_group(64), 128, 64, 14);
}

/// Every format without a window and every head dim: words left over after the quads, and groups of 16 channels.
#[test]
fn every_format_and_head_dim() {
    let device = Device::new();
    for format in TOKEN_FORMATS.into_iter().chain(NUQ_FORMATS) {
        serve_briefly::<f16>(&device, format, 64, 70);
        serve_briefly::<bf16>(&device, format, 128, 71);
    }
    for format in KIVI_FORMATS {
        serve_briefly::<f16>(&device, format, 64, 72);
        serve_briefly::<bf16>(&device, format, 128, 73);
    }
    let dims = [KvFormat::kivi4(32), KvFormat::kivi2(32), KvFormat::kivi8_2(32)];
    for format in [
        KvFormat::INT8,
        KvFormat::INT8_STATIC,
        KvFormat::E4M3,
        KvFormat::INT4,
        KvFormat::NVFP4,
        KvFormat::Q8_0,
        KvFormat::Q4_0,
    ]
    .into_iter()
    .chain(dims)
    .chain(NUQ_FORMATS)
    {
        for (i, &d) in format.head_dims().iter().enumerate().filter(|(_, d)| ![64, 128].contains(*d)) {
            if i % 2 == 0 {
                serve_briefly::<f16>(&device, format, d, 80 + i as u64);
            } else {
                serve_briefly::<bf16>(&device, format, d, 80 + i as u64);
            }
        }
    }
}

/// Whole tiles, parts of tiles, single tokens, and a flush.
fn serve_briefly<T: Half16>(device: &Device, format: KvFormat, d: usize, seed: u64) {
    // Lengths around the group of keys that is coded at once.
    let group = format.tile_tokens().max(format.residual as usize).max(32);
    let page_tokens = format.tile_tokens().max(32);
    let mut world = World::new(layout::<T>(format, 1, d, page_tokens), 2, 2 * group + 50, seed);
    let row = world.row();
    let first = [2 * group - 2, group + 11];
    for (new, prefill) in [(first, true), ([1, 0], false), ([5, 3], false)] {
        let step = world.step(&new);
        let (k, v) = (hostile::<T>(step.total_q * row, seed), hostile::<T>(step.total_q * row, seed + 1));
        both(device, &mut world, &step, &k, &v, prefill, &format!("{format} D {d} {}: {new:?} new", T::DTYPE));
    }
}

/// Decoding token by token over several flushes and ring wraps, then one prefill far longer than the ring, from an
/// uneven start: the flush reads ring rows that the same launch replaces.
#[test]
fn kivi_over_ring_wraps() {
    let device = Device::new();
    let mut world = World::new(layout::<f16>(KvFormat::kivi4(32), 1, 64, 32), 1, 700, 21);
    let row = world.row();
    for call in 0..110 {
        let step = world.step(&[1]);
        let (k, v) = (noise(row, 1000 + call), noise(row, 2000 + call));
        both(&device, &mut world, &step, &k, &v, false, &format!("call {call}"));
    }
    for (i, m) in [203, 64, 5, 97].into_iter().enumerate() {
        let step = world.step(&[m]);
        let (k, v) = (noise(m * row, 3000 + i as u64), noise(m * row, 4000 + i as u64));
        both(&device, &mut world, &step, &k, &v, true, &format!("prefill of {m}"));
    }
}

/// The last token of the last block is one of the sequence.
#[test]
fn a_sequence_may_fill_its_blocks() {
    let device = Device::new();
    let mut world = World::new(layout::<f16>(KvFormat::INT8, 1, 64, 32), 1, 96, 41);
    let row = world.row();
    for new in [95, 1] {
        let step = world.step(&[new]);
        both(&device, &mut world, &step, &noise(new * row, 5), &noise(new * row, 6), true, &format!("{new} new"));
    }
    assert_eq!(world.lens[0], world.max_blocks * 32);
}

/// Keys and values as columns of a fused projection.
#[test]
fn strided_rows() {
    let device = Device::new();
    for format in formats() {
        let mut world = World::new(layout::<f16>(format, 2, 64, 32), 3, 100, 31);
        let row = world.row();
        let stride = 4 * row + row + 2 * row;
        for (new, prefill) in [([40, 3, 33], true), ([1, 5, 0], false)] {
            let step = world.step(&new);
            let fused = hostile::<f16>(step.total_q * stride, 5);
            let column = |skip: usize| -> Vec<f16> {
                (0..step.total_q).flat_map(|r| fused[r * stride + skip..][..row].to_vec()).collect()
            };
            let (k_at, v_at) = (4 * row, 5 * row);
            let mut found = world.clone();
            world.append(&step, &column(k_at), &column(v_at), prefill);
            let rows = |skip| NewRows { data: fused.as_slice(), skip, stride };
            device.append(&mut found, &step, rows(k_at), rows(v_at), prefill).unwrap();
            same(&found, &world, &format!("{format} strided"));
        }
        // Keys in a fused projection, values on their own: each has its own stride.
        let step = world.step(&[2, 0, 5]);
        let (fused, v) = (hostile::<f16>(step.total_q * stride, 6), hostile::<f16>(step.total_q * row, 7));
        let k: Vec<f16> = (0..step.total_q).flat_map(|r| fused[r * stride..][..row].to_vec()).collect();
        let mut found = world.clone();
        world.append(&step, &k, &v, false);
        let (fused, v) =
            (NewRows { data: &fused[..], skip: 0, stride }, NewRows { data: &v[..], skip: 0, stride: row });
        device.append(&mut found, &step, fused, v, false).unwrap();
        same(&found, &world, &format!("{format} two strides"));
    }
}

type Spoil = fn(&mut World, &mut Step);

/// What only the device sees is masked, reported, and touches nothing else.
#[test]
fn bad_indices_are_masked_and_reported() {
    let device = Device::new();
    for format in formats() {
        let windowed = format.has_window();
        let lens = [70, 33, 64, 50, 65, 40];
        let cases: [(&str, Spoil, Status); 15] = [
            ("page -1", |w, _| w.table[2 * w.max_blocks + 2] = -1, Status::BAD_PAGE),
            ("page beyond the pool", |w, _| w.table[2 * w.max_blocks + 2] = 1 << 20, Status::BAD_PAGE),
            ("page one beyond the pool", |w, _| w.table[2 * w.max_blocks + 2] = w.num_pages() as i32, Status::BAD_PAGE),
            ("bad page that is not needed", |w, _| w.table[3 * w.max_blocks + 2] = -1, Status::OK),
            ("exactly full", |w, s| s.seq_lens[4] = (w.max_blocks * 32) as i32, Status::OK),
            ("slot -1", |w, _| w.slots[1] = -1, if windowed { Status::BAD_SLOT } else { Status::OK }),
            (
                "slot beyond the state",
                |w, _| w.slots[1] = i32::MAX,
                if windowed { Status::BAD_SLOT } else { Status::OK },
            ),
            (
                "slot one beyond the state",
                |w, _| w.slots[1] = w.num_slots() as i32,
                if windowed { Status::BAD_SLOT } else { Status::OK },
            ),
            ("longer than the table", |_, s| s.seq_lens[4] = i32::MAX, Status::TOO_LONG),
            ("one too long", |w, s| s.seq_lens[4] = (w.max_blocks * 32 + 1) as i32, Status::TOO_LONG),
            ("fewer tokens than rows", |_, s| s.seq_lens[0] = 0, Status::BAD_LENGTHS),
            ("rows beyond total_q", |_, s| s.cu_q_lens[6] = 1000, Status::BAD_LENGTHS),
            ("last row beyond total_q", |_, s| s.cu_q_lens.iter_mut().for_each(|row| *row += 1), Status::BAD_LENGTHS),
            ("negative rows", |_, s| s.cu_q_lens[0] = -1, Status::BAD_LENGTHS),
            ("decreasing rows", |_, s| s.cu_q_lens[3] = 1, Status::BAD_LENGTHS),
        ];
        for prefill in [false, true] {
            for (name, spoil, expected) in cases {
                let mut world = World::new(layout::<f16>(format, 2, 64, 32), lens.len(), 96, 41);
                let row = world.row();
                let step = world.step(&lens);
                let first = noise(step.total_q * row, 6);
                world.append(&step, &first, &first, true);
                let mut step = world.step(&[5, 3, 1, 4, 5, 2]);
                let (k, v) = (noise(step.total_q * row, 7), noise(step.total_q * row, 8));
                spoil(&mut world, &mut step);
                let what = format!("{format}, {name}, prefill {prefill}");
                both(&device, &mut world, &step, &k, &v, prefill, &what);
                // A length that jumps flushes ring rows that were never written, which are NaN.
                let without_nan = Status(world.status.0 & !Status::NAN.0);
                assert_eq!(without_nan, expected, "{what}");
            }
        }
    }
}

/// Scales at the edge: rows of a few of the smallest numbers, groups whose range rounds to a scale of 0, and scales of a
/// head that are 0, negative, infinite or NaN.
#[test]
fn degenerate_scales() {
    fn run<T: Half16>(device: &Device, tiny: f32) {
        for format in formats().into_iter().chain([KvFormat::NVFP4, KvFormat::nuq4(0), KvFormat::nuq3(16)]) {
            let mut world = World::new(layout::<T>(format, 5, 64, 32), 2, 300, 61);
            for scale in [&mut world.k_scale, &mut world.v_scale].into_iter().flatten().filter(|s| s.len() == 5) {
                scale.copy_from_slice(&[0.0, -0.25, f32::INFINITY, f32::NAN, f32::from_bits(1)]);
            }
            let row = world.row();
            let mut random = rng(7);
            for (new, prefill) in [([100, 37], true), ([5, 1], false), ([64, 33], true)] {
                let step = world.step(&new);
                // Each row of a head has its own largest multiple of `tiny`, some 0, some next to 1.0.
                let mut tokens = || -> Vec<T> {
                    let mut out = Vec::new();
                    for head_row in 0..step.total_q * row / 64 {
                        let (low, high) = [(0, 1), (-1, 2), (0, 40), (-200, 200), (-7, 0)][head_row % 5];
                        let base = if head_row % 7 == 0 { 1.0 } else { 0.0 };
                        out.extend((0..64).map(|_| T::from_f32(base + tiny * random.random_range(low..=high) as f32)));
                    }
                    out
                };
                let (k, v) = (tokens(), tokens());
                both(device, &mut world, &step, &k, &v, prefill, &format!("{format} {} tiny rows", T::DTYPE));
            }
        }
    }
    let device = Device::new();
    run::<f16>(&device, 2f32.powi(-24));
    run::<bf16>(&device, 2f32.powi(-133));
}

/// Values half way between two codes, in tokens and in channels: 0, 0.5 .. 15 for 4 bits, to 3 for 2, to 127 for 8, and to 6 for
/// E2M1.
#[test]
fn ties_between_codes() {
    let device = Device::new();
    for (format, top) in [
        (KvFormat::kivi4(32), 15),
        (KvFormat::kivi2(32), 3),
        (KvFormat::INT4, 15),
        (KvFormat::INT8, 127),
        (KvFormat::Q8_0, 127),
        (KvFormat::E4M3, 15),
        (KvFormat::E5M2, 15),
        (KvFormat::NVFP4, 6),
    ] {
        let mut world = World::new(layout::<f16>(format, 1, 64, 32), 1, 100, 71);
        for scale in [&mut world.k_scale, &mut world.v_scale].into_iter().flatten() {
            scale.fill(0.0625);
        }
        let row = world.row();
        let step = world.step(&[70]);
        // Every 32 neighbours of a row or of a column hold both ends; of int8 and q8_0 the first of 32 is the top.
        let value = |token: usize, channel: usize| match top {
            6 if channel.is_multiple_of(16) => 6.0,
            6 => ((7 * channel + 3 * token) % 24) as f32 / 4.0,
            127 if channel.is_multiple_of(32) => 127.0,
            127 => ((7 * channel + 3 * token) % 127) as f32 + 0.5,
            3 => ((token + channel) % 7) as f32 / 2.0,
            _ => ((token + channel) % 31) as f32 / 2.0,
        };
        let tokens: Vec<f16> = (0..70 * row).map(|at| f16::from_f32(value(at / row, at % row))).collect();
        both(&device, &mut world, &step, &tokens, &tokens, true, &format!("{format} ties"));
    }
}

/// Elements at the ends of their range and just beyond, several of one magnitude, constant rows, and more outliers than places.
#[test]
fn outliers_of_tables() {
    let device = Device::new();
    for format in NUQ_FORMATS {
        let mut world = World::new(layout::<f16>(format, 1, 64, 32), 1, 100, 74);
        let row = world.row();
        let step = world.step(&[70]);
        let value = |token: usize, channel: usize| match (token % 7, channel) {
            (0, _) => 1.0,
            (1, c) => [2.0, -2.0][c % 2],
            (2, 5 | 9 | 40) => 100.0,
            (3, 3) => 1000.0,
            (4, c) => (c as f32 - 31.5) / 4.0,
            (_, c) => ((token * 13 + c * 29) % 17) as f32 / 4.0 - 2.0,
        };
        let tokens: Vec<f16> = (0..70 * row).map(|at| f16::from_f32(value(at / row, at % row))).collect();
        both(&device, &mut world, &step, &tokens, &tokens, true, &format!("{format} outliers"));
    }
}

/// bf16 numbers that f16 holds inexactly: the ends of a group are rounded before its scale is made of them.
#[test]
fn ends_of_groups_are_rounded_first() {
    let device = Device::new();
    let mut world = World::new(layout::<bf16>(KvFormat::kivi4(32), 1, 64, 32), 1, 100, 72);
    let row = world.row();
    let step = world.step(&[70]);
    // 135 * 2^-25 is 67.5 units of f16: as 68 it gives a scale of 5 units, as it is one of 4.
    let value = |at: usize| ((at / row + at % row) % 28 * 5) as f32 * 2f32.powi(-25);
    let tokens: Vec<bf16> = (0..70 * row).map(|at| bf16::from_f32(value(at))).collect();
    both(&device, &mut world, &step, &tokens, &tokens, true, "ends between two f16");
}

/// Keys below `ring_start` came with shared pages: they are not coded again, though a call could still reach them.
#[test]
fn keys_before_the_ring_start_stay() {
    let device = Device::new();
    let mut world = World::new(layout::<f16>(KvFormat::kivi4(32), 1, 64, 32), 1, 200, 73);
    let row = world.row();
    world.lens = vec![66];
    world.ring_start = Some(vec![64]);
    let step = world.step(&[5]);
    let before = world.pages.clone();
    both(&device, &mut world, &step, &noise(5 * row, 1), &noise(5 * row, 2), false, "shared pages");
    // 66 to 70 store values; no key is coded.
    let layout = &world.layout;
    let record = layout.tile().bytes;
    let touched: Vec<usize> = (0..before.len()).filter(|&at| world.pages[at] != before[at]).collect();
    assert!(touched.iter().all(|at| at % layout.page_bytes() / record == 0), "one tile, of one page");
    assert!(
        touched.iter().map(|at| at / layout.page_bytes()).max()
            == touched.iter().map(|at| at / layout.page_bytes()).min()
    );
}

/// `ring_start` out of range or off the multiple is rounded down and reported.
#[test]
fn bad_ring_starts_are_reported() {
    let device = Device::new();
    for (start, expected) in [
        (0, Status::OK),
        (64, Status::OK),
        (33, Status::BAD_RING_START),
        (-1, Status::BAD_RING_START),
        (96, Status::BAD_RING_START),
    ] {
        let mut world = World::new(layout::<f16>(KvFormat::kivi4(32), 1, 128, 32), 1, 200, 51);
        let row = world.row();
        world.lens = vec![90];
        world.ring_start = Some(vec![start]);
        let step = world.step(&[5]);
        let (k, v) = (noise(5 * row, 1), noise(5 * row, 2));
        // The ring was never written: what is coded from it is 0xFF, and must be the same in both.
        both(&device, &mut world, &step, &k, &v, false, &format!("ring_start {start}"));
        assert!(world.status.contains(expected), "{start}: {}", world.status);
        assert_eq!(world.status.contains(Status::BAD_RING_START), expected != Status::OK, "{start}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kernel_and_reference_agree(
        format in prop::sample::select(vec![KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32), KvFormat::kivi4(64)]),
        d in any::<prop::sample::Selector>(),
        page_tokens in prop::sample::select(vec![32, 64, 128]),
        heads in 1usize..=3,
        first in prop::collection::vec(0usize..150, 1..5),
        calls in prop::collection::vec((any::<bool>(), prop::collection::vec(0usize..=40, 4)), 1..4),
        seed in 0u64..1000,
    ) {
        let device = Device::new();
        let d = *d.select(format.head_dims());
        let mut world = World::new(layout::<f16>(format, heads, d, page_tokens), first.len(), 150 + 4 * 40, seed);
        let row = world.row();
        let step = world.step(&first);
        let (k, v) = (hostile::<f16>(step.total_q * row, seed), hostile(step.total_q * row, seed + 1));
        both(&device, &mut world, &step, &k, &v, true, "first");
        for (prefill, new) in calls {
            let most = if prefill { 40 } else { 5 };
            let new: Vec<usize> = new[..first.len()].iter().map(|m| m % (most + 1)).collect();
            let step = world.step(&new);
            let (k, v) = (hostile::<f16>(step.total_q * row, seed + 2), hostile(step.total_q * row, seed + 3));
            both(&device, &mut world, &step, &k, &v, prefill, &format!("{format} {new:?} prefill {prefill}"));
        }
    }
}
