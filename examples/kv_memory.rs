//! How much memory a model's KV cache takes in every format, and how long a context fits a budget: a table, and a plot of
//! bytes against context length.
//!
//! `cargo run --example kv_memory -- --layers 80 --kv-heads 8 --head-dim 128 --tokens 131072`

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use lowbit::cache::{KvFormat, KvLayout, KvShape, ModelCache};
use lowbit::format::DType;
use plotters::prelude::*;

const GIB: f64 = (1u64 << 30) as f64;

#[derive(Parser)]
#[command(about = "Bytes of a model's KV cache in every format")]
struct Args {
    /// A known model's shape; the options below change it
    #[arg(long, value_enum, default_value_t = Preset::Llama3_70b)]
    model: Preset,
    /// Layers with attention
    #[arg(long)]
    layers: Option<u64>,
    /// KV heads of a layer
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Channels of a head
    #[arg(long)]
    head_dim: Option<usize>,
    /// Context length of each sequence
    #[arg(long, default_value_t = 128 * 1024)]
    tokens: u64,
    /// Sequences
    #[arg(long, default_value_t = 1)]
    sequences: u64,
    /// Tokens of a page
    #[arg(long, default_value_t = 64)]
    page_tokens: usize,
    /// Most new tokens of a sequence in one step
    #[arg(long, default_value_t = 1)]
    max_append: usize,
    /// GiB for the cache: how many tokens fit is printed
    #[arg(long, default_value_t = 24.0)]
    budget: f64,
    /// Where the plot goes
    #[arg(long, default_value = "target/kv_memory.svg")]
    plot: PathBuf,
}

/// Layers, KV heads, head dimension, from the models' published configurations.
#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    #[value(name = "llama-3-8b")]
    Llama3_8b,
    #[value(name = "llama-3-70b")]
    Llama3_70b,
    #[value(name = "qwen2.5-7b")]
    Qwen25_7b,
    #[value(name = "qwen2.5-72b")]
    Qwen25_72b,
    #[value(name = "qwen3-32b")]
    Qwen3_32b,
}

impl Preset {
    const fn shape(self) -> (u64, usize, usize) {
        match self {
            Self::Llama3_8b => (32, 8, 128),
            Self::Llama3_70b => (80, 8, 128),
            Self::Qwen25_7b => (28, 4, 128),
            Self::Qwen25_72b => (80, 8, 128),
            Self::Qwen3_32b => (64, 8, 128),
        }
    }
}

/// A format's caches, or why there are none.
struct Entry {
    name: String,
    cache: Result<ModelCache, lowbit::Error>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let preset = args.model.shape();
    let (layers, num_kv_heads) = (args.layers.unwrap_or(preset.0), args.kv_heads.unwrap_or(preset.1));
    let head_dim = args.head_dim.unwrap_or(preset.2);
    let shape = KvShape {
        num_kv_heads,
        head_dim,
        page_tokens: args.page_tokens,
        max_append: args.max_append,
        dtype: DType::F16,
    };
    let entries: Vec<Entry> = KvFormat::PRESETS
        .iter()
        .map(|&(name, format)| Entry {
            name: name.to_string(),
            cache: KvLayout::new(shape, format).map(|layout| ModelCache { layers, layout }),
        })
        .collect();
    println!(
        "{layers} layers, {num_kv_heads} KV heads, head dimension {head_dim}; {} x {} tokens in pages of {}",
        args.sequences, args.tokens, args.page_tokens
    );
    table(&entries, &args);
    let drawn: Vec<(&str, ModelCache)> =
        entries.iter().filter_map(|entry| Some((entry.name.as_str(), *entry.cache.as_ref().ok()?))).collect();
    if drawn.is_empty() {
        return Err("no format has kernels for this shape".into());
    }
    plot(&drawn, &args, &args.plot)?;
    println!("plot: {}", args.plot.display());
    Ok(())
}

fn table(entries: &[Entry], args: &Args) {
    let budget = (args.budget * GIB) as u64;
    println!(
        "{:<20} {:>6} {:>9} {:>10} {:>10} {:>10} {:>7} {:>12}",
        "format",
        "bits",
        "B/token",
        "pages GiB",
        "window GiB",
        "total GiB",
        "of f16",
        format!("in {} GiB", args.budget)
    );
    let float = entries[0].cache.as_ref().map(|cache| cache.bytes(args.sequences, args.tokens).total());
    for entry in entries {
        let cache = match &entry.cache {
            Ok(cache) => cache,
            Err(why) => {
                println!("{:<20} {why}", entry.name);
                continue;
            }
        };
        let bytes = cache.bytes(args.sequences, args.tokens);
        let shape = cache.layout.shape();
        let elements = cache.layers * 2 * (shape.num_kv_heads * shape.head_dim) as u64;
        println!(
            "{:<20} {:>6.2} {:>9} {:>10.3} {:>10.3} {:>10.3} {:>6.1}% {:>12}",
            entry.name,
            8.0 * cache.bytes_per_token() as f64 / elements as f64,
            cache.bytes_per_token(),
            bytes.pages as f64 / GIB,
            bytes.windows as f64 / GIB,
            bytes.total() as f64 / GIB,
            float.as_ref().map_or(f64::NAN, |float| 100.0 * bytes.total() as f64 / *float as f64),
            cache.tokens_in(budget, args.sequences),
        );
    }
}

/// Okabe and Ito's palette, told apart by colour-blind readers too.
const COLORS: [(u8, u8, u8); 8] = [
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
    (204, 121, 167),
    (150, 140, 20),
];

/// GiB against tokens, both logarithmic.
fn plot(caches: &[(&str, ModelCache)], args: &Args, file: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let tokens: Vec<u64> =
        (0..).map(|i| 1024u64 << i).take_while(|&tokens| tokens < args.tokens).chain([args.tokens]).collect();
    let gib = |cache: &ModelCache, tokens| cache.bytes(args.sequences, tokens).total() as f64 / GIB;
    let all: Vec<f64> = caches.iter().flat_map(|(_, cache)| tokens.iter().map(|&t| gib(cache, t))).collect();
    let (low, high) = all.iter().fold((f64::MAX, 0f64), |(low, high), &x| (low.min(x), high.max(x)));
    let root = SVGBackend::new(file, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let first = tokens[0] as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("KV cache against context length", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (first..args.tokens as f64 * 1.05).log_scale().base(2.0),
            (low * 0.8..high * 1.25).log_scale(),
        )?;
    chart
        .configure_mesh()
        .label_style(("sans-serif", 14))
        .x_desc("tokens of each sequence")
        .y_desc("GiB, all layers")
        .x_label_formatter(&|tokens| format!("{}K", (tokens / 1024.0).round()))
        .y_label_formatter(&|gib| format!("{gib:.3}").trim_end_matches('0').trim_end_matches('.').to_string())
        .draw()?;
    for (at, (name, cache)) in caches.iter().enumerate() {
        let (r, g, b) = COLORS[at % COLORS.len()];
        let color = RGBColor(r, g, b);
        let points = tokens.iter().map(|&t| (t as f64, gib(cache, t)));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(format!("{name}: {:.2} GiB", gib(cache, args.tokens)))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 14))
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
