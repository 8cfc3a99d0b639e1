//! The kernel's parameter block: read only, the same for every thread.

use super::access::{Access, Door, Wide, lanes};
use super::shared::get;
use crate::report::{AccessKind, Fault};

impl Door<'_> {
    pub(crate) fn load_param(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        let params = self.launch.params();
        self.check_offsets(a, AccessKind::Load, addr, params.len() as u64)?;
        for lane in lanes(a.mask) {
            out.put(lane, a.size, get(params, addr[lane] as usize, a.size as usize));
        }
        Ok(())
    }
}
