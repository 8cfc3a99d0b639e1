//! Sums of launches: each host thread's, for its client, and the whole process's, for what is printed or written when it ends.

use super::modes::flag;
use super::module::LoadedModule;
use super::table::lock;
use crate::counters::KernelCounters;
use crate::profile::{KernelProfile, LineProfile};
use softcuda_engine::{LaunchStats, Listing};
use std::cell::RefCell;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The launches of one kernel of one PTX text, with their counts by line.
struct Sum {
    /// [`LoadedModule::id`].
    module: u64,
    listing: Listing,
    counters: KernelCounters,
}

thread_local! {
    static OWN: RefCell<Vec<Sum>> = const { RefCell::new(Vec::new()) };
}

/// The process's sums; kept only if somebody wants them when it ends.
static ALL: Mutex<Vec<Sum>> = Mutex::new(Vec::new());

/// Adds one launch to the calling thread's sums, and to the process's.
pub fn count(module: &LoadedModule, stats: LaunchStats, time: Duration) {
    let launch = KernelCounters { launches: 1, nanoseconds: time.as_nanos() as u64, stats };
    if printing() || profile_file().is_some() {
        let mut all = lock(&ALL);
        if all.is_empty() {
            // SAFETY: a function of this library, which is never unloaded.
            unsafe { libc::atexit(finish) };
        }
        add(&mut all, module, &launch);
    }
    OWN.with_borrow_mut(|own| add(own, module, &launch));
}

fn add(sums: &mut Vec<Sum>, module: &LoadedModule, launch: &KernelCounters) {
    let kernel = &launch.stats.kernel;
    match sums.iter_mut().find(|s| s.module == module.id && s.counters.stats.kernel == *kernel) {
        Some(sum) => sum.counters.add(launch),
        None => {
            sums.push(Sum { module: module.id, listing: module.module.listing(kernel), counters: launch.clone() });
        }
    }
}

/// Sums per kernel, whatever its text, in the order of first launch.
fn by_kernel(sums: &[Sum]) -> Vec<KernelCounters> {
    let mut all: Vec<KernelCounters> = Vec::new();
    for sum in sums {
        let KernelCounters { launches, nanoseconds, ref stats } = sum.counters;
        let own = KernelCounters { launches, nanoseconds, stats: without_lines(stats) };
        match all.iter_mut().find(|c| c.stats.kernel == stats.kernel) {
            Some(known) => known.add(&own),
            None => all.push(own),
        }
    }
    all
}

fn without_lines(stats: &LaunchStats) -> LaunchStats {
    LaunchStats { kernel: stats.kernel.clone(), lines: Vec::new(), ..*stats }
}

impl Sum {
    fn profile(&self) -> KernelProfile {
        let text: Vec<&str> = self.listing.text().lines().collect();
        let sources = self.listing.sources();
        let KernelCounters { launches, nanoseconds, ref stats } = self.counters;
        let line = |l: &softcuda_engine::count::LineStats| LineProfile {
            line: l.line,
            class: l.class,
            text: text.get((l.line as usize).wrapping_sub(1)).map_or(String::new(), |t| t.trim().to_string()),
            source: sources.get(&l.line).cloned(),
            counts: l.counts,
        };
        let lines = stats.lines.iter().map(line).collect();
        let module = format!("{:016x}", self.module);
        KernelProfile { module, launches, nanoseconds, stats: without_lines(stats), lines }
    }
}

/// The calling thread's counters per kernel: a JSON object a line.
pub fn counters() -> String {
    OWN.with_borrow(|own| json_lines(by_kernel(own)))
}

/// The calling thread's profiles: a JSON object a line.
pub fn profiles() -> String {
    OWN.with_borrow(|own| json_lines(own.iter().map(Sum::profile)))
}

fn json_lines<T: serde::Serialize>(values: impl IntoIterator<Item = T>) -> String {
    let line = |value| serde_json::to_string(&value).expect("numbers, texts and maps of them are JSON") + "\n";
    values.into_iter().map(line).collect()
}

pub fn reset() {
    OWN.with_borrow_mut(Vec::clear);
}

/// `SOFTCUDA_PRINT_COUNTERS=1`: the process's counters on stderr when it ends.
fn printing() -> bool {
    static PRINT: OnceLock<bool> = OnceLock::new();
    flag("SOFTCUDA_PRINT_COUNTERS", &PRINT)
}

/// `SOFTCUDA_PROFILE=FILE`: the process's profiles are appended to the file when it ends, and every launch counts.
pub fn profile_file() -> Option<&'static PathBuf> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let named = || std::env::var_os("SOFTCUDA_PROFILE").filter(|name| !name.is_empty()).map(PathBuf::from);
    FILE.get_or_init(named).as_ref()
}

/// At the end of the process.
extern "C" fn finish() {
    let all = lock(&ALL);
    if printing() {
        for sum in by_kernel(&all) {
            eprintln!("softcuda: {} launches of {}", sum.launches, sum.stats);
        }
    }
    if let Some(file) = profile_file()
        && let Err(error) = append(file, &json_lines(all.iter().map(Sum::profile)))
    {
        eprintln!("softcuda: SOFTCUDA_PROFILE={}: {error}", file.display());
    }
}

/// Appends under a lock: other processes may end at the same time.
fn append(file: &PathBuf, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(file)?;
    // SAFETY: an open file; the lock goes with it.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    file.write_all(text.as_bytes())
}
