//! The window rule: which tokens are read as codes and which in the model's dtype. One definition for all.
//!
//! With n = `seq_len` including this call's m tokens and p0 = n - m (the position of the call's first token):
//!
//! - key codes are read for t < F_k = R * floor(p0 / R), the window for F_k <= t < n;
//! - value codes are read for t < F_v = max(0, p0 - R), the window for F_v <= t < n.
//!
//! So F_v <= F_k, at most R apart, and F_v is not tile aligned. For m = 1 this is KIVI; for m > 1 every row of the call
//! follows the rule of its first row. What is read depends on (n, m) alone: there are no counters.
//!
//! **Coding.** A value is coded into its page when it is appended, and also copied to the window, so its code never
//! depends on later tokens. Keys are coded in groups of R from the window when the group lies below p0. An append does
//! not know the p0 of the call before, only that it was at least p0 - `max_append`; so it codes every group that ends in
//! (p0 - `max_append`, p0] ([`flush`]). Coding a group twice writes the same bytes.
//!
//! **Ring.** The window of a slot is a ring of W rows, row = position mod W. A flush reads back to
//! p0 - `max_append` - R + 1; rows may have been written up to p0 + `max_append` (rejected drafts of the call before, or
//! this call's rows); so W = R + 2 * `max_append` - 1, rounded up to a multiple of the tile (32 or 64 tokens) so that a tile
//! is contiguous in the ring.
//!
//! **Drafts.** Rejected drafts of the last append are undone by lowering `seq_len`: p0 may be anything from that
//! append's p0 to its n. They are never coded, because a flush looks only below p0.
//!
//! **Reuse.** A sequence that starts on shared pages has an empty window: `ring_start` (a multiple of R) says from where
//! its window is valid. No key group below it is coded again, and values below it are read as codes.

use std::ops::Range;

/// Rows of the ring of one slot: R + 2 * max_append - 1, rounded up to a multiple of the tile.
pub const fn ring_rows(residual: usize, max_append: usize, tile: usize) -> usize {
    (residual + 2 * max_append - 1).next_multiple_of(tile)
}

/// F_k(p0): keys below are read as codes. With no window (`residual` = 0) everything is coded: `end`.
pub const fn keys_coded(p0: usize, residual: usize, end: usize) -> usize {
    match residual {
        0 => end,
        r => p0 / r * r,
    }
}

/// F_v(p0): values below are read as codes; never below `ring_start`. With no window everything is coded: `end`.
pub const fn values_coded(p0: usize, residual: usize, ring_start: usize, end: usize) -> usize {
    match residual {
        0 => end,
        r => {
            let first = p0.saturating_sub(r);
            if first > ring_start { first } else { ring_start }
        }
    }
}

/// `ring_start` as it counts: rounded down to a multiple of R and into `0..=F_k(p0)`; false if it had to be.
pub const fn effective_ring_start(ring_start: i32, p0: usize, residual: usize) -> (usize, bool) {
    if residual == 0 {
        return (0, true);
    }
    let coded = keys_coded(p0, residual, 0);
    if ring_start < 0 {
        return (0, false);
    }
    let start = ring_start as usize;
    if start > coded { (coded, false) } else { (start / residual * residual, start.is_multiple_of(residual)) }
}

/// The keys that an append at p0 codes: whole groups of R that end in (p0 - max_append, end], none below `ring_start`.
/// `end` is p0 for an append and n for a prefill.
pub const fn flush(p0: usize, end: usize, residual: usize, max_append: usize, ring_start: usize) -> Range<usize> {
    let last = keys_coded(end, residual, end);
    let first = keys_coded(p0.saturating_sub(max_append), residual, 0);
    let first = if first > ring_start { first } else { ring_start };
    first..if last > first { last } else { first }
}

/// The first position whose row an append of `p0..n` copies to the window: all of them for m <= max_append; the last
/// R + max_append of a longer chunk.
pub const fn first_kept(p0: usize, n: usize, residual: usize, max_append: usize) -> usize {
    let first = n.saturating_sub(residual + max_append);
    if first > p0 { first } else { p0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks random call sequences and checks, in a model of the ring that holds positions, that every row a flush or an
    /// attend reads is the row it wants.
    #[test]
    fn the_ring_holds_every_row_that_is_read() {
        let mut seed = 1u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for _ in 0..300 {
            let residual = [32, 64, 128][random(3)];
            let max_append = [1, 2, 5, 16, 64][random(5)];
            let rows = ring_rows(residual, max_append, 32);
            let mut ring = vec![usize::MAX; rows];
            let (mut coded, mut low, mut high) = (0, 0, 0);
            for step in 0..400 {
                let prefill = step > 0 && random(40) == 0;
                let p0 = if prefill { high } else { low + random(high - low + 1) };
                let m = if prefill { 1 + random(4 * rows) } else { 1 + random(max_append) };
                let n = p0 + m;
                let range = flush(p0, if prefill { n } else { p0 }, residual, max_append, 0);
                assert!(range.start <= coded, "a group is never coded: {range:?} after {coded}");
                for t in range.clone().filter(|&t| t < p0) {
                    assert_eq!(ring[t % rows], t, "flush at p0 {p0} R {residual} max_append {max_append}");
                }
                coded = coded.max(range.end);
                for t in first_kept(p0, n, residual, max_append)..n {
                    ring[t % rows] = t;
                }
                assert!(coded >= keys_coded(p0, residual, 0));
                if !prefill {
                    for t in values_coded(p0, residual, 0, 0)..n {
                        assert_eq!(ring[t % rows], t, "attend at p0 {p0} n {n}");
                    }
                }
                (low, high) = (if prefill { n } else { p0 }, n);
            }
        }
    }

    #[test]
    fn the_rule_at_its_edges() {
        assert_eq!(keys_coded(31, 32, 99), 0);
        assert_eq!(keys_coded(32, 32, 99), 32);
        assert_eq!(keys_coded(5, 0, 99), 99);
        assert_eq!(values_coded(32, 32, 0, 99), 0);
        assert_eq!(values_coded(33, 32, 0, 99), 1);
        assert_eq!(values_coded(70, 32, 64, 99), 64);
        assert_eq!(flush(32, 32, 32, 1, 0), 0..32);
        assert_eq!(flush(33, 33, 32, 1, 0), 32..32);
        assert_eq!(flush(33, 33, 32, 4, 0), 0..32);
        assert_eq!(flush(70, 200, 32, 4, 64), 64..192);
        assert_eq!(effective_ring_start(33, 70, 32), (32, false));
        assert_eq!(effective_ring_start(96, 70, 32), (64, false));
        assert_eq!(effective_ring_start(64, 70, 32), (64, true));
    }
}
