//! Local memory: each thread has its own run of bytes at the same addresses.

use super::access::{Access, Door, Wide, lanes};
use super::atomic::{AtomOp, AtomTy, apply};
use super::shared::{get, low, set};
use super::space::POISON;
use crate::check::InitMap;
use crate::report::{AccessKind, Fault};

/// Local bytes of all threads of a block, thread after thread, and which of them were written.
pub(crate) struct LocalMemory {
    bytes: Vec<u8>,
    init: InitMap,
    each: usize,
}

impl LocalMemory {
    pub(crate) fn new(threads: usize, each: usize) -> LocalMemory {
        let bytes = threads.next_multiple_of(32) * each;
        LocalMemory { bytes: vec![POISON; bytes], init: InitMap::new(bytes, false), each }
    }
}

impl Door<'_> {
    pub(crate) fn load_local(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        self.check_offsets(a, AccessKind::Load, addr, self.block.local.each as u64)?;
        let (local, init, size) = (&self.block.local, self.launch.shape().checks.init, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            out.put(lane, a.size, get(&local.bytes, offset, size));
            if init {
                out.taint(lane, local.init.missing(offset, size));
            }
        }
        Ok(())
    }

    pub(crate) fn store_local(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        self.check_offsets(a, AccessKind::Store, addr, self.block.local.each as u64)?;
        let (local, size) = (&mut self.block.local, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            set(&mut local.bytes, offset, size, value.lane(lane));
            local.init.set(offset, size);
            if value.tainted >> lane & 1 != 0 {
                lanes(value.uninit[lane] as u32).filter(|&b| b < size).for_each(|b| local.init.clear(offset + b, 1));
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub(crate) fn atomic_local(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: &mut [u64; 32],
    ) -> Result<(), Box<Fault>> {
        self.check_offsets(a, AccessKind::Atomic, addr, self.block.local.each as u64)?;
        let (local, size) = (&mut self.block.local, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            let old = low(get(&local.bytes, offset, size));
            let new = apply(op, ty, false, old, x[lane], y[lane]);
            set(&mut local.bytes, offset, size, [new as u32, (new >> 32) as u32, 0, 0]);
            local.init.set(offset, size);
            out[lane] = old;
        }
        Ok(())
    }
}
