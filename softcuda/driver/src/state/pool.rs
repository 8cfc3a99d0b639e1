//! Memory pools. Memory goes back to the device at once, so that a use after a free is seen; a pool keeps its settings and its sums.

use super::table::{Handle, lock};
use super::{CUcontext, Driver};
use crate::api::result::{CUresult, Done};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub type CUmemoryPool = Handle<Pool>;

pub struct Pool {
    pub handle: CUmemoryPool,
    /// The most bytes that it may hold; 0 for no limit of its own.
    limit: u64,
    /// Attributes that were set.
    pub settings: Mutex<HashMap<u32, u64>>,
    pub used: AtomicU64,
    pub high: AtomicU64,
}

impl Pool {
    pub fn new(handle: CUmemoryPool, limit: u64) -> Pool {
        let (used, high) = (AtomicU64::new(0), AtomicU64::new(0));
        Pool { handle, limit, settings: Mutex::default(), used, high }
    }
}

/// The pools of the device: the default one, which is never destroyed, and which one `cuMemAllocAsync` takes from.
pub struct Pools {
    pub default: CUmemoryPool,
    pub current: Mutex<CUmemoryPool>,
}

impl Driver {
    pub fn pool(&self, handle: CUmemoryPool) -> Done<Arc<Pool>> {
        self.pool_table.get(handle).ok_or(CUresult::INVALID_VALUE)
    }

    /// The pool that stream-ordered allocations take from.
    pub fn current_pool(&self) -> Done<Arc<Pool>> {
        self.pool(*lock(&self.pools.current))
    }

    /// Allocates within the pool's limit.
    pub fn allocate_from(&self, context: CUcontext, bytes: usize, pool: &Pool) -> Done<u64> {
        let size = bytes as u64;
        let charged = |used: u64| used.checked_add(size).filter(|sum| pool.limit == 0 || *sum <= pool.limit);
        let before = pool.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, charged);
        let before = before.map_err(|_| CUresult::OUT_OF_MEMORY)?;
        let address = self.allocate(context, bytes).inspect_err(|_| {
            pool.used.fetch_sub(size, Ordering::SeqCst);
        })?;
        self.allocations.charge(address, pool.handle);
        pool.high.fetch_max(before + size, Ordering::SeqCst);
        Ok(address)
    }

    /// Takes freed bytes off the pool that they came from.
    pub fn discharge(&self, pool: CUmemoryPool, bytes: usize) {
        if let Some(pool) = self.pool_table.get(pool) {
            pool.used.fetch_sub(bytes as u64, Ordering::SeqCst);
        }
    }
}
