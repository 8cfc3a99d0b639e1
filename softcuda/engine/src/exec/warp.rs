//! One warp: its registers and its groups of lanes, each at a place of its own.
//!
//! A warp whose lanes have gone different ways is a list of groups. In order, the group at the lowest place runs until it reaches another's place,
//! where the two join; this reconverges as early as compilers lay code out for, and needs no graph. A group that goes round for long while others
//! wait gives way to them. The adversarial schedule picks groups at random, for a few instructions at a time.

use super::call;
use super::code::{Code, Preload};
use super::ctx::Ctx;
use super::inst::{ABSENT, Flow};
use super::launch::LaunchInfo;
use super::random::Random;
use super::regs::{File, Regs};
use super::shadow::Shadow;
use super::taint::{self, Operands};
use crate::config::Schedule;
use crate::tiers::tiered;
use std::cmp::Reverse;

/// Lanes at one place.
#[derive(Clone, Debug)]
pub struct Group {
    /// The next instruction.
    pub pc: u32,
    /// The lanes.
    pub mask: u32,
    /// Where the calls it is in return to. A deeper group runs first: its lanes have to come back to where the others are.
    pub calls: Vec<u32>,
    /// Whether it can run.
    pub state: State,
}

/// Whether a group can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Ready,
    /// It waits at its place for more lanes of the warp.
    Waiting,
    /// It waits at a barrier.
    Barrier(u32),
}

/// One warp.
pub struct Warp {
    /// Registers.
    pub regs: Regs,
    /// The carry flag of each lane.
    pub carry: u32,
    /// Number in the block.
    pub index: u32,
    /// Lanes that have not exited.
    pub live: u32,
    /// The groups; disjoint, together the live lanes.
    pub groups: Vec<Group>,
    /// What calls have put aside, by lane; empty before the first.
    pub stacks: Vec<Vec<u64>>,
    /// Instructions that the present group has run while others were ready.
    held: u32,
    /// For the search for endless rounds.
    round: Round,
    random: Random,
}

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its turn is over.
    Turn,
    /// A group, whose index this is, has arrived at a barrier.
    Barrier(usize),
    /// Lanes have exited.
    Exited,
    /// No group can run.
    Blocked,
    /// `Ctx::fault` says why.
    Fault,
}

/// The search for a warp that goes round without end: if its whole state comes back and it has written nothing in between, it will come
/// back for ever, unless others change memory. States are kept at growing distances (Brent, "An improved Monte Carlo factorization
/// algorithm", 1980), so a round of any length is found.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    epoch: u64,
    kept: u64,
    turns: u32,
    keep_at: u32,
    found: bool,
}

/// After so many instructions of one group while others are ready, another runs.
const PATIENCE: u32 = 20_000;

impl Warp {
    /// A warp at the start of a kernel.
    pub fn new(launch: &LaunchInfo, block: u64, index: u32) -> Warp {
        let mut warp = Warp {
            regs: Regs::default(),
            carry: 0,
            index,
            live: 0,
            groups: Vec::new(),
            stacks: Vec::new(),
            held: 0,
            round: Round::default(),
            random: Random::new(0),
        };
        warp.reset(launch, block);
        warp
    }

    /// To the start, in another block.
    pub fn reset(&mut self, launch: &LaunchInfo, block: u64) {
        let code = &launch.code;
        let [n32, n64, npred] = code.slots;
        self.regs.r32.clear();
        self.regs.r32.resize(n32, [0; 32]);
        self.regs.r64.clear();
        self.regs.r64.resize(n64, [0; 32]);
        self.regs.pred.clear();
        self.regs.pred.resize(npred, 0);
        if launch.init {
            if self.regs.shadow.dirty32.len() == n32 {
                self.regs.shadow.clear();
            } else {
                self.regs.shadow = Shadow::new(n32, n64, npred);
            }
            code.unset.iter().for_each(|&(file, slot)| self.regs.shadow.unset(file, slot));
        }
        for &(file, slot, preload) in &code.preload {
            let value = match preload {
                Preload::Const(v) => [v; 32],
                Preload::Special(s) => s.value(launch, block, self.index),
                Preload::Frame => [0; 32],
                Preload::Stack => [u64::from(code.local_bytes + code.stack_bytes); 32],
            };
            match file {
                File::R32 => self.regs.r32[slot as usize] = value.map(|v| v as u32),
                File::R64 => self.regs.r64[slot as usize] = value,
                File::Pred => self.regs.pred[slot as usize] = if value[0] != 0 { !0 } else { 0 },
            }
        }
        let threads = launch.threads() - self.index * 32;
        self.live = if threads >= 32 { !0 } else { (1 << threads) - 1 };
        self.carry = 0;
        self.held = 0;
        self.round = Round::default();
        self.random = Random::new(launch.seed ^ (block << 8) ^ u64::from(self.index));
        self.stacks.clear();
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: self.live, calls: Vec::new(), state: State::Ready });
    }

    /// Joins groups that are at the same place, then picks one that can run, and how many instructions it may.
    fn select(&mut self, schedule: Schedule) -> Option<(usize, u32)> {
        let mut k = 0;
        while k < self.groups.len() {
            let same = |a: &Group, b: &Group| {
                let barrier = matches!(a.state, State::Barrier(_)) || matches!(b.state, State::Barrier(_));
                a.pc == b.pc && !barrier && a.calls == b.calls
            };
            if let Some(j) = (0..k).find(|&j| same(&self.groups[j], &self.groups[k])) {
                let gone = self.groups.swap_remove(k);
                self.groups[j].mask |= gone.mask;
                self.groups[j].state = State::Ready;
            } else {
                k += 1;
            }
        }
        let ready = |g: &&(usize, &Group)| g.1.state == State::Ready;
        let list = || self.groups.iter().enumerate();
        let count = list().filter(|g| ready(&g)).count();
        if count == 0 {
            return None;
        }
        if schedule == Schedule::Adversarial {
            let n = self.random.below(count as u64) as usize;
            let steps = 1 + self.random.below(24) as u32;
            let list = self.groups.iter().enumerate();
            return list.filter(|g| g.1.state == State::Ready).nth(n).map(|g| (g.0, steps));
        }
        if count > 1 && self.held > PATIENCE {
            self.held = 0;
            let last = list().filter(|g| ready(&g)).max_by_key(|g| g.1.pc);
            return last.map(|g| (g.0, PATIENCE / 4));
        }
        let first = list().filter(|g| ready(&g)).min_by_key(|g| (Reverse(g.1.calls.len()), g.1.pc));
        first.map(|g| (g.0, u32::MAX))
    }

    /// A turn has ended in which the warp wrote memory or not. `epoch` counts the changes of memory by any block.
    pub fn turn_ended(&mut self, wrote: bool, epoch: u64) {
        if wrote || self.round.epoch != epoch {
            self.round = Round { epoch, ..Round::default() };
        }
        let state = self.state();
        let round = &mut self.round;
        round.found |= round.turns > 0 && state == round.kept;
        if round.turns == round.keep_at {
            (round.kept, round.keep_at) = (state, 2 * round.turns + 1);
        }
        round.turns += 1;
    }

    /// Whether the warp has been found to go round since memory last changed.
    pub fn goes_round(&self, epoch: u64) -> bool {
        self.round.found && self.round.epoch == epoch
    }

    /// A hash of registers and places (FNV-1a over words).
    fn state(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |v: u64| hash = (hash ^ v).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        self.regs.r32.iter().flatten().for_each(|&v| add(u64::from(v)));
        self.regs.r64.iter().flatten().for_each(|&v| add(v));
        self.regs.pred.iter().for_each(|&v| add(u64::from(v)));
        for g in &self.groups {
            add(u64::from(g.pc) << 32 | u64::from(g.mask));
        }
        add(u64::from(self.carry));
        hash
    }

    /// Makes waiting groups try again.
    fn wake(&mut self) {
        for g in &mut self.groups {
            if g.state == State::Waiting {
                g.state = State::Ready;
            }
        }
    }
}

/// Runs a warp for up to `turn` instructions.
pub fn run(c: &mut Ctx<'_, '_>, code: &Code, turn: u32) -> Stop {
    c.warp.regs.shadow.refresh();
    tiered!(slices, (c: &mut Ctx<'_, '_>, code: &Code, turn: u32) -> Stop)
}

#[inline(always)]
fn slices(c: &mut Ctx<'_, '_>, code: &Code, turn: u32) -> Stop {
    let mut left = turn;
    loop {
        if left == 0 {
            return Stop::Turn;
        }
        let Some((g, steps)) = c.warp.select(c.launch.schedule) else { return Stop::Blocked };
        let limit = steps.min(left);
        let ran = match slice(c, code, g, limit) {
            Ok(ran) => ran,
            Err((ran, stop)) => {
                c.clock += u64::from(ran);
                return stop;
            }
        };
        c.clock += u64::from(ran);
        left -= ran.min(left);
        if c.warp.groups.len() > 1 {
            c.warp.held = c.warp.held.saturating_add(ran);
        }
    }
}

/// Runs one group until it branches, waits, meets another, or has run `limit` instructions. Gives the instructions run.
#[inline(always)]
fn slice(c: &mut Ctx<'_, '_>, code: &Code, g: usize, limit: u32) -> Result<u32, (u32, Stop)> {
    let mut pc = c.warp.groups[g].pc;
    let mask = c.warp.groups[g].mask;
    let alone = c.warp.groups.len() == 1;
    // The nearest place ahead where another group stands.
    let others = c.warp.groups.iter().enumerate().filter(|o| o.0 != g && o.1.pc > pc);
    let meet = others.map(|o| o.1.pc).min().unwrap_or(u32::MAX);
    let count = c.launch.count;
    let init = c.launch.init;
    let mut ran = 0;
    loop {
        let Some(i) = code.insts.get(pc as usize) else {
            // The text ends without `ret`.
            c.warp.groups[g].pc = pc;
            return Err((ran, exit(c, g)));
        };
        let mut active = mask;
        if i.guard != ABSENT {
            let p = c.warp.regs.pred[i.guard as usize];
            active &= if i.guard_not { !p } else { p };
            if init && c.warp.regs.shadow.any() {
                let dirty = c.warp.regs.shadow.dirty(File::Pred, i.guard) & mask;
                if dirty != 0 {
                    c.pc = pc;
                    taint::refuse_guard(c, i, dirty);
                    return Err((ran, Stop::Fault));
                }
            }
        }
        ran += 1;
        if active == 0 {
            pc += 1;
            if count {
                c.door.counts.executed(pc - 1, 0);
            }
            if pc == meet || ran >= limit {
                c.warp.groups[g].pc = pc;
                return Ok(ran);
            }
            continue;
        }
        c.mask = active;
        c.pc = pc;
        if count {
            c.door.counts.executed(pc, active);
        }
        // Without an unwritten bit in any register the instruction's own code sees to what it loads.
        let flow = if init && c.warp.regs.shadow.any() {
            checked(c, code, pc)
        } else {
            // SAFETY: `tiers::choose` gave a function that this processor can run.
            unsafe { (i.run)(c, i) }
        };
        if flow == Flow::Next {
            pc += 1;
            if pc == meet || ran >= limit {
                c.warp.groups[g].pc = pc;
                return Ok(ran);
            }
            continue;
        }
        if flow == Flow::Branch && c.taken == mask && alone {
            pc = i.target;
            if ran >= limit {
                c.warp.groups[g].pc = pc;
                return Ok(ran);
            }
            continue;
        }
        return match turn(c, code, g, pc, active, flow) {
            None => Ok(ran),
            Some(stop) => Err((ran, stop)),
        };
    }
}

/// One instruction with the shadow of its registers.
#[inline(never)]
fn checked(c: &mut Ctx<'_, '_>, code: &Code, pc: u32) -> Flow {
    let (i, roles) = (&code.insts[pc as usize], &code.roles[pc as usize]);
    let operands = match taint::before(c, i, roles) {
        Operands::Refused => return Flow::Fault,
        known => known,
    };
    // SAFETY: `tiers::choose` gave a function that this processor can run.
    let flow = unsafe { (i.run)(c, i) };
    match flow {
        Flow::Next | Flow::Yield => taint::after(c, i, roles, &operands),
        Flow::Part => {
            let whole = std::mem::replace(&mut c.mask, c.taken);
            taint::after(c, i, roles, &operands);
            c.mask = whole;
        }
        _ => {}
    }
    flow
}

/// Everything but "next": moves group `g`, whose lanes `active` executed the instruction at `pc`. `Some` ends the warp's turn.
fn turn(c: &mut Ctx<'_, '_>, code: &Code, g: usize, pc: u32, active: u32, flow: Flow) -> Option<Stop> {
    let i = &code.insts[pc as usize];
    let groups = &mut c.warp.groups;
    let whole = groups[g].mask;
    groups[g].pc = pc;
    if flow == Flow::Branch {
        let (taken, rest) = (c.taken, whole & !c.taken);
        groups[g].pc = i.target;
        if rest != 0 && i.target != pc + 1 {
            groups[g].mask = taken;
            let calls = groups[g].calls.clone();
            groups.push(Group { pc: pc + 1, mask: rest, calls, state: State::Ready });
            if c.launch.count {
                c.door.counts.sites[pc as usize].divergent += 1;
            }
        }
        return None;
    }
    // The lanes that the guard leaves out go on alone.
    if active != whole {
        groups[g].mask = active;
        let calls = groups[g].calls.clone();
        groups.push(Group { pc: pc + 1, mask: whole & !active, calls, state: State::Ready });
    }
    match flow {
        Flow::Scatter => {
            let calls = groups[g].calls.clone();
            let mut rest = active;
            let mut first = true;
            while rest != 0 {
                let to = c.targets[rest.trailing_zeros() as usize];
                let set = (0..32).filter(|&l| rest >> l & 1 != 0 && c.targets[l] == to).fold(0u32, |m, l| m | 1 << l);
                rest &= !set;
                if first {
                    (groups[g].pc, groups[g].mask) = (to, set);
                } else {
                    groups.push(Group { pc: to, mask: set, calls: calls.clone(), state: State::Ready });
                }
                first = false;
            }
            None
        }
        Flow::Wait => {
            groups[g].state = State::Waiting;
            None
        }
        Flow::Part => {
            let rest = active & !c.taken;
            groups[g].pc = pc + 1;
            groups[g].mask = c.taken;
            let calls = groups[g].calls.clone();
            groups.push(Group { pc, mask: rest, calls, state: State::Waiting });
            None
        }
        Flow::Barrier => {
            if c.arrival.arrive {
                groups[g].pc = pc + 1;
            } else {
                groups[g].state = State::Barrier(c.arrival.id);
            }
            Some(Stop::Barrier(g))
        }
        Flow::Call => match call::enter(c, code, g, pc) {
            Some(()) => None,
            None => Some(Stop::Fault),
        },
        Flow::Return => match groups[g].calls.pop() {
            Some(back) => {
                call::leave(c, code, g, back);
                None
            }
            None => Some(exit(c, g)),
        },
        Flow::Exit => Some(exit(c, g)),
        Flow::Yield => {
            groups[g].pc = pc + 1;
            Some(Stop::Turn)
        }
        Flow::Fault => Some(Stop::Fault),
        Flow::Next | Flow::Branch => None,
    }
}

/// The lanes of a group end.
fn exit(c: &mut Ctx<'_, '_>, g: usize) -> Stop {
    let gone = c.warp.groups.swap_remove(g);
    c.warp.live &= !gone.mask;
    c.warp.wake();
    Stop::Exited
}
