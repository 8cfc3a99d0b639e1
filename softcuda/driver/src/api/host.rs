//! Host memory that the device can reach: allocated here, or the program's own.

use super::abi::{Host, Out};
use super::in_context;
use super::result::CUresult;
use crate::state::allocation::Origin;

/// `CU_MEMHOSTALLOC_*` and `CU_MEMHOSTREGISTER_*`.
const KNOWN_FLAGS: u32 = 0xf;

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostAlloc(out: Out<u64>, bytes: usize, flags: u32) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() || flags & !KNOWN_FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        out.set(driver.allocate_host(context.handle, bytes, Origin::Host, flags)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocHost_v2(out: Out<u64>, bytes: usize) -> CUresult {
    cuMemHostAlloc(out, bytes, 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(address: u64) -> CUresult {
    in_context(|driver, _| driver.free_host(address))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostGetDevicePointer_v2(out: Out<u64>, host: u64, flags: u32) -> CUresult {
    in_context(|driver, _| {
        let known = driver.allocations.holding(host).is_some_and(|a| a.origin != Origin::Device);
        if flags == 0 && known { out.set(host) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostGetFlags(out: Out<u32>, host: u64) -> CUresult {
    in_context(|driver, _| {
        let known = driver.allocations.holding(host).filter(|a| a.origin == Origin::Host);
        out.set(known.ok_or(CUresult::INVALID_VALUE)?.flags)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostRegister_v2(host: Host, bytes: usize, flags: u32) -> CUresult {
    in_context(|driver, context| {
        if flags & !KNOWN_FLAGS != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        driver.register_host(context.handle, host, bytes, flags)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemHostUnregister(host: u64) -> CUresult {
    in_context(|driver, _| if host == 0 { Err(CUresult::INVALID_VALUE) } else { driver.unregister_host(host) })
}
