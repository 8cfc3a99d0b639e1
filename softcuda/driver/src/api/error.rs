//! Names and texts of result codes.

use super::abi::Out;
use super::entry;
use super::result::CUresult;
use std::ffi::c_char;

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(error: CUresult, text: Out<*const c_char>) -> CUresult {
    entry(|| {
        text.set(error.name().map_or(std::ptr::null(), |n| n.as_ptr()))?;
        error.name().map(|_| ()).ok_or(CUresult::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(error: CUresult, text: Out<*const c_char>) -> CUresult {
    entry(|| {
        text.set(error.text().map_or(std::ptr::null(), |n| n.as_ptr()))?;
        error.text().map(|_| ()).ok_or(CUresult::INVALID_VALUE)
    })
}
