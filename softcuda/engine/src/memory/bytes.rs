//! Raw bytes of one allocation, read and written by several worker threads at once.
//!
//! Every access of a kernel is a relaxed atomic of its own width, so blocks that race with each other give some value and no undefined
//! behaviour of the host. (Rust leaves racing accesses of *different* widths open; only a kernel that is itself at fault makes
//! them, and on the CPUs that run this they are plain loads and stores.)

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Alignment of owned bytes on the host; every device access is aligned relative to it.
const HOST_ALIGN: usize = 512;

/// A run of bytes at a fixed host address, owned or borrowed from the host program.
///
/// Invariants: (0) `ptr..ptr+len` is readable and writable for as long as the value lives; (1) `owned` is the layout `ptr` was allocated
/// with, or `None` for borrowed memory.
pub(crate) struct Bytes {
    ptr: NonNull<u8>,
    len: usize,
    owned: Option<Layout>,
}

// SAFETY: the bytes are reached only through atomics, or through `&mut self` and the documented exclusivity of `read`.
unsafe impl Send for Bytes {}
// SAFETY: as for Send.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// `len` bytes, all set to `fill`; `None` when the host has no memory for them.
    pub(crate) fn filled(len: usize, fill: u8) -> Option<Bytes> {
        let layout = Layout::from_size_align(len.max(1), HOST_ALIGN).ok()?;
        let allocate = if fill == 0 { std::alloc::alloc_zeroed } else { std::alloc::alloc };
        // SAFETY: the size is not zero.
        let ptr = unsafe { allocate(layout) };
        let ptr = NonNull::new(ptr)?;
        if fill != 0 {
            // SAFETY: freshly allocated with this size.
            unsafe { ptr.as_ptr().write_bytes(fill, len) };
        }
        Some(Bytes { ptr, len, owned: Some(layout) })
    }

    /// Memory of the host program.
    ///
    /// # Safety
    /// 0. `ptr..ptr+len` stays readable and writable until the value is dropped.
    /// 1. While a kernel runs nobody else touches it except through atomics.
    pub(crate) unsafe fn borrowed(ptr: NonNull<u8>, len: usize) -> Bytes {
        Bytes { ptr, len, owned: None }
    }

    #[inline(always)]
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset <= self.len && size <= self.len - offset, "access escaped its bounds check");
        // SAFETY: inside the run, by the assertion.
        unsafe { self.ptr.as_ptr().add(offset) }
    }

    /// One value of `size` (1, 2, 4, 8 or 16) bytes, little endian in 32-bit words; the unused words are zero.
    ///
    /// `offset` is a multiple of `size` (of 8 for 16).
    #[inline(always)]
    pub(crate) fn load(&self, offset: usize, size: usize) -> [u32; 4] {
        let p = self.at(offset, size);
        // SAFETY: `at` checked the range, the caller the alignment.
        unsafe {
            match size {
                1 => load::<1>(p),
                2 => load::<2>(p),
                4 => load::<4>(p),
                8 => load::<8>(p),
                16 => load::<16>(p),
                _ => unreachable!("access of {size} bytes"),
            }
        }
    }

    /// [`Bytes::load`] without its bounds check.
    ///
    /// # Safety
    /// 0. `offset + SIZE` is at most the length.
    /// 1. `offset` is a multiple of `SIZE`.
    #[inline(always)]
    pub(crate) unsafe fn load_at<const SIZE: usize>(&self, offset: usize) -> [u32; 4] {
        // SAFETY: (0) and (1).
        unsafe { load::<SIZE>(self.ptr.as_ptr().add(offset)) }
    }

    /// [`Bytes::store`] without its bounds check.
    ///
    /// # Safety
    /// As [`Bytes::load_at`].
    #[inline(always)]
    pub(crate) unsafe fn store_at<const SIZE: usize>(&self, offset: usize, value: [u32; 4]) {
        // SAFETY: (0) and (1).
        unsafe { store::<SIZE>(self.ptr.as_ptr().add(offset), value) }
    }

    /// Stores what [`Bytes::load`] would read back.
    #[inline(always)]
    pub(crate) fn store(&self, offset: usize, size: usize, value: [u32; 4]) {
        let p = self.at(offset, size);
        // SAFETY: `at` checked the range, the caller the alignment.
        unsafe {
            match size {
                1 => store::<1>(p, value),
                2 => store::<2>(p, value),
                4 => store::<4>(p, value),
                8 => store::<8>(p, value),
                16 => store::<16>(p, value),
                _ => unreachable!("access of {size} bytes"),
            }
        }
    }

    /// Replaces the value of `size` (2, 4 or 8) bytes by `f` of it in one indivisible step and returns the old one.
    pub(crate) fn update(&self, offset: usize, size: usize, f: impl Fn(u64) -> u64) -> u64 {
        let p = self.at(offset, size);
        // SAFETY: `at` checked the range, the caller the alignment.
        unsafe {
            match size {
                2 => {
                    let a = AtomicU16::from_ptr(p.cast());
                    a.fetch_update(SeqCst, SeqCst, |v| Some(f(v as u64) as u16)).unwrap_or_else(|v| v) as u64
                }
                4 => {
                    let a = AtomicU32::from_ptr(p.cast());
                    a.fetch_update(SeqCst, SeqCst, |v| Some(f(v as u64) as u32)).unwrap_or_else(|v| v) as u64
                }
                8 => {
                    let a = AtomicU64::from_ptr(p.cast());
                    a.fetch_update(SeqCst, SeqCst, |v| Some(f(v))).unwrap_or_else(|v| v)
                }
                _ => unreachable!("atomic of {size} bytes"),
            }
        }
    }

    /// Copies bytes out. No kernel may be running.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        let p = self.at(offset, out.len());
        // SAFETY: `at` checked the range; kernels run only under an exclusive borrow of the space that owns this.
        unsafe { std::ptr::copy(p, out.as_mut_ptr(), out.len()) };
    }

    /// Copies bytes in.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) {
        let p = self.at(offset, data.len());
        // SAFETY: `at` checked the range; `&mut self`.
        unsafe { std::ptr::copy(data.as_ptr(), p, data.len()) };
    }

    /// The bytes as a slice, for host-side fills and copies.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: invariant (0); `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }

    /// The bytes as a slice. No kernel may be running.
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: invariant (0); kernels run only under an exclusive borrow of the space that owns this.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// One value at `p`, as words.
///
/// # Safety
/// 0. `p` is valid for reads of `SIZE` bytes and aligned to `SIZE` (8 for 16).
/// 1. Others touch these bytes only by atomics.
#[inline(always)]
unsafe fn load<const SIZE: usize>(p: *mut u8) -> [u32; 4] {
    // SAFETY: (0) and (1).
    unsafe {
        match SIZE {
            1 => [AtomicU8::from_ptr(p).load(Relaxed) as u32, 0, 0, 0],
            2 => [AtomicU16::from_ptr(p.cast()).load(Relaxed) as u32, 0, 0, 0],
            4 => [AtomicU32::from_ptr(p.cast()).load(Relaxed), 0, 0, 0],
            _ => {
                let v = AtomicU64::from_ptr(p.cast()).load(Relaxed);
                let w = if SIZE == 16 { AtomicU64::from_ptr(p.add(8).cast()).load(Relaxed) } else { 0 };
                [v as u32, (v >> 32) as u32, w as u32, (w >> 32) as u32]
            }
        }
    }
}

/// Writes what [`load`] reads.
///
/// # Safety
/// As [`load`], for writes.
#[inline(always)]
unsafe fn store<const SIZE: usize>(p: *mut u8, value: [u32; 4]) {
    let low = value[0] as u64 | (value[1] as u64) << 32;
    // SAFETY: (0) and (1).
    unsafe {
        match SIZE {
            1 => AtomicU8::from_ptr(p).store(low as u8, Relaxed),
            2 => AtomicU16::from_ptr(p.cast()).store(low as u16, Relaxed),
            4 => AtomicU32::from_ptr(p.cast()).store(low as u32, Relaxed),
            _ => {
                AtomicU64::from_ptr(p.cast()).store(low, Relaxed);
                if SIZE == 16 {
                    AtomicU64::from_ptr(p.add(8).cast()).store(value[2] as u64 | (value[3] as u64) << 32, Relaxed);
                }
            }
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(layout) = self.owned {
            // SAFETY: invariant (1).
            unsafe { std::alloc::dealloc(self.ptr.as_ptr(), layout) };
        }
    }
}
