//! Products against the golden vectors and against the definition.

use half::{bf16, f16};
use lowbit::format::{ByteCode, CodedScale, CodedZero, Element};
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteScales, PackedBytes};
use nvcuda::client;
use proptest::prelude::*;
use rand::RngExt;

use super::world::*;
use crate::golden::Golden;
use crate::world::{X_KINDS, assert_within};

/// What is stored `[k, n]` as `[n, k]`.
pub fn transposed(stored: &[u8], n: usize, k: usize) -> Vec<u8> {
    (0..n * k).map(|at| stored[at % k * n + at / k]).collect()
}

#[test]
fn int8_gives_the_golden_products() {
    let world = world();
    let golden = Golden::open("matmul_w8a8_int8");
    for (k, n, rows) in [(256, 96, 5), (160, 24, 3)] {
        let name = |part: &str| format!("k{k}_n{n}.{part}");
        let codes = transposed(&golden.bytes(&name("w_q")), n, k);
        let scales = golden.f32(&name("w_scale"));
        let weights = PackedBytes::from_codes(n, k, ByteCode::Int8, &codes, ByteScales::Output(&scales)).unwrap();
        let x = HostRows {
            code: ByteCode::Int8,
            codes: golden.bytes(&name("x_q")),
            stride: k,
            scale: CodedScale::Row(golden.f32(&name("x_scale"))),
            zero: None,
        };
        let call = Call::<f32>::new(&weights, &x, rows);
        let expected = Product { y: golden.f64(&name("y")), magnitude: call.reference().magnitude };
        in_every_mode(|mode| {
            assert_close(&call.run(world).unwrap(), &expected, &format!("k {k} {mode}"));
            assert_close(
                &Call::<f16>::new(&weights, &x, rows).run(world).unwrap(),
                &expected,
                &format!("k {k} {mode}"),
            );
        });
        // And the weights themselves.
        let w: Vec<f32> = golden.f16(&name("w")).iter().map(|w| w.to_f32()).collect();
        let w: Vec<f32> = (0..n * k).map(|at| w[at % k * n + at / k]).collect();
        assert_eq!(PackedBytes::quantize(n, k, ByteCode::Int8, ByteAxis::Output, &w).unwrap(), weights);
    }
}

#[test]
fn e4m3_gives_the_golden_products() {
    let world = world();
    let golden = Golden::open("matmul_w8a8_fp8");
    for (k, n) in [(256, 96), (160, 24), (256, 256), (320, 192)] {
        let name = |part: &str| format!("k{k}_n{n}.{part}");
        let blocks = n >= 128;
        let codes = transposed(&golden.bytes(&name("w_q")), n, k);
        let stored = golden.f32(&name("w_scale"));
        let (rows, columns) = (k.div_ceil(128), n.div_ceil(128));
        let turned: Vec<f32> = if blocks {
            (0..rows * columns).map(|at| stored[at % rows * columns + at / rows]).collect()
        } else {
            stored
        };
        let scales = if blocks { ByteScales::Block(&turned) } else { ByteScales::Output(&turned) };
        let weights = PackedBytes::from_codes(n, k, ByteCode::E4m3, &codes, scales).unwrap();
        for kind in ["gauss", "abs", "plus3"] {
            let name = |part: &str| name(&format!("{kind}.{part}"));
            let scale = golden.f32(&name("x_scale"));
            let x = HostRows {
                code: ByteCode::E4m3,
                codes: golden.bytes(&name("x_q")),
                stride: k,
                scale: if blocks { CodedScale::Group(scale) } else { CodedScale::Row(scale) },
                zero: None,
            };
            let call = Call::<f32>::new(&weights, &x, 5);
            let expected = Product { y: golden.f64(&name("y")), magnitude: call.reference().magnitude };
            in_every_mode(|mode| {
                assert_close(&call.run(world).unwrap(), &expected, &format!("{n} x {k} {kind} {mode}"));
                let bf16 = Call::<bf16>::new(&weights, &x, 5).run(world).unwrap();
                assert_close(&bf16, &expected, &format!("{n} x {k} {kind} {mode}"));
            });
        }
        let w: Vec<f32> = golden.f16(&name("w")).iter().map(|w| w.to_f32()).collect();
        let w: Vec<f32> = (0..n * k).map(|at| w[at % k * n + at / k]).collect();
        let axis = if blocks { ByteAxis::Block } else { ByteAxis::Output };
        assert_eq!(PackedBytes::quantize(n, k, ByteCode::E4m3, axis, &w).unwrap(), weights, "{n} x {k}");
    }
}

/// Codes, and what a scale of the weights covers.
pub const FORMATS: [(ByteCode, ByteAxis); 3] =
    [(ByteCode::Int8, ByteAxis::Output), (ByteCode::E4m3, ByteAxis::Output), (ByteCode::E4m3, ByteAxis::Block)];

/// Every number of rows that changes the kernel or its grid, with k that ends in every part of a block.
#[test]
fn every_shape_is_its_definition() {
    let world = world();
    let mut rng = rng(1);
    let mut shapes: Vec<(usize, usize, usize)> =
        (1..=9).chain([16, 17, 32, 33, 64, 65, 100]).map(|rows| (rows, 24, [64, 96, 160, 256][rows % 4])).collect();
    shapes.extend([(1, 4104, 96), (9, 4104, 64), (33, 520, 160), (3, 96, 4128)]);
    shapes.extend([(17, 8, 4128), (2, 8, 14336), (40, 96, 1000)]);
    for format in FORMATS {
        for &(rows, n, k) in &shapes {
            let weights = random_weights(&mut rng, format.0, format.1, n, k);
            let x = rows_for(&mut rng, format, if rows % 2 == 0 { "abs" } else { "gauss" }, rows, k);
            in_every_mode(|mode| {
                let case = format!("{format:?} {rows} rows {n} x {k} {mode}");
                Call::<f32>::new(&weights, &x, rows).check(world, &case);
            });
        }
    }
}

/// On every image: the codes are made f16 by moving bits below compute_89. A NaN stays in its row.
#[test]
fn every_model_multiplies_e4m3_alike() {
    let mut rng = rng(12);
    let (n, k, rows) = (40, 328, 37);
    let worlds = ["sm_80", "sm_89", "sm_90"].map(|model| {
        client::set_model(model);
        (model, crate::world::world())
    });
    for axis in [ByteAxis::Output, ByteAxis::Block] {
        let weights = random_weights(&mut rng, ByteCode::E4m3, axis, n, k);
        let mut x = rows_for(&mut rng, (ByteCode::E4m3, axis), "gauss", rows, k);
        for (row, at, nan) in [(0, 0, 0x7F), (5, k - 1, 0xFF), (8, 200, 0x7F), (31, 77, 0xFF), (36, 130, 0x7F)] {
            x.codes[row * k + at] = nan;
        }
        for rows in [1, 6, 9, 32, 37] {
            let results = worlds.each_ref().map(|(model, world)| {
                client::set_model(model);
                Call::<f32>::new(&weights, &x, rows).run(world).unwrap()
            });
            client::reset_modes();
            let expected = Call::<f32>::new(&weights, &x, rows).reference();
            for found in &results {
                for (row, found) in found.chunks(n).enumerate() {
                    let is_nan = [0, 5, 8, 31, 36].contains(&row);
                    assert!(found.iter().all(|y| y.is_nan() == is_nan), "{axis:?} {rows} rows: row {row}");
                    if !is_nan {
                        let at = row * n..(row + 1) * n;
                        let (y, magnitude) = (expected.y[at.clone()].to_vec(), expected.magnitude[at].to_vec());
                        assert_close(found, &Product { y, magnitude }, &format!("{axis:?} {rows} rows: row {row}"));
                    }
                }
            }
        }
    }
}

/// The product of 8-bit floats, where there is one: 32 products lose up to 2^-13 of the largest each; NaN stays in its row; a
/// row does not depend on others. Below compute_89 there is none, and the bits are those of the exact one.
#[test]
fn fast_accumulation_is_the_definition_within_its_bound() {
    let mut rng = rng(14);
    let (n, k, rows) = (40, 328, 37);
    for model in ["sm_80", "sm_89", "sm_90"] {
        client::set_model(model);
        let world = crate::world::world();
        for (axis, kind) in [ByteAxis::Output, ByteAxis::Block].into_iter().zip(X_KINDS.chunks(2)) {
            for kind in kind {
                let weights = random_weights(&mut rng, ByteCode::E4m3, axis, n, k);
                let mut x = rows_for(&mut rng, (ByteCode::E4m3, axis), kind, rows, k);
                x.codes[8 * k + 200] = 0xFF;
                for rows in [1, 6, 9, 32, 37] {
                    let exact = Call::<f32>::new(&weights, &x, rows);
                    let fast = Call { fast: true, ..Call::<f32>::new(&weights, &x, rows) };
                    let expected = exact.reference();
                    in_every_mode(|mode| {
                        let case = format!("{model} {axis:?} {kind} {rows} rows {mode}");
                        let found = fast.run(&world).unwrap();
                        for row in 0..rows {
                            let at = row * n..(row + 1) * n;
                            if row == 8 {
                                assert!(found[at].iter().all(|y| y.is_nan()), "{case}");
                                continue;
                            }
                            let (y, magnitude) =
                                (expected.y[at.clone()].to_vec(), expected.magnitude[at.clone()].to_vec());
                            assert_within(2f64.powi(-8), &found[at], &Product { y, magnitude }, &case);
                        }
                    });
                    if model == "sm_80" && client::active() {
                        let bits = |call: &Call<f32>| -> Vec<u32> {
                            call.run(&world).unwrap().iter().map(|y| y.to_bits()).collect()
                        };
                        assert_eq!(bits(&fast), bits(&exact), "{axis:?} {kind} {rows} rows");
                    }
                }
                in_repeatable_modes(|mode| {
                    let run = |rows| Call { fast: true, ..Call::<f32>::new(&weights, &x, rows) }.run(&world).unwrap();
                    let (all, some) = (run(32), run(7));
                    assert_eq!(&all[..7 * n], &some[..], "{model} {axis:?} {kind} {mode}");
                });
            }
        }
    }
    client::reset_modes();
}

/// One product of 2^10 and 31 of 2^-4: 2^-14 of it each. They are lost where 13 bits are kept, and only there.
#[test]
fn only_fast_accumulation_loses_small_products() {
    let world = crate::world::world();
    let (n, k) = (16, 32);
    let code = |at: usize| if at == 0 { 0x60 } else { 0x28 }; // 2^5, 2^-2
    let codes: Vec<u8> = (0..n * k).map(|at| code(at % k)).collect();
    let weights = PackedBytes::from_codes(n, k, ByteCode::E4m3, &codes, ByteScales::Output(&vec![1.0; n])).unwrap();
    let x = HostRows {
        code: ByteCode::E4m3,
        codes: codes[..k].to_vec(),
        stride: k,
        scale: CodedScale::Row(vec![1.0]),
        zero: None,
    };
    let exact = 1024.0 + 31.0 / 16.0;
    let sums = |fast| Call { fast, ..Call::<f32>::new(&weights, &x, 1) }.run(&world).unwrap();
    client::with_modes(
        |modes| modes.mma = client::MmaMode::Trunc,
        || {
            assert_eq!(sums(false), vec![exact; n]);
            // A GPU of compute capability 9.0 makes the product of f16.
            let lost = if client::active() { 1024.0 } else { sums(true)[0] };
            assert_eq!(sums(true), vec![lost; n]);
        },
    );
}

/// Codes at the ends of the range, all of one sign, as many as fit: the sum of 32 bits holds.
#[test]
fn the_largest_sums_fit() {
    let world = world();
    let k = (1 << 17) - 1;
    for rows in [1, 33] {
        let weights = PackedBytes::from_codes(1, k, ByteCode::Int8, &vec![0x80; k], ByteScales::Tensor(1.0)).unwrap();
        let x = HostRows {
            code: ByteCode::Int8,
            codes: vec![0x80; rows * k],
            stride: k,
            scale: CodedScale::Tensor(vec![1.0]),
            zero: Some(CodedZero::Tensor(vec![127])),
        };
        let found = Call::<f32>::new(&weights, &x, rows).run(world).unwrap();
        assert_eq!(found, vec![255.0 * 128.0 * k as f32; rows]);
    }
}

#[test]
fn scales_and_zero_points_of_every_kind() {
    let world = world();
    let mut rng = rng(2);
    let (n, k) = (40, 200);
    let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
    for rows in [3, 12, 70] {
        let x = random_rows(&mut rng, ByteCode::Int8, "gauss", rows, k);
        let zeros: Vec<i32> = (0..rows).map(|_| rng.random_range(-128..128)).collect();
        for scale in [x.scale.clone(), CodedScale::Tensor(vec![0.03])] {
            for zero in [None, Some(CodedZero::Row(zeros.clone())), Some(CodedZero::Tensor(vec![-77]))] {
                let x = HostRows { scale: scale.clone(), zero, ..x.clone() };
                in_every_mode(|mode| {
                    let case = format!("{rows} rows, {:?}, {:?} {mode}", x.scale, x.zero);
                    Call::<f32>::new(&weights, &x, rows).check(world, &case);
                });
            }
        }
    }
}

/// A row that is its own zero point is 0 exactly, however large its codes.
#[test]
fn zero_points_are_taken_off_exactly() {
    let world = world();
    let mut rng = rng(3);
    let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, 16, 4128);
    let x = HostRows {
        code: ByteCode::Int8,
        codes: vec![0x85; 4128],
        stride: 4128,
        scale: CodedScale::Tensor(vec![0.5]),
        zero: Some(CodedZero::Tensor(vec![-123])),
    };
    assert_eq!(Call::<f32>::new(&weights, &x, 1).run(world).unwrap(), vec![0.0; 16]);
}

fn epilogues<O: Element>(case: &str) {
    let world = world();
    let mut rng = rng(4);
    let (n, k) = (40, 160);
    let weights = random_weights(&mut rng, ByteCode::Int8, ByteAxis::Output, n, k);
    for rows in [3, 35] {
        let x = random_rows(&mut rng, ByteCode::Int8, "gauss", rows, k);
        let mut numbers =
            |len: usize| -> Vec<O> { (0..len).map(|_| O::from_f32(rng.random_range(-9.0..9.0))).collect() };
        let (bias, residual) = (numbers(n), numbers(rows * n));
        let plain = || Call::<O>::new(&weights, &x, rows);
        Call { bias: Some(&bias[..]), ..plain() }.check(world, &format!("{case} bias"));
        Call { residual: Some(&residual[..]), ..plain() }.check(world, &format!("{case} residual"));
        Call { bias: Some(&bias[..]), residual: Some(&residual[..]), ..plain() }.check(world, &format!("{case} both"));
    }
}

#[test]
fn bias_and_residual_are_added_before_the_rounding() {
    epilogues::<f32>("f32");
    epilogues::<f16>("f16");
    epilogues::<bf16>("bf16");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_stride_and_alignment(
        n in 1usize..100, k in 1usize..500, rows in 1usize..70, gap in 0usize..20, shift in 0usize..20, format in 0usize..3, seed: u64
    ) {
        let mut rng = rng(seed);
        let format = FORMATS[format];
        let weights = random_weights(&mut rng, format.0, format.1, n, k);
        let scale = rows_for(&mut rng, format, "gauss", rows, k).scale;
        let x = HostRows { stride: k + gap, scale, ..random_rows(&mut rng, format.0, "gauss", rows, k + gap) };
        Call { shift, ..Call::<f32>::new(&weights, &x, rows) }.check(world(), "any");
    }
}
