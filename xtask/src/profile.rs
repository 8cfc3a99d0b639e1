//! `cargo xtask profile`: softcuda's own program for it, built first.

use crate::shell::{program, run};

/// Runs `softcuda-profile` in the caller's folder.
pub fn profile(arguments: &[String]) -> Result<(), String> {
    // Its messages say what went wrong.
    run(program("--bin", "softcuda-profile")?.args(arguments)).map_err(|_| String::new())
}
