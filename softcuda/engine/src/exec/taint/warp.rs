//! Unwritten bits between the lanes of a warp.

use super::super::ctx::Ctx;
use super::super::inst::Inst;
use super::super::regs::File;
use super::super::shadow::Source;
use crate::memory::lanes;

/// A shuffle moves the bits of lane `from[l]` to lane l.
pub fn shuffled(c: &mut Ctx<'_, '_>, i: &Inst, set: u32, from: &[u32; 32]) {
    let shadow = &mut c.warp.regs.shadow;
    if !shadow.any() {
        return;
    }
    let moved: [u64; 32] = std::array::from_fn(|l| shadow.bits(File::R32, i.o[2], l));
    let sources: [Option<Source>; 32] = std::array::from_fn(|l| shadow.source(File::R32, i.o[2], l));
    for l in lanes(set) {
        // The lane chosen, or the value that it has.
        let choice = [3, 4].iter().find_map(|k| shadow.source(File::R32, i.o[*k], l));
        let (bits, source) = match choice {
            Some(source) => (u64::from(u32::MAX), Some(Source { computed: true, ..source })),
            None => (moved[from[l] as usize], sources[from[l] as usize]),
        };
        shadow.set(File::R32, i.o[0], l, bits, source.unwrap_or(Source::UNSET));
    }
    shadow.clean(File::Pred, i.o[1], set);
}

/// The unwritten bits of a 32-bit register.
pub fn get32(c: &Ctx<'_, '_>, slot: u32) -> [u32; 32] {
    std::array::from_fn(|l| c.warp.regs.shadow.bits(File::R32, slot, l) as u32)
}

/// Sets the unwritten bits of a 32-bit register, lanes of the mask, and where they came from.
pub fn set32(c: &mut Ctx<'_, '_>, slot: u32, bits: &[u32; 32], source: impl Fn(&Ctx<'_, '_>, usize) -> Source) {
    if c.warp.regs.shadow.dirty32[slot as usize] == 0 && bits.iter().all(|b| *b == 0) {
        return;
    }
    for l in lanes(c.mask) {
        let source = if bits[l] != 0 { source(c, l) } else { Source::UNSET };
        c.warp.regs.shadow.set(File::R32, slot, l, u64::from(bits[l]), source);
    }
}

/// A move of bits between lanes that does the same to the unwritten bits.
pub fn moved(c: &mut Ctx<'_, '_>, from: u32, to: u32, f: impl Fn(&[u32; 32]) -> [u32; 32]) {
    if !c.warp.regs.shadow.any() {
        return;
    }
    let bits = f(&get32(c, from));
    let source = any(c, File::R32, [from].iter());
    set32(c, to, &bits, |_, _| source);
}

/// Where the unwritten bits of some lane of some of these registers came from.
pub fn any<'s>(c: &Ctx<'_, '_>, file: File, mut slots: impl Iterator<Item = &'s u32>) -> Source {
    let shadow = &c.warp.regs.shadow;
    let found = slots.find_map(|&s| shadow.source(file, s, shadow.dirty(file, s).trailing_zeros() as usize % 32));
    found.unwrap_or(Source::UNSET)
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
    let operands = [(1, na), (2, nb), (3, nc)].map(|(k, n)| i.o[k] as usize..i.o[k] as usize + n);
    let source = Source { computed: true, ..any(c, File::R32, operands.into_iter().flat_map(|r| &i.list[r])) };
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
        set32(c, i.list[i.o[0] as usize + n], &bits, |_, _| source);
    }
}
