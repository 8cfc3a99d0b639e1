//! The main job on a real model: text generated on quantized kernels, and what the quantization costs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::shell::{program, run};
use crate::{model, toolchain};

const PROMPT: &str = "The most interesting thing about the city of Paris is";

/// Those that most people choose among; `cargo xtask accuracy` has all.
const FORMATS: &str = "f32,f16,int8,e4m3,int4-g32,kivi4-r128,kivi4-r32,kivi2-r128";

/// Toolchain, model, build; then `smollm2 generate` and `smollm2 accuracy`.
pub fn demo() -> Result<(), String> {
    let start = Instant::now();
    toolchain::compiler_folder()?;
    let model = model::fetch()?;
    run(smollm2("generate", &model)?.args(["--prompt", PROMPT, "--tokens", "32", "--kv", "kivi4-r32"]))?;
    run(smollm2("accuracy", &model)?.args(["--tokens", "256", "--formats", FORMATS]))?;
    eprintln!("demo: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A subcommand of `smollm2` with the caller's arguments, on the default model unless they name another.
pub fn evaluate(subcommand: &str, arguments: &[String]) -> Result<(), String> {
    toolchain::compiler_folder()?;
    let mut command = match arguments.iter().any(|a| a == "--model" || a.starts_with("--model=")) {
        true => example(subcommand)?,
        false => smollm2(subcommand, &model::fetch()?)?,
    };
    run(command.args(arguments))
}

/// The example's subcommand on this model.
pub fn smollm2(subcommand: &str, model: &PathBuf) -> Result<Command, String> {
    let mut command = example(subcommand)?;
    command.arg("--model").arg(model);
    Ok(command)
}

fn example(subcommand: &str) -> Result<Command, String> {
    let mut command = program("--bin", "smollm2")?;
    command.arg(subcommand);
    Ok(command)
}
