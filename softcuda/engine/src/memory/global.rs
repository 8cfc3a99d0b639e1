//! Global memory as kernels reach it: allocations found by address, bytes shared by all workers.

use super::access::{Access, Door, Space, Wide, lanes, window_of};
use super::atomic::{AtomOp, AtomTy, apply};
use super::space::{Allocation, Label};
use crate::report::{AccessKind, Detail, Fault};

impl Door<'_> {
    pub(crate) fn load_global(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        self.check_global(a, AccessKind::Load, addr)?;
        let init = self.launch.shape().checks.init;
        for lane in lanes(a.mask) {
            let (allocation, offset) = self.locate(addr[lane]);
            let memory = allocation.memory().expect("checked live");
            out.put(lane, a.size, memory.bytes.load(offset, a.size as usize));
            if init {
                out.taint(lane, memory.init.missing(offset, a.size as usize));
            }
        }
        Ok(())
    }

    pub(crate) fn store_global(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        self.check_global(a, AccessKind::Store, addr)?;
        let size = a.size as usize;
        for lane in lanes(a.mask) {
            let (allocation, offset) = self.locate(addr[lane]);
            let memory = allocation.memory().expect("checked live");
            memory.bytes.store(offset, size, value.lane(lane));
            memory.init.set(offset, size);
            if value.tainted >> lane & 1 != 0 {
                lanes(value.uninit[lane] as u32).filter(|&b| b < size).for_each(|b| memory.init.clear(offset + b, 1));
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub(crate) fn atomic_global(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: &mut [u64; 32],
    ) -> Result<(), Box<Fault>> {
        self.check_global(a, AccessKind::Atomic, addr)?;
        for lane in lanes(a.mask) {
            let (allocation, offset) = self.locate(addr[lane]);
            let memory = allocation.memory().expect("checked live");
            // PTX ISA, atom: .add.f32 on global memory flushes subnormal inputs and results.
            out[lane] = memory.bytes.update(offset, a.size as usize, |old| apply(op, ty, true, old, x[lane], y[lane]));
            memory.init.set(offset, a.size as usize);
        }
        Ok(())
    }

    /// The live allocation of a checked address, and the offset in it.
    #[inline(always)]
    fn locate(&mut self, address: u64) -> (&Allocation, usize) {
        let table = self.launch.space().table();
        let hit = table.get(self.last).filter(|a| address.wrapping_sub(a.base()) < a.size());
        if hit.is_none() {
            self.last = self.launch.space().index_of(address).expect("checked address");
        }
        let allocation = &self.launch.space().table()[self.last];
        (allocation, (address - allocation.base()) as usize)
    }

    fn check_global(&mut self, a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Result<(), Box<Fault>> {
        let space = self.launch.space();
        let size = a.size as u64;
        for lane in lanes(a.mask) {
            let address = addr[lane];
            let found = space.table().get(self.last).filter(|x| address.wrapping_sub(x.base()) < x.size());
            let found = found.or_else(|| {
                let i = space.index_of(address)?;
                self.last = i;
                space.table().get(i)
            });
            let aligned = address.is_multiple_of(size);
            let inside = found.is_some_and(|x| size <= x.size() - (address - x.base()).min(x.size()));
            let live = found.is_some_and(|x| !x.is_freed());
            let writable = kind == AccessKind::Load || found.is_some_and(|x| !matches!(x.label(), Label::Const(_)));
            if aligned && inside && live && writable {
                continue;
            }
            let place = space.describe(address);
            let belongs = window_of(address).0;
            let kind = if belongs != Space::Global {
                Detail::WrongSpace { kind, space: a.space, belongs, address }
            } else if !aligned && found.is_some() {
                Detail::Misaligned { kind, space: a.space, address, bytes: a.size }
            } else if !inside {
                Detail::OutOfBounds { kind, space: a.space, address, bytes: a.size, limit: 0, place }
            } else if !live {
                Detail::UseAfterFree { kind, address, bytes: a.size, place }
            } else {
                Detail::ReadOnly { space: Space::Const, address, place }
            };
            return Err(Fault::found(kind, a.site, a.warp, 1 << lane));
        }
        Ok(())
    }
}
