//! The reference of casts and quantization equals independent golden vectors, bit for bit.

#[allow(dead_code)] // Each test file uses a part of it.
#[path = "common/golden.rs"]
mod golden;

use golden::Golden;
use half::f16;
use lowbit::format::{Axis, Code, Element, Fp8, Matrix, Scheme, pack, unpack};
use lowbit::reference;
use scales::OwnedScales;

#[path = "common/scales.rs"]
mod scales;

/// Codes one per byte, scales and minima as f32, block scales, and the dequantized values.
struct Coded {
    codes: Vec<u8>,
    scale: Vec<f32>,
    min: Vec<f32>,
    block: Vec<u8>,
    y: Vec<f32>,
}

fn code<E: Element>(scheme: Scheme, shape: Matrix, x: &[E]) -> Coded {
    let row_bytes = scheme.row_bytes(shape.cols);
    let mut packed = vec![0xAA; shape.rows * row_bytes];
    let mut y = vec![f32::NAN; shape.span()];
    let mut scales = OwnedScales::new(scheme, shape);
    reference::quantize::quantize(scheme, shape, x, &mut packed, scales.view_mut()).unwrap();
    reference::quantize::dequantize(scheme, shape, &packed, scales.view(), &mut y).unwrap();
    let bits = scheme.code.bits();
    let codes = (0..shape.rows * shape.cols)
        .map(|i| unpack(&packed[i / shape.cols * row_bytes..], bits, i % shape.cols))
        .map(|c| if scheme.code == Code::Int4 { ((c << 4) as i8 >> 4) as u8 } else { c })
        .collect();
    let widen = |x: &[f16]| x.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
    let scale = if scheme.code.asymmetric() { widen(&scales.f16) } else { scales.f32 };
    Coded { codes, scale, min: widen(&scales.min), block: scales.block, y }
}

fn bits(x: &[f32]) -> Vec<u32> {
    // All NaN are one: their payload is not part of any definition.
    x.iter().map(|v| if v.is_nan() { 0x7FC0_0000 } else { v.to_bits() }).collect()
}

/// Compares one golden scheme; `scale`s of the file are f32 or f16 as the code's are.
fn check<E: Element>(file: &Golden, name: &str, scheme: Scheme, shape: Matrix, x: &[E]) {
    let coded = code(scheme, shape, x);
    let dense: Vec<f32> =
        (0..shape.rows).flat_map(|r| coded.y[r * shape.row_stride..][..shape.cols].to_vec()).collect();
    assert_eq!(coded.codes, file.bytes(&format!("{name}.q")), "{name}.q");
    if scheme.code.asymmetric() {
        let widen = |part: &str| file.f16(&format!("{name}.{part}")).iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        assert_eq!(bits(&coded.scale), bits(&widen("scale")), "{name}.scale");
        assert_eq!(bits(&coded.min), bits(&widen("min")), "{name}.min");
    } else {
        assert_eq!(bits(&coded.scale), bits(&file.f32(&format!("{name}.scale"))), "{name}.scale");
    }
    assert_eq!(bits(&dense), bits(&file.f32(&format!("{name}.y"))), "{name}.y");
}

const E4M3: Code = Code::Fp8(Fp8::E4m3);
const E5M2: Code = Code::Fp8(Fp8::E5m2);

#[test]
fn casts_of_every_16_bit_pattern() {
    let file = Golden::open("fp8");
    for format in [Fp8::E4m3, Fp8::E5m2] {
        let name = format.name();
        let mut codes = vec![0; 1 << 16];
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        reference::cast::to_fp8(format, &all, &mut codes).unwrap();
        assert_eq!(codes, file.bytes(&format!("f16_to_{name}")));
        let all: Vec<half::bf16> = (0..=u16::MAX).map(half::bf16::from_bits).collect();
        reference::cast::to_fp8(format, &all, &mut codes).unwrap();
        assert_eq!(codes, file.bytes(&format!("bf16_to_{name}")));
        let probe = file.f32(&format!("probe_{name}"));
        let mut codes = vec![0; probe.len()];
        reference::cast::to_fp8(format, &probe, &mut codes).unwrap();
        assert_eq!(codes, file.bytes(&format!("probe_{name}_code")));
        let mut decoded = vec![0f32; 256];
        reference::cast::from_fp8(format, &(0..=255).collect::<Vec<u8>>(), &mut decoded).unwrap();
        assert_eq!(bits(&decoded), bits(&file.f32(&format!("{name}_to_f32"))));
    }
}

#[test]
fn every_axis_on_real_and_synthetic_tensors() {
    for name in ["quantize_real_k", "quantize_real_v", "quantize_synthetic"] {
        let file = Golden::open(name);
        let (x, shape) = (file.f16("x"), file.shape("x"));
        let (tokens, heads, dim) = (shape[0], shape[1], shape[2]);
        let by_token = Matrix::dense(tokens * heads, dim);
        for (label, code) in [("int8", Code::Int8), ("e4m3", E4M3), ("e5m2", E5M2)] {
            let scheme = |axis| Scheme { code, axis };
            check(&file, &format!("{label}_tensor"), scheme(Axis::Tensor), by_token, &x);
            check(&file, &format!("{label}_token"), scheme(Axis::Row), by_token, &x);
            check(&file, &format!("{label}_channel"), scheme(Axis::Column), Matrix::dense(tokens, heads * dim), &x);
            head_scales(&file, &format!("{label}_head"), scheme(Axis::Tensor), &x, (tokens, heads, dim));
        }
        check(&file, "int4_sym_group32", Scheme { code: Code::Int4, axis: Axis::Group(32) }, by_token, &x);
        for (bits, code) in [(2, Code::Uint2), (4, Code::Uint4)] {
            for group in [32, 64] {
                let scheme = Scheme { code, axis: Axis::Group(group) };
                check(&file, &format!("int{bits}_group{group}"), scheme, by_token, &x);
            }
        }
        let channels = Matrix::dense(tokens, heads * dim);
        for (bits, code) in [(2, Code::Uint2), (4, Code::Uint4), (8, Code::Uint8)] {
            let scheme = Scheme { code, axis: Axis::TokenGroup(32) };
            check(&file, &format!("kivi_k{bits}_g32"), scheme, channels, &x);
        }
        nvfp4(&file, by_token, &x);
    }
}

fn nvfp4(file: &Golden, shape: Matrix, x: &[f16]) {
    let coded = code(Scheme { code: Code::Nvfp4, axis: Axis::Group(16) }, shape, x);
    let mut packed = vec![0; shape.rows * shape.cols / 2];
    coded.codes.iter().enumerate().for_each(|(i, &code)| pack(&mut packed, 4, i, code));
    assert_eq!(packed, file.bytes("nvfp4.q"));
    assert_eq!(coded.block, file.bytes("nvfp4.block_scale"));
    assert_eq!(bits(&coded.scale), bits(&file.f32("nvfp4.tensor_scale")));
    assert_eq!(bits(&coded.y), bits(&file.f32("nvfp4.y")));
}

#[test]
fn microscaling_blocks() {
    let file = Golden::open("mx");
    let (x, shape) = (file.f16("x"), file.shape("x"));
    for format in [Code::Mxfp4, Code::Mxfp8(Fp8::E4m3), Code::Mxfp8(Fp8::E5m2)] {
        let coded = code(Scheme { code: format, axis: Axis::Group(32) }, Matrix::dense(shape[0], shape[1]), &x);
        let name = format.name();
        assert_eq!(coded.block, file.bytes(&format!("{name}.scale")), "{name}.scale");
        assert_eq!(coded.codes, file.bytes(&format!("{name}.q")), "{name}.q");
        assert_eq!(bits(&coded.y), bits(&file.f32(&format!("{name}.y"))), "{name}.y");
    }
}

/// One scale per head is a scale per tensor of the head's strided rows.
fn head_scales(file: &Golden, name: &str, scheme: Scheme, x: &[f16], (tokens, heads, dim): (usize, usize, usize)) {
    let (q, scale) = (file.bytes(&format!("{name}.q")), file.f32(&format!("{name}.scale")));
    for head in 0..heads {
        let shape = Matrix { rows: tokens, cols: dim, row_stride: heads * dim };
        let coded = code(scheme, shape, &x[head * dim..]);
        let expected: Vec<u8> = (0..tokens).flat_map(|t| q[(t * heads + head) * dim..][..dim].to_vec()).collect();
        assert_eq!(coded.codes, expected, "{name}.q of head {head}");
        assert_eq!(coded.scale[0].to_bits(), scale[head].to_bits(), "{name}.scale of head {head}");
    }
}

#[test]
fn bf16_inputs_of_any_magnitude() {
    let file = Golden::open("quantize_bf16");
    for set in ["real", "wide"] {
        let name = format!("{set}.x");
        let (x, shape) = (file.bf16(&name), file.shape(&name));
        let (tokens, heads, dim) = (shape[0], shape[1], shape[2]);
        let by_token = Matrix::dense(tokens * heads, dim);
        let scheme = |code, axis| Scheme { code, axis };
        check(&file, &format!("{set}.int8_token"), scheme(Code::Int8, Axis::Row), by_token, &x);
        check(&file, &format!("{set}.e4m3_token"), scheme(E4M3, Axis::Row), by_token, &x);
        check(&file, &format!("{set}.int4_group32"), scheme(Code::Uint4, Axis::Group(32)), by_token, &x);
        let channels = Matrix::dense(tokens, heads * dim);
        check(&file, &format!("{set}.int8_channel"), scheme(Code::Int8, Axis::Column), channels, &x);
        check(&file, &format!("{set}.kivi_k4_g32"), scheme(Code::Uint4, Axis::TokenGroup(32)), channels, &x);
    }
}

#[test]
fn rows_of_exact_halves_subnormals_and_special_values() {
    let file = Golden::open("ties");
    let schemes = [
        ("int8", Code::Int8),
        ("int4_sym", Code::Int4),
        ("int2_asym", Code::Uint2),
        ("int4_asym", Code::Uint4),
        ("int8_asym", Code::Uint8),
        ("e4m3", E4M3),
        ("e5m2", E5M2),
    ];
    let names = file.names();
    let mut checked = 0;
    for set in names.iter().filter_map(|n| n.strip_suffix(".x")) {
        let (x, shape) = (file.f16(&format!("{set}.x")), file.shape(&format!("{set}.x")));
        for (label, code) in schemes {
            if names.contains(&format!("{set}.{label}.q")) {
                let scheme = Scheme { code, axis: Axis::Row };
                check(&file, &format!("{set}.{label}"), scheme, Matrix::dense(shape[0], shape[1]), &x);
                checked += 1;
            }
        }
    }
    assert!(checked >= 50, "only {checked} sets were found");
    let x = file.f16("policy.x");
    for format in [Fp8::E4m3, Fp8::E5m2] {
        let mut codes = vec![0; x.len()];
        reference::cast::to_fp8(format, &x, &mut codes).unwrap();
        assert_eq!(codes, file.bytes(&format!("policy.{}_cast.q", format.name())));
    }
}
