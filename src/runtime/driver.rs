//! Is there a CUDA driver, without a panic when there is none.
//!
//! cudarc loads the driver at its first call and panics if it finds none, so everything here looks first: the same
//! library names in the same order that cudarc tries and that do not depend on its toolkit version. The library found
//! stays loaded. `cudarc::driver::sys::is_culib_present` is not used: it does not exist when another crate in the
//! build switches cudarc to linking.

use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, sys::CUresult};

use crate::error::{Error, Result, driver_text};

fn library_names() -> Vec<String> {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let mut names = Vec::new();
    for library in ["cuda", "nvcuda"] {
        for middle in ["", "64", "64_10", "64_11", "64_12", "64_9"] {
            names.push(format!("{DLL_PREFIX}{library}{middle}{DLL_SUFFIX}"));
        }
        for version in [12, 11, 10, 9, 1] {
            names.push(format!("{DLL_PREFIX}{library}{DLL_SUFFIX}.{version}"));
        }
    }
    names
}

/// The driver library, and the name under which it was found; or every name with the loader's complaint about the
/// usual one.
fn library() -> &'static Result<(libloading::Library, String), String> {
    static LIBRARY: OnceLock<Result<(libloading::Library, String), String>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let names = library_names();
        for name in &names {
            // SAFETY: loading runs the library's initialisers; these names are the CUDA driver's, and cudarc loads
            // the same file a moment later. The handle is kept for the life of the process.
            if let Ok(library) = unsafe { libloading::Library::new(name) } {
                return Ok((library, name.clone()));
            }
        }
        Err(format!("none of {} could be loaded", names.join(", ")))
    })
}

/// Whether a CUDA driver library is there. Says nothing about devices.
pub fn driver_present() -> bool {
    library().is_ok()
}

/// The number of CUDA devices.
///
/// # Errors
/// [`Error::NoDriver`] when no driver library can be loaded or it is too old for its own kernel module;
/// [`Error::Driver`] for anything else the driver reports. A driver without devices is `Ok(0)`.
pub fn device_count() -> Result<usize> {
    if let Err(reason) = library() {
        return Err(Error::NoDriver { reason: reason.clone() });
    }
    match CudaContext::device_count() {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(error) => match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
            CUresult::CUDA_ERROR_STUB_LIBRARY
            | CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
            | CUresult::CUDA_ERROR_SYSTEM_NOT_READY => Err(Error::NoDriver { reason: driver_text(error) }),
            _ => Err(error.into()),
        },
    }
}

/// The primary context of a device: [`CudaContext::new`] that never panics.
///
/// # Errors
/// Those of [`device_count`], and [`Error::NoDevice`] when there are not that many devices.
pub fn context(ordinal: usize) -> Result<Arc<CudaContext>> {
    let count = device_count()?;
    if ordinal >= count {
        return Err(Error::NoDevice { ordinal, count, reason: String::new() });
    }
    Ok(CudaContext::new(ordinal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_driver_is_tried_before_any_other() {
        let names = library_names();
        let at = |name: &str| names.iter().position(|n| n == name);
        if cfg!(target_os = "linux") {
            assert!(at("libcuda.so").unwrap() < at("libcuda.so.1").unwrap());
            assert!(at("libcuda.so.1").unwrap() < at("libnvcuda.so").unwrap());
        }
    }
}
