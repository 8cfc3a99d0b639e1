//! Context management.

use super::abi::{In, Out};
use super::device::{CUdevice, check};
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::capture::enter_waiting;
use crate::state::context::{Context, current, current_handle, pop, push, set_current};
use crate::state::table::lock;
use crate::state::{CUcontext, Driver, driver};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn create(out: Out<CUcontext>, flags: u32, device: CUdevice) -> Done {
    check(device)?;
    if out.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let context = driver()?.contexts.insert_with(|handle| Context::new(handle, false, flags));
    push(context.handle);
    out.set(context.handle)
}

/// A context by handle, null for the current one.
fn find(handle: CUcontext) -> Done<(&'static Driver, Arc<Context>)> {
    if handle.is_null() {
        return current();
    }
    let driver = driver()?;
    let context = driver.contexts.get(handle).ok_or(CUresult::INVALID_CONTEXT)?;
    Ok((driver, context))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxCreate_v2(out: Out<CUcontext>, flags: u32, device: CUdevice) -> CUresult {
    entry(|| create(out, flags, device))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxCreate_v3(
    out: Out<CUcontext>,
    _affinity: In<c_void>,
    affinities: c_int,
    flags: u32,
    device: CUdevice,
) -> CUresult {
    entry(|| if affinities == 0 { create(out, flags, device) } else { Err(CUresult::UNSUPPORTED_EXEC_AFFINITY) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxCreate_v4(out: Out<CUcontext>, params: In<c_void>, flags: u32, device: CUdevice) -> CUresult {
    entry(|| if params.is_null() { create(out, flags, device) } else { Err(CUresult::NOT_SUPPORTED) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxDestroy_v2(handle: CUcontext) -> CUresult {
    entry(|| {
        let driver = driver()?;
        let context = driver.contexts.get(handle).ok_or(CUresult::INVALID_CONTEXT)?;
        if context.primary {
            return Err(CUresult::INVALID_CONTEXT);
        }
        driver.contexts.remove(handle);
        context.release(driver);
        if current_handle() == handle {
            pop()?;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCurrent(out: Out<CUcontext>) -> CUresult {
    entry(|| {
        driver()?;
        out.set(current_handle())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(handle: CUcontext) -> CUresult {
    entry(|| {
        let driver = driver()?;
        if !handle.is_null() && driver.contexts.get(handle).is_none() {
            return Err(CUresult::INVALID_CONTEXT);
        }
        set_current(handle);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxPushCurrent_v2(handle: CUcontext) -> CUresult {
    entry(|| {
        driver()?.contexts.get(handle).ok_or(CUresult::INVALID_CONTEXT)?;
        push(handle);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxPopCurrent_v2(out: Out<CUcontext>) -> CUresult {
    entry(|| {
        driver()?;
        let handle = pop()?;
        out.set_if_wanted(handle);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetDevice(out: Out<CUdevice>) -> CUresult {
    entry(|| {
        current()?;
        out.set(0)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetDevice_v2(out: Out<CUdevice>, handle: CUcontext) -> CUresult {
    entry(|| {
        find(handle)?;
        out.set(0)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetId(handle: CUcontext, out: Out<u64>) -> CUresult {
    entry(|| out.set(find(handle)?.1.handle.0 as u64))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetApiVersion(handle: CUcontext, out: Out<u32>) -> CUresult {
    entry(|| {
        find(handle)?;
        out.set(super::init::VERSION as u32)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> CUresult {
    in_context(|driver, context| {
        enter_waiting(context)?;
        driver.wait_all(context);
        context.settle()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize_v2(handle: CUcontext) -> CUresult {
    entry(|| {
        let (driver, context) = find(handle)?;
        context.healthy()?;
        enter_waiting(&context)?;
        driver.wait_all(&context);
        context.settle()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetFlags(out: Out<u32>) -> CUresult {
    entry(|| out.set(current()?.1.flags.load(Ordering::SeqCst)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetFlags(flags: u32) -> CUresult {
    in_context(|_, context| {
        context.flags.store(flags, Ordering::SeqCst);
        Ok(())
    })
}

/// Defaults of `CUlimit` by number; limits that are not here are not supported.
const LIMITS: [(u32, usize); 7] = [(0, 1024), (1, 1 << 20), (2, 8 << 20), (3, 2), (4, 2048), (5, 64), (6, 0)];

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetLimit(out: Out<usize>, limit: u32) -> CUresult {
    in_context(|_, context| {
        let (_, default) = *LIMITS.iter().find(|l| l.0 == limit).ok_or(CUresult::UNSUPPORTED_LIMIT)?;
        out.set(lock(&context.limits).get(&limit).copied().unwrap_or(default))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> CUresult {
    in_context(|_, context| {
        LIMITS.iter().find(|l| l.0 == limit).ok_or(CUresult::UNSUPPORTED_LIMIT)?;
        lock(&context.limits).insert(limit, value);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetCacheConfig(out: Out<u32>) -> CUresult {
    in_context(|_, context| out.set(context.cache_config.load(Ordering::SeqCst)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCacheConfig(config: u32) -> CUresult {
    in_context(|_, context| {
        if config > 3 {
            return Err(CUresult::INVALID_VALUE);
        }
        context.cache_config.store(config, Ordering::SeqCst);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) -> CUresult {
    in_context(|_, _| {
        least.set_if_wanted(0);
        greatest.set_if_wanted(super::stream::GREATEST_PRIORITY);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxEnablePeerAccess(_peer: CUcontext, _flags: u32) -> CUresult {
    in_context(|_, _| Err(CUresult::PEER_ACCESS_UNSUPPORTED))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxDisablePeerAccess(_peer: CUcontext) -> CUresult {
    in_context(|_, _| Err(CUresult::PEER_ACCESS_NOT_ENABLED))
}

/// Old form of taking part in a context: the current one, counted by nobody.
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxAttach(out: Out<CUcontext>, flags: u32) -> CUresult {
    in_context(|_, context| if flags == 0 { out.set(context.handle) } else { Err(CUresult::INVALID_VALUE) })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxDetach(handle: CUcontext) -> CUresult {
    in_context(|_, context| if context.handle == handle { Ok(()) } else { Err(CUresult::INVALID_CONTEXT) })
}

/// Banks of four bytes, as every GPU modelled has them.
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxGetSharedMemConfig(out: Out<u32>) -> CUresult {
    in_context(|_, _| out.set(1))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetSharedMemConfig(config: u32) -> CUresult {
    in_context(|_, _| if config <= 2 { Ok(()) } else { Err(CUresult::INVALID_VALUE) })
}

/// No line of the cache is persisting here.
#[unsafe(no_mangle)]
pub extern "C" fn cuCtxResetPersistingL2Cache() -> CUresult {
    in_context(|_, _| Ok(()))
}
