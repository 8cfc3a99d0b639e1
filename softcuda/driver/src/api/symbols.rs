//! `cuGetProcAddress` and the calls of the profiler.

use super::abi::{Out, Text};
use super::entry;
use super::result::{CUresult, Done};
use std::ffi::{CString, c_int, c_void};

/// Numbers of `CUdriverProcAddressQueryResult`.
const FOUND: u32 = 0;
const NOT_FOUND: u32 = 1;

/// The newest version of a symbol that this library exports.
fn find(name: &str) -> Option<*mut c_void> {
    let versions = ["_v4", "_v3", "_v2", ""];
    let known = |suffix: &&str| {
        let symbol = CString::new(format!("{name}{suffix}")).ok()?;
        // SAFETY: dladdr and dlopen are called with a valid address and a NUL-terminated path; the library is this one and stays loaded.
        let address = unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            if libc::dladdr(find as *const c_void, &mut info) == 0 {
                return None;
            }
            let own = libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
            libc::dlsym(own, symbol.as_ptr())
        };
        (!address.is_null()).then_some(address)
    };
    versions.iter().find_map(known)
}

fn get(symbol: Text, address: Out<*mut c_void>, version: c_int, status: Out<u32>) -> Done {
    let name = symbol.str()?;
    if version < 2000 || address.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let found = if name.starts_with("cu") { find(name) } else { None };
    address.set(found.unwrap_or(std::ptr::null_mut()))?;
    status.set_if_wanted(if found.is_some() { FOUND } else { NOT_FOUND });
    found.map(|_| ()).ok_or(CUresult::NOT_FOUND)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetProcAddress_v2(
    symbol: Text,
    address: Out<*mut c_void>,
    version: c_int,
    _flags: u64,
    status: Out<u32>,
) -> CUresult {
    entry(|| get(symbol, address, version, status))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetProcAddress(symbol: Text, address: Out<*mut c_void>, version: c_int, _flags: u64) -> CUresult {
    entry(|| get(symbol, address, version, Out::from_address(0)))
}

/// There is no profiler: nothing to start.
#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStart() -> CUresult {
    super::in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStop() -> CUresult {
    super::in_context(|_, _| Ok(()))
}
