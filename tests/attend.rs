//! Attention against its definition: formats, head dims, ratios of heads, lengths around every boundary in one ragged batch,
//! data that is hard on the arithmetic, and the numerics modes of the software device.
#![cfg(kernels_built)]

mod attend_device;
mod kv_world;

use attend_device::{Gpu, LSE_TOLERANCE, UNTOUCHED, compare, expected};
use half::{bf16, f16};
use kv_world::{Step, World, rng};
use lowbit::cache::{KvFormat, KvLayout, KvShape, Status};
use lowbit::format::{DType, Half16};
use lowbit::reference::attend::Options;
use nvcuda::client::{self, Approx, MmaMode};
use rand::RngExt;

const PAGE: usize = 32;

/// A format of every kind of arithmetic.
const MANY: [KvFormat; 13] = [
    KvFormat::FLOAT,
    KvFormat::INT8,
    KvFormat::INT8_STATIC,
    KvFormat::E4M3,
    KvFormat::INT8_INT4,
    KvFormat::INT4,
    KvFormat::NVFP4,
    KvFormat::Q8_0_Q4_0,
    KvFormat::nuq4(1),
    KvFormat::nuq3(16),
    KvFormat::kivi4(32),
    KvFormat::kivi2(32),
    KvFormat::kivi8_2(32),
];

fn layout(format: KvFormat, d: usize, kv_heads: usize, dtype: DType) -> KvLayout {
    let page_tokens = format.tile_tokens().max(PAGE);
    let shape = KvShape { num_kv_heads: kv_heads, head_dim: d, page_tokens, max_append: 4, dtype };
    kv_world::pre_rope(KvLayout::new(shape, format).unwrap(), d / 32)
}

/// Rows `[tokens][heads][d]`: gaussian-like, three channels per head times 8, one token times 5, one token zero, one constant;
/// head h times `factor^h`, so that another head's data or scale is another result.
fn rows<T: Half16>(tokens: usize, heads: usize, d: usize, factor: f32, seed: u64) -> Vec<T> {
    let mut rng = rng(seed);
    let loud: Vec<usize> = (0..3).map(|_| rng.random_range(0..d)).collect();
    let [big, zero, flat] = [0; 3].map(|_| rng.random_range(0..tokens.max(1)));
    let mut data = Vec::with_capacity(tokens * heads * d);
    for token in 0..tokens {
        for head in 0..heads {
            for channel in 0..d {
                let gaussian: f32 = (0..6).map(|_| rng.random_range(-0.7f32..0.7)).sum();
                let x = match token {
                    t if t == zero => 0.0,
                    t if t == flat => 0.75,
                    t if t == big => 5.0 * gaussian,
                    _ => gaussian,
                };
                let x = if loud.contains(&channel) { 8.0 * x } else { x };
                data.push(T::from_f32(x * factor.powi(head as i32)));
            }
        }
    }
    data
}

/// A batch whose sequence i has `lens[i].0` tokens, the last `lens[i].1` of them new, and its queries.
struct Case<T> {
    world: World,
    step: Step,
    q: Vec<T>,
    heads: usize,
    options: Options<'static>,
}

impl<T: Half16> Case<T> {
    fn new(layout: KvLayout, group: usize, lens: &[(usize, usize)], sharpness: f32, seed: u64) -> Self {
        let shape = *layout.shape();
        let (kv_heads, d) = (shape.num_kv_heads, shape.head_dim);
        let most = lens.iter().map(|l| l.0).max().unwrap();
        let mut world = World::new(layout, lens.len(), most, seed);
        let row = world.row();
        let old: Vec<usize> = lens.iter().map(|(n, m)| n - m).collect();
        let new: Vec<usize> = lens.iter().map(|l| l.1).collect();
        let mut part = |counts: &[usize], seed: u64, prefill: bool| {
            let step = world.step(counts);
            let k = rows::<T>(step.total_q, kv_heads, d, 3.0, seed);
            let v = rows::<T>(step.total_q, kv_heads, d, 1.0 / 3.0, seed + 1);
            assert_eq!(k.len(), step.total_q * row);
            world.append(&step, &k, &v, prefill);
            step
        };
        part(&old, seed + 10, true);
        let step = part(&new, seed + 20, false);
        let heads = kv_heads * group;
        let mut q = rows::<T>(step.total_q, heads, d, 1.0, seed + 30);
        for (i, x) in q.iter_mut().enumerate() {
            // Queries undo their KV head's factor.
            let kv_head = i / d % heads / group;
            *x = T::from_f32(x.to_f32() * sharpness / 3f32.powi(kv_head as i32));
        }
        Self { world, step, q, heads, options: Options::new(1.0 / (d as f32).sqrt()) }
    }

    fn check(&self, gpu: &Gpu, what: &str) -> (f64, f64) {
        let shape = *self.world.layout.shape();
        let found = gpu.attend(&self.world, &self.step, &self.q, self.heads, &self.options);
        let expected = expected(&self.world, &self.step, &self.q, self.heads, &self.options);
        compare(what, &found, &expected, shape.head_dim, shape.dtype)
    }
}

/// Lengths around every boundary: nothing, the window, pages, chunks.
fn boundaries(format: KvFormat, m: usize) -> Vec<(usize, usize)> {
    let r = format.residual as usize;
    let mut lens = vec![1, 2, PAGE - 1, PAGE, PAGE + 1, 255, 256, 257, 600];
    lens.extend([r, 2 * r].iter().flat_map(|&r| [r.saturating_sub(1), r, r + 1]));
    lens.retain(|&n| n >= m);
    let mut lens: Vec<(usize, usize)> = lens.into_iter().map(|n| (n, m)).collect();
    // Padding rows: an empty sequence, and one that brings nothing.
    lens.insert(2, (0, 0));
    lens.insert(4, (77, 0));
    lens
}

fn ragged<T: Half16>(format: KvFormat, dtype: DType) {
    let gpu = Gpu::new();
    for (d, kv_heads, group, m) in
        [(64, 3, 3, 1), (128, 2, 4, 1), (128, 1, 8, 1), (64, 2, 1, 3), (128, 1, 3, 4), (64, 1, 17, 2)]
    {
        for sharpness in [0.05, 1.0] {
            let lens = boundaries(format, m);
            let case = Case::<T>::new(layout(format, d, kv_heads, dtype), group, &lens, sharpness, 100 + d as u64);
            let what = format!("{format} {dtype} D {d}, {kv_heads} KV heads of {group}, m {m}, q times {sharpness}");
            let (row, lse) = case.check(&gpu, &what);
            println!("{what}: rows within {row:.2e}, LSE within {lse:.2e}");
        }
    }
}

/// Head dims beside 64 and 128, and formats that no test below has: all columns in use and more than one pass.
fn other_head_dims(format: KvFormat) {
    let gpu = Gpu::new();
    let new = !kv_world::formats().contains(&format);
    for (i, &d) in format.head_dims().iter().enumerate().filter(|(_, d)| new || ![64, 128].contains(*d)) {
        let (kv_heads, group, m) = [(2, 3, 1), (1, 8, 1), (2, 4, 3)][i % 3];
        let case = Case::<f16>::new(layout(format, d, kv_heads, DType::F16), group, &boundaries(format, m), 1.0, 300);
        let (row, lse) = case.check(&gpu, &format!("{format} D {d}"));
        println!("{format} D {d}: rows within {row:.2e}, LSE within {lse:.2e}");
        let case = Case::<bf16>::new(layout(format, d, 1, DType::Bf16), 2, &[(300, 1), (513, 2)], 1.0, 301);
        client::with_modes(|modes| modes.mma = MmaMode::Trunc, || case.check(&gpu, &format!("{format} bf16 D {d}")));
    }
}

#[test]
fn nuq() {
    kv_world::NUQ_FORMATS.into_iter().for_each(other_head_dims);
}

#[test]
fn other_codes_and_mixtures() {
    kv_world::TOKEN_FORMATS.into_iter().for_each(other_head_dims);
}

#[test]
fn other_kivi() {
    kv_world::KIVI_FORMATS.into_iter().for_each(other_head_dims);
}

#[test]
fn other_head_dims_int8() {
    other_head_dims(KvFormat::INT8);
}

#[test]
fn other_head_dims_e4m3() {
    other_head_dims(KvFormat::E4M3);
}

#[test]
fn other_head_dims_kivi4() {
    other_head_dims(KvFormat::kivi4(32));
}

#[test]
fn ragged_f16() {
    ragged::<f16>(KvFormat::FLOAT, DType::F16);
}

#[test]
fn ragged_bf16() {
    ragged::<bf16>(KvFormat::FLOAT, DType::Bf16);
}

#[test]
fn ragged_int8() {
    ragged::<f16>(KvFormat::INT8, DType::F16);
    ragged::<bf16>(KvFormat::INT8, DType::Bf16);
}

#[test]
fn ragged_e4m3() {
    ragged::<f16>(KvFormat::E4M3, DType::F16);
    ragged::<bf16>(KvFormat::E4M3, DType::Bf16);
}

#[test]
fn ragged_kivi4() {
    ragged::<f16>(KvFormat::kivi4(32), DType::F16);
    ragged::<f16>(KvFormat::kivi4(128), DType::F16);
    ragged::<bf16>(KvFormat::kivi4(32), DType::Bf16);
}

/// Many chunks; attention spread over thousands of tokens, where errors of one sign add up and the values cancel.
fn long(format: KvFormat) {
    let gpu = Gpu::new();
    for sharpness in [0.0, 0.3] {
        let mut case = Case::<f16>::new(layout(format, 128, 1, DType::F16), 8, &[(4097, 1), (1025, 1)], sharpness, 3);
        if sharpness == 0.0 {
            case.options.softmax_scale = 1.0;
        }
        let what = format!("{format} 4097 tokens, q times {sharpness}");
        for mma in [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc] {
            let (row, lse) =
                client::with_modes(|modes| modes.mma = mma, || case.check(&gpu, &format!("{what}, mma {mma:?}")));
            println!("{what}, mma {mma:?}: rows within {row:.2e}, LSE within {lse:.2e}");
        }
    }
}

#[test]
fn long_sequences() {
    let kivi = [KvFormat::kivi4(128), KvFormat::kivi2(128), KvFormat::kivi8_2(64).with_token_group(64)];
    let others = [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::INT4, KvFormat::NVFP4];
    for format in others.into_iter().chain(kivi) {
        long(format);
    }
}

#[test]
fn every_numerics_mode_and_model() {
    let gpu = Gpu::new();
    for format in MANY {
        for (d, kv_heads, group) in [(64, 3, 3), (128, 2, 8)] {
            let case = Case::<f16>::new(layout(format, d, kv_heads, DType::F16), group, &[(300, 1), (513, 2)], 1.0, 7);
            for mma in [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc] {
                for approx in [Approx::Rounded, Approx::Perturbed] {
                    let what = format!("{format} D {d}, mma {mma:?}, {approx:?}");
                    client::with_modes(|m| (m.mma, m.approx, m.seed) = (mma, approx, 17), || case.check(&gpu, &what));
                }
            }
        }
    }
}

/// Slopes and sinks of up to 16 heads; one sink is far below, one far above the logits, one absent.
static SLOPES: [f32; 16] = {
    let mut slopes = [0.0; 16];
    let mut head = 0;
    while head < 16 {
        slopes[head] = 0.5 / (head * head + 1) as f32;
        head += 1;
    }
    slopes
};
static SINKS: [f32; 16] =
    [0.5, -40.0, 60.0, f32::NEG_INFINITY, 1.0, 2.0, -3.0, 4.0, 0.0, 7.5, -1.0, 3.25, 9.0, -8.0, 0.1, 2.5];

/// Each option alone and all together: every format, one chunk and many, rows of no visible key, every numerics mode.
#[test]
fn options_of_the_logits() {
    let gpu = Gpu::new();
    let lens = [(1, 1), (33, 3), (300, 2), (0, 0), (1025, 1)];
    for format in [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)] {
        for (d, kv_heads, group) in [(64, 2, 3), (128, 1, 8)] {
            for option in 0..5 {
                let mut case = Case::<f16>::new(layout(format, d, kv_heads, DType::F16), group, &lens, 1.0, 41);
                let heads = case.heads;
                let has = |this| option == this || option == 4;
                case.options.soft_cap = has(0).then_some(20.0);
                case.options.alibi_slopes = has(1).then_some(&SLOPES[..heads]);
                case.options.sink_logits = has(2).then_some(&SINKS[..heads]);
                case.options.window = has(3).then_some(70);
                let what = format!("{format} D {d}, option {option}");
                let (row, lse) = case.check(&gpu, &what);
                println!("{what}: rows within {row:.2e}, LSE within {lse:.2e}");
                if option == 4 {
                    for mma in [MmaMode::Shuffle, MmaMode::Trunc] {
                        let modes = |m: &mut client::Modes| (m.mma, m.approx, m.seed) = (mma, Approx::Perturbed, 5);
                        client::with_modes(modes, || case.check(&gpu, &format!("{what}, mma {mma:?}, perturbed")));
                    }
                }
            }
        }
    }
    let mut case = Case::<bf16>::new(layout(KvFormat::kivi4(32), 128, 1, DType::Bf16), 8, &lens, 1.0, 43);
    case.options = Options {
        soft_cap: Some(30.0),
        alibi_slopes: Some(&SLOPES[..8]),
        sink_logits: Some(&SINKS[..8]),
        ..case.options
    };
    case.check(&gpu, "kivi4 bf16, all options");
}

/// A softmax over logits of every size, values of every size: each row of data is hard on another step.
#[test]
fn hard_data() {
    let gpu = Gpu::new();
    for format in MANY {
        let d = 64;
        let make = |name: &str, change: &dyn Fn(usize, usize, f32) -> (f32, f32, f32)| {
            // k, v, q of (token, channel, noise).
            let layout = layout(format, d, 1, DType::F16);
            let n = 520;
            let mut world = World::new(layout, 1, n, 1);
            let mut rng = rng(11);
            let (mut k, mut v, mut q) = (vec![], vec![], vec![]);
            for t in 0..n {
                for c in 0..d {
                    let x: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
                    let (a, b, e) = change(t, c, x);
                    let clamp = |x: f32| f16::from_f32(x.clamp(-60000.0, 60000.0));
                    k.push(clamp(a));
                    v.push(clamp(b));
                    if t < 4 {
                        q.push(clamp(e));
                    }
                }
            }
            if format.k.scale.is_per_head() {
                let most = if format == KvFormat::NVFP4 { 6.0 * 448.0 } else { 448.0 };
                let amax = |x: &[f16]| x.iter().fold(1e-6f32, |a, x| a.max(x.to_f32().abs())) / most;
                (world.k_scale, world.v_scale) = (Some(vec![amax(&k)]), Some(vec![amax(&v)]));
            }
            let step = world.step(&[n - 1]);
            world.append(&step, &k[..(n - 1) * d], &v[..(n - 1) * d], true);
            let step = world.step(&[1]);
            world.append(&step, &k[(n - 1) * d..], &v[(n - 1) * d..], false);
            let case = Case { world, step, q, heads: 4, options: Options::new(0.125) };
            let what = format!("{format}, {name}");
            for mma in [MmaMode::Exact, MmaMode::Trunc] {
                let (row, lse) = client::with_modes(|m| m.mma = mma, || case.check(&gpu, &format!("{what}, {mma:?}")));
                println!("{what}, {mma:?}: rows within {row:.2e}, LSE within {lse:.2e}");
            }
        };
        make("large values", &|_, _, x| (x, 1000.0 * x, x));
        make("tiny values", &|_, _, x| (x, 1e-2 * x, x));
        make("values grow by 2^20 along the sequence", &|t, _, x| (x, x * 2f32.powf(t as f32 / 26.0 - 8.0), x));
        make("values shrink by 2^18 along the sequence", &|t, _, x| (x, x * 2f32.powf(8.0 - t as f32 / 29.0), 0.1 * x));
        make("a sink: token 0 takes nearly all and has a small value", &|t, c, x| {
            (
                if t == 0 { 4.0 } else { 0.2 * x },
                if t == 0 { 0.02 * x } else { x },
                if c % 2 == 0 { 1.0 } else { 1.0 + 0.1 * x },
            )
        });
        make("logits climb by 200", &|t, _, x| (0.4 + t as f32 / 20.0 + 0.01 * x, x, 1.0));
        // A warp's next tile is 128 tokens on: its weights are 2^9 of those before, so the origin stays, and times
        // scales of thousands they are beyond f16 at first.
        make("logits climb, values are large", &|t, _, x| (t as f32 / 165.0 + 0.01 * x, 15_000.0 * x, 1.0));
        make("logits fall by 200", &|t, _, x| (26.0 - t as f32 / 20.0 + 0.01 * x, x, 1.0));
        make("an outlier channel of 100", &|_, c, x| {
            (if c == 5 { 100.0 + x } else { x }, if c == 9 { -100.0 + x } else { x }, 0.3 * x)
        });
        // A query of any size times the largest scale: 2 * 60000 / 3.
        make("keys at both ends of f16", &|_, c, x| (if c == 7 { 60_000.0f32.copysign(x) } else { x }, x, 1e-4 * x));
        make("the largest query meets them", &|_, c, x| {
            if c == 7 { (60_000.0f32.copysign(x), x, 3.9e-4) } else { (x, x, 3e-5 * x) }
        });
        make("all keys equal", &|_, _, x| (0.5, x, x));
        make("all zero", &|_, _, _| (0.0, 0.0, 0.0));
        make("positive values", &|_, _, x| (x, 3.0 + x, x));
    }
}

/// Sequences that begin on the same pages, with windows that are valid from there on; every page size.
#[test]
fn shared_pages() {
    let gpu = Gpu::new();
    for format in [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)] {
        for page_tokens in [16, 32, 64, 128] {
            if page_tokens < format.tile_tokens() {
                continue;
            }
            let shape = KvShape { num_kv_heads: 2, head_dim: 64, page_tokens, max_append: 4, dtype: DType::F16 };
            let layout = KvLayout::new(shape, format).unwrap();
            let mut case = Case::<f16>::new(layout, 3, &[(400, 1), (310, 2), (129, 1)], 1.0, 13);
            let blocks = case.world.max_blocks;
            let shared = 128 / page_tokens;
            for sequence in 1..3 {
                let (first, rest) = case.world.table.split_at_mut(sequence * blocks);
                rest[..shared].copy_from_slice(&first[..shared]);
            }
            case.check(&gpu, &format!("{format}, pages of {page_tokens}, prefix shared"));
            if format.has_window() {
                case.world.ring_start = Some(vec![0, 288, 128]);
                case.check(&gpu, &format!("{format}, pages of {page_tokens}, windows from the prefix's end on"));
            }
        }
    }
}

/// Rows of no sequence are not written, rows that see nothing are 0 with LSE -inf, and the status says why.
#[test]
fn bad_indices_are_masked_and_reported() {
    let gpu = Gpu::new();
    for format in [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)] {
        let lens = [(400, 1), (40, 1), (300, 2), (64, 1)];
        let mut case = Case::<f16>::new(layout(format, 64, 2, DType::F16), 2, &lens, 1.0, 9);
        let blocks = case.world.max_blocks;
        case.world.table[1] = case.world.num_pages() as i32; // The first that is none.
        case.world.table[3] = -1;
        case.world.table[5] = i32::MAX;
        case.world.table[blocks] = 1 << 20;
        case.world.table[blocks + 1] = -7;
        case.world.slots[0] = -1;
        case.world.slots[2] = 1000;
        case.check(&gpu, &format!("{format} with bad pages and slots"));

        // Contradictory lengths: those sequences are skipped, their rows stay as they were.
        let mut case = Case::<f16>::new(layout(format, 64, 2, DType::F16), 2, &lens, 1.0, 9);
        case.step.seq_lens[1] = -3;
        case.step.seq_lens[2] = 1;
        let found = gpu.attend(&case.world, &case.step, &case.q, case.heads, &case.options);
        assert!(found.status.contains(Status::BAD_LENGTHS));
        let row = case.heads * 64;
        assert!(found.out[row..4 * row].iter().all(|&x| x == UNTOUCHED), "{format}");
        assert!(found.out[..row].iter().chain(&found.out[4 * row..]).all(|&x| x != UNTOUCHED));
        let expected = expected(&case.world, &case.step, &case.q, case.heads, &case.options);
        for token in [0, 4] {
            for i in token * case.heads..(token + 1) * case.heads {
                assert!((f64::from(found.lse[i]) - expected.lse[i]).abs() <= LSE_TOLERANCE, "{format} LSE {i}");
            }
        }
    }
}
