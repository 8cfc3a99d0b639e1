//! `accuracy`: what each cache format costs, teacher-forced on a text in true decode order.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cache::LayerCache;
use crate::calibration::{self, Tables};
use crate::corpus;
use crate::device::Device;
use crate::formats::{self, Format};
use crate::gguf::Config;
use crate::host::{HostModel, f32_attention};
use crate::metrics::{self, Accuracy};
use crate::tokenizer::Text;
use crate::{ModelFile, interrupt};

/// Arguments of `accuracy`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelFile,
    /// Tokens of the evaluation chunk
    #[arg(long, default_value_t = 1024, value_name = "N")]
    tokens: usize,
    /// First token of the chunk in the text's tokenization
    #[arg(long, default_value_t = 30_000, value_name = "FIRST_TOKEN")]
    offset: usize,
    /// Text to evaluate on [default: Around the World in Eighty Days, bundled]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Formats to measure, as --list names them [default: all]
    #[arg(long, value_delimiter = ',', value_name = "A,B,..")]
    formats: Vec<Format>,
    /// The formats' names, bits and bytes, without measuring
    #[arg(long)]
    list: bool,
    /// One JSON object a line on stdout, nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    ensure!(args.tokens >= 2, "--tokens: expected at least 2, found {}", args.tokens);
    let mut file = args.model.open()?;
    let chosen = if args.formats.is_empty() { formats::ALL.to_vec() } else { args.formats.clone() };
    if args.list {
        return chosen.iter().try_for_each(|format| list(args.json, &file.config, format));
    }
    let ids = Text::new(&file)?.encode(&corpus::load(args.text.as_deref())?)?;
    let end = args.offset.saturating_add(args.tokens);
    ensure!(end <= ids.len(), "the text has {} tokens, and {}..{end} were asked for", ids.len(), args.offset);
    let all = &ids;
    let ids = &all[args.offset..end];
    let device = Device::open()?;
    let model = HostModel::load(&mut file)?;
    let config = model.config.clone();
    if !args.json {
        println!("device: {}", device.name);
        println!(
            "{} tokens from {} of {}, teacher-forced; linear layers on the host in f32, append and attention by the kernels",
            ids.len(),
            args.offset,
            args.text.as_ref().map_or("the bundled text".into(), |p| p.display().to_string())
        );
        println!(
            "{:<18} {:>5} {:>8} {:>9} {:>9} {:>8} {:>9} {:>7}",
            "format", "bits", "B/token", "ppl", "dNLL", "+-se", "KL", "top-1"
        );
    }
    let mut baseline = model.forward(ids, |_, heads| {
        interrupt::check()?;
        Ok(f32_attention(&config, heads))
    })?;
    metrics::log_softmax(&mut baseline, config.vocab);
    let tables = if chosen.iter().any(Format::gains_by_calibration) {
        let end = calibration::FIRST + calibration::TOKENS;
        ensure!(end <= all.len(), "calibration takes tokens {}..{end}, the text has {}", calibration::FIRST, all.len());
        let apart = end <= args.offset || args.offset + args.tokens <= calibration::FIRST;
        ensure!(apart, "--offset: tokens {}..{end} are those that tables are made of", calibration::FIRST);
        Some(calibration::calibrate(&model, &all[calibration::FIRST..end])?)
    } else {
        None
    };
    for format in chosen {
        let accuracy = match format.kv {
            None => metrics::compare(ids, &baseline, &baseline, config.vocab),
            Some(kv) => {
                let mut run = quantized(&device, &model, ids, &format, kv, tables.as_deref())?;
                metrics::log_softmax(&mut run, config.vocab);
                metrics::compare(ids, &baseline, &run, config.vocab)
            }
        };
        print(args.json, &config, &device, &format, &accuracy)?;
    }
    Ok(())
}

/// Logits with every layer's keys and values in a cache of the format, read by the fused kernel.
fn quantized(
    device: &Device,
    model: &HostModel,
    ids: &[u32],
    format: &Format,
    kv: formats::Stored,
    tables: Option<&[Tables]>,
) -> Result<Vec<f32>> {
    let bar = ProgressBar::new((model.config.layers * ids.len()) as u64).with_message(format.name);
    bar.set_style(ProgressStyle::with_template("{msg:<18} {bar:40} {pos}/{len} attended tokens, {eta} left")?);
    let mut cache = LayerCache::new(device, &model.config, kv, ids.len(), 1)?;
    let logits = model.forward(ids, |layer, heads| {
        if let Some(tables) = tables {
            cache.calibrate(device, &tables[layer])?;
        }
        cache.decode(device, heads, || bar.inc(1))
    });
    bar.finish_and_clear();
    logits
}

fn list(json: bool, config: &Config, format: &Format) -> Result<()> {
    let (bits, bytes) = (formats::bits(config, format)?, formats::bytes_per_token(config, format)?);
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::json!({ "format": format.name, "bits": bits, "bytes_per_token": bytes }))?;
    } else {
        writeln!(out, "{:<16} {bits:>5.2} bits {bytes:>8} bytes a token", format.name)?;
    }
    Ok(())
}

fn print(json: bool, config: &Config, device: &Device, format: &Format, a: &Accuracy) -> Result<()> {
    let (bits, bytes) = (formats::bits(config, format)?, formats::bytes_per_token(config, format)?);
    let device = if format.kv.is_some() { device.name.as_str() } else { "host" };
    let mut out = std::io::stdout().lock();
    if json {
        let line = serde_json::json!({
            "format": format.name, "bits": bits, "bytes_per_token": bytes, "tokens": a.predictions + 1, "ppl": a.perplexity,
            "dnll": a.dnll, "dnll_se": a.dnll_se, "kl": a.kl, "top1": a.top1, "device": device,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{:<18} {bits:>5.2} {bytes:>8} {:>9.4} {:>+9.5} {:>8.5} {:>9.6} {:>6.2}%",
            format.name,
            a.perplexity,
            a.dnll,
            a.dnll_se,
            a.kl,
            100.0 * a.top1
        )?;
    }
    Ok(out.flush()?)
}
