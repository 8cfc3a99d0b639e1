//! Where nvcc is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variables that decide which compiler runs and how; the build reruns when one changes. Not PATH: it
/// differs between a terminal and an editor, and a compiler found is kept until one of these or a kernel changes.
pub const VARIABLES: &[&str] =
    &["NVCC", "CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"];

/// A compiler that runs, and what it calls itself.
pub struct Nvcc {
    pub path: PathBuf,
    /// All of `nvcc --version`, part of every output's key.
    pub version: String,
}

impl Nvcc {
    /// The line of `nvcc --version` that names the release.
    pub fn release(&self) -> &str {
        self.version.lines().find(|line| line.contains("release")).unwrap_or("nvcc of unknown release").trim()
    }
}

/// The first nvcc that runs, or a sentence with everything that was tried.
///
/// `NVCC`, if set, is the only candidate: a wrong setting is an error, not a reason to take another compiler.
/// Otherwise: CUDA_HOME, CUDA_PATH, CUDA_ROOT, PATH, the toolchain that `cargo xtask toolchain` puts under one of
/// `target_dirs`, and the usual folders.
pub fn find(target_dirs: &[PathBuf]) -> Result<Nvcc, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = variable("NVCC") {
        return run(&path).map_err(|why| format!("NVCC={} {why}", path.display()));
    }
    let mut tried = Vec::new();
    let mut candidates = Vec::new();
    for name in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"] {
        match variable(name) {
            Some(root) => candidates.push(root.join("bin").join(exe("nvcc"))),
            None => tried.push(format!("{name} is not set")),
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(exe("nvcc"))).find(|file| file.is_file()) {
        Some(file) => candidates.push(file),
        None => tried.push("no nvcc on PATH".to_string()),
    }
    for target in target_dirs {
        match toolchain_nvcc(target) {
            Some(file) => candidates.push(file),
            None => tried.push(format!("no {}", target.join("toolchain").display())),
        }
    }
    candidates.extend(["/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc"].map(PathBuf::from));
    for candidate in candidates {
        match run(&candidate) {
            Ok(nvcc) => return Ok(nvcc),
            Err(why) => tried.push(format!("{} {why}", candidate.display())),
        }
    }
    Err(format!("no nvcc was found ({})", tried.join("; ")))
}

/// nvcc of the wheels in the virtual environment `<target>/toolchain`.
pub fn toolchain_nvcc(target: &Path) -> Option<PathBuf> {
    let lib = target.join("toolchain/lib");
    let mut pythons: Vec<_> = std::fs::read_dir(lib).ok()?.flatten().map(|entry| entry.path()).collect();
    pythons.sort();
    pythons.into_iter().map(|python| python.join("site-packages/nvidia/cu13/bin/nvcc")).find(|nvcc| nvcc.is_file())
}

fn exe(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// The compiler at `path`, if it runs.
pub fn run(path: &Path) -> Result<Nvcc, String> {
    match Command::new(path).arg("--version").output() {
        Ok(output) if output.status.success() => {
            Ok(Nvcc { path: path.to_path_buf(), version: String::from_utf8_lossy(&output.stdout).into_owned() })
        }
        Ok(output) => Err(format!("does not run (--version: {})", output.status)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("does not exist".to_string()),
        Err(error) => Err(format!("does not run ({error})")),
    }
}
