//! Packed weights: importers hold every code, scale and zero; the layout is the documented one; the reference product is
//! the golden one.

#[path = "common/golden.rs"]
mod golden;

use golden::Golden;
use half::f16;
use lowbit::Error;
use lowbit::reference::matmul;
use lowbit::weights::{GgmlType, Packed, PackedLayout, PlainWeights, WeightFormat, ZeroPoint, Zeros};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const GGML: [(&str, GgmlType); 3] = [("q4_0", GgmlType::Q4_0), ("q4_1", GgmlType::Q4_1), ("q8_0", GgmlType::Q8_0)];

/// Relative to the sum of magnitudes: an f64 sum of K < 2^13 terms in another order.
const F64_SUM: f64 = 1e-12;

fn close(found: &matmul::Product, expected: &[f64], case: &str) {
    assert_eq!(found.y.len(), expected.len(), "{case}");
    for (at, (y, expected)) in found.y.iter().zip(expected).enumerate() {
        assert!((y - expected).abs() <= F64_SUM * found.magnitude[at], "{case} [{at}]: {y} is not {expected}");
    }
}

/// A Q4_1 golden weight is q*d + m rounded to f32; ours is exact.
fn close_to_rounded(found: &matmul::Product, expected: &[f64], x_size: f64, case: &str) {
    for (at, (y, expected)) in found.y.iter().zip(expected).enumerate() {
        let tolerance = F64_SUM * found.magnitude[at] + f64::from(f32::EPSILON) * x_size;
        assert!((y - expected).abs() <= tolerance, "{case} [{at}]: {y} is not {expected}");
    }
}

#[test]
fn ggml_products_are_the_golden_ones() {
    let golden = Golden::open("matmul_ggml");
    for (name, kind) in GGML {
        for k in [64, 96, 160, 256] {
            let bytes = golden.bytes(&format!("{name}_k{k}.bytes"));
            let weights = Packed::from_ggml(kind, 24, k, &bytes).unwrap();
            for x_kind in ["gauss", "abs", "plus3"] {
                let case = format!("{name} k {k} {x_kind}");
                let x = golden.f16(&format!("x_k{k}.{x_kind}"));
                let y = golden.f64(&format!("{name}_k{k}.y.{x_kind}"));
                let found = matmul::skinny::<f16, f32>(&weights, &x, None, None);
                let largest = weights.dequantize().iter().fold(0f32, |a, w| a.max(w.abs()));
                let x_size: f64 = x.iter().map(|x| x.to_f64().abs()).sum::<f64>() * f64::from(largest);
                match kind {
                    GgmlType::Q4_1 => close_to_rounded(&found, &y, x_size, &case),
                    _ => close(&found, &y, &case),
                }
            }
        }
    }
}

#[test]
fn ggml_codes_and_scales_are_kept() {
    let golden = Golden::open("matmul_ggml");
    for (name, kind) in GGML {
        for k in [64, 96, 160, 256] {
            let bytes = golden.bytes(&format!("{name}_k{k}.bytes"));
            let weights = Packed::from_ggml(kind, 24, k, &bytes).unwrap();
            let mut again = Vec::new();
            for (output, group) in (0..24).flat_map(|n| (0..k / 32).map(move |g| (n, g))) {
                let code = |j: usize| weights.code(output, 32 * group + j) as u8;
                again.extend(weights.scale(output, group).to_le_bytes());
                match kind {
                    GgmlType::Q8_0 => again.extend((0..32).map(code)),
                    _ => {
                        if kind == GgmlType::Q4_1 {
                            again.extend(weights.offset(output, group).to_le_bytes());
                        }
                        again.extend((0..16).map(|j| code(j) | code(j + 16) << 4));
                    }
                }
            }
            assert!(again == bytes, "{name} k {k}");
        }
    }
}

fn golden_plain(golden: &Golden, case: &str, zeros: &str, group: usize) -> PlainWeights {
    let shape = golden.shape(&format!("{case}.codes"));
    PlainWeights {
        n: shape[1],
        k: shape[0],
        group,
        codes: golden.bytes(&format!("{case}.codes")),
        scales: golden.f16(&format!("{case}.scales")),
        zeros: Zeros::Codes(golden.bytes(&format!("{case}.{zeros}"))),
    }
}

#[test]
fn plain_weights_are_the_golden_ones() {
    let golden = Golden::open("weights");
    for (k, n, group) in [(256, 96, 64), (64, 8, 32), (160, 24, 160)] {
        for (zeros, w) in [("zeros", "w"), ("zeros_v1", "gptq_v1.w")] {
            let case = format!("k{k}_n{n}_g{group}");
            let plain = golden_plain(&golden, &case, zeros, group);
            let weights = Packed::from_plain(&plain).unwrap();
            let expected = golden.f32(&format!("{case}.{w}"));
            let found = weights.dequantize();
            for at in 0..k * n {
                assert_eq!(found[(at % n) * k + at / n], expected[at], "{case} {zeros} [{at}]");
            }
            assert_eq!(weights.to_plain().unwrap(), plain, "{case} {zeros}");
        }
    }
}

#[test]
fn plain_products_are_the_golden_ones() {
    let golden = Golden::open("matmul_w4a16");
    let mut cases = 0;
    for k in [64usize, 96, 160, 256] {
        for (n, group) in [8, 24, 96].into_iter().flat_map(|n| [32, 64, 128, k].map(|group| (n, group))) {
            let case = format!("k{k}_n{n}_g{group}");
            if !k.is_multiple_of(group) {
                continue;
            }
            for (zeros, y) in [("zeros", "y"), ("zeros_v1", "y_v1")] {
                let weights = Packed::from_plain(&golden_plain(&golden, &case, zeros, group)).unwrap();
                for kind in ["gauss", "abs", "plus3"] {
                    let x = golden.f16(&format!("x_k{k}.{kind}"));
                    let found = matmul::skinny::<f16, f32>(&weights, &x, None, None);
                    close(&found, &golden.f64(&format!("{case}.{y}.{kind}")), &format!("{case} {zeros} {kind}"));
                    cases += 1;
                }
            }
        }
    }
    assert!(cases >= 180, "only {cases} golden products were found");
}

/// A second decoder, written from the layout's documentation alone: every code by its tile, lane, word and bit.
#[test]
fn codes_lie_where_the_documentation_says() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (n, k) = (40, 200);
    let plain = random_plain(&mut rng, n, k, 64, 1);
    let weights = Packed::from_plain(&plain).unwrap();
    let bytes = weights.bytes();
    let tiles = k.div_ceil(64);
    for row_tile in 0..n.div_ceil(16) {
        for tile in 0..tiles {
            for (lane, s, i, e) in (0..32 * 4 * 4 * 2).map(|x| (x / 32, x / 8 % 4, x / 2 % 4, x % 2)) {
                let (g, t) = (lane / 4, lane % 4);
                let output = 16 * row_tile + g + 8 * (i & 1);
                let at_k = 64 * tile + 32 * (s >> 1) + 8 * t + 4 * (s & 1) + 2 * (i >> 1) + e;
                let at = (row_tile * tiles + tile) * 512 + lane * 16 + 4 * s;
                let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                let code = word.rotate_right([6, 2, 14, 10][i] + 16 * e as u32) & 15;
                let expected = if output < n && at_k < k { plain.codes[at_k * n + output] } else { 0 };
                assert_eq!(code, u32::from(expected), "output {output}, k {at_k}");
            }
        }
    }
    // Scales and zeros: records of 128 k with 2 groups of 64.
    let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let (scales_at, zeros_at) = (weights.layout().scales_at(), weights.layout().zeros_at());
    for (output, group) in (0..n).flat_map(|output| (0..4).map(move |group| (output, group))) {
        let (record, r, g, h) = ((output / 16) * 2 + group / 2, group % 2, output % 8, output / 8 % 2);
        assert_eq!(half(scales_at + 64 * record + ((g * 2 + r) * 2 + h) * 2), plain.scales[group * n + output]);
        let Zeros::Codes(zeros) = &plain.zeros else { panic!() };
        assert_eq!(bytes[zeros_at + 16 * record + g * 2 + r] >> (4 - 4 * h) & 15, zeros[group * n + output]);
    }
    // Scales and minima: records of 128 k with 4 groups of 32, in two pieces.
    let plain = random_plain(&mut rng, n, k, 32, 4);
    let weights = Packed::from_plain(&plain).unwrap();
    let half = |at: usize| f16::from_le_bytes([weights.bytes()[at], weights.bytes()[at + 1]]);
    for (output, group) in (0..n).flat_map(|output| (0..7).map(move |group| (output, group))) {
        let (record, r, g, h) = ((output / 16) * 2 + group / 4, group % 4, output % 8, output / 8 % 2);
        let at = weights.layout().scales_at() + 256 * record + 128 * (r / 2) + 16 * g + 8 * (r % 2) + 2 * h;
        let Zeros::Min(minima) = &plain.zeros else { panic!() };
        assert_eq!(half(at), plain.scales[group * n + output]);
        assert_eq!(half(at + 4), minima[group * n + output]);
    }
}

/// Random weights of every zero kind: 0 symmetric, 1 zeros 0..=15, 2 zeros 1..=16, 3 real, 4 minima.
fn random_plain(rng: &mut ChaCha8Rng, n: usize, k: usize, group: usize, zeros: usize) -> PlainWeights {
    let per_group = k.div_ceil(group) * n;
    let halves = |rng: &mut ChaCha8Rng, low: f32, high: f32| -> Vec<f16> {
        (0..per_group).map(|_| f16::from_f32(rng.random_range(low..high))).collect()
    };
    PlainWeights {
        n,
        k,
        group,
        codes: (0..n * k).map(|_| rng.random_range(0..16)).collect(),
        scales: halves(rng, 0.001, 0.1),
        zeros: match zeros {
            0 => Zeros::Symmetric,
            1 => Zeros::Codes((0..per_group).map(|at| if at == 0 { 0 } else { rng.random_range(0..16) }).collect()),
            2 => Zeros::Codes((0..per_group).map(|at| if at == 0 { 16 } else { rng.random_range(1..17) }).collect()),
            3 => Zeros::Real(halves(rng, 0.0, 15.0)),
            _ => Zeros::Min(halves(rng, -1.0, 0.1)),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn plain_weights_survive_packing(n in 1usize..70, k in 1usize..400, g in 0usize..6, zeros in 0usize..5, seed: u64) {
        let group = [32, 64, 128, 256, 512, k][g];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let plain = random_plain(&mut rng, n, k, group, zeros);
        let packed = Packed::from_plain(&plain).unwrap();
        prop_assert_eq!(packed.to_plain().unwrap(), PlainWeights { group: group.min(k), ..plain });
        let again = Packed::from_bytes(*packed.layout(), packed.bytes().to_vec()).unwrap();
        prop_assert_eq!(again, packed);
    }
}

#[test]
fn bad_weights_are_refused() {
    let good = random_plain(&mut ChaCha8Rng::seed_from_u64(2), 8, 64, 32, 1);
    type Change = fn(&mut PlainWeights);
    let table: [(Change, &str); 9] = [
        (|w| w.n = 0, "weights::PackedLayout: `n`: expected 1 to 16777216, found 0"),
        (|w| w.k = 1 << 25, "weights::PackedLayout: `k`: expected 1 to 16777216, found 33554432"),
        (
            |w| w.group = 48,
            "weights::PackedLayout: group 48 with k 64 for Int4(Bits4 { plus: 0 }) is not supported; supported: 32, 64, 128, \
             256 .. (powers of two), or k",
        ),
        (
            |w| (w.n, w.k) = (1 << 24, 1 << 15),
            "weights::PackedLayout: 8589934592 bytes of 4-bit zeros is not supported; supported: less than 4 GiB of them",
        ),
        (|w| w.codes.truncate(511), "weights::Packed::from_plain: `codes`: expected 512 elements, found 511"),
        (|w| w.scales.push(f16::ONE), "weights::Packed::from_plain: `scales`: expected 16 elements, found 17"),
        (
            |w| w.zeros = Zeros::Real(vec![f16::ZERO; 3]),
            "weights::Packed::from_plain: `zeros`: expected 16 elements, found 3",
        ),
        (|w| w.codes[77] = 16, "weights::Packed::from_plain: `codes`: expected 0 to 15, found 16 at 77"),
        (
            |w| w.zeros = Zeros::Codes((0..16).map(|z| if z == 3 { 16 } else { z }).collect()),
            "weights::Packed::from_plain: `zeros`: expected all in 0..=15 or all in 1..=16, found 0 to 16",
        ),
    ];
    for (change, message) in table {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(Packed::from_plain(&bad).unwrap_err().to_string(), message);
    }
    let ggml = |k, len| Packed::from_ggml(GgmlType::Q4_1, 4, k, &vec![0; len]).unwrap_err().to_string();
    assert_eq!(ggml(48, 0), "weights::Packed::from_ggml: `k`: expected a multiple of 32, found 48");
    assert_eq!(ggml(64, 159), "weights::Packed::from_ggml: `blocks`: expected 160 bytes, found 159");
    let layout = PackedLayout::new(8, 64, 32, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    assert!(matches!(Packed::from_bytes(layout, vec![0; 3]), Err(Error::Argument { argument: "bytes", .. })));
    assert!(PackedLayout::new(8, 64, 64, WeightFormat::Int8).is_ok());
    assert!(matches!(PackedLayout::new(8, 128, 64, WeightFormat::Int8), Err(Error::Unsupported { .. })));
    let plus = WeightFormat::Int4(ZeroPoint::Bits4 { plus: 2 });
    assert!(matches!(PackedLayout::new(8, 64, 32, plus), Err(Error::Argument { argument: "plus", .. })));
}
