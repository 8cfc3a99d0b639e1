//! nvcc, its headers, and running commands.

#[allow(dead_code)] // The build script uses more of it.
#[path = "../../build/nvcc.rs"]
mod nvcc;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler that the kernels of this build came from. None only if they were built elsewhere; the caller's test is void then, and it is said.
pub fn nvcc() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp").to_path_buf();
    match nvcc::find(&[target]) {
        Ok(nvcc) => Some(nvcc.path),
        Err(why) => {
            let note = lowbit::runtime::build_note();
            assert!(note.starts_with("LOWBIT_PTX_DIR"), "the kernels are built, but {why}");
            eprintln!("nothing is compared with NVIDIA's headers: kernels of {note}, and {why}");
            None
        }
    }
}

/// The folder of a compiler's headers.
pub fn include(nvcc: &Path) -> PathBuf {
    nvcc.parent().and_then(Path::parent).expect("nvcc lies in bin").join("include")
}

/// An empty folder for a test's files.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The standard output of a command that succeeds.
pub fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
