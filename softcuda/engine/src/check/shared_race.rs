//! Races on shared memory.
//!
//! *Definition* (PTX ISA, Memory Consistency Model): two threads of a block access one byte, at least one writes, not both accesses are strong
//! (atomic, volatile, relaxed..), and nothing orders them. What orders: program order of one thread; a barrier that both passed, or at which the
//! first arrived (`bar.arrive`) and the second waited;
//! `bar.warp.sync` naming both lanes (and no other warp instruction: `shfl.sync` and `vote.sync` give no guarantee for memory); a
//! fence and a strong write that a strong read of the other warp has seen.
//!
//! *Method.* A clock ticks at every ordering event of the block. Each granule remembers its last write and two readers, as (tick, thread, pc).
//! An access is ordered after a remembered one if its thread knows of that tick: through the last barrier of the whole block
//! (one comparison), through a table warp x warp (partial barriers, flags), or a table lane x lane within a warp (partial warp syncs).
//! A granule is four bytes until some access is smaller, then one byte for the rest of the block's life.
//!
//! *Modification.* A store that leaves the bytes as they are is no race: the same value stored by many threads is allowed.
//!
//! *Misses.* A write that conflicts with a third reader only; order between warps is kept for whole warps, so a barrier passed by one lane
//! orders its neighbours too. *False reports:* none known.

use std::collections::HashMap;

/// (tick, thread, pc, strong) of one access in 64 bits; 0 for none.
type Record = u64;

fn record(tick: u32, who: Actor) -> Record {
    (tick as u64) << 32 | (who.thread as u64 & 1023) << 22 | (who.pc as u64 & 0x1f_ffff) << 1 | who.strong as u64
}

/// Who accesses, and whether strongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    /// Linear thread of the block.
    pub(crate) thread: u32,
    pub(crate) pc: u32,
    pub(crate) strong: bool,
}

/// The earlier access of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) thread: u32,
    pub(crate) pc: u32,
    pub(crate) wrote: bool,
}

/// Who accessed each granule of a block's shared memory, and what each thread knows of the others.
pub(crate) struct SharedRace {
    bytes: usize,
    /// Granules are `1 << shift` bytes: 4 or 1.
    shift: u32,
    writes: Vec<Record>,
    reads: Vec<[Record; 2]>,
    now: u32,
    /// Every thread knows everything up to this tick.
    everyone: u32,
    warps: usize,
    /// `known[w * warps + v]`: warp w knows what warp v did up to this tick.
    known: Vec<u32>,
    /// All lanes of the warp know each other up to this tick.
    whole_warp: Vec<u32>,
    /// `[me][other]` of a warp that synchronised a part of its lanes.
    lanes: Vec<Option<Box<[[u32; 32]; 32]>>>,
    /// Tick of each warp's last fence.
    fenced: Vec<u32>,
    /// What a strong read of this offset teaches: a tick for each warp.
    flags: HashMap<u64, Vec<u32>>,
    /// The same for who passes a barrier at which others only arrived.
    arrived: HashMap<u32, Vec<u32>>,
}

impl SharedRace {
    pub(crate) fn new(bytes: usize, threads: usize) -> SharedRace {
        let warps = threads.div_ceil(32);
        SharedRace {
            bytes,
            shift: 2,
            writes: vec![0; bytes.div_ceil(4)],
            reads: vec![[0; 2]; bytes.div_ceil(4)],
            now: 1,
            everyone: 0,
            warps,
            known: vec![0; warps * warps],
            whole_warp: vec![0; warps],
            lanes: (0..warps).map(|_| None).collect(),
            fenced: vec![0; warps],
            flags: HashMap::new(),
            arrived: HashMap::new(),
        }
    }

    /// Forgets the past: a new block begins in the same memory.
    pub(crate) fn renew(&mut self) {
        self.everyone = self.now;
        self.now += 1;
        self.flags.clear();
        self.arrived.clear();
    }

    /// A load of `size` bytes at `offset`; the write it races with, if any.
    #[inline]
    pub(crate) fn load(&mut self, offset: usize, size: usize, who: Actor) -> Option<Earlier> {
        self.refine(size);
        let mine = record(self.now, who);
        for g in offset >> self.shift..=(offset + size - 1) >> self.shift {
            let w = self.writes[g];
            if self.unordered(w, who) {
                return Some(earlier(w, true));
            }
            let [a, b] = self.reads[g];
            if a == mine {
                continue;
            }
            // Keep the first of the readers that a writer may not know of, and the latest other one.
            if !self.unordered(a, Actor { strong: false, ..who }) {
                self.reads[g][0] = mine;
            } else if b != mine {
                self.reads[g][1] = mine;
            }
        }
        None
    }

    /// A store or an atomic; the access it races with, if any. A race is not remembered: see [`SharedRace::wrote`].
    #[inline]
    pub(crate) fn store(&mut self, offset: usize, size: usize, who: Actor) -> Option<Earlier> {
        self.refine(size);
        for g in offset >> self.shift..=(offset + size - 1) >> self.shift {
            let w = self.writes[g];
            if self.unordered(w, who) {
                return Some(earlier(w, true));
            }
            for r in self.reads[g] {
                if self.unordered(r, who) {
                    return Some(earlier(r, false));
                }
            }
        }
        self.wrote(offset, size, who);
        None
    }

    /// Whether nothing that is remembered can race with the accesses of a whole warp, of which lane l, thread `first.thread + l`, has `size`
    /// bytes at `offset + size l`: all of it happened before the last barrier of the whole block, or in this warp before its last
    /// `bar.warp.sync` of all lanes, or in the same thread.
    #[inline(always)]
    pub(crate) fn settled(&mut self, offset: usize, size: usize, first: Actor, load: bool) -> bool {
        self.refine(size);
        let granules = offset >> self.shift..(offset + 32 * size) >> self.shift;
        let each = (size >> self.shift).ilog2();
        // A record begins with its tick; then comes the thread, the warp its upper half.
        let everyone = (self.everyone as u64) << 32 | 0xffff_ffff;
        let warp = first.thread as u64 >> 5 & 31;
        let together = (self.whole_warp[first.thread as usize / 32] as u64) << 32 | 0xffff_ffff;
        let open = |r: Record, thread: u64| {
            (r > everyone) & ((r > together) | (r >> 27 & 31 != warp)) & (r >> 22 & 1023 != thread)
        };
        let (writes, reads) = (&self.writes[granules.clone()], &self.reads[granules]);
        let mut any = false;
        for g in 0..writes.len() {
            let thread = (first.thread as u64 & 1023) + (g as u64 >> each);
            let [a, b] = reads[g];
            any |= open(writes[g], thread) | open(a, thread) | (!load & open(b, thread));
        }
        !any
    }

    /// Remembers the settled accesses of a whole warp: lane l, `size` bytes at `offset + size l`, is thread `first.thread + l`.
    #[inline(always)]
    pub(crate) fn remember(&mut self, offset: usize, size: usize, first: Actor, load: bool) {
        for lane in 0..32 {
            let who = Actor { thread: first.thread + lane as u32, ..first };
            let mine = record(self.now, who);
            let from = offset + size * lane;
            let granules = from >> self.shift..(from + size - 1 >> self.shift) + 1;
            if load {
                self.reads[granules].iter_mut().for_each(|r| r[0] = mine);
            } else {
                self.writes[granules].fill(mine);
            }
        }
    }

    /// Remembers a store that was looked at.
    pub(crate) fn wrote(&mut self, offset: usize, size: usize, who: Actor) {
        let mine = record(self.now, who);
        self.writes[offset >> self.shift..=(offset + size - 1) >> self.shift].fill(mine);
    }

    /// A warp arrived at a barrier and went on.
    pub(crate) fn arrive(&mut self, id: u32, warp: u32) {
        let w = warp as usize;
        let ticks = self.arrived.entry(id).or_insert_with(|| vec![0; self.warps]);
        (0..self.warps).for_each(|v| ticks[v] = ticks[v].max(self.known[w * self.warps + v]));
        ticks[w] = self.now;
        self.now += 1;
    }

    /// All warps of the mask passed a barrier together.
    pub(crate) fn barrier(&mut self, id: u32, warps: u32) {
        let arrived = self.arrived.remove(&id);
        let all = if self.warps == 32 { !0 } else { (1u32 << self.warps) - 1 };
        if warps & all == all {
            self.everyone = self.now;
        } else {
            let members = || (0..self.warps).filter(|w| warps >> w & 1 != 0);
            let mut joint = arrived.unwrap_or_else(|| vec![0; self.warps]);
            for w in members() {
                (0..self.warps).for_each(|v| joint[v] = joint[v].max(self.known[w * self.warps + v]));
            }
            members().for_each(|w| joint[w] = self.now);
            for w in members().collect::<Vec<_>>() {
                self.known[w * self.warps..][..self.warps].copy_from_slice(&joint);
                self.whole_warp[w] = self.now;
            }
        }
        self.now += 1;
    }

    /// The lanes of the mask passed a `bar.warp.sync` together.
    pub(crate) fn warp_sync(&mut self, warp: u32, mask: u32) {
        let w = warp as usize;
        if mask == !0 {
            self.whole_warp[w] = self.now;
        } else {
            let table = self.lanes[w].get_or_insert_with(|| Box::new([[0; 32]; 32]));
            let members = || crate::memory::lanes(mask);
            let mut joint = [0; 32];
            for a in members() {
                (0..32).for_each(|b| joint[b] = joint[b].max(table[a][b]));
            }
            members().for_each(|a| joint[a] = self.now);
            members().for_each(|a| table[a] = joint);
        }
        self.now += 1;
    }

    /// A fence of the warp.
    pub(crate) fn fence(&mut self, warp: u32) {
        self.fenced[warp as usize] = self.now;
        self.now += 1;
    }

    /// A strong access: what the warp did before its last fence becomes known to who reads this offset later, and the other way round.
    pub(crate) fn strong(&mut self, offset: usize, warp: u32, reads: bool, writes: bool, releases: bool) {
        let w = warp as usize;
        if releases {
            self.fence(warp);
        }
        if reads && let Some(flag) = self.flags.get(&(offset as u64)) {
            (0..self.warps).for_each(|v| {
                let known = &mut self.known[w * self.warps + v];
                *known = (*known).max(flag[v]);
            });
        }
        if writes && self.fenced[w] > 0 {
            let flag = self.flags.entry(offset as u64).or_insert_with(|| vec![0; self.warps]);
            (0..self.warps).for_each(|v| flag[v] = flag[v].max(self.known[w * self.warps + v]));
            flag[w] = flag[w].max(self.fenced[w]);
        }
    }

    /// A lane has seen a phase of the barrier object at this offset end: it knows what every warp, its own too, did before it arrived there.
    pub(crate) fn waited(&mut self, offset: usize, warp: u32, lane: usize) {
        self.strong(offset, warp, true, false, false);
        let own = self.flags.get(&(offset as u64)).map_or(0, |flag| flag[warp as usize]);
        let table = self.lanes[warp as usize].get_or_insert_with(|| Box::new([[0; 32]; 32]));
        table[lane].iter_mut().for_each(|tick| *tick = (*tick).max(own));
    }

    /// Whether the access `who` makes now conflicts with a remembered one.
    #[inline(always)]
    fn unordered(&self, r: Record, who: Actor) -> bool {
        let tick = (r >> 32) as u32;
        tick > self.everyone && self.unordered_since_barrier(tick, r, who)
    }

    fn unordered_since_barrier(&self, tick: u32, r: Record, who: Actor) -> bool {
        let other = (r >> 22) as u32 & 1023;
        if other == who.thread || (r & 1 != 0 && who.strong) {
            return false;
        }
        let (mine, theirs) = (who.thread as usize / 32, other as usize / 32);
        if mine != theirs {
            return tick > self.known[mine * self.warps + theirs];
        }
        let pair = self.lanes[mine].as_ref().map_or(0, |t| t[who.thread as usize % 32][other as usize % 32]);
        tick > self.whole_warp[mine] && tick > pair
    }

    /// Goes over to single bytes at the first access below four.
    #[inline(always)]
    fn refine(&mut self, size: usize) {
        if size < 4 && self.shift == 2 {
            self.writes = (0..self.bytes).map(|i| self.writes[i / 4]).collect();
            self.reads = (0..self.bytes).map(|i| self.reads[i / 4]).collect();
            self.shift = 0;
        }
    }
}

fn earlier(r: Record, wrote: bool) -> Earlier {
    Earlier { thread: (r >> 22) as u32 & 1023, pc: (r >> 1) as u32 & 0x1f_ffff, wrote }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(thread: u32) -> Actor {
        Actor { thread, pc: 7, strong: false }
    }

    fn race() -> SharedRace {
        SharedRace::new(256, 128)
    }

    #[test]
    fn a_barrier_orders_and_its_absence_does_not() {
        let mut r = race();
        assert_eq!(r.store(0, 4, plain(33)), None);
        assert_eq!(r.load(0, 4, plain(33)), None);
        assert_eq!(r.load(0, 4, plain(1)), Some(Earlier { thread: 33, pc: 7, wrote: true }));
        assert_eq!(r.load(4, 4, plain(1)), None);
        r.barrier(0, 0b1111);
        assert_eq!(r.load(0, 4, plain(1)), None);
        assert_eq!(r.store(0, 4, plain(33)), Some(Earlier { thread: 1, pc: 7, wrote: false }));
    }

    #[test]
    fn a_barrier_of_two_warps_orders_these_two() {
        let mut r = race();
        r.store(0, 4, plain(0));
        r.barrier(0, 0b0011);
        assert_eq!(r.load(0, 4, plain(40)), None);
        assert!(r.load(0, 4, plain(70)).is_some());
        r.barrier(0, 0b0110);
        assert_eq!(r.load(0, 4, plain(70)), None, "what warp 1 knew, warp 2 learns");
        assert!(r.load(0, 4, plain(100)).is_some());
    }

    #[test]
    fn who_arrives_is_ordered_before_who_waits_and_not_after() {
        let mut r = race();
        r.store(0, 4, plain(0));
        r.arrive(3, 0);
        r.store(4, 4, plain(0));
        r.store(8, 4, plain(40));
        r.barrier(3, 0b0010);
        assert_eq!(r.load(0, 4, plain(40)), None);
        assert!(r.load(4, 4, plain(40)).is_some(), "written after it had arrived");
        assert!(r.load(8, 4, plain(0)).is_some(), "it waited for nobody");
        assert!(r.load(0, 4, plain(70)).is_some());
    }

    #[test]
    fn lanes_are_ordered_by_warp_sync_of_both_only() {
        let mut r = race();
        r.store(0, 4, plain(0));
        r.warp_sync(0, 0b0011);
        assert_eq!(r.load(0, 4, plain(1)), None);
        assert!(r.load(0, 4, plain(2)).is_some());
        r.warp_sync(0, 0b0110);
        assert_eq!(r.load(0, 4, plain(2)), None);
        assert!(r.load(0, 4, plain(3)).is_some());
        r.warp_sync(0, !0);
        assert_eq!(r.load(0, 4, plain(3)), None);
        assert!(r.load(0, 4, plain(32)).is_some());
    }

    #[test]
    fn neighbouring_bytes_do_not_race() {
        let mut r = race();
        assert_eq!(r.store(0, 1, plain(0)), None);
        assert_eq!(r.store(1, 1, plain(1)), None);
        assert!(r.load(0, 4, plain(0)).is_some());
        assert!(r.store(0, 2, plain(1)).is_some());
    }

    #[test]
    fn a_second_reader_is_remembered() {
        let mut r = race();
        r.load(0, 4, plain(5));
        r.load(0, 4, plain(40));
        assert!(r.store(0, 4, plain(5)).is_some(), "thread 40 reads too");
    }

    #[test]
    fn strong_accesses_do_not_race_and_carry_a_fence() {
        let strong = |thread| Actor { strong: true, ..plain(thread) };
        let mut r = race();
        r.store(0, 4, plain(0));
        assert_eq!(r.store(64, 4, strong(0)), None);
        assert_eq!(r.store(64, 4, strong(40)), None);
        assert!(r.load(64, 4, plain(70)).is_some());
        r.strong(64, 0, false, true, false);
        r.strong(64, 1, true, false, false);
        assert!(r.load(0, 4, plain(40)).is_some(), "no fence before the flag");
        r.fence(0);
        r.strong(64, 0, false, true, false);
        r.strong(64, 1, true, false, false);
        assert_eq!(r.load(0, 4, plain(40)), None);
    }

    #[test]
    fn a_new_block_knows_nothing_of_the_old() {
        let mut r = race();
        r.store(0, 4, plain(0));
        r.renew();
        assert_eq!(r.store(0, 4, plain(99)), None);
    }
}
