//! How unwritten bits travel through an instruction, and where their use is a fault.
//!
//! A load is no fault, nor is moving the bytes on: a wide load of a tail that nobody wrote, whose lanes are selected away, is legal. A
//! fault is a *use*: an address, a branch or another guard, a barrier. Stores carry the bits on into memory.
//! Rules are exact for instructions that move or combine bits; for all others every bit of the result depends on every bit of the
//! operands of its lane, which can call a product with zero unwritten although it is not.

use super::code::Roles;
use super::ctx::Ctx;
use super::inst::{ABSENT, Inst};
use super::regs::File;
use crate::arith::bits;
use crate::memory::lanes;
use crate::report::FaultKind;

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

/// What [`before`] found: lanes whose results will be unwritten in part, and the bits.
pub struct Pending {
    lanes: u32,
    bits: [u64; 32],
}

/// Looks at the operands. `None` when their use here is a fault, which is in `Ctx::fault`.
#[inline(always)]
pub fn before(c: &mut Ctx<'_, '_>, i: &Inst, roles: &Roles) -> Option<Pending> {
    let shadow = &c.warp.regs.shadow;
    let used = roles.uses.iter().fold(0, |m, u| m | shadow.dirty(u.0, u.1));
    if used & c.mask != 0 {
        refuse(c, i, used & c.mask);
        return None;
    }
    let read = roles.reads.iter().fold(0, |m, r| m | shadow.dirty(r.0, r.1));
    if read & c.mask == 0 || matches!(i.taint, Taint::Own | Taint::Unpack) {
        return Some(Pending { lanes: 0, bits: [0; 32] });
    }
    Some(slow(c, i, roles, read & c.mask))
}

#[cold]
fn refuse(c: &mut Ctx<'_, '_>, i: &Inst, lanes: u32) {
    let what = "an address depends on bytes that nobody wrote";
    c.fail(i, lanes, FaultKind::Uninitialised, what.to_string());
}

/// The guard of an instruction depends on bytes that nobody wrote.
#[cold]
pub fn refuse_guard(c: &mut Ctx<'_, '_>, i: &Inst, lanes: u32) {
    let what = "a branch or guard depends on bytes that nobody wrote";
    c.fail(i, lanes, FaultKind::Uninitialised, what.to_string());
}

#[cold]
fn slow(c: &Ctx<'_, '_>, i: &Inst, roles: &Roles, read: u32) -> Pending {
    let reached = if i.taint == Taint::Across { c.mask } else { read };
    let mut pending = Pending { lanes: 0, bits: [0; 32] };
    for l in lanes(reached) {
        let bits = lane(c, i, roles, l);
        pending.bits[l] = bits;
        pending.lanes |= u32::from(bits != 0) << l;
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
pub fn after(c: &mut Ctx<'_, '_>, i: &Inst, roles: &Roles, pending: &Pending) {
    if i.taint == Taint::Own {
        return;
    }
    if i.taint == Taint::Unpack {
        return unpacked(c, i);
    }
    for &(file, slot, width) in &roles.writes {
        c.warp.regs.shadow.clean(file, slot, c.mask);
        if pending.lanes != 0 {
            let keep = u64::MAX >> (64 - width.max(1));
            for l in lanes(pending.lanes) {
                let bits = if file == File::Pred { 1 } else { pending.bits[l] & keep };
                c.warp.regs.shadow.set(file, slot, l, bits);
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
    let whole: [u64; 32] =
        std::array::from_fn(|l| if dirty >> l & 1 != 0 { c.warp.regs.shadow.bits(source, i.o[0], l) } else { 0 });
    for (k, slot) in i.list.iter().enumerate() {
        c.warp.regs.shadow.clean(file, *slot, c.mask);
        for l in lanes(dirty) {
            let bits = whole[l] >> (k as u32 * element) & (u64::MAX >> (64 - element));
            c.warp.regs.shadow.set(file, *slot, l, bits);
        }
    }
}

/// Bit masks of byte masks.
fn spread(bytes: u16) -> u128 {
    (0..16).fold(0, |m, b| if bytes >> b & 1 != 0 { m | 0xff << (8 * b) } else { m })
}

/// A load has filled `c.wide`: its unwritten bytes go to the registers of `list`.
#[inline(always)]
pub fn loaded(c: &mut Ctx<'_, '_>, i: &Inst) {
    if c.wide.tainted & c.mask != 0 || c.warp.regs.shadow.any() {
        spread_loaded(c, i);
    }
}

fn spread_loaded(c: &mut Ctx<'_, '_>, i: &Inst) {
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
            c.warp.regs.shadow.set(file, *slot, l, extended & keep);
        }
    }
}

/// A store is about to write `c.wide`: the unwritten bytes of the registers of `list` go with it.
pub fn storing(c: &mut Ctx<'_, '_>, i: &Inst) {
    if !c.warp.regs.shadow.any() {
        return;
    }
    let file = if i.mem.register == 64 { File::R64 } else { File::R32 };
    let bytes = u32::from(i.mem.element);
    for (k, slot) in i.list.iter().enumerate() {
        let dirty = c.warp.regs.shadow.dirty(file, *slot) & c.mask;
        for l in lanes(dirty) {
            let bits = c.warp.regs.shadow.bits(file, *slot, l);
            let missing =
                (0..bytes).filter(|b| bits >> (8 * b) & 0xff != 0).fold(0u16, |m, b| m | 1 << (k as u32 * bytes + b));
            c.wide.uninit[l] |= missing;
            c.wide.tainted |= u32::from(c.wide.uninit[l] != 0) << l;
        }
    }
}

/// A shuffle moves the bits of lane `from[l]` to lane l.
pub fn shuffled(c: &mut Ctx<'_, '_>, i: &Inst, set: u32, from: &[u32; 32]) {
    let shadow = &mut c.warp.regs.shadow;
    if !shadow.any() {
        return;
    }
    let source: [u64; 32] = std::array::from_fn(|l| shadow.bits(File::R32, i.o[2], l));
    let unknown = [3, 4].iter().fold(0, |m, k| m | shadow.dirty(File::R32, i.o[*k]));
    for l in lanes(set) {
        let bits = if unknown >> l & 1 != 0 { u64::from(u32::MAX) } else { source[from[l] as usize] };
        shadow.set(File::R32, i.o[0], l, bits);
    }
    shadow.clean(File::Pred, i.o[1], set);
}

/// The unwritten bits of a 32-bit register.
pub fn get32(c: &Ctx<'_, '_>, slot: u32) -> [u32; 32] {
    std::array::from_fn(|l| c.warp.regs.shadow.bits(File::R32, slot, l) as u32)
}

/// Sets the unwritten bits of a 32-bit register, lanes of the mask.
pub fn set32(c: &mut Ctx<'_, '_>, slot: u32, bits: &[u32; 32]) {
    if c.warp.regs.shadow.dirty32[slot as usize] == 0 && bits.iter().all(|b| *b == 0) {
        return;
    }
    for l in lanes(c.mask) {
        c.warp.regs.shadow.set(File::R32, slot, l, u64::from(bits[l]));
    }
}

/// A move of bits between lanes that does the same to the unwritten bits.
pub fn moved(c: &mut Ctx<'_, '_>, _i: &Inst, from: u32, to: u32, f: impl Fn(&[u32; 32]) -> [u32; 32]) {
    if !c.warp.regs.shadow.any() {
        return;
    }
    let bits = f(&get32(c, from));
    set32(c, to, &bits);
}

/// A matrix product: an unwritten element of A taints its row, one of B its column, one of C itself. Lane 4 g + t holds rows g and g + 8 of A,
/// column g of B, and rows g and g + 8, columns 2 t and 2 t + 1 of C and D.
pub fn multiplied(c: &mut Ctx<'_, '_>, i: &Inst, (na, nb, nc): (usize, usize, usize)) {
    if !c.warp.regs.shadow.any() {
        return;
    }
    let dirty = |c: &Ctx<'_, '_>, k: usize, n: usize| c.warp.regs.shadow.dirty32[i.list[i.o[k] as usize + n] as usize];
    let all =
        (0..na).map(|n| dirty(c, 1, n)).chain((0..nb).map(|n| dirty(c, 2, n))).chain((0..nc).map(|n| dirty(c, 3, n)));
    if all.fold(0, |m, d| m | d) == 0 {
        for n in 0..nc {
            c.warp.regs.shadow.clean(File::R32, i.list[i.o[0] as usize + n], c.mask);
        }
        return;
    }
    // Registers of A alternate between rows g and g + 8.
    let (mut rows, mut columns) = ([false; 16], [false; 8]);
    for l in 0..32usize {
        let g = l / 4;
        for n in 0..na {
            rows[g + 8 * (n % 2)] |= dirty(c, 1, n) >> l & 1 != 0;
        }
        for n in 0..nb {
            columns[g] |= dirty(c, 2, n) >> l & 1 != 0;
        }
    }
    let accumulated: Vec<[u32; 32]> = (0..nc).map(|n| get32(c, i.list[i.o[3] as usize + n])).collect();
    for n in 0..nc {
        let bits = std::array::from_fn(|l| {
            let (g, t) = (l / 4, l % 4);
            // Four registers: one element each. Two registers: a row each, two columns.
            let element = |row: usize, column: usize| rows[row] || columns[column];
            let own = accumulated[n][l];
            if nc == 4 {
                if own != 0 || element(g + 8 * (n / 2), 2 * t + n % 2) { u32::MAX } else { 0 }
            } else {
                let half = |h: usize| own >> (16 * h) & 0xffff != 0 || element(g + 8 * n, 2 * t + h);
                (if half(0) { 0xffff } else { 0 }) | if half(1) { 0xffff_0000 } else { 0 }
            }
        });
        set32(c, i.list[i.o[0] as usize + n], &bits);
    }
}
