//! Device addresses: where allocations lie, who owns them, and what the host may do with them.
//!
//! ```text
//! 0x7b00_0000_0000  parameter window   generic address = window + offset in the launch's parameter block
//! 0x7c00_0000_0000  local windows      generic address = window + thread of the block * 2^24 + offset in the thread's local memory
//! 0x7d00_0000_0000  shared window      generic address = window + offset in the block's own shared memory
//! 0x7e00_0000_0000  allocations        bump upwards, 512-byte aligned, at least 64 KiB of guard between two
//! ```
//! Addresses depend on nothing but the order of calls. A freed range is not handed out again until the bump pointer has gone through
//! the whole space, so a stale pointer stays recognisable. Pinned host memory is found at its own host address.

use super::access::Space;
use super::bytes::Bytes;
use crate::check::InitMap;
use crate::device::OutOfMemory;
use crate::report::{AccessKind, Detail, Fault, Place, Site};
use std::ptr::NonNull;

/// First address of the parameter window.
pub const PARAM_WINDOW: u64 = 0x7b00_0000_0000;
/// First address of the local windows, one of [`WINDOW`] bytes for each of up to 1024 threads of a block.
pub const LOCAL_WINDOW: u64 = 0x7c00_0000_0000;
/// First address of the shared window.
pub const SHARED_WINDOW: u64 = 0x7d00_0000_0000;
/// Length of each window.
pub const WINDOW: u64 = 1 << 24;
/// First address of an allocation.
pub const GLOBAL_BASE: u64 = 0x7e00_0000_0000;
/// End of the addresses that allocations may have.
pub const GLOBAL_END: u64 = 0x7e80_0000_0000;
/// Every byte of a fresh allocation.
pub const POISON: u8 = 0xcd;

/// Threads with a local window of their own.
const THREADS: u64 = 1024;
const ALIGN: u64 = 512;
const GUARD: u64 = 64 << 10;
/// Freed ranges that are remembered, oldest forgotten first.
const REMEMBERED: usize = 1024;

/// The state space that a generic address belongs to and where its window begins: for local memory the window of the address's own thread, for
/// global memory 0.
#[inline]
pub fn window_of(address: u64) -> (Space, u64) {
    let local = address.wrapping_sub(LOCAL_WINDOW);
    if local < WINDOW * THREADS {
        return (Space::Local, LOCAL_WINDOW + local / WINDOW * WINDOW);
    }
    for (space, window) in [(Space::Shared, SHARED_WINDOW), (Space::Param, PARAM_WINDOW)] {
        if address.wrapping_sub(window) < WINDOW {
            return (space, window);
        }
    }
    (Space::Global, 0)
}

/// First address of a thread's local window.
#[inline(always)]
pub fn local_window(thread: u32) -> u64 {
    LOCAL_WINDOW + u64::from(thread) * WINDOW
}

/// What an allocation is, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// Allocated by the host program.
    Device,
    /// A `.global` variable of a module.
    Global(String),
    /// A `.const` variable of a module; kernels may not write it.
    Const(String),
    /// Pinned memory of the host program.
    Host,
}

/// One live or freed range of device addresses.
pub struct Allocation {
    base: u64,
    size: u64,
    serial: u64,
    label: Label,
    /// `None` once freed.
    memory: Option<Memory>,
}

/// Bytes of a live allocation and which of them somebody wrote.
pub(crate) struct Memory {
    pub(crate) bytes: Bytes,
    pub(crate) init: InitMap,
}

impl Allocation {
    /// First address.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Number of the allocation, counted from 1 in the order of calls.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What it is.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Freed, kept only to recognise stale pointers.
    pub fn is_freed(&self) -> bool {
        self.memory.is_none()
    }

    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }
}

/// All allocations of a device.
pub struct GlobalSpace {
    /// Live and remembered freed ranges by address; they never overlap.
    table: Vec<Allocation>,
    next: u64,
    serial: u64,
    freed: usize,
    used: u64,
    capacity: u64,
}

impl GlobalSpace {
    /// An empty space that hands out at most `capacity` bytes at a time.
    pub fn new(capacity: u64) -> GlobalSpace {
        GlobalSpace { table: Vec::new(), next: GLOBAL_BASE, serial: 0, freed: 0, used: 0, capacity }
    }

    /// Changes how many bytes may be live at a time.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Free and total bytes.
    pub fn mem_info(&self) -> (u64, u64) {
        (self.capacity.saturating_sub(self.used), self.capacity)
    }

    /// A fresh allocation of poisoned, unwritten bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the device's capacity or the host's memory does not hold it.
    pub fn alloc(&mut self, size: u64) -> Result<u64, OutOfMemory> {
        self.alloc_labelled(size, Label::Device)
    }

    /// [`GlobalSpace::alloc`] for a variable of a module: zeroed and written.
    ///
    /// # Errors
    /// As [`GlobalSpace::alloc`].
    pub fn alloc_labelled(&mut self, size: u64, label: Label) -> Result<u64, OutOfMemory> {
        let full = OutOfMemory { asked: size, free: self.mem_info().0 };
        if size > full.free {
            return Err(full);
        }
        let base = self.place(size).ok_or(full)?;
        let fresh = label == Label::Device;
        let bytes = Bytes::filled(size as usize, if fresh { POISON } else { 0 }).ok_or(full)?;
        let init = InitMap::new(size as usize, !fresh);
        self.used += size;
        self.insert(base, size, label, Memory { bytes, init });
        Ok(base)
    }

    /// Makes `len` bytes of pinned host memory at `ptr` an allocation at its own address. It counts as written.
    ///
    /// # Safety
    /// 0. The memory stays readable and writable until [`GlobalSpace::free`].
    /// 1. The host program does not touch it while a kernel that uses it runs.
    pub unsafe fn register_host(&mut self, ptr: NonNull<u8>, len: usize) -> bool {
        let base = ptr.as_ptr() as u64;
        if len == 0 || !self.is_vacant(base, len as u64) {
            return false;
        }
        // SAFETY: (0) and (1) are the caller's.
        let bytes = unsafe { Bytes::borrowed(ptr, len) };
        self.insert(base, len as u64, Label::Host, Memory { bytes, init: InitMap::new(len, true) });
        true
    }

    /// Frees the allocation that begins at `base`.
    ///
    /// # Errors
    /// A fault of the host program when nothing live begins there.
    pub fn free(&mut self, base: u64) -> Result<(), Box<Fault>> {
        let found = self.index_of(base).filter(|&i| self.table[i].base == base);
        let Some(i) = found.filter(|&i| !self.table[i].is_freed()) else {
            let kind = Detail::BadFree { address: base, twice: found.is_some(), place: self.describe(base) };
            return Err(Fault::found(kind, Site::default(), 0, 0));
        };
        if self.table[i].label == Label::Host {
            self.table.remove(i);
            return Ok(());
        }
        self.table[i].memory = None;
        self.used -= self.table[i].size;
        self.freed += 1;
        if self.freed > REMEMBERED {
            let oldest =
                (0..self.table.len()).filter(|&i| self.table[i].is_freed()).min_by_key(|&i| self.table[i].serial);
            self.table.remove(oldest.expect("some are freed"));
            self.freed -= 1;
        }
        Ok(())
    }

    /// Host to device. The bytes count as written.
    ///
    /// # Errors
    /// A fault of the host program when the range is not inside one live allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), Box<Fault>> {
        let (i, offset) = self.host_range(address, data.len() as u64, AccessKind::Store)?;
        if let Some(m) = &mut self.table[i].memory {
            m.bytes.write(offset, data);
            m.init.set(offset, data.len());
        }
        Ok(())
    }

    /// Device to host. Unwritten bytes come out as poison; that is no fault.
    ///
    /// # Errors
    /// As [`GlobalSpace::write`].
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), Box<Fault>> {
        let (i, offset) = self.host_range(address, out.len() as u64, AccessKind::Load)?;
        if let Some(m) = &self.table[i].memory {
            m.bytes.read(offset, out);
        }
        Ok(())
    }

    /// Repeats `pattern` (1, 2 or 4 bytes) `count` times.
    ///
    /// # Errors
    /// As [`GlobalSpace::write`].
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<(), Box<Fault>> {
        let bytes = pattern.len() * count as usize;
        let (i, offset) = self.host_range(address, bytes as u64, AccessKind::Store)?;
        if let Some(m) = &mut self.table[i].memory {
            let range = &mut m.bytes.as_mut_slice()[offset..offset + bytes];
            match pattern {
                [byte] => range.fill(*byte),
                _ => range.chunks_exact_mut(pattern.len()).for_each(|chunk| chunk.copy_from_slice(pattern)),
            }
            m.init.set(offset, bytes);
        }
        Ok(())
    }

    /// Device to device; the ranges may overlap. Unwritten bytes stay unwritten.
    ///
    /// # Errors
    /// As [`GlobalSpace::write`].
    pub fn copy(&mut self, to: u64, from: u64, len: u64) -> Result<(), Box<Fault>> {
        let (i, from) = self.host_range(from, len, AccessKind::Load)?;
        let (j, to) = self.host_range(to, len, AccessKind::Store)?;
        let len = len as usize;
        let Some(source) = &self.table[i].memory else { return Ok(()) };
        let data = source.bytes.as_slice()[from..from + len].to_vec();
        // Groups of up to 16 bytes, as the bits are asked for.
        let groups = || (0..len).step_by(16).map(|k| (k, (len - k).min(16)));
        let missing: Vec<(usize, usize, u16)> = match source.init.is_full() {
            true => Vec::new(),
            false => groups().map(|(k, n)| (k, n, source.init.missing(from + k, n))).filter(|m| m.2 != 0).collect(),
        };
        if let Some(target) = &mut self.table[j].memory {
            target.bytes.write(to, &data);
            target.init.set(to, len);
            missing.iter().for_each(|&(k, n, bits)| target.init.store(to + k, n, bits));
        }
        Ok(())
    }

    /// The allocation, live or freed, that holds `address`.
    pub fn find(&self, address: u64) -> Option<&Allocation> {
        self.index_of(address).map(|i| &self.table[i])
    }

    /// Looks which allocations are written in full by now, so that their bytes need no look each.
    pub(crate) fn refresh(&mut self) {
        self.table.iter_mut().filter_map(|a| a.memory.as_mut()).for_each(|m| m.init.refresh());
    }

    /// The allocations as kernels see them, by address.
    pub(crate) fn table(&self) -> &[Allocation] {
        &self.table
    }

    /// Where `address` lies, in terms of the nearest allocation.
    pub fn describe(&self, address: u64) -> Option<Place> {
        let place = |a: &Allocation| Place {
            label: a.label.clone(),
            serial: a.serial,
            base: a.base,
            size: a.size,
            freed: a.is_freed(),
            offset: address.wrapping_sub(a.base) as i64,
        };
        let after = self.table.partition_point(|a| a.base <= address);
        let below = after.checked_sub(1).map(|i| &self.table[i]);
        let above = self.table.get(after);
        let nearest = match (below, above) {
            (Some(b), Some(a)) if a.base - address < address.saturating_sub(b.base + b.size) => Some(a),
            (Some(b), _) => Some(b),
            (None, a) => a,
        };
        nearest.map(place)
    }

    fn host_range(&self, address: u64, len: u64, kind: AccessKind) -> Result<(usize, usize), Box<Fault>> {
        if let Some(i) = self.index_of(address) {
            let a = &self.table[i];
            if !a.is_freed() && len <= a.size - (address - a.base) {
                return Ok((i, (address - a.base) as usize));
            }
        }
        let detail = Detail::HostRange { kind, address, bytes: len, place: self.describe(address) };
        Err(Fault::found(detail, Site::default(), 0, 0))
    }

    /// Index of the range that holds `address`. The end of an empty allocation holds its own base.
    pub(crate) fn index_of(&self, address: u64) -> Option<usize> {
        let i = self.table.partition_point(|a| a.base <= address).checked_sub(1)?;
        (address - self.table[i].base < self.table[i].size.max(1)).then_some(i)
    }

    fn insert(&mut self, base: u64, size: u64, label: Label, memory: Memory) {
        self.serial += 1;
        let at = self.table.partition_point(|a| a.base < base);
        self.table.insert(at, Allocation { base, size, serial: self.serial, label, memory: Some(memory) });
    }

    /// The next base, or the first gap once the bump pointer has reached the end.
    fn place(&mut self, size: u64) -> Option<u64> {
        let span = size.max(1).checked_next_multiple_of(ALIGN)?.checked_add(GUARD)?;
        if span <= GLOBAL_END - self.next {
            let base = self.next;
            self.next += span;
            return Some(base);
        }
        self.table.retain(|a| !a.is_freed());
        self.freed = 0;
        let mut base = GLOBAL_BASE;
        for a in self.table.iter().filter(|a| a.base >= GLOBAL_BASE && a.base < GLOBAL_END) {
            if span <= a.base - base {
                return Some(base);
            }
            base = (a.base + a.size.max(1)).next_multiple_of(ALIGN) + GUARD;
        }
        (base < GLOBAL_END && span <= GLOBAL_END - base).then_some(base)
    }

    fn is_vacant(&self, base: u64, size: u64) -> bool {
        let reserved = base < GLOBAL_END && base.saturating_add(size) > PARAM_WINDOW;
        !reserved && self.table.iter().all(|a| base + size <= a.base || a.base + a.size <= base)
    }
}
