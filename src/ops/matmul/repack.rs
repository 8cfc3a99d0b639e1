//! Weights of checkpoints to the packed layout, on the device.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaViewMut, DevicePtrMut, DeviceRepr};

use super::arguments::Arguments;
use super::tensors::Tensors;
use crate::error::Result;
use crate::runtime::{Entry, EntryRow, Kernels, Launch, check_stream};
use crate::weights::{PackedLayout, WeightFormat, ZeroPoint};

const OP: &str = "matmul::repack";
const THREADS: usize = 256;
/// The most blocks of a launch; their threads go on in strides.
const MOST_BLOCKS: usize = 1 << 16;

/// `RepackParams` of `kernels/matmul/repack.cu`, where the fields are explained.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RepackParams {
    pub codes: u64,
    pub zeros: u64,
    pub offsets: u64,
    pub scales: u64,
    pub order: u64,
    pub order_groups: u64,
    pub out: u64,
    pub scales_at: u64,
    pub zeros_at: u64,
    pub status: u64,
    pub tensors: u32,
    pub n: u32,
    pub k: u32,
    pub k_inputs: u32,
    pub group: u32,
    pub groups: u32,
    pub tensor_groups: u32,
    pub row_tiles: u32,
    pub tiles: u32,
    pub records: u32,
    pub record_groups: u32,
    pub has_offset: u32,
    pub has_zeros: u32,
    pub scale_type: u32,
    pub zero_delta: i32,
    pub version_plus: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernels' struct of the same name has the same fields.
unsafe impl DeviceRepr for RepackParams {}

impl RepackParams {
    /// What follows from the layout, for tensors of its k and groups.
    pub(super) fn of(layout: &PackedLayout) -> Self {
        let format = layout.format();
        Self {
            scales_at: layout.scales_at() as u64,
            zeros_at: layout.zeros_at() as u64,
            n: layout.n() as u32,
            k: layout.k() as u32,
            k_inputs: layout.k() as u32,
            group: layout.group() as u32,
            groups: layout.groups() as u32,
            tensor_groups: layout.groups() as u32,
            row_tiles: layout.row_tiles() as u32,
            tiles: layout.tiles() as u32,
            records: layout.records() as u32,
            record_groups: layout.record_groups() as u32,
            has_offset: u32::from(matches!(format, WeightFormat::Int4(ZeroPoint::Real | ZeroPoint::Min))),
            has_zeros: u32::from(matches!(format, WeightFormat::Int4(ZeroPoint::Bits4 { .. }))),
            ..Self::default()
        }
    }
}

const CODES: Entry<RepackParams> = Entry::new("matmul/repack", "repack_codes");
const SCALES: Entry<RepackParams> = Entry::new("matmul/repack", "repack_scales");

/// The lines of the launch table.
pub(super) fn entries() -> [EntryRow; 2] {
    [CODES.row(), SCALES.row()]
}

/// Bits that [`repack`] sets in `status: u32 [1]`; never cleared by this crate. A set bit means that the packed weights are
/// not those of the tensors. The host's importers refuse the same tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RepackStatus(pub u32);

impl RepackStatus {
    /// Nothing to report.
    pub const OK: Self = Self(0);
    /// A scale is not finite, or f16 does not hold it exactly: it was rounded.
    pub const SCALE: Self = Self(1);
    /// A zero is outside the layout's range (0..=15, or 1..=16 with `plus` 1): it was clamped.
    pub const ZERO: Self = Self(1 << 1);
    /// A plain code is above 15: its low four bits were taken.
    pub const CODE: Self = Self(1 << 2);
    /// A group of the order is outside those of the tensors: group 0 was taken.
    pub const ORDER: Self = Self(1 << 3);

    const NAMES: [(Self, &str); 4] = [
        (Self::SCALE, "a scale that f16 does not hold"),
        (Self::ZERO, "a zero outside the layout's range"),
        (Self::CODE, "a code above 15"),
        (Self::ORDER, "a group outside the tensors"),
    ];
}

/// `ok`, or the names of the bits.
impl fmt::Display for RepackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::OK {
            return f.write_str("ok");
        }
        let set: Vec<&str> = Self::NAMES.iter().filter(|(bit, _)| self.0 & bit.0 != 0).map(|(_, name)| *name).collect();
        f.write_str(&set.join(", "))
    }
}

/// Packs `tensors` as `layout` says, every code, scale and zero unchanged: the bytes that the importers of
/// [`crate::weights`] make on the host. GPTQ version 1 stores zeros 1..=16, for which the layout's `plus` must be 1 unless
/// they all are below 16.
///
/// `out` takes [`PackedLayout::bytes`] bytes and starts at a multiple of 16; `status` is described by [`RepackStatus`].
/// Clears `out`, then two kernels.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a layout that does not hold such tensors, lengths or alignments that do
/// not fit, a stream of another context; [`Error::Unsupported`](crate::Error::Unsupported) for another type of blocks;
/// errors of loading and launching.
pub fn repack(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    layout: &PackedLayout,
    tensors: &Tensors<'_>,
    out: &mut CudaViewMut<'_, u8>,
    status: &mut CudaViewMut<'_, u32>,
) -> Result<()> {
    let arguments = Arguments { op: OP, rows: 1 };
    arguments.at_least("out", layout.bytes(), out.len())?;
    arguments.at_least("status", 1, status.len())?;
    check_stream(OP, kernels, stream)?;
    let (mut params, _guards) = tensors.bind(arguments, stream, layout)?;
    {
        let (pointer, _out) = out.device_ptr_mut(stream);
        arguments.aligned("out", pointer, 16)?;
    }
    let blocks = |items: usize| items.div_ceil(THREADS).min(MOST_BLOCKS) as u32;
    let launch =
        |entry, items| Launch { op: OP, entry, grid: (blocks(items), 1, 1), block: (THREADS as u32, 1, 1), shared: 0 };
    let codes = launch(CODES, layout.row_tiles() * layout.tiles() * 128);
    let scales = launch(SCALES, layout.row_tiles() * 8 * layout.groups());
    codes.prepare(kernels)?;
    stream.memset_zeros(&mut out.slice_mut(..layout.bytes()))?;
    let (pointer, _out) = out.device_ptr_mut(stream);
    params.out = pointer;
    let (pointer, _status) = status.device_ptr_mut(stream);
    params.status = pointer;
    // SAFETY: 1. The buffers are borrowed for the call by the guards, and were checked to hold every element that the
    // kernels read (an input or a group of the order is compared with the tensors' first) or write (all of the layout).
    // 2. The guards live to the end of this function.
    unsafe {
        codes.run(kernels, stream, &params)?;
        scales.run(kernels, stream, &params)
    }
}
