//! What tests set and read. Modes, counters and reports belong to the **host thread** that makes the calls: work runs on the thread that
//! submits it, so tests of one process can run side by side, each with its own modes and counters. A thread that set nothing has the modes
//! of the environment.

use super::Driver;
use super::table::lock;
use crate::api::result::CUresult;
use crate::counters::KernelCounters;
use softcuda_engine::{Config, LaunchStats, Model};
use std::cell::RefCell;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Everything of one thread.
#[derive(Default)]
struct Own {
    config: Option<Config>,
    counters: Vec<KernelCounters>,
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
    let config = config();
    let _turn = lock(&TURN);
    if driver.device.config() != config {
        driver.device.set_config(config);
    }
    work()
}

/// Adds one launch to the calling thread's counters, and with `SOFTCUDA_PRINT_COUNTERS=1` to those that are printed when the process ends.
pub fn count(stats: LaunchStats, time: Duration) {
    let nanoseconds = time.as_nanos() as u64;
    let launch = KernelCounters { launches: 1, nanoseconds, stats };
    if flag("SOFTCUDA_PRINT_COUNTERS", &PRINT) {
        static ALL: Mutex<Vec<KernelCounters>> = Mutex::new(Vec::new());
        extern "C" fn print() {
            for sum in lock(&ALL).iter() {
                eprintln!("softcuda: {} launches of {}", sum.launches, sum.stats);
            }
        }
        let mut all = lock(&ALL);
        if all.is_empty() {
            // SAFETY: a function of this library, which is never unloaded.
            unsafe { libc::atexit(print) };
        }
        add(&mut all, &launch);
    }
    OWN.with_borrow_mut(|own| add(&mut own.counters, &launch));
}

/// Adds one launch to the sum of its kernel.
fn add(sums: &mut Vec<KernelCounters>, launch: &KernelCounters) {
    match sums.iter_mut().find(|c| c.stats.kernel == launch.stats.kernel) {
        Some(sum) => {
            sum.stats.add(&launch.stats);
            sum.launches += launch.launches;
            sum.nanoseconds += launch.nanoseconds;
        }
        None => sums.push(launch.clone()),
    }
}

/// The calling thread's counters per kernel, in the order of first launch.
pub fn counters() -> Vec<KernelCounters> {
    OWN.with_borrow(|own| own.counters.clone())
}

pub fn reset_counters() {
    OWN.with_borrow_mut(|own| own.counters.clear());
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
static PRINT: OnceLock<bool> = OnceLock::new();
static BLOCKING: OnceLock<bool> = OnceLock::new();

fn flag(name: &str, known: &OnceLock<bool>) -> bool {
    *known.get_or_init(|| std::env::var(name).is_ok_and(|v| v != "0" && !v.is_empty()))
}

impl Driver {
    /// The GPU that the calling thread sees.
    pub fn model(&self) -> Model {
        config().model
    }
}
