//! Shared memory of one block.
//!
//! One worker runs the block, so nothing here is concurrent; its bytes have the same type as global ones for the sake of one gather loop.

use super::access::{Access, Door, Wide, lanes};
use super::atomic::{AtomOp, AtomTy, apply};
use super::bytes::Bytes;
use super::global::{gather, low_bytes, scatter};
use super::pattern::Pattern;
use super::space::POISON;
use crate::check::{Actor, Earlier, InitMap, SharedRace};
use crate::report::{AccessKind, Detail, Fault, Party};

/// The bytes of a block's shared memory, which of them somebody wrote, and who accessed them.
pub(crate) struct SharedMemory {
    pub(crate) bytes: Bytes,
    len: usize,
    pub(crate) init: InitMap,
    pub(crate) race: Option<Box<SharedRace>>,
    /// One bit per word that waits for a `cp.async`; empty until there is one.
    pending: Vec<u64>,
    pending_words: usize,
}

impl SharedMemory {
    pub(crate) fn new(len: usize, threads: usize, race: bool) -> SharedMemory {
        SharedMemory {
            bytes: Bytes::filled(len, POISON).expect("host memory for a block's shared memory"),
            len,
            init: InitMap::new(len, false),
            race: race.then(|| Box::new(SharedRace::new(len, threads))),
            pending: Vec::new(),
            pending_words: 0,
        }
    }

    /// As new, for the next block.
    pub(crate) fn renew(&mut self) {
        self.bytes.as_mut_slice().fill(POISON);
        self.init.reset();
        self.pending.fill(0);
        self.pending_words = 0;
        if let Some(race) = &mut self.race {
            race.renew();
        }
    }

    /// Marks or unmarks the words of a copy's destination.
    pub(crate) fn set_pending(&mut self, offset: usize, size: usize, on: bool) {
        if self.pending.is_empty() {
            self.pending = vec![0; self.len.div_ceil(256)];
        }
        for word in offset / 4..(offset + size).div_ceil(4) {
            let (slot, bit) = (&mut self.pending[word / 64], 1u64 << (word % 64));
            if (*slot & bit != 0) != on {
                *slot ^= bit;
                self.pending_words = if on { self.pending_words + 1 } else { self.pending_words - 1 };
            }
        }
    }

    fn is_pending(&self, offset: usize, size: usize) -> bool {
        (offset / 4..(offset + size).div_ceil(4)).any(|word| self.pending[word / 64] >> (word % 64) & 1 != 0)
    }
}

impl Door<'_> {
    pub(crate) fn load_shared(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let start = self.check_shared(a, AccessKind::Load, addr)?;
        if self.block.shared.race.is_some() {
            self.race_shared(a, AccessKind::Load, a.mask, addr, |_, _| false)?;
        }
        let shared = &self.block.shared;
        let pattern = self.patterns[a.site.pc as usize].as_deref().expect("made by the check");
        gather(&shared.bytes, start, pattern, a.size, out);
        if self.launch.shape().checks.init {
            let span = (pattern.high - pattern.low) as usize;
            if !(pattern.dense && shared.init.is_set(start.wrapping_add_signed(pattern.low as isize), span)) {
                for lane in lanes(a.mask) {
                    out.taint(lane, shared.init.missing(addr[lane] as usize, a.size as usize));
                }
            }
        }
        self.count_shared(a, addr);
        Ok(())
    }

    pub(crate) fn store_shared(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        self.put_shared(a, AccessKind::Store, addr, value)?;
        self.count_shared(a, addr);
        Ok(())
    }

    /// Stores without counting.
    pub(crate) fn put_shared(
        &mut self,
        a: &Access,
        kind: AccessKind,
        addr: &[u64; 32],
        value: &Wide,
    ) -> Result<(), Box<Fault>> {
        let start = self.check_shared(a, kind, addr)?;
        let size = a.size as usize;
        if self.block.shared.race.is_some() {
            // Lanes that do not overlap are looked at first and stored together; others one by one, so that a lane sees what a lower one
            // stored to the same place.
            let dense = self.patterns[a.site.pc as usize].as_deref().expect("made by the check").dense;
            let same = |lane: usize, old: [u32; 4]| old == low_bytes(value.lane(lane), a.size);
            if dense {
                self.race_shared(a, kind, a.mask, addr, same)?;
            } else {
                for lane in lanes(a.mask) {
                    self.race_shared(a, kind, 1 << lane, addr, same)?;
                    self.block.shared.bytes.store(addr[lane] as usize, size, value.lane(lane));
                    self.block.shared.init.store(addr[lane] as usize, size, value.missing(lane));
                }
                return Ok(());
            }
        }
        let pattern = self.patterns[a.site.pc as usize].as_deref().expect("made by the check");
        let shared = &self.block.shared;
        scatter(&shared.bytes, start, pattern, a.size, value);
        let (low, span) = (start.wrapping_add_signed(pattern.low as isize), (pattern.high - pattern.low) as usize);
        let all = ((1u32 << a.size) - 1) as u16;
        if pattern.dense && value.tainted & a.mask == 0 {
            shared.init.set(low, span);
        } else if pattern.dense && lanes(a.mask).all(|l| value.missing(l) & all == all) {
            shared.init.clear(low, span);
        } else {
            lanes(a.mask).for_each(|lane| shared.init.store(addr[lane] as usize, size, value.missing(lane)));
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub(crate) fn atomic_shared(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: &mut [u64; 32],
    ) -> Result<(), Box<Fault>> {
        self.check_shared(a, AccessKind::Atomic, addr)?;
        let size = a.size as usize;
        let init = self.launch.shape().checks.init && op.uses_old();
        for lane in lanes(a.mask) {
            self.race_shared(a, AccessKind::Atomic, 1 << lane, addr, |_, _| false)?;
            let (shared, offset) = (&self.block.shared, addr[lane] as usize);
            if init && shared.init.missing(offset, size) != 0 {
                let detail = Detail::Unwritten { space: a.space, address: addr[lane], bytes: a.size, place: None };
                return Err(Fault::found(detail, a.site, a.warp, 1 << lane));
            }
            let [low, high, ..] = shared.bytes.load(offset, size);
            let old = low as u64 | (high as u64) << 32;
            let new = apply(op, ty, false, old, x[lane], y[lane]);
            shared.bytes.store(offset, size, [new as u32, (new >> 32) as u32, 0, 0]);
            shared.init.set(offset, size);
            out[lane] = old;
        }
        self.count_shared(a, addr);
        if self.launch.shape().count {
            self.counts.sites[a.site.pc as usize].atomics += a.mask.count_ones() as u64;
        }
        Ok(())
    }

    /// Alignment, bounds and unfinished copies; the anchor's offset.
    #[inline(always)]
    pub(crate) fn check_shared(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Result<usize, Box<Fault>> {
        let pattern = Pattern::of(&mut self.patterns[a.site.pc as usize], a, addr);
        let limit = self.block.shared.len as u64;
        let Some(start) = pattern.offset_in(addr[pattern.first], 0, limit) else {
            return Err(self.check_offsets(a, kind, addr, limit).expect_err("the pattern found a lane outside"));
        };
        if self.block.shared.pending_words != 0 && kind != AccessKind::AsyncTarget {
            for lane in lanes(a.mask) {
                if self.block.shared.is_pending(addr[lane] as usize, a.size as usize) {
                    return Err(self.pending_fault(a, kind, lane, addr[lane]));
                }
            }
        }
        Ok(start)
    }

    #[cold]
    fn pending_fault(&mut self, a: &Access, kind: AccessKind, lane: usize, address: u64) -> Box<Fault> {
        let (block, thread) = (self.block.number, a.warp * 32 + lane as u32);
        let (site, copier) = self.block.copy_at(address as usize, a.size as usize).unwrap_or((a.site, thread));
        let copy = Party { site, kind: AccessKind::AsyncTarget, block, thread: copier };
        let access = Party { site: a.site, kind, block, thread };
        Fault::found(Detail::AsyncPending { copy, access, address, bytes: a.size }, a.site, a.warp, 1 << lane)
    }

    /// Tells the race detector of an access by the lanes of `mask`. `same(lane, old)` says that a lane's store leaves the bytes as they are.
    #[inline(always)]
    pub(crate) fn race_shared(
        &mut self,
        a: &Access,
        kind: AccessKind,
        mask: u32,
        addr: &[u64; 32],
        same: impl Fn(usize, [u32; 4]) -> bool,
    ) -> Result<(), Box<Fault>> {
        let shared = &mut self.block.shared;
        let Some(race) = &mut shared.race else { return Ok(()) };
        self.launch.remember_line(a.site);
        let size = a.size as usize;
        let strong = kind == AccessKind::Atomic || a.order.is_strong();
        if strong {
            let reads = matches!(kind, AccessKind::Load | AccessKind::Atomic);
            let writes = kind != AccessKind::Load;
            lanes(mask).for_each(|l| race.strong(addr[l] as usize, a.warp, reads, writes, a.order.releases()));
        }
        for lane in lanes(mask) {
            let offset = addr[lane] as usize;
            let who = Actor { thread: a.warp * 32 + lane as u32, pc: a.site.pc, strong };
            let load = kind == AccessKind::Load;
            let found = if load { race.load(offset, size, who) } else { race.store(offset, size, who) };
            if let Some(earlier) = found {
                if !same(lane, shared.bytes.load(offset, size)) {
                    return Err(self.race_fault(a, kind, lane, offset as u64, earlier));
                }
                race.wrote(offset, size, who);
            }
        }
        Ok(())
    }

    #[cold]
    fn race_fault(&self, a: &Access, kind: AccessKind, lane: usize, address: u64, earlier: Earlier) -> Box<Fault> {
        let (limit, block) = (self.block.shared.len as u64, self.block.number);
        let first_kind = if earlier.wrote { AccessKind::Store } else { AccessKind::Load };
        let first = Party { site: self.launch.site(earlier.pc), kind: first_kind, block, thread: earlier.thread };
        let second = Party { site: a.site, kind, block, thread: a.warp * 32 + lane as u32 };
        let detail = Detail::SharedRace { first, second, address, bytes: a.size, limit };
        Fault::found(detail, a.site, a.warp, 1 << lane)
    }

    #[inline(always)]
    pub(crate) fn count_shared(&mut self, a: &Access, addr: &[u64; 32]) {
        if !self.launch.shape().count {
            return;
        }
        let pattern = self.patterns[a.site.pc as usize].as_deref_mut().expect("made by the check");
        let banks = pattern.banks(addr[pattern.first]);
        let site = &mut self.counts.sites[a.site.pc as usize];
        site.shared_requests += 1;
        site.wavefronts += banks.wavefronts as u64;
        site.ideal_wavefronts += banks.ideal as u64;
    }
}
