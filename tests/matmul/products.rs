//! Products against the golden vectors and against the definition, for every kernel of the table.

use half::{bf16, f16};
use lowbit::ops::matmul::Decode;
use lowbit::reference::matmul::Product;
use lowbit::weights::{GgmlType, Packed, PlainWeights, Zeros};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::*;

/// The golden y beside our sum of magnitudes.
fn golden_product(call: &Call<'_, f16, f32>, y: Vec<f64>) -> Product {
    let rows = call.rows * call.weights.layout().n();
    Product { y: y[..rows].to_vec(), magnitude: call.reference().magnitude }
}

#[test]
fn ggml_weights_give_the_golden_products() {
    let world = world();
    let golden = Golden::open("matmul_ggml");
    for (name, kind) in [("q4_0", GgmlType::Q4_0), ("q4_1", GgmlType::Q4_1), ("q8_0", GgmlType::Q8_0)] {
        for k in [64, 96, 160, 256] {
            let weights = Packed::from_ggml(kind, 24, k, &golden.bytes(&format!("{name}_k{k}.bytes"))).unwrap();
            for x_kind in ["gauss", "abs", "plus3"] {
                let x = golden.f16(&format!("x_k{k}.{x_kind}"));
                let call = Call::<f16, f32>::new(&weights, &x, 4);
                let expected = golden_product(&call, golden.f64(&format!("{name}_k{k}.y.{x_kind}")));
                in_every_mode(|mode| {
                    let case = format!("{name} k {k} {x_kind} {mode}");
                    assert_close(&call.run(&world).unwrap(), &expected, &case);
                    assert_close(&Call::<f16, f16>::new(&weights, &x, 4).run(&world).unwrap(), &expected, &case);
                });
            }
        }
    }
}

#[test]
fn plain_weights_give_the_golden_products() {
    let world = world();
    let golden = Golden::open("matmul_w4a16");
    let mut cases = 0;
    for k in [64usize, 96, 160, 256] {
        for (n, group) in [8, 24, 96].into_iter().flat_map(|n| [32, 64, 128, k].map(|group| (n, group))) {
            if !k.is_multiple_of(group) {
                continue;
            }
            let name = format!("k{k}_n{n}_g{group}");
            for (zeros, y) in [("zeros", "y"), ("zeros_v1", "y_v1")] {
                let plain = PlainWeights {
                    n,
                    k,
                    group,
                    codes: golden.bytes(&format!("{name}.codes")),
                    scales: golden.f16(&format!("{name}.scales")),
                    zeros: Zeros::Codes(golden.bytes(&format!("{name}.{zeros}"))),
                };
                let weights = Packed::from_plain(&plain).unwrap();
                for kind in ["gauss", "abs", "plus3"] {
                    let x = golden.f16(&format!("x_k{k}.{kind}"));
                    for rows in [8, 16] {
                        let call = Call::<f16, f32>::new(&weights, &x, rows);
                        let expected = golden_product(&call, golden.f64(&format!("{name}.{y}.{kind}")));
                        assert_close(&call.run(&world).unwrap(), &expected, &format!("{name} {zeros} {kind} {rows}"));
                        cases += 1;
                    }
                }
            }
        }
    }
    assert!(cases >= 360, "only {cases} golden products were found");
}

/// Numbers of rows for each width of the product; 11 of them, so that they meet every other choice of a test in turn.
const ROWS: [usize; 11] = [1, 12, 32, 8, 9, 17, 3, 16, 25, 5, 11];

/// Every kernel of the table by every kind of activation, rows and mode, with k that ends in every part of a block.
#[test]
fn every_kernel_is_its_definition() {
    let world = world();
    let mut rng = rng(3);
    let mut rows = ROWS.into_iter().cycle();
    for k in [64, 160, 256, 616] {
        for kind in KINDS_OF_4_BITS {
            for group in [32, 64, 128, 256, k] {
                let weights = random_weights(&mut rng, kind, 40, k, group);
                for x_kind in X_KINDS {
                    let rows = rows.next().unwrap();
                    let (f, b) = (activations(&mut rng, x_kind, 32 * k), activations(&mut rng, x_kind, 32 * k));
                    in_every_mode(|mode| {
                        let case = format!("{kind:?} k {k} group {group} rows {rows} {x_kind} {mode}");
                        Call::<f16, f32>::new(&weights, &f, rows).check(&world, &case);
                        Call::<bf16, f32>::new(&weights, &b, rows).check(&world, &format!("{case} bf16"));
                    });
                }
            }
        }
        for x_kind in X_KINDS {
            let weights = random_weights(&mut rng, Kind::Int8, 40, k / 32 * 32, 32);
            let (f, b) = (activations(&mut rng, x_kind, 32 * k), activations(&mut rng, x_kind, 32 * k));
            let rows = rows.next().unwrap();
            in_every_mode(|mode| {
                let case = format!("8 bits k {k} {x_kind} rows {rows} {mode}");
                Call::<f16, f32>::new(&weights, &f, rows).check(&world, &case);
                Call::<bf16, f32>::new(&weights, &b, rows).check(&world, &format!("{case} bf16"));
            });
        }
    }
}

#[test]
fn the_exact_twin_is_the_same_product() {
    let world = world();
    let mut rng = rng(4);
    for (kind, group) in [
        (Kind::Symmetric, 32),
        (Kind::Symmetric, 128),
        (Kind::Zeros, 32),
        (Kind::Zeros, 128),
        (Kind::ZerosFromOne, 128),
        (Kind::Min, 32),
        (Kind::Int8, 32),
    ] {
        let weights = random_weights(&mut rng, kind, 24, 384, group);
        for x_kind in X_KINDS {
            let x = activations(&mut rng, x_kind, 20 * 384);
            in_every_mode(|mode| {
                for rows in [4, 9, 20] {
                    let call = Call { decode: Decode::Exact, ..Call::<f16, f32>::new(&weights, &x, rows) };
                    call.check(&world, &format!("{kind:?} group {group} {x_kind} rows {rows} {mode}"));
                }
            });
        }
    }
}

/// Long sums, many outputs, and few outputs with k split over blocks (4 of them on a device with 108 multiprocessors).
#[test]
fn large_shapes_are_their_definition() {
    let world = world();
    let mut rng = rng(5);
    for (n, k, rows) in [
        (24, 4096 + 32, 8),
        (24, 4096 + 32, 16),
        (520, 576, 3),
        (4104, 96, 2),
        (16, 8192, 2),
        (8, 14336, 17),
        (40, 8200, 1),
    ] {
        for (kind, group) in [(Kind::Min, 32), (Kind::Zeros, 128), (Kind::Symmetric, 512)] {
            let weights = random_weights(&mut rng, kind, n, k, group);
            for x_kind in ["abs", "gauss"] {
                let x = activations(&mut rng, x_kind, rows * k);
                in_every_mode(|mode| {
                    let case = format!("{kind:?} {n} x {k} group {group} rows {rows} {x_kind} {mode}");
                    Call::<f16, f32>::new(&weights, &x, rows).check(&world, &case);
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_is_its_definition(
        n in 1usize..100, k in 1usize..700, g in 0usize..5, kind in 0usize..5, rows in 1usize..=32, x_kind in 0usize..4, seed: u64
    ) {
        let mut rng = rng(seed);
        let weights = random_weights(&mut rng, KINDS_OF_4_BITS[kind], n, k, [32, 64, 128, 256, k][g]);
        let x = activations::<f16>(&mut rng, X_KINDS[x_kind], rows * k);
        let call = Call::<f16, f16>::new(&weights, &x, rows);
        call.check(&world(), "f16");
        let x = to_bf16(&x);
        Call::<bf16, bf16>::new(&weights, &x, rows).check(&world(), "bf16");
    }
}
