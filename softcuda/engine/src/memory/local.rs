//! Local memory: each thread has its own run of bytes at the same addresses.

use super::access::{Access, Door, Wide, lanes};
use super::atomic::{AtomOp, AtomTy, apply};
use super::bytes::Bytes;
use super::space::POISON;
use crate::check::InitMap;
use crate::count::local_sectors;
use crate::report::{AccessKind, Fault};

/// Local bytes of all threads of a block, thread after thread, and which of them were written.
pub(crate) struct LocalMemory {
    bytes: Bytes,
    init: InitMap,
    each: usize,
}

impl LocalMemory {
    pub(crate) fn new(threads: usize, each: usize) -> LocalMemory {
        // Whole words of 16 bytes, so that a thread's bytes are aligned on the host as their offsets are.
        let each = each.next_multiple_of(16);
        let bytes = threads.next_multiple_of(32) * each;
        LocalMemory {
            bytes: Bytes::filled(bytes, POISON).expect("host memory for a block's local memory"),
            init: InitMap::new(bytes, false),
            each,
        }
    }

    /// As new, for the next block.
    pub(crate) fn renew(&mut self) {
        self.bytes.as_mut_slice().fill(POISON);
        self.init.reset();
    }
}

impl Door<'_> {
    pub(crate) fn load_local(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        self.check_offsets(a, AccessKind::Load, addr, self.block.local.each as u64)?;
        let (local, init, size) = (&self.block.local, self.launch.shape().checks.init, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            out.put(lane, a.size, local.bytes.load(offset, size));
            if init {
                out.taint(lane, local.init.missing(offset, size));
            }
        }
        self.count_local(a, addr);
        Ok(())
    }

    pub(crate) fn store_local(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        self.check_offsets(a, AccessKind::Store, addr, self.block.local.each as u64)?;
        let (local, size) = (&self.block.local, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            local.bytes.store(offset, size, value.lane(lane));
            local.init.store(offset, size, value.missing(lane));
        }
        self.count_local(a, addr);
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
        let (local, size) = (&self.block.local, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = (a.warp as usize * 32 + lane) * local.each + addr[lane] as usize;
            let [low, high, ..] = local.bytes.load(offset, size);
            let old = low as u64 | (high as u64) << 32;
            let new = apply(op, ty, false, old, x[lane], y[lane]);
            local.bytes.store(offset, size, [new as u32, (new >> 32) as u32, 0, 0]);
            local.init.set(offset, size);
            out[lane] = old;
        }
        self.count_local(a, addr);
        Ok(())
    }

    /// Copies a run of bytes between two frames of each lane's stack, with what is known of them: `(bases, offset)` of source and target.
    pub(crate) fn move_local(
        &mut self,
        warp: u32,
        mask: u32,
        (from, from_offset): (&[u64; 32], u32),
        (to, to_offset): (&[u64; 32], u32),
        size: u32,
    ) {
        let (local, init) = (&self.block.local, self.launch.shape().checks.init);
        for lane in lanes(mask) {
            let start = (warp as usize * 32 + lane) * local.each;
            let source = start + from[lane] as usize + from_offset as usize;
            let target = start + to[lane] as usize + to_offset as usize;
            for k in 0..size as usize {
                local.bytes.store(target + k, 1, local.bytes.load(source + k, 1));
                if init {
                    local.init.store(target + k, 1, local.init.missing(source + k, 1));
                }
            }
        }
    }

    /// Nobody has written the `size` bytes from each lane's base.
    pub(crate) fn forget_local(&mut self, warp: u32, mask: u32, base: &[u64; 32], size: u32) {
        let local = &self.block.local;
        if size != 0 && self.launch.shape().checks.init {
            for lane in lanes(mask) {
                local.init.clear((warp as usize * 32 + lane) * local.each + base[lane] as usize, size as usize);
            }
        }
    }

    /// Requests and sectors, spills among them.
    fn count_local(&mut self, a: &Access, addr: &[u64; 32]) {
        if !self.launch.shape().count {
            return;
        }
        let site = &mut self.counts.sites[a.site.pc as usize];
        site.local_requests += 1;
        site.local_sectors += u64::from(local_sectors(a.mask, a.size, addr));
    }
}
