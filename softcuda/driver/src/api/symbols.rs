//! `cuGetProcAddress`, which file this library is, and the calls of the profiler.

use super::abi::{Out, Text};
use super::entry;
use super::result::{CUresult, Done};
use super::versions::symbol as symbol_of;
use crate::state::modes;
use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;

/// Numbers of `CUdriverProcAddressQueryResult`.
const FOUND: u32 = 0;
const NOT_FOUND: u32 = 1;
const VERSION_NOT_SUFFICIENT: u32 = 2;

/// A symbol that this library exports.
fn find(name: &str) -> Option<*mut c_void> {
    // SAFETY: the path of this library, which is loaded and stays so.
    let own = unsafe { libc::dlopen(own_path()?.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let symbol = CString::new(name).ok()?;
    // SAFETY: a loaded library and a NUL-terminated name.
    let address = unsafe { libc::dlsym(own, symbol.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The file that this library was loaded from.
fn own_path() -> Option<&'static CStr> {
    // SAFETY: the address is one of this library; the loader keeps the path it answers for as long as the library is loaded.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(find as *const c_void, &mut info) != 0;
        known.then(|| CStr::from_ptr(info.dli_fname))
    }
}

/// Refuses to be an outdated copy: a library in `target/<profile>` older than the one in `target/<profile>/deps`, which cargo built since.
/// Tests would run code that is no longer there.
pub fn refuse_outdated() -> Done {
    let Some(path) = own_path().and_then(|p| p.to_str().ok()).map(Path::new) else { return Ok(()) };
    let newer = path.with_file_name("deps").join(path.file_name().unwrap_or_default());
    let time = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    match (time(path), time(&newer)) {
        (Some(own), Some(other)) if own < other => {
            eprintln!("softcuda: {} is older than {}: remove it, or build it again", path.display(), newer.display());
            Err(CUresult::SYSTEM_DRIVER_MISMATCH)
        }
        _ => Ok(()),
    }
}

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`.
const PER_THREAD: u64 = 2;

fn get(symbol: Text, address: Out<*mut c_void>, version: c_int, flags: u64, status: Out<u32>) -> Done {
    let name = symbol.str()?;
    if version < 2000 || flags > PER_THREAD || address.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if flags == PER_THREAD {
        return Err(modes::explain(
            CUresult::NOT_SUPPORTED,
            "softcuda has no symbols of the per-thread default stream",
        ));
    }
    let known = name.starts_with("cu") && (find(name).is_some() || find(&format!("{name}_v2")).is_some());
    let found = symbol_of(name, version).filter(|_| known).and_then(|symbol| find(&symbol));
    address.set(found.unwrap_or(std::ptr::null_mut()))?;
    status.set_if_wanted(match found {
        Some(_) => FOUND,
        None if known => VERSION_NOT_SUFFICIENT,
        None => NOT_FOUND,
    });
    found.map(|_| ()).ok_or(CUresult::NOT_FOUND)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetProcAddress_v2(
    symbol: Text,
    address: Out<*mut c_void>,
    version: c_int,
    flags: u64,
    status: Out<u32>,
) -> CUresult {
    entry(|| get(symbol, address, version, flags, status))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetProcAddress(symbol: Text, address: Out<*mut c_void>, version: c_int, flags: u64) -> CUresult {
    entry(|| get(symbol, address, version, flags, Out::from_address(0)))
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
