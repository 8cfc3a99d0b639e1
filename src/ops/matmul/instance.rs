//! The closed table of skinny kernels: which weights, which x, which decode. What is not here is an error that lists it.

use cudarc::driver::DeviceRepr;

use super::skinny::Decode;
use crate::error::{Error, Result};
use crate::format::DType::{self, Bf16, F16};
use crate::runtime::{Entry, EntryRow};
use crate::weights::WeightFormat::{self, Int4, Int8};
use crate::weights::{PackedLayout, ZeroPoint};

/// What a launch passes; `SkinnyParams` of `kernels/matmul/skinny.cuh`, where the fields are explained.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct SkinnyParams {
    pub codes: u64,
    pub meta: u64,
    pub zeros: u64,
    pub x: u64,
    pub bias: u64,
    pub residual: u64,
    pub out: u64,
    pub partials: u64,
    pub counters: u64,
    pub x_stride: u64,
    pub residual_stride: u64,
    pub out_stride: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub row_tiles: u32,
    pub tiles: u32,
    pub blocks: u32,
    pub x_aligned: u32,
    pub meta_blocks: u32,
    pub meta_shift: u32,
    pub k_warps_log2: u32,
    pub part_blocks: u32,
    pub longer_parts: u32,
    pub out_type: u32,
    pub minus_base: [u32; 4],
    pub reserved: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for SkinnyParams {}

/// Weight formats as the table names them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sym,
    Zero4,
    Real,
    Min,
    Int8,
}

const SYM: Kind = Kind::Sym;
const ZERO4: Kind = Kind::Zero4;
const REAL: Kind = Kind::Real;
const MIN: Kind = Kind::Min;
const INT8: Kind = Kind::Int8;

impl Kind {
    fn of(format: WeightFormat) -> Self {
        match format {
            Int4(ZeroPoint::Symmetric) => SYM,
            Int4(ZeroPoint::Bits4 { .. }) => ZERO4,
            Int4(ZeroPoint::Real) => REAL,
            Int4(ZeroPoint::Min) => MIN,
            Int8 => INT8,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            SYM => "4-bit symmetric",
            ZERO4 => "4-bit with 4-bit zeros",
            REAL => "4-bit with real zeros",
            MIN => "4-bit with minima",
            INT8 => "8-bit",
        }
    }
}

struct Instance {
    x: DType,
    kind: Kind,
    /// Groups of this many k; 0: records of scales are groups ([`PackedLayout::record_is_group`]).
    group: usize,
    decode: Decode,
    entry: Entry<SkinnyParams>,
}

const fn row(x: DType, kind: Kind, group: usize, decode: Decode, module: &'static str, name: &'static str) -> Instance {
    Instance { x, kind, group, decode, entry: Entry::new(module, name) }
}

#[rustfmt::skip] // One instance, one line.
const TABLE: &[Instance] = &[
    row(F16, SYM, 32, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_sym_g32"),
    row(F16, SYM, 64, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_sym_g64"),
    row(F16, SYM, 128, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_sym_g128"),
    row(F16, SYM, 0, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_sym_coarse"),
    row(F16, ZERO4, 32, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_zero4_g32"),
    row(F16, ZERO4, 64, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_zero4_g64"),
    row(F16, ZERO4, 128, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_zero4_g128"),
    row(F16, ZERO4, 0, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_zero4_coarse"),
    row(F16, REAL, 32, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_real_g32"),
    row(F16, REAL, 64, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_real_g64"),
    row(F16, REAL, 128, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_real_g128"),
    row(F16, REAL, 0, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_real_coarse"),
    row(F16, MIN, 32, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_min_g32"),
    row(F16, MIN, 64, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_min_g64"),
    row(F16, MIN, 128, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_min_g128"),
    row(F16, MIN, 0, Decode::Fast, "matmul/w4a16_f16", "w4a16_f16_min_coarse"),
    row(Bf16, SYM, 32, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_sym_g32"),
    row(Bf16, SYM, 64, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_sym_g64"),
    row(Bf16, SYM, 128, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_sym_g128"),
    row(Bf16, SYM, 0, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_sym_coarse"),
    row(Bf16, ZERO4, 32, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_zero4_g32"),
    row(Bf16, ZERO4, 64, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_zero4_g64"),
    row(Bf16, ZERO4, 128, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_zero4_g128"),
    row(Bf16, ZERO4, 0, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_zero4_coarse"),
    row(Bf16, REAL, 32, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_real_g32"),
    row(Bf16, REAL, 64, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_real_g64"),
    row(Bf16, REAL, 128, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_real_g128"),
    row(Bf16, REAL, 0, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_real_coarse"),
    row(Bf16, MIN, 32, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_min_g32"),
    row(Bf16, MIN, 64, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_min_g64"),
    row(Bf16, MIN, 128, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_min_g128"),
    row(Bf16, MIN, 0, Decode::Fast, "matmul/w4a16_bf16", "w4a16_bf16_min_coarse"),
    row(F16, SYM, 32, Decode::Exact, "matmul/w4a16_exact", "w4a16_f16_sym_g32_exact"),
    row(F16, SYM, 128, Decode::Exact, "matmul/w4a16_exact", "w4a16_f16_sym_g128_exact"),
    row(F16, ZERO4, 32, Decode::Exact, "matmul/w4a16_exact", "w4a16_f16_zero4_g32_exact"),
    row(F16, ZERO4, 128, Decode::Exact, "matmul/w4a16_exact", "w4a16_f16_zero4_g128_exact"),
    row(F16, INT8, 32, Decode::Exact, "matmul/w8a16", "w8a16_f16_g32"),
    row(F16, INT8, 0, Decode::Exact, "matmul/w8a16", "w8a16_f16_coarse"),
    row(Bf16, INT8, 32, Decode::Exact, "matmul/w8a16", "w8a16_bf16_g32"),
    row(Bf16, INT8, 0, Decode::Exact, "matmul/w8a16", "w8a16_bf16_coarse"),
];

/// The lines of the launch table.
pub(crate) fn entries() -> Vec<EntryRow> {
    TABLE.iter().map(|instance| instance.entry.row()).collect()
}

fn find(layout: &PackedLayout, x: DType, decode: Decode) -> Option<&'static Instance> {
    let kind = Kind::of(layout.format());
    let group = if layout.record_is_group() { 0 } else { layout.group() };
    // These have no zero to subtract from a weight (f16: nor a bias): one kernel is both.
    let one_kernel = kind == INT8 || (x == F16 && matches!(kind, REAL | MIN));
    let fits = |i: &&Instance| i.decode == decode || one_kernel;
    TABLE.iter().filter(fits).find(|i| i.x == x && i.kind == kind && i.group == group)
}

/// Whether [`super::skinny()`] has a kernel for these weights, this type of x and this decode; if and only if so, it does
/// not return [`Error::Unsupported`] (for at most [`super::MAX_ROWS`] rows).
pub fn supported(layout: &PackedLayout, x: DType, decode: Decode) -> bool {
    find(layout, x, decode).is_some()
}

pub(super) fn entry(op: &'static str, layout: &PackedLayout, x: DType, decode: Decode) -> Result<Entry<SkinnyParams>> {
    if let Some(instance) = find(layout, x, decode) {
        return Ok(instance.entry);
    }
    let group = |group: usize, all: bool| if all { "many or all k".to_string() } else { group.to_string() };
    let what = format!(
        "{decode:?} decode of {} weights in groups of {} with {x} activations",
        Kind::of(layout.format()).name(),
        group(layout.group(), layout.record_is_group()),
    );
    let same = TABLE.iter().filter(|i| i.decode == decode);
    let list: Vec<_> =
        same.map(|i| format!("{} / {} / {}", i.kind.name(), group(i.group, i.group == 0), i.x)).collect();
    Err(Error::unsupported(op, what, list.join(", ")))
}
