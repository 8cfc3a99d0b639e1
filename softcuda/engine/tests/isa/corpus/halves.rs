//! f16 and bf16 by way of f64, where sums, products and fused products of two halves are exact or round once.

use super::{Case, Want, case, integers};
use Want::{Any, Word};
use half::{bf16, f16};

/// Patterns of halves: mostly ordinary numbers near 1, some special.
fn halves(words: usize) -> Vec<u32> {
    let ordinary = |w: u32| {
        let part = |h: u32| h & 0x83ff | (11 + h % 8) << 10;
        part(w & 0xffff) | part(w >> 16) << 16
    };
    integers(words).into_iter().enumerate().map(|(k, w)| if k % 3 == 0 { w } else { ordinary(w) }).collect()
}

/// The same for bf16.
fn bfloats(words: usize) -> Vec<u32> {
    let ordinary = |w: u32| {
        let part = |h: u32| h & 0x807f | (120 + h % 16) << 7;
        part(w & 0xffff) | part(w >> 16) << 16
    };
    integers(words).into_iter().enumerate().map(|(k, w)| if k % 3 == 0 { w } else { ordinary(w) }).collect()
}

/// A format: decode, and encode with one rounding.
struct Kind {
    decode: fn(u16) -> f64,
    encode: fn(f64) -> u16,
    nan: u16,
}

const F16: Kind = Kind { decode: |b| f16::from_bits(b).to_f64(), encode: |x| f16::from_f64(x).to_bits(), nan: 0x7fff };
const BF16: Kind =
    Kind { decode: |b| bf16::from_bits(b).to_f64(), encode: |x| bf16::from_f64(x).to_bits(), nan: 0x7fff };

impl Kind {
    fn put(&self, x: f64) -> u16 {
        if x.is_nan() { self.nan } else { (self.encode)(x) }
    }

    fn add(&self, a: u16, b: u16) -> u16 {
        self.put((self.decode)(a) + (self.decode)(b))
    }

    fn sub(&self, a: u16, b: u16) -> u16 {
        self.put((self.decode)(a) - (self.decode)(b))
    }

    fn mul(&self, a: u16, b: u16) -> u16 {
        self.put((self.decode)(a) * (self.decode)(b))
    }

    /// `None` where the sum of three is not exact in f64.
    fn fma(&self, a: u16, b: u16, c: u16) -> Option<u16> {
        let (product, c) = ((self.decode)(a) * (self.decode)(b), (self.decode)(c));
        let sum = product + c;
        let exact = !sum.is_finite() || (sum - product == c && sum - c == product);
        exact.then(|| self.put(sum))
    }

    fn less(&self, a: u16, b: u16) -> bool {
        (self.decode)(a) < (self.decode)(b)
    }

    fn is_nan(&self, a: u16) -> bool {
        (self.decode)(a).is_nan()
    }

    /// Minimum, or maximum; with `nan`, NaN wins.
    fn extreme(&self, a: u16, b: u16, max: bool, nan: bool) -> u16 {
        match (self.is_nan(a), self.is_nan(b)) {
            (true, true) => self.nan,
            (true, false) | (false, true) if nan => self.nan,
            (true, false) => b,
            (false, true) => a,
            _ if (self.decode)(a) == (self.decode)(b) => {
                if max {
                    a & b
                } else {
                    a | b
                }
            }
            _ => {
                if self.less(a, b) != max {
                    a
                } else {
                    b
                }
            }
        }
    }
}

fn both(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

fn both3(a: u32, b: u32, c: u32, f: impl Fn(u16, u16, u16) -> Option<u16>) -> Want {
    let low = f(a as u16, b as u16, c as u16);
    let high = f((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
    match (low, high) {
        (Some(low), Some(high)) => Word(u32::from(low) | u32::from(high) << 16),
        _ => Any,
    }
}

fn maybe(x: Option<u16>) -> Want {
    x.map_or(Any, |x| Word(x.into()))
}

/// `.sat`: to 0..1, NaN to 0.
fn saturated(x: u16) -> u16 {
    let value = f16::from_bits(x).to_f32();
    if value > 1.0 {
        0x3c00
    } else if value > 0.0 {
        x
    } else {
        0
    }
}

fn relu(kind: &Kind, x: u16) -> u16 {
    if kind.is_nan(x) {
        x
    } else if x >> 15 != 0 {
        0
    } else {
        x
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("half_ops", 16, halves, |input, i| {
            let [a, b, c, _] = input.of(i);
            let [x, y, z] = [a, b, c].map(|w| w as u16);
            let (p, q) = (f16::from_bits(x).to_f32(), f16::from_bits(y).to_f32());
            let flags = u32::from(p == q)
                | u32::from(p < q) << 1
                | u32::from(!(p < q)) << 2
                | u32::from(!(p == q)) << 3
                | u32::from(p.is_nan()) << 4
                | u32::from(q.is_infinite()) << 5;
            let canonical = |x: u16| if F16.is_nan(x) { 0x7fff } else { x };
            let whole =
                |v: f32, x: u16| Word(if v.is_nan() { canonical(x).into() } else { f16::from_f32(v).to_bits().into() });
            vec![
                Word(F16.add(x, y).into()),
                Word(F16.mul(x, y).into()),
                maybe(F16.fma(x, y, z)),
                Word(F16.sub(x, y).into()),
                Word(F16.extreme(x, y, false, false).into()),
                Word(F16.extreme(x, y, true, false).into()),
                Word(F16.extreme(x, y, false, true).into()),
                Word(F16.extreme(x, y, true, true).into()),
                Any,
                Word(saturated(F16.add(x, y)).into()),
                maybe(F16.fma(x, y, z).map(|v| relu(&F16, v))),
                Word(flags),
                whole(p.round_ties_even(), x),
                whole(q.trunc(), y),
                Any,
                Word(saturated(F16.mul(x, y)).into()),
            ]
        }),
        case("half2_ops", 13, halves, |input, i| {
            let [a, b, c, _] = input.of(i);
            let one = |yes: bool| if yes { 0x3c00 } else { 0 };
            let value = |x: u16| f16::from_bits(x).to_f32();
            let halves = |x: u32| [value(x as u16), value((x >> 16) as u16)];
            let all = |f: &dyn Fn(f32, f32) -> bool| halves(a).iter().zip(halves(b)).all(|(x, y)| f(*x, y));
            vec![
                Word(both(a, b, |x, y| F16.add(x, y))),
                Word(both(a, b, |x, y| F16.mul(x, y))),
                both3(a, b, c, |x, y, z| F16.fma(x, y, z)),
                Word(both(a, b, |x, y| F16.sub(x, y))),
                Word(both(a, b, |x, y| F16.extreme(x, y, false, false))),
                Word(both(a, b, |x, y| F16.extreme(x, y, true, true))),
                if halves(a).iter().any(|x| x.is_nan()) { Any } else { Word(a ^ 0x8000_8000) },
                if halves(a).iter().any(|x| x.is_nan()) { Any } else { Word(a & 0x7fff_7fff) },
                Word(both(a, b, |x, y| one(value(x) == value(y)))),
                Word(both(a, b, |x, y| one(value(x) > value(y)))),
                Word(u32::from(all(&|x, y| x >= y)) | u32::from(all(&|x, y| !(x >= y))) << 1),
                Word(both(a, b, |x, y| {
                    if value(x) != value(y) && !value(x).is_nan() && !value(y).is_nan() { 0xffff } else { 0 }
                })),
                both3(a, b, c, |x, y, z| F16.fma(x, y, z).map(saturated)),
            ]
        }),
        case("bfloat_ops", 16, bfloats, |input, i| {
            let [a, b, c, _] = input.of(i);
            let [x, y, z] = [a, b, c].map(|w| w as u16);
            let (p, q) = ((BF16.decode)(x), (BF16.decode)(y));
            vec![
                Word(BF16.add(x, y).into()),
                Word(BF16.mul(x, y).into()),
                maybe(BF16.fma(x, y, z)),
                Word(BF16.sub(x, y).into()),
                Word(BF16.extreme(x, y, false, false).into()),
                Word(BF16.extreme(x, y, true, true).into()),
                Any,
                Word(u32::from(p == q) | u32::from(p <= q) << 1 | u32::from(!(p <= q)) << 2),
                Word(both(a, b, |x, y| BF16.add(x, y))),
                Word(both(a, b, |x, y| BF16.mul(x, y))),
                both3(a, b, c, |x, y, z| BF16.fma(x, y, z)),
                Word(both(a, b, |x, y| BF16.extreme(x, y, true, false))),
                both3(a, b, c, |x, y, z| BF16.fma(x, y, z).map(|v| relu(&BF16, v))),
                Any,
                Any,
                if p.is_nan() { Any } else { Word(BF16.put(p.round_ties_even()).into()) },
            ]
        }),
        case("half_conversions", 20, halves, |input, i| {
            let [a, b, c, d] = input.of(i);
            let (x, h, f) = (f32::from_bits(a), f16::from_bits(b as u16), bf16::from_bits(c as u16));
            let other = f32::from_bits(d);
            let to_half = |x: f32| if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() };
            let to_bfloat = |x: f32| if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() };
            let pack = |low: u16, high: u16| Word(u32::from(low) | u32::from(high) << 16);
            let widened = |x: f32| Word(if x.is_nan() { 0x7fff_ffff } else { x.to_bits() });
            let (hv, fv) = (h.to_f64(), f.to_f64());
            let whole = |v: f64| if v.is_nan() { 0x7fff } else { f16::from_f64(v).to_bits() };
            vec![
                Any,
                Any,
                Any,
                Any,
                if h.is_nan() { Any } else { widened(h.to_f32()) },
                if f.is_nan() { Any } else { widened(f.to_f32()) },
                pack(to_half(x), to_half(other)),
                pack(to_bfloat(x), to_bfloat(other)),
                Word(hv.trunc() as i32 as u32),
                Word(hv.round_ties_even() as u32),
                Word(hv.floor().clamp(-32768.0, 32767.0) as i32 as u32),
                if h.is_nan() || h.is_infinite() { Any } else { Word(hv.ceil() as i64 as u32) },
                Any,
                Any,
                Any,
                Word(fv.trunc() as i32 as u32),
                Word(fv.round_ties_even() as u32),
                Word(bf16::from_f64(f64::from(d)).to_bits().into()),
                pack(whole(hv.ceil()), whole(hv.floor())),
                Any,
            ]
        }),
        // Integer code before sm_89, instructions from there on: the same bytes. The tables of all codes are tested with the arithmetic.
        case("fp8_conversions", 8, halves, |_, _| vec![Any; 8]),
        case("half_functions", 6, halves, |_, _| vec![Any; 6]),
    ]
}
