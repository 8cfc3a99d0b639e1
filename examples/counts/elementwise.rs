//! Casts and quantizers on a matrix of 64 rows and 4096 columns.

use lowbit::format::{Axis, Code, DType, Element, Fp8, Matrix, Rounding, ScaleKind, Scales, Scheme};
use lowbit::half::{bf16, f16};
use lowbit::ops::quantize::{DeviceScales, DeviceScalesMut};
use lowbit::ops::{cast, quantize};

use lowbit::cudarc::driver::CudaSlice;

use crate::{Bench, Case, Outcome};

const ROWS: usize = 64;
const COLS: usize = 4096;
const LEN: usize = ROWS * COLS;

pub fn run(bench: &Bench) -> Outcome {
    casts::<f32>(bench)?;
    casts::<f16>(bench)?;
    casts::<bf16>(bench)?;
    quantizers::<f32>(bench)?;
    quantizers::<f16>(bench)?;
    quantizers::<bf16>(bench)
}

fn values<E: Element>() -> Vec<E> {
    (0..LEN).map(|i| E::from_f32((i * 7919 % 2003) as f32 / 100.0 - 10.0)).collect()
}

fn casts<E: Element>(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    let x = stream.clone_htod(&values::<E>())?;
    let mut codes = stream.alloc_zeros::<u8>(LEN)?;
    let mut out = stream.clone_htod(&values::<E>())?;
    let dtype = E::DTYPE.name();
    for format in [Fp8::E4m3, Fp8::E5m2] {
        let (name, shown) = (format.name(), format.name().to_uppercase());
        let (bytes, units) = (LEN * (1 + E::DTYPE.bytes()), LEN);
        let (kernel, case) = (&format!("cast_to_{name}_{dtype}"), &format!("{dtype} to {shown}"));
        bench.count(Case { kernel, case, bytes, units }, || {
            cast::to_fp8(kernels, stream, format, &x.as_view(), &mut codes.as_view_mut())
        })?;
        let (kernel, case) = (&format!("cast_from_{name}_{dtype}"), &format!("{shown} to {dtype}"));
        bench.count(Case { kernel, case, bytes, units }, || {
            cast::from_fp8(kernels, stream, format, &codes.as_view(), &mut out.as_view_mut())
        })?;
    }
    Ok(())
}

/// A call, the kernels of it that are counted, and whether it is of every type.
struct Call {
    code: Code,
    axis: Axis,
    case: &'static str,
    kernels: &'static [&'static str],
    every_type: bool,
}

const fn call(code: Code, axis: Axis, case: &'static str, kernels: &'static [&'static str], every_type: bool) -> Call {
    Call { code, axis, case, kernels, every_type }
}

/// `{}` stands for the type.
const CALLS: &[Call] = &[
    call(Code::Int8, Axis::Row, "per token", &["quantize_rows_{}_int8"], true),
    call(Code::Fp8(Fp8::E4m3), Axis::Row, "per token", &["quantize_rows_{}_e4m3"], false),
    call(Code::Int8, Axis::Group(128), "per token and head of 128", &["quantize_rows_{}_int8"], false),
    call(Code::Int4, Axis::Group(128), "groups of 128", &["quantize_rows_{}_int4"], true),
    call(Code::Uint4, Axis::Group(128), "groups of 128", &["quantize_rows_{}_uint4"], true),
    call(Code::Int4, Axis::Group(32), "groups of 32", &["quantize_rows_{}_int4"], false),
    call(Code::Uint4, Axis::Group(32), "groups of 32", &["quantize_rows_{}_uint4"], false),
    call(Code::Uint2, Axis::Group(32), "groups of 32", &["quantize_rows_{}_uint2"], false),
    call(Code::Nvfp4, Axis::Group(16), "blocks of 16", &["quantize_blocks_{}_nvfp4"], false),
    call(Code::Mxfp4, Axis::Group(32), "blocks of 32", &["quantize_blocks_{}_mxfp4"], false),
    call(Code::Mxfp8(Fp8::E4m3), Axis::Group(32), "blocks of 32", &["quantize_blocks_{}_mxfp8_e4m3"], false),
    call(Code::Uint4, Axis::TokenGroup(32), "groups of 32 tokens", &["quantize_tokens_uint4"], false),
    call(Code::Uint2, Axis::TokenGroup(32), "groups of 32 tokens", &["quantize_tokens_uint2"], false),
    call(Code::Int8, Axis::Column, "per channel", &["quantize_amax", "quantize_encode_int8"], false),
    call(Code::Uint4, Axis::Column, "per channel", &["quantize_range", "quantize_encode_uint4"], false),
    call(Code::Fp8(Fp8::E4m3), Axis::Tensor, "per tensor", &["quantize_amax", "quantize_encode_e4m3"], false),
];

/// Scales on the device.
struct Owned {
    scheme: Scheme,
    regions: usize,
    f32: CudaSlice<f32>,
    f16: [CudaSlice<f16>; 2],
    block: CudaSlice<u8>,
}

impl Owned {
    fn new(bench: &Bench, scheme: Scheme, regions: usize) -> lowbit::Result<Self> {
        let stream = &bench.stream;
        let halves = [stream.alloc_zeros(regions)?, stream.alloc_zeros(regions)?];
        let (f32, block) = (stream.alloc_zeros(regions)?, stream.alloc_zeros(regions)?);
        Ok(Self { scheme, regions, f32, f16: halves, block })
    }

    fn view(&self) -> DeviceScales<'_> {
        match self.scheme.code.scale_kind() {
            ScaleKind::F32 => Scales::Symmetric(self.f32.as_view()),
            ScaleKind::F16WithMin => Scales::Asymmetric { scale: self.f16[0].as_view(), min: self.f16[1].as_view() },
            ScaleKind::E4m3UnderF32 => Scales::Blocks { block: self.block.as_view(), tensor: self.f32.as_view() },
            ScaleKind::E8m0 => Scales::Exponents(self.block.as_view()),
        }
    }

    fn view_mut(&mut self) -> DeviceScalesMut<'_> {
        let [scale, min] = &mut self.f16;
        match self.scheme.code.scale_kind() {
            ScaleKind::F32 => Scales::Symmetric(self.f32.as_view_mut()),
            ScaleKind::F16WithMin => Scales::Asymmetric { scale: scale.as_view_mut(), min: min.as_view_mut() },
            ScaleKind::E4m3UnderF32 => {
                Scales::Blocks { block: self.block.as_view_mut(), tensor: self.f32.as_view_mut() }
            }
            ScaleKind::E8m0 => Scales::Exponents(self.block.as_view_mut()),
        }
    }

    const fn bytes(&self) -> usize {
        match self.scheme.code.scale_kind() {
            ScaleKind::F32 | ScaleKind::F16WithMin => 4 * self.regions,
            ScaleKind::E4m3UnderF32 => self.regions + 4,
            ScaleKind::E8m0 => self.regions,
        }
    }
}

fn quantizers<E: Element>(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    let (shape, dtype) = (Matrix::dense(ROWS, COLS), E::DTYPE.name());
    let x = stream.clone_htod(&values::<E>())?;
    let mut codes = stream.alloc_zeros::<u8>(LEN)?;
    for &Call { code, axis, case, kernels: names, .. } in
        CALLS.iter().filter(|call| call.every_type || E::DTYPE == DType::F16)
    {
        let scheme = Scheme { code, axis };
        let mut scales = Owned::new(bench, scheme, scheme.regions(shape))?;
        let reads = LEN * E::DTYPE.bytes() + scales.bytes();
        for name in names {
            let statistics = ["quantize_amax", "quantize_range"].contains(name);
            let bytes = if statistics { reads } else { reads + LEN * code.bits() / 8 };
            bench.count(Case { kernel: &name.replace("{}", dtype), case, bytes, units: LEN }, || {
                let (x, codes, scales) = (&x.as_view(), &mut codes.as_view_mut(), &mut scales.view_mut());
                quantize::quantize(kernels, stream, scheme, shape, x, codes, scales)
            })?;
        }
    }
    if E::DTYPE != DType::F16 {
        return Ok(());
    }
    let mut out = stream.clone_htod(&values::<E>())?;
    for (code, axis, case) in [(Code::Int8, Axis::Row, "per token"), (Code::Uint4, Axis::Group(32), "groups of 32")] {
        let scheme = Scheme { code, axis };
        let mut scales = Owned::new(bench, scheme, scheme.regions(shape))?;
        let bytes = LEN * E::DTYPE.bytes() + LEN * code.bits() / 8 + scales.bytes();
        {
            let (x, codes, scales) = (&x.as_view(), &mut codes.as_view_mut(), &mut scales.view_mut());
            quantize::quantize(kernels, stream, scheme, shape, x, codes, scales)?;
        }
        let kernel = format!("quantize_decode_{}", code.name());
        bench.count(Case { kernel: &kernel, case, bytes, units: LEN }, || {
            let (codes, scales, out) = (&codes.as_view(), &scales.view(), &mut out.as_view_mut());
            quantize::dequantize(kernels, stream, scheme, shape, codes, scales, out)
        })?;
        if code == Code::Int8 {
            let case = Case { kernel: "quantize_stochastic_int8", case: "per token, given scales", bytes, units: LEN };
            let rounding = Rounding::Stochastic { seed: 1 };
            bench.count(case, || {
                let (x, scales, codes) = (&x.as_view(), &scales.view(), &mut codes.as_view_mut());
                quantize::quantize_static(kernels, stream, scheme, shape, x, scales, codes, rounding)
            })?;
        }
    }
    Ok(())
}
