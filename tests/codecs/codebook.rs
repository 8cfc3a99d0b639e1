//! Codebook coding with outlier slots.

use lowbit::calibrate::lloyd_max;
use lowbit::format::{Codebook, Element, Matrix, Outliers, Rotation, Spread, Transform, outlier_slots};
use lowbit::half::{bf16, f16};
use lowbit::{ops, reference};
use proptest::prelude::*;

use crate::golden::Golden;
use crate::world::{Fenced, Gpu, bits, f16s, finite, gpu, in_every_mode, input, is_untouched, untouched};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Channel(usize),
    Row,
    Norm,
}

/// A way to code: the table, what range and zero are of, and how many outliers are kept.
#[derive(Debug, Clone)]
struct Case {
    book: Codebook,
    kind: Kind,
    slots: usize,
    rotation: Rotation,
    /// Of each channel, for `Kind::Channel`.
    given: (Vec<f16>, Vec<f16>),
}

impl Case {
    fn new(book: &Codebook, kind: Kind, slots: usize, cols: usize) -> Case {
        let heads = if let Kind::Channel(heads) = kind { heads } else { 0 };
        // A channel whose range is 0 among them.
        let range = |i: usize| if i % 23 == 7 { 0.0 } else { 0.5 + (i * 7 % 13) as f32 / 4.0 };
        let given = (0..heads * cols).map(|i| (f16::from_f32(range(i)), f16::from_f32((i % 5) as f32 / 8.0 - 0.25)));
        Case { book: book.clone(), kind, slots, rotation: Rotation::None, given: given.unzip() }
    }
}

#[derive(Debug, PartialEq)]
struct Coded {
    codes: Vec<u8>,
    range: Vec<u32>,
    zero: Vec<u32>,
    channel: Vec<u8>,
    value: Vec<u32>,
    y: Vec<u32>,
}

fn by_reference<E: Element>(case: &Case, shape: Matrix, x: &[E]) -> Coded {
    let Matrix { rows, cols, .. } = shape;
    let empty = cols == 0;
    let mut codes = vec![0xFF; rows * case.book.row_bytes(cols)];
    let (mut range, mut zero) = (untouched::<f16>(rows), untouched::<f16>(rows));
    let (mut channel, mut value) = (untouched::<u8>(rows * case.slots), untouched::<f16>(rows * case.slots));
    let spread = match case.kind {
        Kind::Channel(heads) => Spread::Channel { heads, range: &case.given.0[..], zero: &case.given.1[..] },
        Kind::Row => Spread::Row { range: &mut range[..], zero: &mut zero[..] },
        Kind::Norm => Spread::Norm { range: &mut range[..] },
    };
    let outliers = Outliers { slots: case.slots, channel: &mut channel[..], value: &mut value[..] };
    let transform = Transform::rotation(case.rotation);
    reference::codebook::quantize(&case.book, &transform, shape, x, &mut codes, spread, Some(outliers)).unwrap();
    assert!(!empty || is_untouched(&range));
    let mut y = untouched::<E>(shape.span());
    let spread = match case.kind {
        Kind::Channel(heads) => Spread::Channel { heads, range: &case.given.0[..], zero: &case.given.1[..] },
        Kind::Row => Spread::Row { range: &range[..], zero: &zero[..] },
        Kind::Norm => Spread::Norm { range: &range[..] },
    };
    let outliers = Outliers { slots: case.slots, channel: &channel[..], value: &value[..] };
    reference::codebook::dequantize(&case.book, shape, &codes, &spread, Some(&outliers), &mut y).unwrap();
    Coded { codes, range: bits(&range), zero: bits(&zero), channel, value: bits(&value), y: bits(&y) }
}

fn by_device<E: Element>(gpu: &Gpu, case: &Case, shape: Matrix, x: &[E], shift: usize) -> Coded {
    let Gpu { stream, kernels } = gpu;
    let Matrix { rows, cols, .. } = shape;
    let x = Fenced::new(gpu, x, shift);
    let mut codes = Fenced::new(gpu, &vec![0xFFu8; rows * case.book.row_bytes(cols)], shift);
    let mut range = Fenced::new(gpu, &untouched::<f16>(rows), shift);
    let mut zero = Fenced::new(gpu, &untouched::<f16>(rows), 0);
    let mut channel = Fenced::new(gpu, &untouched::<u8>(rows * case.slots), shift);
    let mut value = Fenced::new(gpu, &untouched::<f16>(rows * case.slots), 0);
    let given = (Fenced::new(gpu, &case.given.0, shift), Fenced::new(gpu, &case.given.1, 0));
    let transform = Transform::rotation(case.rotation);
    {
        let mut spread = match case.kind {
            Kind::Channel(heads) => Spread::Channel { heads, range: given.0.view(), zero: given.1.view() },
            Kind::Row => Spread::Row { range: range.view_mut(), zero: zero.view_mut() },
            Kind::Norm => Spread::Norm { range: range.view_mut() },
        };
        let mut outliers = Outliers { slots: case.slots, channel: channel.view_mut(), value: value.view_mut() };
        let (x, codes, outliers) = (&x.view(), &mut codes.view_mut(), Some(&mut outliers));
        ops::codebook::quantize(kernels, stream, &case.book, &transform, shape, x, codes, &mut spread, outliers)
            .unwrap();
    }
    let mut y = Fenced::new(gpu, &untouched::<E>(shape.span()), shift);
    let spread = match case.kind {
        Kind::Channel(heads) => Spread::Channel { heads, range: given.0.view(), zero: given.1.view() },
        Kind::Row => Spread::Row { range: range.view(), zero: zero.view() },
        Kind::Norm => Spread::Norm { range: range.view() },
    };
    let outliers = Outliers { slots: case.slots, channel: channel.view(), value: value.view() };
    let (codes_view, out) = (&codes.view(), &mut y.view_mut());
    ops::codebook::dequantize(kernels, stream, &case.book, shape, codes_view, &spread, Some(&outliers), out).unwrap();
    Coded {
        codes: codes.read(gpu),
        range: bits(&range.read(gpu)),
        zero: bits(&zero.read(gpu)),
        channel: channel.read(gpu),
        value: bits(&value.read(gpu)),
        y: bits(&y.read(gpu)),
    }
}

fn check<E: Element>(gpu: &Gpu, case: &Case, shape: Matrix, x: &[E], shift: usize) {
    let what = || {
        let (bits, kind, slots) = (case.book.bits(), case.kind, case.slots);
        format!("nuq{bits} {kind:?} {slots} slots {:?} {shape:?} {} shift {shift}", case.rotation, E::DTYPE)
    };
    let (expected, found) = (by_reference(case, shape, x), by_device(gpu, case, shape, x, shift));
    assert_eq!(found.range, expected.range, "ranges of {}", what());
    assert_eq!(found.zero, expected.zero, "zeros of {}", what());
    assert_eq!(found.codes, expected.codes, "codes of {}", what());
    assert_eq!(found.channel, expected.channel, "outlier channels of {}", what());
    assert_eq!(found.value, expected.value, "outlier values of {}", what());
    assert_eq!(found.y, expected.y, "values of {}", what());
}

fn book(bits: usize) -> Codebook {
    let levels: Vec<f32> = match bits {
        2 => vec![-0.8, -0.2, 0.25, 0.75],
        3 => vec![-0.9, -0.5, -0.25, -0.0625, 0.0625, 0.25, 0.5, 0.9],
        // Two equal levels, and gaps that round.
        _ => vec![-1.0, -0.75, -0.6, -0.5, -0.3, -0.2, -0.1, 0.0, 0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0],
    };
    Codebook::new(&f16s(&levels)).unwrap()
}

/// Codes one a byte.
fn unpack(codes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let bit = |i: usize| codes[i / 8] >> (i % 8) & 1;
    (0..count).map(|i| (0..bits).map(|b| bit(i * bits + b) << b).sum()).collect()
}

/// Keys and values of the golden caches: token 0 is a sink there, and not coded.
#[test]
fn golden_keys_and_values_on_both() {
    let gpu = gpu();
    for name in ["attention_real_d64_h9_kv3_t512", "attention_d128_h8_kv2_t333"] {
        let file = Golden::open(name);
        let keys = if file.names().iter().any(|n| n == "k_pre") { "k_pre" } else { "k" };
        let [tokens, heads, dim] = file.shape(keys)[..] else { panic!("[tokens, heads, channels]") };
        let (shape, slots) = (Matrix::dense(tokens * heads, dim), outlier_slots(dim));
        for bits in [3, 4] {
            for (side, x, kind) in [("k", keys, Kind::Channel(heads)), ("v", "v", Kind::Row)] {
                let part = |part: &str| format!("nuq{bits}.{side}_{part}");
                let x = file.f16(x);
                let book = Codebook::new(&file.f16(&part("codebook"))).unwrap();
                let mut case = Case::new(&book, kind, slots, dim);
                if side == "k" {
                    case.given = (file.f16(&part("range")), file.f16(&part("zero")));
                }
                check(&gpu, &case, shape, &x, 0);
                let found = by_reference(&case, shape, &x);
                let (first, first_slot) = (heads * dim, heads * slots);
                let codes = unpack(&found.codes, bits, tokens * heads * dim);
                assert_eq!(codes[first..], file.bytes(&part("q"))[first..], "{name} {}", part("q"));
                let channels = file.bf16(&part("outlier_channel"))[first_slot..].to_vec(); // u16 bits
                let values = self::bits(&file.f16(&part("outlier_value"))[first_slot..]);
                for (i, (channel, value)) in channels.iter().zip(values).enumerate() {
                    let slot = (found.channel[first_slot + i], found.value[first_slot + i]);
                    let unused = channel.to_bits() == 0xFFFF;
                    let expected = if unused { (255, 0x7FC0_0000) } else { (channel.to_bits() as u8, value) };
                    assert_eq!(slot, expected, "{name} {} slot {i}", part("outlier"));
                }
                if side == "v" {
                    assert_eq!(found.range[heads..], self::bits(&file.f16(&part("range")))[heads..], "{name}");
                    assert_eq!(found.zero[heads..], self::bits(&file.f16(&part("zero")))[heads..], "{name}");
                }
            }
        }
    }
}

fn shapes() -> [(Matrix, usize); 9] {
    [
        (Matrix::dense(0, 64), 0),
        (Matrix::dense(2, 0), 0),
        (Matrix::dense(4, 1), 0),
        (Matrix::dense(6, 7), 0),
        (Matrix::dense(34, 64), 0),
        (Matrix::dense(22, 96), 1),
        (Matrix { rows: 10, cols: 80, row_stride: 83 }, 0),
        (Matrix { rows: 18, cols: 128, row_stride: 144 }, 0),
        (Matrix::dense(14, 256), 4),
    ]
}

#[test]
fn every_table_and_spread_over_shapes() {
    let gpu = gpu();
    for (i, (shape, shift)) in shapes().into_iter().enumerate() {
        for bits in 2..=4 {
            for kind in [Kind::Channel(2), Kind::Row, Kind::Norm] {
                let slots = [0, 1, 3, 8][(i + bits) % 4];
                let case = Case::new(&book(bits), kind, slots, shape.cols);
                let seed = (i * 10 + bits) as u64;
                check(&gpu, &case, shape, &input::<f32>(shape.span(), seed), shift);
                check(&gpu, &case, shape, &input::<f16>(shape.span(), seed), shift);
                check(&gpu, &case, shape, &input::<bf16>(shape.span(), seed), shift);
            }
        }
    }
}

#[test]
fn every_mode() {
    let gpu = gpu();
    let shape = Matrix::dense(90, 128);
    let x = finite::<f16>(shape.span(), 77);
    in_every_mode(|_| {
        for bits in 2..=4 {
            for kind in [Kind::Channel(3), Kind::Row, Kind::Norm] {
                check(&gpu, &Case::new(&book(bits), kind, 2, shape.cols), shape, &x, 0);
            }
        }
    });
}

/// More rows than a group takes at once, of a number of heads that divides no power of two: each group keeps to one head.
#[test]
fn groups_go_through_rows_of_one_head() {
    let gpu = gpu();
    let shape = Matrix::dense(3 * 9000, 16);
    let case = Case::new(&book(4), Kind::Channel(3), 1, shape.cols);
    check(&gpu, &case, shape, &finite::<f16>(shape.span(), 5), 0);
}

/// Distances that round to the same f32: the first level wins, however far away z is.
#[test]
fn ties_and_magnitudes_that_no_search_finds() {
    let gpu = gpu();
    let book = Codebook::new(&f16s(&[-1.0, -1.0 + 1.0 / 1024.0, 0.5, 1.0])).unwrap();
    let mut x: Vec<f32> = [0.0, -0.25, 0.75, 0.75f32.next_up(), 0.75f32.next_down(), 6e4, -6e4, 4097.0, 8191.5].into();
    for threshold in book.thresholds() {
        x.extend([*threshold, threshold.next_up(), threshold.next_down()]);
    }
    x.extend((0..40).map(|i| 2f32.powi(i - 20)));
    x.extend((0..40).map(|i| -(2f32.powi(i - 20))));
    x.resize(x.len().next_multiple_of(8), 0.0);
    let shape = Matrix::dense(x.len() / 8, 8);
    let mut case = Case::new(&book, Kind::Channel(1), 0, 8);
    // A range of 1; and so small a range that z is 1e12.
    for range in [1.0, 6e-8] {
        case.given = (f16s(&[range; 8]), f16s(&[0.0; 8]));
        check(&gpu, &case, shape, &x, 0);
    }
    let far = by_reference(&case, Matrix::dense(1, 8), &[65504f32; 8]);
    assert_eq!(unpack(&far.codes, 2, 8), [0; 8], "all distances from 1e12 are one in f32");
}

#[test]
fn outliers_in_order_with_ties_and_surplus() {
    let gpu = gpu();
    let mut case = Case::new(&book(2), Kind::Channel(1), 3, 16);
    case.given = (f16s(&[1.0; 16]), f16s(&[0.0; 16]));
    let mut rows = vec![0f32; 4 * 16];
    (rows[2], rows[9], rows[11], rows[15]) = (-3.0, 5.0, 3.0, 2.0); // four outliers: 15 finds no slot
    (rows[16 + 4], rows[16 + 8]) = (1.0, 1.0f32.next_up()); // 1 itself is none
    rows[32..48].fill(f32::NAN);
    rows[48..64].fill(f32::INFINITY);
    let shape = Matrix::dense(4, 16);
    check(&gpu, &case, shape, &rows, 0);
    let found = by_reference(&case, shape, &rows);
    assert_eq!(found.channel, [9, 2, 11, 8, 255, 255, 255, 255, 255, 0, 1, 2]);
    let nan = 0x7FC0_0000;
    let max = 65504f32.to_bits();
    let v = f32::to_bits;
    assert_eq!(found.value, [v(5.0), v(-3.0), v(3.0), v(1.0), nan, nan, nan, nan, nan, max, max, max]);
    let y: Vec<f32> = found.y[..16].iter().map(|&b| f32::from_bits(b)).collect();
    assert_eq!((y[9], y[2], y[11], y[15]), (5.0, -3.0, 3.0, 0.75), "the surplus is clipped to the last level");
}

/// TurboQuant-style: signed Hadamard, norm, the Gaussian's table. The error is close to the table's on a Gaussian, whatever
/// the input's outliers.
#[test]
fn a_rotated_gaussian_table() {
    let gpu = gpu();
    // Mean squared errors of Max 1960; rows of 128 normalize by their own norm and differ by a few hundredths.
    for (bits, published) in [(2, 0.1175), (3, 0.03454), (4, 0.009497)] {
        let shape = Matrix::dense(64, 128);
        let mut case = Case::new(&lloyd_max(bits).unwrap(), Kind::Norm, 0, 128);
        case.rotation = Rotation::SignedHadamard { block: 128, seed: 20 };
        let mut x = finite::<f16>(shape.span(), 3);
        x.iter_mut().step_by(128).for_each(|v| *v = f16::from_f32(60.0));
        check(&gpu, &case, shape, &x, 0);
        let found = by_reference(&case, shape, &x);
        let mut rotated = x.clone();
        reference::transform::forward(&Transform::rotation(case.rotation), shape, &x, &mut rotated).unwrap();
        let square = |v: f32| f64::from(v) * f64::from(v);
        let error: f64 = rotated.iter().zip(&found.y).map(|(x, &y)| square(x.to_f32() - f32::from_bits(y))).sum();
        let nmse = error / x.iter().map(|v| square(v.to_f32())).sum::<f64>();
        // One outlier of 60 among values below 4 is a sign pattern after the rotation: not Gaussian, and worse by up to 3.
        assert!(nmse < 3.0 * published, "{bits} bits: {nmse}");
    }
    for bits in 2..=4 {
        let shape = Matrix { rows: 9, cols: 192, row_stride: 200 };
        let mut case = Case::new(&lloyd_max(bits).unwrap(), Kind::Row, 2, 192);
        case.rotation = Rotation::Hadamard { block: 64 };
        check(&gpu, &case, shape, &finite::<bf16>(shape.span(), 8), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        tokens in 0usize..30, heads in 1usize..5, cols in 0usize..=256, gap in 0usize..9, shift in 0usize..9,
        bits in 2usize..=4, kind in 0..3, slots in 0usize..=8, seed in any::<u64>(), dtype in 0..3,
    ) {
        let shape = Matrix { rows: tokens * heads, cols, row_stride: cols + gap };
        let kind = [Kind::Channel(heads), Kind::Row, Kind::Norm][kind as usize];
        let (gpu, case) = (gpu(), Case::new(&book(bits), kind, slots, cols));
        match dtype {
            0 => check(&gpu, &case, shape, &input::<f32>(shape.span(), seed), shift),
            1 => check(&gpu, &case, shape, &input::<f16>(shape.span(), seed), shift),
            _ => check(&gpu, &case, shape, &input::<bf16>(shape.span(), seed), shift),
        }
    }
}

#[test]
fn bad_inputs_are_named_and_nothing_is_written() {
    let gpu = gpu();
    let Gpu { stream, kernels } = &gpu;
    let x = Fenced::new(&gpu, &f16s(&[1.0; 1024]), 0);
    let given = Fenced::new(&gpu, &f16s(&[1.0; 128]), 0);
    let (good, dense) = ([128, 64, 2, 2, 2, 2], Matrix::dense(2, 64));
    // shape, [elements, bytes of codes, ranges, zeros, channels, values], slots, the error
    let table = [
        (dense, [127, 64, 2, 2, 2, 2], 1, "`x`: expected at least 128 elements, found 127"),
        (dense, [128, 63, 2, 2, 2, 2], 1, "`codes`: expected at least 64 bytes, found 63"),
        (dense, [128, 64, 1, 2, 2, 2], 1, "`spread.range`: expected at least 2 f16, found 1"),
        (dense, [128, 64, 2, 1, 2, 2], 1, "`spread.zero`: expected at least 2 f16, found 1"),
        (dense, [128, 64, 2, 2, 1, 2], 1, "`outliers.channel`: expected at least 2 u8, found 1"),
        (dense, [128, 64, 2, 2, 2, 1], 1, "`outliers.value`: expected at least 2 f16, found 1"),
        (dense, good, 9, "`outliers.slots`: expected at most 8, found 9"),
        (Matrix::dense(2, 257), good, 1, "`x`: expected at least 514 elements, found 128"),
        (Matrix::dense(1, 300), [300, 150, 1, 1, 1, 1], 1, "`shape.cols`: expected at most 256, found 300"),
        (Matrix { row_stride: 63, ..dense }, good, 1, "`shape.row_stride`: expected at least the 64 columns, found 63"),
    ];
    for (shape, lengths, slots, expected) in table {
        let mut codes = Fenced::new(&gpu, &untouched::<u8>(256), 0);
        let (mut range, mut zero) =
            (Fenced::new(&gpu, &untouched::<f16>(4), 0), Fenced::new(&gpu, &untouched::<f16>(4), 0));
        let (mut channel, mut value) =
            (Fenced::new(&gpu, &untouched::<u8>(4), 0), Fenced::new(&gpu, &untouched::<f16>(4), 0));
        let mut spread = Spread::Row { range: range.part_mut(lengths[2]), zero: zero.part_mut(lengths[3]) };
        let mut outliers = Outliers { slots, channel: channel.part_mut(lengths[4]), value: value.part_mut(lengths[5]) };
        let (x, codes_part) = (&x.part(lengths[0]), &mut codes.part_mut(lengths[1]));
        let (book, outliers) = (book(4), Some(&mut outliers));
        let error = ops::codebook::quantize(
            kernels,
            stream,
            &book,
            &Transform::NONE,
            shape,
            x,
            codes_part,
            &mut spread,
            outliers,
        );
        assert_eq!(error.unwrap_err().to_string(), format!("codebook::quantize: {expected}"));
        assert!(is_untouched(&codes.read(&gpu)) && is_untouched(&range.read(&gpu)) && is_untouched(&zero.read(&gpu)));
        assert!(is_untouched(&channel.read(&gpu)) && is_untouched(&value.read(&gpu)));
    }
    // heads, ranges, zeros, bytes of codes, elements, the error
    let table = [
        (0, 128, 128, 64, 128, "`spread.heads`: expected a divisor of the 2 rows, at most 65535, found 0"),
        (3, 128, 128, 64, 128, "`spread.heads`: expected a divisor of the 2 rows, at most 65535, found 3"),
        (2, 127, 128, 64, 128, "`spread.range`: expected at least 128 f16, found 127"),
        (2, 128, 127, 64, 128, "`spread.zero`: expected at least 128 f16, found 127"),
        (2, 128, 128, 63, 128, "`codes`: expected at least 64 bytes, found 63"),
        (2, 128, 128, 64, 127, "`out`: expected at least 128 elements, found 127"),
    ];
    let codes = Fenced::new(&gpu, &[0u8; 64], 0);
    for (heads, ranges, zeros, bytes, elements, expected) in table {
        let mut y = Fenced::new(&gpu, &untouched::<f16>(128), 0);
        let spread = Spread::Channel { heads, range: given.part(ranges), zero: given.part(zeros) };
        let (codes, out) = (&codes.part(bytes), &mut y.part_mut(elements));
        let error = ops::codebook::dequantize(kernels, stream, &book(4), dense, codes, &spread, None, out);
        assert_eq!(error.unwrap_err().to_string(), format!("codebook::dequantize: {expected}"));
        assert!(is_untouched(&y.read(&gpu)));
    }
}
