//! Calibration of codebooks.

use lowbit::calibrate::{channel_range, nuq};
use lowbit::format::Codebook;
use lowbit::half::f16;

use crate::golden::Golden;

/// Keys of a real layer without the sink token, and z of each by the given ranges.
fn keys() -> (Golden, Vec<f32>, usize, Vec<f32>) {
    let file = Golden::open("attention_real_d64_h9_kv3_t512");
    let channels = file.shape("k_pre")[1] * file.shape("k_pre")[2];
    let keys: Vec<f32> = file.f16("k_pre")[channels..].iter().map(|v| v.to_f32()).collect();
    let (range, zero) = (file.f16("nuq4.k_range"), file.f16("nuq4.k_zero"));
    let z = |(i, x): (usize, &f32)| (x - zero[i % channels].to_f32()) / range[i % channels].to_f32();
    let z = keys.iter().enumerate().map(z).collect();
    (file, keys, channels, z)
}

/// Weighted squared error of a table on what lies within it.
fn error(book: &Codebook, z: &[f32], weight: impl Fn(usize) -> f64) -> f64 {
    let level = |z: f32| f64::from(book.levels()[usize::from(book.nearest(z))].to_f32());
    let inside = z.iter().enumerate().filter(|(_, z)| z.abs() <= 1.0);
    inside.map(|(i, &z)| weight(i) * (f64::from(z) - level(z)).powi(2)).sum()
}

#[test]
fn ranges_of_real_channels_are_the_golden_ones() {
    let (file, keys, channels, _) = keys();
    let (range, zero) = channel_range(&keys, channels, 0.005).unwrap();
    assert_eq!((range, zero), (file.f16("nuq4.k_range"), file.f16("nuq4.k_zero")));
}

/// The golden table ran 40 rounds of the same method; ours runs on to its end, and is no worse.
#[test]
fn tables_of_real_keys_are_as_good_as_the_golden_ones() {
    let (file, _, _, z) = keys();
    for bits in [3, 4] {
        let golden = Codebook::new(&file.f16(&format!("nuq{bits}.k_codebook"))).unwrap();
        let found = nuq(bits, &z, None).unwrap();
        let (found, golden) = (error(&found, &z, |_| 1.0), error(&golden, &z, |_| 1.0));
        assert!(found <= golden * 1.0001, "{bits} bits: {found}, golden {golden}"); // levels are rounded to f16
    }
}

#[test]
fn every_level_is_the_weighted_mean_of_its_points() {
    let (_, _, _, z) = keys();
    let weights: Vec<f32> = (0..z.len()).map(|i| (i * i % 17) as f32).collect();
    let book = nuq(2, &z, Some(&weights)).unwrap();
    let mut sums = [(0.0, 0.0); 4];
    for (z, w) in z.iter().zip(&weights).filter(|(z, _)| z.abs() <= 1.0) {
        let sum = &mut sums[usize::from(book.nearest(*z))];
        *sum = (sum.0 + f64::from(*w), sum.1 + f64::from(*w) * f64::from(*z));
    }
    for (level, (weight, moment)) in book.levels().iter().zip(sums) {
        // A level's rounding to f16 (2^-12 below 1) moves the cells' edges, and the means with them.
        assert!((f64::from(level.to_f32()) - moment / weight).abs() < 1e-3, "{level}: {}", moment / weight);
    }
    let unweighted = nuq(2, &z, None).unwrap();
    let weight = |i: usize| f64::from(weights[i]);
    assert!(error(&book, &z, weight) < error(&unweighted, &z, weight), "weights are not ignored");
}

#[test]
fn few_values_and_many_equal_ones() {
    let book = nuq(3, &[0.5, -0.25], None).unwrap();
    assert!(book.levels().contains(&f16::from_f32(0.5)) && book.levels().contains(&f16::from_f32(-0.25)));
    let book = nuq(2, &[0.25; 100], None).unwrap();
    assert_eq!(book.levels(), [f16::from_f32(0.25); 4]);
    // What is not finite or lies beyond 1 does not count.
    let with = [0.1, 0.2, 0.3, 0.4, f32::NAN, f32::INFINITY, -7.0];
    assert_eq!(nuq(2, &with, None).unwrap(), nuq(2, &with[..4], None).unwrap());
}

#[test]
fn bad_inputs_are_named() {
    let nuq = |bits, z: &[f32], w: Option<&[f32]>| nuq(bits, z, w).unwrap_err().to_string();
    assert_eq!(nuq(5, &[0.0], None), "calibrate::nuq: `bits`: expected 2, 3 or 4, found 5");
    assert_eq!(nuq(4, &[0.0], Some(&[])), "calibrate::nuq: `weights`: expected 1 weights, found 0");
    let weights = "calibrate::nuq: `weights`: expected finite weights, none negative, found -1";
    assert_eq!(nuq(4, &[0.0], Some(&[-1.0])), weights);
    let none = "calibrate::nuq: `z`: expected a value with |z| <= 1 and a weight, found none";
    assert_eq!(nuq(4, &[3.0, f32::NAN], None), none);
    assert_eq!(nuq(4, &[0.5], Some(&[0.0])), none);
    let range = |x: &[f32], channels, tail| channel_range(x, channels, tail).unwrap_err().to_string();
    assert_eq!(range(&[1.0; 3], 2, 0.1), "calibrate::channel_range: `x`: expected rows of 2 channels, found 3");
    assert_eq!(range(&[1.0], 1, 0.5), "calibrate::channel_range: `tail`: expected from 0 to below 0.5, found 0.5");
    assert_eq!(range(&[f32::NAN], 1, 0.1), "calibrate::channel_range: `x`: expected finite values, found NaN");
}
