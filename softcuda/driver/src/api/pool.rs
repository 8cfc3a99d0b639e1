//! Memory pools.

use super::abi::{In, Out};
use super::device::{CUdevice, check};
use super::memory::allocate_async;
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::pool::{CUmemoryPool, Pool};
use crate::state::table::lock;
use crate::state::{CUstream, Driver, driver};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn find(pool: CUmemoryPool) -> Done<(&'static Driver, Arc<Pool>)> {
    let driver = driver()?;
    Ok((driver, driver.pool(pool)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetDefaultMemPool(out: Out<CUmemoryPool>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        out.set(driver()?.pools.default)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetMemPool(out: Out<CUmemoryPool>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        out.set(*lock(&driver()?.pools.current))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceSetMemPool(device: CUdevice, pool: CUmemoryPool) -> CUresult {
    entry(|| {
        check(device)?;
        let (driver, _) = find(pool)?;
        *lock(&driver.pools.current) = pool;
        Ok(())
    })
}

/// `CUmemLocation`: type 1 is a device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Location {
    kind: u32,
    id: c_int,
}

/// `CUmemPoolProps`.
#[repr(C)]
pub struct Properties {
    /// 1: pinned to the location, the only kind of a pool.
    kind: u32,
    /// Kinds of handles for other processes.
    handles: u32,
    location: Location,
    security: usize,
    limit: usize,
    usage: u16,
    reserved: [u8; 54],
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolCreate(out: Out<CUmemoryPool>, properties: In<Properties>) -> CUresult {
    entry(|| {
        let driver = driver()?;
        let Properties { kind, handles, location, limit, .. } = properties.one()?;
        if out.is_null() || *kind != 1 {
            return Err(CUresult::INVALID_VALUE);
        }
        if location.kind != 1 || *handles != 0 {
            return Err(CUresult::NOT_SUPPORTED);
        }
        check(location.id)?;
        out.set(driver.pool_table.insert_with(|handle| Pool::new(handle, *limit as u64)).handle)
    })
}

/// Its memory stays until it is freed. The default pool cannot be destroyed.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolDestroy(pool: CUmemoryPool) -> CUresult {
    entry(|| {
        let (driver, _) = find(pool)?;
        if pool == driver.pools.default {
            return Err(CUresult::INVALID_VALUE);
        }
        let mut current = lock(&driver.pools.current);
        if *current == pool {
            *current = driver.pools.default;
        }
        driver.pool_table.remove(pool);
        Ok(())
    })
}

/// A pool keeps nothing that could be given back.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(pool: CUmemoryPool, _keep: usize) -> CUresult {
    entry(|| find(pool).map(|_| ()))
}

/// Numbers of `CUmemPool_attribute`: 1 to 3 are switches (`int`), 4 to 8 byte counts (`cuuint64_t`).
const THRESHOLD: u32 = 4;
const RESERVED_HIGH: u32 = 6;
const USED_HIGH: u32 = 8;

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolGetAttribute(pool: CUmemoryPool, attribute: u32, value: Out<c_void>) -> CUresult {
    entry(|| {
        let (_, pool) = find(pool)?;
        let set = |default| lock(&pool.settings).get(&attribute).copied().unwrap_or(default);
        match attribute {
            1..=3 => value.cast::<c_int>().set(set(1) as c_int),
            THRESHOLD => value.cast::<u64>().set(set(0)),
            5 | 7 => value.cast::<u64>().set(pool.used.load(Ordering::SeqCst)),
            RESERVED_HIGH | USED_HIGH => value.cast::<u64>().set(pool.high.load(Ordering::SeqCst)),
            _ => Err(CUresult::INVALID_VALUE),
        }
    })
}

/// The reuse policy and the release threshold are kept, and have nothing to act on; high-water marks can be reset.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(pool: CUmemoryPool, attribute: u32, value: In<c_void>) -> CUresult {
    entry(|| {
        let (_, pool) = find(pool)?;
        let address = value.address();
        let bytes = || In::<u64>::from_address(address).one().copied();
        match attribute {
            1..=3 => {
                let on = *In::<c_int>::from_address(address).one()? != 0;
                lock(&pool.settings).insert(attribute, on.into());
            }
            THRESHOLD => {
                lock(&pool.settings).insert(attribute, bytes()?);
            }
            RESERVED_HIGH | USED_HIGH if bytes()? == 0 => {
                pool.high.store(pool.used.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    })
}

/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
const READ_WRITE: u32 = 3;

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolGetAccess(flags: Out<u32>, pool: CUmemoryPool, location: In<Location>) -> CUresult {
    entry(|| {
        find(pool)?;
        let Location { kind, id } = *location.one()?;
        if kind == 1 {
            check(id)?;
        }
        flags.set(if kind == 1 { READ_WRITE } else { 0 })
    })
}

/// `CUmemAccessDesc`.
#[repr(C)]
pub struct Access {
    location: Location,
    flags: u32,
}

/// The one device always has access, which cannot be taken from it.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAccess(pool: CUmemoryPool, accesses: In<Access>, count: usize) -> CUresult {
    entry(|| {
        find(pool)?;
        let own = |a: &Access| a.location.kind == 1 && a.location.id == 0;
        let fits = accesses.slice(count)?.iter().all(|a| own(a) && a.flags == READ_WRITE);
        if fits { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocFromPoolAsync(
    out: Out<u64>,
    bytes: usize,
    pool: CUmemoryPool,
    stream: CUstream,
) -> CUresult {
    in_context(|driver, context| allocate_async(driver, context, out, bytes, &*driver.pool(pool)?, stream))
}
