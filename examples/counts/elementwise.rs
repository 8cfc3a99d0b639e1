//! Casts and quantizers on a matrix of 64 rows and 4096 columns.

use lowbit::format::{Axis, Code, Fp8, Matrix, Scales, Scheme};
use lowbit::half::f16;
use lowbit::ops::{cast, quantize};

use crate::{Bench, Case, Outcome};

const ROWS: usize = 64;
const COLS: usize = 4096;
const LEN: usize = ROWS * COLS;

pub fn run(bench: &Bench) -> Outcome {
    let Bench { kernels, stream } = bench;
    let values: Vec<f16> = (0..LEN).map(|i| f16::from_f32((i * 7919 % 2003) as f32 / 100.0 - 10.0)).collect();
    let x = stream.clone_htod(&values)?;
    let mut codes = stream.alloc_zeros::<u8>(LEN)?;
    let mut out = stream.alloc_zeros::<f16>(LEN)?;
    let case = |kernel, case, bytes| Case { kernel, case, bytes, units: LEN };

    for (kernel, name, format) in
        [("cast_to_e4m3_f16", "f16 to E4M3", Fp8::E4m3), ("cast_to_e5m2_f16", "f16 to E5M2", Fp8::E5m2)]
    {
        bench.count(case(kernel, name, 3 * LEN), || {
            cast::to_fp8(kernels, stream, format, &x.as_view(), &mut codes.as_view_mut())
        })?;
    }
    bench.count(case("cast_from_e4m3_f16", "E4M3 to f16", 3 * LEN), || {
        cast::from_fp8(kernels, stream, Fp8::E4m3, &codes.as_view(), &mut out.as_view_mut())
    })?;

    let shape = Matrix::dense(ROWS, COLS);
    let mut scale = stream.alloc_zeros::<f32>(ROWS)?;
    let scheme = Scheme { code: Code::Int8, axis: Axis::Row };
    bench.count(case("quantize_rows_f16_int8", "per token, codes", 3 * LEN + 4 * ROWS), || {
        let mut scales = Scales::Symmetric(scale.as_view_mut());
        quantize::quantize(kernels, stream, scheme, shape, &x.as_view(), &mut codes.as_view_mut(), &mut scales)
    })?;
    bench.count(case("quantize_decode_f16_int8", "per token", 3 * LEN + 4 * ROWS), || {
        let scales = Scales::Symmetric(scale.as_view());
        quantize::dequantize(kernels, stream, scheme, shape, &codes.as_view(), &scales, &mut out.as_view_mut())
    })?;

    let scheme = Scheme { code: Code::Fp8(Fp8::E4m3), axis: Axis::Tensor };
    bench.count(case("quantize_encode_f16_e4m3", "per tensor, codes", 3 * LEN + 4), || {
        let mut scales = Scales::Symmetric(scale.slice_mut(..1));
        quantize::quantize(kernels, stream, scheme, shape, &x.as_view(), &mut codes.as_view_mut(), &mut scales)
    })?;

    let groups = LEN / 32;
    let mut scale = stream.alloc_zeros::<f16>(groups)?;
    let mut min = stream.alloc_zeros::<f16>(groups)?;
    let scheme = Scheme { code: Code::Uint4, axis: Axis::Group(32) };
    bench.count(case("quantize_rows_f16_uint4", "per group, statistics", 2 * LEN + LEN / 2 + 4 * groups), || {
        let mut scales = Scales::Asymmetric { scale: scale.as_view_mut(), min: min.as_view_mut() };
        quantize::quantize(kernels, stream, scheme, shape, &x.as_view(), &mut codes.as_view_mut(), &mut scales)
    })?;
    Ok(())
}
