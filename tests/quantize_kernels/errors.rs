//! Bad input is named, and nothing is written.

use half::f16;
use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::{Axis, Code, Fp8, Matrix, Options, Rounding, Scales, Scheme};
use lowbit::ops;

use crate::world::{Device, FENCE};

const SUPPORTED: &str = "supported: int8, int4, int2, e4m3, e5m2, uint8, uint4, uint2 per Tensor, Row, Column, Group, \
                         TokenGroup; nvfp4 per Group(16); mxfp4, mxfp8_e4m3, mxfp8_e5m2 per Group(32)";
const ROW: Scheme = Scheme { code: Code::Int8, axis: Axis::Row };
const DENSE: Matrix = Matrix::dense(2, 32);

/// Which scales come, and how many.
#[derive(Clone, Copy)]
enum Given {
    F32(usize),
    F16(usize, usize),
    Blocks(usize, usize),
    Exponents(usize),
}

/// A call; the one that the others differ from is right.
#[derive(Clone, Copy)]
struct Call {
    scheme: Scheme,
    shape: Matrix,
    elements: usize,
    bytes: usize,
    scales: Given,
}

const GOOD: Call = Call { scheme: ROW, shape: DENSE, elements: 64, bytes: 64, scales: Given::F32(2) };

fn scheme(code: Code, axis: Axis) -> Scheme {
    Scheme { code, axis }
}

/// Refusals of every op alike, with the name of the real numbers' argument for `{x}`.
fn shared() -> Vec<(Call, String)> {
    let int8 = |axis| scheme(Code::Int8, axis);
    let group = |size| Call { scheme: int8(Axis::Group(size)), scales: Given::F32(64), ..GOOD };
    let tokens = |size, rows| Call {
        scheme: int8(Axis::TokenGroup(size)),
        shape: Matrix::dense(rows, 4),
        scales: Given::F32(64),
        ..GOOD
    };
    let code = |code, axis| Call { scheme: scheme(code, axis), ..GOOD };
    let e4m3 = Code::Mxfp8(Fp8::E4m3);
    let text = |call, text: &str| (call, text.to_string());
    vec![
        text(Call { elements: 63, ..GOOD }, "`{x}`: expected at least 64 elements, found 63"),
        text(Call { bytes: 63, ..GOOD }, "`codes`: expected at least 64 bytes, found 63"),
        text(Call { scales: Given::F32(1), ..GOOD }, "`scales`: expected at least 2 f32, found 1"),
        text(
            Call { scheme: int8(Axis::Column), scales: Given::F32(31), ..GOOD },
            "`scales`: expected at least 32 f32, found 31",
        ),
        text(
            Call { shape: Matrix::dense(2, 30), ..group(32) },
            "`shape.cols`: expected a multiple of the group of 32, found 30",
        ),
        text(group(12), "`scheme.axis`: expected a group of 8 to 1024 elements, a multiple of 8, found 12"),
        text(group(0), "`scheme.axis`: expected a group of 8 to 1024 elements, a multiple of 8, found 0"),
        text(group(2048), "`scheme.axis`: expected a group of 8 to 1024 elements, a multiple of 8, found 2048"),
        text(tokens(12, 12), "`scheme.axis`: expected a group of 8 to 256 tokens, a multiple of 8, found 12"),
        text(tokens(0, 8), "`scheme.axis`: expected a group of 8 to 256 tokens, a multiple of 8, found 0"),
        text(tokens(264, 8), "`scheme.axis`: expected a group of 8 to 256 tokens, a multiple of 8, found 264"),
        text(tokens(8, 12), "`shape.rows`: expected a multiple of the group of 8, found 12"),
        text(
            Call { shape: Matrix { rows: 2, cols: 32, row_stride: 31 }, ..GOOD },
            "`shape.row_stride`: expected at least the 32 columns, found 31",
        ),
        text(
            Call { shape: Matrix::dense(1 << 40, 1), ..GOOD },
            "`shape`: expected at most 2147483647 rows and columns, 2^37 elements, found Matrix { rows: 1099511627776, \
             cols: 1, row_stride: 1 }",
        ),
        text(code(Code::Uint4, Axis::Row), "`scales`: expected f16 scales and minima for uint4, found f32 scales"),
        text(
            Call { scales: Given::F16(2, 1), ..code(Code::Uint4, Axis::Row) },
            "`scales`: expected at least 2 f16 scales and minima, found 2 and 1",
        ),
        text(
            Call { scales: Given::F16(2, 2), ..GOOD },
            "`scales`: expected f32 scales for int8, found f16 scales and minima",
        ),
        text(
            Call { scales: Given::Blocks(3, 1), ..code(Code::Nvfp4, Axis::Group(16)) },
            "`scales`: expected at least 4 block scales and 1 f32, found 3 and 1",
        ),
        text(
            Call { scales: Given::Blocks(4, 0), ..code(Code::Nvfp4, Axis::Group(16)) },
            "`scales`: expected at least 4 block scales and 1 f32, found 4 and 0",
        ),
        text(
            Call { scales: Given::Exponents(1), ..code(Code::Mxfp4, Axis::Group(32)) },
            "`scales`: expected at least 2 block scales, found 1",
        ),
        text(code(e4m3, Axis::Group(32)), "`scales`: expected E8M0 block scales for mxfp8_e4m3, found f32 scales"),
        (code(Code::Nvfp4, Axis::Group(32)), format!("nvfp4 per Group(32) is not supported; {SUPPORTED}")),
        (code(Code::Mxfp4, Axis::Row), format!("mxfp4 per Row is not supported; {SUPPORTED}")),
    ]
}

/// Buffers of 64 of everything, and whether a call has left them as they were.
struct Buffers {
    x: CudaSlice<f32>,
    codes: CudaSlice<u8>,
    f32: CudaSlice<f32>,
    f16: [CudaSlice<f16>; 2],
    block: CudaSlice<u8>,
}

impl Buffers {
    fn new(device: &Device) -> Self {
        let stream = &device.stream;
        let halves = || stream.clone_htod(&[f16::from_f32(9.0); 64]).unwrap();
        Self {
            x: stream.clone_htod(&[7f32; 64]).unwrap(),
            codes: stream.clone_htod(&[FENCE; 64]).unwrap(),
            f32: stream.clone_htod(&[9f32; 64]).unwrap(),
            f16: [halves(), halves()],
            block: stream.clone_htod(&[FENCE; 64]).unwrap(),
        }
    }

    fn untouched(&self, device: &Device) -> bool {
        let stream = &device.stream;
        let bytes = |slice| stream.clone_dtoh(slice).unwrap().iter().all(|&b| b == FENCE);
        let halves = |slice| stream.clone_dtoh(slice).unwrap().iter().all(|v: &f16| v.to_f32() == 9.0);
        bytes(&self.codes)
            && bytes(&self.block)
            && halves(&self.f16[0])
            && halves(&self.f16[1])
            && stream.clone_dtoh(&self.f32).unwrap().iter().all(|&v| v == 9.0)
            && stream.clone_dtoh(&self.x).unwrap().iter().all(|&v| v == 7.0)
    }

    fn read(&self, given: Given) -> ops::quantize::DeviceScales<'_> {
        match given {
            Given::F32(n) => Scales::Symmetric(self.f32.slice(..n)),
            Given::F16(n, m) => Scales::Asymmetric { scale: self.f16[0].slice(..n), min: self.f16[1].slice(..m) },
            Given::Blocks(n, m) => Scales::Blocks { block: self.block.slice(..n), tensor: self.f32.slice(..m) },
            Given::Exponents(n) => Scales::Exponents(self.block.slice(..n)),
        }
    }
}

fn quantize(device: &Device, call: Call, options: Options) -> (Option<String>, Buffers) {
    let mut buffers = Buffers::new(device);
    let Buffers { x, codes, f32, f16: [scale, min], block } = &mut buffers;
    let mut scales = match call.scales {
        Given::F32(n) => Scales::Symmetric(f32.slice_mut(..n)),
        Given::F16(n, m) => Scales::Asymmetric { scale: scale.slice_mut(..n), min: min.slice_mut(..m) },
        Given::Blocks(n, m) => Scales::Blocks { block: block.slice_mut(..n), tensor: f32.slice_mut(..m) },
        Given::Exponents(n) => Scales::Exponents(block.slice_mut(..n)),
    };
    let (x, mut codes) = (x.slice(..call.elements), codes.slice_mut(..call.bytes));
    let Device { kernels, stream } = device;
    let result =
        ops::quantize::quantize_with(kernels, stream, call.scheme, call.shape, &x, &mut codes, &mut scales, options);
    (result.err().map(|error| error.to_string()), buffers)
}

fn quantize_static(device: &Device, call: Call, rounding: Rounding) -> (Option<String>, Buffers) {
    let mut buffers = Buffers::new(device);
    let mut codes = device.stream.clone_htod(&[FENCE; 64]).unwrap();
    let Device { kernels, stream } = device;
    let (x, mut view) = (buffers.x.slice(..call.elements), codes.slice_mut(..call.bytes));
    let scales = buffers.read(call.scales);
    let result =
        ops::quantize::quantize_static(kernels, stream, call.scheme, call.shape, &x, &scales, &mut view, rounding);
    let error = result.err().map(|error| error.to_string());
    buffers.codes = codes;
    (error, buffers)
}

fn dequantize(device: &Device, call: Call) -> (Option<String>, Buffers) {
    let mut buffers = Buffers::new(device);
    let mut out = device.stream.clone_htod(&[7f32; 64]).unwrap();
    let Device { kernels, stream } = device;
    let (codes, mut view) = (buffers.codes.slice(..call.bytes), out.slice_mut(..call.elements));
    let scales = buffers.read(call.scales);
    let result = ops::quantize::dequantize(kernels, stream, call.scheme, call.shape, &codes, &scales, &mut view);
    let error = result.err().map(|error| error.to_string());
    buffers.x = out;
    (error, buffers)
}

#[test]
fn of_every_op() {
    let device = Device::new();
    assert_eq!(quantize(&device, GOOD, Options::default()).0, None);
    assert_eq!(quantize_static(&device, GOOD, Rounding::Nearest).0, None);
    assert_eq!(dequantize(&device, GOOD).0, None);
    for (call, expected) in shared() {
        let (error, buffers) = quantize(&device, call, Options::default());
        assert_eq!(error, Some(format!("quantize::quantize: {}", expected.replace("{x}", "x"))));
        assert!(buffers.untouched(&device), "{expected}");
        let (error, buffers) = quantize_static(&device, call, Rounding::Nearest);
        assert_eq!(error, Some(format!("quantize::quantize_static: {}", expected.replace("{x}", "x"))));
        assert!(buffers.untouched(&device), "{expected}");
        let (error, buffers) = dequantize(&device, call);
        assert_eq!(error, Some(format!("quantize::dequantize: {}", expected.replace("{x}", "out"))));
        assert!(buffers.untouched(&device), "{expected}");
    }
}

#[test]
fn of_options() {
    let device = Device::new();
    let stochastic = Rounding::Stochastic { seed: 1 };
    let ratio = |clip_ratio| Options { clip_ratio, ..Options::default() };
    let uint4 = Call { scheme: scheme(Code::Uint4, Axis::Row), scales: Given::F16(2, 2), ..GOOD };
    let table = [
        (GOOD, ratio(0.0), "`options.clip_ratio`: expected a ratio in (0, 1], found 0"),
        (GOOD, ratio(1.5), "`options.clip_ratio`: expected a ratio in (0, 1], found 1.5"),
        (GOOD, ratio(f32::NAN), "`options.clip_ratio`: expected a ratio in (0, 1], found NaN"),
        (
            GOOD,
            Options { given_tensor_scale: true, ..Options::default() },
            "`options.given_tensor_scale`: expected false, but for nvfp4, found int8",
        ),
        (
            uint4,
            Options { rounding: stochastic, ..Options::default() },
            "stochastic rounding to uint4 is not supported; supported: int8, e4m3, e5m2",
        ),
    ];
    for (call, options, expected) in table {
        let (error, buffers) = quantize(&device, call, options);
        assert_eq!(error, Some(format!("quantize::quantize: {expected}")));
        assert!(buffers.untouched(&device), "{expected}");
    }
    let (error, buffers) = quantize_static(&device, uint4, stochastic);
    let expected = "stochastic rounding to uint4 is not supported; supported: int8, e4m3, e5m2";
    assert_eq!(error, Some(format!("quantize::quantize_static: {expected}")));
    assert!(buffers.untouched(&device));
    let nvfp4 = Call { scheme: scheme(Code::Nvfp4, Axis::Group(16)), scales: Given::Blocks(4, 1), ..GOOD };
    let (error, buffers) = quantize_static(&device, nvfp4, Rounding::Nearest);
    let expected =
        "given scales of nvfp4 is not supported; supported: int8, int4, int2, e4m3, e5m2, uint8, uint4, uint2";
    assert_eq!(error, Some(format!("quantize::quantize_static: {expected}")));
    assert!(buffers.untouched(&device));
}
