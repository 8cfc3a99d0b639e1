//! What tests set and read. Modes, counters (`counting`) and reports belong to the **host thread** that makes the calls: work runs on the thread that
//! submits it, so tests of one process can run side by side, each with its own modes and counters. A thread that set nothing has the modes
//! of the environment.

use super::table::lock;
use super::{Driver, counting};
use crate::api::result::CUresult;
use softcuda_engine::{Config, Model};
use std::cell::RefCell;
use std::sync::{Mutex, OnceLock};

/// Everything of one thread.
#[derive(Default)]
struct Own {
    config: Option<Config>,
    report: Option<String>,
    /// Why the last refused call was refused.
    explanation: Option<String>,
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::new(Own::default());
}

/// The environment's configuration. A value that means nothing ends the process: a test must not run in a mode that nobody asked for.
fn environment() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        Config::from_env().unwrap_or_else(|error| {
            eprintln!("softcuda: {error}");
            std::process::exit(2)
        })
    })
}

/// The calling thread's configuration.
pub fn config() -> Config {
    OWN.with_borrow(|own| own.config.clone()).unwrap_or_else(|| environment().clone())
}

/// Changes the calling thread's configuration.
pub fn change(change: impl FnOnce(&mut Config)) {
    let mut config = config();
    change(&mut config);
    OWN.with_borrow_mut(|own| own.config = Some(config));
}

/// Back to the environment's configuration.
pub fn reset() {
    OWN.with_borrow_mut(|own| own.config = None);
}

/// Runs something on the device in the calling thread's modes. One thread at a time: a launch uses every core anyway.
pub fn with<T>(driver: &Driver, work: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let mut config = config();
    config.count |= counting::profile_file().is_some();
    let _turn = lock(&TURN);
    if driver.device.config() != config {
        driver.device.set_config(config);
    }
    work()
}

pub fn keep_report(text: String) {
    OWN.with_borrow_mut(|own| own.report = Some(text));
}

/// The last report of the calling thread; taken, so that the next question is about the next fault.
pub fn take_report() -> Option<String> {
    OWN.with_borrow_mut(|own| own.report.take())
}

/// Keeps why a call is refused, and gives its code.
pub fn explain(code: CUresult, why: impl std::fmt::Display) -> CUresult {
    let why = why.to_string();
    if tracing() {
        eprintln!("{why}");
    }
    OWN.with_borrow_mut(|own| own.explanation = Some(why));
    code
}

pub fn take_explanation() -> Option<String> {
    OWN.with_borrow_mut(|own| own.explanation.take())
}

/// `SOFTCUDA_TRACE=1`: every call and its result on stderr.
pub fn tracing() -> bool {
    flag("SOFTCUDA_TRACE", &TRACE)
}

/// `CUDA_LAUNCH_BLOCKING=1`: a launch returns its own kernel's fault.
pub fn launch_blocking() -> bool {
    flag("CUDA_LAUNCH_BLOCKING", &BLOCKING)
}

static TRACE: OnceLock<bool> = OnceLock::new();
static BLOCKING: OnceLock<bool> = OnceLock::new();

/// Whether a variable is set to something other than 0.
pub fn flag(name: &str, known: &OnceLock<bool>) -> bool {
    *known.get_or_init(|| std::env::var(name).is_ok_and(|v| v != "0" && !v.is_empty()))
}

impl Driver {
    /// The GPU that the calling thread sees.
    pub fn model(&self) -> Model {
        config().model
    }
}
