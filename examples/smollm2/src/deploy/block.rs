//! The weights of one block in f32, and SmoothQuant on them.

use anyhow::Result;
use lowbit::calibrate::{channel_max, fold_into_norm, fold_into_weights, smooth};

use crate::gguf::{Config, Model};
use crate::host::{HostModel, Site, f32_attention};

/// One block's weights, `[n, k]` each. What reads the same rows is one matrix.
pub struct Block {
    /// `[hidden]`.
    pub attn_norm: Vec<f32>,
    /// Queries, keys, values: `[(heads + 2*kv_heads)*head_dim, hidden]`.
    pub qkv: Vec<f32>,
    /// `[hidden, heads*head_dim]`.
    pub output: Vec<f32>,
    /// `[hidden]`.
    pub ffn_norm: Vec<f32>,
    /// `[2*ffn, hidden]`.
    pub gate_up: Vec<f32>,
    /// `[hidden, ffn]`.
    pub down: Vec<f32>,
}

/// The largest |x| of every channel that each of a block's linear layers reads.
pub struct Maxima([Vec<f32>; 4]);

impl Maxima {
    /// Those of every block over a run of the f32 model on `ids`.
    pub fn capture(model: &HostModel, ids: &[u32]) -> Result<Vec<Maxima>> {
        let c = &model.config;
        let zeros = || Maxima([c.hidden, c.heads * c.head_dim, c.hidden, c.ffn].map(|channels| vec![0.0; channels]));
        let mut all: Vec<Maxima> = (0..c.layers).map(|_| zeros()).collect();
        model.observed(
            ids,
            |_, heads| Ok(f32_attention(c, heads)),
            |layer, site, x| Ok(channel_max(x, all[layer].of_mut(site))?),
        )?;
        Ok(all)
    }

    fn of(&self, site: Site) -> &[f32] {
        &self.0[site as usize]
    }

    fn of_mut(&mut self, site: Site) -> &mut [f32] {
        &mut self.0[site as usize]
    }
}

impl Block {
    /// Reads and dequantizes block `layer`.
    pub fn read(model: &mut Model, layer: usize) -> Result<Block> {
        let mut rows = |parts: &[&str]| -> Result<Vec<f32>> {
            let mut all = Vec::new();
            for part in parts {
                all.append(&mut model.dequantized(&format!("blk.{layer}.{part}.weight"))?);
            }
            Ok(all)
        };
        Ok(Block {
            attn_norm: rows(&["attn_norm"])?,
            qkv: rows(&["attn_q", "attn_k", "attn_v"])?,
            output: rows(&["attn_output"])?,
            ffn_norm: rows(&["ffn_norm"])?,
            gate_up: rows(&["ffn_gate", "ffn_up"])?,
            down: rows(&["ffn_down"])?,
        })
    }

    /// Makes the channels that the linear layers read alike, by factors that the layers before and the weights take up. The
    /// function of the block stays.
    pub fn smooth(&mut self, config: &Config, maxima: &Maxima, alpha: f64) -> Result<()> {
        // silu(gate) * up is linear in up, whose weights are the second half.
        let factors = factors(alpha, maxima.of(Site::Down), &self.down)?;
        let up = &mut self.gate_up[config.ffn * config.hidden..];
        fold_into_norm(up, config.hidden, &factors)?;
        fold_into_weights(&mut self.down, &factors)?;
        self.smooth_output(config, maxima.of(Site::Output), alpha)?;
        for (norm, weights, site) in [
            (&mut self.attn_norm, &mut self.qkv, Site::Attention),
            (&mut self.ffn_norm, &mut self.gate_up, Site::FeedForward),
        ] {
            let factors = self::factors(alpha, maxima.of(site), weights)?;
            fold_into_norm(norm, 1, &factors)?;
            fold_into_weights(weights, &factors)?;
        }
        Ok(())
    }

    /// What the output projection reads is a mean of values, so the rows of the value projection take up its factors. A value
    /// head serves several query heads: its channels have one factor for all of them.
    fn smooth_output(&mut self, config: &Config, x_max: &[f32], alpha: f64) -> Result<()> {
        let &Config { heads, kv_heads, head_dim, hidden, .. } = config;
        let value_channel = |channel: usize| channel / head_dim / (heads / kv_heads) * head_dim + channel % head_dim;
        let joined = |maxima: &[f32]| {
            let mut most = vec![0f32; kv_heads * head_dim];
            maxima.iter().enumerate().for_each(|(at, &m)| most[value_channel(at)] = most[value_channel(at)].max(m));
            most
        };
        let mut w_max = vec![0.0; heads * head_dim];
        channel_max(&self.output, &mut w_max)?;
        let factors = smooth(alpha, &joined(x_max), &joined(&w_max))?;
        let values = (heads + kv_heads) * head_dim * hidden;
        fold_into_norm(&mut self.qkv[values..], hidden, &factors)?;
        let spread: Vec<f32> = (0..heads * head_dim).map(|channel| factors[value_channel(channel)]).collect();
        Ok(fold_into_weights(&mut self.output, &spread)?)
    }
}

/// The factors of the channels that weights `[n, channels]` read.
fn factors(alpha: f64, x_max: &[f32], weights: &[f32]) -> Result<Vec<f32>> {
    let mut w_max = vec![0.0; x_max.len()];
    channel_max(weights, &mut w_max)?;
    Ok(smooth(alpha, x_max, &w_max)?)
}
