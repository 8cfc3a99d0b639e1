//! Pointers as the C caller passes them. Each type stands for one promise of the CUDA API; only the caller makes them, softcuda never
//! does, so that each promise is answered for in one place.

use super::result::{CUresult, Done};
use std::ffi::{CStr, c_char, c_void};

/// A place for a result. Promise: null, or valid and aligned for one write of `T`.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// Writes the result; a null place is `INVALID_VALUE`.
    pub fn set(self, value: T) -> Done {
        if self.0.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        self.set_if_wanted(value);
        Ok(())
    }

    /// Writes the result unless the caller passed null.
    pub fn set_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, so valid for a write by the promise of the type.
            unsafe { self.0.write(value) }
        }
    }

    /// The same place taken as another type. The API has untyped places whose type another argument names; the promise is then about that type.
    pub fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// The `index`-th place after this one. Promise: the caller's array is that long.
    pub fn at(self, index: usize) -> Out<T> {
        Out(self.0.wrapping_add(index))
    }

    /// A place whose address the caller passed as a number.
    pub fn from_address(address: usize) -> Out<T> {
        Out(address as *mut T)
    }

    /// The place as a number, to be kept where a pointer cannot be.
    pub fn address(self) -> usize {
        self.0 as usize
    }

    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The value that stands there: for places that are read first. A null place is `INVALID_VALUE`.
    pub fn get(self) -> Done<T>
    where
        T: Copy,
    {
        if self.0.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: not null; the API's read-then-write places hold a value when the call is made.
        Ok(unsafe { self.0.read() })
    }

    /// Writes `values` one after another, as many as `capacity` allows. Promise: room for `capacity` values.
    pub fn fill(self, values: impl IntoIterator<Item = T>, capacity: usize) {
        if self.0.is_null() {
            return;
        }
        for (i, value) in values.into_iter().take(capacity).enumerate() {
            // SAFETY: i < capacity, which the caller promised room for.
            unsafe { self.0.add(i).write(value) }
        }
    }
}

/// An array that the caller keeps for the call. Promise: null, or valid for reads of as many values as the call's count says.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T> Clone for In<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for In<T> {}

impl<T> In<T> {
    /// `count` values; a null array is `INVALID_VALUE` unless `count` is 0.
    pub fn slice<'a>(self, count: usize) -> Done<&'a [T]> {
        match (self.0.is_null(), count) {
            (_, 0) => Ok(&[]),
            (true, _) => Err(CUresult::INVALID_VALUE),
            // SAFETY: not null, and the caller promised `count` values for the length of the call.
            (false, _) => Ok(unsafe { std::slice::from_raw_parts(self.0, count) }),
        }
    }

    /// The one value; a null pointer is `INVALID_VALUE`.
    pub fn one<'a>(self) -> Done<&'a T> {
        Ok(&self.slice(1)?[0])
    }

    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The array's address.
    pub fn address(self) -> usize {
        self.0 as usize
    }

    pub fn null() -> In<T> {
        In(std::ptr::null())
    }

    /// An array whose address the caller passed as a number.
    pub fn from_address(address: usize) -> In<T> {
        In(address as *const T)
    }
}

/// A text. Promise: null, or NUL-terminated and kept for the call.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    /// The bytes before the NUL; a null pointer is `INVALID_VALUE`.
    pub fn bytes<'a>(self) -> Done<&'a [u8]> {
        if self.0.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        // SAFETY: not null, so NUL-terminated by the promise of the type.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }

    /// The text; null or not UTF-8 is `INVALID_VALUE`.
    pub fn str<'a>(self) -> Done<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CUresult::INVALID_VALUE)
    }
}

/// Host memory that the caller asked to have copied. Promise: valid for the count of bytes that the call or the graph node names, whenever
/// the copy runs.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(pub *mut c_void);

// SAFETY: the API lets any thread run a copy that another one asked for; the promise of the type holds on every thread.
unsafe impl Send for Host {}
// SAFETY: as above; softcuda never makes a reference from it that outlives the copy.
unsafe impl Sync for Host {}

impl Host {
    /// `count` bytes to read.
    pub fn bytes<'a>(self, count: usize) -> &'a [u8] {
        // SAFETY: the promise of the type.
        unsafe { std::slice::from_raw_parts(self.0.cast(), count) }
    }

    /// `count` bytes to write.
    pub fn bytes_mut<'a>(self, count: usize) -> &'a mut [u8] {
        // SAFETY: the promise of the type; the API leaves concurrent use of the range undefined.
        unsafe { std::slice::from_raw_parts_mut(self.0.cast(), count) }
    }
}

/// A function of the program for `cuLaunchHostFunc` and its argument. Promise: callable with that argument on any thread.
#[derive(Clone, Copy)]
pub struct Callback {
    pub function: Option<unsafe extern "C" fn(*mut c_void)>,
    pub data: Host,
}

impl Callback {
    pub fn call(self) {
        if let Some(function) = self.function {
            // SAFETY: the promise of the type.
            unsafe { function(self.data.0) }
        }
    }
}
