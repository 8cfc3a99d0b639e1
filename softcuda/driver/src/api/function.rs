//! Function attributes.

use super::abi::Out;
use super::result::{CUresult, Done};
use super::{in_context, library};
use crate::state::context::Context;
use crate::state::module::Function;
use crate::state::table::Handle;
use crate::state::{CUfunction, CUmodule, Driver, ptxas};
use std::ffi::{c_char, c_int};
use std::sync::Arc;

/// A function of the current context. A kernel of a library stands for its function there.
pub fn find(driver: &'static Driver, context: &Arc<Context>, handle: CUfunction) -> Done<Arc<Function>> {
    if let Some(kernel) = driver.kernels.get(Handle::new(handle.0)) {
        return Ok(driver.kernel_function(&kernel, library::module(driver, context, kernel.library)?)?.1);
    }
    driver.functions.get(handle).filter(|f| f.context == context.handle).ok_or(CUresult::INVALID_HANDLE)
}

/// An attribute by its number in `CUfunction_attribute`.
pub fn attribute(driver: &Driver, function: &Function, number: u32) -> Done<c_int> {
    let kernel = function.kernel();
    let model = driver.model();
    let (major, minor) = model.compute_capability;
    let value = match number {
        0 => function.max_threads(&model),
        1 => kernel.static_shared,
        2 => kernel.const_bytes,
        3 => kernel.local_bytes,
        4 => ptxas::registers(function, &model),
        5 => kernel.ptx_version,
        6 => 10 * major + minor,
        7 => 0,
        _ => return function.setting(number),
    };
    Ok(value as c_int)
}

/// Offset and size of one parameter in the parameter block; `INVALID_VALUE` past the last one.
pub fn parameter(function: &Function, index: usize, offset: Out<usize>, size: Out<usize>) -> Done {
    let param = function.kernel().params.get(index).ok_or(CUresult::INVALID_VALUE)?;
    offset.set(param.offset as usize)?;
    size.set_if_wanted(param.size as usize);
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetAttribute(out: Out<c_int>, number: u32, handle: CUfunction) -> CUresult {
    in_context(|driver, context| out.set(attribute(driver, &*find(driver, context, handle)?, number)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(handle: CUfunction, number: u32, value: c_int) -> CUresult {
    in_context(|driver, context| find(driver, context, handle)?.set(number, value, &driver.model()))
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

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetParamInfo(
    handle: CUfunction,
    index: usize,
    offset: Out<usize>,
    size: Out<usize>,
) -> CUresult {
    in_context(|driver, context| parameter(&*find(driver, context, handle)?, index, offset, size))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetParamCount(handle: CUfunction, count: Out<usize>) -> CUresult {
    in_context(|driver, context| count.set(find(driver, context, handle)?.kernel().params.len()))
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
