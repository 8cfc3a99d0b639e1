//! `cuMemcpy2D*` and `cuMemcpy3D*`: copies of rectangles and boxes of linear memory. Arrays are not supported.

use super::abi::{Host, In};
use super::copy::submit;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::Place;
use crate::state::work::Copy;
use crate::state::{CUstream, Driver};

/// `CUmemorytype` numbers.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;
const UNIFIED: u32 = 4;

/// What one end of a copy is.
fn place(driver: &Driver, kind: u32, host: Host, device: u64) -> Done<Place> {
    match kind {
        HOST => Ok(Place::Host(host)),
        DEVICE => Ok(Place::Device(device)),
        UNIFIED => Ok(driver.place(device)),
        ARRAY => Err(CUresult::NOT_SUPPORTED),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

/// One end of `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct End2D {
    x: usize,
    y: usize,
    kind: u32,
    host: Host,
    device: u64,
    array: usize,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`.
#[repr(C)]
pub struct Copy2D {
    from: End2D,
    to: End2D,
    width: usize,
    height: usize,
}

/// One end of `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
struct End3D {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: u32,
    host: Host,
    device: u64,
    array: usize,
    reserved: usize,
    pitch: usize,
    height: usize,
}

/// `CUDA_MEMCPY3D`.
#[repr(C)]
pub struct Copy3D {
    from: End3D,
    to: End3D,
    width: usize,
    height: usize,
    depth: usize,
}

impl Copy2D {
    fn boxed(&self) -> Copy3D {
        let end = |e: &End2D| End3D {
            x: e.x,
            y: e.y,
            z: 0,
            level: 0,
            kind: e.kind,
            host: e.host,
            device: e.device,
            array: e.array,
            reserved: 0,
            pitch: e.pitch,
            height: 0,
        };
        Copy3D { from: end(&self.from), to: end(&self.to), width: self.width, height: self.height, depth: 1 }
    }
}

impl Copy3D {
    /// The copy with its starts worked out. A pitch or height of 0 is that of the box itself.
    pub fn resolve(&self, driver: &Driver) -> Done<Copy> {
        let end = |e: &End3D| {
            let pitch = if e.pitch == 0 { self.width } else { e.pitch };
            let slice = pitch * if e.height == 0 { self.height } else { e.height };
            if e.x + self.width > pitch || (self.depth > 1 && (e.y + self.height) * pitch > slice) {
                return Err(CUresult::INVALID_VALUE);
            }
            let start = place(driver, e.kind, e.host, e.device)?.offset(e.z * slice + e.y * pitch + e.x);
            Ok((start, pitch, slice))
        };
        let (from, from_pitch, from_slice) = end(&self.from)?;
        let (to, to_pitch, to_slice) = end(&self.to)?;
        let (width, rows, slices) = (self.width, self.height, self.depth);
        Ok(Copy { to, from, width, rows, slices, to_pitch, from_pitch, to_slice, from_slice })
    }
}

fn shaped(copy: &Copy3D, stream: Option<CUstream>) -> CUresult {
    in_context(|driver, context| submit(driver, context, copy.resolve(driver)?, stream))
}

fn flat(copy: In<Copy2D>, stream: Option<CUstream>) -> CUresult {
    match copy.one() {
        Ok(copy) => shaped(&copy.boxed(), stream),
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy2D_v2(copy: In<Copy2D>) -> CUresult {
    flat(copy, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy2DUnaligned_v2(copy: In<Copy2D>) -> CUresult {
    flat(copy, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy2DAsync_v2(copy: In<Copy2D>, stream: CUstream) -> CUresult {
    flat(copy, Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy3D_v2(copy: In<Copy3D>) -> CUresult {
    copy.one().map_or_else(|code| code, |copy| shaped(copy, None))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy3DAsync_v2(copy: In<Copy3D>, stream: CUstream) -> CUresult {
    copy.one().map_or_else(|code| code, |copy| shaped(copy, Some(stream)))
}
