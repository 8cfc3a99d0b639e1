//! Streams and events. Work runs when it is submitted, on the submitting thread: an order that the API allows, since streams only add
//! freedom. What a stream keeps is whether it is being captured, and host functions under way.

use super::CUcontext;
use super::capture::Capture;
use super::pending::Pending;
use super::table::Handle;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Which of the API's kinds of stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Handle 0 or 1: waits for every blocking stream, and they for it. Cannot be captured.
    Legacy,
    /// Handle 2.
    PerThread,
    /// `CU_STREAM_DEFAULT`: ordered with the legacy stream.
    Blocking,
    /// `CU_STREAM_NON_BLOCKING`.
    NonBlocking,
}

pub struct Stream {
    pub handle: Handle<Stream>,
    pub context: CUcontext,
    pub kind: Kind,
    pub priority: i32,
    /// Set while the stream's work goes into a graph.
    pub capturing: Mutex<Option<InCapture>>,
    /// Host functions that later work waits for.
    pub pending: Mutex<Vec<Arc<Pending>>>,
}

/// A stream's part in a capture.
#[derive(Clone)]
pub struct InCapture {
    pub capture: Arc<Capture>,
    /// Nodes that the next node of this stream depends on.
    pub tails: Vec<usize>,
}

impl Stream {
    pub fn new(handle: Handle<Stream>, context: CUcontext, kind: Kind, priority: i32) -> Stream {
        Stream { handle, context, kind, priority, capturing: Mutex::new(None), pending: Mutex::default() }
    }

    /// Ordered with the legacy stream.
    pub fn is_blocking(&self) -> bool {
        matches!(self.kind, Kind::Blocking | Kind::PerThread)
    }
}

pub struct Event {
    pub context: CUcontext,
    /// Made without `CU_EVENT_DISABLE_TIMING`.
    pub timed: bool,
    pub last: Mutex<Recorded>,
}

impl Recorded {
    /// When the event happened; `None` while it has not.
    pub fn time(&self) -> Option<Instant> {
        match self {
            Recorded::Done(time) => Some(*time),
            Recorded::After(pending) => {
                pending.iter().map(|p| p.finished()).collect::<Option<Vec<_>>>()?.into_iter().max()
            }
            Recorded::Never | Recorded::Captured(_) => None,
        }
    }
}

/// What an event was last recorded after.
#[derive(Clone)]
pub enum Recorded {
    Never,
    /// Work that was done at this time.
    Done(Instant),
    /// Host functions, done when the last of them returns.
    After(Vec<Arc<Pending>>),
    /// Nodes of a capture.
    Captured(InCapture),
}
