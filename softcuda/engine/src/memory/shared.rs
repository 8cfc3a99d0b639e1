//! Shared memory of one block. One worker runs the block, so its bytes are plain memory.

use super::access::{Access, Door, Wide, lanes};
use super::atomic::{AtomOp, AtomTy, apply};
use super::space::POISON;
use crate::check::InitMap;
use crate::report::{AccessKind, Fault};

/// The bytes of a block's shared memory and which of them somebody wrote.
pub(crate) struct SharedMemory {
    bytes: Vec<u8>,
    init: InitMap,
}

impl SharedMemory {
    pub(crate) fn new(bytes: usize) -> SharedMemory {
        SharedMemory { bytes: vec![POISON; bytes], init: InitMap::new(bytes, false) }
    }
}

/// `size` bytes at `offset` as little-endian words.
#[inline(always)]
pub(crate) fn get(bytes: &[u8], offset: usize, size: usize) -> [u32; 4] {
    let mut raw = [0u8; 16];
    raw[..size].copy_from_slice(&bytes[offset..offset + size]);
    std::array::from_fn(|i| u32::from_le_bytes([raw[4 * i], raw[4 * i + 1], raw[4 * i + 2], raw[4 * i + 3]]))
}

/// Writes what [`get`] reads.
#[inline(always)]
pub(crate) fn set(bytes: &mut [u8], offset: usize, size: usize, value: [u32; 4]) {
    let mut raw = [0u8; 16];
    (0..4).for_each(|i| raw[4 * i..4 * i + 4].copy_from_slice(&value[i].to_le_bytes()));
    bytes[offset..offset + size].copy_from_slice(&raw[..size]);
}

/// Low 64 bits of a value.
pub(crate) fn low(value: [u32; 4]) -> u64 {
    value[0] as u64 | (value[1] as u64) << 32
}

impl Door<'_> {
    pub(crate) fn load_shared(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let limit = self.block.shared.bytes.len() as u64;
        self.check_offsets(a, AccessKind::Load, addr, limit)?;
        let (shared, init, size) = (&self.block.shared, self.launch.shape().checks.init, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = addr[lane] as usize;
            out.put(lane, a.size, get(&shared.bytes, offset, size));
            if init {
                out.taint(lane, shared.init.missing(offset, size));
            }
        }
        Ok(())
    }

    pub(crate) fn store_shared(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        let limit = self.block.shared.bytes.len() as u64;
        self.check_offsets(a, AccessKind::Store, addr, limit)?;
        let (shared, size) = (&mut self.block.shared, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = addr[lane] as usize;
            set(&mut shared.bytes, offset, size, value.lane(lane));
            shared.init.set(offset, size);
            if value.tainted >> lane & 1 != 0 {
                lanes(value.uninit[lane] as u32).filter(|&b| b < size).for_each(|b| shared.init.clear(offset + b, 1));
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub(crate) fn atomic_shared(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: &mut [u64; 32],
    ) -> Result<(), Box<Fault>> {
        let limit = self.block.shared.bytes.len() as u64;
        self.check_offsets(a, AccessKind::Atomic, addr, limit)?;
        let (shared, size) = (&mut self.block.shared, a.size as usize);
        for lane in lanes(a.mask) {
            let offset = addr[lane] as usize;
            let old = low(get(&shared.bytes, offset, size));
            let new = apply(op, ty, false, old, x[lane], y[lane]);
            set(&mut shared.bytes, offset, size, [new as u32, (new >> 32) as u32, 0, 0]);
            shared.init.set(offset, size);
            out[lane] = old;
        }
        Ok(())
    }
}
