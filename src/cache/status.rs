//! The sticky status word: what only the device can see, reported without a synchronisation.

use std::fmt;

/// Bits that kernels set in the cache's `status: u32 [1]`. They are never cleared by this crate: the engine reads and
/// clears the word when it likes. What a bit stands for was masked, so that no memory outside the arguments is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Nothing to report.
    pub const OK: Self = Self(0);
    /// A NaN was coded, as code 0 (or counted as 0 where it entered a group's statistics).
    pub const NAN: Self = Self(1);
    /// A block table entry that was needed is not in `0..num_pages`: its tokens are absent.
    pub const BAD_PAGE: Self = Self(1 << 1);
    /// A state slot is not in `0..num_slots`: append stores nothing for the sequence, attend reads no window.
    pub const BAD_SLOT: Self = Self(1 << 2);
    /// A sequence is longer than `max_blocks * page_tokens`: the positions beyond are absent.
    pub const TOO_LONG: Self = Self(1 << 3);
    /// `cu_q_lens` or `seq_lens` contradict themselves or the batch (a negative or decreasing entry, more rows than
    /// `total_q` or `max_q_len`, fewer tokens than rows): the sequence is skipped.
    pub const BAD_LENGTHS: Self = Self(1 << 4);
    /// `ring_start` is negative, beyond the coded keys, or not a multiple of the residual: it was rounded down into range.
    pub const BAD_RING_START: Self = Self(1 << 5);

    const NAMES: [(Self, &str); 6] = [
        (Self::NAN, "NaN coded as 0"),
        (Self::BAD_PAGE, "bad page index"),
        (Self::BAD_SLOT, "bad state slot"),
        (Self::TOO_LONG, "sequence beyond its block table"),
        (Self::BAD_LENGTHS, "contradictory lengths"),
        (Self::BAD_RING_START, "bad ring_start"),
    ];

    /// True if every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Status {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Status {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// `ok`, or the names of the bits: `bad page index, NaN coded as 0`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::OK {
            return f.write_str("ok");
        }
        let known: Vec<&str> =
            Self::NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name).collect();
        f.write_str(&known.join(", "))?;
        match Self::NAMES.iter().fold(self.0, |rest, (bit, _)| rest & !bit.0) {
            0 => Ok(()),
            rest => write!(f, " (unknown bits {rest:#x})"),
        }
    }
}
