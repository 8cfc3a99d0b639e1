//! The layout is what its documentation says, read by a decoder that knows nothing else.

use lowbit::format::ByteCode;
use lowbit::weights::{ByteAxis, ByteLayout, ByteScales, PackedBytes};

use super::world::*;

#[test]
fn codes_lie_in_the_order_of_fragments() {
    let mut rng = rng(6);
    let (n, k) = (40, 200);
    let codes = random_codes(&mut rng, ByteCode::Int8, n * k);
    let scales: Vec<f32> = (0..n).map(|n| n as f32 + 0.5).collect();
    let packed = PackedBytes::from_codes(n, k, ByteCode::Int8, &codes, ByteScales::Output(&scales)).unwrap();
    let bytes = packed.bytes();
    // 3 row tiles of 7 tiles; scales at the next multiple of 256, then sums.
    let (scales_at, sums_at) = (3 * 7 * 512, 3 * 7 * 512 + 256);
    assert_eq!(bytes.len(), sums_at + 3 * 64);
    let mut seen = vec![false; 16 * 3 * 32 * 7];
    for (at, &byte) in bytes[..scales_at].iter().enumerate() {
        let (tile, lane, i, e) = (at / 512, at / 16 % 32, at / 4 % 4, at % 4);
        let (g, t) = (lane / 4, lane % 4);
        let (output, at_k) = (16 * (tile / 7) + g + 8 * (i & 1), 32 * (tile % 7) + 8 * t + 4 * (i >> 1) + e);
        assert!(!std::mem::replace(&mut seen[output * 32 * 7 + at_k], true));
        let expected = if output < n && at_k < k { codes[output * k + at_k] } else { 0 };
        assert_eq!(byte, expected, "output {output} k {at_k}");
    }
    for output in 0..48 {
        let word = |at: usize| u32::from_le_bytes(bytes[at + 4 * output..][..4].try_into().unwrap());
        let (scale, sum) = if output < n {
            (scales[output], codes[output * k..][..k].iter().map(|&c| i32::from(c as i8)).sum())
        } else {
            (0.0, 0)
        };
        assert_eq!((f32::from_bits(word(scales_at)), word(sums_at) as i32), (scale, sum), "output {output}");
    }
}

#[test]
fn what_cannot_be_packed_is_named() {
    let int8 = |n, k, codes: &[u8], scales| {
        PackedBytes::from_codes(n, k, ByteCode::Int8, codes, scales).unwrap_err().to_string()
    };
    let one = ByteScales::Tensor(1.0);
    let layout = "weights::ByteLayout";
    assert_eq!(int8(0, 1, &[], one), format!("{layout}: `n`: expected 1 to 16777216, found 0"));
    assert_eq!(int8(1, 1 << 17, &[], one), format!("{layout}: `k`: expected 1 to 131071, found 131072"));
    let op = "weights::PackedBytes::from_codes";
    assert_eq!(int8(2, 2, &[0; 3], one), format!("{op}: `codes`: expected 4 elements, found 3"));
    assert_eq!(
        int8(2, 1, &[0; 2], ByteScales::Output(&[1.0])),
        format!("{op}: `scales`: expected 2 elements, found 1")
    );
    let infinite = ByteScales::Tensor(f32::INFINITY);
    assert_eq!(int8(1, 1, &[0], infinite), format!("{op}: `scales`: expected finite numbers, found inf at 0"));
    let blocks = ByteScales::Block(&[1.0]);
    assert!(int8(1, 1, &[0], blocks).starts_with("weights::ByteLayout: int8 in blocks of 128 x 128 is not supported"));
    let e4m3 = PackedBytes::from_codes(1, 2, ByteCode::E4m3, &[0, 0xFF], one).unwrap_err().to_string();
    assert_eq!(e4m3, format!("{op}: `codes`: expected no NaN, found 0xff at 1"));
    let nan = PackedBytes::quantize(1, 1, ByteCode::E4m3, ByteAxis::Block, &[f32::NAN]).unwrap_err().to_string();
    assert_eq!(nan, "weights::PackedBytes::quantize: `weights`: expected finite numbers, found NaN at 0");
    let layout = ByteLayout::new(3, 5, ByteCode::E4m3, ByteAxis::Block).unwrap();
    let error = PackedBytes::from_bytes(layout, vec![0; 3]).unwrap_err().to_string();
    assert_eq!(error, "weights::PackedBytes::from_bytes: `bytes`: expected 768 bytes, found 3");
}
