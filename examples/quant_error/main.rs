//! What every format of the quantization family costs a tensor in accuracy: a table of bits, mean squared and largest error;
//! and a picture of where the error lies: magnitudes by token and channel beside the errors of coding per tensor, per token
//! and per channel.
//!
//! `cargo run --example quant_error [-- FILE.safetensors --tensor NAME]`; without a file, keys and values of SmolLM2-135M
//! (128 tokens, tests/data). The formats are computed by their definitions on the CPU: no device is needed.

mod formats;
mod picture;
mod raster;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use lowbit::half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(about = "The error of every format on a tensor, as a table and a picture")]
struct Args {
    /// Tensors of f16, bf16 or f32: [tokens, heads, channels] or [tokens, channels]; default: the bundled keys and values
    file: Option<PathBuf>,
    /// The tensors of the file to code; default: all that fit
    #[arg(long, requires = "file")]
    tensor: Vec<String>,
    /// Channels of a head, for a tensor of two dimensions; default: all of them
    #[arg(long, requires = "file")]
    head_dim: Option<usize>,
    /// Where the pictures go: NAME.svg and NAME.png
    #[arg(long, default_value = "target/quant_error")]
    out: PathBuf,
}

/// A tensor [tokens, heads, head_dim] whose values are f16.
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Rows.
    pub tokens: usize,
    /// Heads of a row.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// The values, dense.
    pub x: Vec<f16>,
}

impl Tensor {
    /// Channels of a row.
    pub const fn channels(&self) -> usize {
        self.heads * self.head_dim
    }

    fn read(file: &SafeTensors<'_>, name: &str, head_dim: Option<usize>) -> Outcome<Tensor> {
        let view = file.tensor(name)?;
        let (tokens, heads, dim) = match (view.shape(), head_dim) {
            (&[tokens, heads, dim], None) => (tokens, heads, dim),
            (&[tokens, channels], dim) if dim.is_none_or(|dim| dim > 0 && channels % dim == 0) => {
                let dim = dim.unwrap_or(channels);
                (tokens, channels / dim.max(1), dim)
            }
            (shape, _) => {
                return Err(format!("{name}: shape {shape:?} does not fit (--head-dim is for two dimensions)").into());
            }
        };
        let bytes = view.data();
        let x: Vec<f32> = match view.dtype() {
            Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            other => return Err(format!("{name}: {other:?} is none of F16, BF16, F32").into()),
        };
        if x.is_empty() {
            return Err(format!("{name} is empty").into());
        }
        // Every format sees what a cache would be given.
        let x: Vec<f16> = x.into_iter().map(f16::from_f32).collect();
        if x.iter().any(|v| !v.is_finite()) {
            return Err(format!("{name} has values that f16 cannot hold: their error means nothing").into());
        }
        Ok(Tensor { name: name.to_string(), tokens, heads, head_dim: dim, x })
    }
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out)?;
    if let Some(path) = &args.file {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let names = if args.tensor.is_empty() { fitting(&file) } else { args.tensor.clone() };
        for name in &names {
            let tensor = Tensor::read(&file, name, args.head_dim)
                .map_err(|error| format!("{error}; {} has: {}", path.display(), file.names().join(", ")))?;
            report(&tensor, &args.out)?;
        }
        return Ok(());
    }
    for name in ["k", "v"] {
        let path = format!("{}/tests/data/quantize_real_{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        let tensor = Tensor::read(&SafeTensors::deserialize(&bytes)?, "x", None)?;
        report(&Tensor { name: name.to_string(), ..tensor }, &args.out)?;
    }
    Ok(())
}

/// The tensors that have a table: of two or three dimensions, and a float type.
fn fitting(file: &SafeTensors<'_>) -> Vec<String> {
    let fits = |view: &TensorView<'_>| {
        matches!(view.shape().len(), 2 | 3) && matches!(view.dtype(), Dtype::F16 | Dtype::BF16 | Dtype::F32)
    };
    let mut names: Vec<String> = file.iter().filter(|(_, view)| fits(view)).map(|(name, _)| name.to_string()).collect();
    names.sort();
    names
}

fn report(tensor: &Tensor, out: &Path) -> Outcome<()> {
    table(tensor)?;
    for file in picture::draw(tensor, out)? {
        println!("picture: {}", file.display());
    }
    println!();
    Ok(())
}

fn table(tensor: &Tensor) -> Outcome<()> {
    let Tensor { name, tokens, heads, head_dim, x } = tensor;
    println!("{name}: {tokens} tokens, {heads} heads of {head_dim} channels");
    println!("{:<34} {:>6} {:>11} {:>8} {:>10}", "format", "bits", "NMSE", "dB", "max error");
    let power: f64 = x.iter().map(|v| f64::from(v.to_f32()).powi(2)).sum();
    for format in formats::all(tensor) {
        let coded = match format.code(tensor) {
            Ok(coded) => coded,
            Err(why) => {
                println!("{:<34} {why}", format.name);
                continue;
            }
        };
        let errors = || x.iter().zip(&coded.y).map(|(x, y)| f64::from(x.to_f32()) - f64::from(*y));
        let nmse = if power == 0.0 { 0.0 } else { errors().map(|e| e * e).sum::<f64>() / power };
        let largest = errors().fold(0f64, |most, e| most.max(e.abs()));
        let bits = 8.0 * coded.bytes as f64 / x.len() as f64;
        println!("{:<34} {bits:>6.3} {nmse:>11.3e} {:>8.2} {largest:>10.4}", format.name, -10.0 * nmse.log10());
    }
    Ok(())
}
