//! All blocks of a launch over worker threads.
//!
//! A worker starts the next block, runs it for a turn, and if it is not done puts it aside and takes another: so every block that the
//! modelled device would hold at once makes progress, also when one spins until another has written. When every resident
//! block has been seen to wait or to go round in the same states since memory last changed, the launch is stopped as a livelock.

use super::block::{Block, Outcome, shorten};
use super::launch::LaunchInfo;
use super::random::Random;
use crate::config::Schedule;
use crate::count::Counts;
use crate::memory::{Door, LateStores, LaunchMemory, Wide};
use crate::report::Fault;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

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
/// A block that goes round in so many turns one after the other, while nobody writes, does so for ever.
const IDLE_TURNS: u32 = 4;

struct Shared<'a> {
    launch: &'a LaunchInfo,
    memory: &'a LaunchMemory<'a>,
    limits: Limits,
    order: Option<Vec<u64>>,
    next: AtomicU64,
    resident: AtomicU64,
    total: AtomicU64,
    progress: Mutex<Progress>,
    stop: AtomicBool,
    failed: Mutex<Option<Failed>>,
}

/// Whether anything happens.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Turns that changed memory, and blocks that ended.
    epoch: u64,
    /// Blocks that were found since then to go round for ever, if nothing changes.
    idle: u64,
}

impl Progress {
    fn wrote(&mut self) {
        *self = Progress { epoch: self.epoch + 1, idle: 0 };
    }
}

impl Shared<'_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A block's turn has ended, which began in this epoch; whether all resident blocks are idle now.
    fn turn_ended(&self, block: &mut Block, outcome: &Outcome, wrote: bool, epoch: u64) -> bool {
        let mut now = self.progress();
        if wrote || matches!(outcome, Outcome::Done) {
            now.wrote();
        } else if now.epoch == epoch {
            let (before, rounds) = block.went_round(matches!(outcome, Outcome::Round));
            now.idle += u64::from(rounds == IDLE_TURNS);
            now.idle -= u64::from(rounds == 0 && before >= IDLE_TURNS);
        }
        now.idle >= self.resident.load(Ordering::Relaxed)
    }
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
        progress: Mutex::default(),
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
    let mut late: Vec<LateStores> = Vec::new();
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
        door.counts.workers = 1;
        let before = block.clock();
        let left = shared.limits.instructions.saturating_sub(shared.total.load(Ordering::Relaxed));
        let turn = turn.min(left.saturating_add(1));
        let epoch = shared.progress().epoch;
        let (mut outcome, mut wrote) = block.run(launch, &mut door, &mut wide, turn, epoch);
        if shared.memory.shape().late_stores {
            let done = matches!(outcome, Outcome::Done);
            let (shown, waiting) = late_turn(&mut door, &mut block, done, &mut late, &mut random);
            wrote |= shown;
            // What waits becomes visible some time: nothing goes round for ever as yet.
            if waiting && matches!(outcome, Outcome::Round) {
                outcome = Outcome::Turn;
            }
        }
        let ran = block.clock() - before;
        let total = shared.total.fetch_add(ran, Ordering::Relaxed) + ran;
        let idle = shared.turn_ended(&mut block, &outcome, wrote, epoch);
        match outcome {
            Outcome::Done => {
                shared.resident.fetch_sub(1, Ordering::Relaxed);
                spare = Some(block);
            }
            Outcome::Round if idle && !may_start(shared) => {
                let what = "every thread waits or goes round without end, and no thread changes memory";
                livelock(shared, &block, &suspended, what);
            }
            Outcome::Turn | Outcome::Round if total > shared.limits.instructions => {
                let what = "the launch has taken more warp instructions than SOFTCUDA_LIMIT allows";
                livelock(shared, &block, &suspended, what);
            }
            Outcome::Turn | Outcome::Round => suspended.push_back(block),
            Outcome::Fault(fault) => fail(shared, fault, block.number),
        }
    }
    if !late.is_empty() {
        late.iter().for_each(|stores| door.show(stores));
        shared.progress().wrote();
    }
    door.counts
}

/// After a turn: now and then makes late stores visible, of this block and of those that have ended before, which are kept in `late`. Whether
/// some became visible, and whether some still wait.
fn late_turn(
    door: &mut Door<'_>,
    block: &mut Block,
    done: bool,
    late: &mut Vec<LateStores>,
    random: &mut Random,
) -> (bool, bool) {
    let own = &mut block.memory.as_mut().expect("a block has its memory between turns").late;
    let mut shown = false;
    if done {
        late.extend(own.take());
    } else if random.below(4) == 0
        && let Some(stores) = own.take()
    {
        door.show(&stores);
        shown = true;
    }
    if !late.is_empty() && random.below(4) == 0 {
        door.show(&late.swap_remove(random.below(late.len() as u64) as usize));
        shown = true;
    }
    (shown, !late.is_empty() || own.as_ref().is_some_and(|stores| !stores.is_empty()))
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

/// Names the place of a thread that goes round, and of every warp of the blocks that this worker has under way.
fn livelock(shared: &Shared<'_>, block: &Block, suspended: &VecDeque<Block>, what: &str) {
    let code = &shared.launch.code;
    let mut fault = block.busy(code, what);
    let several = shared.launch.blocks() > 1;
    for b in std::iter::once(block).chain(suspended) {
        let [x, y, z] = shared.launch.coordinates(b.number);
        let of = if several { format!("block ({x},{y},{z}) ") } else { String::new() };
        fault.notes.extend(b.places(code).into_iter().map(|place| of.clone() + &place));
    }
    shorten(&mut fault.notes);
    fail(shared, fault, block.number);
}
