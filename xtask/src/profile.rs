//! `cargo xtask profile`: softcuda's own program for it, built first.

use crate::shell::{cargo, root, run};

/// Runs `softcuda-profile` in the caller's folder.
pub fn profile(arguments: &[String]) -> Result<(), String> {
    let here = std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    let mut command = cargo();
    command.current_dir(here).args(["run", "--quiet", "--package", "softcuda", "--bin", "softcuda-profile"]);
    // Its messages say what went wrong.
    run(command.arg("--manifest-path").arg(root().join("Cargo.toml")).arg("--").args(arguments))
        .map_err(|_| String::new())
}
