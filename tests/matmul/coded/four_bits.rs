//! 4-bit weights by 8-bit activations.

use half::f16;
use lowbit::Error;
use lowbit::format::{ByteCode, CodedScale, CodedZero};
use lowbit::ops::matmul;
use lowbit::reference::matmul::Product;
use lowbit::weights::{Packed, PackedLayout, PlainWeights, WeightFormat, ZeroPoint, Zeros};

use super::world::*;
use crate::golden::Golden;
use crate::world::{KINDS_OF_4_BITS, Kind, random_weights};

const CODES: [(ByteCode, &str); 2] = [(ByteCode::Int8, "int8"), (ByteCode::E4m3, "e4m3")];

#[test]
fn golden_products() {
    let world = world();
    let golden = Golden::open("matmul_w4a8");
    for (k, n) in [(64, 24), (256, 96)] {
        let name = format!("k{k}_n{n}");
        let zeros = Zeros::Codes(golden.bytes(&format!("{name}.zeros")));
        let (codes, scales) = (golden.bytes(&format!("{name}.codes")), golden.f16(&format!("{name}.scales")));
        let weights = Packed::from_plain(&PlainWeights { n, k, group: 64, codes, scales, zeros }).unwrap();
        for (kind, (code, called)) in
            ["gauss", "abs", "plus3"].into_iter().flat_map(|kind| CODES.map(|code| (kind, code)))
        {
            let part = |part: &str| format!("{name}.{kind}.{called}.{part}");
            let codes = golden.bytes(&part("q"));
            let x = HostRows { code, codes, stride: k, scale: CodedScale::Row(golden.f32(&part("scale"))), zero: None };
            let call = Call::<f32>::new(&weights, &x, 8);
            let expected = Product { y: golden.f64(&part("y")), magnitude: call.reference().magnitude };
            in_every_mode(|mode| {
                assert_close(&call.run(world).unwrap(), &expected, &format!("{name} {kind} {called} {mode}"));
                let f16 = Call::<f16>::new(&weights, &x, 8).run(world).unwrap();
                assert_close(&f16, &expected, &format!("{name} {kind} {called} {mode}"));
            });
        }
    }
}

/// Every kernel of the table, with k that ends in every part of a block and rows in every kernel and grid.
#[test]
fn every_kernel_is_its_definition() {
    let world = world();
    let mut rng = rng(8);
    let mut rows = [1, 9, 3, 17, 8, 33, 32].into_iter().cycle();
    for k in [64, 160, 616] {
        for (kind, group) in [Kind::Symmetric, Kind::Zeros, Kind::ZerosFromOne]
            .into_iter()
            .flat_map(|kind| [32, 64, 128, 256, k].map(|g| (kind, g)))
        {
            let weights = random_weights(&mut rng, kind, 40, k, group);
            for (code, positive) in CODES.into_iter().flat_map(|code| ["gauss", "abs"].map(|kind| (code.0, kind))) {
                let rows = rows.next().unwrap();
                let x = random_rows(&mut rng, code, positive, rows, k);
                in_every_mode(|mode| {
                    let case = format!("{kind:?} k {k} group {group} {code:?} rows {rows} {positive} {mode}");
                    Call::<f32>::new(&weights, &x, rows).check(world, &case);
                });
            }
        }
    }
}

/// Long sums, many outputs, k split over blocks, and codes at the ends of their ranges.
#[test]
fn large_shapes_are_their_definition() {
    let world = world();
    let mut rng = rng(9);
    for (n, k, rows) in [(8, 4128, 9), (4104, 96, 2), (16, 8192, 33), (24, 14336, 1)] {
        for (kind, group) in [(Kind::Zeros, 128), (Kind::ZerosFromOne, k)] {
            let weights = random_weights(&mut rng, kind, n, k, group);
            for (code, _) in CODES {
                let x = random_rows(&mut rng, code, "abs", rows, k);
                Call::<f32>::new(&weights, &x, rows).check(world, &format!("{kind:?} {n} x {k} {code:?}"));
            }
        }
    }
    let (n, k) = (16, 512);
    for (code, zero) in [(15, 1), (0, 16)] {
        let zeros = Zeros::Codes(vec![zero; n]);
        let scales = vec![f16::ONE; n];
        let weights =
            Packed::from_plain(&PlainWeights { n, k, group: k, codes: vec![code; n * k], scales, zeros }).unwrap();
        let scale = CodedScale::Tensor(vec![1.0]);
        let x = HostRows { code: ByteCode::Int8, codes: vec![0x80; k], stride: k, scale, zero: None };
        let expected = (f32::from(code) - f32::from(zero)) * -128.0 * k as f32;
        assert_eq!(Call::<f32>::new(&weights, &x, 1).run(world).unwrap(), vec![expected; n]);
    }
}

/// A NaN of E4M3 stays in its row, on every image.
#[test]
fn nan_stays_in_its_row() {
    let mut rng = rng(10);
    let (n, k) = (24, 200);
    let weights = random_weights(&mut rng, Kind::Zeros, n, k, 64);
    let mut x = random_rows(&mut rng, ByteCode::E4m3, "gauss", 12, k);
    x.codes[3 * k + 199] = 0xFF;
    x.codes[9 * k] = 0x7F;
    for model in ["sm_80", "sm_89", "sm_90"] {
        nvcuda::client::set_model(model);
        let found = Call::<f32>::new(&weights, &x, 12).run(&crate::world::world()).unwrap();
        for (row, found) in found.chunks(n).enumerate() {
            assert!(found.iter().all(|y| y.is_nan() == (row == 3 || row == 9)), "{model} row {row}");
        }
    }
    nvcuda::client::reset_modes();
}

/// `w4a8_supported` is true if and only if the call is not refused as unsupported.
#[test]
fn supported_says_what_is() {
    let world = world();
    let mut rng = rng(11);
    for (kind, group) in KINDS_OF_4_BITS.into_iter().flat_map(|kind| [32, 128, 256].map(|group| (kind, group))) {
        let weights = random_weights(&mut rng, kind, 16, 256, group);
        for (code, _) in CODES {
            let x = random_rows(&mut rng, code, "gauss", 1, 256);
            let result = Call::<f32>::new(&weights, &x, 1).run(world);
            let refused = matches!(result, Err(Error::Unsupported { .. }));
            assert_eq!(matmul::w4a8_supported(weights.layout(), code), !refused, "{kind:?} {group} {code:?}");
            assert!(result.is_ok() || refused, "{result:?}");
        }
    }
    let weights = random_weights(&mut rng, Kind::Symmetric, 16, 256, 32);
    let x = random_rows(&mut rng, ByteCode::Int8, "gauss", 1, 256);
    let refusal = |x: HostRows| Call::<f32>::new(&weights, &x, 1).run(world).unwrap_err().to_string();
    let supported = "is not supported; supported: a scale per tensor or per row, no zero point";
    let grouped = HostRows { scale: CodedScale::Group(vec![1.0; 2]), ..x.clone() };
    assert_eq!(refusal(grouped), format!("matmul::w4a8: 1x128 scales of x {supported}"));
    let zero = HostRows { zero: Some(CodedZero::Tensor(vec![1])), ..x };
    assert_eq!(refusal(zero), format!("matmul::w4a8: a zero point of x {supported}"));
    let layout = PackedLayout::new(16, 64, 32, WeightFormat::Int8).unwrap();
    assert!(!matmul::w4a8_supported(&layout, ByteCode::Int8));
    let min = PackedLayout::new(16, 64, 32, WeightFormat::Int4(ZeroPoint::Min)).unwrap();
    assert!(!matmul::w4a8_supported(&min, ByteCode::E4m3));
}
