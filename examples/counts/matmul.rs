//! The products of 8, 16, 32 and 128 rows with a matrix of 512 outputs by 2048.

use lowbit::format::{ByteCode, CodedRows, CodedScale};
use lowbit::half::f16;
use lowbit::ops::matmul::{self, Decode, Operands, Residual, SkinnyConfig, TiledConfig};
use lowbit::ops::matmul::{ByteOperands, CodedConfig, Epilogue, W4A8Operands, W8A16Operands};
use lowbit::weights::WeightFormat::{Int4, Int8};
use lowbit::weights::{ByteAxis, ByteLayout, PackedLayout, WeightFormat, ZeroPoint};

use crate::{Bench, Case, Outcome};

const N: usize = 512;
const K: usize = 2048;

pub fn run(bench: &Bench) -> Outcome {
    let (sym, zero4) = (Int4(ZeroPoint::Symmetric), Int4(ZeroPoint::Bits4 { plus: 0 }));
    let min = Int4(ZeroPoint::Min);
    for (kernel, format, group, decode) in [
        ("w4a16_f16_sym_g32", sym, 32, Decode::Fast),
        ("w4a16_f16_sym_g128", sym, 128, Decode::Fast),
        ("w4a16_f16_zero4_g128", zero4, 128, Decode::Fast),
        ("w4a16_f16_min_g32", min, 32, Decode::Fast),
        ("w4a16_f16_min_g128", min, 128, Decode::Fast),
        ("w4a16_f16_sym_g32_exact", sym, 32, Decode::Exact),
        ("w4a16_f16_sym_g128_exact", sym, 128, Decode::Exact),
        ("w4a16_f16_zero4_g128_exact", zero4, 128, Decode::Exact),
        ("w8a16_f16_g32", Int8, 32, Decode::Exact),
        ("w8a16_f16_coarse", Int8, K, Decode::Exact),
    ] {
        product(bench, kernel, "1 to 8 rows", 8, format, group, decode)?;
    }
    for (kernel, case, rows, format, group) in [
        ("w4a16_f16_zero4_g128_m16", "9 to 16 rows", 16, zero4, 128),
        ("w4a16_f16_sym_g128_m16", "9 to 16 rows", 16, sym, 128),
        ("w4a16_f16_zero4_g128_m32", "17 to 32 rows", 32, zero4, 128),
        ("w4a16_f16_sym_g128_m32", "17 to 32 rows", 32, sym, 128),
    ] {
        product(bench, kernel, case, rows, format, group, Decode::Fast)?;
    }
    for (kernel, code, fast) in [
        ("w8a8_int8_c1", ByteCode::Int8, false),
        ("w8a8_e4m3_c1", ByteCode::E4m3, false),
        ("w8a8_e4m3_fast_c1", ByteCode::E4m3, true),
    ] {
        coded(bench, kernel, code, Coded::Eight(ByteLayout::new(N, K, code, ByteAxis::Output)?), fast)?;
    }
    for (kernel, code, format) in [
        ("w4a8_int8_sym_g128_c1", ByteCode::Int8, sym),
        ("w4a8_int8_zero4_g128_c1", ByteCode::Int8, zero4),
        ("w4a8_e4m3_sym_g128_c1", ByteCode::E4m3, sym),
    ] {
        coded(bench, kernel, code, Coded::Four(PackedLayout::new(N, K, 128, format)?), false)?;
    }
    wide(bench, "w8a16_e4m3_f16_c1")?;
    tiled(bench, "w4a16_f16_zero4_g128_tiled", "blocks of 64 rows", zero4, 128, 64)?;
    tiled(bench, "w4a16_f16_sym_g128_tiled", "blocks of 64 rows", sym, 128, 64)?;
    tiled(bench, "w4a16_f16_min_g32_tiled", "blocks of 32 rows", min, 32, 32)?;
    tiled(bench, "w8a16_f16_g32_tiled", "blocks of 64 rows", Int8, 32, 64)
}

/// 128 rows: the weights are read once for each block of rows, x once for 128 outputs.
fn tiled(
    bench: &Bench,
    kernel: &'static str,
    case: &'static str,
    format: WeightFormat,
    group: usize,
    block_rows: usize,
) -> Outcome {
    const ROWS: usize = 128;
    let Bench { kernels, stream } = bench;
    let layout = PackedLayout::new(N, K, group, format)?;
    let weights = stream.clone_htod(&vec![0x35u8; layout.bytes()])?;
    let x = stream.clone_htod(&vec![f16::from_f32(0.5); ROWS * K])?;
    let mut out = stream.alloc_zeros::<f16>(ROWS * N)?;
    let config = TiledConfig::contiguous(&layout, ROWS);
    let (reads, x_reads) = (ROWS / block_rows, N / 128);
    let bytes = layout.bytes() * reads + 2 * ROWS * K * x_reads + 2 * ROWS * N;
    bench.count(Case { kernel, case, bytes, units: N * K / 8 * reads }, || {
        let (weights, x) = (weights.as_view(), x.as_view());
        let operands =
            Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None::<f16> };
        matmul::tiled(kernels, stream, &config, &operands, &mut out.as_view_mut())
    })
}

/// The tiles of 16 outputs each read all rows of x, which come from cache but for the first of them: these reads are
/// among the bytes that the requests are compared with.
fn product(
    bench: &Bench,
    kernel: &'static str,
    case: &'static str,
    rows: usize,
    format: WeightFormat,
    group: usize,
    decode: Decode,
) -> Outcome {
    let Bench { kernels, stream } = bench;
    let layout = PackedLayout::new(N, K, group, format)?;
    let weights = stream.clone_htod(&vec![0x35u8; layout.bytes()])?;
    let x = stream.clone_htod(&vec![f16::from_f32(0.5); rows * K])?;
    let mut out = stream.alloc_zeros::<f16>(rows * N)?;
    let mut workspace = stream.alloc_zeros::<u8>(16 + matmul::workspace_bytes(kernels, &layout, rows))?;
    let config = SkinnyConfig { decode, ..SkinnyConfig::contiguous(&layout, rows) };
    let case = Case {
        kernel,
        case,
        bytes: layout.bytes() + 2 * rows * K * layout.row_tiles() + 2 * rows * N,
        units: N * K / 8,
    };
    bench.count(case, || {
        let (weights, x) = (weights.as_view(), x.as_view());
        let operands =
            Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None::<f16> };
        let workspace = &mut workspace.as_view_mut();
        matmul::skinny(kernels, stream, &config, &operands, &mut out.as_view_mut(), Some(workspace))
    })
}

/// Eight rows of f16 with E4M3 weights; read as those of [`product`].
fn wide(bench: &Bench, kernel: &'static str) -> Outcome {
    const ROWS: usize = 8;
    let Bench { kernels, stream } = bench;
    let layout = ByteLayout::new(N, K, ByteCode::E4m3, ByteAxis::Output)?;
    let weights = stream.clone_htod(&vec![0x35u8; layout.bytes()])?;
    let x = stream.clone_htod(&vec![f16::from_f32(0.5); ROWS * K])?;
    let mut out = stream.alloc_zeros::<f16>(ROWS * N)?;
    let mut workspace = stream.alloc_zeros::<u8>(matmul::w8a16_workspace_bytes(kernels, &layout, ROWS).max(1))?;
    let bytes = layout.bytes() + 2 * ROWS * K * layout.row_tiles() + 2 * ROWS * N;
    bench.count(Case { kernel, case: "1 to 8 rows", bytes, units: N * K / 8 }, || {
        let (weights, x) = (weights.as_view(), x.as_view());
        let operands = W8A16Operands { layout: &layout, weights: &weights, x: &x, x_stride: K };
        let (out, workspace) = (&mut out.as_view_mut(), &mut workspace.as_view_mut());
        let config = CodedConfig::contiguous(ROWS, N);
        matmul::w8a16(kernels, stream, &config, &operands, &Epilogue::default(), out, Some(workspace))
    })
}

/// Weights of products of 8-bit activations.
enum Coded {
    Four(PackedLayout),
    Eight(ByteLayout),
}

/// Eight rows of codes with a scale each; read as those of [`product`].
fn coded(bench: &Bench, kernel: &'static str, code: ByteCode, weights: Coded, fast: bool) -> Outcome {
    const ROWS: usize = 8;
    let Bench { kernels, stream } = bench;
    let (bytes, row_tiles, workspace) = match &weights {
        Coded::Four(w) => (w.bytes(), w.row_tiles(), matmul::w4a8_workspace_bytes(kernels, w, ROWS)),
        Coded::Eight(w) => (w.bytes(), w.row_tiles(), matmul::w8a8_workspace_bytes(kernels, w, ROWS)),
    };
    let packed = stream.clone_htod(&vec![0x35u8; bytes])?;
    let codes = stream.clone_htod(&vec![0x35u8; ROWS * K])?;
    let scale = stream.clone_htod(&[0.5f32; ROWS])?;
    let mut out = stream.alloc_zeros::<f16>(ROWS * N)?;
    let mut workspace = stream.alloc_zeros::<u8>(workspace.max(1))?;
    let config = CodedConfig { fast_accumulation: fast, ..CodedConfig::contiguous(ROWS, N) };
    let read = bytes + ROWS * K * row_tiles;
    bench.count(Case { kernel, case: "1 to 8 rows", bytes: read + 2 * ROWS * N, units: N * K / 8 }, || {
        let (codes, scale, packed) = (codes.as_view(), scale.as_view(), packed.as_view());
        let x = CodedRows { code, codes: &codes, row_stride: K, scale: CodedScale::Row(&scale), zero: None };
        let (out, epilogue) = (&mut out.as_view_mut(), Epilogue::default());
        let workspace = Some(&mut workspace.as_view_mut());
        match &weights {
            Coded::Four(layout) => {
                let operands = W4A8Operands { layout, weights: &packed, x };
                matmul::w4a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
            }
            Coded::Eight(layout) => {
                let operands = ByteOperands { layout, weights: &packed, x };
                matmul::w8a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
            }
        }
    })
}
