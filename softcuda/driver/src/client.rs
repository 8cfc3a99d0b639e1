//! Talks to the loaded softcuda library.
//!
//! All of it is about the **calling host thread**: launches run on the thread that makes them, so each test has its own modes, counters and
//! last report, and tests of one process can run side by side. When the loaded driver is not softcuda (a GPU, or none), the setters do
//! nothing and the questions have empty answers; [`active`] tells.

mod load;

pub use crate::counters::KernelCounters;
pub use crate::profile::{KernelProfile, LineProfile, merged};
pub use load::{LoadError, ensure, find, force};
pub use softcuda_engine::{Approx, Checks, Class, LaunchStats, MmaMode, Schedule};

use crate::api::control::text;
use load::driver;
use std::ffi::{CString, c_char};

/// What a test chooses about execution. Start from [`modes`] and change what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// The sum inside a matrix product.
    pub mma: MmaMode,
    /// Results of `.approx` instructions.
    pub approx: Approx,
    /// Order of blocks, warps and diverged lanes.
    pub schedule: Schedule,
    /// Seed of all that is random in the other modes.
    pub seed: u64,
    /// Which checks run.
    pub checks: Checks,
    /// Whether counters count.
    pub count: bool,
    /// Worker threads of a launch; 1 makes float atomics add in a fixed order.
    pub threads: usize,
}

/// Whether softcuda is the process's CUDA driver, or will be with the first CUDA call.
pub fn active() -> bool {
    driver().is_some()
}

/// The calling thread's modes; `None` without softcuda.
pub fn modes() -> Option<Modes> {
    let get: extern "C" fn(*mut u64) -> u32 = driver()?.symbol(c"softcudaGetModes");
    let mut v = [0; 7];
    get(v.as_mut_ptr());
    let [mma, approx, schedule, seed, checks, count, threads] = v;
    Some(Modes {
        mma: [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc][mma as usize],
        approx: [Approx::Rounded, Approx::Perturbed][approx as usize],
        schedule: [Schedule::InOrder, Schedule::Adversarial][schedule as usize],
        seed,
        checks: Checks { memory: checks & 1 != 0, init: checks & 2 != 0, race: checks & 4 != 0, sync: checks & 8 != 0 },
        count: count != 0,
        threads: threads as usize,
    })
}

/// Sets the calling thread's modes.
pub fn set_modes(modes: Modes) {
    let Some(library) = driver() else { return };
    let set: extern "C" fn(u32, u32, u32, u64, u32, u32, u32) -> u32 = library.symbol(c"softcudaSetModes");
    let Checks { memory, init, race, sync } = modes.checks;
    let checks = u32::from(memory) | u32::from(init) << 1 | u32::from(race) << 2 | u32::from(sync) << 3;
    let [mma, approx, schedule] = [modes.mma as u32, modes.approx as u32, modes.schedule as u32];
    let code = set(mma, approx, schedule, modes.seed, checks, modes.count.into(), modes.threads as u32);
    assert_eq!(code, 0, "the library knows every mode of its own client");
}

/// Modes and model as the environment has them.
pub fn reset_modes() {
    if let Some(library) = driver() {
        let reset: extern "C" fn() = library.symbol(c"softcudaResetModes");
        reset();
    }
}

/// Runs `test` with changed modes and puts the old ones back, also when it panics.
pub fn with_modes<T>(change: impl FnOnce(&mut Modes), test: impl FnOnce() -> T) -> T {
    struct Restore(Option<Modes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(old) = self.0 {
                set_modes(old);
            }
        }
    }
    let old = modes();
    let _restore = Restore(old);
    if let Some(mut new) = old {
        change(&mut new);
        set_modes(new);
    }
    test()
}

/// The GPU that the calling thread sees from now on: `sm_80`, `sm_86`, `sm_89`, `sm_90`.
///
/// # Panics
/// On another name.
pub fn set_model(name: &str) {
    let Some(library) = driver() else { return };
    let set: extern "C" fn(*const c_char) -> u32 = library.symbol(c"softcudaSetModel");
    let text = CString::new(name).expect("no NUL in a model's name");
    assert_eq!(set(text.as_ptr()), 0, "softcuda has no model {name}");
}

/// Counters of the calling thread's launches since [`reset_counters`], one entry a kernel in the order of first launch.
pub fn counters() -> Vec<KernelCounters> {
    let text = ask(text::COUNTERS).unwrap_or_default();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("unknown counters ({error}): {line}"));
    text.lines().map(parse).collect()
}

/// What every executed PTX line of the calling thread's launches did since [`reset_counters`], one entry for each kernel of each PTX text in
/// the order of first launch. Empty without softcuda.
pub fn profiles() -> Vec<KernelProfile> {
    merged(&profiles_json()).unwrap_or_else(|error| panic!("unknown profiles: {error}"))
}

/// [`profiles`] as text: a JSON object a line, [`KernelProfile`] with its field names. [`merged`] reads it.
pub fn profiles_json() -> String {
    ask(text::PROFILES).unwrap_or_default()
}

/// The counters of one kernel; zeros if it was not launched.
pub fn counters_of(kernel: &str) -> KernelCounters {
    counters().into_iter().find(|c| c.stats.kernel == kernel).unwrap_or_default()
}

/// Starts the calling thread's counters from zero.
pub fn reset_counters() {
    if let Some(library) = driver() {
        let reset: extern "C" fn() = library.symbol(c"softcudaResetCounters");
        reset();
    }
}

/// Lane instructions per second of the launches counted: how fast softcuda is; 0 when nothing ran.
pub fn lane_instructions_per_second() -> f64 {
    let all = counters();
    let nanoseconds: u64 = all.iter().map(|c| c.nanoseconds).sum();
    let lanes: u64 = all.iter().map(|c| c.stats.total_lane_instructions()).sum();
    if nanoseconds == 0 { 0.0 } else { lanes as f64 * 1e9 / nanoseconds as f64 }
}

/// The report of the calling thread's last fault, once.
pub fn last_report() -> Option<String> {
    ask(text::REPORT)
}

/// Why the calling thread's last refused call was refused, once: which argument, which limit.
pub fn last_explanation() -> Option<String> {
    ask(text::EXPLANATION)
}

/// Makes the current context usable again after a kernel fault, which on a GPU would take a new context. For tests that expect a fault.
pub fn clear_error() {
    if let Some(library) = driver() {
        let clear: extern "C" fn() -> u32 = library.symbol(c"softcudaClearError");
        clear();
    }
}

fn ask(which: u32) -> Option<String> {
    type Take = unsafe extern "C" fn(*mut u8, *const c_char, usize);
    unsafe extern "C" fn take(state: *mut u8, text: *const c_char, length: usize) {
        // SAFETY: `state` is the `Option<String>` below, and the library passes a text of `length` bytes.
        let (out, bytes) =
            unsafe { (&mut *state.cast::<Option<String>>(), std::slice::from_raw_parts(text.cast::<u8>(), length)) };
        *out = Some(String::from_utf8_lossy(bytes).into_owned());
    }
    let get: extern "C" fn(u32, Take, *mut u8) -> u32 = driver()?.symbol(c"softcudaText");
    let mut out: Option<String> = None;
    get(which, take, (&raw mut out).cast());
    out
}
