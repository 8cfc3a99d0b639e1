//! Every conversion from a type of 8 or 16 bits, on all its patterns; every conversion from f32 and f64 to f16 and bf16, on all their values, the
//! middles between them, and the neighbours of both. PTX ISA 9.7.9.21.

use crate::grid::{Grid, Kernel};
use crate::oracle::Direction;
use crate::table::{Table, direction};
use softcuda_engine::arith::round::{NAN32, NAN64};
use softcuda_engine::isa::{Mods, ROWS, lookup};
use softcuda_engine::ptx::Ty;

/// The conversions that the engine has and `wanted` picks: spelling, types, modifiers.
fn spellings(wanted: impl Fn(Ty, Ty) -> bool) -> Vec<(String, Ty, Ty, Mods)> {
    let mut list = Vec::new();
    for row in ROWS.iter().filter(|r| r.name == "cvt" && r.operands.len() == 2) {
        for op in row.spellings() {
            let (_, mods) = lookup(&op).into_iter().find(|(r, _)| r.syntax == row.syntax).expect("its own spelling");
            if let (Some(to), Some(from), Some(_)) = (mods.nth_ty(0), mods.nth_ty(1), (row.build)(&mods))
                && wanted(to, from)
            {
                list.push((op, to, from, mods));
            }
        }
    }
    list
}

fn register(ty: Ty) -> u32 {
    ty.bits().max(16)
}

fn grid(list: &[(String, Ty, Ty, Mods)]) -> Grid {
    let kernel = |(op, to, from, _): &(String, Ty, Ty, Mods)| {
        Kernel::new(format!("{op} %d0, %a0;"), &[register(*from)], &[register(*to)])
    };
    Grid::new(list.iter().map(kernel).collect())
}

/// The value of a pattern: an f64 holds all of them. NaN is NaN.
fn value(bits: u16, ty: Ty) -> f64 {
    match ty {
        Ty::S8 => f64::from(bits as u8 as i8),
        Ty::U8 => f64::from(bits as u8),
        Ty::S16 => f64::from(bits as i16),
        Ty::U16 => f64::from(bits),
        Ty::F16 => half::f16::from_bits(bits).to_f64(),
        Ty::BF16 => half::bf16::from_bits(bits).to_f64(),
        other => panic!("{other:?}"),
    }
}

fn integral(x: f64, direction: Direction) -> f64 {
    match direction {
        Direction::Nearest => x.round_ties_even(),
        Direction::Zero => x.trunc(),
        Direction::Down => x.floor(),
        Direction::Up => x.ceil(),
    }
}

/// An integer as a register of the destination holds it: extended by its own sign.
fn integer(v: i128, to: Ty) -> u64 {
    let low = v as u128 & ((1 << to.bits()) - 1);
    let negative = to.signed() && low >> (to.bits() - 1) == 1;
    let extended = if negative { low | u128::MAX << to.bits() } else { low };
    extended as u64 & (u64::MAX >> (64 - register(to)))
}

fn range(to: Ty) -> (i128, i128) {
    let bits = to.bits();
    if to.signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// `.sat` of a float: to [0, 1], NaN and -0 to +0.
fn saturated(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

struct Oracle {
    f16: Table,
    bf16: Table,
}

impl Oracle {
    fn new() -> Oracle {
        Oracle { f16: Table::f16(), bf16: Table::bf16() }
    }

    /// The value in f16 or bf16 with all that a spelling may ask for.
    fn narrow(&self, x: f64, to: Ty, mods: &Mods) -> u64 {
        let table = if to == Ty::F16 { &self.f16 } else { &self.bf16 };
        let mut bits = table.round(x, 0.0, direction(&mods.parts));
        if mods.has("satfinite") && bits & 0x7fff == table.infinity() {
            bits -= 1;
        }
        if mods.has("relu") && bits & 0x8000 != 0 {
            bits = 0;
        }
        if mods.has("sat") {
            let one = if to == Ty::F16 { 0x3c00 } else { 0x3f80 };
            bits = if bits & 0x8000 != 0 || bits > table.infinity() { 0 } else { bits.min(one) };
        }
        bits.into()
    }

    fn expected(&self, bits: u16, to: Ty, from: Ty, mods: &Mods) -> u64 {
        let x = value(bits, from);
        // `.ftz` counts f32 subnormals as zero: only bf16 among these types has any.
        let tiny = mods.has("ftz") && x != 0.0 && x.abs() < 2f64.powi(-126);
        let x = if tiny { 0f64.copysign(x) } else { x };
        if !to.float() {
            let (min, max) = range(to);
            let v = match (from.float(), x.is_nan()) {
                (true, true) if to.bits() == 64 => 1 << 63,
                (true, true) => 0,
                // An f64 beyond the range of i128 clamps by the cast.
                (true, false) => (integral(x, direction(&mods.parts)) as i128).clamp(min, max),
                (false, _) if mods.has("sat") => (x as i128).clamp(min, max),
                (false, _) => x as i128,
            };
            return integer(v, to);
        }
        if to == from {
            let table = if to == Ty::F16 { &self.f16 } else { &self.bf16 };
            return table.round(integral(x, direction(&mods.parts)), 0.0, Direction::Nearest).into();
        }
        let saturate = |x: f64| if mods.has("sat") { saturated(x) } else { x };
        match to {
            Ty::F16 | Ty::BF16 => self.narrow(x, to, mods),
            Ty::F32 if saturate(x).is_nan() => NAN32.into(),
            Ty::F32 => (saturate(x) as f32).to_bits().into(),
            Ty::F64 if saturate(x).is_nan() => NAN64,
            Ty::F64 => saturate(x).to_bits(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn conversions_from_16_bits_and_fewer_are_right_on_every_pattern() {
    let sources = [Ty::S8, Ty::U8, Ty::S16, Ty::U16, Ty::F16, Ty::BF16];
    let mut list = spellings(|_, from| sources.contains(&from));
    // `.ftz` says nothing of f16 and of integers.
    list.retain(|(_, to, from, mods)| !mods.has("ftz") || (*to == Ty::F32 && *from == Ty::BF16));
    assert!(list.len() > 300, "{}", list.len());
    let (grid, oracle) = (grid(&list), Oracle::new());
    let input: Vec<u64> = (0..65536).collect();
    for (n, (op, to, from, mods)) in list.iter().enumerate() {
        let out = grid.run(n, std::slice::from_ref(&input)).remove(0);
        for (bits, got) in (0..=u16::MAX).zip(out) {
            let want = oracle.expected(bits, *to, *from, mods);
            assert_eq!(got, want, "{op} of {bits:#06x}: {got:#x}, not {want:#x}");
        }
    }
    println!("{} spellings, 65536 patterns each", list.len());
}

#[test]
fn conversions_to_f16_and_bf16_are_right_at_every_boundary() {
    let list = spellings(|to, from| matches!(to, Ty::F16 | Ty::BF16) && matches!(from, Ty::F32 | Ty::F64));
    assert!(list.len() > 40, "{}", list.len());
    let (grid, oracle) = (grid(&list), Oracle::new());
    for to in [Ty::F16, Ty::BF16] {
        for from in [Ty::F32, Ty::F64] {
            let mut input = Vec::new();
            for bits in 0..=u16::MAX {
                let (x, next) = (value(bits, to), value(bits.wrapping_add(1), to));
                let middle = if x.is_finite() && next.is_infinite() { x * 1.0000001 } else { (x + next) / 2.0 };
                for y in [x, middle] {
                    let (f, d) = ((y as f32).to_bits(), y.to_bits());
                    input.extend((0..3).map(|k| match from {
                        Ty::F32 => u64::from(f.wrapping_add(k).wrapping_sub(1)),
                        _ => d.wrapping_add(k.into()).wrapping_sub(1),
                    }));
                }
            }
            let of_type = list.iter().enumerate().filter(|(_, l)| l.1 == to && l.2 == from);
            for (n, (op, _, _, mods)) in of_type {
                let out = grid.run(n, std::slice::from_ref(&input)).remove(0);
                for (&bits, got) in input.iter().zip(out) {
                    let x = if from == Ty::F32 { f32::from_bits(bits as u32).into() } else { f64::from_bits(bits) };
                    let tiny = mods.has("ftz") && from == Ty::F32 && x != 0.0 && x.abs() < 2f64.powi(-126);
                    let want = oracle.narrow(if tiny { 0f64.copysign(x) } else { x }, to, mods);
                    assert_eq!(got, want, "{op} of {bits:#x} ({x:e}): {got:#x}, not {want:#x}");
                }
            }
        }
    }
}

/// The value of an e4m3 or e5m2 code by its fields (OCP OFP8, tables 1 and 2).
fn code(code: u8, ty: Ty) -> f64 {
    let (fraction, bias) = if ty == Ty::E4M3x2 { (3, 7) } else { (2, 15) };
    let sign = if code >> 7 == 1 { -1.0 } else { 1.0 };
    let (exponent, field) = (i32::from(code >> fraction & (0x7f >> fraction)), f64::from(code & ((1 << fraction) - 1)));
    let step = 2f64.powi(-fraction);
    match (ty, code & 0x7f) {
        (Ty::E4M3x2, 0x7f) => f64::NAN,
        (Ty::E5M2x2, 0x7c) => sign * f64::INFINITY,
        (Ty::E5M2x2, 0x7d..) => f64::NAN,
        _ if exponent == 0 => sign * field * step * 2f64.powi(1 - bias),
        _ => sign * (1.0 + field * step) * 2f64.powi(exponent - bias),
    }
}

#[test]
fn eight_bit_floats_widen_and_narrow_in_pairs() {
    let table = Table::f16();
    let list = spellings(|_, from| matches!(from, Ty::E4M3x2 | Ty::E5M2x2));
    assert_eq!(list.len(), 4);
    let widen = grid(&list);
    let input: Vec<u64> = (0..65536).collect();
    for (n, (op, _, from, mods)) in list.iter().enumerate() {
        let out = widen.run(n, std::slice::from_ref(&input)).remove(0);
        for (bits, got) in (0..=u16::MAX).zip(out) {
            let half = |c: u8| {
                let h = table.round(code(c, *from), 0.0, Direction::Nearest);
                if mods.has("relu") && h & 0x8000 != 0 { 0 } else { h }
            };
            let want = u64::from(half(bits as u8)) | u64::from(half((bits >> 8) as u8)) << 16;
            assert_eq!(got, want, "{op} of {bits:#06x}");
        }
    }
    // Back: the nearest code of all finite ones, by search; a tie goes to the even code; beyond the largest the largest.
    let list = spellings(|to, from| matches!(to, Ty::E4M3x2 | Ty::E5M2x2) && matches!(from, Ty::F16x2 | Ty::BF16x2));
    assert!(list.len() >= 4, "{}", list.len());
    let narrow = grid(&list);
    for (n, (op, to, from, mods)) in list.iter().enumerate() {
        let finite: Vec<f64> = (0..0x7f).map(|c| code(c, *to)).take_while(|v| v.is_finite()).collect();
        let element = if *from == Ty::F16x2 { Ty::F16 } else { Ty::BF16 };
        let one = |bits: u16| {
            let x = value(bits, element);
            if x.is_nan() {
                return 0x7f;
            }
            if mods.has("relu") && x.is_sign_negative() {
                return 0;
            }
            let m = x.abs().min(finite[finite.len() - 1]);
            let below = finite.partition_point(|&v| v <= m) - 1;
            let above = finite.get(below + 1).copied().unwrap_or(f64::INFINITY);
            let up = m - finite[below] > above - m || (m - finite[below] == above - m && below % 2 == 1);
            (below + usize::from(up)) as u64 | if x.is_sign_negative() { 0x80 } else { 0 }
        };
        let all: Vec<u64> = (0..=u16::MAX).map(one).collect();
        let partner = |bits: u64| bits.wrapping_mul(40503) & 0xffff;
        let pairs: Vec<u64> = (0..65536).map(|bits| bits | partner(bits) << 16).collect();
        let out = narrow.run(n, &[pairs]).remove(0);
        for (bits, got) in (0..65536).zip(out) {
            let want = all[bits as usize] | all[partner(bits) as usize] << 8;
            assert_eq!(got, want, "{op} of {bits:#06x} and {:#06x}", partner(bits));
        }
    }
}
