//! A whole-sequence forward pass of a deployment: norms, linear layers and gates by the kernels, on a residual stream in
//! f16; attention given by the caller, RoPE on the host.

use anyhow::{Context, Result};
use half::f16;
use indicatif::{ProgressBar, ProgressStyle};
use lowbit::cudarc::driver::CudaSlice;
use rayon::prelude::*;

use super::activations::Activations;
use super::block::{Block, Maxima};
use super::linear::Linear;
use super::preset::{Scheme, Source};
use crate::device::Device;
use crate::gguf::{Config, Model};
use crate::host::Heads;
use crate::math::Rope;
use crate::{interrupt, weights};

struct Layer {
    attn_norm: CudaSlice<f16>,
    qkv: Linear,
    output: Linear,
    ffn_norm: CudaSlice<f16>,
    gate_up: Linear,
    down: Linear,
}

/// A model on the device.
pub struct Deployed {
    config: Config,
    scheme: Scheme,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: CudaSlice<f16>,
    output: Linear,
}

impl Layer {
    /// The block's weights in another code.
    fn quantized(device: &Device, config: &Config, scheme: Scheme, block: &Block) -> Result<Layer> {
        let (hidden, ffn, heads) = (config.hidden, config.ffn, config.heads * config.head_dim);
        let qkv = heads + 2 * config.kv_heads * config.head_dim;
        let matrices = [
            (qkv, hidden, &block.qkv),
            (hidden, heads, &block.output),
            (2 * ffn, hidden, &block.gate_up),
            (hidden, ffn, &block.down),
        ];
        let quantize = |(n, k, weights): (usize, usize, &Vec<f32>)| Linear::quantize(device, scheme, n, k, weights);
        let matrices: Vec<Linear> = matrices.into_par_iter().map(quantize).collect::<Result<_>>()?;
        Layer::new(device, &block.attn_norm, &block.ffn_norm, matrices)
    }

    /// The weights of block `layer` as the file has them.
    fn stored(device: &Device, model: &mut Model, layer: usize) -> Result<Layer> {
        let name = |part: &&str| format!("blk.{layer}.{part}.weight");
        let matrices = [&["attn_q", "attn_k", "attn_v"][..], &["attn_output"], &["ffn_gate", "ffn_up"], &["ffn_down"]];
        let mut stored = |parts: &[&str]| {
            let names: Vec<String> = parts.iter().map(name).collect();
            Linear::packed(device, &weights::pack(model, &names)?)
        };
        let matrices = matrices.into_iter().map(&mut stored).collect::<Result<_>>()?;
        let (attn_norm, ffn_norm) = (model.dequantized(&name(&"attn_norm"))?, model.dequantized(&name(&"ffn_norm"))?);
        Layer::new(device, &attn_norm, &ffn_norm, matrices)
    }

    /// `matrices`: queries with keys and values, output, gate with up, down.
    fn new(device: &Device, attn_norm: &[f32], ffn_norm: &[f32], matrices: Vec<Linear>) -> Result<Layer> {
        let mut matrices = matrices.into_iter();
        let mut next = || matrices.next().context("four matrices");
        Ok(Layer {
            attn_norm: device.upload_f16(attn_norm)?,
            qkv: next()?,
            output: next()?,
            ffn_norm: device.upload_f16(ffn_norm)?,
            gate_up: next()?,
            down: next()?,
        })
    }
}

impl Deployed {
    /// Uploads every block, as the file has it or quantized, then smoothed first if the scheme says so, and the output
    /// projection as the file has it. `maxima`, one a block, and `alpha` are those of SmoothQuant.
    pub fn load(
        device: &Device,
        model: &mut Model,
        scheme: Scheme,
        (maxima, alpha): (&[Maxima], f64),
    ) -> Result<Deployed> {
        let config = model.config.clone();
        let bar = ProgressBar::new(config.layers as u64);
        bar.set_style(ProgressStyle::with_template("quantizing weights {bar:40} {pos}/{len} layers")?);
        let mut layers = Vec::with_capacity(config.layers);
        for number in 0..config.layers {
            interrupt::check()?;
            layers.push(if let Scheme::W4A16(Source::Stored) = scheme {
                Layer::stored(device, model, number)?
            } else {
                let mut block = Block::read(model, number)?;
                if scheme.smooths() {
                    let maxima = maxima.get(number).with_context(|| format!("no maxima of block {number}"))?;
                    block.smooth(&config, maxima, alpha)?;
                }
                Layer::quantized(device, &config, scheme, &block).with_context(|| format!("block {number}"))?
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let output = if model.tied() { "token_embd.weight" } else { "output.weight" };
        Ok(Deployed {
            embedding: model.dequantized("token_embd.weight")?,
            output_norm: device.upload_f16(&model.dequantized("output_norm.weight")?)?,
            output: Linear::packed(device, &weights::pack(model, &[output.to_string()])?)?,
            layers,
            scheme,
            config,
        })
    }

    /// Bytes on the device of the blocks' linear layers, and of the output projection.
    pub fn weight_bytes(&self) -> (usize, usize) {
        let of = |l: &Layer| [&l.qkv, &l.output, &l.gate_up, &l.down].map(Linear::bytes).iter().sum::<usize>();
        (self.layers.iter().map(of).sum(), self.output.bytes())
    }

    /// Logits `[tokens, vocab]` of `ids`, which stand at position 0, 1... `attention(layer, heads)` returns
    /// `[tokens, heads, head_dim]`, query t having read positions up to t.
    pub fn forward(
        &self,
        device: &Device,
        ids: &[u32],
        mut attention: impl FnMut(usize, &Heads) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let (c, scheme) = (&self.config, self.scheme);
        let rope = Rope::new(c.rotary_dim, c.rope_base);
        let rows = ids.iter().flat_map(|&id| &self.embedding[id as usize * c.hidden..][..c.hidden]);
        let mut x = device.upload_f16(&rows.copied().collect::<Vec<_>>())?;
        for (number, layer) in self.layers.iter().enumerate() {
            interrupt::check()?;
            let h = Activations::norm(device, scheme, &x, &layer.attn_norm, c.norm_eps)?;
            let qkv = device.stream.clone_dtoh(&layer.qkv.multiply::<f32>(device, &h)?)?;
            let mut heads = self.split(&qkv);
            rope.apply(&mut heads.q, c.heads, c.head_dim, 0);
            rope.apply(&mut heads.k, c.kv_heads, c.head_dim, 0);
            let mixed = device.upload_f16(&attention(number, &heads)?)?;
            let mixed = Activations::of(device, scheme, mixed, c.heads * c.head_dim)?;
            layer.output.add_to(device, &mixed, &mut x)?;
            let h = Activations::norm(device, scheme, &x, &layer.ffn_norm, c.norm_eps)?;
            let h = layer.gate_up.gated(device, scheme, &h)?;
            layer.down.add_to(device, &h, &mut x)?;
        }
        let h = Activations::norm(device, Scheme::W4A16(Source::Stored), &x, &self.output_norm, c.norm_eps)?;
        Ok(device.stream.clone_dtoh(&self.output.multiply::<f32>(device, &h)?)?)
    }

    /// Queries, keys and values of rows that hold them in this order.
    fn split(&self, qkv: &[f32]) -> Heads {
        let (q, kv) = (self.config.heads * self.config.head_dim, self.config.kv_heads * self.config.head_dim);
        let part = |from: usize, len: usize| {
            qkv.chunks_exact(q + 2 * kv).flat_map(|row| row[from..][..len].iter().copied()).collect()
        };
        let k = part(q, kv);
        Heads { q: part(0, q), k_before_rope: k.clone(), k, v: part(q + kv, kv) }
    }
}
