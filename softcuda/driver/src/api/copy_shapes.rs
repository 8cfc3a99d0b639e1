//! `cuMemcpy2D*` and `cuMemcpy3D*`: copies of rectangles and boxes of linear memory. Arrays are not supported.

use super::abi::{Host, In};
use super::copy::submit;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::Place;
use crate::state::table::Handle;
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

/// `CUDA_MEMCPY3D`, and `CUDA_MEMCPY3D_PEER`, which has contexts at the reserved places.
#[repr(C)]
#[derive(Clone, Copy)]
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
    /// The copy as the API describes it, from its own start.
    pub fn of(copy: &Copy) -> Copy3D {
        let end = |place: Place, pitch: usize, slice: usize| {
            let (kind, host, device) = match place {
                Place::Host(host) => (HOST, host, 0),
                Place::Device(address) => (DEVICE, Host(std::ptr::null_mut()), address),
            };
            let height = slice.checked_div(pitch).unwrap_or(0);
            End3D { x: 0, y: 0, z: 0, level: 0, kind, host, device, array: 0, reserved: 0, pitch, height }
        };
        Copy3D {
            from: end(copy.from, copy.from_pitch, copy.from_slice),
            to: end(copy.to, copy.to_pitch, copy.to_slice),
            width: copy.width,
            height: copy.rows,
            depth: copy.slices,
        }
    }

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

/// A copy between contexts, which share the one device.
fn peer(copy: In<Copy3D>, stream: Option<CUstream>) -> CUresult {
    in_context(|driver, context| {
        let copy = copy.one()?;
        for handle in [copy.from.reserved, copy.to.reserved] {
            driver.contexts.get(Handle::new(handle)).ok_or(CUresult::INVALID_CONTEXT)?;
        }
        submit(driver, context, copy.resolve(driver)?, stream)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy3DPeer(copy: In<Copy3D>) -> CUresult {
    peer(copy, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy3DPeerAsync(copy: In<Copy3D>, stream: CUstream) -> CUresult {
    peer(copy, Some(stream))
}
