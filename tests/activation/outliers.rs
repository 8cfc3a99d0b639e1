//! Outlier columns: every output equals the reference's, bit for bit.

use half::{bf16, f16};
use lowbit::format::outliers::{NO_COLUMN, OutlierOutputs};
use lowbit::format::{Half16, Matrix};
use lowbit::{ops, reference};
use nvcuda::client::{self, Schedule};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::*;

#[derive(Debug, PartialEq)]
struct Extracted {
    codes: Vec<u8>,
    scale: Vec<u32>,
    columns: Vec<u32>,
    count: Vec<u32>,
    values: Vec<u32>,
}

fn by_reference<E: Half16>(shape: Matrix, x: &[E], cap: usize) -> Extracted {
    let (mut codes, mut scale) = (vec![0; shape.rows * shape.cols], vec![0f32; shape.rows]);
    let (mut columns, mut count) = (vec![7; cap], vec![7; 2]);
    let mut values = vec![E::from_f32(7.0); shape.rows * cap];
    let out = OutlierOutputs {
        codes: &mut codes[..],
        scale: &mut scale[..],
        columns: &mut columns[..],
        count: &mut count[..],
        values: &mut values[..],
    };
    reference::outliers::extract(6.0, shape, x, out).unwrap();
    Extracted { codes, scale: bits(&scale), columns, count, values: bits(&values) }
}

/// With one element more behind every output, which must stay.
fn by_device<E: Half16>(world: &World, shape: Matrix, x: &[E], cap: usize, shift: usize) -> Extracted {
    let World { stream, kernels } = world;
    let len = shape.rows * shape.cols;
    let padded = [&vec![E::from_f32(100.0); shift][..], x, &[E::from_f32(100.0)]].concat();
    let x_device = stream.clone_htod(&padded).unwrap();
    let mut codes = stream.clone_htod(&vec![FENCE; shift + len + 1]).unwrap();
    let mut scale = stream.clone_htod(&vec![9f32; shape.rows + 1]).unwrap();
    let mut columns = stream.clone_htod(&vec![9u32; cap + 1]).unwrap();
    let mut count = stream.clone_htod(&[9u32; 3]).unwrap();
    let mut values = stream.clone_htod(&vec![E::from_f32(9.0); shape.rows * cap + 1]).unwrap();
    let words = ops::outliers::workspace_words(shape.cols);
    let mut workspace = stream.clone_htod(&vec![u32::MAX; words + 1]).unwrap();
    let out = OutlierOutputs {
        codes: codes.slice_mut(shift..shift + len),
        scale: scale.slice_mut(..shape.rows),
        columns: columns.slice_mut(..cap),
        count: count.slice_mut(..2),
        values: values.slice_mut(..shape.rows * cap),
    };
    let x = x_device.slice(shift..shift + x.len());
    ops::outliers::extract(kernels, stream, 6.0, shape, &x, out, &mut workspace.slice_mut(..words)).unwrap();
    let codes = stream.clone_dtoh(&codes).unwrap();
    let mut scale = bits(&stream.clone_dtoh(&scale).unwrap());
    let (mut columns, mut count) = (stream.clone_dtoh(&columns).unwrap(), stream.clone_dtoh(&count).unwrap());
    let mut values = bits(&stream.clone_dtoh(&values).unwrap());
    assert!(codes[..shift].iter().chain(&codes[shift + len..]).all(|&c| c == FENCE));
    assert_eq!((scale.pop(), columns.pop(), count.pop()), (Some(9f32.to_bits()), Some(9), Some(9)));
    assert_eq!((values.pop(), stream.clone_dtoh(&workspace).unwrap().pop()), (Some(9f32.to_bits()), Some(u32::MAX)));
    Extracted { codes: codes[shift..shift + len].to_vec(), scale, columns, count, values }
}

fn check<E: Half16>(world: &World, shape: Matrix, x: &[E], cap: usize, shift: usize) -> Extracted {
    let (expected, found) = (by_reference(shape, x, cap), by_device(world, shape, x, cap, shift));
    assert_eq!(found, expected, "{shape:?} cap {cap} shift {shift} {}", E::DTYPE);
    found
}

/// Numbers below 6 but for some rows of the columns named.
fn matrix<E: Half16>(shape: Matrix, outliers: &[usize], seed: u64) -> Vec<E> {
    let mut x: Vec<E> = numbers::<f32>(shape.span(), seed, false).iter().map(|v| E::from_f32(v / 6.0)).collect();
    for (i, col) in outliers.iter().enumerate() {
        let row = i % shape.rows;
        x[row * shape.row_stride + col] = E::from_f32([6.0, -6.0, 70.0, -1e3][i % 4]);
    }
    x
}

#[test]
fn golden_codes() {
    let (world, file) = (world(), Golden::open("matmul_w8a8_int8"));
    for name in ["k256_n96", "k160_n24"] {
        let (x, shape) = (file.f16(&format!("{name}.x")), file.shape(&format!("{name}.x")));
        let is_outlier = file.bytes(&format!("{name}.outlier_columns"));
        let columns: Vec<u32> = (0..shape[1] as u32).filter(|&c| is_outlier[c as usize] != 0).collect();
        let found = check(&world, Matrix::dense(shape[0], shape[1]), &x, columns.len(), 0);
        assert!(!columns.is_empty());
        assert_eq!((&found.columns, &found.count), (&columns, &vec![columns.len() as u32, 0]), "{name}");
        assert_eq!(found.codes, file.bytes(&format!("{name}.llm_int8.x_q")), "{name}");
        assert_eq!(found.scale, bits(&file.f32(&format!("{name}.llm_int8.x_scale"))), "{name}");
    }
}

/// None, one, as many as there is room for, one more; and no room at all. What does not fit stays among the codes.
#[test]
fn few_and_too_many() {
    let world = world();
    let shape = Matrix::dense(5, 200);
    let columns = [3usize, 31, 32, 64, 190, 199];
    for (outliers, cap) in [(0, 4), (1, 4), (4, 4), (5, 4), (6, 4), (1, 0), (6, 200)] {
        let x = matrix::<f16>(shape, &columns[..outliers], 3);
        let found = check(&world, shape, &x, cap, 0);
        assert_eq!(found.count, [outliers as u32, u32::from(outliers > cap)]);
        let listed = columns[..outliers.min(cap)].iter().map(|&c| c as u32);
        let expected: Vec<u32> = listed.chain([NO_COLUMN].into_iter().cycle()).take(cap).collect();
        assert_eq!(found.columns, expected);
        for (at, &code) in found.codes.iter().enumerate() {
            assert!(code == 0 || !expected.contains(&((at % 200) as u32)), "a listed column has a code");
        }
    }
}

#[test]
fn shapes_and_special_values() {
    let world = world();
    for (shape, shift) in [
        (Matrix::dense(0, 64), 0),
        (Matrix::dense(3, 0), 0),
        (Matrix::dense(1, 1), 0),
        (Matrix::dense(7, 333), 3),
        (Matrix { rows: 4, cols: 96, row_stride: 104 }, 8),
        (Matrix::dense(2, 16_400), 0),
    ] {
        for special in [false, true] {
            let cap = shape.cols.min(9);
            check(&world, shape, &numbers::<f16>(shape.span(), 4, special), cap, shift);
            check(&world, shape, &numbers::<bf16>(shape.span(), 5, special), cap, shift);
        }
    }
    // More rows than blocks: they stride, and what only the last row holds is found.
    let shape = Matrix::dense(2100, 8);
    let mut x = matrix::<f16>(shape, &[1, 5, 6], 6);
    x[2099 * 8 + 3] = f16::from_f32(-6.0);
    check(&world, shape, &x, 4, 0);
    check(&world, shape, &x, 2, 0);
}

#[test]
fn the_schedule_does_not_matter() {
    let world = world();
    let shape = Matrix::dense(9, 520);
    let x = matrix::<f16>(shape, &[0, 7, 8, 300, 301, 519], 8);
    for model in ["sm_80", "sm_89", "sm_90"] {
        client::set_model(model);
        let world = if model == "sm_89" { &world } else { &self::world() };
        for seed in 0..4 {
            client::with_modes(
                |m| (m.schedule, m.seed) = (Schedule::Adversarial, seed),
                || check(world, shape, &x, 5, 0),
            );
        }
    }
    client::reset_modes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_shape(
        rows in 1usize..6, cols in 1usize..400, gap in 0usize..9, shift in 0usize..9, cap in 0usize..9,
        outliers in prop::collection::vec(any::<prop::sample::Index>(), 0..9), seed in 0u64..1000,
    ) {
        let shape = Matrix { rows, cols, row_stride: cols + gap };
        let columns: Vec<usize> = outliers.iter().map(|index| index.index(cols)).collect();
        check(&world(), shape, &matrix::<f16>(shape, &columns, seed), cap.min(cols), shift);
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let World { stream, kernels } = world();
    let shape = Matrix::dense(2, 32);
    // threshold, shape, lengths of x, codes, scale, columns, count, values, workspace; the error
    let good = [64, 64, 2, 3, 2, 6, 1];
    let short = |at: usize| {
        let mut lengths = good;
        lengths[at] -= 1;
        lengths
    };
    let table = [
        (6.0, shape, short(0), "`x`: expected at least 64 elements, found 63"),
        (6.0, shape, short(1), "`codes`: expected at least 64 elements, found 63"),
        (6.0, shape, short(2), "`scale`: expected at least 2 elements, found 1"),
        (6.0, shape, short(4), "`count`: expected at least 2 elements, found 1"),
        (6.0, shape, short(5), "`values`: expected at least 6 elements, found 5"),
        (6.0, shape, short(6), "`workspace`: expected at least 1 elements, found 0"),
        (6.0, shape, [64, 64, 2, 33, 2, 66, 1], "`columns`: expected at most the 32 columns, found 33"),
        (f32::NAN, shape, good, "`threshold`: expected a number above 0, found NaN"),
        (0.0, shape, good, "`threshold`: expected a number above 0, found 0"),
        (
            6.0,
            Matrix { row_stride: 31, ..shape },
            good,
            "`shape.row_stride`: expected at least the 32 columns, found 31",
        ),
        (6.0, Matrix::dense(1, 49_153), good, "`cols`: expected at most 49152, found 49153"),
    ];
    for (threshold, shape, [x, codes_len, scale_len, columns_len, count_len, values_len, words], expected) in table {
        let input = stream.clone_htod(&[f16::ONE; 64]).unwrap();
        let mut codes = stream.clone_htod(&[FENCE; 64]).unwrap();
        let mut scale = stream.clone_htod(&[9f32; 2]).unwrap();
        let mut columns = stream.clone_htod(&[9u32; 64]).unwrap();
        let mut count = stream.clone_htod(&[9u32; 2]).unwrap();
        let mut values = stream.clone_htod(&[f16::ONE; 128]).unwrap();
        let mut workspace = stream.clone_htod(&[9u32; 1]).unwrap();
        let out = OutlierOutputs {
            codes: codes.slice_mut(..codes_len),
            scale: scale.slice_mut(..scale_len),
            columns: columns.slice_mut(..columns_len),
            count: count.slice_mut(..count_len),
            values: values.slice_mut(..values_len),
        };
        let (x, mut words) = (input.slice(..x), workspace.slice_mut(..words));
        let error = ops::outliers::extract(&kernels, &stream, threshold, shape, &x, out, &mut words).unwrap_err();
        assert_eq!(error.to_string(), format!("outliers::extract: {expected}"));
        assert!(stream.clone_dtoh(&codes).unwrap().iter().all(|&c| c == FENCE), "{expected}");
        assert!(stream.clone_dtoh(&scale).unwrap().iter().all(|&s| s == 9.0), "{expected}");
        assert!(stream.clone_dtoh(&columns).unwrap().iter().all(|&c| c == 9), "{expected}");
        assert!(stream.clone_dtoh(&count).unwrap().iter().all(|&c| c == 9), "{expected}");
        assert!(stream.clone_dtoh(&values).unwrap().iter().all(|&v| v == f16::ONE), "{expected}");
        assert!(stream.clone_dtoh(&workspace).unwrap().iter().all(|&w| w == 9), "{expected}");
    }
}
