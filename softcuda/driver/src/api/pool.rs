//! Memory pools. One pool stands for every pool: memory is given back at once, so that a use after a free is seen.

use super::abi::{In, Out};
use super::device::{CUdevice, check};
use super::memory::allocate_async;
use super::result::CUresult;
use super::{entry, in_context};
use crate::state::{CUstream, Driver};
use std::ffi::{c_int, c_void};

/// The default pool's handle.
const DEFAULT_POOL: usize = 0x5c00_9001;

fn is_pool(pool: usize) -> Result<(), CUresult> {
    if pool == DEFAULT_POOL { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetDefaultMemPool(out: Out<usize>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        out.set(DEFAULT_POOL)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetMemPool(out: Out<usize>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        out.set(DEFAULT_POOL)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceSetMemPool(device: CUdevice, pool: usize) -> CUresult {
    entry(|| {
        check(device)?;
        is_pool(pool)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolCreate(out: Out<usize>, properties: In<c_void>) -> CUresult {
    entry(|| {
        check(0)?;
        if properties.is_null() { Err(CUresult::INVALID_VALUE) } else { out.set(DEFAULT_POOL) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolDestroy(pool: usize) -> CUresult {
    entry(|| is_pool(pool))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(pool: usize, _keep: usize) -> CUresult {
    entry(|| is_pool(pool))
}

/// Attributes 1 to 3 are switches (`int`), 4 to 8 byte counts (`cuuint64_t`).
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolGetAttribute(pool: usize, attribute: u32, value: Out<c_void>) -> CUresult {
    in_context(|driver, _| {
        is_pool(pool)?;
        match attribute {
            1..=3 => value.cast::<c_int>().set(1),
            4 => value.cast::<u64>().set(0),
            5..=8 => value.cast::<u64>().set(used(driver)),
            _ => Err(CUresult::INVALID_VALUE),
        }
    })
}

fn used(driver: &Driver) -> u64 {
    let (free, total) = driver.device.mem_info();
    total - free
}

/// The reuse policy and the release threshold have nothing to act on here.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(pool: usize, attribute: u32, value: In<c_void>) -> CUresult {
    entry(|| {
        is_pool(pool)?;
        if (1..=8).contains(&attribute) && !value.is_null() { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocFromPoolAsync(out: Out<u64>, bytes: usize, pool: usize, stream: CUstream) -> CUresult {
    in_context(|driver, context| {
        is_pool(pool)?;
        allocate_async(driver, context, out, bytes, stream)
    })
}
