//! Stream management and capture. Work runs when it is submitted, in order; only host functions can be under way.

use super::abi::{Callback, Host, In, Out};
use super::result::{CUresult, Done};
use super::{entry, graph, in_context};
use crate::state::capture::{self, Mode};
use crate::state::context::Context;
use crate::state::graph::CUgraphNode;
use crate::state::stream::{InCapture, Kind, Stream};
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUcontext, CUevent, CUgraph, CUstream, Driver, driver};
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The highest priority, numerically the lowest.
pub const GREATEST_PRIORITY: c_int = -5;

fn create(out: Out<CUstream>, flags: u32, priority: c_int) -> CUresult {
    in_context(|driver, context| {
        let kind = match flags {
            0 => Kind::Blocking,
            1 => Kind::NonBlocking,
            _ => return Err(CUresult::INVALID_VALUE),
        };
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let priority = priority.clamp(GREATEST_PRIORITY, 0);
        out.set(driver.streams.insert_with(|handle| Stream::new(handle, context.handle, kind, priority)).handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(out: Out<CUstream>, flags: u32) -> CUresult {
    create(out, flags, 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreateWithPriority(out: Out<CUstream>, flags: u32, priority: c_int) -> CUresult {
    create(out, flags, priority)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(handle: CUstream) -> CUresult {
    in_context(|driver, context| {
        if handle.0 <= 2 {
            return Err(CUresult::INVALID_HANDLE);
        }
        let stream = context.stream(driver, handle)?;
        if let Some(state) = lock(&stream.capturing).as_ref() {
            state.capture.invalid.store(true, Ordering::SeqCst);
        }
        driver.streams.remove(handle);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(handle: CUstream) -> CUresult {
    in_context(|driver, context| {
        let stream = idle_check(driver, context, handle)?;
        driver.wait_pending(context, &stream);
        context.settle()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(handle: CUstream) -> CUresult {
    in_context(|driver, context| {
        let stream = idle_check(driver, context, handle)?;
        if driver.pending(context, &stream).is_empty() { context.settle() } else { Err(CUresult::NOT_READY) }
    })
}

/// A stream that may be asked whether it is idle: not one being captured.
fn idle_check(driver: &Driver, context: &Context, handle: CUstream) -> Done<Arc<Stream>> {
    let stream = context.stream(driver, handle)?;
    capture::refuse_wait(&stream)?;
    capture::refuse_implicit(context, &stream)?;
    Ok(stream)
}

/// `CU_EVENT_WAIT_EXTERNAL`: in a capture the wait is a node of the graph.
const EXTERNAL: u32 = 1;

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(handle: CUstream, event: CUevent, flags: u32) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, handle)?;
        let event = driver.events.get(event).ok_or(CUresult::INVALID_HANDLE)?;
        if flags > 1 {
            return Err(CUresult::INVALID_VALUE);
        }
        capture::refuse_implicit(context, &stream)?;
        if flags == EXTERNAL && capture::record(&stream, || Work::WaitEvent(event.clone()))? {
            return Ok(());
        }
        capture::wait_event(&stream, &event)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetPriority(handle: CUstream, out: Out<c_int>) -> CUresult {
    in_context(|driver, context| out.set(context.stream(driver, handle)?.priority))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetFlags(handle: CUstream, out: Out<u32>) -> CUresult {
    in_context(|driver, context| out.set((context.stream(driver, handle)?.kind == Kind::NonBlocking).into()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetId(handle: CUstream, out: Out<u64>) -> CUresult {
    in_context(|driver, context| out.set(context.stream(driver, handle)?.handle.0 as u64))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetCtx(handle: CUstream, out: Out<CUcontext>) -> CUresult {
    in_context(|driver, context| out.set(context.stream(driver, handle)?.context))
}

/// There are no green contexts.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetCtx_v2(handle: CUstream, out: Out<CUcontext>, green: Out<usize>) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, handle)?;
        green.set_if_wanted(0);
        out.set(stream.context)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetDevice(handle: CUstream, out: Out<c_int>) -> CUresult {
    in_context(|driver, context| {
        context.stream(driver, handle)?;
        out.set(0)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchHostFunc(
    handle: CUstream,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: Host,
) -> CUresult {
    in_context(|driver, context| {
        if function.is_none() {
            return Err(CUresult::INVALID_VALUE);
        }
        let stream = context.stream(driver, handle)?;
        driver.submit(context, &stream, Work::Host(Callback { function, data }))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchHostFunc_v2(
    handle: CUstream,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: Host,
    sync_mode: u32,
) -> CUresult {
    if sync_mode > 1 { CUresult::INVALID_VALUE } else { cuLaunchHostFunc(handle, function, data) }
}

/// `CUstreamCallback`.
type StreamCallback = unsafe extern "C" fn(CUstream, CUresult, *mut c_void);

/// A stream callback on its way, as the argument of a host function.
struct Called {
    function: StreamCallback,
    stream: CUstream,
    data: Host,
}

/// Host function that calls a stream callback. Promise: `called` is a box of [`Called`] that nobody else has.
unsafe extern "C" fn call_back(called: *mut c_void) {
    // SAFETY: the promise above.
    let Called { function, stream, data } = *unsafe { Box::from_raw(called.cast::<Called>()) };
    // SAFETY: the program promises that it can be called so.
    unsafe { function(stream, CUresult::SUCCESS, data.0) }
}

/// A host function by another name. It cannot be captured.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamAddCallback(
    handle: CUstream,
    function: Option<StreamCallback>,
    data: Host,
    flags: u32,
) -> CUresult {
    in_context(|driver, context| {
        let function = function.filter(|_| flags == 0).ok_or(CUresult::INVALID_VALUE)?;
        let stream = context.stream(driver, handle)?;
        capture::refuse_wait(&stream)?;
        capture::refuse_implicit(context, &stream)?;
        let called = Box::into_raw(Box::new(Called { function, stream: handle, data }));
        driver.start_host(context, &stream, Callback { function: Some(call_back), data: Host(called.cast()) });
        Ok(())
    })
}

/// Managed memory is visible to every stream in any case.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamAttachMemAsync(handle: CUstream, address: u64, _length: usize, flags: u32) -> CUresult {
    in_context(|driver, context| {
        context.stream(driver, handle)?;
        driver.allocations.holding(address).ok_or(CUresult::INVALID_VALUE)?;
        if matches!(flags, 1 | 2 | 4) { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(handle: CUstream, mode: u32) -> CUresult {
    in_context(|driver, context| {
        let mode = Mode::from_number(mode)?;
        capture::begin(driver, context, &context.stream(driver, handle)?, mode, None)
    })
}

/// Capture into a graph of the program, after some of its nodes.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCaptureToGraph(
    handle: CUstream,
    into: CUgraph,
    after: In<CUgraphNode>,
    _data: In<u64>,
    count: usize,
    mode: u32,
) -> CUresult {
    in_context(|driver, context| {
        let mode = Mode::from_number(mode)?;
        let after = after.slice(count)?.iter().map(|n| graph::place(into, *n)).collect::<Done<Vec<_>>>()?;
        let into = capture::Into { graph: into, nodes: graph::find(into)?.1, after };
        capture::begin(driver, context, &context.stream(driver, handle)?, mode, Some(into))
    })
}

fn update_tails(handle: CUstream, nodes: In<CUgraphNode>, count: usize, flags: u32) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, handle)?;
        let part = lock(&stream.capturing).clone().ok_or(CUresult::ILLEGAL_STATE)?;
        if flags > 1 {
            return Err(CUresult::INVALID_VALUE);
        }
        graph::name_nodes(driver, part.capture.graph)?;
        let nodes = nodes.slice(count)?.iter().map(|n| graph::place(part.capture.graph, *n));
        capture::change_tails(&stream, &nodes.collect::<Done<Vec<_>>>()?, flags == 1)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamUpdateCaptureDependencies(
    handle: CUstream,
    nodes: In<CUgraphNode>,
    count: usize,
    flags: u32,
) -> CUresult {
    update_tails(handle, nodes, count, flags)
}

/// Edge data other than the default has no meaning here.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamUpdateCaptureDependencies_v2(
    handle: CUstream,
    nodes: In<CUgraphNode>,
    _data: In<u64>,
    count: usize,
    flags: u32,
) -> CUresult {
    update_tails(handle, nodes, count, flags)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamEndCapture(handle: CUstream, out: Out<CUgraph>) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        out.set(CUgraph::NULL)?;
        let made = capture::end(driver, context, &*context.stream(driver, handle)?)?;
        graph::name_nodes(driver, made)?;
        out.set(made)
    })
}

/// `CUstreamCaptureStatus` and the stream's part in a capture.
fn status(handle: CUstream) -> Done<(u32, Option<InCapture>)> {
    let (driver, context) = crate::state::context::current()?;
    context.healthy()?;
    let stream = context.stream(driver, handle)?;
    capture::refuse_implicit(&context, &stream)?;
    let part = lock(&stream.capturing).clone();
    let status = match &part {
        None => 0,
        Some(part) if part.capture.invalid.load(Ordering::SeqCst) => 2,
        Some(_) => 1,
    };
    Ok((status, part))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamIsCapturing(handle: CUstream, out: Out<u32>) -> CUresult {
    entry(|| out.set(status(handle)?.0))
}

/// The capture's number, its graph under construction, and the nodes that the stream's next work depends on.
fn capture_info(
    handle: CUstream,
    out: Out<u32>,
    id: Out<u64>,
    place: Out<CUgraph>,
    nodes: Out<*const CUgraphNode>,
    count: Out<usize>,
) -> Done {
    let (status, part) = status(handle)?;
    out.set(status)?;
    if let Some(part) = part {
        graph::name_nodes(driver()?, part.capture.graph)?;
        id.set_if_wanted(part.capture.id);
        place.set_if_wanted(part.capture.graph);
        nodes.set_if_wanted(capture::tail_names(&part));
        count.set_if_wanted(part.tails.len());
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetCaptureInfo(handle: CUstream, out: Out<u32>, id: Out<u64>) -> CUresult {
    entry(|| capture_info(handle, out, id, Out::from_address(0), Out::from_address(0), Out::from_address(0)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetCaptureInfo_v2(
    handle: CUstream,
    out: Out<u32>,
    id: Out<u64>,
    graph: Out<CUgraph>,
    nodes: Out<*const CUgraphNode>,
    count: Out<usize>,
) -> CUresult {
    entry(|| capture_info(handle, out, id, graph, nodes, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetCaptureInfo_v3(
    handle: CUstream,
    out: Out<u32>,
    id: Out<u64>,
    graph: Out<CUgraph>,
    nodes: Out<*const CUgraphNode>,
    edges: Out<*const c_void>,
    count: Out<usize>,
) -> CUresult {
    entry(|| {
        edges.set_if_wanted(std::ptr::null());
        capture_info(handle, out, id, graph, nodes, count)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) -> CUresult {
    entry(|| {
        let new = Mode::from_number(mode.get()?)?;
        mode.set(capture::exchange_thread_mode(new).number())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCopyAttributes(_to: CUstream, _from: CUstream) -> CUresult {
    in_context(|_, _| Ok(()))
}

/// `CU_LAUNCH_ATTRIBUTE_PRIORITY`.
const PRIORITY: u32 = 8;

/// The priority; zeros for the others.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamGetAttribute(handle: CUstream, attribute: u32, value: Out<[u32; 16]>) -> CUresult {
    in_context(|driver, context| {
        let stream = context.stream(driver, handle)?;
        let mut bits = [0; 16];
        match attribute {
            PRIORITY => bits[0] = stream.priority as u32,
            1 | 3 | 9 | 10 => {}
            _ => return Err(CUresult::INVALID_VALUE),
        }
        value.set(bits)
    })
}

/// Attributes are hints of placement and order here; none changes a result.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSetAttribute(handle: CUstream, _attribute: u32, value: In<c_void>) -> CUresult {
    in_context(|driver, context| {
        context.stream(driver, handle)?;
        if value.is_null() { Err(CUresult::INVALID_VALUE) } else { Ok(()) }
    })
}
