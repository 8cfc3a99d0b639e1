//! Runs a command with softcuda as its CUDA driver and prints the hottest PTX lines of every kernel that it ran.

use nvcuda::client::{self, KernelProfile};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
softcuda-profile [--top N] [--kernel TEXT] [--json FILE] [--] COMMAND [ARGUMENTS]

Runs the command, and every process that it starts, on softcuda with counting on; then prints, for each kernel, its
counters and its hottest PTX lines by lane instructions, by sectors of global memory and by wavefronts of shared memory.
These are counts: they say nothing about time. A process that is killed, or ends without running its exit handlers,
leaves no counts.

  --top N         lines of each table (10)
  --kernel TEXT   only kernels whose name holds TEXT
  --json FILE     also write every line's counts there, a JSON object a line for each kernel of each PTX text

Exits with the command's own code, or with 1 if no kernel ran.";

struct Options {
    top: usize,
    kernel: String,
    json: Option<PathBuf>,
    command: Vec<String>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { top: 10, kernel: String::new(), json: None, command: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n\n{HELP}"));
        match argument.as_str() {
            "--top" => options.top = value()?.parse().map_err(|_| format!("--top needs a number\n\n{HELP}"))?,
            "--kernel" => options.kernel = value()?,
            "--json" => options.json = Some(value()?.into()),
            "--" => {
                options.command = arguments.collect();
                break;
            }
            flag if flag.starts_with('-') => return Err(format!("unexpected argument `{flag}`\n\n{HELP}")),
            _ => {
                options.command = std::iter::once(argument).chain(arguments).collect();
                break;
            }
        }
    }
    if options.command.is_empty() { Err(HELP.into()) } else { Ok(options) }
}

/// A folder for the profiles and the links, removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary folder is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    /// With links to the library under a driver's names.
    fn new(library: &Path) -> std::io::Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("softcuda-profile-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let scratch = Scratch(folder);
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::os::unix::fs::symlink(library, scratch.0.join(name))?;
        }
        Ok(scratch)
    }

    fn profiles(&self) -> PathBuf {
        self.0.join("profiles.jsonl")
    }
}

/// The command with softcuda as its driver. cargo finds the library that it builds itself; everything else gets the links.
fn prepared(words: &[String], scratch: &Scratch) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("SOFTCUDA_PROFILE", scratch.profiles()).env("LOWBIT_DEVICE", "softcuda");
    if Path::new(&words[0]).file_name().is_none_or(|name| name != "cargo") {
        let mut folders = vec![scratch.0.clone()];
        folders.extend(std::env::split_paths(&std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default()));
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("LD_LIBRARY_PATH", path);
        }
    }
    command
}

fn profile() -> Result<ExitCode, String> {
    let options = options(std::env::args().skip(1))?;
    let library = client::find().map_err(|error| error.to_string())?;
    let scratch = Scratch::new(&library).map_err(|error| format!("the temporary folder: {error}"))?;
    let status = prepared(&options.command, &scratch).status();
    let status = status.map_err(|error| format!("`{}` could not be started: {error}", options.command[0]))?;
    let text = std::fs::read_to_string(scratch.profiles()).unwrap_or_default();
    let mut all = client::merged(&text).map_err(|error| format!("profiles of another build of softcuda: {error}"))?;
    let found = all.len();
    all.retain(|profile| profile.stats.kernel.contains(&options.kernel));
    if let Some(file) = &options.json {
        let lines = all.iter().map(|p| serde_json::to_string(p).map(|line| line + "\n")).collect::<Result<String, _>>();
        let written = lines.map_err(std::io::Error::from).and_then(|lines| std::fs::write(file, lines));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    all.sort_by_key(|profile| std::cmp::Reverse(profile.stats.total_lane_instructions()));
    all.iter().for_each(|profile: &KernelProfile| println!("{}", profile.table(options.top)));
    match (all.len(), status.code()) {
        (0, _) if found > 0 => Err(format!("none of the {found} kernels holds `{}` in its name", options.kernel)),
        (0, Some(0)) => Err("the command ran no kernel on softcuda".into()),
        (_, code) => Ok(ExitCode::from(code.map_or(1, |code| code as u8))),
    }
}

fn main() -> ExitCode {
    profile().unwrap_or_else(|message| {
        eprintln!("softcuda-profile: {message}");
        ExitCode::FAILURE
    })
}
