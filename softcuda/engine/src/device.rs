//! A device: configuration and memory. Launching is in `exec::grid`.

use crate::config::Config;
use crate::memory::space::Global;
use crate::report::Fault;
use std::sync::{Arc, RwLock};

/// A software CUDA device. Cheap to clone; clones share memory and configuration.
#[derive(Clone)]
pub struct Device {
    pub(crate) shared: Arc<DeviceState>,
}

pub(crate) struct DeviceState {
    pub(crate) global: Global,
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
        Device { shared: Arc::new(DeviceState { global: Global::default(), config: RwLock::new(config) }) }
    }

    /// The configuration as of now.
    pub fn config(&self) -> Config {
        self.shared.config.read().expect("no panic while held").clone()
    }

    /// Replaces the configuration; launches that run keep the old one.
    pub fn set_config(&self, config: Config) {
        *self.shared.config.write().expect("no panic while held") = config;
    }

    /// Allocates `bytes` bytes and returns their address, a multiple of 512. The bytes count as not yet written.
    ///
    /// # Errors
    /// The model's memory is used up.
    pub fn alloc(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        let (free, _) = self.mem_info();
        if bytes > free {
            return Err(OutOfMemory { asked: bytes, free });
        }
        Ok(self.shared.global.alloc(bytes))
    }

    /// Frees an allocation; its address is not used again.
    ///
    /// # Errors
    /// `address` is not what [`Device::alloc`] returned, or was freed.
    pub fn free(&self, address: u64) -> Result<(), Box<Fault>> {
        self.shared.global.free(address)
    }

    /// Writes host bytes to the device.
    ///
    /// # Errors
    /// The bytes do not lie in one live allocation.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Box<Fault>> {
        let (_held, p) = self.shared.global.find(address, bytes.len() as u64, "write")?;
        // SAFETY: `find` checked the range, and `_held` keeps it.
        unsafe { std::ptr::copy(bytes.as_ptr(), p, bytes.len()) };
        Ok(())
    }

    /// Reads device bytes to the host.
    ///
    /// # Errors
    /// The bytes do not lie in one live allocation.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), Box<Fault>> {
        let (_held, p) = self.shared.global.find(address, out.len() as u64, "read")?;
        // SAFETY: `find` checked the range, and `_held` keeps it.
        unsafe { std::ptr::copy(p, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies `bytes` device bytes; the ranges may overlap.
    ///
    /// # Errors
    /// A range does not lie in one live allocation.
    pub fn copy(&self, dst: u64, src: u64, bytes: u64) -> Result<(), Box<Fault>> {
        let (_src, from) = self.shared.global.find(src, bytes, "read")?;
        let (_dst, to) = self.shared.global.find(dst, bytes, "write")?;
        // SAFETY: `find` checked both ranges, which are held.
        unsafe { std::ptr::copy(from, to, bytes as usize) };
        Ok(())
    }

    /// Fills `count` elements with a pattern of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// The elements do not lie in one live allocation.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), Box<Fault>> {
        let total = pattern.len() as u64 * count;
        let (_held, p) = self.shared.global.find(address, total, "write")?;
        for i in 0..total as usize {
            // SAFETY: `find` checked the range, and `_held` keeps it.
            unsafe { p.add(i).write(pattern[i % pattern.len()]) };
        }
        Ok(())
    }

    /// Free and total device memory in bytes.
    pub fn mem_info(&self) -> (u64, u64) {
        let total = self.config().model.memory_bytes;
        (total.saturating_sub(self.shared.global.used()), total)
    }

    /// Makes `bytes` bytes of host memory reachable by kernels at their own address (pinned memory). [`Device::free`] ends it.
    ///
    /// # Safety
    /// `pointer` is valid for reads and writes of `bytes` bytes until it is freed here.
    pub unsafe fn register_host(&self, pointer: *mut u8, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.shared.global.register_host(pointer, bytes) }
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
