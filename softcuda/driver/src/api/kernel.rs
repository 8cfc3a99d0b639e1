//! Kernels of libraries. Every call that takes a function takes one of them too, and then means its function in the current context.

use super::abi::Out;
use super::device::{CUdevice, check};
use super::function::{attribute, find, parameter};
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::library::{CUkernel, CUlibrary, LibraryKernel};
use crate::state::module::Function;
use crate::state::table::{Handle, lock};
use crate::state::{CUfunction, Driver, driver};
use std::ffi::{c_char, c_int};
use std::sync::Arc;

fn known(kernel: CUkernel) -> Done<(&'static Driver, Arc<LibraryKernel>)> {
    let driver = driver()?;
    Ok((driver, driver.kernels.get(kernel).ok_or(CUresult::INVALID_HANDLE)?))
}

/// Runs `body` with the kernel's function in the current context.
fn with_function(kernel: CUkernel, body: impl FnOnce(&'static Driver, &Arc<Function>) -> Done) -> CUresult {
    in_context(|driver, context| {
        known(kernel)?;
        body(driver, &find(driver, context, Handle::new(kernel.0))?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetFunction(out: Out<CUfunction>, kernel: CUkernel) -> CUresult {
    in_context(|driver, context| {
        let (_, kernel) = known(kernel)?;
        let module = super::library::module(driver, context, kernel.library)?;
        out.set(driver.kernel_function(&kernel, module)?.0)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetLibrary(out: Out<CUlibrary>, kernel: CUkernel) -> CUresult {
    entry(|| out.set(known(kernel)?.1.library))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetName(out: Out<*const c_char>, kernel: CUkernel) -> CUresult {
    entry(|| out.set(known(kernel)?.1.name.as_ptr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetAttribute(out: Out<c_int>, number: u32, kernel: CUkernel, device: CUdevice) -> CUresult {
    with_function(kernel, |driver, function| {
        check(device)?;
        out.set(attribute(driver, function, number)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelSetAttribute(number: u32, value: c_int, kernel: CUkernel, device: CUdevice) -> CUresult {
    with_function(kernel, |driver, function| {
        check(device)?;
        function.set(number, value, &driver.model())?;
        lock(&known(kernel)?.1.settings).push((number, value));
        Ok(())
    })
}

/// A hint, which softcuda has no use for.
#[unsafe(no_mangle)]
pub extern "C" fn cuKernelSetCacheConfig(kernel: CUkernel, config: u32, device: CUdevice) -> CUresult {
    with_function(kernel, |_, _| {
        check(device)?;
        if config <= 3 { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetParamInfo(
    kernel: CUkernel,
    index: usize,
    offset: Out<usize>,
    size: Out<usize>,
) -> CUresult {
    with_function(kernel, |_, function| parameter(function, index, offset, size))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuKernelGetParamCount(kernel: CUkernel, count: Out<usize>) -> CUresult {
    with_function(kernel, |_, function| count.set(function.kernel().params.len()))
}
