//! `deploy`: whole deployments: quantized weights, activations and KV cache, every linear layer and attention by the kernels;
//! their bytes, and what they cost, teacher-forced on a text in true decode order.

mod activations;
mod block;
mod linear;
mod model;
mod preset;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use block::Maxima;
use model::Deployed;
use preset::{Deployment, Scheme};

use crate::cache::LayerCache;
use crate::device::Device;
use crate::gguf::Config;
use crate::host::{HostModel, f32_attention};
use crate::metrics::{self, Accuracy};
use crate::tokenizer::Text;
use crate::{ModelFile, corpus, formats, interrupt};

/// Arguments of `deploy`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelFile,
    /// memory-first (W4A16, INT8 cache), balanced (W4A16, KIVI-4 cache), both also with -rtn (weights rounded anew instead of the
    /// file's), speed-first (W8A8 INT8 with SmoothQuant, E4M3 cache), speed-first-fp8 (W8A8 E4M3, E4M3 cache); w8a8 and
    /// w8a8-smooth, without a cache, show what smoothing is worth [default: all]
    #[arg(value_name = "DEPLOYMENT")]
    deployments: Vec<Deployment>,
    /// Tokens of the evaluation chunk
    #[arg(long, default_value_t = 64, value_name = "N")]
    tokens: usize,
    /// First token of the chunk in the text's tokenization
    #[arg(long, default_value_t = 30_000, value_name = "FIRST_TOKEN")]
    offset: usize,
    /// Tokens from the text's start whose activations SmoothQuant sees
    #[arg(long, default_value_t = 128, value_name = "N")]
    calibration: usize,
    /// SmoothQuant's exponent, 0 to 1: how much of the difficulty the weights take over
    #[arg(long, default_value_t = 0.5)]
    alpha: f64,
    /// Text to evaluate on [default: Around the World in Eighty Days, bundled]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// One JSON object a line on stdout, nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    ensure!(args.tokens >= 2, "--tokens: expected at least 2, found {}", args.tokens);
    let chosen = if args.deployments.is_empty() { preset::ALL.to_vec() } else { args.deployments.clone() };
    let mut file = args.model.open()?;
    let text = Text::new(&file)?.encode(&corpus::load(args.text.as_deref())?)?;
    let end = args.offset.saturating_add(args.tokens);
    ensure!(end <= text.len(), "the text has {} tokens, and {}..{end} were asked for", text.len(), args.offset);
    let ids = &text[args.offset..end];
    let smooths = chosen.iter().any(|d| d.linear.smooths());
    ensure!(
        !smooths || (1..=args.offset).contains(&args.calibration),
        "--calibration: expected 1 to {}, the tokens before --offset, found {}",
        args.offset,
        args.calibration
    );
    let device = Device::open()?;
    let host = HostModel::load(&mut file)?;
    let config = host.config.clone();
    let mut baseline = host.forward(ids, |_, heads| {
        interrupt::check()?;
        Ok(f32_attention(&config, heads))
    })?;
    metrics::log_softmax(&mut baseline, config.vocab);
    let maxima = if smooths { Maxima::capture(&host, &text[..args.calibration])? } else { Vec::new() };
    drop(host);
    if !args.json {
        header(args, &device, ids.len());
    }
    let mut loaded: Option<(Scheme, Deployed)> = None;
    for deployment in chosen {
        let scheme = deployment.linear;
        let model = match loaded.take() {
            Some((same, model)) if same == scheme => model,
            other => {
                // Not two models at a time.
                drop(other);
                Deployed::load(&device, &mut file, scheme, (&maxima, args.alpha))?
            }
        };
        let mut run = logits(&device, &model, &config, ids, &deployment)?;
        metrics::log_softmax(&mut run, config.vocab);
        let accuracy = metrics::compare(ids, &baseline, &run, config.vocab);
        print(args.json, &config, &device, &deployment, model.weight_bytes(), &accuracy)?;
        loaded = Some((scheme, model));
    }
    Ok(())
}

/// Logits of the deployment, keys and values going through its cache token by token.
fn logits(
    device: &Device,
    model: &Deployed,
    config: &Config,
    ids: &[u32],
    deployment: &Deployment,
) -> Result<Vec<f32>> {
    let Some(kv) = deployment.kv.kv else {
        return model.forward(device, ids, |_, heads| Ok(f32_attention(config, heads)));
    };
    let bar = ProgressBar::new((config.layers * ids.len()) as u64).with_message(deployment.name);
    bar.set_style(ProgressStyle::with_template("{msg:<16} {bar:40} {pos}/{len} attended tokens, {eta} left")?);
    let mut cache = LayerCache::new(device, config, kv, ids.len(), 1)?;
    let logits = model.forward(device, ids, |_, heads| cache.decode(device, heads, || bar.inc(1)));
    bar.finish_and_clear();
    logits
}

fn header(args: &Args, device: &Device, tokens: usize) {
    println!("device: {}", device.name);
    println!(
        "{tokens} tokens from {} of {}, teacher-forced, against the file's weights and attention in f32",
        args.offset,
        args.text.as_ref().map_or("the bundled text".into(), |p| p.display().to_string())
    );
    println!(
        "{:<16} {:>9} {:>8} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>7}",
        "deployment", "blocks", "bits", "head", "KV", "ppl", "dNLL", "+-se", "KL", "top-1"
    );
    println!("{:<16} {:>9} {:>8} {:>9} {:>8}", "", "MiB", "/weight", "MiB", "B/token");
}

fn print(
    json: bool,
    config: &Config,
    device: &Device,
    deployment: &Deployment,
    (blocks, head): (usize, usize),
    a: &Accuracy,
) -> Result<()> {
    let bits = 8.0 * blocks as f64 / config.block_weights() as f64;
    let kv = formats::bytes_per_token(config, &deployment.kv)?;
    let mut out = std::io::stdout().lock();
    if json {
        let line = serde_json::json!({
            "deployment": deployment.name, "kv": deployment.kv.name, "block_bytes": blocks, "bits_per_weight": bits,
            "head_bytes": head, "kv_bytes_per_token": kv, "tokens": a.predictions + 1, "ppl": a.perplexity, "dnll": a.dnll,
            "dnll_se": a.dnll_se, "kl": a.kl, "top1": a.top1, "device": device.name,
        });
        writeln!(out, "{line}")?;
    } else {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        writeln!(
            out,
            "{:<16} {:>9.1} {bits:>8.2} {:>9.1} {kv:>8} {:>9.4} {:>+9.5} {:>8.5} {:>9.6} {:>6.2}%",
            deployment.name,
            mib(blocks),
            mib(head),
            a.perplexity,
            a.dnll,
            a.dnll_se,
            a.kl,
            100.0 * a.top1
        )?;
    }
    Ok(out.flush()?)
}
