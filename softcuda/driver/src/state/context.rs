//! Contexts: the primary one and those of `cuCtxCreate`, the stack of current contexts of each host thread, and what a kernel fault does.

use super::capture::Capture;
use super::stream::{Kind, Stream};
use super::table::{Handle, fresh, lock};
use super::{CUcontext, CUstream, Driver, driver};
use crate::api::result::{CUresult, Done};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// A context: what streams, modules, events and functions belong to.
pub struct Context {
    pub handle: CUcontext,
    pub primary: bool,
    /// False once it is destroyed, or for the primary context while nobody retains it.
    pub active: AtomicBool,
    pub flags: AtomicU32,
    pub cache_config: AtomicU32,
    pub limits: Mutex<HashMap<u32, usize>>,
    /// The error of a failed kernel.
    failure: Mutex<Failure>,
    /// Stream handles 0 and 1.
    legacy: Arc<Stream>,
    /// Stream handle 2.
    per_thread: Mutex<HashMap<ThreadId, Arc<Stream>>>,
    /// Captures under way.
    pub captures: Mutex<Vec<Arc<Capture>>>,
}

/// What a kernel fault does to its context.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Failure {
    #[default]
    None,
    /// It happened, and no call has waited for the device since: later work does not run, calls do not tell.
    Unseen(CUresult),
    /// A call has returned it: every later call returns it, until the context is destroyed.
    Sticky(CUresult),
}

impl Context {
    pub fn new(handle: CUcontext, primary: bool, flags: u32) -> Context {
        Context {
            handle,
            primary,
            active: AtomicBool::new(true),
            flags: AtomicU32::new(flags),
            cache_config: AtomicU32::new(0),
            limits: Mutex::new(HashMap::new()),
            failure: Mutex::default(),
            legacy: Arc::new(Stream::new(Handle::new(1), handle, Kind::Legacy, 0)),
            per_thread: Mutex::new(HashMap::new()),
            captures: Mutex::new(Vec::new()),
        }
    }

    /// Refuses a call in a context whose fault has been seen.
    pub fn healthy(&self) -> Done {
        match *lock(&self.failure) {
            Failure::Sticky(code) => Err(code),
            Failure::None | Failure::Unseen(_) => Ok(()),
        }
    }

    /// For calls that wait for the device: they see what failed.
    pub fn settle(&self) -> Done {
        let mut failure = lock(&self.failure);
        match *failure {
            Failure::None => Ok(()),
            Failure::Unseen(code) | Failure::Sticky(code) => {
                *failure = Failure::Sticky(code);
                Err(code)
            }
        }
    }

    /// Whether a kernel has failed: the device does nothing more for this context.
    pub fn broken(&self) -> bool {
        *lock(&self.failure) != Failure::None
    }

    /// Breaks the context; the first fault counts.
    pub fn fail(&self, code: CUresult) {
        let mut failure = lock(&self.failure);
        if *failure == Failure::None {
            *failure = Failure::Unseen(code);
        }
    }

    pub fn clear_error(&self) {
        *lock(&self.failure) = Failure::None;
    }

    /// The stream of a handle, the special ones included. A stream of another context is `INVALID_HANDLE`, as a destroyed one.
    pub fn stream(&self, driver: &Driver, handle: CUstream) -> Done<Arc<Stream>> {
        match handle.0 {
            0 | 1 => Ok(self.legacy.clone()),
            2 => {
                let mut streams = lock(&self.per_thread);
                let stream = streams
                    .entry(std::thread::current().id())
                    .or_insert_with(|| Arc::new(Stream::new(fresh(), self.handle, Kind::PerThread, 0)));
                Ok(stream.clone())
            }
            _ => {
                let stream = driver.streams.get(handle).ok_or(CUresult::INVALID_HANDLE)?;
                if stream.context == self.handle { Ok(stream) } else { Err(CUresult::INVALID_HANDLE) }
            }
        }
    }

    /// Stream handle 0.
    pub fn legacy(&self) -> &Stream {
        &self.legacy
    }

    /// The streams that are not in the driver's table.
    pub fn own_streams(&self) -> Vec<Arc<Stream>> {
        lock(&self.per_thread).values().chain([&self.legacy]).cloned().collect()
    }

    /// Frees what belongs to the context.
    pub fn release(&self, driver: &Driver) {
        driver.wait_all(self);
        self.active.store(false, Ordering::SeqCst);
        let mine = self.handle;
        driver.execs.retain(|e| e.context != mine);
        driver.events.retain(|e| e.context != mine);
        driver.streams.retain(|s| s.context != mine);
        driver.functions.retain(|f| f.context != mine);
        driver.modules.retain(|m| m.context != mine);
        driver.free_all(mine);
        lock(&self.per_thread).clear();
        lock(&self.captures).clear();
        lock(&self.limits).clear();
        self.clear_error();
    }
}

thread_local! {
    /// Contexts of this host thread, the current one last.
    static STACK: RefCell<Vec<CUcontext>> = const { RefCell::new(Vec::new()) };
}

/// The current context's handle, null if none.
pub fn current_handle() -> CUcontext {
    STACK.with_borrow(|s| s.last().copied().unwrap_or(CUcontext::NULL))
}

/// Replaces the current context; null pops it.
pub fn set_current(handle: CUcontext) {
    STACK.with_borrow_mut(|s| {
        s.pop();
        if !handle.is_null() {
            s.push(handle);
        }
    });
}

pub fn push(handle: CUcontext) {
    STACK.with_borrow_mut(|s| s.push(handle));
}

pub fn pop() -> Done<CUcontext> {
    STACK.with_borrow_mut(|s| s.pop()).ok_or(CUresult::INVALID_CONTEXT)
}

/// The driver and the current context, whatever its state.
pub fn current() -> Done<(&'static Driver, Arc<Context>)> {
    let driver = driver()?;
    let handle = current_handle();
    if handle.is_null() {
        return Err(CUresult::INVALID_CONTEXT);
    }
    let context = driver.contexts.get(handle).ok_or(CUresult::CONTEXT_IS_DESTROYED)?;
    if context.active.load(Ordering::SeqCst) { Ok((driver, context)) } else { Err(CUresult::CONTEXT_IS_DESTROYED) }
}
