//! Function attributes.

use super::abi::Out;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::context::Context;
use crate::state::module::Function;
use crate::state::table::lock;
use crate::state::{CUfunction, CUmodule, Driver, ptxas};
use std::ffi::{c_char, c_int};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A function of the current context.
pub fn find(driver: &Driver, context: &Context, handle: CUfunction) -> Done<Arc<Function>> {
    driver.functions.get(handle).filter(|f| f.context == context.handle).ok_or(CUresult::INVALID_HANDLE)
}

/// Numbers of `CUfunction_attribute` that are kept when set.
const MAX_DYNAMIC_SHARED: u32 = 8;
const CARVEOUT: u32 = 9;
const CLUSTER_FIRST: u32 = 10;
const CLUSTER_LAST: u32 = 15;

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetAttribute(out: Out<c_int>, attribute: u32, handle: CUfunction) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let kernel = function.kernel();
        let model = driver.model();
        let (major, minor) = model.compute_capability;
        let value = match attribute {
            0 => function.max_threads(&model),
            1 => kernel.static_shared,
            2 => kernel.const_bytes,
            3 => kernel.local_bytes,
            4 => ptxas::registers(&function, &model),
            5 => kernel.ptx_version,
            6 => 10 * major + minor,
            7 => 0,
            MAX_DYNAMIC_SHARED => return out.set(function.max_dynamic_shared.load(Ordering::Relaxed)),
            CARVEOUT => return out.set(function.carveout.load(Ordering::Relaxed)),
            CLUSTER_FIRST..=CLUSTER_LAST => {
                return out.set(lock(&function.settings).get(&attribute).copied().unwrap_or(0));
            }
            _ => return Err(CUresult::INVALID_VALUE),
        };
        out.set(value as c_int)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(handle: CUfunction, attribute: u32, value: c_int) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let limit = driver.model().max_shared_per_block.saturating_sub(function.kernel().static_shared);
                if value < 0 || value as u32 > limit {
                    return Err(CUresult::INVALID_VALUE);
                }
                function.max_dynamic_shared.store(value, Ordering::Relaxed);
            }
            CARVEOUT if (-1..=100).contains(&value) => function.carveout.store(value, Ordering::Relaxed),
            CLUSTER_FIRST..=CLUSTER_LAST if driver.model().compute_capability.0 >= 9 => {
                lock(&function.settings).insert(attribute, value);
            }
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetCacheConfig(handle: CUfunction, config: u32) -> CUresult {
    in_context(|driver, context| {
        find(driver, context, handle)?;
        if config <= 3 { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetSharedMemConfig(handle: CUfunction, config: u32) -> CUresult {
    in_context(|driver, context| {
        find(driver, context, handle)?;
        if config <= 2 { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetModule(out: Out<CUmodule>, handle: CUfunction) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        out.set(driver.modules.handle_of(&function.module).ok_or(CUresult::INVALID_HANDLE)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetName(out: Out<*const c_char>, handle: CUfunction) -> CUresult {
    in_context(|driver, context| out.set(find(driver, context, handle)?.name.as_ptr()))
}

/// Offset and size of one parameter in the parameter block; `INVALID_VALUE` past the last one.
#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetParamInfo(
    handle: CUfunction,
    index: usize,
    offset: Out<usize>,
    size: Out<usize>,
) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let param = function.kernel().params.get(index).ok_or(CUresult::INVALID_VALUE)?;
        offset.set(param.offset as usize)?;
        size.set_if_wanted(param.size as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncIsLoaded(out: Out<u32>, handle: CUfunction) -> CUresult {
    in_context(|driver, context| {
        find(driver, context, handle)?;
        out.set(1)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncLoad(handle: CUfunction) -> CUresult {
    in_context(|driver, context| find(driver, context, handle).map(|_| ()))
}
