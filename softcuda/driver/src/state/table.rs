//! Handles. The API's opaque pointers are here numbers that are never given twice, looked up in a table: a stale or foreign handle is an
//! error code, not a crash.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// `CUstream`, `CUmodule`, ... as the API passes them: the size of a pointer, null for "none".
#[repr(transparent)]
pub struct Handle<T>(pub usize, PhantomData<fn() -> T>);

impl<T> Handle<T> {
    pub const NULL: Handle<T> = Handle(0, PhantomData);

    pub const fn new(number: usize) -> Handle<T> {
        Handle(number, PhantomData)
    }

    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Handle<T> {}

impl<T> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A handle that no table has given yet. Above the special stream handles 0, 1 and 2, and outside any mapped page.
pub fn fresh<T>() -> Handle<T> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    Handle::new((NEXT.fetch_add(1, Ordering::Relaxed) << 4) | 0x5c00_0000_0000_0000)
}

/// The live objects of one kind.
pub struct Table<T>(Mutex<HashMap<usize, Arc<T>>>);

impl<T> Table<T> {
    pub fn new() -> Table<T> {
        Table(Mutex::new(HashMap::new()))
    }

    /// Makes an object that knows its own handle.
    pub fn insert_with(&self, make: impl FnOnce(Handle<T>) -> T) -> Arc<T> {
        let handle = fresh();
        let object = Arc::new(make(handle));
        self.lock().insert(handle.0, object.clone());
        object
    }

    pub fn insert(&self, object: T) -> Handle<T> {
        let handle = fresh();
        self.lock().insert(handle.0, Arc::new(object));
        handle
    }

    /// An object under a handle that [`fresh`] gave.
    pub fn put(&self, handle: Handle<T>, object: T) {
        self.lock().insert(handle.0, Arc::new(object));
    }

    pub fn get(&self, handle: Handle<T>) -> Option<Arc<T>> {
        self.lock().get(&handle.0).cloned()
    }

    /// The handle of an object of the table.
    pub fn handle_of(&self, object: &Arc<T>) -> Option<Handle<T>> {
        self.lock().iter().find(|(_, o)| Arc::ptr_eq(o, object)).map(|(h, _)| Handle::new(*h))
    }

    pub fn remove(&self, handle: Handle<T>) -> Option<Arc<T>> {
        self.lock().remove(&handle.0)
    }

    /// The objects for which `is` is true.
    pub fn all(&self, is: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        self.lock().values().filter(|object| is(object)).cloned().collect()
    }

    /// Drops the objects for which `keep` is false.
    pub fn retain(&self, keep: impl Fn(&T) -> bool) {
        let dropped: Vec<_> = {
            let mut table = self.lock();
            let gone: Vec<usize> = table.iter().filter(|(_, object)| !keep(object)).map(|(h, _)| *h).collect();
            gone.iter().filter_map(|h| table.remove(h)).collect()
        };
        drop(dropped); // after the lock: an object's drop may use the table
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a mutex whose data stays whole when a holder panics.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
