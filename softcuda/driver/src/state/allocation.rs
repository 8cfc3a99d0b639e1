//! Which memory is whose: device allocations and host memory that the device may touch.

use super::pool::CUmemoryPool;
use super::table::lock;
use super::{CUcontext, Driver, modes};
use crate::api::abi::Host;
use crate::api::result::{CUresult, Done};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// One end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Device(u64),
    Host(Host),
}

impl Place {
    pub fn offset(self, bytes: usize) -> Place {
        match self {
            Place::Device(address) => Place::Device(address + bytes as u64),
            Place::Host(host) => Place::Host(Host(host.0.wrapping_byte_add(bytes))),
        }
    }
}

/// How memory was obtained, which decides who may free it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// `cuMemAlloc`, `cuMemAllocAsync`, `cuMemAllocFromPoolAsync`.
    Device,
    /// `cuMemHostAlloc`, `cuMemAllocHost`.
    Host,
    /// `cuMemAllocManaged`: host memory at its own address.
    Managed,
    /// `cuMemHostRegister`: the program's own memory.
    Registered,
}

#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    pub address: u64,
    pub bytes: usize,
    pub origin: Origin,
    pub context: CUcontext,
    /// Flags of a host allocation.
    pub flags: u32,
    /// The pool that it is charged to, or null.
    pub pool: CUmemoryPool,
}

impl Allocation {
    fn layout(&self) -> Layout {
        Layout::from_size_align(self.bytes, 4096).expect("checked when it was allocated")
    }
}

/// Live allocations by address.
#[derive(Default)]
pub struct Allocations(Mutex<BTreeMap<u64, Allocation>>);

impl Allocations {
    /// The allocation that holds `address`.
    pub fn holding(&self, address: u64) -> Option<Allocation> {
        let map = lock(&self.0);
        map.range(..=address).next_back().map(|(_, a)| *a).filter(|a| address - a.address < a.bytes as u64)
    }

    fn insert(&self, allocation: Allocation) {
        lock(&self.0).insert(allocation.address, allocation);
    }

    /// Remembers the pool that an allocation came from.
    pub fn charge(&self, address: u64, pool: CUmemoryPool) {
        if let Some(allocation) = lock(&self.0).get_mut(&address) {
            allocation.pool = pool;
        }
    }

    /// Takes the allocation that starts at `address` and satisfies `is`.
    fn take(&self, address: u64, is: impl Fn(&Allocation) -> bool) -> Option<Allocation> {
        let mut map = lock(&self.0);
        map.get(&address).copied().filter(is).inspect(|_| {
            map.remove(&address);
        })
    }

    fn take_all(&self, context: CUcontext) -> Vec<Allocation> {
        let mut map = lock(&self.0);
        let mine: Vec<_> = map.values().filter(|a| a.context == context).copied().collect();
        for allocation in &mine {
            map.remove(&allocation.address);
        }
        mine
    }

    fn overlaps(&self, address: u64, bytes: usize) -> bool {
        let end = address + bytes as u64;
        lock(&self.0).range(..end).next_back().is_some_and(|(_, a)| a.address + a.bytes as u64 > address)
    }
}

impl Driver {
    pub fn allocate(&self, context: CUcontext, bytes: usize) -> Done<u64> {
        if bytes == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let address = self.device.alloc(bytes as u64).map_err(|e| modes::explain(CUresult::OUT_OF_MEMORY, e))?;
        self.allocations.insert(Allocation {
            address,
            bytes,
            origin: Origin::Device,
            context,
            flags: 0,
            pool: CUmemoryPool::NULL,
        });
        Ok(address)
    }

    /// Frees device or managed memory.
    pub fn free(&self, address: u64) -> Done {
        let allocation = self
            .allocations
            .take(address, |a| matches!(a.origin, Origin::Device | Origin::Managed))
            .ok_or(CUresult::INVALID_VALUE)?;
        self.give_back(allocation);
        Ok(())
    }

    /// Host memory that the device may touch at the same address, zeroed.
    pub fn allocate_host(&self, context: CUcontext, bytes: usize, origin: Origin, flags: u32) -> Done<u64> {
        let layout = Layout::from_size_align(bytes, 4096).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        if bytes == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: the layout has a size above 0.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        if pointer.is_null() {
            return Err(CUresult::OUT_OF_MEMORY);
        }
        // SAFETY: the memory stays until `give_back`, which takes it from the device first.
        unsafe { self.device.register_host(pointer, bytes as u64) };
        let address = pointer as u64;
        self.allocations.insert(Allocation { address, bytes, origin, context, flags, pool: CUmemoryPool::NULL });
        Ok(address)
    }

    pub fn free_host(&self, address: u64) -> Done {
        let allocation = self.allocations.take(address, |a| a.origin == Origin::Host).ok_or(CUresult::INVALID_VALUE)?;
        self.give_back(allocation);
        Ok(())
    }

    /// The program's memory for the device; it stays the program's.
    pub fn register_host(&self, context: CUcontext, host: Host, bytes: usize, flags: u32) -> Done {
        if host.0.is_null() || bytes == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let address = host.0 as u64;
        if self.allocations.overlaps(address, bytes) {
            return Err(CUresult::HOST_MEMORY_ALREADY_REGISTERED);
        }
        // SAFETY: the program promises that the range lives until it is unregistered.
        unsafe { self.device.register_host(host.0.cast(), bytes as u64) };
        self.allocations.insert(Allocation {
            address,
            bytes,
            origin: Origin::Registered,
            context,
            flags,
            pool: CUmemoryPool::NULL,
        });
        Ok(())
    }

    pub fn unregister_host(&self, address: u64) -> Done {
        let allocation = self
            .allocations
            .take(address, |a| a.origin == Origin::Registered)
            .ok_or(CUresult::HOST_MEMORY_NOT_REGISTERED)?;
        self.give_back(allocation);
        Ok(())
    }

    /// Everything that a context still holds.
    pub fn free_all(&self, context: CUcontext) {
        for allocation in self.allocations.take_all(context) {
            self.give_back(allocation);
        }
    }

    fn give_back(&self, allocation: Allocation) {
        if allocation.origin == Origin::Device {
            self.discharge(allocation.pool, allocation.bytes);
            self.device.free(allocation.address).expect("the table and the device hold the same allocations");
            return;
        }
        self.device.free(allocation.address).expect("the table and the device hold the same ranges");
        if allocation.origin != Origin::Registered {
            // SAFETY: `allocate_host` made it with this layout, and it was taken from the table once.
            unsafe { std::alloc::dealloc(allocation.address as *mut u8, allocation.layout()) }
        }
    }

    /// Whether a pointer of the unified address space is device memory.
    pub fn place(&self, address: u64) -> Place {
        match self.allocations.holding(address) {
            Some(a) if a.origin == Origin::Device => Place::Device(address),
            None if self.module_holds(address) => Place::Device(address),
            _ => Place::Host(Host(address as *mut _)),
        }
    }
}
