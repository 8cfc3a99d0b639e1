//! `generate`: prompt in, text out, every matrix-vector product and all of attention by the kernels.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cache::LayerCache;
use crate::device::Device;
use crate::formats::{self, Format};
use crate::gguf::{Config, Model};
use crate::host::Heads;
use crate::math::{Rope, add, rms_norm, silu_mul};
use crate::metrics::argmax;
use crate::tokenizer::Text;
use crate::weights::Matrix;
use crate::{ModelFile, interrupt};

/// Tokens of the prompt that go through the model together.
const CHUNK: usize = 8;

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelFile,
    /// Text to continue
    #[arg(long, default_value = "The most interesting thing about the city of Paris is")]
    prompt: String,
    /// Most tokens to generate
    #[arg(long, default_value_t = 48, value_name = "N")]
    tokens: usize,
    /// KV cache format: f16, int8, e4m3, e5m2, int8-e4m3, int8-int4, int4-g32, nvfp4, q8_0, q8_0-q4_0, q4_0, kivi4-r128, kivi4-r32,
    /// kivi4-g64-r128, kivi8-2-r128, kivi8-2-g64-r128, kivi2-r128, kivi2-r32, kivi2-g64-r128
    #[arg(long, default_value = "kivi4-r32", value_name = "FORMAT")]
    kv: Format,
    /// Put the prompt into the ChatML template as a user's turn
    #[arg(long)]
    chat: bool,
}

struct Layer {
    attn_norm: Vec<f32>,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    output: Matrix,
    ffn_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    cache: LayerCache,
}

/// The model on the device.
struct Engine {
    device: Device,
    config: Config,
    rope: Rope,
    embedding: Vec<f32>,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    output: Matrix,
}

impl Engine {
    fn load(device: Device, model: &mut Model, kv: formats::Stored, max_tokens: usize) -> Result<Engine> {
        let config = model.config.clone();
        let bar = ProgressBar::new(config.layers as u64);
        bar.set_style(ProgressStyle::with_template("packing weights {bar:40} {pos}/{len} layers")?);
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            interrupt::check()?;
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            layers.push(Layer {
                attn_norm: model.dequantized(&name("attn_norm"))?,
                q: Matrix::load(&device, model, &name("attn_q"))?,
                k: Matrix::load(&device, model, &name("attn_k"))?,
                v: Matrix::load(&device, model, &name("attn_v"))?,
                output: Matrix::load(&device, model, &name("attn_output"))?,
                ffn_norm: model.dequantized(&name("ffn_norm"))?,
                gate: Matrix::load(&device, model, &name("ffn_gate"))?,
                up: Matrix::load(&device, model, &name("ffn_up"))?,
                down: Matrix::load(&device, model, &name("ffn_down"))?,
                cache: LayerCache::new(&device, &config, kv, max_tokens, CHUNK)?,
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let output = if model.tied() { "token_embd.weight" } else { "output.weight" };
        Ok(Engine {
            rope: Rope::new(config.rotary_dim, config.rope_base),
            embedding: model.dequantized("token_embd.weight")?,
            layers,
            output_norm: model.dequantized("output_norm.weight")?,
            output: Matrix::load(&device, model, output)?,
            device,
            config,
        })
    }

    fn weight_bytes(&self) -> usize {
        let of =
            |l: &Layer| [&l.q, &l.k, &l.v, &l.output, &l.gate, &l.up, &l.down].map(Matrix::bytes).iter().sum::<usize>();
        self.layers.iter().map(of).sum::<usize>() + self.output.bytes()
    }

    /// Logits of the last of `ids`, which stand at `position`, `position + 1`...
    fn step(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        let (c, device) = (&self.config, &self.device);
        let mut x = Vec::with_capacity(ids.len() * c.hidden);
        for &id in ids {
            x.extend_from_slice(&self.embedding[id as usize * c.hidden..][..c.hidden]);
        }
        for layer in &mut self.layers {
            interrupt::check()?;
            let h = rms_norm(&x, &layer.attn_norm, c.norm_eps);
            let (k, v) = (layer.k.multiply(device, &h)?, layer.v.multiply(device, &h)?);
            let mut heads = Heads { q: layer.q.multiply(device, &h)?, k_before_rope: k.clone(), k, v };
            self.rope.apply(&mut heads.q, c.heads, c.head_dim, position);
            self.rope.apply(&mut heads.k, c.kv_heads, c.head_dim, position);
            let mixed = layer.cache.extend(device, &heads, ids.len())?;
            add(&mut x, &layer.output.multiply(device, &mixed)?);
            let h = rms_norm(&x, &layer.ffn_norm, c.norm_eps);
            let mut gate = layer.gate.multiply(device, &h)?;
            silu_mul(&mut gate, &layer.up.multiply(device, &h)?);
            add(&mut x, &layer.down.multiply(device, &gate)?);
        }
        let last = &x[(ids.len() - 1) * c.hidden..];
        self.output.multiply(device, &rms_norm(last, &self.output_norm, c.norm_eps))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let kv = args.kv.kv.context("--kv: f32 is attention without a cache, for `accuracy` only")?;
    ensure!(!args.kv.needs_tables(), "--kv: {} needs tables of calibration, which `accuracy` makes", args.kv.name);
    let mut file = args.model.open()?;
    let text = Text::new(&file)?;
    let prompt = if args.chat { text.chat(&args.prompt)? } else { args.prompt.clone() };
    let mut ids = text.encode(&prompt)?;
    ensure!(!ids.is_empty(), "--prompt: expected some text");
    let most = ids.len() + args.tokens;
    ensure!(most <= file.config.context, "{most} tokens do not fit the model's context of {}", file.config.context);
    let mut engine = Engine::load(Device::open()?, &mut file, kv, most)?;
    describe(&engine, &args.kv)?;

    let start = Instant::now();
    let bar = ProgressBar::new(ids.len() as u64);
    bar.set_style(ProgressStyle::with_template("reading the prompt {bar:40} {pos}/{len} tokens")?);
    let (mut position, mut logits) = (0, Vec::new());
    for chunk in ids.chunks(CHUNK) {
        logits = engine.step(chunk, position)?;
        position += chunk.len();
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let read = start.elapsed();

    let mut shown = text.decode(&ids)?;
    print!("{shown}");
    let start = Instant::now();
    let mut made = 0;
    while made < args.tokens {
        std::io::stdout().flush()?;
        let next = argmax(&logits) as u32;
        if text.end == Some(next) {
            break;
        }
        ids.push(next);
        made += 1;
        // All text anew: a token may end a UTF-8 sequence that earlier ones began.
        let now = text.decode(&ids)?;
        if !now.ends_with('\u{fffd}') {
            print!("{}", now.strip_prefix(&shown).unwrap_or_default());
            shown = now;
        }
        if made < args.tokens {
            // An interruption leaves the text on a line of its own.
            logits = engine.step(&[next], position).inspect_err(|_| println!())?;
            position += 1;
        }
    }
    println!();
    report(&engine, position - made.saturating_sub(1), read, made, start.elapsed());
    Ok(())
}

fn describe(engine: &Engine, format: &Format) -> Result<()> {
    let (config, f16) = (&engine.config, "f16".parse::<Format>().map_err(anyhow::Error::msg)?);
    let (bytes, of_f16) = (formats::bytes_per_token(config, format)?, formats::bytes_per_token(config, &f16)?);
    println!("device: {}", engine.device.name);
    println!(
        "weights: {:.1} MiB packed, every matrix-vector product by the W4A16 kernel (8-bit matrices, the output projection among them: W8A16)",
        engine.weight_bytes() as f64 / (1 << 20) as f64
    );
    println!(
        "KV cache: {}, {bytes} bytes per token; f16 takes {of_f16}: {:.2}x",
        format.name,
        of_f16 as f64 / bytes as f64
    );
    Ok(())
}

fn report(engine: &Engine, read_tokens: usize, read: Duration, made: usize, took: Duration) {
    let whose = if engine.device.is_software() {
        "software device: counts of a simulation, not a GPU's time"
    } else {
        "GPU, with host work"
    };
    let steps = made.saturating_sub(1).max(1);
    println!(
        "{made} tokens made; {:.3} s per prompt token, {:.3} s per token ({whose})",
        read.as_secs_f64() / read_tokens as f64,
        took.as_secs_f64() / steps as f64
    );
}
