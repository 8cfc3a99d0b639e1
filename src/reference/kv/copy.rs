//! The definition of the cache's bookkeeping: copies of pages and slots, and the advance of lengths.

use super::CacheMut;
use crate::cache::{Status, checked_params};
use crate::{Error, Result};

/// Copies page `src[i]` to page `dst[i]`, for a fork or a page that stops being shared. A page that is written by one
/// pair and named by another has unspecified contents afterwards. A pair with an index outside the pool is skipped and
/// sets [`Status::BAD_PAGE`].
///
/// # Errors
/// [`Error::Argument`] for lengths that do not fit.
pub fn copy_pages(cache: &mut CacheMut<'_>, src: &[i32], dst: &[i32]) -> Result<()> {
    let bytes = cache.layout.page_bytes();
    check("kv::copy_pages", cache, src.len(), dst.len())?;
    copy(cache.pages, bytes, src, dst, Status::BAD_PAGE, cache.status);
    Ok(())
}

/// Copies the window of slot `src[i]` to slot `dst[i]`, as [`copy_pages`]; bad slots set [`Status::BAD_SLOT`]. Nothing to
/// do in formats without a window.
///
/// # Errors
/// As [`copy_pages`].
pub fn copy_state(cache: &mut CacheMut<'_>, src: &[i32], dst: &[i32]) -> Result<()> {
    let bytes = cache.layout.state_bytes();
    check("kv::copy_state", cache, src.len(), dst.len())?;
    if bytes > 0 {
        copy(cache.state, bytes, src, dst, Status::BAD_SLOT, cache.status);
    }
    Ok(())
}

/// `seq_lens[i] += cu_q_lens[i + 1] - cu_q_lens[i]`, wrapping: the lengths of the call that appends these new tokens.
///
/// # Errors
/// [`Error::Argument`] if `cu_q_lens` is not one longer than `seq_lens`.
pub fn advance_seq_lens(seq_lens: &mut [i32], cu_q_lens: &[i32]) -> Result<()> {
    check_advance(seq_lens.len(), cu_q_lens.len())?;
    for (len, pair) in seq_lens.iter_mut().zip(cu_q_lens.windows(2)) {
        *len = len.wrapping_add(pair[1].wrapping_sub(pair[0]));
    }
    Ok(())
}

fn check(op: &'static str, cache: &CacheMut<'_>, src: usize, dst: usize) -> Result<()> {
    let scales = [cache.k_scale, cache.v_scale].map(|scale| scale.map(<[f32]>::len));
    checked_params(op, &cache.layout, cache.pages.len(), cache.state.len(), 1, scales)?;
    check_pairs(op, src, dst)
}

/// Checks shared with the wrapper.
pub(crate) fn check_pairs(op: &'static str, src: usize, dst: usize) -> Result<()> {
    if src > 65_535 {
        return Err(Error::argument(op, "src", "at most 65535 elements", src.to_string()));
    }
    if src != dst {
        return Err(Error::argument(op, "dst", format!("{src} elements"), dst.to_string()));
    }
    Ok(())
}

/// Checks shared with the wrapper.
pub(crate) fn check_advance(seq_lens: usize, cu_q_lens: usize) -> Result<()> {
    const OP: &str = "kv::advance_seq_lens";
    if i32::try_from(seq_lens).is_err() {
        return Err(Error::argument(OP, "seq_lens", format!("at most {} elements", i32::MAX), seq_lens.to_string()));
    }
    if cu_q_lens != seq_lens + 1 {
        return Err(Error::argument(OP, "cu_q_lens", format!("{} elements", seq_lens + 1), cu_q_lens.to_string()));
    }
    Ok(())
}

fn copy(buffer: &mut [u8], bytes: usize, src: &[i32], dst: &[i32], bad: Status, status: &mut Status) {
    let count = buffer.len() / bytes;
    let index = |i: i32| usize::try_from(i).ok().filter(|&i| i < count);
    for (&src, &dst) in src.iter().zip(dst) {
        match (index(src), index(dst)) {
            (Some(src), Some(dst)) => buffer.copy_within(src * bytes..(src + 1) * bytes, dst * bytes),
            _ => *status |= bad,
        }
    }
}
