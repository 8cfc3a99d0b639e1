//! `cargo xtask`: everything a developer or CI runs. One subcommand, one module; each prints the commands it runs.

mod accuracy;
#[path = "../../build/compile.rs"]
mod compile;
mod demo;
mod foreign;
mod isa;
mod limits;
mod model;
mod mutants;
#[path = "../../build/nvcc.rs"]
#[allow(dead_code)] // Shared with the build script, which also needs the version.
mod nvcc;
mod perf;
mod profile;
mod shell;
mod test;
mod toolchain;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo                 on a fresh machine: a language model generates text with INT4 weights and a KIVI-4 KV cache,
                       then its accuracy with each cache format is measured
  test                 everything: format, lints, docs, unit, golden, property and kernel tests, end to end
  accuracy [ARGS]      accuracy of the model per cache format; ARGS as of `smollm2 accuracy` (--json, --tokens N, ..);
                       --document measures all formats over both chunks and writes the table of docs/accuracy.md
  deploy [ARGS]        bytes and accuracy of whole deployments; ARGS as of `smollm2 deploy` (memory-first, --tokens N, ..)
  perf [ARGS]          instructions, registers, sectors of every kernel against their marks; see `perf --help`
  mutants [ARGS]       wrong edits of the kernels, one at a time: do the tests notice? see `mutants --help`
  profile [ARGS] -- COMMAND
                       runs any command on softcuda and prints the hottest PTX lines of its kernels; --top N,
                       --kernel TEXT, --json FILE
  isa [--forms]        writes docs/isa.md, the instructions that softcuda executes and the tests of each; --forms prints
                       the same for every form found in kernels of third parties
  foreign              NVIDIA's Python bindings and numba's compiler on softcuda (a part of `test`)
  toolchain            nvcc and friends from pinned wheels, into target/toolchain; nothing to do if they are there
  model                the default model file, into target/model

The other commands call `toolchain` and `model` when they need them.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match arguments.first().map(String::as_str) {
        Some("demo") => no_arguments(rest).and_then(|()| demo::demo()),
        Some("test") => no_arguments(rest).and_then(|()| test::test()),
        Some("accuracy") => accuracy::accuracy(rest),
        Some("deploy") => demo::evaluate("deploy", rest),
        Some("perf") => perf::perf(rest),
        Some("mutants") => mutants::mutants(rest),
        Some("profile") => profile::profile(rest),
        Some("isa") => isa::isa(rest),
        Some("foreign") => no_arguments(rest).and_then(|()| foreign::run_all()),
        Some("toolchain") => no_arguments(rest).and_then(|()| toolchain::install()).map(drop),
        Some("model") => no_arguments(rest).and_then(|()| model::fetch()).map(|file| println!("{}", file.display())),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(format!("there is no command `{other}`\n\n{HELP}")),
        None => Err(HELP.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Empty where the command's own last line has said it.
            if !message.is_empty() {
                eprintln!("xtask: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn no_arguments(rest: &[String]) -> Result<(), String> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(format!("unexpected argument `{extra}`\n\n{HELP}")),
    }
}
