//! The kernel's parameter block: read only, the same for every thread. Bytes between parameters count as unwritten.

use super::access::{Access, Door, Wide, lanes};
use crate::report::{AccessKind, Fault};

impl Door<'_> {
    pub(crate) fn load_param(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let params = self.launch.params();
        let first = addr[a.mask.trailing_zeros() as usize];
        // Nearly always all lanes are here and read the same.
        let alone = a.mask == !0 && addr.iter().fold(0, |differ, x| differ | (x ^ first)) == 0;
        let checked = if alone { Access { mask: 1, ..*a } } else { *a };
        if let Err(fault) = self.check_offsets(&checked, AccessKind::Load, addr, params.len() as u64) {
            // The report names every lane.
            return Err(self.check_offsets(a, AccessKind::Load, addr, params.len() as u64).err().unwrap_or(fault));
        }
        let shape = self.launch.shape();
        if shape.checks.init && !shape.padding.is_empty() {
            for lane in lanes(a.mask) {
                out.taint(lane, missing(&shape.padding, addr[lane] as u32, a.size));
            }
        }
        if alone {
            let value = words(&params[first as usize..][..a.size as usize]);
            for w in 0..a.size.div_ceil(4) as usize {
                out.words[w] = [value[w]; 32];
            }
            return Ok(());
        }
        for lane in lanes(a.mask) {
            out.put(lane, a.size, words(&params[addr[lane] as usize..][..a.size as usize]));
        }
        Ok(())
    }
}

/// Bit i is set when byte `offset + i` lies between two parameters.
fn missing(padding: &[(u32, u32)], offset: u32, size: u32) -> u16 {
    let between = |byte: u32| padding.iter().any(|&(at, length)| byte.wrapping_sub(at) < length);
    (0..size).filter(|&i| between(offset + i)).fold(0, |m, i| m | 1 << i)
}

/// Up to 16 bytes as little-endian words.
fn words(bytes: &[u8]) -> [u32; 4] {
    let mut raw = [0u8; 16];
    raw[..bytes.len()].copy_from_slice(bytes);
    std::array::from_fn(|i| u32::from_le_bytes([raw[4 * i], raw[4 * i + 1], raw[4 * i + 2], raw[4 * i + 3]]))
}
