//! One block: its warps take turns until all have exited; it can be suspended between turns.

use super::code::Code;
use super::ctx::Ctx;
use super::launch::LaunchInfo;
use super::random::Random;
use super::sync::{Arrival, BarrierKind, CLUSTER, WARP_SYNC, kind};
use super::warp::{self, State, Stop, Warp};
use crate::config::Schedule;
use crate::memory::{BlockMemory, Door, Wide};
use crate::report::{Fault, FaultKind, Site};

/// A block under way.
pub struct Block {
    /// Linear number in the grid.
    pub number: u64,
    /// Its own memory, while it does not run.
    pub memory: Option<Box<BlockMemory>>,
    warps: Vec<Warp>,
    barriers: Vec<Barrier>,
    cluster: ClusterBarrier,
    next: usize,
    /// Turns in a row that ended in [`Outcome::Round`], and the epoch of the last.
    rounds: (u64, u32),
    /// Changes of memory by any block so far, as of this turn.
    epoch: u64,
    clock: u64,
    random: Random,
}

/// One of the sixteen barriers.
#[derive(Clone, Default)]
struct Barrier {
    /// Lanes of each warp that wait here.
    waiting: Vec<u32>,
    /// Threads counted that do not wait.
    arrived: u32,
    /// Threads awaited; 0 for all of the block.
    count: u32,
    /// Somebody is here.
    used: bool,
    popc: u32,
    all: bool,
    any: bool,
}

/// The barrier of a cluster of one block: lanes by warp.
#[derive(Default)]
struct ClusterBarrier {
    /// Arrived in this phase.
    arrived: Vec<u32>,
    /// The phase in which they arrived is over.
    passed: Vec<u32>,
}

/// How a block's turn ended.
#[derive(Debug)]
pub enum Outcome {
    /// All threads have exited.
    Done,
    /// The turn is over.
    Turn,
    /// The turn is over, and every warp waits or goes round without end unless others write.
    Round,
    /// The kernel is at fault, or a limit was reached.
    Fault(Box<Fault>),
}

/// A warp's turn, in order: long enough to keep its registers in the cache.
const TURN: u32 = 1 << 14;

impl Block {
    /// A block at its start. `old` lends its registers.
    pub fn new(launch: &LaunchInfo, number: u64, memory: Box<BlockMemory>, old: Option<Block>) -> Block {
        let count = launch.threads().div_ceil(32);
        let mut warps = old.map_or_else(Vec::new, |b| b.warps);
        warps.truncate(count as usize);
        for w in &mut warps {
            w.reset(launch, number);
        }
        for index in warps.len() as u32..count {
            warps.push(Warp::new(launch, number, index));
        }
        let barriers = vec![Barrier { waiting: vec![0; count as usize], all: true, ..Barrier::default() }; 16];
        let random = Random::new(launch.seed.wrapping_mul(0x1_0001) ^ number);
        let cluster = ClusterBarrier { arrived: vec![0; count as usize], passed: vec![0; count as usize] };
        Block {
            number,
            memory: Some(memory),
            warps,
            barriers,
            cluster,
            next: 0,
            rounds: (0, 0),
            epoch: 0,
            clock: 0,
            random,
        }
    }

    /// A turn has ended, in [`Outcome::Round`] or not; how many turns of the same epoch did so one after the other, before and now.
    pub fn went_round(&mut self, round: bool) -> (u32, u32) {
        let (epoch, turns) = self.rounds;
        let before = if epoch == self.epoch { turns } else { 0 };
        self.rounds = (self.epoch, if round { before + 1 } else { 0 });
        (before, self.rounds.1)
    }

    /// Instructions executed so far.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Runs for about `turn` warp instructions; `epoch` counts the turns of any block that wrote memory. The second value says whether memory was written.
    pub fn run(
        &mut self,
        launch: &LaunchInfo,
        door: &mut Door<'_>,
        wide: &mut Wide,
        turn: u64,
        epoch: u64,
    ) -> (Outcome, bool) {
        self.epoch = epoch;
        let memory = self.memory.take().expect("a suspended block has its memory");
        let old = door.swap_block(memory);
        let mut wrote = false;
        let outcome = self.turns(launch, door, wide, turn, &mut wrote);
        self.memory = Some(door.swap_block(old));
        (outcome, wrote)
    }

    fn turns(
        &mut self,
        launch: &LaunchInfo,
        door: &mut Door<'_>,
        wide: &mut Wide,
        turn: u64,
        wrote: &mut bool,
    ) -> Outcome {
        let code = launch.code.clone();
        let end = self.clock + turn;
        let mut blocked = 0;
        while self.clock < end {
            if self.warps.iter().all(|w| w.live == 0) {
                return Outcome::Done;
            }
            let n = self.warps.len();
            if blocked >= n {
                return Outcome::Fault(self.stuck(&code));
            }
            if launch.schedule == Schedule::Adversarial && blocked == 0 {
                self.next = self.random.below(n as u64) as usize;
            }
            let w = self.next;
            self.next = (w + 1) % n;
            let steps = match launch.schedule {
                Schedule::InOrder => (end - self.clock).min(TURN.into()) as u32,
                Schedule::Adversarial => 1 + self.random.below(96) as u32,
            };
            match self.warp(launch, &code, door, wide, w, steps, wrote) {
                Ok(true) => blocked = 0,
                Ok(false) => blocked += 1,
                Err(fault) => return Outcome::Fault(fault),
            }
        }
        if self.warps.iter().all(|w| w.live == 0) {
            return Outcome::Done;
        }
        let stuck = |w: &Warp| w.goes_round(self.epoch) || !w.groups.iter().any(|g| g.state == State::Ready);
        if self.warps.iter().all(stuck) { Outcome::Round } else { Outcome::Turn }
    }

    /// One warp's turn; whether it got anywhere.
    #[allow(clippy::too_many_arguments)] // The parts of a worker, borrowed apart.
    fn warp(
        &mut self,
        launch: &LaunchInfo,
        code: &Code,
        door: &mut Door<'_>,
        wide: &mut Wide,
        w: usize,
        steps: u32,
        wrote: &mut bool,
    ) -> Result<bool, Box<Fault>> {
        if self.warps[w].live == 0 {
            return Ok(false);
        }
        let start = self.clock;
        let mut wrote_here = false;
        loop {
            let mut c = Ctx {
                warp: &mut self.warps[w],
                door,
                wide,
                launch,
                mask: 0,
                pc: 0,
                taken: 0,
                targets: [0; 32],
                arrival: Arrival::default(),
                fault: None,
                wrote: false,
                clock: self.clock,
            };
            let stop = warp::run(&mut c, code, steps);
            let (arrival, fault, clock) = (c.arrival, c.fault.take(), c.clock);
            wrote_here |= c.wrote;
            *wrote |= c.wrote;
            self.clock = clock;
            match stop {
                Stop::Fault => return Err(fault.expect("a fault says why")),
                Stop::Turn => {
                    self.warps[w].turn_ended(wrote_here, self.epoch);
                    return Ok(true);
                }
                Stop::Blocked => return Ok(self.clock != start),
                Stop::Exited => {
                    for id in 0..16 {
                        self.complete(code, door, id)?;
                    }
                    self.complete_cluster(door);
                    if self.warps[w].live == 0 {
                        return Ok(true);
                    }
                }
                Stop::Barrier(g) => {
                    self.arrive(code, door, w, g, arrival)?;
                    // A warp alone in its block passes every barrier at once: its turn ends all the same.
                    if self.clock - start >= u64::from(steps) {
                        self.warps[w].turn_ended(wrote_here, self.epoch);
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn arrive(
        &mut self,
        code: &Code,
        door: &mut Door<'_>,
        w: usize,
        g: usize,
        arrival: Arrival,
    ) -> Result<(), Box<Fault>> {
        let mask = self.warps[w].groups[g].mask;
        if arrival.id == CLUSTER {
            if arrival.arrive {
                self.cluster.arrived[w] |= mask;
            }
            self.complete_cluster(door);
            return Ok(());
        }
        let barrier = &mut self.barriers[arrival.id as usize];
        if barrier.used && barrier.count != arrival.count {
            let group = &self.warps[w].groups[g];
            let pc = group.pc;
            let site = Site { pc, line: code.insts[pc as usize].line };
            let what =
                format!("barrier {} awaits {} threads here and {} elsewhere", arrival.id, arrival.count, barrier.count);
            let mut fault = Fault::new(FaultKind::BarrierDivergence, site, w as u32, what);
            fault.lane = Some(mask.trailing_zeros());
            return Err(fault);
        }
        barrier.used = true;
        barrier.count = arrival.count;
        if arrival.arrive {
            // A warp that is there as a whole counts as 32 threads, also the last, shorter one.
            barrier.arrived += if mask == self.warps[w].live { 32 } else { mask.count_ones() };
            door.barrier_arrived(arrival.id, w as u32);
        } else {
            barrier.waiting[w] |= mask;
            barrier.popc += (arrival.yes & mask).count_ones();
            barrier.all &= arrival.yes & mask == mask;
            barrier.any |= arrival.yes & mask != 0;
        }
        self.complete(code, door, arrival.id)
    }

    /// Lets the threads of a barrier go if all awaited are there.
    fn complete(&mut self, code: &Code, door: &mut Door<'_>, id: u32) -> Result<(), Box<Fault>> {
        let barrier = &mut self.barriers[id as usize];
        if !barrier.used {
            return Ok(());
        }
        let full = if barrier.count == 0 {
            self.warps.iter().zip(&barrier.waiting).all(|(w, waiting)| *waiting == w.live)
        } else {
            let each = |(w, waiting): (&Warp, &u32)| match *waiting {
                0 => 0,
                all if all == w.live => 32,
                some => some.count_ones(),
            };
            self.warps.iter().zip(&barrier.waiting).map(each).sum::<u32>() + barrier.arrived >= barrier.count
        };
        if !full {
            return Ok(());
        }
        let (popc, all, any) = (barrier.popc, barrier.all, barrier.any);
        let mut passed = 0;
        for (waiting, warp) in barrier.waiting.iter_mut().zip(&self.warps) {
            // A warp that has exited did all it will do before any barrier of the whole block.
            if *waiting != 0 || (barrier.count == 0 && warp.live == 0) {
                passed |= 1 << warp.index;
            }
            *waiting = 0;
        }
        (barrier.arrived, barrier.count, barrier.used) = (0, 0, false);
        (barrier.popc, barrier.all, barrier.any) = (0, true, false);
        door.barrier_passed(id, passed);
        for warp in self.warps.iter_mut() {
            let Warp { groups, regs, .. } = warp;
            for g in groups.iter_mut().filter(|g| g.state == State::Barrier(id)) {
                let i = &code.insts[g.pc as usize];
                match kind(i.mods) {
                    BarrierKind::Popc => regs.put::<u32>(i.o[0], g.mask, &[popc; 32]),
                    BarrierKind::And => regs.put_pred(i.o[0], g.mask, if all { !0 } else { 0 }),
                    BarrierKind::Or => regs.put_pred(i.o[0], g.mask, if any { !0 } else { 0 }),
                    BarrierKind::Sync | BarrierKind::Arrive => {}
                }
                door.counts.sites[g.pc as usize].barriers += 1;
                g.state = State::Ready;
                g.pc += 1;
            }
        }
        Ok(())
    }

    /// Ends the phase of the cluster's barrier if every thread that lives has arrived, and lets those go on that wait for the end of theirs.
    fn complete_cluster(&mut self, door: &mut Door<'_>) {
        let ClusterBarrier { arrived, passed } = &mut self.cluster;
        let full = self.warps.iter().zip(&*arrived).all(|(w, lanes)| w.live & !lanes == 0);
        if full && arrived.iter().any(|lanes| *lanes != 0) {
            arrived.iter_mut().zip(passed.iter_mut()).for_each(|(a, p)| *p |= std::mem::take(a));
            door.barrier_passed(CLUSTER, self.warps.iter().fold(0, |m, w| m | 1 << w.index));
        }
        for (warp, passed) in self.warps.iter_mut().zip(passed) {
            for g in warp.groups.iter_mut().filter(|g| g.state == State::Barrier(CLUSTER)) {
                if g.mask & !*passed == 0 {
                    *passed &= !g.mask;
                    g.state = State::Ready;
                    g.pc += 1;
                }
            }
        }
    }

    /// Where every group of every warp stands.
    pub fn places(&self, code: &Code) -> Vec<String> {
        let mut lines = Vec::new();
        for w in &self.warps {
            for g in &w.groups {
                let line = code.insts.get(g.pc as usize).map_or(0, |i| i.line);
                let how = match g.state {
                    State::Ready => "runs".to_string(),
                    State::Waiting => "waits for lanes of its warp".to_string(),
                    State::Barrier(CLUSTER) => "waits at the barrier of the cluster".to_string(),
                    State::Barrier(id) => format!("waits at barrier {id}"),
                };
                lines.push(format!("warp {} lanes {:#010x} at line {line}: {how}", w.index, g.mask));
            }
        }
        lines
    }

    /// A livelock in the sense of `what`, at the place of a group that can run.
    pub fn busy(&self, code: &Code, what: &str) -> Box<Fault> {
        let groups = || self.warps.iter().flat_map(|w| w.groups.iter().map(move |g| (w, g)));
        let found = groups().find(|(_, g)| g.state == State::Ready).or_else(|| groups().next());
        let Some((w, g)) = found else { return Fault::new(FaultKind::Livelock, Site::default(), 0, what) };
        let site = Site { pc: g.pc, line: code.insts.get(g.pc as usize).map_or(0, |i| i.line) };
        let mut fault = Fault::new(FaultKind::Livelock, site, w.index, what);
        fault.lane = Some(g.mask.trailing_zeros());
        fault
    }

    /// Nothing can run: names the barrier that cannot fill, or the lanes that wait for each other.
    fn stuck(&self, code: &Code) -> Box<Fault> {
        let groups = || self.warps.iter().flat_map(|w| w.groups.iter().map(move |g| (w, g)));
        let waiting = groups().find(|(_, g)| g.state == State::Waiting);
        let (w, g) = waiting.or_else(|| groups().next()).expect("a stuck block has groups");
        let i = &code.insts[g.pc as usize];
        let barrier =
            i.class == crate::count::Class::Sync && !matches!(waiting, Some((_, g)) if is_warp_sync(code, g.pc));
        let (kind, what) = match (g.state, barrier) {
            (State::Waiting, true) => {
                let what = format!(
                    "barrier reached by lanes {:#010x} while lanes {:#010x} of the warp are elsewhere",
                    g.mask,
                    w.live & !g.mask
                );
                (FaultKind::BarrierDivergence, what)
            }
            (State::Waiting, false) => {
                let what = format!("lanes {:#010x} wait for lanes that never come to the same instruction", g.mask);
                (FaultKind::WarpSync, what)
            }
            _ => (FaultKind::Deadlock, "no thread of the block can go on".to_string()),
        };
        let mut fault = Fault::new(kind, Site { pc: g.pc, line: i.line }, w.index, what);
        fault.lane = Some(g.mask.trailing_zeros());
        fault.notes = self.places(code);
        shorten(&mut fault.notes);
        fault
    }
}

/// Keeps the places of the first warps.
pub fn shorten(notes: &mut Vec<String>) {
    const SHOWN: usize = 64;
    if notes.len() > SHOWN {
        let more = notes.len() - SHOWN;
        notes.truncate(SHOWN);
        notes.push(format!("and {more} more"));
    }
}

/// Whether a waiting group waits at `bar.warp.sync` and not at a barrier of the block.
fn is_warp_sync(code: &Code, pc: u32) -> bool {
    code.insts[pc as usize].mods == WARP_SYNC
}
