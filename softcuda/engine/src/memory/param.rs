//! The kernel's parameter block: read only, the same for every thread.

use super::access::{Access, Door, Wide, lanes};
use crate::report::{AccessKind, Fault};

impl Door<'_> {
    pub(crate) fn load_param(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let params = self.launch.params();
        self.check_offsets(a, AccessKind::Load, addr, params.len() as u64)?;
        let first = addr[a.mask.trailing_zeros() as usize];
        if lanes(a.mask).all(|l| addr[l] == first) {
            let value = words(&params[first as usize..][..a.size as usize]);
            (0..a.size.div_ceil(4) as usize).for_each(|w| out.words[w] = [value[w]; 32]);
            return Ok(());
        }
        for lane in lanes(a.mask) {
            out.put(lane, a.size, words(&params[addr[lane] as usize..][..a.size as usize]));
        }
        Ok(())
    }
}

/// Up to 16 bytes as little-endian words.
fn words(bytes: &[u8]) -> [u32; 4] {
    let mut raw = [0u8; 16];
    raw[..bytes.len()].copy_from_slice(bytes);
    std::array::from_fn(|i| u32::from_le_bytes([raw[4 * i], raw[4 * i + 1], raw[4 * i + 2], raw[4 * i + 3]]))
}
