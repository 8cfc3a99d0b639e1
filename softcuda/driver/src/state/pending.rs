//! Host functions under way. They are the one kind of work that does not run on the submitting thread: a host function may wait for what
//! that thread does next. Work that a stream gets after one waits for it.

use super::Driver;
use super::context::Context;
use super::stream::{Kind, Stream};
use super::table::lock;
use crate::api::abi::Callback;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// One host function that was submitted.
pub struct Pending {
    finished: Mutex<Option<Instant>>,
    changed: Condvar,
}

/// Host functions not finished, in the whole process: almost always none, and then nobody looks further.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

impl Pending {
    /// Calls the function on a thread of its own, after the others.
    fn start(callback: Callback, after: Vec<Arc<Pending>>) -> Arc<Pending> {
        let pending = Arc::new(Pending { finished: Mutex::new(None), changed: Condvar::new() });
        UNFINISHED.fetch_add(1, Ordering::SeqCst);
        let own = pending.clone();
        std::thread::spawn(move || {
            after.iter().for_each(|p| p.wait());
            callback.call();
            *lock(&own.finished) = Some(Instant::now());
            UNFINISHED.fetch_sub(1, Ordering::SeqCst);
            own.changed.notify_all();
        });
        pending
    }

    /// When it returned, if it has.
    pub fn finished(&self) -> Option<Instant> {
        *lock(&self.finished)
    }

    pub fn wait(&self) {
        let mut finished = lock(&self.finished);
        while finished.is_none() {
            finished = self.changed.wait(finished).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Driver {
    /// Host functions that new work on the stream must wait for: the stream's own, and across the order between the legacy stream and
    /// blocking streams.
    pub fn pending(&self, context: &Context, stream: &Stream) -> Vec<Arc<Pending>> {
        if UNFINISHED.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        let mut all = unfinished(stream);
        if stream.kind == Kind::Legacy {
            for other in self.streams.all(|s| s.context == context.handle && s.is_blocking()) {
                all.extend(unfinished(&other));
            }
        } else if stream.is_blocking() {
            all.extend(unfinished(context.legacy()));
        }
        all
    }

    /// Waits until the stream has nothing under way.
    pub fn wait_pending(&self, context: &Context, stream: &Stream) {
        self.pending(context, stream).iter().for_each(|p| p.wait());
    }

    /// Waits until no stream of the context has anything under way.
    pub fn wait_all(&self, context: &Context) {
        if UNFINISHED.load(Ordering::SeqCst) > 0 {
            let streams = self.streams.all(|s| s.context == context.handle);
            let own = context.own_streams();
            for stream in streams.iter().chain(&own) {
                unfinished(stream).iter().for_each(|p| p.wait());
            }
        }
    }

    /// Submits a host function.
    pub fn start_host(&self, context: &Context, stream: &Stream, callback: Callback) {
        let pending = Pending::start(callback, self.pending(context, stream));
        *lock(&stream.pending) = vec![pending];
    }
}

/// The stream's host functions that have not returned.
fn unfinished(stream: &Stream) -> Vec<Arc<Pending>> {
    let mut list = lock(&stream.pending);
    list.retain(|p| p.finished().is_none());
    list.clone()
}

/// Makes later work on the stream wait for something of another stream.
pub fn join(stream: &Stream, others: &[Arc<Pending>]) {
    lock(&stream.pending).extend(others.iter().cloned());
}
