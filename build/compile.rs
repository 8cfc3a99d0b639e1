//! Every `.cu` under a folder to PTX for every target; again only what changed.
//!
//! `<out>/<path>.<target>.ptx` is the result for `<kernels>/<path>.cu`. Beside it lie `.d`, the dependency list that
//! nvcc wrote, and `.key`, a hash of everything that went in: the text of each file in that list, the flags, the
//! compiler's version, the target. An output whose key still holds is left alone, so editing a header rebuilds the
//! files that include it, and no others. The toolkit's own headers are covered by its version. Files appear whole, by
//! renaming, so two builds may share a folder.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::nvcc::Nvcc;

/// Flags of every compilation. No fast-math: approximate intrinsics are written where they are meant.
const FLAGS: &[&str] = &["-std=c++17", "-O3", "--ptx", "-lineinfo"];

/// One `.cu` for one target.
pub struct Unit {
    /// Path under the kernels folder, without suffix, with `/` on every system: `quantize/int8`.
    pub module: String,
    /// `80` for `compute_80`.
    pub target: String,
    /// The PTX file.
    pub ptx: PathBuf,
}

/// What there is to compile and how.
pub struct Job<'a> {
    pub nvcc: &'a Nvcc,
    /// The folder that holds the families; also the include path.
    pub kernels: &'a Path,
    pub out: &'a Path,
    pub targets: &'a [String],
    /// Of modules that are compiled for this target too, just this one.
    pub only: Option<&'a str>,
    /// These modules alone.
    pub modules: Option<&'a BTreeSet<String>>,
    /// Compilations at once.
    pub parallel: usize,
}

impl<'a> Job<'a> {
    /// Every module for each of its targets, one compilation at a time.
    pub fn everything(nvcc: &'a Nvcc, kernels: &'a Path, out: &'a Path, targets: &'a [String]) -> Self {
        Self { nvcc, kernels, out, targets, only: None, modules: None, parallel: 1 }
    }
}

/// The modules under `kernels`, sorted.
pub fn modules(kernels: &Path) -> Result<Vec<String>, String> {
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                walk(&entry.path(), &format!("{prefix}{name}/"), found)?;
            } else if let Some(stem) = name.strip_suffix(".cu") {
                found.push(format!("{prefix}{stem}"));
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(kernels, "", &mut found).map_err(|error| format!("reading {}: {error}", kernels.display()))?;
    found.sort();
    Ok(found)
}

/// The targets that a module is compiled for: all, or the lowest if its file says `// targets: lowest` among its leading
/// comment lines, because later instructions would not change it. PTX runs on every device above its target.
pub fn targets_of<'a>(kernels: &Path, module: &str, targets: &'a [String]) -> Result<Vec<&'a String>, String> {
    let source = kernels.join(format!("{module}.cu"));
    let text = std::fs::read_to_string(&source).map_err(|error| format!("reading {}: {error}", source.display()))?;
    if own_words(&text, "targets:").any(|word| word == "lowest") {
        let number = |target: &&String| target.trim_end_matches(|c: char| c.is_ascii_lowercase()).parse::<u32>().ok();
        return Ok(targets.iter().min_by_key(number).into_iter().collect());
    }
    Ok(targets.iter().collect())
}

/// Where the PTX of a module lies under `folder`.
pub fn ptx_path(folder: &Path, module: &str, target: &str) -> PathBuf {
    folder.join(format!("{module}.{target}.ptx"))
}

/// The units, and how many of them had to be compiled.
pub fn compile(job: &Job) -> Result<(Vec<Unit>, usize), String> {
    let mut units = Vec::new();
    let wanted = |module: &String| job.modules.is_none_or(|modules| modules.contains(module));
    for module in modules(job.kernels)?.into_iter().filter(wanted) {
        let targets = targets_of(job.kernels, &module, job.targets)?;
        let only = job.only.filter(|only| targets.iter().any(|target| target == only));
        for target in targets.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
            let ptx = ptx_path(job.out, &module, target);
            units.push(Unit { module: module.clone(), target: target.clone(), ptx });
        }
    }
    let stale: Vec<&Unit> = units.iter().filter(|unit| !is_current(job, unit)).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..job.parallel.clamp(1, stale.len().max(1)) {
            scope.spawn(|| {
                while let Some(unit) = stale.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = compile_one(job, unit) {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let compiled = stale.len();
    if failures.is_empty() { Ok((units, compiled)) } else { Err(failures.join("\n")) }
}

fn source(job: &Job, unit: &Unit) -> PathBuf {
    job.kernels.join(format!("{}.cu", unit.module))
}

/// The words after `key` in the leading comment lines of a file, such as the flags of `// nvcc: -fmad=false`.
fn own_words<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .take_while(|line| line.starts_with("//"))
        .filter_map(move |line| line.trim_start_matches('/').trim().strip_prefix(key))
        .flat_map(str::split_whitespace)
}

fn is_current(job: &Job, unit: &Unit) -> bool {
    let saved = std::fs::read_to_string(unit.ptx.with_extension("key"));
    unit.ptx.is_file() && saved.is_ok_and(|saved| key(job, unit).is_some_and(|key| key == saved))
}

/// The hash of all that went into the unit, by the dependency list of its last compilation; none if a file is gone.
fn key(job: &Job, unit: &Unit) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    (FLAGS, &job.nvcc.version, &unit.target).hash(&mut hasher);
    for name in ["NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"] {
        std::env::var_os(name).hash(&mut hasher);
    }
    for file in dependencies(job, unit)? {
        (file.strip_prefix(job.kernels).ok()?, std::fs::read(&file).ok()?).hash(&mut hasher);
    }
    Some(format!("{:016x}", hasher.finish()))
}

/// The files below the kernels folder that nvcc's make rule lists, sorted.
fn dependencies(job: &Job, unit: &Unit) -> Option<Vec<PathBuf>> {
    let rule = std::fs::read_to_string(unit.ptx.with_extension("d")).ok()?;
    let (_, list) = rule.split_once(" :").or_else(|| rule.split_once(": "))?;
    let mut files: Vec<PathBuf> = list
        .replace("\\ ", "\u{0}")
        .split_whitespace()
        .filter(|word| *word != "\\")
        .map(|word| PathBuf::from(word.replace('\u{0}', " ")))
        .map(|path| plain(&if path.is_absolute() { path } else { job.kernels.join(path) }))
        .filter(|path| path.starts_with(job.kernels))
        .collect();
    files.sort();
    files.dedup();
    Some(files)
}

/// The path without `.` and `a/..` (an include through `../`), as text; no link is followed.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn compile_one(job: &Job, unit: &Unit) -> Result<(), String> {
    let source = source(job, unit);
    let io = |what: &str, error: std::io::Error| format!("{what} {}: {error}", source.display());
    let text = std::fs::read_to_string(&source).map_err(|error| io("reading", error))?;
    if let Some(folder) = unit.ptx.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io("making a folder for", error))?;
    }
    let _ = std::fs::remove_file(unit.ptx.with_extension("key"));
    let part = |suffix: &str| unit.ptx.with_extension(format!("{suffix}.{}", std::process::id()));
    let mut command = Command::new(&job.nvcc.path);
    command.current_dir(job.kernels).args(FLAGS).args(own_words(&text, "nvcc:"));
    command.arg(format!("-arch=compute_{}", unit.target)).arg("-I").arg(job.kernels);
    command.arg("-MD").arg("-MF").arg(part("d")).arg("-o").arg(part("ptx")).arg(&source);
    let output = command.output().map_err(|error| format!("running {}: {error}", job.nvcc.path.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} for compute_{}: nvcc failed ({})\n{}{}",
            source.display(),
            unit.target,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let finish = |suffix: &str| {
        std::fs::rename(part(suffix), unit.ptx.with_extension(suffix))
            .map_err(|error| io("keeping the result of", error))
    };
    finish("ptx")?;
    finish("d")?;
    let key = key(job, unit).ok_or_else(|| format!("{}: nvcc wrote no dependency list", source.display()))?;
    std::fs::write(part("key"), key).map_err(|error| io("writing the key of", error))?;
    finish("key")
}
