//! A whole-sequence forward pass with the linear layers on the host in f32 and attention given by the caller.
//!
//! Teacher-forced evaluation needs every token's logits, and a layer's attention at token t depends only on that layer's keys and
//! values up to t. So the pass goes layer by layer: the linear layers as matrix products over all tokens, attention token by token
//! in decode order by whatever cache is under test.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::gguf::{Config, Model};
use crate::math::{Rope, add, rms_norm, silu_mul};

struct Layer {
    attn_norm: Vec<f32>,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    output: Tensor,
    ffn_norm: Vec<f32>,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

/// A model's weights, dequantized to f32.
pub struct HostModel {
    /// The model's shape.
    pub config: Config,
    embedding: Tensor,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: Option<Tensor>,
}

/// Queries, keys and values of one layer after RoPE: `[tokens, heads, head_dim]` and `[tokens, kv_heads, head_dim]`.
pub struct Heads {
    /// Queries.
    pub q: Vec<f32>,
    /// Keys.
    pub k: Vec<f32>,
    /// Keys before RoPE.
    pub k_before_rope: Vec<f32>,
    /// Values.
    pub v: Vec<f32>,
}

/// What reads a row: the linear layers of a block, by their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Queries, keys and values, behind the norm.
    Attention,
    /// The projection of what attention mixed.
    Output,
    /// Gate and up, behind the norm.
    FeedForward,
    /// Down, behind the gate.
    Down,
}

impl HostModel {
    /// Reads and dequantizes every weight.
    pub fn load(model: &mut Model) -> Result<HostModel> {
        let config = model.config.clone();
        let matrix =
            |model: &mut Model, name: String| -> Result<Tensor> { Ok(model.tensor(&name)?.dequantize(&Device::Cpu)?) };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            layers.push(Layer {
                attn_norm: model.dequantized(&name("attn_norm"))?,
                q: matrix(model, name("attn_q"))?,
                k: matrix(model, name("attn_k"))?,
                v: matrix(model, name("attn_v"))?,
                output: matrix(model, name("attn_output"))?,
                ffn_norm: model.dequantized(&name("ffn_norm"))?,
                gate: matrix(model, name("ffn_gate"))?,
                up: matrix(model, name("ffn_up"))?,
                down: matrix(model, name("ffn_down"))?,
            });
        }
        let output = if model.tied() { None } else { Some(matrix(model, "output.weight".into())?) };
        Ok(HostModel {
            embedding: matrix(model, "token_embd.weight".into())?,
            output_norm: model.dequantized("output_norm.weight")?,
            layers,
            output,
            config,
        })
    }

    /// Logits `[tokens, vocab]` of `ids`. `attention(layer, heads)` returns `[tokens, heads, head_dim]`, query t having read
    /// positions up to t.
    pub fn forward(&self, ids: &[u32], attention: impl FnMut(usize, &Heads) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
        self.observed(ids, attention, |_, _, _| Ok(()))
    }

    /// As [`Self::forward`]; `observe(layer, site, rows)` sees what each linear layer of a block reads.
    pub fn observed(
        &self,
        ids: &[u32],
        mut attention: impl FnMut(usize, &Heads) -> Result<Vec<f32>>,
        mut observe: impl FnMut(usize, Site, &[f32]) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let c = &self.config;
        let rope = Rope::new(c.rotary_dim, c.rope_base);
        let index = Tensor::new(ids, &Device::Cpu)?;
        let mut x: Vec<f32> = self.embedding.index_select(&index, 0)?.flatten_all()?.to_vec1()?;
        for (number, layer) in self.layers.iter().enumerate() {
            let mut seen = |site, x: Vec<f32>| {
                observe(number, site, &x)?;
                rows(x, ids.len())
            };
            let h = seen(Site::Attention, rms_norm(&x, &layer.attn_norm, c.norm_eps))?;
            let (k, v) = (linear(&h, &layer.k)?, linear(&h, &layer.v)?);
            let mut heads = Heads { q: linear(&h, &layer.q)?, k_before_rope: k.clone(), k, v };
            rope.apply(&mut heads.q, c.heads, c.head_dim, 0);
            rope.apply(&mut heads.k, c.kv_heads, c.head_dim, 0);
            let mixed = seen(Site::Output, attention(number, &heads)?)?;
            add(&mut x, &linear(&mixed, &layer.output)?);
            let h = seen(Site::FeedForward, rms_norm(&x, &layer.ffn_norm, c.norm_eps))?;
            let mut gate = linear(&h, &layer.gate)?;
            silu_mul(&mut gate, &linear(&h, &layer.up)?);
            add(&mut x, &linear(&seen(Site::Down, gate)?, &layer.down)?);
        }
        let h = rows(rms_norm(&x, &self.output_norm, c.norm_eps), ids.len())?;
        linear(&h, self.output.as_ref().unwrap_or(&self.embedding))
    }
}

/// Causal attention in f32: the definition that every cache format is measured against.
pub fn f32_attention(config: &Config, heads: &Heads) -> Vec<f32> {
    let (hq, hkv, d) = (config.heads, config.kv_heads, config.head_dim);
    let mut out = vec![0.0; heads.q.len()];
    out.par_chunks_exact_mut(d).enumerate().for_each(|(row, out)| {
        let (t, head) = (row / hq, row % hq);
        for (p, weight) in attention_weights(config, heads, t, head).into_iter().enumerate() {
            let v = &heads.v[(p * hkv + head / (hq / hkv)) * d..][..d];
            for (o, v) in out.iter_mut().zip(v) {
                *o += weight * v;
            }
        }
    });
    out
}

/// What query head `head` of token `t` gives the tokens 0 to `t`; together 1.
pub fn attention_weights(config: &Config, heads: &Heads, t: usize, head: usize) -> Vec<f32> {
    let (hq, hkv, d) = (config.heads, config.kv_heads, config.head_dim);
    let scale = 1.0 / (d as f32).sqrt();
    let q = &heads.q[(t * hq + head) * d..][..d];
    let score = |p: usize| {
        let k = &heads.k[(p * hkv + head / (hq / hkv)) * d..][..d];
        scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f32>()
    };
    let mut weights: Vec<f32> = (0..=t).map(score).collect();
    let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for w in &mut weights {
        *w = (*w - top).exp();
        total += *w;
    }
    weights.iter_mut().for_each(|w| *w /= total);
    weights
}

fn rows(x: Vec<f32>, count: usize) -> Result<Tensor> {
    let columns = x.len() / count;
    Ok(Tensor::from_vec(x, (count, columns), &Device::Cpu)?)
}

/// x [rows, k] times weight [n, k] transposed.
fn linear(x: &Tensor, weight: &Tensor) -> Result<Vec<f32>> {
    Ok(x.matmul(&weight.t()?)?.flatten_all()?.to_vec1()?)
}
