//! nvcc, ptxas, the disassembler and clang-format from pinned Python wheels, in a virtual environment under the
//! target folder. Needs Python 3 with `venv`, and the network once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::nvcc;
use crate::shell::{run, target};

const WHEELS: &[&str] = &[
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvdisasm==13.2.78",
    "clang-format==21.1.8",
];

/// A Python 3 to make virtual environments with: `PYTHON`, else `python3`, else `python`.
fn system_python() -> Result<PathBuf, String> {
    let named = std::env::var_os("PYTHON").map(PathBuf::from);
    let candidates: Vec<PathBuf> = match named {
        Some(python) => vec![python],
        None => vec!["python3".into(), "python".into()],
    };
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))";
    let works = |python: &&PathBuf| succeeds(Command::new(python).args(["-c", check]));
    candidates.iter().find(works).cloned().ok_or_else(|| {
        "Python 3.9 or newer with the `venv` module is needed to fetch the CUDA compiler and the model (Debian: \
         apt install python3-venv), and was not found; PYTHON names another one"
            .to_string()
    })
}

/// The toolchain's Python, made if it is not there.
pub fn python() -> Result<PathBuf, String> {
    environment(&target().join("toolchain"))
}

/// The Python of a virtual environment, made if it is not there.
fn environment(folder: &Path) -> Result<PathBuf, String> {
    let python = folder.join("bin/python");
    if !python.is_file() || !pip_works(&python) {
        run(Command::new(system_python()?).args(["-m", "venv", "--clear"]).arg(folder))?;
    }
    Ok(python)
}

/// The Python of a virtual environment that holds these wheels, installed if they are not there. `options` are pip's.
pub fn wheels(folder: &Path, wheels: &[&str], options: &[&str]) -> Result<PathBuf, String> {
    let stamp = folder.join("installed.txt");
    let wanted = wheels.join("\n");
    let python = environment(folder)?;
    if !std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        let _ = std::fs::remove_file(&stamp);
        pip(&python, &[&["install", "--quiet", "--no-compile"], options, wheels].concat())?;
        std::fs::write(&stamp, wanted).map_err(|error| format!("writing {}: {error}", stamp.display()))?;
    }
    Ok(python)
}

fn pip_works(python: &Path) -> bool {
    succeeds(Command::new(python).args(["-m", "pip", "--version"]))
}

/// Runs quietly and asks only whether it went well.
fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs pip; a failure says what it usually means.
pub fn pip(python: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--disable-pip-version-check"]).args(arguments);
    run(&mut command)
        .map_err(|error| format!("{error}; pip's message is above (is the network, or the package index, reachable?)"))
}

/// Installs what is missing of [`WHEELS`]; returns the folder of nvcc.
pub fn install() -> Result<PathBuf, String> {
    let folder = target().join("toolchain");
    if nvcc::toolchain_nvcc(&target()).is_none() {
        let _ = std::fs::remove_file(folder.join("installed.txt"));
    }
    wheels(&folder, WHEELS, &["--no-deps"])?;
    let compiler = nvcc::toolchain_nvcc(&target())
        .ok_or_else(|| format!("the wheels were installed, but {} holds no nvcc", folder.display()))?;
    Ok(compiler.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// The folder of an nvcc that the build will find, installing one if there is none.
pub fn compiler_folder() -> Result<PathBuf, String> {
    match nvcc::find(&[target()]) {
        Ok(found) if found.path.starts_with(target()) => install(),
        Ok(found) => Ok(found.path.parent().map(Path::to_path_buf).unwrap_or_default()),
        Err(why) if std::env::var_os("NVCC").is_some() => Err(why),
        Err(_) => install(),
    }
}

/// clang-format: of the toolchain, else on PATH.
pub fn clang_format() -> Option<PathBuf> {
    let own = target().join("toolchain/bin/clang-format");
    let on_path =
        || std::env::split_paths(&std::env::var_os("PATH")?).map(|f| f.join("clang-format")).find(|f| f.is_file());
    if own.is_file() { Some(own) } else { on_path() }
}
