//! All blocks of a launch over worker threads.
//!
//! A worker starts the next block, runs it for a turn, and if it is not done puts it aside and takes another: so every block that the
//! modelled device would hold at once makes progress, also when one spins until another has written. When every resident
//! block waits or goes round in the same states, and none writes memory, the launch is stopped as a livelock.

use super::block::{Block, Outcome};
use super::launch::LaunchInfo;
use super::random::Random;
use crate::config::Schedule;
use crate::count::Counts;
use crate::memory::{Door, LaunchMemory, Wide};
use crate::report::{Fault, FaultKind, Site};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A fault and the block it happened in.
pub struct Failed {
    /// The fault.
    pub fault: Box<Fault>,
    /// Linear number of the block.
    pub block: u64,
}

/// Limits of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Worker threads.
    pub threads: usize,
    /// Blocks that may be under way at once.
    pub resident: u64,
    /// Warp instructions that the whole launch may take.
    pub instructions: u64,
}

/// A block's turn in warp instructions.
const TURN: u64 = 200_000;
/// So many turns of every resident block without any write, all of them going round, count as a livelock.
const IDLE_TURNS: u64 = 4;

struct Shared<'a> {
    launch: &'a LaunchInfo,
    memory: &'a LaunchMemory<'a>,
    limits: Limits,
    order: Option<Vec<u64>>,
    next: AtomicU64,
    resident: AtomicU64,
    total: AtomicU64,
    idle: AtomicU64,
    epoch: AtomicU64,
    stop: AtomicBool,
    failed: Mutex<Option<Failed>>,
}

/// Runs a launch to its end.
pub fn run(launch: &LaunchInfo, memory: &LaunchMemory<'_>, limits: Limits) -> Result<Counts, Failed> {
    let blocks = launch.blocks();
    let order = match launch.schedule {
        Schedule::InOrder => None,
        Schedule::Adversarial => Some(shuffled(blocks, launch.seed)),
    };
    let shared = Shared {
        launch,
        memory,
        limits,
        order,
        next: AtomicU64::new(0),
        resident: AtomicU64::new(0),
        total: AtomicU64::new(0),
        idle: AtomicU64::new(0),
        epoch: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        failed: Mutex::new(None),
    };
    let workers = limits.threads.min(usize::try_from(blocks).unwrap_or(usize::MAX)).max(1);
    let mut counts = Counts::new(launch.code.insts.len());
    if workers == 1 {
        counts = worker(&shared, 0);
    } else {
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers)
                .map(|w| {
                    scope.spawn({
                        let shared = &shared;
                        move || worker(shared, w)
                    })
                })
                .collect();
            for handle in handles {
                counts.merge(&handle.join().expect("a worker does not panic"));
            }
        });
    }
    match shared.failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        None => Ok(counts),
        Some(failed) => Err(failed),
    }
}

fn shuffled(blocks: u64, seed: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..blocks).collect();
    let mut random = Random::new(seed ^ 0xb10c);
    for k in (1..order.len()).rev() {
        order.swap(k, random.below(k as u64 + 1) as usize);
    }
    order
}

/// One worker; `number` only varies its random choices.
fn worker(shared: &Shared<'_>, number: usize) -> Counts {
    let launch = shared.launch;
    let mut door = Door::new(shared.memory);
    let mut wide = Wide::new();
    let mut suspended: VecDeque<Block> = VecDeque::new();
    let mut spare: Option<Block> = None;
    let mut random = Random::new(launch.seed ^ 0x3077 ^ number as u64);
    let turn = match launch.schedule {
        Schedule::InOrder => TURN,
        Schedule::Adversarial => TURN / 16,
    };
    while !shared.stop.load(Ordering::Relaxed) {
        let fresh = start(shared, suspended.is_empty()).map(|number| {
            let memory = match spare.as_mut().and_then(|b| b.memory.take()) {
                Some(used) => shared.memory.renew(used, number),
                None => shared.memory.block(number),
            };
            Block::new(launch, number, memory, spare.take())
        });
        let Some(mut block) = fresh.or_else(|| match launch.schedule {
            Schedule::InOrder => suspended.pop_front(),
            Schedule::Adversarial if suspended.is_empty() => None,
            Schedule::Adversarial => suspended.remove(random.below(suspended.len() as u64) as usize),
        }) else {
            break;
        };
        let before = block.clock();
        let left = shared.limits.instructions.saturating_sub(shared.total.load(Ordering::Relaxed));
        let turn = turn.min(left.saturating_add(1));
        let (outcome, wrote) = block.run(launch, &mut door, &mut wide, turn, shared.epoch.load(Ordering::Relaxed));
        let ran = block.clock() - before;
        let total = shared.total.fetch_add(ran, Ordering::Relaxed) + ran;
        let round = !wrote && matches!(outcome, Outcome::Round);
        let idle = if round { shared.idle.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        if !round {
            shared.idle.store(0, Ordering::Relaxed);
        }
        if wrote || matches!(outcome, Outcome::Done) {
            shared.epoch.fetch_add(1, Ordering::Relaxed);
        }
        match outcome {
            Outcome::Done => {
                shared.resident.fetch_sub(1, Ordering::Relaxed);
                spare = Some(block);
            }
            Outcome::Round if idle > IDLE_TURNS * shared.resident.load(Ordering::Relaxed) && !may_start(shared) => {
                livelock(shared, &block, "every thread waits or goes round without end, and no thread changes memory");
            }
            Outcome::Turn | Outcome::Round if total > shared.limits.instructions => {
                livelock(shared, &block, "the launch has taken more warp instructions than SOFTCUDA_LIMIT allows");
            }
            Outcome::Turn | Outcome::Round => suspended.push_back(block),
            Outcome::Fault(fault) => fail(shared, fault, block.number),
        }
    }
    door.counts
}

/// The number of the next block to start, if one may be: a worker with nothing else to do always may.
fn start(shared: &Shared<'_>, idle: bool) -> Option<u64> {
    if !idle && shared.resident.load(Ordering::Relaxed) >= shared.limits.resident {
        return None;
    }
    let k = shared.next.fetch_add(1, Ordering::Relaxed);
    if k >= shared.launch.blocks() {
        return None;
    }
    shared.resident.fetch_add(1, Ordering::Relaxed);
    Some(shared.order.as_ref().map_or(k, |o| o[k as usize]))
}

/// Whether a block is left that the device would hold beside the resident ones.
fn may_start(shared: &Shared<'_>) -> bool {
    shared.next.load(Ordering::Relaxed) < shared.launch.blocks()
        && shared.resident.load(Ordering::Relaxed) < shared.limits.resident
}

/// Keeps the fault of the lowest block, so that the report does not depend on which worker was first.
fn fail(shared: &Shared<'_>, fault: Box<Fault>, block: u64) {
    let mut failed = shared.failed.lock().unwrap_or_else(|e| e.into_inner());
    if failed.as_ref().is_none_or(|f| block < f.block) {
        *failed = Some(Failed { fault, block });
    }
    shared.stop.store(true, Ordering::Relaxed);
}

fn livelock(shared: &Shared<'_>, block: &Block, what: &str) {
    let code = &shared.launch.code;
    let mut fault = Fault::new(FaultKind::Livelock, Site::default(), 0, what);
    fault.notes = block.places(code);
    fault.notes.truncate(40);
    fail(shared, fault, block.number);
}
