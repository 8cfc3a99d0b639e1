//! The global address space: allocations at deterministic virtual addresses with guard gaps, not reused.

use crate::report::{Fault, FaultKind, Site};
use std::cell::UnsafeCell;
use std::sync::{Arc, RwLock};

/// First device address.
pub const GLOBAL_BASE: u64 = 0x7e00_0000_0000;
/// Every allocation starts at a multiple of this.
pub const ALIGNMENT: u64 = 512;
/// Unmapped bytes after every allocation.
pub const GUARD: u64 = 64 << 10;
/// Generic addresses of shared memory start here.
pub const SHARED_WINDOW: u64 = 0x7d00_0000_0000;
/// Generic addresses of a thread's local memory start here.
pub const LOCAL_WINDOW: u64 = 0x7c00_0000_0000;
/// Bytes of the shared and local windows.
pub const WINDOW: u64 = 1 << 24;
/// What fresh device memory holds.
pub const POISON: u8 = 0xcd;

/// One live allocation.
pub struct Allocation {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    bytes: Storage,
}

enum Storage {
    Owned(Box<[UnsafeCell<u128>]>),
    Host(*mut u8),
}

// SAFETY: kernels and the host reach the bytes only through raw pointers, as a device does; Rust references to them are never made.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// The bytes.
    pub fn pointer(&self) -> *mut u8 {
        match &self.bytes {
            Storage::Owned(b) => b.as_ptr() as *mut u8,
            Storage::Host(p) => *p,
        }
    }

    /// Whether `[address, address + size)` lies inside.
    pub fn contains(&self, address: u64, size: u64) -> bool {
        address >= self.base && size <= self.size && address - self.base <= self.size - size
    }
}

/// All allocations of a device, sorted by address.
#[derive(Default)]
pub struct Global {
    live: RwLock<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    used: u64,
    sorted: Arc<Vec<Arc<Allocation>>>,
}

impl Global {
    /// The live allocations as of now.
    pub fn snapshot(&self) -> Arc<Vec<Arc<Allocation>>> {
        self.live.read().expect("no panic while held").sorted.clone()
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.live.read().expect("no panic while held").used
    }

    /// A new allocation of `size` bytes, poisoned.
    pub fn alloc(&self, size: u64) -> u64 {
        let words = (size.max(1) as usize).div_ceil(16);
        let poison = u128::from_ne_bytes([POISON; 16]);
        let bytes: Box<[UnsafeCell<u128>]> = (0..words).map(|_| UnsafeCell::new(poison)).collect();
        let mut state = self.live.write().expect("no panic while held");
        let base = if state.next == 0 { GLOBAL_BASE } else { state.next };
        state.next = (base + size.max(1) + GUARD).next_multiple_of(ALIGNMENT);
        state.used += size;
        Arc::make_mut(&mut state.sorted).push(Arc::new(Allocation { base, size, bytes: Storage::Owned(bytes) }));
        Arc::make_mut(&mut state.sorted).sort_by_key(|a| a.base);
        base
    }

    /// Makes host memory reachable at its own address.
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes of `size` bytes until the allocation is freed.
    pub unsafe fn register_host(&self, pointer: *mut u8, size: u64) {
        let mut state = self.live.write().expect("no panic while held");
        let host = Allocation { base: pointer as u64, size, bytes: Storage::Host(pointer) };
        Arc::make_mut(&mut state.sorted).push(Arc::new(host));
        Arc::make_mut(&mut state.sorted).sort_by_key(|a| a.base);
    }

    /// Ends an allocation.
    ///
    /// # Errors
    /// `address` is not the start of a live one.
    pub fn free(&self, address: u64) -> Result<(), Box<Fault>> {
        let mut state = self.live.write().expect("no panic while held");
        match state.sorted.binary_search_by_key(&address, |a| a.base) {
            Ok(i) => {
                if let Storage::Owned(_) = state.sorted[i].bytes {
                    state.used -= state.sorted[i].size;
                }
                Arc::make_mut(&mut state.sorted).remove(i);
                Ok(())
            }
            Err(_) => Err(missing(address, 0, "free")),
        }
    }

    /// The host's pointer to `size` bytes at `address`, if they lie in one live allocation. The allocation stays alive while held.
    ///
    /// # Errors
    /// They do not.
    pub fn find(&self, address: u64, size: u64, verb: &str) -> Result<(Arc<Allocation>, *mut u8), Box<Fault>> {
        let live = self.snapshot();
        let i = live.partition_point(|a| a.base <= address);
        match i.checked_sub(1).map(|i| &live[i]) {
            // The offset is inside the allocation.
            Some(a) if a.contains(address, size) => {
                Ok((a.clone(), a.pointer().wrapping_add((address - a.base) as usize)))
            }
            _ => Err(missing(address, size, verb)),
        }
    }
}

fn missing(address: u64, size: u64, verb: &str) -> Box<Fault> {
    let what = format!("{verb} of {size} bytes at {address:#x}, which no live allocation holds");
    let mut fault = Fault::new(FaultKind::OutOfBounds, Site::default(), 0, what);
    fault.address = Some(address);
    fault
}
