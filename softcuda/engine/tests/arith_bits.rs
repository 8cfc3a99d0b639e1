//! Integer and bit instructions against plain loops over bits and bytes.

mod oracle;

use oracle::Random;
use softcuda_engine::arith::bits::{self, PrmtMode};

fn bit(x: u64, i: u32) -> u64 {
    x >> i & 1
}

/// Random words, with small ones and all-ones patterns among them.
fn words(seed: u64, count: usize) -> Vec<u64> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| match i % 5 {
            0 => random.next() >> (random.next() % 64),
            1 => !(random.next() >> (random.next() % 64)),
            2 => random.next() & 0x3f,
            _ => random.next(),
        })
        .collect()
}

#[test]
fn lop3_looks_up_every_bit() {
    for (i, w) in words(1, 3 * 256 * 20).chunks_exact(3).enumerate() {
        let (a, b, c, lut) = (w[0] as u32, w[1] as u32, w[2] as u32, (i % 256) as u8);
        let mut expected = 0;
        for i in 0..32 {
            let row = bit(a as u64, i) << 2 | bit(b as u64, i) << 1 | bit(c as u64, i);
            expected |= (bit(lut as u64, row as u32) as u32) << i;
        }
        assert_eq!(bits::lop3(a, b, c, lut), expected, "{a:#x} {b:#x} {c:#x} {lut:#x}");
    }
    // The ISA's recipe: the function applied to 0xF0, 0xCC, 0xAA is the table.
    assert_eq!(bits::lop3(0xf0, 0xcc, 0xaa, 0x6a) & 0xff, 0x6a);
}

#[test]
fn prmt_picks_bytes() {
    for w in words(2, 3 * 4000).chunks_exact(3) {
        let (a, b, c) = (w[0] as u32, w[1] as u32, w[2] as u32);
        let source: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
        let mut expected = [0u8; 4];
        for (i, byte) in expected.iter_mut().enumerate() {
            let nibble = (c >> (4 * i)) as usize & 15;
            *byte = source[nibble & 7];
            if nibble & 8 != 0 {
                *byte = if *byte & 0x80 != 0 { 0xff } else { 0 };
            }
        }
        assert_eq!(bits::prmt(a, b, c, PrmtMode::Index), u32::from_le_bytes(expected), "{a:#x} {b:#x} {c:#x}");
    }
}

#[test]
fn prmt_modes_follow_the_table_of_the_isa() {
    // 9.7.9.7, source bytes of d.b3 d.b2 d.b1 d.b0 for selector 0..3.
    let table: [(PrmtMode, [[u8; 4]; 4]); 6] = [
        (PrmtMode::F4e, [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        (PrmtMode::B4e, [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        (PrmtMode::Rc8, [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        (PrmtMode::Ecl, [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        (PrmtMode::Ecr, [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        (PrmtMode::Rc16, [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    // Byte i holds 0xf0 + i: a replicated sign would show as 0xff.
    for (mode, rows) in table {
        for (selector, row) in rows.into_iter().enumerate() {
            let expected = u32::from_be_bytes(row.map(|byte| 0xf0 + byte));
            let got = bits::prmt(0xf3f2_f1f0, 0xf7f6_f5f4, selector as u32 | 0xfff0, mode);
            assert_eq!(got, expected, "{mode:?} {selector}");
        }
    }
}

#[test]
fn bit_fields_follow_the_loops_of_the_isa() {
    let mut random = Random(3);
    for w in words(4, 2 * 20_000).chunks_exact(2) {
        let (a, b) = (w[0], w[1]);
        let small = |r: u64| if r & 64 != 0 { r & 0xff } else { r & 0x3f };
        let (position, length) = (small(random.next()) as u32, small(random.next()) as u32);
        let junk = (random.next() as u32) << 8; // only the low 8 bits count
        for (signed, width) in [(false, 32u32), (true, 32), (false, 64), (true, 64)] {
            let a = if width == 32 { a as u32 as u64 } else { a };
            let top = width - 1;
            let fill = if signed && length != 0 { bit(a, (position + length - 1).min(top)) } else { 0 };
            let mut expected = 0u64;
            for i in 0..width {
                let value = if i < length && position + i <= top { bit(a, position + i) } else { fill };
                expected |= value << i;
            }
            let (p, l) = (position | junk, length | junk);
            let got = match (signed, width) {
                (false, 32) => bits::bfe_u32(a as u32, p, l) as u64,
                (true, 32) => bits::bfe_s32(a as u32, p, l) as u64,
                (false, _) => bits::bfe_u64(a, p, l),
                (true, _) => bits::bfe_s64(a, p, l),
            };
            assert_eq!(got, expected, "bfe signed {signed} width {width} {a:#x} {position} {length}");
            if !signed {
                let b = if width == 32 { b as u32 as u64 } else { b };
                let mut expected = b;
                for i in 0..length {
                    if position + i <= top {
                        expected = expected & !(1 << (position + i)) | bit(a, i.min(63)) << (position + i);
                    }
                }
                let got = if width == 32 {
                    bits::bfi_b32(a as u32, b as u32, p, l) as u64
                } else {
                    bits::bfi_b64(a, b, p, l)
                };
                assert_eq!(got, expected, "bfi width {width} {a:#x} {b:#x} {position} {length}");
            }
        }
    }
}

#[test]
fn funnel_shifts_move_a_64_bit_window() {
    for w in words(5, 3 * 10_000).chunks_exact(3) {
        let (a, b, n) = (w[0] as u32, w[1] as u32, w[2] as u32);
        let all: Vec<u64> = (0..64).map(|i| if i < 32 { bit(a as u64, i) } else { bit(b as u64, i - 32) }).collect();
        // A left shift by n leaves bits 32-n.. of the pair in the upper word, a right shift bits n.. in the lower one.
        let window = |from: u32| (0..32).fold(0u32, |x, i| x | (all[(from + i) as usize] as u32) << i);
        assert_eq!(bits::shf_l_clamp(a, b, n), window(32 - n.min(32)), "l.clamp {a:#x} {b:#x} {n}");
        assert_eq!(bits::shf_l_wrap(a, b, n), window(32 - n % 32), "l.wrap {a:#x} {b:#x} {n}");
        assert_eq!(bits::shf_r_clamp(a, b, n), window(n.min(32)), "r.clamp {a:#x} {b:#x} {n}");
        assert_eq!(bits::shf_r_wrap(a, b, n), window(n % 32), "r.wrap {a:#x} {b:#x} {n}");
    }
}

#[test]
fn shifts_clamp_at_the_width() {
    for w in words(6, 2 * 5_000).chunks_exact(2) {
        let (a, n) = (w[0], w[1] as u32);
        let capped = n.min(64);
        assert_eq!(bits::shl(a as u16, n) as u128, ((a as u16 as u128) << capped) & 0xffff);
        assert_eq!(bits::shl(a as u32, n) as u128, ((a as u32 as u128) << capped) & 0xffff_ffff);
        assert_eq!(bits::shl(a, n) as u128, ((a as u128) << capped) & u64::MAX as u128);
        assert_eq!(bits::shr(a as u16, n) as u128, a as u16 as u128 >> capped);
        assert_eq!(bits::shr(a as u32, n) as u128, a as u32 as u128 >> capped);
        assert_eq!(bits::shr(a, n) as u128, a as u128 >> capped);
        assert_eq!(bits::shr(a as i16, n) as i128, a as i16 as i128 >> capped);
        assert_eq!(bits::shr(a as i32, n) as i128, a as i32 as i128 >> capped);
        assert_eq!(bits::shr(a as i64, n) as i128, a as i64 as i128 >> capped);
    }
    assert_eq!(bits::shl(1u32, u32::MAX), 0);
    assert_eq!(bits::shr(-1i32, u32::MAX), -1);
}

#[test]
fn dot_products_of_bytes_and_halfwords() {
    let widen8 = |x: u32, i: u32, signed: bool| {
        let byte = x.to_le_bytes()[i as usize];
        if signed { byte as i8 as i64 } else { byte as i64 }
    };
    let widen16 = |x: u32, i: u32, signed: bool| {
        let half = (x >> (16 * i)) as u16;
        if signed { half as i16 as i64 } else { half as i64 }
    };
    for w in words(7, 3 * 10_000).chunks_exact(3) {
        let (a, b, c) = (w[0] as u32, w[1] as u32, w[2] as u32);
        for (sa, sb) in [(false, false), (false, true), (true, false), (true, true)] {
            let sum = (0..4).fold(c as i64, |s, i| s + widen8(a, i, sa) * widen8(b, i, sb));
            let got = match (sa, sb) {
                (false, false) => bits::dp4a::<false, false>(a, b, c),
                (false, true) => bits::dp4a::<false, true>(a, b, c),
                (true, false) => bits::dp4a::<true, false>(a, b, c),
                (true, true) => bits::dp4a::<true, true>(a, b, c),
            };
            assert_eq!(got, sum as u32, "dp4a {sa} {sb} {a:#x} {b:#x} {c:#x}");
            for hi in [false, true] {
                let first = if hi { 2 } else { 0 };
                let sum = (0..2).fold(c as i64, |s, i| s + widen16(a, i, sa) * widen8(b, first + i, sb));
                let got = match (sa, sb, hi) {
                    (false, false, false) => bits::dp2a::<false, false, false>(a, b, c),
                    (false, true, false) => bits::dp2a::<false, true, false>(a, b, c),
                    (true, false, false) => bits::dp2a::<true, false, false>(a, b, c),
                    (true, true, false) => bits::dp2a::<true, true, false>(a, b, c),
                    (false, false, true) => bits::dp2a::<false, false, true>(a, b, c),
                    (false, true, true) => bits::dp2a::<false, true, true>(a, b, c),
                    (true, false, true) => bits::dp2a::<true, false, true>(a, b, c),
                    (true, true, true) => bits::dp2a::<true, true, true>(a, b, c),
                };
                assert_eq!(got, sum as u32, "dp2a {sa} {sb} hi {hi} {a:#x} {b:#x} {c:#x}");
            }
        }
    }
}

#[test]
fn products_sums_and_carries() {
    use bits::Word;
    for w in words(8, 3 * 10_000).chunks_exact(3) {
        let (a, b, c) = (w[0], w[1], w[2]);
        assert_eq!(Word::mul_hi(a as u32, b as u32), ((a as u32 as u128 * b as u32 as u128) >> 32) as u32);
        assert_eq!(Word::mul_hi(a as i32, b as i32), ((a as i32 as i128 * b as i32 as i128) >> 32) as i32);
        assert_eq!(Word::mul_hi(a as i16, b as i16), ((a as i16 as i128 * b as i16 as i128) >> 16) as i16);
        assert_eq!(Word::mul_hi(a as u16, b as u16), ((a as u16 as u128 * b as u16 as u128) >> 16) as u16);
        assert_eq!(Word::mul_hi(a, b), ((a as u128 * b as u128) >> 64) as u64);
        assert_eq!(Word::mul_hi(a as i64, b as i64), ((a as i64 as i128 * b as i64 as i128) >> 64) as i64);

        let signed24 = |x: u64| ((x as i64) << 40 >> 40) as i128;
        let unsigned24 = |x: u64| (x & 0xff_ffff) as i128;
        let (x, y) = (a as u32, b as u32);
        assert_eq!(bits::mul24::<true, false>(x, y), (signed24(a) * signed24(b)) as u32);
        assert_eq!(bits::mul24::<true, true>(x, y), ((signed24(a) * signed24(b)) >> 16) as u32);
        assert_eq!(bits::mul24::<false, false>(x, y), (unsigned24(a) * unsigned24(b)) as u32);
        assert_eq!(bits::mul24::<false, true>(x, y), ((unsigned24(a) * unsigned24(b)) >> 16) as u32);

        let distance = (a as i32 as i128 - b as i32 as i128).unsigned_abs() as i32;
        assert_eq!(bits::sad(a as i32, b as i32, c as i32), (c as i32).wrapping_add(distance));
        assert_eq!(bits::sad(x, y, c as u32), (c as u32).wrapping_add(x.abs_diff(y)));

        let carry = (c & 1) as u32;
        let wide = x as u64 + y as u64 + carry as u64;
        assert_eq!(bits::add_carry(x, y, carry), (wide as u32, (wide >> 32) as u32));
        let wide = x as i64 - y as i64 - carry as i64;
        assert_eq!(bits::sub_borrow(x, y, carry), (wide as u32, (wide < 0) as u32));
        let wide = a as u128 + b as u128 + carry as u128;
        assert_eq!(bits::add_carry64(a, b, carry), (wide as u64, (wide >> 64) as u32));
        let wide = a as i128 - b as i128 - carry as i128;
        assert_eq!(bits::sub_borrow64(a, b, carry), (wide as u64, (wide < 0) as u32));
        if y != 0 {
            assert_eq!((x.quotient(y), x.remainder(y)), (x / y, x % y));
        }
    }
    assert_eq!((7u32.quotient(0), 7u32.remainder(0)), (u32::MAX, 7));
    assert_eq!((i32::MIN.quotient(-1), i32::MIN.remainder(-1)), (i32::MIN, 0));
    assert_eq!(((-7i32).quotient(2), (-7i32).remainder(2)), (-3, -1));
}

#[test]
fn searches_and_masks() {
    for w in words(9, 3 * 10_000).chunks_exact(3) {
        let (a, b, c) = (w[0], w[1], w[2]);
        for (signed, width) in [(false, 32u32), (true, 32), (false, 64), (true, 64)] {
            let sign = if signed { bit(a, width - 1) } else { 0 };
            let found = (0..width).rev().find(|&i| bit(a, i) != sign);
            for shiftamt in [false, true] {
                let expected = found.map_or(u32::MAX, |i| if shiftamt { width - 1 - i } else { i });
                let got = match (signed, width) {
                    (false, 32) => bits::bfind_u32(a as u32, shiftamt),
                    (true, 32) => bits::bfind_s32(a as u32, shiftamt),
                    (false, _) => bits::bfind_u64(a, shiftamt),
                    (true, _) => bits::bfind_s64(a, shiftamt),
                };
                assert_eq!(got, expected, "bfind {signed} {width} {shiftamt} {a:#x}");
            }
        }

        let (mask, base, offset) = (a as u32, (b % 40) as u32, (c % 67) as i32 - 33);
        let here: Vec<u32> = match offset.signum() {
            0 => vec![base],
            1 => (base..32).collect(),
            _ if base < 32 => (0..=base).rev().collect(),
            _ => vec![],
        };
        let mut set = here.into_iter().filter(|&i| i < 32 && bit(mask as u64, i) == 1);
        let expected = set.nth((offset.unsigned_abs().max(1) - 1) as usize).unwrap_or(u32::MAX);
        assert_eq!(bits::fns(mask, base, offset), expected, "fns {mask:#x} {base} {offset}");

        // szext and bmsk over counts on both sides of 32.
        let (value, p, n) = (a as u32, (b % 70) as u32, (c % 70) as u32);
        let extend = |n: u32, signed: bool| {
            let sign = if signed && n > 0 { bit(value as u64, n - 1) as u32 } else { 0 };
            (0..32).fold(0u32, |x, i| x | (if i < n { bit(value as u64, i) as u32 } else { sign }) << i)
        };
        assert_eq!(bits::szext::<false, false>(value, n), extend(n % 32, false));
        assert_eq!(bits::szext::<true, false>(value, n), extend(n % 32, true));
        assert_eq!(bits::szext::<false, true>(value, n), if n >= 32 { value } else { extend(n, false) });
        assert_eq!(bits::szext::<true, true>(value, n), if n >= 32 { value } else { extend(n, true) });
        let ones = |p: u32, n: u32| (p..(p + n).min(32)).fold(0u32, |x, i| x | 1 << i);
        assert_eq!(bits::bmsk::<true>(p, n), ones(p.min(32), n.min(32)), "bmsk.clamp {p} {n}");
        assert_eq!(bits::bmsk::<false>(p, n), ones(p % 32, n % 32), "bmsk.wrap {p} {n}");
    }
}
