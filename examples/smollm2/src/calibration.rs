//! What cache formats need to know of a model's keys and values before they see them, from a part of the text that is not
//! evaluated.

use anyhow::{Result, ensure};
use half::f16;
use lowbit::cache::{nuq_key_table, nuq_value_table};
use lowbit::calibrate;
use lowbit::format::outlier_slots;

use crate::gguf::Config;
use crate::host::{HostModel, f32_attention};
use crate::interrupt;

/// First token of the text that is calibrated on, and how many.
pub const FIRST: usize = 2000;
/// Tokens that are calibrated on.
pub const TOKENS: usize = 1024;

/// The share of a channel's values on each side that do not count for its range. KVQuant's is 0.005, which leaves as many outliers as its
/// slots for a token of all heads hold. A cache keeps them head by head, one of 64 channels here: at 0.005 every seventh row would have
/// more, and what has no slot is cut off at the range; at 0.001 one row in 130 has (taking channels for independent).
const TAIL: f64 = 0.001;

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
        layers.push(Tables::of(&model.config, &heads.k_before_rope, &heads.k, &heads.v)?);
        Ok(f32_attention(&model.config, heads))
    })?;
    Ok(layers)
}

impl Tables {
    /// From keys before and after RoPE and values `[tokens, kv_heads, head_dim]`. The first token is left out of the tables: it
    /// is kept exactly.
    fn of(config: &Config, k: &[f32], turned: &[f32], v: &[f32]) -> Result<Tables> {
        let channels = config.kv_heads * config.head_dim;
        let (k, v_rest) = (&k[channels..], &v[channels..]);
        let (range, zero) = calibrate::channel_range(k, channels, TAIL)?;
        let z_keys: Vec<f32> =
            k.iter().enumerate().map(|(i, &x)| normalized(x, range[i % channels], zero[i % channels])).collect();
        let z_values: Vec<f32> = v_rest.chunks_exact(config.head_dim).flat_map(normalized_row).collect();
        let tables = |bits| -> Result<[Vec<f32>; 2]> {
            let [keys, values] = [&z_keys, &z_values].map(|z| calibrate::nuq(bits, z, None));
            Ok([nuq_key_table(&keys?, &range, &zero)?, nuq_value_table(&values?)?])
        };
        let largest = |x: &[f32]| x.iter().fold(0f32, |most, x| most.max(x.abs()));
        let block_scale = [turned, v].map(|x| 2.0 * largest(x) / (6.0 * 448.0));
        Ok(Tables { nuq: [tables(3)?, tables(4)?], block_scale })
    }
}

/// Where the range is 0 every value is an outlier but its own centre; infinities do not count.
fn normalized(x: f32, range: f16, zero: f16) -> f32 {
    (x - zero.to_f32()) / range.to_f32()
}

/// A row of values over half its width, without its outliers.
fn normalized_row(row: &[f32]) -> Vec<f32> {
    let mut order: Vec<f32> = row.to_vec();
    order.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
    let rest = &order[outlier_slots(row.len())..];
    let (low, high) = rest.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let (range, zero) = (f16::from_f32((high - low) / 2.0), f16::from_f32((high + low) / 2.0));
    row.iter().map(|&x| normalized(x, range, zero)).collect()
}
