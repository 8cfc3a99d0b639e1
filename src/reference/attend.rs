//! The definition of attention over a cache: f64 on the dequantized bytes.
//!
//! For a query row at position p of head h, with `k[t]`, `v[t]` the dequantized key and value of KV head h / (Hq / Hkv):
//!
//! 1. `s[t] = softmax_scale * (q . k[t])`;
//! 2. soft-cap: s = c * tanh(s / c);
//! 3. ALiBi: `s += slope[h] * (t - p)`;
//! 4. masks: t > p, and t <= p - window; with a tree, new tokens whose bit is not set instead of t > p, and p is p0 - 1 plus
//!    the row's bits;
//! 5. weights e^s over the visible t, plus `e^sink[h]` in the denominator and the LSE, without a value.
//!
//! Where the layout is rotated, q is rotated first and out is rotated back.
//!
//! out = sum w v / sum w; LSE = ln sum w. A row with no visible key: out 0, LSE the sink logit or -inf. Tokens that are
//! absent (bad page, bad slot, beyond the block table) are masked and reported in the status.

mod read;

use crate::cache::{KvLayout, Status};
use crate::format::{Half16, Rotation};
use crate::{Error, Result};

use super::kv::{Batch, Rows, Sequence, check_rope, check_rows};
use read::load;

pub use read::{Dequantized, dequantize};

/// A cache in host memory, to be read.
#[derive(Debug, Clone, Copy)]
pub struct CacheRef<'a> {
    /// The layout of both buffers.
    pub layout: KvLayout,
    /// Pages.
    pub pages: &'a [u8],
    /// State slots.
    pub state: &'a [u8],
    /// `[1]` or `[num_kv_heads]`, for codes with a scale per head; `[num_kv_heads, head_dim]`, with one per channel.
    pub k_scale: Option<&'a [f32]>,
    /// As `k_scale`.
    pub v_scale: Option<&'a [f32]>,
}

/// What an attention call does to the logits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Factor of q . k.
    pub softmax_scale: f32,
    /// c of the soft-cap.
    pub soft_cap: Option<f32>,
    /// Slope of each query head.
    pub alibi_slopes: Option<&'a [f32]>,
    /// Keeps positions > p - window.
    pub window: Option<usize>,
    /// Sink logit of each query head.
    pub sink_logits: Option<&'a [f32]>,
    /// `[total_q]`: bit i is set if the row sees its sequence's new token i.
    pub tree_mask: Option<&'a [u32]>,
    /// `[positions, rotary_dim / 2, 2]`, cosine and sine, for a cache of keys before RoPE.
    pub rope: Option<&'a [f32]>,
}

impl Options<'_> {
    /// The factor alone.
    pub const fn new(softmax_scale: f32) -> Self {
        Self {
            softmax_scale,
            soft_cap: None,
            alibi_slopes: None,
            window: None,
            sink_logits: None,
            tree_mask: None,
            rope: None,
        }
    }
}

/// Result of [`attend`].
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// `[total_q, num_heads, head_dim]`; 0 in rows of no sequence.
    pub out: Vec<f64>,
    /// `[total_q, num_heads]`, natural logarithm; -inf in rows of no sequence.
    pub lse: Vec<f64>,
    /// What was masked.
    pub status: Status,
}

/// Attention of the batch's rows `q` `[total_q, num_heads, head_dim]` over the cache, which already holds them.
///
/// # Errors
/// [`crate::Error::Argument`] for lengths that do not fit.
pub fn attend<T: Half16>(
    cache: &CacheRef<'_>,
    batch: &Batch<'_>,
    q: Rows<'_, T>,
    num_heads: usize,
    options: &Options<'_>,
) -> Result<Attention> {
    run("attend", cache, batch, q, None, num_heads, options)
}

/// Attention of a chunk that is not in the cache yet: over the cache before the batch's tokens, and over those tokens' rows
/// `k`, `v` `[total_q, num_kv_heads, head_dim]` as given, neither coded nor rotated.
///
/// # Errors
/// [`crate::Error::Argument`] for lengths that do not fit; [`crate::Error::Unsupported`] for a tree mask.
pub fn attend_prefill<T: Half16>(
    cache: &CacheRef<'_>,
    batch: &Batch<'_>,
    q: Rows<'_, T>,
    k: Rows<'_, T>,
    v: Rows<'_, T>,
    num_heads: usize,
    options: &Options<'_>,
) -> Result<Attention> {
    const OP: &str = "attend_prefill";
    if options.tree_mask.is_some() {
        return Err(Error::unsupported(OP, "a tree mask", "attend, which takes one"));
    }
    let sides = [("k.data", "k.stride", k.data.len(), k.stride), ("v.data", "v.stride", v.data.len(), v.stride)];
    check_rows(OP, &cache.layout, T::DTYPE, batch.total_q, sides)?;
    run(OP, cache, batch, q, Some([k, v]), num_heads, options)
}

/// `chunk`: keys and values of the batch's tokens, if they are not in the cache.
fn run<T: Half16>(
    op: &'static str,
    cache: &CacheRef<'_>,
    batch: &Batch<'_>,
    q: Rows<'_, T>,
    chunk: Option<[Rows<'_, T>; 2]>,
    num_heads: usize,
    options: &Options<'_>,
) -> Result<Attention> {
    let shape = *cache.layout.shape();
    let (kv_heads, d) = (shape.num_kv_heads, shape.head_dim);
    let wrong = |argument, expected: String, found: usize| {
        Err(crate::Error::argument(op, argument, expected, found.to_string()))
    };
    if num_heads == 0 || !num_heads.is_multiple_of(kv_heads) {
        return wrong("num_heads", format!("a multiple of {kv_heads} KV heads"), num_heads);
    }
    if q.stride < num_heads * d {
        return wrong("q.stride", format!("at least {}", num_heads * d), q.stride);
    }
    let needed = batch.total_q.saturating_sub(1) * q.stride + if batch.total_q == 0 { 0 } else { num_heads * d };
    if q.data.len() < needed {
        return wrong("q.data", format!("at least {needed} elements"), q.data.len());
    }
    for (argument, per_head) in [("alibi_slopes", options.alibi_slopes), ("sink_logits", options.sink_logits)] {
        if let Some(given) = per_head.filter(|given| given.len() != num_heads) {
            return wrong(argument, format!("{num_heads} elements"), given.len());
        }
    }
    if let Some(mask) = options.tree_mask {
        if mask.len() < batch.total_q {
            return wrong("tree_mask", format!("at least {} elements", batch.total_q), mask.len());
        }
        check_tree(op, batch.max_q_len, options.window, options.alibi_slopes.is_some())?;
    }
    check_attend_rope(op, &cache.layout, batch.max_blocks, options.rope.map(<[f32]>::len))?;
    let mut result = Attention {
        out: vec![0.0; batch.total_q * num_heads * d],
        lse: vec![f64::NEG_INFINITY; batch.total_q * num_heads],
        status: Status::OK,
    };
    for seq in 0..batch.seq_lens.len() {
        let (sequence, tokens, status) = load(op, cache, batch, seq, chunk.is_some(), options.rope)?;
        result.status |= status;
        let (Some(sequence), Some(mut tokens)) = (sequence, tokens) else { continue };
        if let Some(chunk) = chunk {
            tokens.extend(&cache.layout, &sequence, chunk);
        }
        for r in 0..sequence.m {
            let row = sequence.row0 + r;
            let visible = visible(&sequence, r, options.tree_mask.map(|mask| mask[row]), options.window);
            for head in 0..num_heads {
                let kv_head = head / (num_heads / kv_heads);
                let start = row * q.stride + head * d;
                let mut query: Vec<f64> = q.data[start..start + d].iter().map(|x| f64::from(x.to_f32())).collect();
                rotate(cache.layout.k_rotation(), &mut query);
                let row = row * num_heads + head;
                let out = &mut result.out[row * d..(row + 1) * d];
                result.lse[row] = attend_row(&tokens, &query, &visible, (kv_heads, kv_head), head, options, out);
                rotate(cache.layout.v_rotation(), out);
            }
        }
    }
    Ok(result)
}

/// A cache of keys before RoPE comes with a table, any other without. Shared with the wrapper; `length` is the table's.
pub(crate) fn check_attend_rope(
    op: &'static str,
    layout: &KvLayout,
    max_blocks: usize,
    length: Option<usize>,
) -> Result<()> {
    const ARGUMENT: &str = "options.rope";
    match (layout.key_rope(), length) {
        (None, None) => Ok(()),
        (None, Some(_)) => {
            Err(Error::argument(op, ARGUMENT, "none (the layout's keys are as they are read)", "a table"))
        }
        (Some(_), None) => Err(Error::argument(op, ARGUMENT, "a table (the layout's keys are before RoPE)", "none")),
        (Some(rope), Some(length)) => check_rope(op, layout, max_blocks, rope.rotary_dim, length),
    }
}

/// A tree of drafts: what it goes with. Shared with the wrapper.
pub(crate) fn check_tree(op: &'static str, max_q_len: usize, window: Option<usize>, alibi: bool) -> Result<()> {
    if alibi {
        return Err(Error::unsupported(op, "ALiBi with a tree mask", "a tree mask without ALiBi"));
    }
    if max_q_len > 32 {
        return Err(Error::argument(op, "batch.max_q_len", "at most 32 with a tree mask", max_q_len.to_string()));
    }
    match window.filter(|&window| window < 32) {
        Some(window) => Err(Error::argument(op, "options.window", "at least 32 with a tree mask", window.to_string())),
        None => Ok(()),
    }
}

/// What row r of a sequence sees: where it is, and tokens.
struct Visible {
    position: usize,
    tokens: Vec<usize>,
}

fn visible(sequence: &Sequence, r: usize, tree: Option<u32>, window: Option<usize>) -> Visible {
    let Sequence { p0, m, .. } = *sequence;
    let from = |end: usize| window.map_or(0, |window| end.saturating_sub(window));
    match tree {
        None => Visible { position: p0 + r, tokens: (from(p0 + r + 1)..p0 + r + 1).collect() },
        Some(mask) => {
            let new: Vec<usize> = (0..m).filter(|i| mask >> i & 1 == 1).map(|i| p0 + i).collect();
            let end = p0 + new.len();
            // With an empty mask at p0 = 0 there is nothing to see, wherever the row is.
            Visible { position: end.saturating_sub(1), tokens: (from(end)..p0).chain(new).collect() }
        }
    }
}

/// The orthonormal Hadamard matrix on blocks of channels, which is its own inverse.
fn rotate(rotation: Rotation, x: &mut [f64]) {
    if rotation == Rotation::None {
        return;
    }
    let block = rotation.block();
    for x in x.chunks_exact_mut(block) {
        let sum = |row: usize| -> f64 {
            let signed = |(c, &v): (usize, &f64)| if (row & c).count_ones().is_multiple_of(2) { v } else { -v };
            x.iter().enumerate().map(signed).sum()
        };
        let rotated: Vec<f64> = (0..block).map(|row| sum(row) / (block as f64).sqrt()).collect();
        x.copy_from_slice(&rotated);
    }
}

/// One query row of one head; returns the LSE.
fn attend_row(
    tokens: &Dequantized,
    query: &[f64],
    seen: &Visible,
    (kv_heads, kv_head): (usize, usize),
    head: usize,
    options: &Options<'_>,
    out: &mut [f64],
) -> f64 {
    let d = query.len();
    let position = seen.position;
    let visible: Vec<usize> = seen.tokens.iter().copied().filter(|&t| tokens.present.get(t) == Some(&true)).collect();
    let at = |t: usize| (t * kv_heads + kv_head) * d;
    let logit = |t: usize| {
        let dot: f64 = query.iter().zip(&tokens.k[at(t)..]).map(|(q, &k)| q * f64::from(k)).sum();
        let mut s = dot * f64::from(options.softmax_scale);
        if let Some(c) = options.soft_cap {
            s = f64::from(c) * (s / f64::from(c)).tanh();
        }
        s + options.alibi_slopes.map_or(0.0, |slopes| f64::from(slopes[head]) * (t as f64 - position as f64))
    };
    let logits: Vec<f64> = visible.iter().map(|&t| logit(t)).collect();
    let sink = options.sink_logits.map_or(f64::NEG_INFINITY, |sinks| f64::from(sinks[head]));
    let peak = logits.iter().copied().fold(sink, f64::max);
    if peak == f64::NEG_INFINITY && !logits.iter().any(|s| s.is_nan()) {
        return f64::NEG_INFINITY;
    }
    let weights: Vec<f64> = logits.iter().map(|s| (s - peak).exp()).collect();
    let total = weights.iter().sum::<f64>() + (sink - peak).exp();
    for (&t, w) in visible.iter().zip(&weights) {
        for (o, &v) in out.iter_mut().zip(&tokens.v[at(t)..]) {
            *o += w / total * f64::from(v);
        }
    }
    peak + total.ln()
}
