//! Compiles `kernels/**/*.cu` to PTX and writes the table of images that `src/runtime/image.rs` includes. PTX is wordy,
//! and kernels of one file are alike over long distances: LZMA takes the images to about a twentieth.
//!
//! Needs no network and no GPU. Without nvcc the crate still builds, with an empty table; launching then returns
//! `Error::NotBuilt` with what was searched. Settings, all from the environment:
//! - `NVCC`, `CUDA_HOME`, `CUDA_PATH`, `CUDA_ROOT`: where the compiler is;
//! - `LOWBIT_PTX_TARGETS`: other targets than `80,89`, such as `80,90a`; a file that says `// targets: lowest` in its first
//!   lines is compiled for the lowest of them only;
//! - `LOWBIT_PTX_DIR`: take `<module>.<target>.ptx` from this folder instead of compiling (the layout that a build
//!   leaves in `target/kernels`, or outside this repository in its `OUT_DIR/ptx`);
//! - `LOWBIT_PTX_EXTERNAL`: a folder as for LOWBIT_PTX_DIR whose files are not embedded but read when a program runs: for
//!   tools that change kernels many times (`cargo xtask mutants`);
//! - `LOWBIT_REQUIRE_NVCC=1`: no nvcc is an error;
//! - `DOCS_RS`: compile nothing.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/nvcc.rs"]
mod nvcc;

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How hard LZMA tries: smallest size for half a minute of one core.
const PRESET: u32 = 6;

/// What the images come from.
enum Source {
    Compiler(nvcc::Nvcc),
    Folder(PathBuf),
    /// As `Folder`, and read at run time.
    External(PathBuf),
    /// Nothing, and why.
    None(String),
}

fn main() -> ExitCode {
    println!("cargo::rustc-check-cfg=cfg(kernels_built)");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path_of(name: &str) -> Result<PathBuf, String> {
    std::env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set: not run by cargo?"))
}

fn build() -> Result<(), String> {
    let manifest = path_of("CARGO_MANIFEST_DIR")?;
    let out = path_of("OUT_DIR")?;
    let kernels = manifest.join("kernels");
    let source = source(&manifest, &out)?;
    let external = matches!(source, Source::External(_));
    for path in ["build.rs", "build", "kernels"].into_iter().filter(|path| !external || *path != "kernels") {
        println!("cargo::rerun-if-changed={path}");
    }
    let targets = targets()?;
    let (units, note) = match source {
        Source::Compiler(nvcc) => {
            let parallel = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
            // In the repository one folder for all profiles and packages, so that each kernel is compiled once.
            let ptx = repository_target(&manifest, &out).map_or_else(|| out.join("ptx"), |t| t.join("kernels"));
            let job = compile::Job { parallel, ..compile::Job::everything(&nvcc, &kernels, &ptx, &targets) };
            (compile::compile(&job)?.0, nvcc.release().to_string())
        }
        Source::Folder(folder) => {
            println!("cargo::rerun-if-changed={}", folder.display());
            (prebuilt(&kernels, &folder, &targets)?, format!("LOWBIT_PTX_DIR={}", folder.display()))
        }
        Source::External(folder) => {
            // Where the tool that changes the kernels says which images there are.
            println!("cargo::rerun-if-changed={}", folder.join("images").display());
            (prebuilt(&kernels, &folder, &targets)?, format!("LOWBIT_PTX_EXTERNAL={}", folder.display()))
        }
        Source::None(why) => (Vec::new(), why),
    };
    if !units.is_empty() {
        println!("cargo::rustc-cfg=kernels_built");
    }
    write_table(&out, &units, &note, external)
}

fn targets() -> Result<Vec<String>, String> {
    let list = variable("LOWBIT_PTX_TARGETS").unwrap_or_else(|| "80,89".to_string());
    let targets: Vec<String> = list.split(',').map(|target| target.trim().to_string()).collect();
    let valid = |target: &&String| {
        let digits = target.trim_end_matches(|c: char| c.is_ascii_lowercase());
        matches!(digits.len(), 2 | 3) && digits.parse::<u32>().is_ok() && target.len() <= digits.len() + 1
    };
    match targets.iter().find(|target| !valid(target)) {
        Some(wrong) => Err(format!("LOWBIT_PTX_TARGETS={list}: `{wrong}` is not a target such as 80, 89 or 90a")),
        None => Ok(targets),
    }
}

fn source(manifest: &Path, out: &Path) -> Result<Source, String> {
    if variable("DOCS_RS").is_some() {
        return Ok(Source::None("DOCS_RS was set, so nothing was compiled".to_string()));
    }
    if let Some(folder) = variable("LOWBIT_PTX_DIR") {
        return Ok(Source::Folder(PathBuf::from(folder)));
    }
    if let Some(folder) = variable("LOWBIT_PTX_EXTERNAL") {
        return Ok(Source::External(PathBuf::from(folder)));
    }
    for name in nvcc::VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let required = variable("LOWBIT_REQUIRE_NVCC").is_some_and(|value| value != "0");
    // `cargo xtask toolchain` installs there.
    let target_dirs = Vec::from_iter(repository_target(manifest, out));
    match nvcc::find(&target_dirs) {
        Ok(nvcc) => Ok(Source::Compiler(nvcc)),
        Err(why) if required => Err(format!("LOWBIT_REQUIRE_NVCC is set and {why}")),
        Err(why) => {
            // Looked for again by every build until it is there.
            println!("cargo::rerun-if-env-changed=PATH");
            for target in &target_dirs {
                println!("cargo::rerun-if-changed={}", target.join("toolchain").display());
            }
            println!(
                "cargo::warning=lowbit is built WITHOUT its CUDA kernels, and the tests that need them are left out: \
                 {why}. In the repository, `cargo xtask toolchain` installs nvcc."
            );
            Ok(Source::None(why))
        }
    }
}

/// The target folder, in which cargo keeps a note on rustc (and a tag, but only where it made the folder itself: not in one
/// that was mounted), when this is the crate's own repository and not a dependency.
fn repository_target(manifest: &Path, out: &Path) -> Option<PathBuf> {
    let in_repository = manifest.join("xtask").is_dir();
    let target = out.ancestors().find(|folder| folder.join(".rustc_info.json").is_file());
    target.filter(|_| in_repository).map(Path::to_path_buf)
}

fn prebuilt(kernels: &Path, folder: &Path, targets: &[String]) -> Result<Vec<compile::Unit>, String> {
    let mut units = Vec::new();
    for module in compile::modules(kernels)? {
        for target in compile::targets_of(kernels, &module, targets)? {
            let ptx = compile::ptx_path(folder, &module, target);
            if !ptx.is_file() {
                return Err(format!("{} is missing", ptx.display()));
            }
            units.push(compile::Unit { module: module.clone(), target: target.clone(), ptx });
        }
    }
    Ok(units)
}

fn write_table(out: &Path, units: &[compile::Unit], note: &str, external: bool) -> Result<(), String> {
    if !external {
        compress_all(out, units)?;
    }
    let mut text = String::from("// Written by build.rs.\n");
    let _ = writeln!(text, "static BUILD_NOTE: &str = {note:?};\nstatic IMAGES: &[Image] = &[");
    for unit @ compile::Unit { module, target, ptx } in units {
        let ptx = match external {
            true => format!("Ptx::File({ptx:?})"),
            false => {
                let file = format!("/{}", compressed_name(unit));
                format!("Ptx::Compressed(include_bytes!(concat!(env!(\"OUT_DIR\"), {file:?})))")
            }
        };
        let _ = writeln!(text, "    Image {{ module: {module:?}, target: {target:?}, ptx: {ptx} }},");
    }
    text.push_str("];\n");
    write(&out.join("images.rs"), text.as_bytes())
}

/// In the build's output folder.
fn compressed_name(unit: &compile::Unit) -> String {
    format!("{}.{}.lzma", unit.module.replace('/', "-"), unit.target)
}

/// Compresses the PTX of every unit, on as many threads as cargo gives; again only what changed.
fn compress_all(out: &Path, units: &[compile::Unit]) -> Result<(), String> {
    let threads = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            compress(&unit.ptx, &out.join(compressed_name(unit)))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| "compressing PTX panicked".to_string())?)
    })
}

/// `ptx` to the `.lzma` file `to`, beside which a hash of the text says what it was made from.
fn compress(ptx: &Path, to: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(ptx).map_err(|error| format!("reading {}: {error}", ptx.display()))?;
    let text = innermost_positions(&text);
    let mut hasher = std::hash::DefaultHasher::new();
    (PRESET, &text).hash(&mut hasher);
    let (key_file, key) = (to.with_extension("key"), format!("{:016x}", hasher.finish()));
    if to.is_file() && std::fs::read_to_string(&key_file).is_ok_and(|saved| saved == key) {
        return Ok(());
    }
    let failed = |error: std::io::Error| format!("compressing {}: {error}", ptx.display());
    // Text: no alignment to learn, more of the letter before. 4 MiB hold any image of ours.
    let options = lzma_rust2::LzmaOptions {
        dict_size: 4 << 20,
        lc: 4,
        lp: 0,
        pb: 0,
        ..lzma_rust2::LzmaOptions::with_preset(PRESET)
    };
    let size = Some(text.len() as u64);
    let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, size).map_err(failed)?;
    std::io::Write::write_all(&mut writer, text.as_bytes()).map_err(failed)?;
    write(to, &writer.finish().map_err(failed)?)?;
    write(&key_file, key.as_bytes())
}

/// A `.loc` says which line an instruction is from, and behind a comma through which calls it came there. The calls are a fifth
/// of an image and are left out: debuggers and softcuda's reports name the line itself.
fn innermost_positions(ptx: &str) -> String {
    let mut text = String::with_capacity(ptx.len());
    for line in ptx.split_inclusive('\n') {
        match line.split_once(", function_name ") {
            Some((position, _)) if position.trim_start().starts_with(".loc") => {
                text.push_str(position);
                text.push('\n');
            }
            _ => text.push_str(line),
        }
    }
    text
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes).map_err(|error| format!("writing {}: {error}", file.display()))
}
