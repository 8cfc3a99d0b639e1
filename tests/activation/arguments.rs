//! Bad input is named, and nothing is written.

use half::f16;
use lowbit::format::Code;
use lowbit::format::activation::{Gate, GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows};
use lowbit::ops;

use crate::world::*;

/// Lengths and strides of a call on 2 x 32.
#[derive(Clone, Copy)]
struct Lengths {
    rows: usize,
    cols: usize,
    x: usize,
    x_stride: usize,
    other: usize,
    other_stride: usize,
    weight: usize,
    smooth: usize,
    row: usize,
    codes: usize,
    scale: usize,
    code: Code,
    group: bool,
    output: bool,
}

const GOOD: Lengths = Lengths {
    rows: 2,
    cols: 32,
    x: 64,
    x_stride: 32,
    other: 64,
    other_stride: 32,
    weight: 32,
    smooth: 32,
    row: 64,
    codes: 64,
    scale: 2,
    code: Code::Int8,
    group: false,
    output: true,
};

/// The errors of both operations for these lengths; outputs and residual stay as they are when there is one.
fn run(l: Lengths) -> [Option<String>; 2] {
    let World { stream, kernels } = world();
    [false, true].map(|gated| {
        let ones = stream.clone_htod(&[f16::ONE; 64]).unwrap();
        let smooth = stream.clone_htod(&[1f32; 32]).unwrap();
        let mut other = stream.clone_htod(&[f16::ONE; 64]).unwrap();
        let mut row = stream.clone_htod(&[f16::from_f32(7.0); 64]).unwrap();
        let mut codes = stream.clone_htod(&[FENCE; 64]).unwrap();
        let mut scale = stream.clone_htod(&[9f32; 2]).unwrap();
        let scale_view = scale.slice_mut(..l.scale);
        let scale_of = if l.group { RowScale::Group(scale_view) } else { RowScale::Token(scale_view) };
        let coded = RowCodes { code: l.code, codes: codes.slice_mut(..l.codes), scale: scale_of };
        let out = match l.output {
            true => RowOutputs { row: Some(row.slice_mut(..l.row)), coded: Some(coded) },
            false => RowOutputs { row: None, coded: None },
        };
        let (x, smooth) = (ones.slice(..l.x), smooth.slice(..l.smooth));
        let x = Rows { data: &x, row_stride: l.x_stride };
        let result = if gated {
            let up = other.slice(..l.other);
            let up = Rows { data: &up, row_stride: l.other_stride };
            let input = GateMul { function: Gate::Silu, gate: x, up, smooth: Some(&smooth) };
            ops::activation::gate_mul_quantize(&kernels, &stream, l.rows, l.cols, input, out)
        } else {
            let weight = ones.slice(..l.weight);
            let residual = Some(Rows { data: other.slice_mut(..l.other), row_stride: l.other_stride });
            let norm = RmsNorm { x, residual, weight: &weight, smooth: Some(&smooth), epsilon: 1e-5 };
            ops::activation::rms_norm_quantize(&kernels, &stream, l.rows, l.cols, norm, out)
        };
        let error = result.err()?;
        assert!(stream.clone_dtoh(&other).unwrap().iter().all(|&x| x == f16::ONE), "{error}");
        assert!(stream.clone_dtoh(&row).unwrap().iter().all(|x| x.to_f32() == 7.0), "{error}");
        assert!(stream.clone_dtoh(&codes).unwrap().iter().all(|&c| c == FENCE), "{error}");
        assert!(stream.clone_dtoh(&scale).unwrap().iter().all(|&s| s == 9.0), "{error}");
        Some(error.to_string())
    })
}

#[test]
fn wrong_arguments_are_named_and_nothing_is_written() {
    assert_eq!(run(GOOD), [None, None]);
    // What is spoiled, the norm's complaint, the gate's.
    let same = |text: &'static str| (text, text);
    let table = [
        (
            Lengths { x: 63, ..GOOD },
            ("`x`: expected at least 64 elements, found 63", "`gate`: expected at least 64 elements, found 63"),
        ),
        (
            Lengths { x_stride: 31, ..GOOD },
            (
                "`x.row_stride`: expected at least the 32 columns, found 31",
                "`gate.row_stride`: expected at least the 32 columns, found 31",
            ),
        ),
        (
            Lengths { other: 63, ..GOOD },
            ("`residual`: expected at least 64 elements, found 63", "`up`: expected at least 64 elements, found 63"),
        ),
        (
            Lengths { other_stride: 3, ..GOOD },
            (
                "`residual.row_stride`: expected at least the 32 columns, found 3",
                "`up.row_stride`: expected at least the 32 columns, found 3",
            ),
        ),
        (Lengths { weight: 31, ..GOOD }, ("`weight`: expected at least 32 elements, found 31", "")),
        (Lengths { smooth: 31, ..GOOD }, same("`smooth`: expected at least 32 elements, found 31")),
        (Lengths { row: 63, ..GOOD }, same("`row`: expected at least 64 elements, found 63")),
        (Lengths { codes: 63, ..GOOD }, same("`codes`: expected at least 64 elements, found 63")),
        (Lengths { scale: 1, ..GOOD }, same("`scale`: expected at least 2 elements, found 1")),
        (Lengths { scale: 1, group: true, ..GOOD }, same("`scale`: expected at least 2 elements, found 1")),
        (Lengths { code: Code::Int4, ..GOOD }, same("int4 is not supported; supported: int8, e4m3")),
        (Lengths { output: false, ..GOOD }, same("`outputs`: expected a row, codes, or both, found neither")),
        (Lengths { cols: 49_153, ..GOOD }, same("`cols`: expected at most 49152, found 49153")),
        (Lengths { rows: 1 << 31, ..GOOD }, same("`rows`: expected at most 2147483647, found 2147483648")),
    ];
    for (lengths, (norm, gate)) in table {
        let [found_norm, found_gate] = run(lengths);
        assert_eq!(found_norm.unwrap(), format!("activation::rms_norm_quantize: {norm}"));
        let expected = (!gate.is_empty()).then(|| format!("activation::gate_mul_quantize: {gate}"));
        assert_eq!(found_gate, expected);
    }
}
