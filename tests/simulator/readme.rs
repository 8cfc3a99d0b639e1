//! The program in softcuda's README does what the page says.

use crate::compiler;
use std::process::Command;

const PAGE: &str = include_str!("../../softcuda/README.md");

#[cfg(target_os = "linux")]
#[test]
fn the_c_program_of_the_page_runs_on_softcuda() {
    let Some(nvcc) = compiler::nvcc() else { return };
    let folder = compiler::folder("simulator_readme");
    let source = PAGE.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a C program");
    std::fs::write(folder.join("twice.c"), source).unwrap();
    // Beside the tests lies the library that cargo built for them.
    let library = std::env::current_exe().unwrap().with_file_name("libnvcuda.so");
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::os::unix::fs::symlink(&library, folder.join(name)).unwrap();
    }
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "gcc".into()));
    compiler
        .current_dir(&folder)
        .arg("twice.c")
        .arg("-I")
        .arg(compiler::include(&nvcc))
        .args(["-L.", "-lcuda", "-o", "twice"]);
    compiler::output(&mut compiler);
    let mut program = Command::new(folder.join("twice"));
    let out = compiler::output(program.env("LD_LIBRARY_PATH", &folder).env("SOFTCUDA_DEVICE", "sm_80"));
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("sm_80") && out.ends_with(": twice 255 is 510\n"), "{out}");
}
