//! A llama-architecture language model on quantized kernels: `generate` text with INT4 weights and a quantized KV cache,
//! measure the `accuracy` that a cache format costs, or `deploy` it as a whole.
//!
//! Runs on a GPU when there is one and otherwise on the software device, with the same kernels.

mod accuracy;
mod cache;
mod calibration;
mod corpus;
mod deploy;
mod device;
mod formats;
mod generate;
mod gguf;
mod host;
mod interrupt;
mod math;
mod metrics;
mod tokenizer;
mod weights;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "A llama-architecture language model on quantized kernels")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continue a prompt, token by token: INT4 weights, quantized KV cache, greedy choice.
    Generate(generate::Args),
    /// Perplexity, NLL and KL of KV cache formats against the f32 run, teacher-forced in decode order.
    Accuracy(accuracy::Args),
    /// Bytes and accuracy of whole deployments: weights, activations and KV cache by the kernels.
    Deploy(deploy::Args),
}

/// Where the model is.
#[derive(clap::Args)]
struct ModelFile {
    /// GGUF file of a llama-architecture model [default: what `cargo xtask model` fetched]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

impl ModelFile {
    fn open(&self) -> anyhow::Result<gguf::Model> {
        let fetched = || PathBuf::from("target/model/SmolLM2-135M-Instruct.Q4_1.gguf");
        gguf::Model::open(&self.model.clone().unwrap_or_else(fetched))
    }
}

fn main() -> ExitCode {
    let result = interrupt::install().and_then(|()| match Cli::parse().command {
        Command::Generate(args) => generate::run(&args),
        Command::Accuracy(args) => accuracy::run(&args),
        Command::Deploy(args) => deploy::run(&args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: what, then each cause behind it.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(if interrupt::requested() { 130 } else { 1 })
        }
    }
}
