//! The mathematical functions against the `libm` crate in f64 (f32 functions) and the host's own. Bounds are those of the CUDA C++ Programming
//! Guide, "Mathematical Functions", and half a unit for the reference.

use super::{Case, Random, Want, case};
use Want::{F32, F64};

/// Arguments of every magnitude, with special values.
fn floats(words: usize) -> Vec<u32> {
    const SPECIAL: [f32; 14] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-42,
        105_615.0,
        3e38,
        88.7,
    ];
    let mut random = Random(11);
    let mut word = || {
        let r = random.next();
        match r % 6 {
            0 => SPECIAL[(r >> 32) as usize % SPECIAL.len()].to_bits(),
            1 => (r >> 32) as u32,
            2 => (((r >> 32) as f64 / 4_294_967_296.0 - 0.5) * 1e6).to_f32_bits(),
            _ => ((((r >> 32) as f64) / 4_294_967_296.0 - 0.5) * 40.0).to_f32_bits(),
        }
    };
    (0..words).map(|_| word()).collect()
}

trait Bits {
    fn to_f32_bits(self) -> u32;
}

impl Bits for f64 {
    fn to_f32_bits(self) -> u32 {
        (self as f32).to_bits()
    }
}

/// The same for pairs of words that make f64, the upper one first.
fn doubles(words: usize) -> Vec<u32> {
    const SPECIAL: [f64; 12] =
        [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 5e-324, 1e22, 709.7, -745.0];
    let mut random = Random(13);
    let mut number = || {
        let r = random.next();
        let unit = (r >> 16) as f64 / (1u64 << 48) as f64 - 0.5;
        match r % 6 {
            0 => SPECIAL[(r >> 32) as usize % SPECIAL.len()],
            1 => f64::from_bits(random.next()),
            2 => unit * 1e15,
            _ => unit * 60.0,
        }
    };
    (0..words / 2).map(|_| number().to_bits()).flat_map(|b| [(b >> 32) as u32, b as u32]).collect()
}

fn single(w: u32) -> (f32, f64) {
    let x = f32::from_bits(w);
    (x, f64::from(x))
}

pub fn cases() -> Vec<Case> {
    vec![
        case("trig", 6, floats, |x, i| {
            let [a, b, ..] = x.of(i);
            let ((x, wide), (_, other)) = (single(a), single(b));
            let half = f64::from(x * 0.5);
            vec![
                F32(libm::sin(wide), 2.5),
                F32(libm::cos(wide), 2.5),
                F32(libm::tan(wide), 4.5),
                F32(libm::sin(half), 2.5),
                F32(libm::cos(half), 2.5),
                F32(libm::atan2(wide, other), 3.5),
            ]
        }),
        case("exponentials", 10, floats, |x, i| {
            let [a, b, ..] = x.of(i);
            let ((_, x), (_, y)) = (single(a), single(b));
            vec![
                F32(libm::exp(x), 2.5),
                F32(libm::exp2(x), 2.5),
                F32(libm::log(x), 1.5),
                F32(libm::log2(x), 1.5),
                F32(libm::log1p(x), 1.5),
                F32(libm::expm1(x), 1.5),
                F32(libm::pow(x, y), 4.5),
                F32(libm::tanh(x), 2.5),
                F32(libm::erf(x), 2.5),
                F32(libm::cbrt(x), 1.5),
            ]
        }),
        case("trig64", 6, doubles, |x, i| {
            let [a, b, ..] = x.of(i);
            let x = f64::from_bits(u64::from(a) << 32 | u64::from(b));
            vec![F64(libm::sin(x), 3.0), F64(libm::cos(x), 3.0), F64(libm::atan(x), 3.0)]
        }),
        case("exponentials64", 12, doubles, |x, i| {
            let [a, b, c, d] = x.of(i);
            let x = f64::from_bits(u64::from(a) << 32 | u64::from(b));
            let y = f64::from_bits(u64::from(c) << 32 | u64::from(d));
            vec![
                F64(libm::exp(x), 2.0),
                F64(libm::log(x), 2.0),
                F64(libm::pow(x, y), 3.0),
                F64(libm::erf(x), 3.0),
                F64(libm::tanh(x), 3.0),
                F64(libm::hypot(x, y), 3.0),
            ]
        }),
        // The approximations of the hardware, over the range where the guide bounds them; elsewhere only that they end.
        case("fast", 8, floats, |x, i| {
            let [a, b, ..] = x.of(i);
            let ((x, wide), (y, other)) = (single(a), single(b));
            let absolute = |want: f64, bound: f64| {
                // So many units of a value of this size.
                let ulp = 2f64.powi((want.abs().log2().floor() as i32).max(-126) - 23);
                F32(want, bound / ulp)
            };
            let turn = x.abs() <= std::f32::consts::PI;
            let positive = x > f32::MIN_POSITIVE && x.is_finite();
            let divides = x.is_finite() && y.abs() >= 1e-30 && y.abs() <= 1e30 && x.abs() >= 1e-6 && x.abs() <= 1e6;
            let if_in = |inside: bool, want: Want| if inside { want } else { Want::Any };
            vec![
                if_in(turn, absolute(libm::sin(wide), 2f64.powi(-21))),
                if_in(turn, absolute(libm::cos(wide), 2f64.powi(-21))),
                if_in(x.abs() < 80.0 && x.abs() > 1e-3, F32(libm::exp(wide), 3.0 + (1.173 * wide.abs()).floor())),
                if_in(positive && !(0.5..=2.0).contains(&x), F32(libm::log(wide), 3.5)),
                if_in(divides, F32(wide / other, 2.5)),
                if_in(positive, F32(1.0 / wide.sqrt(), 2.5)),
                Want::Any,
                if_in(positive, F32(1.0 / wide.sqrt(), 0.5)),
            ]
        }),
    ]
}
