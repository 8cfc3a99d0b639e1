//! A cache in host memory with shuffled pages, and the batches of a serving loop over it. Shared by the tests of the KV
//! cache; what a test compares runs on exactly these bytes.
#![allow(dead_code)] // Each test binary uses its own part.

#[cfg(kernels_built)]
pub mod device;
pub mod planted;

use half::f16;
use lowbit::cache::{KeyRope, KvCode, KvFormat, KvLayout, KvScale, Status, nuq_key_table, nuq_value_table};
use lowbit::format::{Codebook, RopeStyle, rope_table};
use lowbit::reference::attend::CacheRef;
use lowbit::reference::kv::{self, Batch, CacheMut, Rows};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every byte that nobody wrote: NaN as f16, bf16, f32 and E4M3.
pub const UNWRITTEN: u8 = 0xFF;

/// The cache of one layer and the sequences in it.
#[derive(Debug, Clone)]
pub struct World {
    pub layout: KvLayout,
    pub pages: Vec<u8>,
    pub state: Vec<u8>,
    pub status: Status,
    pub k_scale: Option<Vec<f32>>,
    pub v_scale: Option<Vec<f32>>,
    pub table: Vec<i32>,
    pub max_blocks: usize,
    pub slots: Vec<i32>,
    pub ring_start: Option<Vec<i32>>,
    /// Of the appended keys.
    pub rope: Option<WorldRope>,
    /// Angles for attention, where keys are stored before RoPE.
    pub angles: Option<Vec<f32>>,
    /// Tokens of each sequence.
    pub lens: Vec<usize>,
}

/// RoPE with its table.
#[derive(Debug, Clone)]
pub struct WorldRope {
    pub style: RopeStyle,
    pub rotary_dim: usize,
    pub table: Vec<f32>,
}

/// One call: how many new tokens each sequence brings.
#[derive(Debug, Clone)]
pub struct Step {
    pub seq_lens: Vec<i32>,
    pub cu_q_lens: Vec<i32>,
    pub max_q_len: usize,
    pub total_q: usize,
}

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

impl World {
    /// `num_seqs` empty sequences with room for `capacity` tokens each, on shuffled pages among some that belong to none.
    pub fn new(layout: KvLayout, num_seqs: usize, capacity: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let max_blocks = layout.pages_for(capacity.max(1));
        let num_pages = num_seqs * max_blocks + 3;
        let mut table: Vec<i32> = (0..num_pages as i32).collect();
        table.shuffle(&mut rng);
        table.truncate(num_seqs * max_blocks);
        let num_slots = num_seqs + 2;
        let mut slots: Vec<i32> = (0..num_slots as i32).collect();
        slots.shuffle(&mut rng);
        slots.truncate(num_seqs);
        let heads = layout.shape().num_kv_heads;
        let scales = |scale: KvScale, first: f32| -> Option<Vec<f32>> {
            let of_head = |h: usize| first * (1.0 + 0.37 * h as f32);
            let d = layout.shape().head_dim;
            match scale {
                KvScale::Channel => {
                    Some((0..heads * d).map(|i| of_head(i / d) * (1.0 + 0.21 * (i % d % 11) as f32)).collect())
                }
                _ => scale.is_per_head().then(|| (0..heads).map(of_head).collect()),
            }
        };
        Self {
            layout,
            pages: vec![UNWRITTEN; num_pages * layout.page_bytes()],
            state: vec![UNWRITTEN; num_slots * layout.state_bytes()],
            status: Status::OK,
            k_scale: key_table(&layout).or(scales(layout.format().k.scale, 0.031)),
            v_scale: value_table(&layout).or(scales(layout.format().v.scale, 0.017)),
            table,
            max_blocks,
            slots,
            ring_start: None,
            rope: None,
            angles: layout
                .key_rope()
                .map(|rope| rope_table(1e4, rope.rotary_dim, max_blocks * layout.shape().page_tokens)),
            lens: vec![0; num_seqs],
        }
    }

    /// The call that appends `new[i]` tokens to sequence i.
    pub fn step(&self, new: &[usize]) -> Step {
        let mut cu_q_lens = vec![0];
        for m in new {
            cu_q_lens.push(cu_q_lens.last().unwrap() + *m as i32);
        }
        Step {
            seq_lens: self.lens.iter().zip(new).map(|(len, m)| (len + m) as i32).collect(),
            max_q_len: new.iter().copied().max().unwrap_or(0),
            total_q: *cu_q_lens.last().unwrap() as usize,
            cu_q_lens,
        }
    }

    pub fn batch<'a>(&'a self, step: &'a Step) -> Batch<'a> {
        Batch {
            seq_lens: &step.seq_lens,
            cu_q_lens: &step.cu_q_lens,
            block_table: &self.table,
            max_blocks: self.max_blocks,
            state_slots: self.layout.format().has_state().then_some(&self.slots),
            ring_start: self.ring_start.as_deref(),
            max_q_len: step.max_q_len,
            total_q: step.total_q,
        }
    }

    pub fn cache_ref(&self) -> CacheRef<'_> {
        CacheRef {
            layout: self.layout,
            pages: &self.pages,
            state: &self.state,
            k_scale: self.k_scale.as_deref(),
            v_scale: self.v_scale.as_deref(),
        }
    }

    pub fn num_pages(&self) -> usize {
        self.pages.len() / self.layout.page_bytes()
    }

    /// 1 where there is no state, so that a slot can be named.
    pub fn num_slots(&self) -> usize {
        self.state.len().checked_div(self.layout.state_bytes()).unwrap_or(1)
    }

    /// Elements of one row of new tokens.
    pub fn row(&self) -> usize {
        self.layout.shape().num_kv_heads * self.layout.shape().head_dim
    }

    /// Appends by the reference; `prefill` codes keys up to the end of the chunk.
    pub fn append<T: lowbit::format::Half16>(&mut self, step: &Step, k: &[T], v: &[T], prefill: bool) {
        let world = self.clone_indices();
        let batch = world.batch(step);
        let mut cache = CacheMut {
            layout: self.layout,
            pages: &mut self.pages,
            state: &mut self.state,
            status: &mut self.status,
            k_scale: self.k_scale.as_deref(),
            v_scale: self.v_scale.as_deref(),
        };
        let stride = world.row();
        let (k, v) = (Rows { data: k, stride }, Rows { data: v, stride });
        let append = if prefill { kv::append_prefill } else { kv::append };
        let rope = self.rope.as_ref().map(|rope| kv::Rope {
            style: rope.style,
            rotary_dim: rope.rotary_dim,
            table: &rope.table,
        });
        append(&mut cache, &batch, k, v, rope).unwrap();
        for (len, n) in self.lens.iter_mut().zip(&step.seq_lens) {
            *len = *n as usize;
        }
    }

    /// A copy without the buffers.
    fn clone_indices(&self) -> Self {
        Self {
            pages: Vec::new(),
            state: Vec::new(),
            table: self.table.clone(),
            slots: self.slots.clone(),
            ring_start: self.ring_start.clone(),
            lens: self.lens.clone(),
            rope: None,
            angles: None,
            k_scale: None,
            v_scale: None,
            ..*self
        }
    }

    /// Appends tokens `range` of a single sequence's `k`, `v` `[tokens][heads][d]` in calls of at most `chunk` tokens.
    pub fn append_range(&mut self, k: &[f16], v: &[f16], range: std::ops::Range<usize>, chunk: usize) {
        let row = self.row();
        assert_eq!(self.lens, [range.start]);
        for start in range.clone().step_by(chunk) {
            let end = range.end.min(start + chunk);
            let step = self.step(&[end - start]);
            self.append(&step, &k[start * row..end * row], &v[start * row..end * row], false);
        }
    }
}

/// Random f16 with a wide spread: gaussian-like, some channels large, some tiny, zeros of both signs.
pub fn noise(len: usize, seed: u64) -> Vec<f16> {
    let mut rng = rng(seed);
    (0..len)
        .map(|i| {
            let sum: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
            let scale = match i % 13 {
                0 => 8.0,
                1 => 1e-3,
                2 => 0.0,
                _ => 1.0,
            };
            f16::from_f32(sum * scale)
        })
        .collect()
}

/// Formats without a window beside those of [`formats`]: other codes and mixtures in the same places.
pub const TOKEN_FORMATS: [KvFormat; 9] = [
    KvFormat::INT8_STATIC,
    KvFormat::E5M2,
    KvFormat::INT8_E4M3,
    KvFormat::INT8_INT4,
    KvFormat::INT4,
    KvFormat::NVFP4,
    KvFormat::Q8_0,
    KvFormat::Q8_0_Q4_0,
    KvFormat::Q4_0,
];

/// KIVI with other codes than those of [`formats`], and with keys in groups of 64 tokens.
pub const KIVI_FORMATS: [KvFormat; 5] = [
    KvFormat::kivi2(32),
    KvFormat::kivi8_2(64),
    KvFormat::kivi4(64).with_token_group(64),
    KvFormat::kivi2(128).with_token_group(64),
    KvFormat::kivi8_2(64).with_token_group(64),
];

/// Formats with tables, a sink of one token and of several.
pub const NUQ_FORMATS: [KvFormat; 2] = [KvFormat::nuq4(1), KvFormat::nuq3(3)];

/// Levels that no formula has: the ends of -1..=1, 0 below the middle, and others at uneven distances.
pub fn codebook(code: KvCode, seed: usize) -> Codebook {
    let count = 1i32 << code.bits();
    let level = |i: i32| {
        let x = (2 * i - count + 1) as f32 / (count - 1) as f32;
        x.signum() * x.abs().powf(1.0 + 0.3 * seed as f32)
    };
    let levels: Vec<f16> = (0..count).map(|i| f16::from_f32(if i == count / 2 { 0.0 } else { level(i) })).collect();
    Codebook::new(&levels).unwrap()
}

/// Ranges that few elements of [`noise`] are beyond, one of them 0, and centres on both sides of 0.
fn key_table(layout: &KvLayout) -> Option<Vec<f32>> {
    (layout.format().k.scale == KvScale::ChannelRange).then(|| {
        let channels = layout.shape().num_kv_heads * layout.shape().head_dim;
        let half = |f: &dyn Fn(usize) -> f32| (0..channels).map(|c| f16::from_f32(f(c))).collect::<Vec<_>>();
        let range = half(&|c| if c % 61 == 7 { 0.0 } else { 1.5 + (c % 5) as f32 });
        let zero = half(&|c| (c % 7) as f32 / 8.0 - 0.375);
        nuq_key_table(&codebook(layout.format().k.code, 1), &range, &zero).unwrap()
    })
}

fn value_table(layout: &KvLayout) -> Option<Vec<f32>> {
    (layout.format().v.scale == KvScale::TokenRange)
        .then(|| nuq_value_table(&codebook(layout.format().v.code, 2)).unwrap())
}

/// A layout of keys before RoPE, if the format has it: styles and parts of the head by turns.
pub fn pre_rope(layout: KvLayout, turn: usize) -> KvLayout {
    let style = [RopeStyle::HalfSplit, RopeStyle::Interleaved][turn % 2];
    let d = layout.shape().head_dim;
    let rotary_dim = if (turn / 2).is_multiple_of(2) { d } else { d / 2 - 6 };
    if layout.format().k.scale == KvScale::ChannelRange {
        layout.pre_rope(KeyRope { style, rotary_dim }).unwrap()
    } else {
        layout
    }
}

/// A format of every kind, with residuals that make the window short and long.
pub fn formats() -> [KvFormat; 5] {
    [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32), KvFormat::kivi4(128)]
}
