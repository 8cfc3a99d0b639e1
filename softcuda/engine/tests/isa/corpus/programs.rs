//! Where the corpus' PTX comes from: nvcc, with its outputs kept under the target folder, or the files of tests/corpus/ptx.

use crate::{compile, nvcc};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The targets that the corpus is compiled for.
pub const TARGETS: [&str; 4] = ["80", "86", "89", "90"];

/// One source for one target.
#[derive(Clone)]
pub struct Program {
    /// `integers.80`
    pub name: String,
    /// `80`
    pub target: String,
    /// The PTX.
    pub text: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// What nvcc made of the corpus, and its release.
struct Compiled {
    release: String,
    all: HashMap<String, Vec<Program>>,
}

/// `None` when there is no nvcc.
fn compiled() -> Option<&'static Compiled> {
    static ALL: OnceLock<Option<Compiled>> = OnceLock::new();
    ALL.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let nvcc = nvcc::find(&[target.parent().unwrap_or(target).to_path_buf()]).ok()?;
        let job = compile::Job {
            nvcc: &nvcc,
            kernels: &folder(),
            out: &target.join("corpus"),
            targets: &TARGETS.map(String::from),
            only: None,
            parallel: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let (units, _) = compile::compile(&job).unwrap_or_else(|e| panic!("{e}"));
        let mut all: HashMap<String, Vec<Program>> = HashMap::new();
        for unit in units {
            let text = std::fs::read_to_string(&unit.ptx).expect("nvcc wrote it");
            let name = format!("{}.{}", unit.module, unit.target);
            all.entry(unit.module).or_default().push(Program { name, target: unit.target, text });
        }
        Some(Compiled { release: nvcc.release().to_string(), all })
    })
    .as_ref()
}

/// A source for every target, the oldest first; without nvcc, for the targets that are kept.
pub fn of(module: &str) -> Vec<Program> {
    match compiled() {
        Some(c) => c.all.get(module).cloned().unwrap_or_else(|| panic!("no {module}.cu in the corpus")),
        None => kept(module),
    }
}

/// The PTX that is kept with the sources.
pub fn kept(module: &str) -> Vec<Program> {
    let path = folder().join(format!("ptx/{module}.ptx"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    vec![Program { name: format!("{module}.80, kept"), target: "80".into(), text }]
}

/// Without what depends on where and by which build it was made: positions, comments, debug sections, and the hash of the path
/// of the source that nvcc puts into the names of internal variables.
fn plain(text: &str) -> String {
    let sections = |line: &str| line.trim_start().starts_with(".section");
    let code: String = text.split_inclusive('\n').take_while(|line| !sections(line)).collect();
    let hash = code.split_once("_INTERNAL_").and_then(|(_, name)| name.split_once('_')).map(|(hash, _)| hash);
    let code = hash.map_or(code.clone(), |hash| code.replace(hash, "00000000"));
    let position = |line: &&str| {
        let line = line.trim_start();
        !(line.is_empty() || line.starts_with("//") || line.starts_with(".loc\t") || line.starts_with(".file"))
    };
    code.lines()
        .filter(position)
        .map(|l| l.split(" //").next().unwrap_or(l).trim_end())
        .fold(String::new(), |s, l| s + l + "\n")
}

/// The kept PTX is what nvcc makes for `compute_80`; `SOFTCUDA_WRITE=1` writes it.
#[test]
fn the_kept_ptx_is_that_of_the_sources() {
    // Without nvcc the kept PTX is what every other test runs.
    let Some(Compiled { release, all }) = compiled() else { return };
    let writes = std::env::var_os("SOFTCUDA_WRITE").is_some();
    let by = folder().join("ptx/nvcc.txt");
    if writes {
        std::fs::create_dir_all(folder().join("ptx")).expect("a folder");
        std::fs::write(&by, format!("{release}\n")).expect("a file");
    }
    let kept = std::fs::read_to_string(&by).unwrap_or_default();
    if kept.trim() != release {
        eprintln!("the kept PTX is by another compiler ({}) than this one ({release}): not compared", kept.trim());
        return;
    }
    let mut stale = Vec::new();
    for (module, programs) in all {
        let text = plain(&programs[0].text);
        let path = folder().join(format!("ptx/{module}.ptx"));
        if writes {
            std::fs::write(&path, &text).expect("a file");
        }
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            stale.push(path.display().to_string());
        }
    }
    assert!(stale.is_empty(), "not what the sources give (`cargo xtask isa` writes them):\n{}", stale.join("\n"));
}
