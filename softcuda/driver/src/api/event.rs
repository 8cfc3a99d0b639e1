//! Event management. An event has happened when its record call returns, unless a host function is under way before it. Times are real ones of this computer, which say how long
//! softcuda took and nothing about a GPU.

use super::abi::Out;
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::capture;
use crate::state::context::Context;
use crate::state::stream::{Event, Recorded};
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUevent, CUstream, Driver};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;

fn find(driver: &Driver, context: &Context, handle: CUevent) -> Done<Arc<Event>> {
    driver.events.get(handle).filter(|e| e.context == context.handle).ok_or(CUresult::INVALID_HANDLE)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(out: Out<CUevent>, flags: u32) -> CUresult {
    in_context(|driver, context| {
        // 1 blocking sync, 2 no timing, 4 between processes, which needs 2 as well.
        if flags > 7 || (flags & 4 != 0 && flags & DISABLE_TIMING == 0) || out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let timed = flags & DISABLE_TIMING == 0;
        out.set(driver.events.insert(Event { context: context.handle, timed, last: Mutex::new(Recorded::Never) }))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(handle: CUevent) -> CUresult {
    in_context(|driver, _| driver.events.remove(handle).map(|_| ()).ok_or(CUresult::INVALID_HANDLE))
}

/// `CU_EVENT_RECORD_EXTERNAL`: in a capture the record is a node of the graph.
const EXTERNAL: u32 = 1;

fn record(handle: CUevent, stream: CUstream, flags: u32) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, stream)?;
        let event = find(driver, context, handle)?;
        capture::refuse_implicit(context, &stream)?;
        if flags == EXTERNAL && capture::record(&stream, || Work::RecordEvent(event.clone()))? {
            return Ok(());
        }
        if !capture::record_event(&stream, &event)? {
            let pending = driver.pending(context, &stream);
            *lock(&event.last) =
                if pending.is_empty() { Recorded::Done(Instant::now()) } else { Recorded::After(pending) };
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(handle: CUevent, stream: CUstream) -> CUresult {
    record(handle, stream, 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecordWithFlags(handle: CUevent, stream: CUstream, flags: u32) -> CUresult {
    if flags > 1 { CUresult::INVALID_VALUE } else { record(handle, stream, flags) }
}

/// An event inside a capture has no time to be done at: asking spoils the capture.
fn state(driver: &Driver, context: &Context, handle: CUevent) -> Done<Recorded> {
    let last = lock(&find(driver, context, handle)?.last).clone();
    match last {
        Recorded::Captured(part) => part.capture.refuse(CUresult::CAPTURED_EVENT),
        last => Ok(last),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(handle: CUevent) -> CUresult {
    in_context(|driver, context| match state(driver, context, handle)? {
        last @ Recorded::After(_) if last.time().is_none() => Err(CUresult::NOT_READY),
        _ => context.settle(),
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(handle: CUevent) -> CUresult {
    in_context(|driver, context| {
        if let Recorded::After(pending) = state(driver, context, handle)? {
            pending.iter().for_each(|p| p.wait());
        }
        context.settle()
    })
}

fn elapsed(milliseconds: Out<f32>, start: CUevent, end: CUevent) -> CUresult {
    in_context(|driver, context| {
        let time = |handle| {
            let event = find(driver, context, handle)?;
            if !event.timed {
                return Err(CUresult::INVALID_HANDLE);
            }
            match &*lock(&event.last) {
                Recorded::Captured(_) => Err(CUresult::CAPTURED_EVENT),
                Recorded::Never => Err(CUresult::INVALID_HANDLE),
                last => last.time().ok_or(CUresult::NOT_READY),
            }
        };
        let (start, end) = (time(start)?, time(end)?);
        let forward = end.saturating_duration_since(start).as_secs_f64();
        let backward = start.saturating_duration_since(end).as_secs_f64();
        milliseconds.set(((forward - backward) * 1e3) as f32)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime(milliseconds: Out<f32>, start: CUevent, end: CUevent) -> CUresult {
    elapsed(milliseconds, start, end)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: CUevent, end: CUevent) -> CUresult {
    elapsed(milliseconds, start, end)
}
