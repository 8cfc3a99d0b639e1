//! Global memory as kernels reach it: allocations found by address, bytes shared by all workers.
//!
//! The usual request lies in one allocation, or in two where some lanes read a line of zeros, and is checked as a whole by its [`Pattern`]s.
//! Only when that fails does every lane get its own look: to find the fault, or because a warp reaches into more allocations at once.

use super::access::{Access, Door, Space, Wide, lanes};
use super::atomic::{AtomOp, AtomTy, apply};
use super::bytes::Bytes;
use super::pattern::Pattern;
use super::space::{Allocation, Label, Memory, window_of};
use crate::check::{BlockActor, Held, RECORDS};
use crate::report::{AccessKind, Detail, Fault, Party};
use crate::tiers::tiered;

/// A part of a request, inside one live allocation.
#[derive(Clone, Copy)]
struct Hit {
    /// Index of the allocation in the table.
    index: usize,
    /// Offset of the anchor lane's address.
    start: usize,
}

/// Where a request lies.
#[derive(Clone, Copy)]
enum Place {
    /// In one allocation.
    One([Hit; 1]),
    /// In two, each with its own pattern.
    Two([Hit; 2]),
    /// In more than two.
    Scattered,
}

impl Place {
    /// The hit of each pattern; none when the request is scattered.
    #[inline(always)]
    fn hits(&self) -> &[Hit] {
        match self {
            Place::One(hits) => hits,
            Place::Two(hits) => hits,
            Place::Scattered => &[],
        }
    }
}

impl<'l> Door<'l> {
    pub(crate) fn load_global(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let door = self;
        tiered!(load, (door: &mut Door<'_>, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>>)
    }

    pub(crate) fn store_global(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        let door = self;
        tiered!(store, (door: &mut Door<'_>, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>>)
    }

    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub(crate) fn atomic_global(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: &mut [u64; 32],
    ) -> Result<(), Box<Fault>> {
        let place = self.check_global(a, AccessKind::Atomic, addr)?;
        let held = if self.launch.race.is_some() {
            self.race_global(a, AccessKind::Atomic, addr, &place, |_, _| false)?
        } else {
            None
        };
        self.pass_late(a, addr);
        let init = self.launch.shape().checks.init && op.uses_old();
        for lane in lanes(a.mask) {
            let (memory, offset) = self.locate(addr[lane]);
            if init && memory.init.missing(offset, a.size as usize) != 0 {
                let (space, address, place) = (a.space, addr[lane], self.launch.space().describe(addr[lane]));
                let detail = Detail::Unwritten { space, address, bytes: a.size, place };
                return Err(Fault::found(detail, a.site, a.warp, 1 << lane));
            }
            // PTX ISA, atom: .add.f32 on global memory flushes subnormal inputs and results.
            out[lane] = memory.bytes.update(offset, a.size as usize, |old| apply(op, ty, true, old, x[lane], y[lane]));
            memory.init.set(offset, a.size as usize);
        }
        drop(held);
        self.learn_global(a, addr);
        self.count_global(a, AccessKind::Atomic, addr, &place);
        Ok(())
    }

    #[inline(always)]
    fn memory_at(&self, index: usize) -> &Memory {
        self.launch.space().table()[index].memory().expect("checked live")
    }

    /// The live memory that holds a checked address, and the offset in it.
    pub(super) fn locate(&mut self, address: u64) -> (&Memory, usize) {
        let index = self.index_of(address).expect("checked address");
        let allocation = &self.launch.space().table()[index];
        (allocation.memory().expect("checked live"), (address - allocation.base()) as usize)
    }

    /// Index of the allocation that holds `address`, tried first where the last request was.
    #[inline(always)]
    fn index_of(&mut self, address: u64) -> Option<usize> {
        let space = self.launch.space();
        if space.table().get(self.last).is_none_or(|x| address.wrapping_sub(x.base()) >= x.size()) {
            self.last = space.index_of(address)?;
        }
        Some(self.last)
    }

    /// Alignment, bounds, life and permission of every lane; where the request lies.
    #[inline(always)]
    fn check_global(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Result<Place, Box<Fault>> {
        if Pattern::all_match(&self.patterns[a.site.pc as usize], a, addr)
            && let Some(place) = self.place(a, kind, addr)
        {
            return Ok(place);
        }
        self.divide(a, addr);
        match self.place(a, kind, addr) {
            Some(place) => Ok(place),
            None => self.check_each(a, kind, addr).map(|()| Place::Scattered),
        }
    }

    /// The place of the patterns at these addresses, when each lies in one usable allocation.
    #[inline(always)]
    fn place(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Option<Place> {
        let space = self.launch.space();
        let find = |pattern: &mut Pattern| {
            let anchor = addr[pattern.first];
            let near = |x: &Allocation| pattern.offset_in(anchor, x.base(), x.size()).filter(|_| usable(x, kind));
            if let Some(start) = space.table().get(pattern.allocation).and_then(near) {
                return Some(Hit { index: pattern.allocation, start });
            }
            let index = space.index_of(anchor)?;
            let start = near(&space.table()[index])?;
            pattern.allocation = index;
            Some(Hit { index, start })
        };
        match self.patterns[a.site.pc as usize].as_mut_slice() {
            [one] => Some(Place::One([find(one)?])),
            [one, two] => Some(Place::Two([find(one)?, find(two)?])),
            _ => None,
        }
    }

    /// Keeps the shape of the request, in two parts if it lies in two allocations.
    #[cold]
    fn divide(&mut self, a: &Access, addr: &[u64; 32]) {
        let space = self.launch.space();
        // The allocation of the lowest lane of a mask, and the lanes that lie in it.
        let part = |mask: u32| {
            let index = space.index_of(addr[mask.trailing_zeros() as usize])?;
            let allocation = &space.table()[index];
            let inside = |lane: &usize| addr[*lane].wrapping_sub(allocation.base()) < allocation.size().max(1);
            Some((allocation, lanes(mask).filter(inside).fold(0u32, |m, l| m | 1 << l)))
        };
        // Counted apart, two allocations must not have a sector in common: pinned memory may lie anywhere.
        let apart = |x: &Allocation, y: &Allocation| {
            let (low, high) = if x.base() < y.base() { (x, y) } else { (y, x) };
            (low.base() + low.size()).saturating_sub(1) >> 5 < high.base() >> 5
        };
        let kept = &mut self.patterns[a.site.pc as usize];
        kept.clear();
        if let Some((x, first)) = part(a.mask)
            && a.mask & !first != 0
            && let Some((y, second)) = part(a.mask & !first)
            && first | second == a.mask
            && apart(x, y)
        {
            kept.extend([first, second].map(|mask| Pattern::new(mask, a.size, addr)));
        } else {
            kept.push(Pattern::new(a.mask, a.size, addr));
        }
    }

    #[cold]
    fn check_each(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Result<(), Box<Fault>> {
        let mut worst: Option<(Detail, u32)> = None;
        for lane in lanes(a.mask) {
            if let Some(detail) = self.wrong_address(a, kind, addr[lane]) {
                match &mut worst {
                    None => worst = Some((detail, 1 << lane)),
                    Some((first, lanes)) if first.kind() == detail.kind() => *lanes |= 1 << lane,
                    Some(_) => {}
                }
            }
        }
        worst.map_or(Ok(()), |(detail, lanes)| Err(Fault::found(detail, a.site, a.warp, lanes)))
    }

    /// What is wrong with one lane's address, in the order of checks.
    fn wrong_address(&mut self, a: &Access, kind: AccessKind, address: u64) -> Option<Detail> {
        let space = self.launch.space();
        let (size, bytes) = (a.size as u64, a.size);
        let found = space.index_of(address).map(|i| &space.table()[i]);
        let place = || space.describe(address);
        let belongs = window_of(address).0;
        if belongs != Space::Global {
            return Some(Detail::WrongSpace { kind, space: a.space, belongs, address });
        }
        let Some(allocation) = found else {
            return Some(Detail::OutOfBounds { kind, space: a.space, address, bytes, limit: 0, place: place() });
        };
        if !address.is_multiple_of(size) {
            return Some(Detail::Misaligned { kind, space: a.space, address, bytes });
        }
        if address - allocation.base() + size > allocation.size() {
            return Some(Detail::OutOfBounds { kind, space: a.space, address, bytes, limit: 0, place: place() });
        }
        if allocation.is_freed() {
            return Some(Detail::UseAfterFree { kind, address, bytes, place: place() });
        }
        (!usable(allocation, kind)).then(|| Detail::ReadOnly { space: Space::Const, address, place: place() })
    }

    /// Tells the race detector of an access. `same(lane, old)` says that a lane's store leaves the bytes as they are. A write keeps what it
    /// returns until its bytes have landed.
    fn race_global(
        &mut self,
        a: &Access,
        kind: AccessKind,
        addr: &[u64; 32],
        place: &Place,
        same: impl Fn(usize, [u32; 4]) -> bool,
    ) -> Result<Option<Held<'l>>, Box<Fault>> {
        let launch = self.launch;
        let Some(race) = &launch.race else { return Ok(None) };
        let strong = kind == AccessKind::Atomic || a.order.is_strong();
        let hits = place.hits();
        if kind == AccessKind::Load && !strong && !hits.is_empty() && hits.iter().all(|h| race.untouched(h.index)) {
            return Ok(None);
        }
        launch.remember_line(a.site);
        if a.order.releases() {
            self.block.fences += 1;
        }
        let held = (kind != AccessKind::Load).then(|| race.hold(lanes(a.mask).map(|l| addr[l])));
        let (block, fences, size) = (self.block.number, self.block.fences, a.size as usize);
        for lane in lanes(a.mask) {
            let index = match place {
                Place::One([hit]) => hit.index,
                _ => self.index_of(addr[lane]).expect("checked address"),
            };
            let allocation = &launch.space().table()[index];
            let offset = (addr[lane] - allocation.base()) as usize;
            // Pinned memory may begin anywhere; counted like this, no access crosses a page of records.
            let phase = (allocation.base() % RECORDS as u64) as usize;
            let who = BlockActor { block, thread: a.warp * 32 + lane as u32, pc: a.site.pc, strong, fences };
            if strong && kind != AccessKind::Load {
                race.teach(addr[lane], &who, &mut self.block.knows);
            }
            if let Some(earlier) = race.conflict(index, phase + offset, size, &who, &self.block.knows)
                && !(kind == AccessKind::Store
                    && same(lane, allocation.memory().expect("checked live").bytes.load(offset, size)))
            {
                let first = Party {
                    site: launch.site(earlier.pc),
                    kind: if earlier.strong { AccessKind::Atomic } else { AccessKind::Store },
                    block: earlier.block,
                    thread: earlier.thread,
                };
                let second = Party { site: a.site, kind, block, thread: who.thread };
                let place = launch.space().describe(addr[lane]);
                let detail = Detail::GlobalRace { first, second, address: addr[lane], bytes: a.size, place };
                return Err(Fault::found(detail, a.site, a.warp, 1 << lane));
            }
            if kind != AccessKind::Load {
                race.wrote(index, phase + allocation.size() as usize, phase + offset, size, &who);
            }
        }
        Ok(held)
    }

    /// After a strong read: what the writers of these addresses had done is in the block's past now.
    #[inline(always)]
    fn learn_global(&mut self, a: &Access, addr: &[u64; 32]) {
        if let Some(race) = &self.launch.race {
            lanes(a.mask).for_each(|lane| race.learn(addr[lane], &mut self.block.knows));
        }
    }

    #[inline(always)]
    fn count_global(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32], place: &Place) {
        if !self.launch.shape().count {
            return;
        }
        let site = &mut self.counts.sites[a.site.pc as usize];
        let traffic = if kind == AccessKind::Load { &mut site.loads } else { &mut site.stores };
        let active = a.mask.count_ones() as u64;
        traffic.requests += 1;
        traffic.bytes += active * a.size as u64;
        let mut distinct = 0;
        for (n, pattern) in self.patterns[a.site.pc as usize].iter_mut().enumerate() {
            let anchor = addr[pattern.first];
            let sectors = pattern.sectors(anchor);
            traffic.sectors += sectors.count as u64;
            distinct += sectors.bytes as u64;
            if let Some(hit) = place.hits().get(n) {
                let base = self.launch.space().table()[hit.index].base();
                let first = ((anchor >> 5) - (base >> 5)) as i64;
                let touched = self.launch.touched(hit.index, kind);
                for &(start, count) in &sectors.runs {
                    touched.0.mark((first + start) as usize, count, touched.1);
                }
            }
        }
        traffic.ideal_sectors += distinct.div_ceil(32);
        if kind == AccessKind::Atomic {
            site.atomics += active;
        }
        if matches!(place, Place::Scattered) {
            self.touch_each(a, kind, addr);
        }
    }

    #[cold]
    fn touch_each(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) {
        for lane in lanes(a.mask) {
            if let Some(index) = self.index_of(addr[lane]) {
                let first = (addr[lane] >> 5) - (self.launch.space().table()[index].base() >> 5);
                let touched = self.launch.touched(index, kind);
                touched.0.mark(first as usize, 1, touched.1);
            }
        }
    }
}

#[inline(always)]
fn load(door: &mut Door<'_>, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
    let place = door.check_global(a, AccessKind::Load, addr)?;
    if door.launch.race.is_some() {
        door.race_global(a, AccessKind::Load, addr, &place, |_, _| false)?;
    }
    let (init, size) = (door.launch.shape().checks.init, a.size as usize);
    for (hit, pattern) in place.hits().iter().zip(&door.patterns[a.site.pc as usize]) {
        let memory = door.memory_at(hit.index);
        gather(&memory.bytes, hit.start, pattern, a.size, out);
        if init && !memory.init.is_full() {
            let span = (pattern.high - pattern.low) as usize;
            let whole = pattern.dense && memory.init.is_set(hit.start.wrapping_add_signed(pattern.low as isize), span);
            if !whole {
                for lane in lanes(pattern.mask) {
                    out.taint(lane, memory.init.missing(hit.start.wrapping_add(pattern.rel[lane] as usize), size));
                }
            }
        }
    }
    if matches!(place, Place::Scattered) {
        for lane in lanes(a.mask) {
            let (memory, offset) = door.locate(addr[lane]);
            out.put(lane, a.size, memory.bytes.load(offset, size));
            if init {
                out.taint(lane, memory.init.missing(offset, size));
            }
        }
    }
    door.see_late(a, addr, out);
    if a.order.is_strong() {
        door.learn_global(a, addr);
    }
    door.count_global(a, AccessKind::Load, addr, &place);
    Ok(())
}

#[inline(always)]
fn store(door: &mut Door<'_>, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
    let place = door.check_global(a, AccessKind::Store, addr)?;
    let size = a.size as usize;
    let _held = if door.launch.race.is_some() {
        door.race_global(a, AccessKind::Store, addr, &place, |lane, old| old == low_bytes(value.lane(lane), a.size))?
    } else {
        None
    };
    if door.launch.shape().late_stores {
        if !a.order.is_strong() {
            door.keep_late(a, addr, value);
            door.count_global(a, AccessKind::Store, addr, &place);
            return Ok(());
        }
        door.pass_late(a, addr);
    }
    for (hit, pattern) in place.hits().iter().zip(&door.patterns[a.site.pc as usize]) {
        let memory = door.memory_at(hit.index);
        scatter(&memory.bytes, hit.start, pattern, a.size, value);
        if value.tainted & pattern.mask == 0 && pattern.dense {
            let low = hit.start.wrapping_add_signed(pattern.low as isize);
            memory.init.set(low, (pattern.high - pattern.low) as usize);
        } else if value.tainted & pattern.mask != 0 || !memory.init.is_full() {
            for lane in lanes(pattern.mask) {
                memory.init.store(hit.start.wrapping_add(pattern.rel[lane] as usize), size, value.missing(lane));
            }
        }
    }
    if matches!(place, Place::Scattered) {
        for lane in lanes(a.mask) {
            let (memory, offset) = door.locate(addr[lane]);
            memory.bytes.store(offset, size, value.lane(lane));
            memory.init.store(offset, size, value.missing(lane));
        }
    }
    door.count_global(a, AccessKind::Store, addr, &place);
    Ok(())
}

/// The first `size` bytes of a value, the rest zero: what a load would give.
pub(crate) fn low_bytes(value: [u32; 4], size: u32) -> [u32; 4] {
    std::array::from_fn(|i| match size.saturating_sub(4 * i as u32) {
        0 => 0,
        n if n >= 4 => value[i],
        n => value[i] & (u32::MAX >> (32 - 8 * n)),
    })
}

#[inline(always)]
fn usable(allocation: &Allocation, kind: AccessKind) -> bool {
    !allocation.is_freed() && (kind == AccessKind::Load || !matches!(allocation.label(), Label::Const(_)))
}

/// Loads every lane of a request that lies inside `bytes`.
#[inline(always)]
pub(crate) fn gather(bytes: &Bytes, start: usize, pattern: &Pattern, size: u32, out: &mut Wide) {
    match size {
        1 => gather_sized::<1>(bytes, start, pattern, out),
        2 => gather_sized::<2>(bytes, start, pattern, out),
        4 => gather_sized::<4>(bytes, start, pattern, out),
        8 => gather_sized::<8>(bytes, start, pattern, out),
        _ => gather_sized::<16>(bytes, start, pattern, out),
    }
}

#[inline(always)]
fn gather_sized<const SIZE: usize>(bytes: &Bytes, start: usize, pattern: &Pattern, out: &mut Wide) {
    // SAFETY: `Pattern::offset_in` found every lane inside the allocation and aligned.
    let one = |lane: usize| unsafe { bytes.load_at::<SIZE>(start.wrapping_add(pattern.rel[lane] as usize)) };
    if pattern.mask == !0 {
        for lane in 0..32 {
            out.put(lane, SIZE as u32, one(lane));
        }
    } else {
        for lane in lanes(pattern.mask) {
            out.put(lane, SIZE as u32, one(lane));
        }
    }
}

/// Stores every lane of a request that lies inside `bytes`.
#[inline(always)]
pub(crate) fn scatter(bytes: &Bytes, start: usize, pattern: &Pattern, size: u32, value: &Wide) {
    match size {
        1 => scatter_sized::<1>(bytes, start, pattern, value),
        2 => scatter_sized::<2>(bytes, start, pattern, value),
        4 => scatter_sized::<4>(bytes, start, pattern, value),
        8 => scatter_sized::<8>(bytes, start, pattern, value),
        _ => scatter_sized::<16>(bytes, start, pattern, value),
    }
}

#[inline(always)]
fn scatter_sized<const SIZE: usize>(bytes: &Bytes, start: usize, pattern: &Pattern, value: &Wide) {
    for lane in lanes(pattern.mask) {
        // SAFETY: `Pattern::offset_in` found every lane inside the allocation and aligned.
        unsafe { bytes.store_at::<SIZE>(start.wrapping_add(pattern.rel[lane] as usize), value.lane(lane)) };
    }
}
