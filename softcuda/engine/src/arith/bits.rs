//! Integer and bit instructions (PTX ISA 9.7.1 integer, 9.7.2 extended precision, 9.7.8 logic and shift) where they differ
//! from what `core` offers: shifts that clamp, high products, bit fields, byte permutation, packed dot products, carries.

use core::ops::{BitAnd, BitOr, Not, Shl, Shr};

/// An integer register type: the arithmetic that its width and signedness decide.
pub trait Word:
    Copy
    + Ord
    + Not<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// Width in bits.
    const BITS: u32;
    /// Whether `>>` fills with the sign.
    const SIGNED: bool;
    /// 0.
    const ZERO: Self;
    /// All bits set.
    const ONES: Self;
    /// The upper half of the double-width product.
    fn mul_hi(self, other: Self) -> Self;
    /// Sum modulo the width.
    fn plus(self, other: Self) -> Self;
    /// Difference modulo the width.
    fn minus(self, other: Self) -> Self;
    /// Quotient truncated toward zero. Division by zero gives all ones and `MIN / -1` wraps (the ISA leaves both open).
    fn quotient(self, other: Self) -> Self;
    /// Remainder with the dividend's sign. Division by zero gives the dividend and `MIN % -1` gives 0 (the ISA leaves both open).
    fn remainder(self, other: Self) -> Self;
}

macro_rules! word {
    ($($t:ident, $wide:ident, $signed:literal;)*) => {$(
        impl Word for $t {
            const BITS: u32 = $t::BITS;
            const SIGNED: bool = $signed;
            const ZERO: Self = 0;
            const ONES: Self = !0;
            #[inline(always)]
            fn mul_hi(self, other: Self) -> Self {
                ((self as $wide * other as $wide) >> $t::BITS) as $t
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn quotient(self, other: Self) -> Self {
                if other == 0 { !0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }
        }
    )*};
}
word! {
    u16, u32, false;
    i16, i32, true;
    u32, u64, false;
    i32, i64, true;
    u64, u128, false;
    i64, i128, true;
}

/// `shl`: a shift by the width or more gives 0 (9.7.8.8).
#[inline(always)]
pub fn shl<T: Word>(a: T, n: u32) -> T {
    if n < T::BITS { a << n } else { T::ZERO }
}

/// `shr`: a shift by the width or more gives the sign fill (signed) or 0 (unsigned) (9.7.8.9).
#[inline(always)]
pub fn shr<T: Word>(a: T, n: u32) -> T {
    if T::SIGNED {
        a >> n.min(T::BITS - 1)
    } else if n < T::BITS {
        a >> n
    } else {
        T::ZERO
    }
}

/// `shf.l.clamp`: the upper word of `(b:a) << min(n, 32)` (9.7.8.7).
#[inline(always)]
pub fn shf_l_clamp(a: u32, b: u32, n: u32) -> u32 {
    (((((b as u64) << 32) | a as u64) << n.min(32)) >> 32) as u32
}

/// `shf.l.wrap`: the upper word of `(b:a) << (n & 31)`.
#[inline(always)]
pub fn shf_l_wrap(a: u32, b: u32, n: u32) -> u32 {
    shf_l_clamp(a, b, n & 31)
}

/// `shf.r.clamp`: the lower word of `(b:a) >> min(n, 32)`.
#[inline(always)]
pub fn shf_r_clamp(a: u32, b: u32, n: u32) -> u32 {
    ((((b as u64) << 32) | a as u64) >> n.min(32)) as u32
}

/// `shf.r.wrap`: the lower word of `(b:a) >> (n & 31)`.
#[inline(always)]
pub fn shf_r_wrap(a: u32, b: u32, n: u32) -> u32 {
    shf_r_clamp(a, b, n & 31)
}

/// `mul24.lo`, `.hi`: bits 31..0 or 47..16 of the product of the low 24 bits (9.7.1.5).
#[inline(always)]
pub fn mul24<const SIGNED: bool, const HI: bool>(a: u32, b: u32) -> u32 {
    let low24 = |x: u32| if SIGNED { ((x << 8) as i32 >> 8) as i64 } else { (x & 0xff_ffff) as i64 };
    let product = low24(a).wrapping_mul(low24(b));
    if HI { (product >> 16) as u32 } else { product as u32 }
}

/// `sad`: `c + |a - b|` (9.7.1.7).
#[inline(always)]
pub fn sad<T: Word>(a: T, b: T, c: T) -> T {
    c.plus(if a < b { b.minus(a) } else { a.minus(b) })
}

/// `add.cc`, `addc`: the sum with a carry in (0 or 1) and the carry out (9.7.2).
#[inline(always)]
pub fn add_carry(a: u32, b: u32, carry: u32) -> (u32, u32) {
    let sum = a as u64 + b as u64 + carry as u64;
    (sum as u32, (sum >> 32) as u32)
}

/// `sub.cc`, `subc`: `a - (b + borrow)` and the borrow out. CC.CF holds the borrow (9.7.2.3).
#[inline(always)]
pub fn sub_borrow(a: u32, b: u32, borrow: u32) -> (u32, u32) {
    let difference = (a as u64).wrapping_sub(b as u64 + borrow as u64);
    (difference as u32, (difference >> 63) as u32)
}

/// [`add_carry`] on 64 bits.
#[inline(always)]
pub fn add_carry64(a: u64, b: u64, carry: u32) -> (u64, u32) {
    let sum = a as u128 + b as u128 + carry as u128;
    (sum as u64, (sum >> 64) as u32)
}

/// [`sub_borrow`] on 64 bits.
#[inline(always)]
pub fn sub_borrow64(a: u64, b: u64, borrow: u32) -> (u64, u32) {
    let difference = (a as u128).wrapping_sub(b as u128 + borrow as u128);
    (difference as u64, (difference >> 127) as u32)
}

/// `bfind`: position of the highest bit that differs from the sign (signed) or is set (unsigned), counted from bit 0, or from the top
/// with `.shiftamt`; `0xffff_ffff` when there is none (9.7.1.15).
#[inline(always)]
pub fn bfind_u32(a: u32, shiftamt: bool) -> u32 {
    let from_top = a.leading_zeros();
    if from_top == 32 {
        u32::MAX
    } else if shiftamt {
        from_top
    } else {
        31 - from_top
    }
}

/// [`bfind_u32`] for s32.
#[inline(always)]
pub fn bfind_s32(a: u32, shiftamt: bool) -> u32 {
    bfind_u32(a ^ ((a as i32) >> 31) as u32, shiftamt)
}

/// [`bfind_u32`] for u64.
#[inline(always)]
pub fn bfind_u64(a: u64, shiftamt: bool) -> u32 {
    let from_top = a.leading_zeros();
    if from_top == 64 {
        u32::MAX
    } else if shiftamt {
        from_top
    } else {
        63 - from_top
    }
}

/// [`bfind_u32`] for s64.
#[inline(always)]
pub fn bfind_s64(a: u64, shiftamt: bool) -> u32 {
    bfind_u64(a ^ ((a as i64) >> 63) as u64, shiftamt)
}

/// `fns.b32`: the `offset`-th set bit of `mask` from bit `base` upwards (positive) or downwards (negative); offset 0 asks for bit `base`
/// itself. `0xffff_ffff` when there is none (9.7.1.16).
#[inline(always)]
pub fn fns(mask: u32, base: u32, offset: i32) -> u32 {
    let set = |position: i64| (0..32).contains(&position) && mask >> position & 1 == 1;
    if offset == 0 {
        return if set(base as i64) { base } else { u32::MAX };
    }
    let mut left = offset.unsigned_abs();
    let mut position = base as i64;
    while (0..32).contains(&position) {
        left -= set(position) as u32;
        if left == 0 {
            return position as u32;
        }
        position += offset.signum() as i64;
    }
    u32::MAX
}

/// `bfe.u32`: the field of `c & 0xff` bits at bit `b & 0xff`, zero beyond the register's end (9.7.1.20).
#[inline(always)]
pub fn bfe_u32(a: u32, b: u32, c: u32) -> u32 {
    shr(a, b & 0xff) & !shl(!0u32, c & 0xff)
}

/// `bfe.s32`: as [`bfe_u32`], filled with the field's top bit; a field that passes the register's end is filled with its sign.
#[inline(always)]
pub fn bfe_s32(a: u32, b: u32, c: u32) -> u32 {
    let (position, length) = (b & 0xff, c & 0xff);
    let spare = 32 - length.min(32);
    let field = shr(a as i32, position);
    if length == 0 { 0 } else { ((field << (spare & 31)) >> (spare & 31)) as u32 }
}

/// `bfe.u64`.
#[inline(always)]
pub fn bfe_u64(a: u64, b: u32, c: u32) -> u64 {
    shr(a, b & 0xff) & !shl(!0u64, c & 0xff)
}

/// `bfe.s64`.
#[inline(always)]
pub fn bfe_s64(a: u64, b: u32, c: u32) -> u64 {
    let (position, length) = (b & 0xff, c & 0xff);
    let field = shr(a as i64, position);
    let spare = 64 - length.min(64);
    if length == 0 { 0 } else { ((field << (spare & 63)) >> (spare & 63)) as u64 }
}

/// `bfi.b32`: `b` with the low `d & 0xff` bits of `a` put at bit `c & 0xff`; bits past the end are dropped (9.7.1.21).
#[inline(always)]
pub fn bfi_b32(a: u32, b: u32, c: u32, d: u32) -> u32 {
    let mask = shl(!shl(!0u32, d & 0xff), c & 0xff);
    (shl(a, c & 0xff) & mask) | (b & !mask)
}

/// `bfi.b64`.
#[inline(always)]
pub fn bfi_b64(a: u64, b: u64, c: u32, d: u32) -> u64 {
    let mask = shl(!shl(!0u64, d & 0xff), c & 0xff);
    (shl(a, c & 0xff) & mask) | (b & !mask)
}

/// `szext`: sign- or zero-extends the low `b` bits of `a`. `CLAMP`: a count of 32 or more leaves `a`; otherwise the count is taken
/// modulo 32 (9.7.1.22).
#[inline(always)]
pub fn szext<const SIGNED: bool, const CLAMP: bool>(a: u32, b: u32) -> u32 {
    if CLAMP && b >= 32 {
        return a;
    }
    let count = b & 31;
    let mask = !0u32 << count;
    let negative = SIGNED && count > 0 && a >> (count - 1) & 1 == 1; // of no bits: 0
    (a & !mask) | if negative { mask } else { 0 }
}

/// `bmsk`: a mask of `b` ones from bit `a`. `CLAMP`: position and width of 32 or more mean 32; otherwise both are taken modulo 32
/// (9.7.1.23).
#[inline(always)]
pub fn bmsk<const CLAMP: bool>(a: u32, b: u32) -> u32 {
    let limit = |x: u32| if CLAMP { x.min(32) } else { x & 31 };
    let (position, width) = (limit(a), limit(b));
    shl(!0u32, position) & !shl(!0u32, position + width)
}

/// `lop3.b32`: bit `i` of the result is bit `(a_i << 2) | (b_i << 1) | c_i` of `lut` (9.7.8.6).
#[inline(always)]
pub fn lop3(a: u32, b: u32, c: u32, lut: u8) -> u32 {
    let pick = |row: u32| 0u32.wrapping_sub(lut as u32 >> row & 1);
    let by_c = |row: u32| (pick(row) & !c) | (pick(row + 1) & c);
    let by_b = |row: u32| (by_c(row) & !b) | (by_c(row + 2) & b);
    (by_b(0) & !a) | (by_b(4) & a)
}

/// How `prmt` reads its selector (9.7.9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrmtMode {
    /// Four nibbles: byte index 0..7 and, in bit 3, replicate that byte's sign.
    Index,
    /// Forward 4 extract.
    F4e,
    /// Backward 4 extract.
    B4e,
    /// Replicate 8.
    Rc8,
    /// Edge clamp left.
    Ecl,
    /// Edge clamp right.
    Ecr,
    /// Replicate 16.
    Rc16,
}

impl PrmtMode {
    /// The nibbles equal to selector `c` in `Index` mode: the table of the ISA, byte 3 of the result first.
    #[inline(always)]
    fn nibbles(self, c: u32) -> u32 {
        let table: [u32; 4] = match self {
            PrmtMode::Index => return c,
            PrmtMode::F4e => [0x3210, 0x4321, 0x5432, 0x6543],
            PrmtMode::B4e => [0x5670, 0x6701, 0x7012, 0x0123],
            PrmtMode::Rc8 => [0x0000, 0x1111, 0x2222, 0x3333],
            PrmtMode::Ecl => [0x3210, 0x3211, 0x3222, 0x3333],
            PrmtMode::Ecr => [0x0000, 0x1110, 0x2210, 0x3210],
            PrmtMode::Rc16 => [0x1010, 0x3232, 0x1010, 0x3232],
        };
        table[(c & 3) as usize]
    }
}

/// `prmt.b32`: four bytes picked from `b:a` (9.7.9.7).
#[inline(always)]
pub fn prmt(a: u32, b: u32, c: u32, mode: PrmtMode) -> u32 {
    let source = ((b as u64) << 32) | a as u64;
    let nibbles = mode.nibbles(c);
    let byte = |i: u32| {
        let nibble = nibbles >> (4 * i);
        let value = (source >> (8 * (nibble & 7))) as u32 & 0xff;
        let sign = (0u32.wrapping_sub(value >> 7)) & 0xff;
        (if nibble & 8 == 0 { value } else { sign }) << (8 * i)
    };
    byte(0) | byte(1) | byte(2) | byte(3)
}

/// Byte `i` of `x` as s8 or u8.
#[inline(always)]
fn byte<const SIGNED: bool>(x: u32, i: u32) -> i32 {
    let shifted = x << (24 - 8 * i);
    if SIGNED { shifted as i32 >> 24 } else { (shifted >> 24) as i32 }
}

/// `dp4a`: `c` plus the dot product of four bytes each of `a` and `b`, modulo 2^32 (9.7.1.24).
#[inline(always)]
pub fn dp4a<const A_SIGNED: bool, const B_SIGNED: bool>(a: u32, b: u32, c: u32) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add((byte::<A_SIGNED>(a, i) * byte::<B_SIGNED>(b, i)) as u32))
}

/// `dp2a.lo`, `.hi`: `c` plus the dot product of the halfwords of `a` and the lower or upper two bytes of `b`, modulo 2^32 (9.7.1.25).
#[inline(always)]
pub fn dp2a<const A_SIGNED: bool, const B_SIGNED: bool, const HI: bool>(a: u32, b: u32, c: u32) -> u32 {
    let half = |i: u32| {
        let shifted = a << (16 - 16 * i);
        if A_SIGNED { shifted as i32 >> 16 } else { (shifted >> 16) as i32 }
    };
    let first = if HI { 2 } else { 0 };
    (0..2).fold(c, |sum, i| sum.wrapping_add(half(i).wrapping_mul(byte::<B_SIGNED>(b, first + i)) as u32))
}

/// `|a - b|` of each part of `width` bits: their sum, and the parts themselves. The signs say how the parts of a and b are read.
#[inline(always)]
pub fn absolute_differences(a: u32, b: u32, width: u32, signs: [bool; 2]) -> (u32, u32) {
    let spare = 32 - width;
    let part = |x: u32, at: u32, signed: bool| {
        let x = x >> at << spare;
        if signed { (x as i32 >> spare).into() } else { i64::from(x >> spare) }
    };
    let (mut sum, mut parts) = (0u32, 0);
    for at in (0..32).step_by(width as usize) {
        let difference = i64::abs(part(a, at, signs[0]) - part(b, at, signs[1])) as u32;
        sum = sum.wrapping_add(difference);
        parts |= (difference & (u32::MAX >> spare)) << at;
    }
    (sum, parts)
}
