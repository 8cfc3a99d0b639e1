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
use crate::tiers::tiered;

/// A request that spans no more bytes is first looked at as a whole.
const MOST_LOOKED_AT: usize = 4096;

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
        for (slot, words) in pieces(offset / 4, (offset + size).div_ceil(4)) {
            let changed = words & if on { !self.pending[slot] } else { self.pending[slot] };
            self.pending[slot] ^= changed;
            let count = changed.count_ones() as usize;
            self.pending_words = if on { self.pending_words + count } else { self.pending_words - count };
        }
    }

    fn is_pending(&self, offset: usize, size: usize) -> bool {
        pieces(offset / 4, (offset + size).div_ceil(4)).any(|(slot, words)| self.pending[slot] & words != 0)
    }
}

/// Bits `from..to` by words of 64: word, and the bits in it.
fn pieces(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    (from / 64..to.div_ceil(64)).map(move |slot| {
        let (low, high) = (from.max(64 * slot) % 64, to.min(64 * slot + 64) - 64 * slot);
        (slot, u64::MAX >> (64 - (high - low)) << low)
    })
}

impl Door<'_> {
    pub(crate) fn load_shared(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let door = self;
        tiered!(load, (door: &mut Door<'_>, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>>)
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
        let door = self;
        tiered!(put, (door: &mut Door<'_>, a: &Access, kind: AccessKind, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>>)
    }

    /// Marks or unmarks the destinations of a copy by the lanes of `a`.
    pub(crate) fn set_pending(&mut self, a: &Access, addr: &[u64; 32], on: bool) {
        let (shared, size) = (&mut self.block.shared, a.size as usize);
        if !on && shared.pending_words == 0 {
            return;
        }
        let in_line =
            addr.iter().enumerate().fold(0, |m, (l, x)| m | (x ^ addr[0].wrapping_add(l as u64 * size as u64)));
        if a.mask == !0 && in_line == 0 {
            shared.set_pending(addr[0] as usize, 32 * size, on);
        } else {
            lanes(a.mask).for_each(|l| shared.set_pending(addr[l] as usize, size, on));
        }
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
        let pattern = Pattern::of(&mut self.shared_patterns[a.site.pc as usize], a, addr);
        let limit = self.block.shared.len as u64;
        let Some(start) = pattern.offset_in(addr[pattern.first], 0, limit) else {
            return Err(self.check_offsets(a, kind, addr, limit).expect_err("the pattern found a lane outside"));
        };
        let all = || (start.wrapping_add_signed(pattern.low as isize), (pattern.high - pattern.low) as usize);
        if self.block.shared.pending_words != 0
            && kind != AccessKind::AsyncTarget
            && self.block.shared.is_pending(all().0, all().1)
        {
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
        let pattern = &self.shared_patterns[a.site.pc as usize][0];
        let strong = kind == AccessKind::Atomic || a.order.is_strong();
        if strong {
            let reads = matches!(kind, AccessKind::Load | AccessKind::Atomic);
            let writes = kind != AccessKind::Load;
            lanes(mask).for_each(|l| race.strong(addr[l] as usize, a.warp, reads, writes, a.order.releases()));
        }
        let load = kind == AccessKind::Load;
        let first = Actor { thread: a.warp * 32 + pattern.first as u32, pc: a.site.pc, strong };
        // Lanes that lie side by side, and nobody was there since the last barrier: the usual case.
        if pattern.dense && mask == !0 && race.settled(addr[0] as usize, size, first, load) {
            race.remember(addr[0] as usize, size, first, load);
            return Ok(());
        }
        for lane in lanes(mask) {
            let offset = addr[lane] as usize;
            let who = Actor { thread: a.warp * 32 + lane as u32, ..first };
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
        let pattern = &mut self.shared_patterns[a.site.pc as usize][0];
        let banks = pattern.banks(addr[pattern.first]);
        let site = &mut self.counts.sites[a.site.pc as usize];
        site.shared_requests += 1;
        site.wavefronts += banks.wavefronts as u64;
        site.ideal_wavefronts += banks.ideal as u64;
    }
}

#[inline(always)]
fn load(door: &mut Door<'_>, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
    let start = door.check_shared(a, AccessKind::Load, addr)?;
    if door.block.shared.race.is_some() {
        door.race_shared(a, AccessKind::Load, a.mask, addr, |_, _| false)?;
    }
    let shared = &mut door.block.shared;
    let pattern = &door.shared_patterns[a.site.pc as usize][0];
    if pattern.dense && pattern.mask == !0 && a.size >= 4 {
        read_line(&shared.bytes.as_mut_slice()[start..start + 32 * a.size as usize], out);
    } else {
        gather(&shared.bytes, start, pattern, a.size, out);
    }
    if door.launch.shape().checks.init {
        let span = (pattern.high - pattern.low) as usize;
        let low = start.wrapping_add_signed(pattern.low as isize);
        // What lies between the lanes is nearly always written too.
        if !(span <= MOST_LOOKED_AT && shared.init.is_set(low, span)) {
            for lane in lanes(a.mask) {
                out.taint(lane, shared.init.missing(addr[lane] as usize, a.size as usize));
            }
        }
    }
    door.count_shared(a, addr);
    Ok(())
}

#[inline(always)]
fn put(door: &mut Door<'_>, a: &Access, kind: AccessKind, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
    let start = door.check_shared(a, kind, addr)?;
    let size = a.size as usize;
    if door.block.shared.race.is_some() {
        // Lanes that do not overlap are looked at first and stored together; others one by one, so that a lane sees what a lower one
        // stored to the same place.
        let same = |lane: usize, old: [u32; 4]| old == low_bytes(value.lane(lane), a.size);
        if door.shared_patterns[a.site.pc as usize][0].dense {
            door.race_shared(a, kind, a.mask, addr, same)?;
        } else {
            for lane in lanes(a.mask) {
                door.race_shared(a, kind, 1 << lane, addr, same)?;
                door.block.shared.bytes.store(addr[lane] as usize, size, value.lane(lane));
                door.block.shared.init.store(addr[lane] as usize, size, value.missing(lane));
            }
            return Ok(());
        }
    }
    let pattern = &door.shared_patterns[a.site.pc as usize][0];
    let shared = &mut door.block.shared;
    if pattern.dense && pattern.mask == !0 && a.size >= 4 {
        write_line(&mut shared.bytes.as_mut_slice()[start..start + 32 * size], value);
    } else {
        scatter(&shared.bytes, start, pattern, a.size, value);
    }
    // The memory ends with the block: who does not ask what is written need not know.
    if !door.launch.shape().checks.init {
        return Ok(());
    }
    let (low, span) = (start.wrapping_add_signed(pattern.low as isize), (pattern.high - pattern.low) as usize);
    let tainted = value.tainted & a.mask;
    if pattern.dense && tainted == 0 {
        shared.init.set(low, span);
    } else if pattern.dense && tainted == a.mask && value.uninit.iter().fold(!0, |m, u| m & u) == !0 {
        shared.init.clear(low, span);
    } else {
        for lane in lanes(a.mask) {
            shared.init.store(addr[lane] as usize, size, value.missing(lane));
        }
    }
    Ok(())
}

/// The values of 32 lanes that lie side by side, 4, 8 or 16 bytes each: straight loops, as no other worker is here.
#[inline(always)]
fn read_line(bytes: &[u8], out: &mut Wide) {
    #[inline(always)]
    fn spread<const WORDS: usize>(bytes: &[u8], out: &mut Wide) {
        let bytes = &bytes[..128 * WORDS];
        for lane in 0..32 {
            for k in 0..WORDS {
                let at = 4 * (WORDS * lane + k);
                out.words[k][lane] = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            }
        }
    }
    match bytes.len() / 128 {
        1 => spread::<1>(bytes, out),
        2 => spread::<2>(bytes, out),
        _ => spread::<4>(bytes, out),
    }
}

/// The inverse of [`read_line`].
#[inline(always)]
fn write_line(bytes: &mut [u8], value: &Wide) {
    #[inline(always)]
    fn join<const WORDS: usize>(bytes: &mut [u8], value: &Wide) {
        let bytes = &mut bytes[..128 * WORDS];
        for lane in 0..32 {
            for k in 0..WORDS {
                let at = 4 * (WORDS * lane + k);
                bytes[at..at + 4].copy_from_slice(&value.words[k][lane].to_le_bytes());
            }
        }
    }
    match bytes.len() / 128 {
        1 => join::<1>(bytes, value),
        2 => join::<2>(bytes, value),
        _ => join::<4>(bytes, value),
    }
}
