//! The wrapper of the products of 8-bit activations with 4-bit weights.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut};

use super::act8::{
    Act8, Act8Params, Coded, CodedConfig, Dispatch, Epilogue, Family, MAX_CODED_ROWS, Matrix, check_coded, check_exact,
    check_rest, launch, point_to_coded,
};
use super::arguments::Arguments;
use super::params::{meta_shift, minus_base, minus_base_int8};
use super::skinny::Decode;
use crate::error::{Error, Result};
use crate::format::ByteCode::{self, E4m3, Int8};
use crate::format::{CodedScale, DType, Element};
use crate::runtime::{Entry, EntryRow, Kernels};
use crate::weights::WeightFormat::Int4;
use crate::weights::{PackedLayout, ZeroPoint};

const OP: &str = "matmul::w4a8";

/// Kernels of one format.
struct Instance {
    x: ByteCode,
    /// 4-bit zeros; else symmetric.
    zeros: bool,
    /// Groups of this many k; 0: records of scales are groups ([`PackedLayout::record_is_group`]).
    group: usize,
    family: Family,
}

/// Kernels for up to 8 rows, and for up to 32 at a time.
const fn row(x: ByteCode, zeros: bool, group: usize, c1: Act8, c4: Act8) -> Instance {
    Instance { x, zeros, group, family: Family { skinny: [c1, c4, c4], tiled: None } }
}

const fn of(module: &'static str, name: &'static str) -> Act8 {
    Entry::new(module, name)
}

#[rustfmt::skip] // One instance, one line.
const TABLE: &[Instance] = &[
    row(Int8, false, 32, of("matmul/w4a8_int8_sym_c1", "w4a8_int8_sym_g32_c1"), of("matmul/w4a8_int8_sym_c4", "w4a8_int8_sym_g32_c4")),
    row(Int8, false, 64, of("matmul/w4a8_int8_sym_c1", "w4a8_int8_sym_g64_c1"), of("matmul/w4a8_int8_sym_c4", "w4a8_int8_sym_g64_c4")),
    row(Int8, false, 128, of("matmul/w4a8_int8_sym_c1", "w4a8_int8_sym_g128_c1"), of("matmul/w4a8_int8_sym_c4", "w4a8_int8_sym_g128_c4")),
    row(Int8, false, 0, of("matmul/w4a8_int8_sym_c1", "w4a8_int8_sym_coarse_c1"), of("matmul/w4a8_int8_sym_c4", "w4a8_int8_sym_coarse_c4")),
    row(Int8, true, 32, of("matmul/w4a8_int8_zero4_c1", "w4a8_int8_zero4_g32_c1"), of("matmul/w4a8_int8_zero4_c4", "w4a8_int8_zero4_g32_c4")),
    row(Int8, true, 64, of("matmul/w4a8_int8_zero4_c1", "w4a8_int8_zero4_g64_c1"), of("matmul/w4a8_int8_zero4_c4", "w4a8_int8_zero4_g64_c4")),
    row(Int8, true, 128, of("matmul/w4a8_int8_zero4_c1", "w4a8_int8_zero4_g128_c1"), of("matmul/w4a8_int8_zero4_c4", "w4a8_int8_zero4_g128_c4")),
    row(Int8, true, 0, of("matmul/w4a8_int8_zero4_c1", "w4a8_int8_zero4_coarse_c1"), of("matmul/w4a8_int8_zero4_c4", "w4a8_int8_zero4_coarse_c4")),
    row(E4m3, false, 32, of("matmul/w4a8_e4m3_sym_c1", "w4a8_e4m3_sym_g32_c1"), of("matmul/w4a8_e4m3_sym_c4", "w4a8_e4m3_sym_g32_c4")),
    row(E4m3, false, 64, of("matmul/w4a8_e4m3_sym_c1", "w4a8_e4m3_sym_g64_c1"), of("matmul/w4a8_e4m3_sym_c4", "w4a8_e4m3_sym_g64_c4")),
    row(E4m3, false, 128, of("matmul/w4a8_e4m3_sym_c1", "w4a8_e4m3_sym_g128_c1"), of("matmul/w4a8_e4m3_sym_c4", "w4a8_e4m3_sym_g128_c4")),
    row(E4m3, false, 0, of("matmul/w4a8_e4m3_sym_c1", "w4a8_e4m3_sym_coarse_c1"), of("matmul/w4a8_e4m3_sym_c4", "w4a8_e4m3_sym_coarse_c4")),
    row(E4m3, true, 32, of("matmul/w4a8_e4m3_zero4_c1", "w4a8_e4m3_zero4_g32_c1"), of("matmul/w4a8_e4m3_zero4_c4", "w4a8_e4m3_zero4_g32_c4")),
    row(E4m3, true, 64, of("matmul/w4a8_e4m3_zero4_c1", "w4a8_e4m3_zero4_g64_c1"), of("matmul/w4a8_e4m3_zero4_c4", "w4a8_e4m3_zero4_g64_c4")),
    row(E4m3, true, 128, of("matmul/w4a8_e4m3_zero4_c1", "w4a8_e4m3_zero4_g128_c1"), of("matmul/w4a8_e4m3_zero4_c4", "w4a8_e4m3_zero4_g128_c4")),
    row(E4m3, true, 0, of("matmul/w4a8_e4m3_zero4_c1", "w4a8_e4m3_zero4_coarse_c1"), of("matmul/w4a8_e4m3_zero4_c4", "w4a8_e4m3_zero4_coarse_c4")),
];

pub(super) fn entries() -> impl Iterator<Item = EntryRow> {
    TABLE.iter().flat_map(|instance| [&instance.family.skinny[0], &instance.family.skinny[2]]).map(Entry::row)
}

fn find(layout: &PackedLayout, x: ByteCode) -> Option<&'static Instance> {
    let zeros = match layout.format() {
        Int4(ZeroPoint::Symmetric) => false,
        Int4(ZeroPoint::Bits4 { .. }) => true,
        _ => return None,
    };
    let group = if layout.record_is_group() { 0 } else { layout.group() };
    TABLE.iter().find(|instance| (instance.x, instance.zeros, instance.group) == (x, zeros, group))
}

/// Whether [`w4a8`] has a kernel for these weights and this code of x; if and only if so, it does not refuse them as
/// [`Error::Unsupported`].
pub fn w4a8_supported(layout: &PackedLayout, x: ByteCode) -> bool {
    find(layout, x).is_some()
}

/// Weights and activations of one product.
#[derive(Clone, Copy)]
pub struct W4A8Operands<'a> {
    /// Shape and format of the weights: 4 bits, symmetric or with 4-bit zeros.
    pub layout: &'a PackedLayout,
    /// The packed buffer, [`PackedLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`, int8 or E4M3, a scale per tensor or per row, no zero points. Rows that start at multiples of 8 bytes
    /// are read faster.
    pub x: Coded<'a>,
}

fn dispatch(kernels: &Kernels, instance: &Instance, layout: &PackedLayout, rows: usize) -> Dispatch {
    instance.family.choose(rows, layout.row_tiles(), layout.blocks(), kernels.sm_count())
}

/// Bytes of workspace that [`w4a8`] needs; 0 for most shapes.
pub fn w4a8_workspace_bytes(kernels: &Kernels, layout: &PackedLayout, rows: usize) -> usize {
    // How work is divided is the same for all of them.
    dispatch(kernels, &TABLE[0], layout, rows).workspace_bytes(layout.row_tiles(), rows)
}

/// `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, m < `config.rows`: x 8-bit codes with a scale a row, w in
/// the packing that [`super::skinny()`] reads.
///
/// int8: a group's sum of products of codes, less its zeros, is exact; groups are scaled and added in f32. E4M3: the codes
/// are multiplied as f16, exactly, and added in f32. Within `u*|y| + 2^-20 * sum_k |x||w|` of the exact value, u the unit
/// roundoff of `O`. A code NaN of E4M3 in x gives NaN in its own row. Row m depends on row m of x only, bit for bit,
/// however many rows there are. Beyond 32 rows the weights are read again for every 32.
///
/// One kernel; shapes that split k over blocks also clear a few counters in `workspace` first, which may be `None` where
/// [`w4a8_workspace_bytes`] is 0.
///
/// # Errors
/// [`Error::Argument`] for rows, strides, lengths or alignments that do not fit, a stream of another context;
/// [`Error::Unsupported`] when [`w4a8_supported`] is false, and for 1x128 scales or zero points of x; errors of loading and
/// launching.
pub fn w4a8<O: Element>(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    config: &CodedConfig,
    operands: &W4A8Operands<'_>,
    epilogue: &Epilogue<'_, O>,
    out: &mut CudaViewMut<'_, O>,
    workspace: Option<&mut CudaViewMut<'_, u8>>,
) -> Result<()> {
    let (layout, x) = (operands.layout, &operands.x);
    let arguments = Arguments { op: OP, rows: config.rows };
    check_exact(arguments, config)?;
    let instance = find(layout, x.code).ok_or_else(|| {
        let what = format!("{:?} in groups of {} with {} activations", layout.format(), layout.group(), x.code.name());
        Error::unsupported(OP, what, "4-bit symmetric or with 4-bit zeros, any group; int8 or e4m3 activations")
    })?;
    if matches!(x.scale, CodedScale::Group(_)) || x.zero.is_some() {
        let what = if x.zero.is_some() { "a zero point of x" } else { "1x128 scales of x" };
        return Err(Error::unsupported(OP, what, "a scale per tensor or per row, no zero point"));
    }
    arguments.rows(MAX_CODED_ROWS)?;
    check_coded(arguments, x, layout.k())?;
    let dispatch = dispatch(kernels, instance, layout, config.rows);
    let weights = Matrix {
        buffer: operands.weights,
        bytes: layout.bytes(),
        n: layout.n(),
        k: layout.k(),
        row_tiles: layout.row_tiles(),
        tiles: layout.tiles(),
        blocks: layout.blocks(),
    };
    let needed = dispatch.workspace_bytes(layout.row_tiles(), config.rows);
    let has = workspace.as_ref().map_or(0, |workspace| workspace.len());
    check_rest(arguments, config, &weights, epilogue, out.len(), (has, needed))?;
    let mut params = Act8Params::default();
    let _x = point_to_coded(&mut params, stream, x, (config.rows, layout.k()), 8);
    let format = |params: &mut Act8Params| {
        params.meta = params.codes + layout.scales_at() as u64;
        params.zeros = params.codes + layout.zeros_at() as u64;
        params.meta_blocks = layout.records() as u32;
        params.meta_shift = meta_shift(layout);
        params.minus_base = match x.code {
            Int8 => minus_base_int8(layout),
            _ => minus_base(layout, DType::F16, Decode::Fast),
        };
    };
    // SAFETY: the checks above; the offsets are the layout's.
    unsafe { launch(arguments, kernels, stream, &dispatch, config, &weights, epilogue, params, format, out, workspace) }
}
