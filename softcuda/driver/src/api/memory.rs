//! Device memory: allocation, freeing, sizes.

use super::abi::{In, Out};
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::Origin;
use crate::state::capture::{enter_waiting, record, refuse_implicit};
use crate::state::context::Context;
use crate::state::pool::Pool;
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
pub fn allocate_async(
    driver: &Driver,
    context: &Context,
    out: Out<u64>,
    bytes: usize,
    pool: &Pool,
    stream: CUstream,
) -> Done {
    if out.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let stream = context.stream(driver, stream)?;
    refuse_implicit(context, &stream)?;
    let address = driver.allocate_from(context.handle, bytes, pool)?;
    if let Err(code) = record(&stream, || Work::Allocate(address)) {
        driver.free(address)?;
        return Err(code);
    }
    out.set(address)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: CUstream) -> CUresult {
    in_context(|driver, context| allocate_async(driver, context, out, bytes, &*driver.current_pool()?, stream))
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
pub extern "C" fn cuMemAdvise(address: u64, _count: usize, _advice: u32, _device: i32) -> CUresult {
    in_context(|driver, _| managed(driver, address))
}

/// A hint, which softcuda has no use for.
#[unsafe(no_mangle)]
pub extern "C" fn cuMemPrefetchAsync(address: u64, _count: usize, _device: i32, stream: CUstream) -> CUresult {
    in_context(|driver, context| {
        context.stream(driver, stream)?;
        managed(driver, address)
    })
}

/// Hints are not kept: memory is not read-mostly (attribute 1), and has no preferred, accessing or last prefetched place (2 to 4), which
/// is device -2.
fn range_attribute(data: Out<i32>, bytes: usize, attribute: u32) -> Done {
    match (attribute, bytes) {
        (1, 4) => data.set(0),
        (2 | 4, 4) => data.set(-2),
        (3, _) if bytes > 0 && bytes.is_multiple_of(4) => {
            data.fill(std::iter::repeat_n(-2, bytes / 4), bytes / 4);
            Ok(())
        }
        _ => Err(CUresult::INVALID_VALUE),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemRangeGetAttribute(
    data: Out<i32>,
    bytes: usize,
    attribute: u32,
    address: u64,
    _length: usize,
) -> CUresult {
    in_context(|driver, _| {
        managed(driver, address)?;
        range_attribute(data, bytes, attribute)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemRangeGetAttributes(
    data: In<Out<i32>>,
    bytes: In<usize>,
    attributes: In<u32>,
    count: usize,
    address: u64,
    _length: usize,
) -> CUresult {
    in_context(|driver, _| {
        managed(driver, address)?;
        let mut places = data.slice(count)?.iter().zip(bytes.slice(count)?).zip(attributes.slice(count)?);
        places.try_for_each(|((data, bytes), attribute)| range_attribute(*data, *bytes, *attribute))
    })
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
