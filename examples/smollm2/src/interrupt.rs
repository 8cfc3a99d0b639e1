//! Ctrl-C ends long work at the next step instead of killing the process: bars are cleared, device memory is released.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Takes over Ctrl-C. A second one ends the process at once.
pub fn install() -> Result<()> {
    Ok(ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?)
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// An error once Ctrl-C was pressed; long loops call it every step.
pub fn check() -> Result<()> {
    ensure!(!requested(), "interrupted");
    Ok(())
}
