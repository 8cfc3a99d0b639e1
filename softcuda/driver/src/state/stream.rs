//! Streams and events. Work runs when it is submitted, on the submitting thread: an order that the API allows, since streams only add
//! freedom. What a stream keeps is whether it is being captured.

use super::CUcontext;
use super::capture::Capture;
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
        Stream { handle, context, kind, priority, capturing: Mutex::new(None) }
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

/// What an event was last recorded after.
#[derive(Clone)]
pub enum Recorded {
    Never,
    /// Work that was done at this time.
    Done(Instant),
    /// Nodes of a capture.
    Captured(InCapture),
}
