//! Kernels to machine code: the crate's PTX through ptxas for a real architecture, and what ptxas says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sass::{self, Function};
use crate::compile;
use crate::nvcc;

/// The programs of the CUDA toolkit that are needed.
pub struct Tools {
    pub nvcc: nvcc::Nvcc,
    pub ptxas: PathBuf,
    pub nvdisasm: PathBuf,
}

/// What ptxas reports for one kernel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    pub registers: u32,
    /// Stored and loaded, bytes per thread.
    pub spill_bytes: u32,
    /// Static, bytes per block.
    pub shared_bytes: u32,
}

/// One kernel for one architecture.
pub struct Kernel {
    pub module: String,
    pub arch: String,
    pub resources: Resources,
    pub function: Function,
}

/// The target that the crate would run on this architecture: the highest of `targets` not above it.
pub fn target_for<'a>(arch: &str, targets: &[&'a str]) -> Option<&'a str> {
    let number = |text: &str| text.parse::<u32>().ok();
    let capability = number(arch.strip_prefix("sm_")?)?;
    targets.iter().copied().filter(|t| number(t).is_some_and(|t| t <= capability)).max_by_key(|t| number(t))
}

/// Assembles one PTX file, and disassembles it if one of its kernels is `read`, and always for sm_90, where every instruction is
/// looked at; else its functions are empty.
pub fn assemble(
    tools: &Tools,
    unit: &compile::Unit,
    arch: &str,
    folder: &Path,
    read: impl Fn(&str) -> bool,
) -> Result<Vec<Kernel>, String> {
    let cubin = folder.join(format!("{}.{arch}.cubin", unit.module.replace('/', "-")));
    let mut command = Command::new(&tools.ptxas);
    command.arg("-v").arg(format!("-arch={arch}")).arg(&unit.ptx).arg("-o").arg(&cubin);
    let messages = capture(&mut command, Stream::Error)?;
    let resources = resources(&messages);
    let kernel =
        |resources, function| Kernel { module: unit.module.clone(), arch: arch.to_string(), resources, function };
    if arch != "sm_90" && !resources.keys().any(|name| read(name)) {
        let empty = |name: &str| Function { name: name.to_string(), instructions: Vec::new() };
        return Ok(resources.iter().map(|(name, &resources)| kernel(resources, empty(name))).collect());
    }
    let listing = capture(Command::new(&tools.nvdisasm).arg("-c").arg(&cubin), Stream::Output)?;
    let mut kernels = Vec::new();
    for function in sass::functions(&listing) {
        // Functions that kernels call have no entry in ptxas's report.
        if let Some(&resources) = resources.get(&function.name) {
            kernels.push(kernel(resources, function));
        }
    }
    if kernels.len() != resources.len() {
        return Err(format!("{}: ptxas reports {} kernels, nvdisasm {}", unit.module, resources.len(), kernels.len()));
    }
    Ok(kernels)
}

enum Stream {
    Output,
    Error,
}

fn capture(command: &mut Command, stream: Stream) -> Result<String, String> {
    let shown = crate::shell::show(command);
    let output = command.output().map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    match (output.status.success(), stream) {
        (true, Stream::Output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        (true, Stream::Error) => Ok(error),
        (false, _) => Err(format!("`{shown}` failed ({})\n{error}", output.status)),
    }
}

/// Reads the messages of `ptxas -v`.
fn resources(messages: &str) -> BTreeMap<String, Resources> {
    let mut found = BTreeMap::new();
    let mut name = None;
    let mut spills = 0;
    for line in messages.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            name = rest.split('\'').next().map(String::from);
            spills = 0;
        } else if line.contains("spill stores") {
            spills = before(line, " bytes spill stores") + before(line, " bytes spill loads");
        } else if line.contains(": Used ")
            && let Some(name) = name.take()
        {
            let resources = Resources {
                registers: before(line, " registers"),
                spill_bytes: spills,
                shared_bytes: before(line, " bytes smem"),
            };
            found.insert(name, resources);
        }
    }
    found
}

/// The number before a text, 0 if the text is not there.
fn before(line: &str, text: &str) -> u32 {
    let number = line.split_once(text).and_then(|(head, _)| head.rsplit([' ', ',']).next()?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_ptxas_is_read() {
        let messages = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_89'
ptxas info    : Function properties for a
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 4096 bytes smem, 376 bytes cmem[0]
ptxas info    : Compiling entry function 'b' for 'sm_89'
ptxas info    : Function properties for b
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 376 bytes cmem[0]
";
        let found = resources(messages);
        assert_eq!(found["a"], Resources { registers: 255, spill_bytes: 20, shared_bytes: 4096 });
        assert_eq!(found["b"], Resources { registers: 8, spill_bytes: 0, shared_bytes: 0 });
    }

    #[test]
    fn the_target_is_chosen_as_the_crate_does() {
        for (arch, expected) in [("sm_75", None), ("sm_80", Some("80")), ("sm_86", Some("80")), ("sm_90", Some("89"))] {
            assert_eq!(target_for(arch, &["80", "89"]), expected, "{arch}");
        }
    }
}
