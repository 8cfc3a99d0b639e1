//! What the modes do to a whole kernel: the sums of a chain of matrix products, and the approximate functions.

use crate::grid::{Grid, Kernel};
use crate::oracle::Random;
use crate::oracle::fragments::{isa_a, isa_b, isa_c};
use softcuda_engine::arith::mma::Element;
use softcuda_engine::{Approx, MmaMode, Numerics};

/// Products in the chain: a dot product of 16 times as many terms.
const STEPS: usize = 8;

fn numerics(mma: MmaMode, approx: Approx) -> Numerics {
    Numerics { mma, approx }
}

#[test]
fn a_chain_of_products_errs_as_each_mode_says() {
    let mut statements = String::from("mov.b32 %d0, 0; mov.b32 %d1, 0; mov.b32 %d2, 0; mov.b32 %d3, 0;\n");
    for step in 0..STEPS {
        let a: Vec<String> = (0..6).map(|k| format!("%a{}", 6 * step + k)).collect();
        statements += &format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%d0, %d1, %d2, %d3}}, {{{}}}, {{{}}}, {{%d0, %d1, %d2, %d3}};\n",
            a[..4].join(", "),
            a[4..].join(", ")
        );
    }
    let grid = Grid::new(vec![Kernel::new(statements, &[32; 6 * STEPS], &[32; 4])]);
    let mut random = Random(61);
    // Normally distributed enough: sums of four uniform numbers.
    let mut normal = || {
        let sum: f64 = (0..4).map(|_| (random.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5).sum();
        half::f16::from_f64(sum)
    };
    let a: Vec<Vec<half::f16>> = (0..16).map(|_| (0..16 * STEPS).map(|_| normal()).collect()).collect();
    let b: Vec<Vec<half::f16>> = (0..16 * STEPS).map(|_| (0..8).map(|_| normal()).collect()).collect();
    let mut inputs = vec![vec![0u64; 32]; 6 * STEPS];
    for step in 0..STEPS {
        for lane in 0..32 {
            for i in 0..8 {
                let (row, k) = isa_a(Element::F16, 16, lane, i);
                inputs[6 * step + i / 2][lane] |= u64::from(a[row][16 * step + k].to_bits()) << (16 * (i % 2));
            }
            for i in 0..4 {
                let (k, column) = isa_b(Element::F16, 16, lane, i);
                inputs[6 * step + 4 + i / 2][lane] |= u64::from(b[16 * step + k][column].to_bits()) << (16 * (i % 2));
            }
        }
    }
    let run = |mma, seed| {
        grid.set(numerics(mma, Approx::Rounded), seed);
        grid.run(0, &inputs)
    };
    // The largest error in units of 2^-24 of the sum of magnitudes, and whether all errors are toward zero.
    let error = |d: &[Vec<u64>]| {
        let (mut worst, mut lost) = (0f64, 0f64);
        for lane in 0..32 {
            for (i, register) in d.iter().enumerate() {
                let (row, column) = isa_c(lane, i);
                let terms = (0..16 * STEPS).map(|k| a[row][k].to_f64() * b[k][column].to_f64());
                let (sum, magnitude) = terms.fold((0.0, 0.0), |(s, m), t| (s + t, m + t.abs()));
                let got = f64::from(f32::from_bits(register[lane] as u32));
                worst = worst.max((got - sum).abs() / magnitude * 2f64.powi(24));
                lost += sum.abs() - got.abs();
            }
        }
        (worst, lost)
    };
    let (exact, trunc, shuffle) = (run(MmaMode::Exact, 1), run(MmaMode::Trunc, 1), run(MmaMode::Shuffle, 1));
    // One rounding to nearest a product; seventeen; one truncation of seventeen terms and one of the sum.
    let bounds = [(&exact, STEPS), (&shuffle, 17 * STEPS), (&trunc, 2 * 18 * STEPS)];
    for (d, bound) in bounds {
        let (worst, _) = error(d);
        assert!(worst > 0.0 && worst <= bound as f64, "{worst} of {bound}");
    }
    assert!(
        error(&trunc).1 > 10.0 * error(&exact).1.abs(),
        "truncation loses magnitude: {:?} {:?}",
        error(&trunc),
        error(&exact)
    );
    assert!(exact != trunc && exact != shuffle && trunc != shuffle);
    assert_eq!(run(MmaMode::Exact, 2), exact, "no seed in the exact mode");
    assert_eq!(run(MmaMode::Trunc, 2), trunc, "no seed in the truncating mode");
    assert_eq!(run(MmaMode::Shuffle, 1), shuffle, "the same seed gives the same bits");
    assert_ne!(run(MmaMode::Shuffle, 2), shuffle, "another seed gives others");
}

#[test]
fn perturbed_functions_stay_near_and_follow_the_seed() {
    // The ISA's bounds: relative, or absolute for sin and cos, on arguments of [2^-3, 2^3) (PTX ISA 9.7.3.8 to 9.7.3.22).
    let functions = [
        ("rcp.approx.f32", 2f64.powi(-23), 0.0),
        ("sqrt.approx.f32", 2f64.powi(-23), 0.0),
        ("rsqrt.approx.f32", 2f64.powf(-22.9), 0.0),
        ("ex2.approx.f32", 2f64.powi(-22), 0.0),
        ("lg2.approx.f32", 2f64.powi(-22), 2f64.powi(-22)),
        ("sin.approx.f32", 0.0, 2f64.powf(-20.5)),
        ("cos.approx.f32", 0.0, 2f64.powf(-20.5)),
        ("tanh.approx.f32", 2f64.powi(-11), 0.0),
    ];
    let kernel = |(op, ..): &(&str, f64, f64)| Kernel::new(format!("{op} %d0, %a0;"), &[32], &[32]);
    let grid = Grid::new(functions.iter().map(kernel).collect());
    let mut random = Random(62);
    let input: Vec<u64> =
        (0..1 << 14).map(|_| u64::from(0x3e00_0000u32 + (random.next() % 0x0300_0000) as u32)).collect();
    for (n, (op, relative, absolute)) in functions.iter().enumerate() {
        let run = |approx, seed| -> Vec<f64> {
            grid.set(numerics(MmaMode::Exact, approx), seed);
            let out = grid.run(n, std::slice::from_ref(&input)).remove(0);
            out.iter().map(|&bits| f32::from_bits(bits as u32).into()).collect()
        };
        let (rounded, first, other) = (run(Approx::Rounded, 1), run(Approx::Perturbed, 1), run(Approx::Perturbed, 2));
        assert_eq!(run(Approx::Rounded, 2), rounded, "{op}: no seed when rounded");
        assert_eq!(run(Approx::Perturbed, 1), first, "{op}: the same seed gives the same bits");
        let differ = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        assert!(differ(&first, &rounded) > input.len() / 10, "{op}: {} moved", differ(&first, &rounded));
        assert!(differ(&first, &other) > input.len() / 10, "{op}: {} differ by seed", differ(&first, &other));
        for (x, y) in first.iter().chain(&other).zip(rounded.iter().chain(&rounded)) {
            // Half a last place more: the rounded value is that far from the true one.
            let allowed = relative * y.abs() + absolute + 2f64.powi(-24) * y.abs();
            assert!((x - y).abs() <= allowed * (1.0 + 1e-6), "{op}: {x:e} for {y:e}");
        }
    }
}
