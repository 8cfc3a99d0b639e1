//! A device: configuration and memory. Launching is in `exec::grid`.

use crate::config::Config;
use crate::memory::GlobalSpace;
use crate::report::Fault;
use std::ptr::NonNull;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A software CUDA device. Cheap to clone; clones share memory and configuration.
#[derive(Clone)]
pub struct Device {
    pub(crate) shared: Arc<DeviceState>,
}

pub(crate) struct DeviceState {
    /// Locked for writing while a launch runs: host copies wait for it.
    global: RwLock<GlobalSpace>,
    config: RwLock<Config>,
}

/// The shape and the arguments of one launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared bytes.
    pub dynamic_shared: u32,
    /// The parameter block: every parameter at its [`crate::Param::offset`].
    pub params: &'a [u8],
    /// All blocks must be resident at once.
    pub cooperative: bool,
}

impl Device {
    /// A device with no allocations.
    pub fn new(config: Config) -> Device {
        let global = RwLock::new(GlobalSpace::new(config.model.memory_bytes));
        Device { shared: Arc::new(DeviceState { global, config: RwLock::new(config) }) }
    }

    /// The device's memory, to look at.
    pub(crate) fn memory(&self) -> RwLockReadGuard<'_, GlobalSpace> {
        self.shared.global.read().unwrap_or_else(|e| e.into_inner())
    }

    /// The device's memory, to change or to launch on.
    pub(crate) fn memory_mut(&self) -> RwLockWriteGuard<'_, GlobalSpace> {
        self.shared.global.write().unwrap_or_else(|e| e.into_inner())
    }

    /// The configuration as of now.
    pub fn config(&self) -> Config {
        self.shared.config.read().expect("no panic while held").clone()
    }

    /// Replaces the configuration; launches that run keep the old one.
    pub fn set_config(&self, config: Config) {
        self.memory_mut().set_capacity(config.model.memory_bytes);
        *self.shared.config.write().expect("no panic while held") = config;
    }

    /// Allocates `bytes` bytes and returns their address, a multiple of 512. The bytes count as not yet written.
    ///
    /// # Errors
    /// The model's memory is used up.
    pub fn alloc(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        self.memory_mut().alloc(bytes)
    }

    /// Frees an allocation; its address is not used again.
    ///
    /// # Errors
    /// `address` is not what [`Device::alloc`] returned, or was freed.
    pub fn free(&self, address: u64) -> Result<(), Box<Fault>> {
        self.memory_mut().free(address)
    }

    /// Writes host bytes to the device.
    ///
    /// # Errors
    /// The bytes do not lie in one live allocation.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Box<Fault>> {
        self.memory_mut().write(address, bytes)
    }

    /// Reads device bytes to the host.
    ///
    /// # Errors
    /// The bytes do not lie in one live allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), Box<Fault>> {
        self.memory().read(address, out)
    }

    /// Copies `bytes` device bytes; the ranges may overlap.
    ///
    /// # Errors
    /// A range does not lie in one live allocation.
    pub fn copy(&self, dst: u64, src: u64, bytes: u64) -> Result<(), Box<Fault>> {
        self.memory_mut().copy(dst, src, bytes)
    }

    /// Fills `count` elements with a pattern of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// The elements do not lie in one live allocation.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), Box<Fault>> {
        self.memory_mut().fill(address, pattern, count)
    }

    /// Free and total device memory in bytes.
    pub fn mem_info(&self) -> (u64, u64) {
        self.memory().mem_info()
    }

    /// Makes `bytes` bytes of host memory reachable by kernels at their own address (pinned memory) and says whether that was possible:
    /// not for an empty range or one that overlaps another allocation. [`Device::free`] ends it.
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes of `bytes` bytes until it is freed here.
    pub unsafe fn register_host(&self, pointer: *mut u8, bytes: u64) -> bool {
        let Some(pointer) = NonNull::new(pointer) else { return false };
        // SAFETY: the caller's promise.
        unsafe { self.memory_mut().register_host(pointer, bytes as usize) }
    }
}

/// The device has no memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes left.
    pub free: u64,
}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "out of device memory: {} bytes asked, {} free", self.asked, self.free)
    }
}

impl std::error::Error for OutOfMemory {}
