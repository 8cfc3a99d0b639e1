//! Programs that know nothing of softcuda, run on it: NVIDIA's Python bindings of the driver API, and kernels that numba compiles. They live
//! in a virtual environment of their own under the target folder, and reach the library as the README of softcuda says.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{build, root, run, target};
use crate::toolchain;

/// What the scripts import; pip adds what these need.
const WHEELS: &[&str] = &[
    "cuda-bindings==13.0.3",
    "numba-cuda==0.30.4",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
];

const SCRIPTS: [&str; 2] = ["bindings.py", "numba_kernels.py"];

/// The environment of each round: as it comes, then the other way round in everything that a program may not rely on.
const ROUNDS: [&[(&str, &str)]; 2] = [
    &[],
    &[
        ("SOFTCUDA_DEVICE", "sm_90"),
        ("SOFTCUDA_SCHEDULE", "adversarial"),
        ("SOFTCUDA_SEED", "3"),
        ("SOFTCUDA_MMA", "trunc"),
        ("SOFTCUDA_APPROX", "perturbed"),
    ],
];

fn folder() -> PathBuf {
    target().join("foreign")
}

/// Installs what the scripts import; the interpreter that has it.
pub fn install() -> Result<PathBuf, String> {
    toolchain::wheels(&folder(), WHEELS, &[])
}

/// Runs every script in every round, the scripts side by side.
pub fn run_all() -> Result<(), String> {
    let folder = folder();
    let python = install()?;
    run(&mut build("--bin", "softcuda-profile"))?; // And with it the library.
    let links = folder.join("lib");
    link(&target().join("debug/deps/libnvcuda.so"), &links).map_err(|error| format!("{}: {error}", links.display()))?;
    let rounds = |script: &str| {
        ROUNDS.iter().try_for_each(|round| {
            let mut command = Command::new(&python);
            command.arg("-B").arg(root().join("softcuda/driver/tests/python").join(script));
            run(command.env("LD_LIBRARY_PATH", &links).envs(round.iter().copied()))
        })
    };
    std::thread::scope(|scope| {
        let running = SCRIPTS.map(|script| scope.spawn(move || rounds(script)));
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a script's thread panicked".to_string())?)
    })
}

/// A folder in which the loader finds the library under a driver's names.
fn link(library: &Path, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for name in ["libcuda.so", "libcuda.so.1"] {
        let _ = std::fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink(library, folder.join(name))?;
    }
    Ok(())
}
