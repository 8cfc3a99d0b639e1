//! Paths of the workspace, and running commands so that one sees which.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The target folder: cargo marks it with a `CACHEDIR.TAG`, and this program lies in it. The build script of `lowbit`
/// looks for the toolchain by the same rule.
pub fn target() -> PathBuf {
    let marked = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    match std::env::current_exe() {
        Ok(program) if program.ancestors().any(|folder| marked(&folder)) => {
            program.ancestors().find(marked).map_or_else(PathBuf::new, Path::to_path_buf)
        }
        _ => root().join("target"),
    }
}

/// The cargo that runs this program.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A program of the workspace, an `--example` or a `--bin`, with the software driver on the loader's path; built first.
pub fn program(kind: &str, name: &str) -> Result<Command, String> {
    run(&mut build(kind, name))?;
    let folder = target().join("debug");
    let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let libraries = [folder.join("deps")].into_iter().chain(std::env::split_paths(&libraries));
    let libraries = std::env::join_paths(libraries).map_err(|error| format!("LD_LIBRARY_PATH: {error}"))?;
    let mut command = Command::new(if kind == "--example" { folder.join("examples") } else { folder }.join(name));
    command.env("LD_LIBRARY_PATH", libraries);
    Ok(command)
}

/// Builds it out of what `cargo test --workspace` uses. A package on its own wants fewer features of its dependencies,
/// and cargo would build them all again for each.
pub fn build(kind: &str, name: &str) -> Command {
    let mut command = cargo();
    // With an example, any, the features of the development dependencies count, as they do for tests.
    command.args(["build", "--workspace", "--example", "load", kind, name]).env("LOWBIT_REQUIRE_NVCC", "1");
    command
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    let mut words: Vec<String> =
        command.get_envs().filter_map(|(k, v)| Some(format!("{}={}", k.display(), v?.display()))).collect();
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).display().to_string());
    words.extend(command.get_args().map(|argument| match argument.display().to_string() {
        plain if !plain.is_empty() && !plain.contains([' ', '\n', '\'', '"']) => plain,
        other => format!("'{}'", other.lines().next().unwrap_or_default()),
    }));
    words.join(" ")
}

/// Property tests of the command draw the same cases in every run, so that a failure is of the change at hand and can be
/// had again. The variable set to another number, or `cargo test` itself, which draws a seed, looks at others.
pub fn seeded(command: &mut Command) -> &mut Command {
    const SEED: &str = "PROPTEST_RNG_SEED";
    if std::env::var_os(SEED).is_none() {
        command.env(SEED, "1");
    }
    command
}

/// Prints the command on stderr and runs it to its end.
pub fn run(command: &mut Command) -> Result<(), String> {
    eprintln!("+ {}", show(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status})", show(command))),
        Err(error) => Err(format!("`{}` could not be started: {error}", show(command))),
    }
}
