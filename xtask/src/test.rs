//! `cargo xtask test`: every check there is, all of them even when one fails, and one line of sums at the end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::shell::{cargo, root, run, seeded, show};
use crate::{demo, foreign, limits, model, toolchain};

/// Sums over all steps. A step that is not a test run counts as one.
#[derive(Default)]
struct Sums {
    passed: usize,
    failed: usize,
    ignored: usize,
    failures: Vec<String>,
}

impl Sums {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<(), String>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        match work() {
            Ok(()) => self.passed += 1,
            Err(message) => {
                eprintln!("xtask: {name}: {message}");
                self.failed += 1;
                self.failures.push(name.to_string());
            }
        }
        eprintln!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    }
}

/// Runs everything.
pub fn test() -> Result<(), String> {
    let mut sums = Sums::default();
    // Without a compiler or the model there is nothing to test: these two end the run.
    toolchain::compiler_folder()?;
    let model = model::fetch()?;
    // A minute of unpacking, which the other steps leave time for.
    let foreign = std::thread::spawn(foreign::install);

    sums.step("format", || run(cargo().args(["fmt", "--all", "--check"])));
    sums.step("format of the kernels", clang_format);
    sums.step("lints", || run(built(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))));
    sums.step("documentation", || {
        let mut command = cargo();
        command
            .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings");
        run(built(&mut command))
    });
    sums.step("minimum Rust version of the dependencies", rust_version);
    sums.step("marks of the kernels", || crate::perf::perf(&[]));
    eprintln!("\n== tests");
    cargo_test(&mut sums)?;
    sums.step("benches, each once on small shapes", || {
        run(built(cargo().args(["test", "--quiet", "--workspace", "--bench", "kernels"])))
    });
    sums.step("foreign programs on softcuda: cuda-bindings, numba", || {
        foreign.join().map_err(|_| "installing panicked".to_string())??;
        foreign::run_all()
    });
    // A run of the model keeps one core busy: the long one goes beside the others.
    let longest = std::thread::spawn({
        let model = model.clone();
        move || accuracy(&model, "256", true)
    });
    sums.step("end to end: accuracy of the model on 80 tokens", || accuracy(&model, "80", false));
    sums.step("end to end: deployments of the model on 64 tokens", || {
        within(&model, "deploy", &["--tokens", "64"], limits::deployments)
    });
    sums.step("end to end: accuracy of the model on 256 tokens", || {
        longest.join().map_err(|_| "it panicked".to_string())?
    });

    for failure in &sums.failures {
        eprintln!("failed: {failure}");
    }
    println!("{} passed, {} failed, {} ignored", sums.passed, sums.failed, sums.ignored);
    if sums.failed == 0 { Ok(()) } else { Err(String::new()) }
}

/// With the kernels, or not at all.
fn built(command: &mut Command) -> &mut Command {
    command.env("LOWBIT_REQUIRE_NVCC", "1")
}

/// `cargo test` over the workspace: its output passes through, its result lines are added up.
fn cargo_test(sums: &mut Sums) -> Result<(), String> {
    let mut command = cargo();
    seeded(built(command.args(["test", "--workspace", "--no-fail-fast"]))).stdout(Stdio::piped());
    eprintln!("+ {}", show(&command));
    let mut child = command.spawn().map_err(|error| format!("cargo could not be started: {error}"))?;
    let output = child.stdout.take().ok_or("cargo's output is not there")?;
    let mut runs = 0;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("reading cargo's output: {error}"))?;
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            runs += 1;
            sums.passed += count(counts, "passed");
            sums.failed += count(counts, "failed");
            sums.ignored += count(counts, "ignored");
        } else if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            sums.failures.push(name.to_string());
        }
    }
    let status = child.wait().map_err(|error| format!("waiting for cargo: {error}"))?;
    if !status.success() && (runs == 0 || sums.failed == 0) {
        // Did not compile, or a test program died without a result line.
        sums.failed += 1;
        sums.failures.push("cargo test".to_string());
    }
    Ok(())
}

/// The number before `word` in "ok. 12 passed; 0 failed; ...".
fn count(counts: &str, word: &str) -> usize {
    let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|w| !w.is_empty()).collect();
    let at = words.iter().position(|w| *w == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

/// No dependency asks for a newer Rust than this workspace states. (clippy's `incompatible_msrv` watches our own code.)
fn rust_version() -> Result<(), String> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]).stderr(Stdio::inherit());
    eprintln!("+ {}", show(&command));
    let output = command.output().map_err(|error| format!("cargo could not be started: {error}"))?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata is no JSON: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    // "1.88" or "1.88.0".
    let version = |package: &Value| -> Option<Vec<u32>> {
        package["rust_version"].as_str()?.split('.').take(2).map(|part| part.parse().ok()).collect()
    };
    let ours = packages.iter().find(|package| package["name"] == "lowbit").and_then(version);
    let ours = ours.ok_or("lowbit states no rust-version")?;
    let newer = |package: &&Value| version(package).is_some_and(|version| version > ours);
    let newer: Vec<_> = packages.iter().filter(newer).map(|p| format!("{} {}", p["name"], p["rust_version"])).collect();
    if newer.is_empty() { Ok(()) } else { Err(format!("newer than {ours:?}: {}", newer.join(", "))) }
}

fn clang_format() -> Result<(), String> {
    let program = toolchain::clang_format()
        .ok_or("clang-format is not installed: `cargo xtask toolchain` installs it, or put it on PATH")?;
    let mut files = Vec::new();
    collect(&root().join("kernels"), &mut files).map_err(|error| format!("reading kernels/: {error}"))?;
    files.sort();
    run(Command::new(program).current_dir(root()).args(["--dry-run", "--Werror"]).args(files))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|suffix| suffix == "cu" || suffix == "cuh") {
            files.push(path);
        }
    }
    Ok(())
}

/// The formats that need a long run, or the others, held to their limits.
fn accuracy(model: &PathBuf, tokens: &str, long: bool) -> Result<(), String> {
    let formats = limits::formats(long);
    let arguments = ["--tokens", tokens, "--formats", &formats.join(",")];
    within(model, "accuracy", &arguments, |output| limits::caches(output, &formats))
}

/// The example's JSON lines, held to their limits.
fn within(
    model: &PathBuf,
    subcommand: &str,
    arguments: &[&str],
    limits: impl Fn(&str) -> Result<Vec<String>, String>,
) -> Result<(), String> {
    let mut command = demo::smollm2(subcommand, model)?;
    command.arg("--json").args(arguments).stdout(Stdio::piped());
    eprintln!("+ {}", show(&command));
    let child = command.spawn().map_err(|error| format!("cargo could not be started: {error}"))?;
    let output = child.wait_with_output().map_err(|error| format!("waiting for the example: {error}"))?;
    if !output.status.success() {
        return Err(format!("the example failed ({})", output.status));
    }
    for line in limits(&String::from_utf8_lossy(&output.stdout))? {
        println!("{line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn result_lines_are_read() {
        let line = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!((count(line, "passed"), count(line, "failed"), count(line, "ignored")), (12, 3, 1));
        assert_eq!(count("ok.", "passed"), 0);
    }
}
