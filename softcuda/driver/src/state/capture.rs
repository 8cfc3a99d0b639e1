//! Stream capture: submitted work becomes nodes of a graph instead of running. CUDA driver API, "Stream Management",
//! `cuStreamBeginCapture`, and the programming guide's section on prohibited operations.
//!
//! Any refused operation inside a capture invalidates the whole capture, as on the real driver: ending it then fails.

use super::context::Context;
use super::graph::{CUgraphNode, Graph};
use super::stream::{Event, InCapture, Kind, Recorded, Stream};
use super::table::{fresh, lock};
use super::work::Work;
use super::{CUgraph, CUstream, Driver};
use crate::api::result::{CUresult, Done};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// Which threads' unsafe calls a capture forbids: `CUstreamCaptureMode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

impl Mode {
    pub fn from_number(number: u32) -> Done<Mode> {
        match number {
            0 => Ok(Mode::Global),
            1 => Ok(Mode::ThreadLocal),
            2 => Ok(Mode::Relaxed),
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub fn number(self) -> u32 {
        self as u32
    }
}

thread_local! {
    /// The mode in which this thread's own unsafe calls are judged: `cuThreadExchangeStreamCaptureMode`.
    static THREAD_MODE: std::cell::Cell<Mode> = const { std::cell::Cell::new(Mode::Global) };
}

pub fn exchange_thread_mode(mode: Mode) -> Mode {
    THREAD_MODE.replace(mode)
}

/// A capture under way: the streams in it share it.
pub struct Capture {
    pub id: u64,
    mode: Mode,
    thread: ThreadId,
    origin: CUstream,
    /// The graph under construction, and whether this capture made it.
    pub graph: CUgraph,
    nodes: Arc<Mutex<Graph>>,
    made: bool,
    /// Names of a stream's last nodes, for a program that asks for them.
    names: Mutex<Vec<CUgraphNode>>,
    pub invalid: AtomicBool,
    pub ended: AtomicBool,
    /// Every stream that is or was in the capture.
    streams: Mutex<Vec<Arc<Stream>>>,
}

impl Capture {
    /// Refuses with `code` and spoils the capture.
    pub fn refuse<T>(&self, code: CUresult) -> Done<T> {
        self.invalid.store(true, Ordering::SeqCst);
        Err(code)
    }

    fn usable(&self) -> Done {
        if self.invalid.load(Ordering::SeqCst) { Err(CUresult::STREAM_CAPTURE_INVALIDATED) } else { Ok(()) }
    }
}

/// A program's graph that a capture appends to, and the nodes that its first work depends on.
pub struct Into {
    pub graph: CUgraph,
    pub nodes: Arc<Mutex<Graph>>,
    pub after: Vec<usize>,
}

/// Starts a capture on a stream, into a new graph unless `into` names one.
pub fn begin(driver: &Driver, context: &Context, stream: &Arc<Stream>, mode: Mode, into: Option<Into>) -> Done {
    if stream.kind == Kind::Legacy {
        return Err(CUresult::STREAM_CAPTURE_UNSUPPORTED);
    }
    let mut slot = lock(&stream.capturing);
    if slot.is_some() {
        return Err(CUresult::ILLEGAL_STATE);
    }
    let made = into.is_none();
    let Into { graph, nodes, after } = match into {
        Some(into) => into,
        None => {
            let graph = driver.graphs.insert(Mutex::default());
            Into { graph, nodes: driver.graphs.get(graph).ok_or(CUresult::UNKNOWN)?, after: Vec::new() }
        }
    };
    let capture = Arc::new(Capture {
        id: fresh::<()>().0 as u64 >> 4 & 0xffff_ffff,
        mode,
        thread: std::thread::current().id(),
        origin: stream.handle,
        graph,
        nodes,
        made,
        names: Mutex::default(),
        invalid: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        streams: Mutex::new(vec![stream.clone()]),
    });
    lock(&context.captures).push(capture.clone());
    *slot = Some(InCapture { capture, tails: after });
    Ok(())
}

/// Ends the capture that began on this stream. Errors: `ILLEGAL_STATE` when there is none, `STREAM_CAPTURE_WRONG_THREAD`,
/// `STREAM_CAPTURE_UNMATCHED` when it began on another stream, `STREAM_CAPTURE_INVALIDATED` after a refused call,
/// `STREAM_CAPTURE_UNJOINED` when another stream's work is not joined to this one.
pub fn end(driver: &Driver, context: &Context, stream: &Stream) -> Done<CUgraph> {
    let InCapture { capture, tails } = lock(&stream.capturing).clone().ok_or(CUresult::ILLEGAL_STATE)?;
    if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
        return Err(CUresult::STREAM_CAPTURE_WRONG_THREAD);
    }
    if capture.origin != stream.handle {
        return capture.refuse(CUresult::STREAM_CAPTURE_UNMATCHED);
    }
    let streams = std::mem::take(&mut *lock(&capture.streams));
    let mut joined = true;
    for other in streams {
        if let Some(part) = lock(&other.capturing).take() {
            let graph = lock(&capture.nodes);
            joined &= part.tails.iter().all(|tail| graph.reaches(*tail, &tails));
        }
    }
    capture.ended.store(true, Ordering::SeqCst);
    lock(&context.captures).retain(|c| c.id != capture.id);
    let unjoined = if joined { Ok(capture.graph) } else { Err(CUresult::STREAM_CAPTURE_UNJOINED) };
    let result = capture.usable().and(unjoined);
    if result.is_err() && capture.made {
        driver.graphs.remove(capture.graph);
    }
    result
}

/// The names of the nodes that the stream's next work depends on, kept until the next question.
pub fn tail_names(part: &InCapture) -> *const CUgraphNode {
    let graph = lock(&part.capture.nodes);
    let mut names = lock(&part.capture.names);
    *names = part.tails.iter().map(|tail| graph.nodes[*tail].name).collect();
    names.as_ptr()
}

/// Adds to the nodes that the stream's next work depends on, or replaces them.
pub fn change_tails(stream: &Stream, nodes: &[usize], replace: bool) -> Done {
    let mut slot = lock(&stream.capturing);
    let state = slot.as_mut().ok_or(CUresult::ILLEGAL_STATE)?;
    state.capture.usable()?;
    if replace {
        state.tails.clear();
    }
    state.tails.extend(nodes);
    state.tails.sort_unstable();
    state.tails.dedup();
    Ok(())
}

/// Puts work into the stream's capture; false when the stream is not being captured.
pub fn record(stream: &Stream, work: impl FnOnce() -> Work) -> Done<bool> {
    let mut slot = lock(&stream.capturing);
    let Some(state) = slot.as_mut() else { return Ok(false) };
    state.capture.usable()?;
    let node = lock(&state.capture.nodes).add(work(), &state.tails);
    state.tails = vec![node];
    Ok(true)
}

/// `cuEventRecord` and `cuStreamWaitEvent` inside captures.
pub fn record_event(stream: &Stream, event: &Event) -> Done<bool> {
    let slot = lock(&stream.capturing);
    let Some(state) = slot.as_ref() else { return Ok(false) };
    state.capture.usable()?;
    *lock(&event.last) = Recorded::Captured(state.clone());
    Ok(true)
}

/// A wait for an event. Inside a capture only events of the same capture can be waited for; an event of a capture pulls an uncaptured
/// stream into it.
pub fn wait_event(stream: &Arc<Stream>, event: &Event) -> Done {
    let last = lock(&event.last).clone();
    let mut slot = lock(&stream.capturing);
    match (slot.as_mut(), last) {
        (None, Recorded::Captured(from)) => {
            if from.capture.ended.load(Ordering::SeqCst) {
                return Ok(()); // the capture's graph owns the work; nothing to wait for
            }
            from.capture.usable()?;
            if stream.kind == Kind::Legacy {
                return from.capture.refuse(CUresult::STREAM_CAPTURE_UNSUPPORTED);
            }
            lock(&from.capture.streams).push(stream.clone());
            *slot = Some(from);
            Ok(())
        }
        (Some(to), Recorded::Captured(from)) => {
            to.capture.usable()?;
            if from.capture.id != to.capture.id {
                if from.capture.ended.load(Ordering::SeqCst) {
                    return to.capture.refuse(CUresult::STREAM_CAPTURE_ISOLATION);
                }
                from.capture.invalid.store(true, Ordering::SeqCst);
                return to.capture.refuse(CUresult::STREAM_CAPTURE_MERGE);
            }
            to.tails.extend(from.tails);
            to.tails.sort_unstable();
            to.tails.dedup();
            Ok(())
        }
        (Some(to), Recorded::Done(_) | Recorded::After(_)) => to.capture.refuse(CUresult::STREAM_CAPTURE_ISOLATION),
        (Some(to), Recorded::Never) => to.capture.usable(),
        (None, Recorded::After(pending)) => {
            super::pending::join(stream, &pending);
            Ok(())
        }
        (None, Recorded::Never | Recorded::Done(_)) => Ok(()),
    }
}

/// Refuses a call that waits for or queries a stream being captured.
pub fn refuse_wait(stream: &Stream) -> Done {
    match lock(&stream.capturing).as_ref() {
        Some(state) => state.capture.refuse(CUresult::STREAM_CAPTURE_UNSUPPORTED),
        None => Ok(()),
    }
}

/// Refuses work on the legacy stream while a stream that it is ordered with is being captured.
pub fn refuse_implicit(context: &Context, stream: &Stream) -> Done {
    if stream.kind != Kind::Legacy {
        return Ok(());
    }
    for capture in lock(&context.captures).iter() {
        if lock(&capture.streams).iter().any(|s| s.is_blocking()) {
            return capture.refuse(CUresult::STREAM_CAPTURE_IMPLICIT);
        }
    }
    Ok(())
}

/// For calls that wait for the whole device (allocation, free, module load, synchronous copy): they see what failed, and are refused while a
/// capture forbids such calls: one of this thread unless relaxed, or one of any thread in global mode.
pub fn enter_waiting(context: &Context) -> Done {
    let thread = std::thread::current().id();
    let own = THREAD_MODE.get();
    for capture in lock(&context.captures).iter() {
        let forbids = match own {
            Mode::Relaxed => false,
            Mode::ThreadLocal => capture.thread == thread && capture.mode != Mode::Relaxed,
            Mode::Global => capture.mode == Mode::Global || (capture.thread == thread && capture.mode != Mode::Relaxed),
        };
        if forbids {
            return capture.refuse(CUresult::STREAM_CAPTURE_UNSUPPORTED);
        }
    }
    context.settle()
}

impl Driver {
    /// Runs work, or puts it into the capture of its stream.
    pub fn submit(&self, context: &Context, stream: &Stream, work: Work) -> Done {
        refuse_implicit(context, stream)?;
        let mut work = Some(work);
        if record(stream, || work.take().expect("recorded once"))? {
            return Ok(());
        }
        match work.expect("not recorded") {
            Work::Host(callback) => {
                self.start_host(context, stream, callback);
                Ok(())
            }
            work => {
                self.wait_pending(context, stream);
                self.run(context, &work)
            }
        }
    }
}
