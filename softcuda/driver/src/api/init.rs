//! Initialisation and version.

use super::abi::Out;
use super::entry;
use super::result::CUresult;
use crate::state::initialise;

/// The API version that softcuda answers: CUDA 13.0.
pub const VERSION: i32 = 13000;

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: u32) -> CUresult {
    entry(|| {
        if flags != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        super::symbols::refuse_outdated()?;
        initialise();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(version: Out<i32>) -> CUresult {
    entry(|| version.set(VERSION))
}
