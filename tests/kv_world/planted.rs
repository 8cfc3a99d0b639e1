//! Planted caches: every selection rule of attention, tested so that being off by one is a NaN or a wrong value.
//!
//! A case is a cache of n tokens whose bytes are all 0xFF except those that a call (n, m) must read. One token, the hot
//! one, has a key that outweighs all others by e^112 or more, and a value of its own; all other keys are 0 and values 1.
//! So the expected result is known in closed form: a row that sees the hot token gives its value and its logit, any
//! other row gives 1 and the logarithm of the number of tokens it sees. What is read from the wrong source (code
//! instead of window, a stale slot, a neighbour's row) is NaN; what is not read at all gives the other result.

use half::f16;
use lowbit::cache::tile::MetaPlace;
use lowbit::cache::{KvCode, KvFormat, KvLayout, KvScale, KvShape, nuq_key_table, nuq_value_table, tile, window};
use lowbit::format::DType;
use lowbit::reference::attend::Options;

use super::{Step, UNWRITTEN, World};

const KV_HEADS: usize = 2;
/// Query heads.
pub const HEADS: usize = 6;
const SOFTMAX_SCALE: f32 = 0.125;

/// One planted cache and what attention over it must give.
#[derive(Debug)]
pub struct Planted {
    pub name: String,
    pub world: World,
    pub step: Step,
    /// `[m, HEADS, d]`.
    pub q: Vec<f16>,
    pub window: Option<usize>,
    pub out: Vec<f64>,
    pub lse: Vec<f64>,
}

impl Planted {
    pub fn options(&self) -> Options<'static> {
        Options { softmax_scale: SOFTMAX_SCALE, window: self.window, ..Options::default() }
    }

    /// Holds a result to the expectation: out within `tolerance` relative, the LSE within `tolerance` absolute.
    pub fn check(&self, out: &[f64], lse: &[f64], tolerance: f64) {
        assert_eq!((out.len(), lse.len()), (self.out.len(), self.lse.len()), "{}", self.name);
        for (i, (found, expected)) in out.iter().zip(&self.out).enumerate() {
            let good = (found - expected).abs() <= tolerance * expected.abs();
            assert!(good, "{}: out element {i} is {found} instead of {expected}", self.name);
        }
        for (i, (found, expected)) in lse.iter().zip(&self.lse).enumerate() {
            let good = (found - expected).abs() <= tolerance;
            assert!(good, "{}: LSE {i} is {found} instead of {expected}", self.name);
        }
    }
}

/// Key of the hot token; beside zeros exact in the format: 15 for codes 0..=15 and 0..=3, what E5M2 has for it, the largest
/// code of 8 bits over a power of two; of q4_0 -8 times the scale.
fn hot_key(format: &KvFormat) -> f32 {
    match format.k.code {
        KvCode::E5m2 => 14.0,
        KvCode::Uint8 => 255.0 / 16.0,
        KvCode::Q8_0 => 127.0 / 8.0,
        KvCode::Q4_0 => 16.0,
        _ => 15.0,
    }
}

/// Value of the other tokens; exact in the format: 1, but for codes with a scale in f16 the largest over a power of two.
fn plain_value(format: &KvFormat) -> f32 {
    if format.v.code == KvCode::Q8_0 { 127.0 / 128.0 } else { 1.0 }
}

/// Value of the hot token in a KV head; exact in every format.
fn hot_value(plain: f32, kv_head: usize) -> f32 {
    32.0 * plain * (kv_head + 1) as f32
}

/// The cases of a format: lengths around every boundary, the hot token on both sides of each.
pub fn cases(format: KvFormat, head_dim: usize, page_tokens: usize) -> Vec<Planted> {
    let max_append = 5;
    let shape = KvShape { num_kv_heads: KV_HEADS, head_dim, page_tokens, max_append, dtype: DType::F16 };
    let layout = KvLayout::new(shape, format).unwrap();
    let r = format.residual as usize;
    let ring = layout.window().map_or(0, |w| w.rows);
    let mut lengths: Vec<(usize, usize, Option<usize>)> =
        vec![(1, 1, None), (5, 5, None), (600, 3, None), (600, 3, Some(77))];
    for n in [page_tokens, 2 * page_tokens, r, 2 * r, ring, 2 * ring] {
        for n in [n.saturating_sub(1), n, n + 1, n + 4] {
            lengths.extend([(n, 1, None), (n, 4, None), (n, 4, Some(9))]);
        }
    }
    lengths.retain(|&(n, m, _)| n >= m && n > 0);
    lengths.sort();
    lengths.dedup();
    let mut cases = Vec::new();
    for (n, m, window) in lengths {
        let p0 = n - m;
        let ends = [
            0,
            p0,
            n,
            window::keys_coded(p0, r, n),
            window::values_coded(p0, r, 0, n),
            p0 / page_tokens * page_tokens,
            p0 / ring.max(1) * ring,
            format.sink as usize,
            p0 / 256 * 256,
            window.map_or(0, |w| (p0 + 1).saturating_sub(w)),
            window.map_or(0, |w| n.saturating_sub(w)),
        ];
        let mut hots: Vec<usize> = ends.iter().flat_map(|&end| [end.wrapping_sub(1), end]).filter(|&t| t < n).collect();
        hots.sort();
        hots.dedup();
        cases.extend(hots.into_iter().map(|hot| plant(layout, n, m, window, hot)));
    }
    cases
}

fn plant(layout: KvLayout, n: usize, m: usize, window: Option<usize>, hot: usize) -> Planted {
    let d = layout.shape().head_dim;
    let name = format!(
        "{} D {d} pages of {} n {n} m {m} window {window:?} hot token {hot}",
        layout.format(),
        layout.shape().page_tokens
    );
    let mut full = World::new(layout, 1, n, (n * 31 + hot) as u64);
    let scales = |side: KvScale, first: f32| -> Option<Vec<f32>> {
        let of_head = |h: usize| first * 2f32.powi(h as i32);
        match side {
            // Every head's the same: 1 and 64 of the values are codes.
            KvScale::Channel => Some(vec![first.min(1.0); KV_HEADS * d]),
            _ => side.is_per_head().then(|| (0..KV_HEADS).map(of_head).collect()),
        }
    };
    full.k_scale = scales(layout.format().k.scale, 0.25);
    // Blocks of E2M1 hold 1 if a code of 6 is.
    let v_scale = if *layout.format() == KvFormat::NVFP4 { 1.0 / 6.0 } else { 2.0 };
    full.v_scale = scales(layout.format().v.scale, v_scale);
    if layout.format().k.scale == KvScale::ChannelRange {
        // 0 and the hot key are levels; a value that all channels have is its row's centre.
        let (channels, code) = (KV_HEADS * d, layout.format().k.code);
        let (range, zero) = (vec![f16::from_f32(15.0); channels], vec![f16::ZERO; channels]);
        full.k_scale = Some(nuq_key_table(&super::codebook(code, 1), &range, &zero).unwrap());
        full.v_scale = Some(nuq_value_table(&super::codebook(code, 1)).unwrap());
    }
    let hot_key = hot_key(layout.format());
    let rows = |plain: f32, planted: &dyn Fn(usize) -> f32| -> Vec<f16> {
        (0..n * KV_HEADS * d)
            .map(|i| f16::from_f32(if i / (KV_HEADS * d) == hot { planted(i / d % KV_HEADS) } else { plain }))
            .collect()
    };
    let plain = plain_value(layout.format());
    let (k, v) = (rows(0.0, &|_| hot_key), rows(plain, &|head| hot_value(plain, head)));
    let p0 = n - m;
    let row = full.row();
    if p0 > 0 {
        let step = full.step(&[p0]);
        full.append(&step, &k[..p0 * row], &v[..p0 * row], true);
    }
    let step = full.step(&[m]);
    full.append(&step, &k[p0 * row..], &v[p0 * row..], false);

    let visible = |t: usize, p: usize| t <= p && window.is_none_or(|w| t + w > p);
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for p in p0..n {
        for head in 0..HEADS {
            let sees_hot = visible(hot, p);
            let value = if sees_hot { hot_value(plain, head / (HEADS / KV_HEADS)) } else { plain };
            out.extend(std::iter::repeat_n(f64::from(value), d));
            let seen = (0..=p).filter(|&t| visible(t, p)).count();
            let logit = f64::from(SOFTMAX_SCALE * hot_key) * d as f64;
            lse.push(if sees_hot { logit } else { (seen as f64).ln() });
        }
    }
    let first_read = window.map_or(0, |w| (p0 + 1).saturating_sub(w));
    let world = only_read(&full, first_read, p0, n);
    Planted { name, world, step, q: vec![f16::ONE; m * HEADS * d], window, out, lse }
}

/// A copy of a single-sequence cache in which every byte is 0xFF but those of the tokens from `first` on that a call
/// (n, n - p0) reads.
fn only_read(full: &World, first: usize, p0: usize, n: usize) -> World {
    let layout = full.layout;
    let (d, page_tokens, residual) = (layout.shape().head_dim, layout.shape().page_tokens, layout.residual());
    let record = *layout.tile();
    let mut world = full.clone();
    world.pages.fill(UNWRITTEN);
    world.state.fill(UNWRITTEN);
    let keys = window::keys_coded(p0, residual, n);
    let values = window::values_coded(p0, residual, 0, n);
    for t in first..n {
        for head in 0..KV_HEADS {
            let page = full.table[t / page_tokens] as usize * layout.page_bytes();
            let start = page + layout.record_offset(head, t % page_tokens);
            let token = t % record.tokens;
            for side in 0..2 {
                let coded = t < [keys, values][side] && t >= layout.format().sink as usize;
                if !coded {
                    let w = layout.window().expect("only a window holds what is not coded");
                    let slot = full.slots[0] as usize * layout.state_bytes();
                    let at = slot + [w.k_offset, w.v_offset][side] + head * w.head_bytes + t % w.rows * w.row_bytes;
                    world.state[at..at + w.row_bytes].copy_from_slice(&full.state[at..at + w.row_bytes]);
                    continue;
                }
                let what = [layout.format().k, layout.format().v][side];
                let (codes, meta) = [(record.k_codes, record.k_meta), (record.v_codes, record.v_meta)][side];
                for channel_of in 0..d {
                    let (place, scale) = match side {
                        0 => (
                            tile::k_place(what.code, d, token, channel_of),
                            tile::k_meta(layout.format(), d, token, channel_of),
                        ),
                        _ => (
                            tile::v_place(what.code, d, token, channel_of),
                            tile::v_meta(layout.format(), d, token, channel_of),
                        ),
                    };
                    let mut copy = |at: usize, bytes: usize| {
                        world.pages[start + at..][..bytes].copy_from_slice(&full.pages[start + at..][..bytes]);
                    };
                    // Codes below 8 bits share their byte with other channels of the same token only, but for keys of 2
                    // bits: with tokens that are coded together.
                    copy(codes.offset + place.byte, (what.code.bits() as usize).div_ceil(8));
                    match scale {
                        MetaPlace::None => {}
                        MetaPlace::Outliers { range, value, channel } => {
                            let slots = d.div_ceil(100).max(2 - side);
                            copy(meta.offset + value, 2 * slots);
                            copy(meta.offset + channel, slots);
                            for at in range.iter().flat_map(|&(range, zero)| [range, zero]) {
                                copy(meta.offset + at, 2);
                            }
                            if what.code == KvCode::Nuq3 {
                                let high = [tile::k_high_place, tile::v_high_place][side](d, token, channel_of);
                                copy(codes.offset + high.byte, 1);
                            }
                        }
                        MetaPlace::Scale8(at) => copy(meta.offset + at, 1),
                        MetaPlace::Scale32(at) => copy(meta.offset + at, 4),
                        MetaPlace::Scale16(at) => copy(meta.offset + at, 2),
                        MetaPlace::ScaleMin16(scale, min) => {
                            copy(meta.offset + scale, 2);
                            copy(meta.offset + min, 2);
                        }
                    }
                }
            }
        }
    }
    world
}
