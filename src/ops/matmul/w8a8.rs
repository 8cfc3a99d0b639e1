//! The wrapper of the products of 8-bit activations with 8-bit weights.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut};

use super::act8::{
    Act8, Coded, CodedConfig, Dispatch, Epilogue, Family, MAX_CODED_ROWS, Matrix, SKINNY_ROWS, check_coded, check_rest,
    launch, point_to_coded,
};
use super::arguments::Arguments;
use crate::error::{Error, Result};
use crate::format::{ByteCode, CodedScale, Element};
use crate::runtime::{Entry, EntryRow, Kernels};
use crate::weights::{ByteAxis, ByteLayout};

const OP: &str = "matmul::w8a8";

const fn int8(name: &'static str) -> Act8 {
    Entry::new("matmul/w8a8_int8", name)
}
const fn e4m3(name: &'static str) -> Act8 {
    Entry::new("matmul/w8a8_e4m3", name)
}
const fn fast(name: &'static str) -> Act8 {
    Entry::new("matmul/w8a8_e4m3_fast", name)
}

const INT8: Family = Family {
    skinny: [int8("w8a8_int8_c1"), int8("w8a8_int8_c2"), int8("w8a8_int8_c4")],
    tiled: Some(int8("w8a8_int8_tiled")),
};
const E4M3: Family = Family {
    skinny: [e4m3("w8a8_e4m3_c1"), e4m3("w8a8_e4m3_c2"), e4m3("w8a8_e4m3_c4")],
    tiled: Some(e4m3("w8a8_e4m3_tiled")),
};
const E4M3_BLOCK: Family = Family {
    skinny: [e4m3("w8a8_e4m3_block_c1"), e4m3("w8a8_e4m3_block_c2"), e4m3("w8a8_e4m3_block_c4")],
    tiled: Some(e4m3("w8a8_e4m3_block_tiled")),
};
const FAST: Family = Family {
    skinny: [fast("w8a8_e4m3_fast_c1"), fast("w8a8_e4m3_fast_c2"), fast("w8a8_e4m3_fast_c4")],
    tiled: Some(fast("w8a8_e4m3_fast_tiled")),
};
const FAST_BLOCK: Family = Family {
    skinny: [fast("w8a8_e4m3_fast_block_c1"), fast("w8a8_e4m3_fast_block_c2"), fast("w8a8_e4m3_fast_block_c4")],
    tiled: Some(fast("w8a8_e4m3_fast_block_tiled")),
};

/// Weights: code, what a scale covers; fast accumulation; their kernels.
struct Instance(ByteCode, ByteAxis, bool, Family);

/// The closed table of products.
const TABLE: &[Instance] = &[
    Instance(ByteCode::Int8, ByteAxis::Output, false, INT8),
    Instance(ByteCode::E4m3, ByteAxis::Output, false, E4M3),
    Instance(ByteCode::E4m3, ByteAxis::Block, false, E4M3_BLOCK),
    Instance(ByteCode::E4m3, ByteAxis::Output, true, FAST),
    Instance(ByteCode::E4m3, ByteAxis::Block, true, FAST_BLOCK),
];

pub(super) fn entries() -> impl Iterator<Item = EntryRow> {
    TABLE.iter().flat_map(|Instance(_, _, _, family)| family.entries()).map(Entry::row)
}

/// The kernels of these weights.
pub(super) fn family(layout: &ByteLayout, fast: bool) -> Result<&'static Family> {
    let wanted = (layout.code(), layout.axis(), fast);
    let found = TABLE.iter().find(|Instance(code, axis, fast, _)| (*code, *axis, *fast) == wanted);
    found.map(|Instance(_, _, _, family)| family).ok_or_else(|| {
        let name = |code: ByteCode, axis: ByteAxis, fast: bool| {
            format!("{} / {axis:?}{}", code.name(), if fast { " / fast accumulation" } else { "" })
        };
        let list: Vec<_> = TABLE.iter().map(|Instance(code, axis, fast, _)| name(*code, *axis, *fast)).collect();
        Error::unsupported(OP, format!("weights {}", name(wanted.0, wanted.1, wanted.2)), list.join(", "))
    })
}

/// Weights and activations of one product.
#[derive(Clone, Copy)]
pub struct ByteOperands<'a> {
    /// Shape and format of the weights.
    pub layout: &'a ByteLayout,
    /// The packed buffer, [`ByteLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`, of the weights' code. Rows that start at multiples of 16 bytes are read faster.
    pub x: Coded<'a>,
}

pub(super) fn matrix<'a>(layout: &ByteLayout, weights: &'a CudaView<'a, u8>) -> Matrix<'a> {
    Matrix {
        buffer: weights,
        bytes: layout.bytes(),
        n: layout.n(),
        k: layout.k(),
        row_tiles: layout.row_tiles(),
        tiles: layout.tiles(),
        blocks: layout.blocks(),
    }
}

/// Bytes of workspace that [`w8a8`] needs, however it accumulates; 0 for most shapes.
pub fn w8a8_workspace_bytes(kernels: &Kernels, layout: &ByteLayout, rows: usize) -> usize {
    family(layout, false)
        .map_or(0, |family| dispatch(kernels, family, layout, rows).workspace_bytes(layout.row_tiles(), rows))
}

fn dispatch(kernels: &Kernels, family: &Family, layout: &ByteLayout, rows: usize) -> Dispatch {
    family.choose(rows, layout.row_tiles(), layout.blocks(), kernels.sm_count())
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`; both operands 8-bit codes with scales.
///
/// int8: the sum of products of codes is exact, zero points included; it is rounded to f32 once and scaled in f32. E4M3:
/// products are exact (the codes are multiplied as f16), added in f32, at most 128 k at a time before
/// they join the row's sum. Within `u*|y| + 2^-20 * sum_k |x||w|` of the exact value, u the unit roundoff of `O`;
/// with [`CodedConfig::fast_accumulation`] within `u*|y| + 2^-8 * sum_k |x||w|`. A code NaN of E4M3 in x gives NaN in its own row. Row m depends on row m of x only, bit for bit, and on the number of rows only
/// in E4M3 beyond 32 rows, which are summed in another order.
///
/// One kernel; shapes that split k over blocks also clear a few counters in `workspace` first, which may be `None` where
/// [`w8a8_workspace_bytes`] is 0.
///
/// # Errors
/// [`Error::Argument`] for rows, strides, lengths or alignments that do not fit, x of another code than the weights, a
/// stream of another context; [`Error::Unsupported`] for scales of x that do not go with those of the weights (per output:
/// per tensor, per row; per block: 1x128), or a zero point of E4M3; errors of loading and launching.
pub fn w8a8<O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &CodedConfig,
    operands: &ByteOperands<'_>,
    epilogue: &Epilogue<'_, O>,
    out: &mut CudaViewMut<'_, O>,
    workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let (layout, x) = (operands.layout, &operands.x);
    let arguments = Arguments { op: OP, rows: config.rows };
    let family = family(layout, config.fast_accumulation)?;
    if x.code != layout.code() {
        return Err(Error::argument(OP, "x.code", format!("{}, the weights'", layout.code().name()), x.code.name()));
    }
    if (layout.axis() == ByteAxis::Block) != matches!(x.scale, CodedScale::Group(_)) {
        let what = format!("scales {} of x with scales of the weights per {:?}", x.scale.name(), layout.axis());
        return Err(Error::unsupported(OP, what, "per tensor / Output, per row / Output, 1x128 / Block"));
    }
    arguments.rows(MAX_CODED_ROWS)?;
    check_coded(arguments, x, layout.k())?;
    let dispatch = dispatch(kernels, family, layout, config.rows);
    let weights = matrix(layout, operands.weights);
    let needed = dispatch.workspace_bytes(layout.row_tiles(), config.rows);
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    check_rest(arguments, config, &weights, epilogue, out.len(), (has, needed))?;
    let mut params = Default::default();
    let wide = if config.rows > SKINNY_ROWS { 16 } else { 8 };
    let _x = point_to_coded(&mut params, stream, x, (config.rows, layout.k()), wide);
    let format = |params: &mut _| point_to_parts(params, layout);
    // SAFETY: the checks above; the offsets are the layout's.
    unsafe { launch(arguments, kernels, stream, &dispatch, config, &weights, epilogue, params, format, out, workspace) }
}

/// Scales and sums behind the codes.
pub(super) fn point_to_parts(params: &mut super::act8::Act8Params, layout: &ByteLayout) {
    params.meta = params.codes + layout.scales_at() as u64;
    params.sums = params.codes + layout.sums_at() as u64;
    params.meta_blocks = layout.blocks() as u32;
}
