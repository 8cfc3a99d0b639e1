//! What cache formats need to know of a model's keys and values before they see them, from a part of the text that is not
//! evaluated.

use anyhow::{Result, ensure};
use half::f16;
use lowbit::cache::{nuq_key_table, nuq_value_table};
use lowbit::calibrate;
use lowbit::format::outlier_slots;
use rayon::prelude::*;

use crate::gguf::Config;
use crate::host::{Heads, HostModel, attention_weights, f32_attention};
use crate::interrupt;

/// First token of the text that is calibrated on, and how many.
pub const FIRST: usize = 2000;
/// Tokens that are calibrated on.
pub const TOKENS: usize = 1024;

/// The share of a channel's values on each side that do not count for its range. KVQuant's is 0.005, which leaves as many outliers as its
/// slots for a token of all heads hold. A cache keeps them head by head, two of 64 channels of a key here: at 0.005 one row in 37 would
/// have more, and what has no slot is cut off at the range; at 0.003 one row in 140 has (taking channels for independent). In a
/// simulation over five pieces of the text that are neither calibrated on nor evaluated, the divergence was least there.
const TAIL: f64 = 0.003;

/// What a layer's cache gets.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Of 3 and 4 bits, keys and values, as `nuq_key_table` and `nuq_value_table` make them.
    pub nuq: [[Vec<f32>; 2]; 2],
    /// NVFP4's scale of keys and of values: the largest magnitude, with room for twice as much, is the largest block's.
    pub block_scale: [f32; 2],
}

/// Runs the tokens through the model and makes every layer's tables.
pub fn calibrate(model: &HostModel, ids: &[u32]) -> Result<Vec<Tables>> {
    ensure!(ids.len() > 1, "calibration takes at least 2 tokens, found {}", ids.len());
    let mut layers = Vec::with_capacity(model.config.layers);
    model.forward(ids, |_, heads| {
        interrupt::check()?;
        layers.push(Tables::of(&model.config, heads)?);
        Ok(f32_attention(&model.config, heads))
    })?;
    Ok(layers)
}

impl Tables {
    /// From a layer's heads. The first token is left out of the tables: it is kept exactly.
    fn of(config: &Config, heads: &Heads) -> Result<Tables> {
        let (d, channels) = (config.head_dim, config.kv_heads * config.head_dim);
        let (k, v) = (&heads.k_before_rope[channels..], &heads.v[channels..]);
        let sensitivity = Sensitivity::of(config, heads);
        let (range, zero) = calibrate::channel_range(k, channels, TAIL)?;
        let z_keys: Vec<f32> =
            k.iter().enumerate().map(|(i, &x)| normalized(x, range[i % channels], zero[i % channels])).collect();
        let (z_values, ranges): (Vec<_>, Vec<_>) = v.chunks_exact(d).map(normalized_row).unzip();
        // What an error of z costs: that of x, by the width.
        let key_weights = sensitivity.keys[channels..].iter().enumerate().map(|(i, w)| w * square(range[i % channels]));
        let row_weights = sensitivity.values[config.kv_heads..].iter().zip(ranges).map(|(w, range)| w * square(range));
        let keys = (z_keys, clipped(key_weights.collect()));
        let values = (z_values.concat(), clipped(row_weights.flat_map(|w| std::iter::repeat_n(w, d)).collect()));
        let tables = |bits| -> Result<[Vec<f32>; 2]> {
            let [keys, values] = [&keys, &values].map(|(z, weights)| calibrate::nuq(bits, z, Some(weights)));
            Ok([nuq_key_table(&keys?, &range, &zero)?, nuq_value_table(&values?)?])
        };
        let largest = |x: &[f32]| x.iter().fold(0f32, |most, x| most.max(x.abs()));
        let block_scale = [&heads.k, &heads.v].map(|x| 2.0 * largest(x) / (6.0 * 448.0));
        Ok(Tables { nuq: [tables(3)?, tables(4)?], block_scale })
    }
}

/// How much the square of an error counts. KVQuant takes the squares of the loss's gradients (Fisher information); this is what attention
/// alone says, and needs no gradient.
struct Sensitivity {
    /// Of keys before RoPE `[tokens, kv_heads, head_dim]`: a score is off by q * error, which counts by p * (1 - p), p what the query
    /// gives the token; summed over queries. RoPE turns the pair of channels, so both have the mean of their q^2.
    keys: Vec<f32>,
    /// Of values `[tokens, kv_heads]`: p^2, summed over queries.
    values: Vec<f32>,
}

impl Sensitivity {
    fn of(config: &Config, heads: &Heads) -> Sensitivity {
        let (hq, hkv, d) = (config.heads, config.kv_heads, config.head_dim);
        let tokens = heads.q.len() / (hq * d);
        let of_head = |head: usize| {
            let (mut keys, mut values) = (vec![0.0; tokens * d], vec![0.0; tokens]);
            for t in 0..tokens {
                let pairs = heads.q[(t * hq + head) * d..][..d].chunks_exact(2);
                let square: Vec<f32> = pairs.flat_map(|q| [(q[0] * q[0] + q[1] * q[1]) / 2.0; 2]).collect();
                for (p, weight) in attention_weights(config, heads, t, head).into_iter().enumerate() {
                    values[p] += weight * weight;
                    for (sum, square) in keys[p * d..][..d].iter_mut().zip(&square) {
                        *sum += weight * (1.0 - weight) * square;
                    }
                }
            }
            (keys, values)
        };
        let by_head: Vec<_> = (0..hq).into_par_iter().map(of_head).collect();
        let mut all = Sensitivity { keys: vec![0.0; tokens * hkv * d], values: vec![0.0; tokens * hkv] };
        for (head, (keys, values)) in by_head.into_iter().enumerate() {
            for t in 0..tokens {
                let row = t * hkv + head / (hq / hkv);
                all.values[row] += values[t];
                let sums = all.keys[row * d..][..d].iter_mut();
                sums.zip(&keys[t * d..][..d]).for_each(|(sum, key)| *sum += key);
            }
        }
        all
    }
}

fn square(range: f16) -> f32 {
    range.to_f32() * range.to_f32()
}

/// Weights no larger than all but the largest 1 %: a few tokens, on which every query rests, are not to make a table alone.
fn clipped(mut weights: Vec<f32>) -> Vec<f32> {
    let mut order = weights.clone();
    let at = order.len() * 99 / 100;
    let (_, &mut most, _) = order.select_nth_unstable_by(at, f32::total_cmp);
    weights.iter_mut().for_each(|w| *w = w.min(most));
    weights
}

/// Where the range is 0 every value is an outlier but its own centre; infinities do not count.
fn normalized(x: f32, range: f16, zero: f16) -> f32 {
    (x - zero.to_f32()) / range.to_f32()
}

/// A row of values over half its width, which is that of its values but the outliers; and this width.
fn normalized_row(row: &[f32]) -> (Vec<f32>, f16) {
    let mut order: Vec<f32> = row.to_vec();
    order.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
    let rest = &order[outlier_slots(row.len())..];
    let (low, high) = rest.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let (range, zero) = (f16::from_f32((high - low) / 2.0), f16::from_f32((high + low) / 2.0));
    (row.iter().map(|&x| normalized(x, range, zero)).collect(), range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens, two query heads on one KV head of two channels. Scores of the second token are equal for head 0 (a query of 0) and
    /// apart by ln 3 for head 1.
    #[test]
    fn sensitivity_is_what_queries_give() {
        let config = Config {
            layers: 1,
            hidden: 4,
            ffn: 4,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            rotary_dim: 2,
            rope_base: 1e4,
            norm_eps: 1e-5,
            context: 2,
            vocab: 2,
        };
        let far = 3f32.ln() * 2f32.sqrt();
        let heads = Heads {
            q: vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, far, 1.0],
            k: vec![0.0, 0.0, 1.0, 0.0],
            k_before_rope: vec![0.0; 4],
            v: vec![0.0; 4],
        };
        let Sensitivity { keys, values } = Sensitivity::of(&config, &heads);
        // p = 1, 1 for the first token; 1/2, 1/2 and 1/4, 3/4 for the second.
        let expected = [1.0 + 1.0 + 0.25 + 0.0625, 0.25 + 0.5625];
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
        let square = (far * far + 1.0) / 2.0 * 0.1875;
        assert!(keys.iter().all(|w| (w - square).abs() < 1e-6), "{keys:?}, {square}");
        assert_eq!(clipped((0..200).map(|i| i as f32).collect())[197..], [197.0, 198.0, 198.0]);
    }
}
