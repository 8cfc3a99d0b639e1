//! Barrier objects in shared memory (PTX ISA, mbarrier): eight bytes whose content is this file's own.
//!
//! ```text
//! bits 0..20   threads that arrive in a phase        bits 40..63  bytes still expected, two's complement
//! bits 20..40  threads still awaited                 bit 63       parity of the present phase
//! ```
//! An arrival releases and a wait that succeeds acquires: the race detector hears of both.

use super::access::{Access, Door, lanes};
use crate::report::{AccessKind, Fault, FaultKind};

/// Largest number of threads that an object counts.
pub const MAX_COUNT: u32 = (1 << 20) - 1;

/// The content of a barrier object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Threads that arrive in a phase.
    pub expected: u32,
    /// Threads still awaited in this one.
    pub pending: u32,
    /// Bytes still expected in this phase.
    pub bytes: i32,
    /// Whether the phase is an odd one.
    pub odd: bool,
}

impl Object {
    /// A fresh object; `None` if the count is not allowed.
    pub fn new(count: u32) -> Option<Object> {
        (1..=MAX_COUNT).contains(&count).then_some(Object { expected: count, pending: count, bytes: 0, odd: false })
    }

    /// From its eight bytes.
    pub fn from_bits(bits: u64) -> Object {
        let count = |at: u32| (bits >> at) as u32 & MAX_COUNT;
        Object {
            expected: count(0),
            pending: count(20),
            bytes: ((bits << 1) as i64 >> 41) as i32,
            odd: bits >> 63 != 0,
        }
    }

    /// To its eight bytes.
    pub fn to_bits(self) -> u64 {
        u64::from(self.expected)
            | u64::from(self.pending) << 20
            | (self.bytes as u64 & 0x7f_ffff) << 40
            | u64::from(self.odd) << 63
    }

    /// `count` threads arrive, of which `dropped` will not come again; the phase ends when nobody and nothing is awaited. `None` when more
    /// arrive than are awaited.
    pub fn arrive(self, count: u32, dropped: u32) -> Option<Object> {
        let (pending, expected) = (self.pending.checked_sub(count)?, self.expected.checked_sub(dropped)?);
        Some(Object { pending, expected, ..self }.settled())
    }

    /// More bytes are expected, or with a negative number fewer.
    pub fn expect(self, bytes: i32) -> Object {
        Object { bytes: self.bytes.wrapping_add(bytes), ..self }
    }

    /// The next phase, if this one is complete.
    pub fn settled(self) -> Object {
        if self.pending == 0 && self.bytes == 0 {
            Object { pending: self.expected, odd: !self.odd, ..self }
        } else {
            self
        }
    }
}

impl Door<'_> {
    /// Each lane in turn replaces the object at its address by `f(lane, object)`; an error text of `f` is a fault. `out` receives the old ones.
    ///
    /// # Errors
    /// The fault, if an address or a step is wrong for any lane.
    pub fn update_objects(
        &mut self,
        a: &Access,
        addr: &[u64; 32],
        out: &mut [u64; 32],
        f: &mut dyn FnMut(usize, Object) -> Result<Object, String>,
    ) -> Result<(), Box<Fault>> {
        self.check_shared(a, AccessKind::Atomic, addr)?;
        for lane in lanes(a.mask) {
            self.race_shared(a, AccessKind::Atomic, 1 << lane, addr, |_, _| false)?;
            out[lane] = self.object(a, addr, lane)?;
            let new = f(lane, Object::from_bits(out[lane])).map_err(|what| wrong(a, lane, what))?.to_bits();
            self.block.shared.bytes.store(addr[lane] as usize, 8, [new as u32, (new >> 32) as u32, 0, 0]);
        }
        self.count_shared(a, addr);
        Ok(())
    }

    /// The objects at the lanes' addresses. To look teaches nothing of what others did: see [`Door::phase_seen`].
    ///
    /// # Errors
    /// As [`Door::update_objects`].
    pub fn look_at_objects(&mut self, a: &Access, addr: &[u64; 32], out: &mut [u64; 32]) -> Result<(), Box<Fault>> {
        self.check_shared(a, AccessKind::Load, addr)?;
        for lane in lanes(a.mask) {
            out[lane] = self.object(a, addr, lane)?;
        }
        self.count_shared(a, addr);
        Ok(())
    }

    fn object(&self, a: &Access, addr: &[u64; 32], lane: usize) -> Result<u64, Box<Fault>> {
        let (shared, offset) = (&self.block.shared, addr[lane] as usize);
        if self.launch.shape().checks.init && shared.init.missing(offset, 8) != 0 {
            return Err(wrong(a, lane, "a barrier object that was not initialised".into()));
        }
        let [low, high, ..] = shared.bytes.load(offset, 8);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    /// The lanes of the mask have seen the phases at their addresses end: they know what those that arrived did before.
    pub fn phase_seen(&mut self, warp: u32, mask: u32, addr: &[u64; 32]) {
        if let Some(race) = &mut self.block.shared.race {
            lanes(mask).for_each(|lane| race.waited(addr[lane] as usize, warp, lane));
        }
    }
}

fn wrong(a: &Access, lane: usize, what: String) -> Box<Fault> {
    let mut fault = Fault::new(FaultKind::BarrierObject, a.site, a.warp, what);
    fault.lane = Some(lane as u32);
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_end_when_all_have_arrived_and_all_bytes_are_there() {
        let mut o = Object::new(3).unwrap();
        assert_eq!(Object::from_bits(o.to_bits()), o);
        o = o.arrive(2, 0).unwrap();
        assert_eq!((o.pending, o.odd), (1, false));
        o = o.expect(64).arrive(1, 1).unwrap();
        assert_eq!((o.pending, o.bytes, o.odd), (0, 64, false));
        assert_eq!(Object::from_bits(o.to_bits()), o);
        o = o.expect(-70);
        assert_eq!(Object::from_bits(o.to_bits()).bytes, -6);
        o = o.expect(6).settled();
        assert_eq!((o.pending, o.expected, o.odd), (2, 2, true));
        assert_eq!(Object::from_bits(o.to_bits()), o);
        assert_eq!(o.arrive(3, 0), None);
        assert!(Object::new(0).is_none() && Object::new(1 << 20).is_none());
    }
}
