//! What a batch says of one sequence.

use super::Batch;
use crate::cache::params::BatchParams;
use crate::cache::{KvLayout, Status, window};

/// A sequence with its lengths checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequence {
    pub seq: usize,
    /// Tokens, the new ones included; not clamped.
    pub n: usize,
    /// Position of the first new token.
    pub p0: usize,
    pub m: usize,
    /// First row.
    pub row0: usize,
    /// Byte offset of the state slot; none where it is bad or the format has no window.
    pub slot: Option<usize>,
    pub ring_start: usize,
}

impl Sequence {
    /// None if there is nothing to do: a padding row, or contradictory lengths (a bit). A bad slot is a bit and no slot.
    pub(crate) fn load(
        layout: &KvLayout,
        batch: &Batch<'_>,
        checked: &BatchParams,
        num_slots: i32,
        seq: usize,
    ) -> (Option<Self>, Status) {
        let (row0, row1, n) = (batch.cu_q_lens[seq], batch.cu_q_lens[seq + 1], batch.seq_lens[seq]);
        if row0 < 0
            || row1 < row0
            || row1 > checked.total_q
            || row1 - row0 > checked.max_q_len
            || (row1 > row0 && n < row1 - row0)
        {
            return (None, Status::BAD_LENGTHS);
        }
        let m = (row1 - row0) as usize;
        if m == 0 {
            return (None, Status::OK);
        }
        let n = n as usize;
        let mut status = Status::OK;
        if n > batch.max_blocks * layout.shape().page_tokens {
            status |= Status::TOO_LONG;
        }
        let mut slot = None;
        let mut ring_start = 0;
        if let (true, Some(slots)) = (layout.format().has_state(), batch.state_slots) {
            if (0..num_slots).contains(&slots[seq]) {
                slot = Some(slots[seq] as usize * layout.state_bytes());
            } else {
                status |= Status::BAD_SLOT;
            }
        }
        if layout.format().has_window() {
            let given = batch.ring_start.map_or(0, |start| start[seq]);
            let (start, good) = window::effective_ring_start(given, n - m, layout.residual());
            ring_start = start;
            if !good {
                status |= Status::BAD_RING_START;
            }
        }
        (Some(Self { seq, n, p0: n - m, m, row0: row0 as usize, slot, ring_start }), status)
    }
}
