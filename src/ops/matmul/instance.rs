//! The closed table of skinny kernels: which weights, which x, which decode. What is not here is an error that lists it.

use super::params::ProductParams;
use super::skinny::Decode;
use crate::error::{Error, Result};
use crate::format::DType::{self, Bf16, F16};
use crate::runtime::{Entry, EntryRow};
use crate::weights::WeightFormat::{self, Int4, Int8};
use crate::weights::{PackedLayout, ZeroPoint};

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
    /// For up to 8, 16 and 32 rows.
    entries: [Entry<ProductParams>; 3],
}

const fn row(
    x: DType,
    kind: Kind,
    group: usize,
    decode: Decode,
    modules: [&'static str; 3],
    names: [&'static str; 3],
) -> Instance {
    let entries =
        [Entry::new(modules[0], names[0]), Entry::new(modules[1], names[1]), Entry::new(modules[2], names[2])];
    Instance { x, kind, group, decode, entries }
}

/// Modules are as large as what a caller is likely to need together: a driver compiles a whole one when it is first used.
const W4_F16: [&str; 3] = ["matmul/w4a16_f16", "matmul/w4a16_f16_m16", "matmul/w4a16_f16_m32"];
const W4_BF16: [&str; 3] = ["matmul/w4a16_bf16", "matmul/w4a16_bf16_m16", "matmul/w4a16_bf16_m32"];
const W4_EXACT: [&str; 3] = ["matmul/w4a16_exact"; 3];
const W8: [&str; 3] = ["matmul/w8a16"; 3];

#[rustfmt::skip] // One instance, one line.
const TABLE: &[Instance] = &[
    row(F16, SYM, 32, Decode::Fast, W4_F16, ["w4a16_f16_sym_g32", "w4a16_f16_sym_g32_m16", "w4a16_f16_sym_g32_m32"]),
    row(F16, SYM, 64, Decode::Fast, W4_F16, ["w4a16_f16_sym_g64", "w4a16_f16_sym_g64_m16", "w4a16_f16_sym_g64_m32"]),
    row(F16, SYM, 128, Decode::Fast, W4_F16, ["w4a16_f16_sym_g128", "w4a16_f16_sym_g128_m16", "w4a16_f16_sym_g128_m32"]),
    row(F16, SYM, 0, Decode::Fast, W4_F16, ["w4a16_f16_sym_coarse", "w4a16_f16_sym_coarse_m16", "w4a16_f16_sym_coarse_m32"]),
    row(F16, ZERO4, 32, Decode::Fast, W4_F16, ["w4a16_f16_zero4_g32", "w4a16_f16_zero4_g32_m16", "w4a16_f16_zero4_g32_m32"]),
    row(F16, ZERO4, 64, Decode::Fast, W4_F16, ["w4a16_f16_zero4_g64", "w4a16_f16_zero4_g64_m16", "w4a16_f16_zero4_g64_m32"]),
    row(F16, ZERO4, 128, Decode::Fast, W4_F16, ["w4a16_f16_zero4_g128", "w4a16_f16_zero4_g128_m16", "w4a16_f16_zero4_g128_m32"]),
    row(F16, ZERO4, 0, Decode::Fast, W4_F16, ["w4a16_f16_zero4_coarse", "w4a16_f16_zero4_coarse_m16", "w4a16_f16_zero4_coarse_m32"]),
    row(F16, REAL, 32, Decode::Fast, W4_F16, ["w4a16_f16_real_g32", "w4a16_f16_real_g32_m16", "w4a16_f16_real_g32_m32"]),
    row(F16, REAL, 64, Decode::Fast, W4_F16, ["w4a16_f16_real_g64", "w4a16_f16_real_g64_m16", "w4a16_f16_real_g64_m32"]),
    row(F16, REAL, 128, Decode::Fast, W4_F16, ["w4a16_f16_real_g128", "w4a16_f16_real_g128_m16", "w4a16_f16_real_g128_m32"]),
    row(F16, REAL, 0, Decode::Fast, W4_F16, ["w4a16_f16_real_coarse", "w4a16_f16_real_coarse_m16", "w4a16_f16_real_coarse_m32"]),
    row(F16, MIN, 32, Decode::Fast, W4_F16, ["w4a16_f16_min_g32", "w4a16_f16_min_g32_m16", "w4a16_f16_min_g32_m32"]),
    row(F16, MIN, 64, Decode::Fast, W4_F16, ["w4a16_f16_min_g64", "w4a16_f16_min_g64_m16", "w4a16_f16_min_g64_m32"]),
    row(F16, MIN, 128, Decode::Fast, W4_F16, ["w4a16_f16_min_g128", "w4a16_f16_min_g128_m16", "w4a16_f16_min_g128_m32"]),
    row(F16, MIN, 0, Decode::Fast, W4_F16, ["w4a16_f16_min_coarse", "w4a16_f16_min_coarse_m16", "w4a16_f16_min_coarse_m32"]),
    row(Bf16, SYM, 32, Decode::Fast, W4_BF16, ["w4a16_bf16_sym_g32", "w4a16_bf16_sym_g32_m16", "w4a16_bf16_sym_g32_m32"]),
    row(Bf16, SYM, 64, Decode::Fast, W4_BF16, ["w4a16_bf16_sym_g64", "w4a16_bf16_sym_g64_m16", "w4a16_bf16_sym_g64_m32"]),
    row(Bf16, SYM, 128, Decode::Fast, W4_BF16, ["w4a16_bf16_sym_g128", "w4a16_bf16_sym_g128_m16", "w4a16_bf16_sym_g128_m32"]),
    row(Bf16, SYM, 0, Decode::Fast, W4_BF16, ["w4a16_bf16_sym_coarse", "w4a16_bf16_sym_coarse_m16", "w4a16_bf16_sym_coarse_m32"]),
    row(Bf16, ZERO4, 32, Decode::Fast, W4_BF16, ["w4a16_bf16_zero4_g32", "w4a16_bf16_zero4_g32_m16", "w4a16_bf16_zero4_g32_m32"]),
    row(Bf16, ZERO4, 64, Decode::Fast, W4_BF16, ["w4a16_bf16_zero4_g64", "w4a16_bf16_zero4_g64_m16", "w4a16_bf16_zero4_g64_m32"]),
    row(Bf16, ZERO4, 128, Decode::Fast, W4_BF16, ["w4a16_bf16_zero4_g128", "w4a16_bf16_zero4_g128_m16", "w4a16_bf16_zero4_g128_m32"]),
    row(Bf16, ZERO4, 0, Decode::Fast, W4_BF16, ["w4a16_bf16_zero4_coarse", "w4a16_bf16_zero4_coarse_m16", "w4a16_bf16_zero4_coarse_m32"]),
    row(Bf16, REAL, 32, Decode::Fast, W4_BF16, ["w4a16_bf16_real_g32", "w4a16_bf16_real_g32_m16", "w4a16_bf16_real_g32_m32"]),
    row(Bf16, REAL, 64, Decode::Fast, W4_BF16, ["w4a16_bf16_real_g64", "w4a16_bf16_real_g64_m16", "w4a16_bf16_real_g64_m32"]),
    row(Bf16, REAL, 128, Decode::Fast, W4_BF16, ["w4a16_bf16_real_g128", "w4a16_bf16_real_g128_m16", "w4a16_bf16_real_g128_m32"]),
    row(Bf16, REAL, 0, Decode::Fast, W4_BF16, ["w4a16_bf16_real_coarse", "w4a16_bf16_real_coarse_m16", "w4a16_bf16_real_coarse_m32"]),
    row(Bf16, MIN, 32, Decode::Fast, W4_BF16, ["w4a16_bf16_min_g32", "w4a16_bf16_min_g32_m16", "w4a16_bf16_min_g32_m32"]),
    row(Bf16, MIN, 64, Decode::Fast, W4_BF16, ["w4a16_bf16_min_g64", "w4a16_bf16_min_g64_m16", "w4a16_bf16_min_g64_m32"]),
    row(Bf16, MIN, 128, Decode::Fast, W4_BF16, ["w4a16_bf16_min_g128", "w4a16_bf16_min_g128_m16", "w4a16_bf16_min_g128_m32"]),
    row(Bf16, MIN, 0, Decode::Fast, W4_BF16, ["w4a16_bf16_min_coarse", "w4a16_bf16_min_coarse_m16", "w4a16_bf16_min_coarse_m32"]),
    row(F16, SYM, 32, Decode::Exact, W4_EXACT, ["w4a16_f16_sym_g32_exact", "w4a16_f16_sym_g32_exact_m16", "w4a16_f16_sym_g32_exact_m32"]),
    row(F16, SYM, 128, Decode::Exact, W4_EXACT, ["w4a16_f16_sym_g128_exact", "w4a16_f16_sym_g128_exact_m16", "w4a16_f16_sym_g128_exact_m32"]),
    row(F16, ZERO4, 32, Decode::Exact, W4_EXACT, ["w4a16_f16_zero4_g32_exact", "w4a16_f16_zero4_g32_exact_m16", "w4a16_f16_zero4_g32_exact_m32"]),
    row(F16, ZERO4, 128, Decode::Exact, W4_EXACT, ["w4a16_f16_zero4_g128_exact", "w4a16_f16_zero4_g128_exact_m16", "w4a16_f16_zero4_g128_exact_m32"]),
    row(F16, INT8, 32, Decode::Exact, W8, ["w8a16_f16_g32", "w8a16_f16_g32_m16", "w8a16_f16_g32_m32"]),
    row(F16, INT8, 0, Decode::Exact, W8, ["w8a16_f16_coarse", "w8a16_f16_coarse_m16", "w8a16_f16_coarse_m32"]),
    row(Bf16, INT8, 32, Decode::Exact, W8, ["w8a16_bf16_g32", "w8a16_bf16_g32_m16", "w8a16_bf16_g32_m32"]),
    row(Bf16, INT8, 0, Decode::Exact, W8, ["w8a16_bf16_coarse", "w8a16_bf16_coarse_m16", "w8a16_bf16_coarse_m32"]),
];

/// A kernel for any number of rows; its decode is the exact one.
struct TiledInstance {
    x: DType,
    kind: Kind,
    /// As in [`Instance`].
    group: usize,
    entry: Entry<ProductParams>,
}

const fn tiled_row(x: DType, kind: Kind, group: usize, module: &'static str, name: &'static str) -> TiledInstance {
    TiledInstance { x, kind, group, entry: Entry::new(module, name) }
}

#[rustfmt::skip] // One instance, one line.
const TILED: &[TiledInstance] = &[
    tiled_row(F16, SYM, 32, "matmul/w4a16_f16_tiled", "w4a16_f16_sym_g32_tiled"),
    tiled_row(F16, SYM, 64, "matmul/w4a16_f16_tiled", "w4a16_f16_sym_g64_tiled"),
    tiled_row(F16, SYM, 128, "matmul/w4a16_f16_tiled", "w4a16_f16_sym_g128_tiled"),
    tiled_row(F16, SYM, 0, "matmul/w4a16_f16_tiled", "w4a16_f16_sym_coarse_tiled"),
    tiled_row(F16, ZERO4, 32, "matmul/w4a16_f16_tiled", "w4a16_f16_zero4_g32_tiled"),
    tiled_row(F16, ZERO4, 64, "matmul/w4a16_f16_tiled", "w4a16_f16_zero4_g64_tiled"),
    tiled_row(F16, ZERO4, 128, "matmul/w4a16_f16_tiled", "w4a16_f16_zero4_g128_tiled"),
    tiled_row(F16, ZERO4, 0, "matmul/w4a16_f16_tiled", "w4a16_f16_zero4_coarse_tiled"),
    tiled_row(F16, REAL, 32, "matmul/w4a16_f16_tiled", "w4a16_f16_real_g32_tiled"),
    tiled_row(F16, REAL, 64, "matmul/w4a16_f16_tiled", "w4a16_f16_real_g64_tiled"),
    tiled_row(F16, REAL, 128, "matmul/w4a16_f16_tiled", "w4a16_f16_real_g128_tiled"),
    tiled_row(F16, REAL, 0, "matmul/w4a16_f16_tiled", "w4a16_f16_real_coarse_tiled"),
    tiled_row(F16, MIN, 32, "matmul/w4a16_f16_tiled", "w4a16_f16_min_g32_tiled"),
    tiled_row(F16, MIN, 64, "matmul/w4a16_f16_tiled", "w4a16_f16_min_g64_tiled"),
    tiled_row(F16, MIN, 128, "matmul/w4a16_f16_tiled", "w4a16_f16_min_g128_tiled"),
    tiled_row(F16, MIN, 0, "matmul/w4a16_f16_tiled", "w4a16_f16_min_coarse_tiled"),
    tiled_row(F16, INT8, 32, "matmul/w8a16_tiled", "w8a16_f16_g32_tiled"),
    tiled_row(F16, INT8, 0, "matmul/w8a16_tiled", "w8a16_f16_coarse_tiled"),
    tiled_row(Bf16, SYM, 32, "matmul/w4a16_bf16_tiled", "w4a16_bf16_sym_g32_tiled"),
    tiled_row(Bf16, SYM, 64, "matmul/w4a16_bf16_tiled", "w4a16_bf16_sym_g64_tiled"),
    tiled_row(Bf16, SYM, 128, "matmul/w4a16_bf16_tiled", "w4a16_bf16_sym_g128_tiled"),
    tiled_row(Bf16, SYM, 0, "matmul/w4a16_bf16_tiled", "w4a16_bf16_sym_coarse_tiled"),
    tiled_row(Bf16, ZERO4, 32, "matmul/w4a16_bf16_tiled", "w4a16_bf16_zero4_g32_tiled"),
    tiled_row(Bf16, ZERO4, 64, "matmul/w4a16_bf16_tiled", "w4a16_bf16_zero4_g64_tiled"),
    tiled_row(Bf16, ZERO4, 128, "matmul/w4a16_bf16_tiled", "w4a16_bf16_zero4_g128_tiled"),
    tiled_row(Bf16, ZERO4, 0, "matmul/w4a16_bf16_tiled", "w4a16_bf16_zero4_coarse_tiled"),
    tiled_row(Bf16, REAL, 32, "matmul/w4a16_bf16_tiled", "w4a16_bf16_real_g32_tiled"),
    tiled_row(Bf16, REAL, 64, "matmul/w4a16_bf16_tiled", "w4a16_bf16_real_g64_tiled"),
    tiled_row(Bf16, REAL, 128, "matmul/w4a16_bf16_tiled", "w4a16_bf16_real_g128_tiled"),
    tiled_row(Bf16, REAL, 0, "matmul/w4a16_bf16_tiled", "w4a16_bf16_real_coarse_tiled"),
    tiled_row(Bf16, MIN, 32, "matmul/w4a16_bf16_tiled", "w4a16_bf16_min_g32_tiled"),
    tiled_row(Bf16, MIN, 64, "matmul/w4a16_bf16_tiled", "w4a16_bf16_min_g64_tiled"),
    tiled_row(Bf16, MIN, 128, "matmul/w4a16_bf16_tiled", "w4a16_bf16_min_g128_tiled"),
    tiled_row(Bf16, MIN, 0, "matmul/w4a16_bf16_tiled", "w4a16_bf16_min_coarse_tiled"),
    tiled_row(Bf16, INT8, 32, "matmul/w8a16_tiled", "w8a16_bf16_g32_tiled"),
    tiled_row(Bf16, INT8, 0, "matmul/w8a16_tiled", "w8a16_bf16_coarse_tiled"),
];

/// The lines of the launch table.
pub(crate) fn entries() -> Vec<EntryRow> {
    let skinny = TABLE.iter().flat_map(|instance| instance.entries);
    skinny.chain(TILED.iter().map(|instance| instance.entry)).map(|entry| entry.row()).collect()
}

/// The group by which the tables name a layout's kernels.
fn group_of(layout: &PackedLayout) -> usize {
    if layout.record_is_group() { 0 } else { layout.group() }
}

fn find(layout: &PackedLayout, x: DType, decode: Decode) -> Option<&'static Instance> {
    let kind = Kind::of(layout.format());
    let group = group_of(layout);
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

/// The kernel for `rows` rows, 1 to 32 of them.
pub(super) fn entry(
    op: &'static str,
    layout: &PackedLayout,
    x: DType,
    decode: Decode,
    rows: usize,
) -> Result<Entry<ProductParams>> {
    if let Some(instance) = find(layout, x, decode) {
        return Ok(instance.entries[usize::from(rows > 8) + usize::from(rows > 16)]);
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

/// The kernel for any number of rows, and how many of them a block takes.
pub(super) fn tiled_entry(op: &'static str, layout: &PackedLayout, x: DType) -> Result<(Entry<ProductParams>, usize)> {
    let (kind, group) = (Kind::of(layout.format()), group_of(layout));
    let block_rows = if matches!(kind, REAL | MIN) { 32 } else { 64 };
    let found = TILED.iter().find(|i| i.x == x && i.kind == kind && i.group == group);
    found.map(|instance| (instance.entry, block_rows)).ok_or_else(|| {
        let what = format!("{} weights in groups of {} with {x} activations", kind.name(), layout.group());
        let list: Vec<_> = TILED.iter().map(|i| i.entry.row().name).collect();
        Error::unsupported(op, what, list.join(", "))
    })
}
