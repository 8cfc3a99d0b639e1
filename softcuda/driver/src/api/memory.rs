//! Device memory: allocation, freeing, sizes.

use super::abi::Out;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::Origin;
use crate::state::capture::{enter_waiting, record, refuse_implicit};
use crate::state::context::Context;
use crate::state::work::Work;
use crate::state::{CUstream, Driver};

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        enter_waiting(context)?;
        out.set(driver.allocate(context.handle, bytes)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocPitch_v2(
    out: Out<u64>,
    pitch: Out<usize>,
    width: usize,
    height: usize,
    element: u32,
) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() || !matches!(element, 4 | 8 | 16) {
            return Err(CUresult::INVALID_VALUE);
        }
        enter_waiting(context)?;
        let row = width.checked_next_multiple_of(512).ok_or(CUresult::OUT_OF_MEMORY)?;
        pitch.set(row)?;
        out.set(driver.allocate(context.handle, row.checked_mul(height).ok_or(CUresult::OUT_OF_MEMORY)?)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> CUresult {
    in_context(|driver, context| {
        enter_waiting(context)?;
        driver.free(address)
    })
}

/// Stream-ordered allocation. In a capture the memory is made at once and its node stands for it.
pub fn allocate_async(driver: &Driver, context: &Context, out: Out<u64>, bytes: usize, stream: CUstream) -> Done {
    if out.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let stream = context.stream(driver, stream)?;
    refuse_implicit(context, &stream)?;
    let address = driver.allocate(context.handle, bytes)?;
    if let Err(code) = record(&stream, || Work::Allocate(address)) {
        driver.free(address)?;
        return Err(code);
    }
    out.set(address)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: CUstream) -> CUresult {
    in_context(|driver, context| allocate_async(driver, context, out, bytes, stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: CUstream) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, stream)?;
        let known = driver.allocations.holding(address);
        if !known.is_some_and(|a| a.address == address && a.origin == Origin::Device) {
            return Err(CUresult::INVALID_VALUE);
        }
        driver.submit(context, &stream, Work::Free(address))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> CUresult {
    in_context(|driver, _| {
        let (left, all) = driver.device.mem_info();
        free.set(left as usize)?;
        total.set(all as usize)
    })
}

/// Managed memory is host memory that the device reaches at the same address.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocManaged(out: Out<u64>, bytes: usize, flags: u32) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() || !matches!(flags, 1 | 2) {
            return Err(CUresult::INVALID_VALUE);
        }
        enter_waiting(context)?;
        out.set(driver.allocate_host(context.handle, bytes, Origin::Managed, flags)?)
    })
}

fn managed(driver: &Driver, address: u64) -> Done {
    match driver.allocations.holding(address) {
        Some(a) if a.origin == Origin::Managed => Ok(()),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Location {
    kind: u32,
    id: i32,
}

/// A hint, which softcuda has no use for.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemAdvise_v2(address: u64, _count: usize, _advice: u32, _location: Location) -> CUresult {
    in_context(|driver, _| managed(driver, address))
}

/// A hint, which softcuda has no use for.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPrefetchAsync_v2(
    address: u64,
    _count: usize,
    _location: Location,
    _flags: u32,
    stream: CUstream,
) -> CUresult {
    in_context(|driver, context| {
        context.stream(driver, stream)?;
        managed(driver, address)
    })
}
