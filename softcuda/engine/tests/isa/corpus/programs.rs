//! Where the corpus' PTX comes from: nvcc, with its outputs kept under the target folder, or the files of tests/corpus/ptx.

use crate::{compile, nvcc};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
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
        let (kernels, out, targets) = (folder(), target.join("corpus"), TARGETS.map(String::from));
        let parallel = std::thread::available_parallelism().map_or(1, usize::from);
        let job = compile::Job { parallel, ..compile::Job::everything(&nvcc, &kernels, &out, &targets) };
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

/// Of the module's source and of the headers beside it. nvcc does not always make the same of them, so the kept PTX says
/// what it was made of.
fn made_of(module: &str) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "cuh"))
        .chain([folder().join(format!("{module}.cu"))])
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).hash(&mut hasher);
    }
    format!("// nvcc --ptx -arch=compute_80 of a source with the hash {:016x}\n", hasher.finish())
}

/// The kept PTX is of the sources as they are; `SOFTCUDA_WRITE=1` writes what nvcc makes for `compute_80`.
#[test]
fn the_kept_ptx_is_that_of_the_sources() {
    let path = |module: &str| folder().join(format!("ptx/{module}.ptx"));
    if std::env::var_os("SOFTCUDA_WRITE").is_some()
        && let Some(Compiled { release, all }) = compiled()
    {
        std::fs::create_dir_all(folder().join("ptx")).expect("a folder");
        std::fs::write(folder().join("ptx/nvcc.txt"), format!("{release}\n")).expect("a file");
        for (module, programs) in all {
            std::fs::write(path(module), made_of(module) + &plain(&programs[0].text)).expect("a file");
        }
    }
    let modules = compile::modules(&folder()).expect("the corpus");
    assert!(!modules.is_empty());
    let is_stale = |module: &String| {
        let kept = std::fs::read_to_string(path(module)).unwrap_or_default();
        !kept.starts_with(&made_of(module))
    };
    let stale: Vec<_> = modules.into_iter().filter(is_stale).collect();
    assert!(stale.is_empty(), "not what the sources give (`cargo xtask isa` writes them): {}", stale.join(", "));
}
