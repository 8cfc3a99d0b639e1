//! `cuMemcpy*`. Copies to and from pageable host memory are done when the call returns, on any stream.

use super::abi::Host;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::{Origin, Place};
use crate::state::capture::enter_waiting;
use crate::state::context::Context;
use crate::state::table::lock;
use crate::state::work::{Copy, Work};
use crate::state::{CUcontext, CUstream, Driver};

/// Submits a copy; without a stream it goes to the legacy stream and is synchronous.
pub fn submit(driver: &Driver, context: &Context, copy: Copy, stream: Option<CUstream>) -> Done {
    if copy.width == 0 || copy.rows == 0 || copy.slices == 0 {
        return Ok(());
    }
    let on_device = |h: &Host| driver.allocations.holding(h.0 as u64).is_some_and(|a| a.origin == Origin::Device);
    if [copy.to, copy.from].iter().any(|p| matches!(p, Place::Host(h) if h.0.is_null() || on_device(h))) {
        return Err(CUresult::INVALID_VALUE);
    }
    if stream.is_none() {
        enter_waiting(context)?;
    }
    let stream = context.stream(driver, stream.unwrap_or(CUstream::NULL))?;
    driver.submit(context, &stream, Work::Copy(copy))?;
    // A copy to pageable memory waits until it is done; only a capture's does not.
    let waits = matches!(copy.to, Place::Host(h) if driver.allocations.holding(h.0 as u64).is_none());
    if waits && lock(&stream.capturing).is_none() { context.settle() } else { Ok(()) }
}

fn linear(to: Place, from: Place, bytes: usize, stream: Option<CUstream>) -> CUresult {
    in_context(|driver, context| submit(driver, context, Copy::linear(to, from, bytes), stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoD_v2(to: u64, from: Host, bytes: usize) -> CUresult {
    linear(Place::Device(to), Place::Host(from), bytes, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: Host, bytes: usize, stream: CUstream) -> CUresult {
    linear(Place::Device(to), Place::Host(from), bytes, Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoH_v2(to: Host, from: u64, bytes: usize) -> CUresult {
    linear(Place::Host(to), Place::Device(from), bytes, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(to: Host, from: u64, bytes: usize, stream: CUstream) -> CUresult {
    linear(Place::Host(to), Place::Device(from), bytes, Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> CUresult {
    linear(Place::Device(to), Place::Device(from), bytes, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: CUstream) -> CUresult {
    linear(Place::Device(to), Place::Device(from), bytes, Some(stream))
}

/// A copy between unified addresses: what each end is, its allocation says.
fn unified(to: u64, from: u64, bytes: usize, stream: Option<CUstream>) -> CUresult {
    in_context(|driver, context| {
        let copy = Copy::linear(driver.place(to), driver.place(from), bytes);
        submit(driver, context, copy, stream)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpy(to: u64, from: u64, bytes: usize) -> CUresult {
    unified(to, from, bytes, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: CUstream) -> CUresult {
    unified(to, from, bytes, Some(stream))
}

/// A copy between contexts, which share the one device.
fn peer(
    to: u64,
    to_context: CUcontext,
    from: u64,
    from_context: CUcontext,
    bytes: usize,
    stream: Option<CUstream>,
) -> CUresult {
    in_context(|driver, context| {
        for handle in [to_context, from_context] {
            driver.contexts.get(handle).ok_or(CUresult::INVALID_CONTEXT)?;
        }
        submit(driver, context, Copy::linear(Place::Device(to), Place::Device(from), bytes), stream)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyPeer(
    to: u64,
    to_context: CUcontext,
    from: u64,
    from_context: CUcontext,
    bytes: usize,
) -> CUresult {
    peer(to, to_context, from, from_context, bytes, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    to_context: CUcontext,
    from: u64,
    from_context: CUcontext,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    peer(to, to_context, from, from_context, bytes, Some(stream))
}
