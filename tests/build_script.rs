//! The build script's compile step: an edit rebuilds what it affects and nothing else.
//!
//! Run twice: with a stand-in for nvcc (a shell script that records dependencies as nvcc's -MD does), and with the
//! real one when the kernels of this build came from it.
#![cfg(unix)]

#[path = "../build/compile.rs"]
mod compile;
#[allow(dead_code)] // The build script uses more of it.
#[path = "../build/nvcc.rs"]
mod nvcc;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Copies its source to the output and lists it and what it includes, in the form of a make rule.
const STAND_IN: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -MF) list="$2"; shift;; -I) include="$2"; shift;; -o) out="$2"; shift;;
    *.cu) source="$1";; *) flags="$flags $1";;
  esac
  shift
done
grep -q BROKEN "$source" && { echo "error: broken" >&2; exit 1; }
echo "// flags:$flags" > "$out"; cat "$source" >> "$out"
files="$source"; todo="$source"
while [ -n "$todo" ]; do
  found=$(sed -n 's/^#include "\(.*\)"/\1/p' $todo); todo=""
  for f in $found; do files="$files $include/$f"; todo="$todo $include/$f"; done
done
{ printf '%s : ' "$out"; for f in $files; do printf '%s \\\n    ' "$f"; done; echo /usr/include/stdc-predef.h; } > "$list"
"#;

struct Tree {
    root: PathBuf,
    nvcc: nvcc::Nvcc,
    targets: Vec<String>,
}

impl Tree {
    fn new(name: &str, nvcc: Option<nvcc::Nvcc>) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("kernels")).unwrap();
        let nvcc = nvcc.unwrap_or_else(|| {
            let path = root.join("nvcc");
            std::fs::write(&path, STAND_IN).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            nvcc::Nvcc { path, version: "release 1".to_string() }
        });
        let tree = Self { root, nvcc, targets: vec!["80".to_string()] };
        tree.write("common/inner.cuh", "#define INNER 1\n");
        tree.write("common/outer.cuh", "#include \"common/inner.cuh\"\n");
        tree.write("a/direct.cu", &kernel("direct", "#include \"common/inner.cuh\"\n"));
        tree.write("a/alone.cu", &kernel("alone", ""));
        tree.write("b/through.cu", &kernel("through", "#include \"common/outer.cuh\"\n"));
        tree
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root.join("kernels").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn compile(&self) -> Result<(Vec<compile::Unit>, usize), String> {
        let (kernels, out) = (self.root.join("kernels"), self.root.join("ptx"));
        let job = compile::Job::everything(&self.nvcc, &kernels, &out, &self.targets);
        compile::compile(&compile::Job { parallel: 2, ..job })
    }

    /// Compiles, and says which modules' outputs were written anew.
    fn rebuilt(&self) -> Vec<String> {
        let written = |unit: &compile::Unit| std::fs::metadata(&unit.ptx).and_then(|m| m.modified()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20)); // file times are coarse
        let start = self.root.join("start");
        std::fs::write(&start, "").unwrap();
        let start = std::fs::metadata(start).and_then(|m| m.modified()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (units, compiled) = self.compile().unwrap();
        let modules: Vec<_> = units.iter().filter(|u| written(u) > start).map(|u| u.module.clone()).collect();
        assert_eq!(modules.len(), compiled);
        modules
    }
}

fn kernel(name: &str, head: &str) -> String {
    format!("{head}extern \"C\" __global__ void {name}(int* out) {{ *out = 1; }}\n")
}

fn edits_rebuild_what_they_affect(mut tree: Tree) {
    const ALL: &[&str] = &["a/alone", "a/direct", "b/through"];
    const NONE: &[&str] = &[];
    assert_eq!(tree.rebuilt(), ALL);
    assert_eq!(tree.rebuilt(), NONE);

    tree.write("common/inner.cuh", "#define INNER 2\n");
    assert_eq!(tree.rebuilt(), ["a/direct", "b/through"], "an included header, also through another");
    tree.write("common/outer.cuh", "#include \"common/inner.cuh\"\n// comment\n");
    assert_eq!(tree.rebuilt(), ["b/through"]);
    tree.write("common/inner.cuh", "#define INNER 2\n");
    assert_eq!(tree.rebuilt(), NONE, "a new file time alone");
    tree.write("a/alone.cu", &kernel("alone", "// nvcc: -fmad=false\n"));
    assert_eq!(tree.rebuilt(), ["a/alone"]);
    tree.write("b/new.cu", &kernel("added", ""));
    assert_eq!(tree.rebuilt(), ["b/new"]);
    std::fs::remove_file(tree.root.join("kernels/b/new.cu")).unwrap();
    assert_eq!(tree.rebuilt(), NONE);
    std::fs::remove_file(tree.root.join("ptx/a/direct.80.ptx")).unwrap();
    assert_eq!(tree.rebuilt(), ["a/direct"]);

    // A failure names the file, and does not leave an old result that passes for a new one.
    tree.write("a/alone.cu", "BROKEN");
    let error = tree.compile().err().unwrap();
    assert!(error.contains("a/alone.cu for compute_80") && error.contains("error"), "{error}");
    tree.write("a/alone.cu", &kernel("alone", "// nvcc: -fmad=false\n"));
    assert_eq!(tree.rebuilt(), ["a/alone"]);

    tree.nvcc.version.push_str(" patched");
    assert_eq!(tree.rebuilt(), ALL, "another compiler");
    tree.targets.push("89".to_string());
    let (units, compiled) = tree.compile().unwrap();
    assert_eq!((units.len(), compiled), (6, 3), "another target");
    tree.write("a/alone.cu", &kernel("alone", "// What it is.\n// targets: lowest\n"));
    let targets = |module: &str| -> Vec<String> {
        tree.compile().unwrap().0.into_iter().filter(|u| u.module == module).map(|u| u.target).collect()
    };
    assert_eq!(targets("a/alone"), ["80"], "a file of one target");
    assert_eq!(targets("a/direct"), ["80", "89"]);
    tree.write("a/alone.cu", &kernel("alone", "// nvcc: -fmad=false\n"));
    assert_eq!(targets("a/alone"), ["80", "89"]);
}

#[test]
fn with_a_stand_in_for_nvcc() {
    let tree = Tree::new("stand-in", None);
    let outputs = tree.root.join("ptx");
    edits_rebuild_what_they_affect(tree);
    let with_flag = std::fs::read_to_string(outputs.join("a/alone.89.ptx")).unwrap();
    assert!(with_flag.contains("-fmad=false -arch=compute_89"), "{with_flag}");
    let without = std::fs::read_to_string(outputs.join("a/direct.89.ptx")).unwrap();
    assert!(!without.contains("-fmad"), "{without}");
}

#[cfg(kernels_built)]
#[test]
fn with_nvcc() {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap();
    match nvcc::find(&[target.to_path_buf()]) {
        Ok(nvcc) => edits_rebuild_what_they_affect(Tree::new("real", Some(nvcc))),
        // The kernels are there without a compiler only if they were built elsewhere.
        Err(why) => assert!(lowbit::runtime::build_note().starts_with("LOWBIT_PTX_DIR"), "{why}"),
    }
}
