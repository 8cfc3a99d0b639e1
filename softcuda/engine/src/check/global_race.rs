//! Races on global memory between blocks of one launch.
//!
//! *Definition* (PTX ISA, Memory Consistency Model): a block accesses a byte that another block wrote in the same launch, one of the two accesses
//! is not strong (atomic, volatile, relaxed..), and nothing orders them. What orders two blocks: a fence of device scope followed by a
//! strong write in the first, and a strong read of that address in the second. `.release` counts as a fence and a strong write.
//!
//! *Method.* Each block counts its fences. A write is remembered as (block, fences so far, thread, pc), per word, and per byte where smaller
//! stores happen. A strong write leaves at its address, for each block known to the writer, the number of fences done; a strong read takes
//! that over. A remembered write is ordered if the reader knows of a later fence of its block.
//!
//! *Modifications.* A store that leaves the bytes as they are is no race. Order is kept for whole blocks: a fence of one thread speaks for all,
//! and the reader needs no fence of its own.
//!
//! *Several workers.* Whoever writes [holds](GlobalRace::hold) the bytes from the look at their records until the new ones have landed. So of
//! two writes to one byte the second sees both the record and the bytes of the first, whichever it is.
//!
//! *Misses.* A block that writes what another read before (another schedule shows it as a read after the write); a missing fence on the
//! reading side; an older write than the last to a byte; a missing barrier between the threads that wrote and the one that fenced; a read
//! on one worker in the very moment of a write on another. *False reports:* none known.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, OnceLock};

/// Bytes of global memory whose records lie together. Offsets are counted from a multiple of it.
pub(crate) const RECORDS: usize = 1024;
/// Fence counts from here on are not told apart.
const MANY: u32 = 1023;

/// (block + 1, fences, thread, pc, strong) in 24 + 10 + 10 + 19 + 1 bits; 0 for none.
type Record = u64;

/// Who accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockActor {
    pub(crate) block: u64,
    pub(crate) thread: u32,
    pub(crate) pc: u32,
    pub(crate) strong: bool,
    /// Device-scope fences of the block so far.
    pub(crate) fences: u32,
}

impl BlockActor {
    fn id(&self) -> u64 {
        (self.block + 1) & 0xff_ffff
    }

    fn record(&self) -> Record {
        // A strong write after a fence is itself seen by who reads it.
        let fences = if self.strong { self.fences.saturating_sub(1) } else { self.fences };
        let (fences, thread) = (fences.min(MANY) as u64, self.thread as u64 & 1023);
        self.id() << 40 | fences << 30 | thread << 20 | (self.pc as u64 & 0x7_ffff) << 1 | self.strong as u64
    }
}

/// The earlier write of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EarlierWrite {
    pub(crate) block: u64,
    pub(crate) thread: u32,
    pub(crate) pc: u32,
    pub(crate) strong: bool,
}

/// What a block knows of others: `known[b]` fences of block b are in its past.
#[derive(Default)]
pub(crate) struct Knowledge {
    known: Vec<u32>,
}

impl Knowledge {
    fn join(&mut self, other: &[u32]) {
        if self.known.len() < other.len() {
            self.known.resize(other.len(), 0);
        }
        self.known.iter_mut().zip(other).for_each(|(a, b)| *a = (*a).max(*b));
    }
}

/// Last writers of one page.
struct Page {
    words: [AtomicU64; RECORDS / 4],
    /// Exists once a store below four bytes happened.
    bytes: OnceLock<Box<[AtomicU64; RECORDS]>>,
}

/// Last writers of one allocation.
#[derive(Default)]
struct Shadow {
    pages: OnceLock<Box<[OnceLock<Box<Page>>]>>,
}

/// The writes of one launch, and what strong writes said.
pub(crate) struct GlobalRace {
    shadows: Vec<Shadow>,
    /// Shards that somebody holds, a bit each.
    held: AtomicU64,
    flags: Mutex<HashMap<u64, Knowledge>>,
    any_flag: AtomicBool,
}

/// See [`GlobalRace::hold`].
pub(crate) struct Held<'r> {
    race: &'r GlobalRace,
    shards: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.race.held.fetch_and(!self.shards, Release);
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl GlobalRace {
    /// For a table of so many allocations.
    pub(crate) fn new(allocations: usize) -> GlobalRace {
        let shadows = (0..allocations).map(|_| Shadow::default()).collect();
        let (held, flags, any_flag) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        GlobalRace { shadows, held, flags, any_flag }
    }

    /// Keeps all others from writing to these addresses, and from looking who wrote there in order to write, while the value lives.
    pub(crate) fn hold(&self, addresses: impl Iterator<Item = u64>) -> Held<'_> {
        // An access lies in one page. All shards are taken in one step, so nobody holds one while waiting for another.
        let shards = addresses.fold(0, |m, a| m | 1u64 << (a / RECORDS as u64 % 64));
        loop {
            let held = self.held.load(Relaxed);
            let free = held & shards == 0;
            if free && self.held.compare_exchange_weak(held, held | shards, Acquire, Relaxed).is_ok() {
                return Held { race: self, shards };
            }
            if !free {
                std::thread::yield_now();
            }
        }
    }

    /// Whether nothing of the allocation was written in this launch.
    #[inline(always)]
    pub(crate) fn untouched(&self, index: usize) -> bool {
        self.shadows[index].pages.get().is_none()
    }

    /// The write with which an access of `size` bytes at `offset` of an allocation races.
    pub(crate) fn conflict(
        &self,
        index: usize,
        offset: usize,
        size: usize,
        who: &BlockActor,
        knows: &Knowledge,
    ) -> Option<EarlierWrite> {
        let page = self.shadows[index].pages.get()?[offset / RECORDS].get()?;
        let inside = offset % RECORDS;
        let find = |records: &[AtomicU64]| {
            // Nearly always nobody wrote there, or the block itself.
            let foreign = |r: &Record| *r != 0 && *r >> 40 != who.id();
            records.iter().map(|r| r.load(Relaxed)).filter(foreign).find(|r| {
                let (block, fences) = (*r >> 40, (*r >> 30) as u32 & MANY);
                let both_strong = r & 1 != 0 && who.strong;
                !both_strong && knows.known.get(block as usize - 1).is_none_or(|k| *k <= fences)
            })
        };
        let found = find(&page.words[inside / 4..(inside + size).div_ceil(4)])
            .or_else(|| find(&page.bytes.get()?[inside..inside + size]))?;
        Some(EarlierWrite {
            block: (found >> 40) - 1,
            thread: (found >> 20) as u32 & 1023,
            pc: (found >> 1) as u32 & 0x7_ffff,
            strong: found & 1 != 0,
        })
    }

    /// Remembers a write of `size` bytes at `offset` of an allocation of `length` bytes. The caller holds them.
    pub(crate) fn wrote(&self, index: usize, length: usize, offset: usize, size: usize, who: &BlockActor) {
        let empty = || (0..length.div_ceil(RECORDS)).map(|_| OnceLock::new()).collect();
        let pages = self.shadows[index].pages.get_or_init(empty);
        let page = pages[offset / RECORDS].get_or_init(|| Box::new(Page { words: zeros(), bytes: OnceLock::new() }));
        let (inside, record) = (offset % RECORDS, who.record());
        if size >= 4 {
            page.words[inside / 4..(inside + size) / 4].iter().for_each(|r| r.store(record, Relaxed));
        } else {
            let bytes = page.bytes.get_or_init(|| Box::new(zeros()));
            bytes[inside..inside + size].iter().for_each(|r| r.store(record, Relaxed));
        }
    }

    /// To be called *before* a strong write to `address`: after a fence it says what the block has done.
    pub(crate) fn teach(&self, address: u64, who: &BlockActor, knows: &mut Knowledge) {
        if who.fences == 0 {
            return;
        }
        let own = who.block as usize & 0xff_ffff;
        if knows.known.len() <= own {
            knows.known.resize(own + 1, 0);
        }
        knows.known[own] = if who.fences >= MANY { u32::MAX } else { who.fences };
        let mut flags = self.flags.lock().unwrap_or_else(|e| e.into_inner());
        flags.entry(address).or_default().join(&knows.known);
        self.any_flag.store(true, Release);
    }

    /// To be called *after* a strong read of `address`, so that whoever wrote the value has taught before.
    pub(crate) fn learn(&self, address: u64, knows: &mut Knowledge) {
        if self.any_flag.load(Acquire)
            && let Some(flag) = self.flags.lock().unwrap_or_else(|e| e.into_inner()).get(&address)
        {
            knows.join(&flag.known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(block: u64, fences: u32) -> BlockActor {
        BlockActor { block, thread: 3, pc: 9, strong: false, fences }
    }

    fn conflict(r: &GlobalRace, offset: usize, size: usize, who: BlockActor, knows: &Knowledge) -> Option<u64> {
        r.conflict(0, offset, size, &who, knows).map(|e| e.block)
    }

    #[test]
    fn another_blocks_bytes_race_and_neighbours_do_not() {
        let (r, nothing) = (GlobalRace::new(1), Knowledge::default());
        assert!(r.untouched(0));
        r.wrote(0, 5000, 2048, 16, &block(1, 0));
        r.wrote(0, 5000, 4097, 1, &block(1, 0));
        assert_eq!(conflict(&r, 2060, 4, block(0, 0), &nothing), Some(1));
        assert_eq!(conflict(&r, 2060, 4, block(1, 0), &nothing), None);
        assert_eq!(conflict(&r, 2064, 4, block(0, 0), &nothing), None);
        assert_eq!(conflict(&r, 2044, 4, block(0, 0), &nothing), None);
        assert_eq!(conflict(&r, 4096, 1, block(0, 0), &nothing), None);
        assert_eq!(conflict(&r, 4096, 4, block(0, 0), &nothing), Some(1));
    }

    #[test]
    fn fence_and_flag_order_blocks_also_through_a_third() {
        let r = GlobalRace::new(1);
        let mut k: [Knowledge; 3] = Default::default();
        let flag = |fences, b| BlockActor { strong: true, ..block(b, fences) };
        r.wrote(0, 1000, 0, 4, &block(0, 0));
        let atomic = |address, fences, b: u64, k: &mut [Knowledge; 3]| {
            r.teach(address, &flag(fences, b), &mut k[b as usize]);
            r.learn(address, &mut k[b as usize]);
        };
        // A flag without a fence says nothing.
        atomic(64, 0, 0, &mut k);
        atomic(64, 0, 1, &mut k);
        assert_eq!(conflict(&r, 0, 4, block(1, 0), &k[1]), Some(0));
        // With it, block 1 knows, and block 2 from block 1.
        atomic(64, 1, 0, &mut k);
        r.wrote(0, 1000, 8, 4, &block(0, 1));
        atomic(64, 0, 1, &mut k);
        assert_eq!(conflict(&r, 0, 4, block(1, 0), &k[1]), None);
        assert_eq!(conflict(&r, 8, 4, block(1, 0), &k[1]), Some(0), "written after the fence");
        atomic(128, 1, 1, &mut k);
        assert_eq!(conflict(&r, 0, 4, block(2, 0), &k[2]), Some(0));
        r.learn(128, &mut k[2]);
        assert_eq!(conflict(&r, 0, 4, block(2, 0), &k[2]), None);
    }

    #[test]
    fn atomics_do_not_race_with_each_other() {
        let (r, nothing) = (GlobalRace::new(1), Knowledge::default());
        let atomic = |b| BlockActor { strong: true, ..block(b, 0) };
        r.wrote(0, 100, 0, 4, &atomic(0));
        assert_eq!(conflict(&r, 0, 4, atomic(1), &nothing), None);
        assert_eq!(conflict(&r, 0, 4, block(1, 0), &nothing), Some(0));
    }
}
