//! e4m3, e5m2 and e2m1: every code and every 16-bit pattern against golden tables, ties, signs, saturation, NaN, and the packed forms.

use safetensors::SafeTensors;
use softcuda_engine::arith::cvt;
use softcuda_engine::arith::fp8::{E2m1, E4m3, E5m2, Small, decode, encode};
use softcuda_engine::arith::half::{Bf16, F16, Half};
use softcuda_engine::arith::round::NAN32;

const GOLDEN: &[u8] = include_bytes!("data/fp8.safetensors");

fn bytes<'a>(file: &SafeTensors<'a>, name: &str) -> &'a [u8] {
    file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data()
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    bytes(file, name).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn matches_golden<S: Small>(format: &str) {
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let decoded = floats(&file, &format!("{format}_to_f32"));
    assert_eq!(decoded.len(), 256);
    for code in 0..=255u8 {
        let expected = decoded[code as usize];
        let expected = if expected.is_nan() { NAN32 } else { expected.to_bits() };
        assert_eq!(decode::<S>(code).to_bits(), expected, "{format} code {code:#x}");
    }
    let from_f16 = bytes(&file, &format!("f16_to_{format}"));
    let from_bf16 = bytes(&file, &format!("bf16_to_{format}"));
    assert_eq!((from_f16.len(), from_bf16.len()), (65536, 65536));
    for bits in 0..=u16::MAX {
        assert_eq!(encode::<S>(F16::widen(bits), false), from_f16[bits as usize], "{format} of f16 {bits:#06x}");
        assert_eq!(encode::<S>(Bf16::widen(bits), false), from_bf16[bits as usize], "{format} of bf16 {bits:#06x}");
        // The packed forms hold the same codes, low half first.
        let pair = bits as u32 | (bits.rotate_left(5) as u32) << 16;
        let expected = from_f16[bits as usize] as u16 | (from_f16[bits.rotate_left(5) as usize] as u16) << 8;
        assert_eq!(cvt::half2_to_small2::<F16, S>(pair, false), expected);
    }
    let probes = floats(&file, &format!("probe_{format}"));
    let codes = bytes(&file, &format!("probe_{format}_code"));
    assert!(probes.len() > 1000 && probes.len() == codes.len());
    for (&x, &code) in probes.iter().zip(codes) {
        assert_eq!(encode::<S>(x, false), code, "{format} of {x:e} ({:#010x})", x.to_bits());
    }
}

#[test]
fn e4m3_matches_the_golden_tables() {
    matches_golden::<E4m3>("e4m3");
}

#[test]
fn e5m2_matches_the_golden_tables() {
    matches_golden::<E5m2>("e5m2");
}

/// Nearest of the finite magnitudes, ties to the even code, beyond the largest the largest: by search over the decoded codes.
fn nearest_code<S: Small>(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { S::SIGN as u8 } else { 0 };
    let x = x.abs().min(decode::<S>(S::MAX as u8)) as f64;
    let distance = |code: u32| (decode::<S>(code as u8) as f64 - x).abs();
    let best = (0..=S::MAX).min_by(|&a, &b| distance(a).partial_cmp(&distance(b)).unwrap().then((a & 1).cmp(&(b & 1))));
    best.unwrap() as u8 | sign
}

fn nearest_everywhere<S: Small>() {
    for code in 0..S::MAX {
        let (low, high) = (decode::<S>(code as u8), decode::<S>(code as u8 + 1));
        assert!(low < high, "codes are in order");
        let middle = (low + high) / 2.0; // exact in f32
        for x in [low, middle.next_down(), middle, middle.next_up(), high] {
            for x in [x, -x] {
                assert_eq!(encode::<S>(x, false), nearest_code::<S>(x), "{x:e}");
            }
        }
    }
    for bits in (0..0x7f80_0000u32).step_by(40_009) {
        let x = f32::from_bits(bits);
        assert_eq!(encode::<S>(x, false), nearest_code::<S>(x), "{x:e}");
        assert_eq!(encode::<S>(-x, false), nearest_code::<S>(-x), "{x:e}");
        assert_eq!(encode::<S>(-x, true), 0, "relu of {:e}", -x);
        assert_eq!(encode::<S>(x, true), nearest_code::<S>(x), "relu of {x:e}");
    }
    assert_eq!(encode::<S>(f32::INFINITY, false) as u32, S::MAX);
    assert_eq!(encode::<S>(f32::NEG_INFINITY, false) as u32, S::MAX | S::SIGN);
    assert_eq!(encode::<S>(f32::NEG_INFINITY, true), 0);
    for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
        assert_eq!(encode::<S>(nan, false) as u32, S::NAN);
        assert_eq!(encode::<S>(nan, true) as u32, S::NAN);
    }
}

#[test]
fn every_format_rounds_to_the_nearest_code() {
    nearest_everywhere::<E4m3>();
    nearest_everywhere::<E5m2>();
    nearest_everywhere::<E2m1>();
}

#[test]
fn e2m1_has_the_eight_magnitudes_of_the_mx_format() {
    let magnitudes: Vec<f32> = (0..8).map(decode::<E2m1>).collect();
    assert_eq!(magnitudes, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
    assert_eq!(decode::<E2m1>(0x8).to_bits(), 0x8000_0000);
    assert_eq!(decode::<E2m1>(0xf), -6.0);
    for (tie, code) in [(0.25, 0), (0.75, 2), (1.25, 2), (1.75, 4), (2.5, 4), (3.5, 6), (5.0, 6)] {
        assert_eq!(encode::<E2m1>(tie, false), code, "{tie}");
    }
}

#[test]
fn packed_forms_put_the_first_operand_on_top() {
    assert_eq!(cvt::pack_small::<E4m3>(1.0, -2.0, false), 0x38c0);
    assert_eq!(cvt::pack_small::<E5m2>(1.0, -2.0, false), 0x3cc0);
    assert_eq!(cvt::pack_small::<E4m3>(1.0, -2.0, true), 0x3800);
    assert_eq!(cvt::pack_e2m1(1.0, -2.0, false), 0x2c);
    assert_eq!(cvt::e2m1x2_to_f16x2(0x2c, false), 0x3c00_c000);
    assert_eq!(cvt::small2_to_f16x2::<E4m3>(0x38c0, false), 0x3c00_c000);
    assert_eq!(cvt::small2_to_f16x2::<E4m3>(0x38c0, true), 0x3c00_0000);
    assert_eq!(cvt::small2_to_f16x2::<E4m3>(0x7fff, false), 0x7fff_7fff, "NaN of either sign");
    assert_eq!(cvt::small2_to_f16x2::<E5m2>(0x7cfc, false), 0x7c00_fc00, "infinities");
}
