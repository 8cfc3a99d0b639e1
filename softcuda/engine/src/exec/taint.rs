//! How unwritten bits travel through an instruction, and where their use is a fault.
//!
//! A load is no fault, nor is moving the bytes on: a wide load of a tail that nobody wrote, whose lanes are selected away, is legal. A
//! fault is a *use*: an address, a branch or another guard, a barrier, a member mask, the operand of an atomic, and a value *computed* from
//! them that a store makes the result of the kernel. Bits that were only moved may be stored: memory stays unwritten then.
//! Rules are exact for instructions that move or combine bits; for all others every bit of the result depends on every bit of the
//! operands of its lane, which can call a product with zero unwritten although it is not.
//!
//! | file | holds |
//! |---|---|
//! | `memory.rs` | loads and stores |
//! | `warp.rs` | exchange between lanes, matrix products |
//! | `used.rs` | the faults |

mod memory;
mod used;
mod warp;

pub use memory::{loaded, may_leave, source_of, storing};
pub use used::refuse_guard;
pub use warp::{any, get32, moved, multiplied, set32, shuffled};

use super::code::Roles;
use super::ctx::Ctx;
use super::inst::{ABSENT, Inst};
use super::regs::File;
use super::shadow::Source;
use crate::arith::bits;
use crate::memory::lanes;

/// How unwritten bits travel through an instruction. Operands are in the places of the row: d, a, b, c, e.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taint {
    /// Every result bit depends on every operand bit of its lane.
    Whole,
    /// The instruction sees to it itself.
    Own,
    /// As `Whole`, and on those of every other lane that takes part.
    Across,
    /// `a`
    Copy,
    /// `a`, cut to the width of its type in `mem.element`.
    Truncate,
    /// Bits of `a` or `b`.
    Bytewise,
    /// A zero bit of one operand hides the other's.
    And,
    /// A one bit of one operand hides the other's.
    Or,
    /// The truth table in `e` says which operands matter.
    Lop3,
    /// `a << b`
    Left,
    /// `a >> b`, filled with zeros.
    Right,
    /// Bits `b..b+c` of `a`.
    Extract,
    /// Bits `c..c+e` of `b` from `a`.
    Insert,
    /// Bytes of `a` and `b` as `c` selects.
    Prmt,
    /// `a` where the predicate `c` holds, else `b`.
    Select,
    /// `a` to the upper half, `b` to the lower, each as a whole.
    Pair,
    /// Bytes 0 and 1 to the halves.
    Halves,
    /// Elements to one register.
    Pack,
    /// One register to elements.
    Unpack,
}

impl Taint {
    /// Whether a result is something else than bits of the operands, moved.
    fn computes(self) -> bool {
        matches!(self, Taint::Whole | Taint::Across | Taint::Pair | Taint::Halves)
    }
}

/// What [`before`] found.
pub enum Operands {
    /// All is written.
    Clean,
    /// Results will be unwritten in part.
    Dirty(Box<Pending>),
    /// Their use here is a fault, which is in `Ctx::fault`.
    Refused,
}

/// Lanes whose results will be unwritten in part, the bits, and where they came from.
pub struct Pending {
    lanes: u32,
    bits: [u64; 32],
    sources: [Source; 32],
}

/// Looks at the operands.
#[inline(always)]
pub fn before(c: &mut Ctx<'_, '_>, i: &Inst, roles: &Roles) -> Operands {
    let shadow = &c.warp.regs.shadow;
    let used = roles.uses.iter().fold(0, |m, u| m | shadow.dirty(u.0, u.1));
    if used & c.mask != 0 {
        used::refuse_operand(c, i, roles, used & c.mask);
        return Operands::Refused;
    }
    let read = roles.reads.iter().fold(0, |m, r| m | shadow.dirty(r.0, r.1));
    if read & c.mask == 0 || matches!(i.taint, Taint::Own | Taint::Unpack) {
        return Operands::Clean;
    }
    Operands::Dirty(slow(c, i, roles, read & c.mask))
}

#[cold]
fn slow(c: &Ctx<'_, '_>, i: &Inst, roles: &Roles, read: u32) -> Box<Pending> {
    let reached = if i.taint == Taint::Across { c.mask } else { read };
    let shadow = &c.warp.regs.shadow;
    let mut pending = Box::new(Pending { lanes: 0, bits: [0; 32], sources: [Source::UNSET; 32] });
    for l in lanes(reached) {
        let bits = lane(c, i, roles, l);
        pending.bits[l] = bits;
        pending.lanes |= u32::from(bits != 0) << l;
        // Of another lane, if the own one brings nothing.
        let from = if read >> l & 1 != 0 { l } else { read.trailing_zeros() as usize };
        if let Some(source) = roles.reads.iter().find_map(|r| shadow.source(r.0, r.1, from)) {
            pending.sources[l] = Source { computed: source.computed || i.taint.computes(), ..source };
        }
    }
    pending
}

fn lane(c: &Ctx<'_, '_>, i: &Inst, roles: &Roles, l: usize) -> u64 {
    let regs = &c.warp.regs;
    // Operand k: its file, its value and its unwritten bits.
    let file = |k: usize| roles.files[k];
    let taint = |k: usize| if i.o[k] == ABSENT { 0 } else { regs.shadow.bits(file(k), i.o[k], l) };
    let value = |k: usize| match file(k) {
        _ if i.o[k] == ABSENT => 0,
        File::R32 => u64::from(regs.r32[i.o[k] as usize][l]),
        File::R64 => regs.r64[i.o[k] as usize][l],
        File::Pred => u64::from(regs.pred[i.o[k] as usize] >> l & 1),
    };
    let all = u64::MAX;
    match i.taint {
        Taint::Copy => taint(1),
        Taint::Truncate => taint(1) & (all >> (64 - u32::from(i.mem.element).max(1))),
        Taint::Bytewise => taint(1) | if i.o[2] == ABSENT { 0 } else { taint(2) },
        Taint::And => (taint(1) & taint(2)) | (taint(1) & value(2)) | (taint(2) & value(1)),
        Taint::Or => (taint(1) & taint(2)) | (taint(1) & !value(2)) | (taint(2) & !value(1)),
        Taint::Lop3 => {
            let x = [1, 2, 3].map(|k| value(k) as u32);
            let t = [1, 2, 3].map(|k| taint(k) as u32);
            let lut = value(4) as u8;
            let plain = bits::lop3(x[0], x[1], x[2], lut);
            // A bit matters if flipping some of the unwritten inputs flips the output.
            let flipped = |s: u32| {
                let y: [u32; 3] = std::array::from_fn(|k| if s >> k & 1 != 0 { x[k] ^ t[k] } else { x[k] });
                bits::lop3(y[0], y[1], y[2], lut) ^ plain
            };
            u64::from((1..8).fold(0, |m, s| m | flipped(s)))
        }
        Taint::Left if taint(2) == 0 => {
            if value(2) < 64 {
                taint(1) << value(2)
            } else {
                0
            }
        }
        Taint::Right if taint(2) == 0 => {
            if value(2) < 64 {
                taint(1) >> value(2)
            } else {
                0
            }
        }
        Taint::Extract if taint(2) | taint(3) == 0 => {
            let (at, len) = (value(2) & 0xff, value(3) & 0xff);
            let field = if len >= 64 { all } else { (1 << len) - 1 };
            if at < 64 && taint(1) >> at & field != 0 { all } else { 0 }
        }
        Taint::Insert if taint(3) | taint(4) == 0 => {
            let (at, len) = (value(3) & 0xff, value(4) & 0xff);
            let field = if len >= 64 { all } else { (1 << len) - 1 };
            if at >= 64 { taint(2) } else { (taint(2) & !(field << at)) | (taint(1) & field) << at }
        }
        Taint::Prmt if taint(3) == 0 => {
            u64::from(bits::prmt(taint(1) as u32, taint(2) as u32, value(3) as u32, bits::PrmtMode::Index))
        }
        Taint::Select if taint(3) == 0 => {
            if value(3) != 0 {
                taint(1)
            } else {
                taint(2)
            }
        }
        Taint::Pair => {
            let half = match roles.writes.first() {
                Some(w) if w.2 == 16 => 8,
                _ => 16,
            };
            let ones = (1u64 << half) - 1;
            (if taint(1) != 0 { ones << half } else { 0 }) | if taint(2) != 0 { ones } else { 0 }
        }
        Taint::Halves => {
            (if taint(1) & 0xff != 0 { 0xffff } else { 0 }) | if taint(1) & 0xff00 != 0 { 0xffff_0000 } else { 0 }
        }
        Taint::Pack => {
            let element = u32::from(i.mem.element);
            let file = if element == 64 { File::R64 } else { File::R32 };
            let keep = u64::MAX >> (64 - element);
            let parts = i.list.iter().enumerate();
            parts.fold(0, |m, (k, s)| m | (regs.shadow.bits(file, *s, l) & keep).wrapping_shl(k as u32 * element))
        }
        _ => all,
    }
}

/// Hands on what [`before`] found.
#[inline(always)]
pub fn after(c: &mut Ctx<'_, '_>, i: &Inst, roles: &Roles, operands: &Operands) {
    if i.taint == Taint::Own {
        return;
    }
    if i.taint == Taint::Unpack {
        return unpacked(c, i);
    }
    for &(file, slot, width) in &roles.writes {
        c.warp.regs.shadow.clean(file, slot, c.mask);
        if let Operands::Dirty(pending) = operands {
            let keep = u64::MAX >> (64 - width.max(1));
            for l in lanes(pending.lanes & c.mask) {
                let bits = if file == File::Pred { 1 } else { pending.bits[l] & keep };
                c.warp.regs.shadow.set(file, slot, l, bits, pending.sources[l]);
            }
        }
    }
}

fn unpacked(c: &mut Ctx<'_, '_>, i: &Inst) {
    let source = if i.mem.register == 64 { File::R64 } else { File::R32 };
    let element = u32::from(i.mem.element);
    let file = if element == 64 { File::R64 } else { File::R32 };
    let dirty = c.warp.regs.shadow.dirty(source, i.o[0]) & c.mask;
    // The source may be one of the targets: read all of it first.
    let shadow = &c.warp.regs.shadow;
    let whole: [u64; 32] = std::array::from_fn(|l| shadow.bits(source, i.o[0], l));
    let sources: [Source; 32] = std::array::from_fn(|l| shadow.source(source, i.o[0], l).unwrap_or(Source::UNSET));
    for (k, slot) in i.list.iter().enumerate() {
        c.warp.regs.shadow.clean(file, *slot, c.mask);
        for l in lanes(dirty) {
            let bits = whole[l] >> (k as u32 * element) & (u64::MAX >> (64 - element));
            c.warp.regs.shadow.set(file, *slot, l, bits, sources[l]);
        }
    }
}
