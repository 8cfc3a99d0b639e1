//! Unwritten bytes between registers and memory.

use super::super::ctx::Ctx;
use super::super::inst::Inst;
use super::super::regs::File;
use super::super::shadow::Source;
use super::used;
use crate::memory::space::window_of;
use crate::memory::{Space, lanes};
use crate::report::Used;

/// Bit masks of byte masks.
fn spread(bytes: u16) -> u128 {
    (0..16).fold(0, |m, b| if bytes >> b & 1 != 0 { m | 0xff << (8 * b) } else { m })
}

/// Bytes that lane `l` of this instruction loads from an address.
pub fn source_of(c: &Ctx<'_, '_>, l: usize, address: u64) -> Source {
    Source { pc: c.pc, lane: l as u8, computed: false, address }
}

/// A load from these addresses has filled `c.wide`: its unwritten bytes go to the registers of `list`.
#[inline(always)]
pub fn loaded(c: &mut Ctx<'_, '_>, i: &Inst, addresses: &[u64; 32]) {
    if c.wide.tainted & c.mask != 0 || c.warp.regs.shadow.any() {
        spread_loaded(c, i, addresses);
    }
}

fn spread_loaded(c: &mut Ctx<'_, '_>, i: &Inst, addresses: &[u64; 32]) {
    let file = if i.mem.register == 64 { File::R64 } else { File::R32 };
    let element = 8 * u32::from(i.mem.element);
    for (k, slot) in i.list.iter().enumerate() {
        c.warp.regs.shadow.clean(file, *slot, c.mask);
        for l in lanes(c.wide.tainted & c.mask) {
            let bits = (spread(c.wide.uninit[l]) >> (k as u32 * element)) as u64 & (u64::MAX >> (64 - element));
            // The sign of an unwritten element is unwritten.
            let extended =
                if i.mem.signed && bits >> (element - 1) & 1 != 0 { bits | u64::MAX << (element - 1) } else { bits };
            let keep = u64::MAX >> (64 - u32::from(i.mem.register));
            let source = source_of(c, l, addresses[l]);
            c.warp.regs.shadow.set(file, *slot, l, extended & keep, source);
        }
    }
}

/// A store is about to write `c.wide` to these addresses: the unwritten bytes of the registers of `list` go with it. False when a value in
/// global memory would have been computed from such bytes; `Ctx::fault` then says so.
pub fn storing(c: &mut Ctx<'_, '_>, i: &Inst, addresses: &[u64; 32]) -> bool {
    if !c.warp.regs.shadow.any() {
        return true;
    }
    let file = if i.mem.register == 64 { File::R64 } else { File::R32 };
    let bytes = u32::from(i.mem.element);
    for (k, slot) in i.list.iter().enumerate() {
        let dirty = c.warp.regs.shadow.dirty(file, *slot) & c.mask;
        for l in lanes(dirty) {
            let bits = c.warp.regs.shadow.bits(file, *slot, l);
            let missing =
                (0..bytes).filter(|b| bits >> (8 * b) & 0xff != 0).fold(0u16, |m, b| m | 1 << (k as u32 * bytes + b));
            if missing != 0 && !may_leave(c, i, (file, *slot), l, addresses[l]) {
                return false;
            }
            c.wide.uninit[l] |= missing;
            c.wide.tainted |= u32::from(c.wide.uninit[l] != 0) << l;
        }
    }
    true
}

/// Whether the unwritten bits that lane `l` has in a register may be stored to this address. Not if they would be a result, a value in global
/// memory that was computed from them; `Ctx::fault` then says so.
pub fn may_leave(c: &mut Ctx<'_, '_>, i: &Inst, (file, slot): (File, u32), l: usize, address: u64) -> bool {
    let global = match i.mem.space {
        Space::Global => true,
        Space::Generic => window_of(address).0 == Space::Global,
        _ => false,
    };
    match c.warp.regs.shadow.source(file, slot, l) {
        Some(source) if global && source.computed => {
            used::refuse(c, i, 1 << l, Used::Result, source);
            false
        }
        _ => true,
    }
}
