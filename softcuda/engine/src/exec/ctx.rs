//! What an instruction sees while it runs.

use super::inst::{Flow, Inst};
use super::launch::LaunchInfo;
use super::sync::Arrival;
use super::warp::Warp;
use crate::memory::{Access, Door, Wide};
use crate::report::{Fault, FaultKind, Site};

/// What an instruction sees while it runs.
pub struct Ctx<'a, 'l> {
    /// Its warp.
    pub warp: &'a mut Warp,
    /// The way to memory.
    pub door: &'a mut Door<'l>,
    /// Scratch for loads and stores.
    pub wide: &'a mut Wide,
    /// Constants of the launch.
    pub launch: &'a LaunchInfo,
    /// Lanes that execute it.
    pub mask: u32,
    /// Its index.
    pub pc: u32,
    /// See [`Flow`].
    pub taken: u32,
    /// See [`Flow::Scatter`].
    pub targets: [u32; 32],
    /// See [`Flow::Barrier`].
    pub arrival: Arrival,
    /// Set with [`Flow::Fault`].
    pub fault: Option<Box<Fault>>,
    /// A store or an atomic happened.
    pub wrote: bool,
    /// Warp instructions executed by this block so far.
    pub clock: u64,
}

impl Ctx<'_, '_> {
    /// Where we are.
    pub fn site(&self, i: &Inst) -> Site {
        Site { pc: self.pc, line: i.line }
    }

    /// Ends the launch.
    #[cold]
    pub fn fail(&mut self, i: &Inst, lanes: u32, kind: FaultKind, what: impl Into<String>) -> Flow {
        let mut fault = Fault::new(kind, self.site(i), self.warp.index, what);
        fault.lane = (lanes != 0).then_some(lanes.trailing_zeros());
        self.fault = Some(fault);
        Flow::Fault
    }

    /// Ends the launch.
    #[cold]
    pub fn fault(&mut self, fault: Box<Fault>) -> Flow {
        self.fault = Some(fault);
        Flow::Fault
    }

    /// The access that a memory instruction makes.
    #[inline(always)]
    pub fn access(&self, i: &Inst, size: u32) -> Access {
        let (site, space, order) = (self.site(i), i.mem.space, i.mem.order);
        Access { site, warp: self.warp.index, mask: self.mask, space, size, order }
    }

    /// A predicate operand, negated if the instruction says so.
    #[inline(always)]
    pub fn predicate(&self, i: &Inst, slot: u32) -> u32 {
        let p = self.warp.regs.pred[slot as usize];
        if i.negated { !p } else { p }
    }

    /// Base register plus offset for each lane.
    #[inline(always)]
    pub fn addresses(&self, slot: u32, offset: i64, base64: bool) -> [u64; 32] {
        let offset = offset as u64;
        if base64 {
            self.warp.regs.r64[slot as usize].map(|a| a.wrapping_add(offset))
        } else {
            // 32-bit addresses wrap within 32 bits, as `[reg + offset]` of a shared pointer does.
            self.warp.regs.r32[slot as usize].map(|a| u64::from(a.wrapping_add(offset as u32)))
        }
    }
}
