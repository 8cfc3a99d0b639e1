//! Registers of a kernel. PTX has no bound on them, only `ptxas` knows: it is asked when it is at hand (`SOFTCUDA_PTXAS`, beside `NVCC`, or
//! on `PATH`), and otherwise the answer is 0. Nothing that softcuda executes depends on it. Occupancy counts registers only when
//! `SOFTCUDA_PTXAS` is set, so that what a program plans by it does not depend on what else is installed.

use super::module::Function;
use super::table::lock;
use softcuda_engine::Model;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// 32-bit registers of one thread, 0 when nobody knows.
pub fn registers(function: &Function, model: &Model) -> u32 {
    type Known = Mutex<HashMap<(u64, &'static str), HashMap<String, u32>>>;
    static KNOWN: OnceLock<Known> = OnceLock::new();
    let mut known = lock(KNOWN.get_or_init(Known::default));
    let key = (function.module.id, model.name);
    let module = known.entry(key).or_insert_with(|| ask(function.module.module.text(), model.name).unwrap_or_default());
    module.get(&function.kernel().name).copied().unwrap_or(0)
}

/// [`registers`] for occupancy.
pub fn registers_if_named(function: &Function, model: &Model) -> u32 {
    if std::env::var_os("SOFTCUDA_PTXAS").is_some() { registers(function, model) } else { 0 }
}

/// Where `ptxas` is.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("SOFTCUDA_PTXAS").map(PathBuf::from);
    let beside = std::env::var_os("NVCC").map(|nvcc| PathBuf::from(nvcc).with_file_name("ptxas"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("ptxas"));
    named.into_iter().chain(beside).chain(on_path).find(|p| p.is_file())
}

/// Registers by kernel.
fn ask(text: &str, target: &str) -> Option<HashMap<String, u32>> {
    let program = program()?;
    let file = std::env::temp_dir().join(format!("softcuda-{}-{:p}.ptx", std::process::id(), text));
    std::fs::write(&file, text).ok()?;
    let output = Command::new(program).arg("-v").args(["--gpu-name", target, "-o", "/dev/null"]).arg(&file).output();
    let _ = std::fs::remove_file(&file);
    Some(parse(&String::from_utf8_lossy(&output.ok()?.stderr)))
}

/// Reads `ptxas -v`: a line that names the entry function, later one with `Used N registers`.
fn parse(log: &str) -> HashMap<String, u32> {
    let mut kernel = None;
    let mut found = HashMap::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next();
        }
        if let (Some(name), Some((_, rest))) = (kernel, line.split_once("Used "))
            && let Some(count) = rest.split(' ').next().and_then(|n| n.parse().ok())
        {
            found.insert(name.to_string(), count);
            kernel = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn log_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'double_it' for 'sm_80'\n\
            ptxas info    : Function properties for double_it\n    0 bytes stack frame\n\
            ptxas info    : Used 12 registers, used 0 barriers, 368 bytes cmem[0]\n";
        assert_eq!(super::parse(log).get("double_it"), Some(&12));
    }
}
