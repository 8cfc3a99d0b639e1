//! What a launch passes.

use cudarc::driver::DeviceRepr;

use super::skinny::Decode;
use super::split::Split;
use crate::format::DType;
use crate::weights::{PackedLayout, WeightFormat, ZeroPoint};

/// A matrix that takes a run of the outputs; `OutputPart` of `kernels/matmul/params.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct OutputPart {
    pub out: u64,
    pub stride: u64,
    pub end: u32,
    pub reserved: u32,
}

/// The most matrices that take the outputs of one product.
pub const MAX_SEGMENTS: usize = 4;

/// `ProductParams` of `kernels/matmul/params.cuh`, where the fields are explained.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ProductParams {
    pub codes: u64,
    pub meta: u64,
    pub zeros: u64,
    pub x: u64,
    pub bias: u64,
    pub residual: u64,
    pub partials: u64,
    pub counters: u64,
    pub x_stride: u64,
    pub residual_stride: u64,
    pub parts: [OutputPart; MAX_SEGMENTS],
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
    pub gate: u32,
}

// SAFETY: `repr(C)`, plain integers without padding; the kernel's struct of the same name has the same fields.
unsafe impl DeviceRepr for ProductParams {}

impl ProductParams {
    /// What follows from the weights and the type of x, with the packed buffer at `weights`.
    pub(super) fn of_weights(layout: &PackedLayout, weights: u64, x: DType, decode: Decode) -> Self {
        Self {
            codes: weights,
            meta: weights + layout.scales_at() as u64,
            zeros: weights + layout.zeros_at() as u64,
            n: layout.n() as u32,
            k: layout.k() as u32,
            row_tiles: layout.row_tiles() as u32,
            tiles: layout.tiles() as u32,
            blocks: layout.blocks() as u32,
            meta_blocks: layout.records() as u32,
            meta_shift: meta_shift(layout),
            minus_base: minus_base(layout, x, decode),
            ..Self::default()
        }
    }

    /// Divides the blocks along k into runs, the first ones a block longer if they do not come out even.
    pub(super) fn divide(&mut self, split: Split) {
        let parts = split.parts() as u32;
        self.k_warps_log2 = split.k_warps.ilog2();
        self.part_blocks = self.blocks / parts;
        self.longer_parts = self.blocks % parts;
    }
}

/// Block b of k uses record `b >> meta_shift` where records are groups; one group: record 0.
pub(super) fn meta_shift(layout: &PackedLayout) -> u32 {
    if layout.groups() == 1 { 31 } else { (layout.group() / layout.format().block_k()).max(1).ilog2() }
}

/// What the kernel takes from the decoded codes when the stored zero is 0, two halves for each register of the A operand: `-plus`
/// in the unit of the decode (`Code4` in w4.cuh), less what the decode adds. Four of them even where they are equal: a copy
/// of one would take a register more. The kernel adds the stored zero.
pub(super) fn minus_base(layout: &PackedLayout, x: DType, decode: Decode) -> [u32; 4] {
    let plus = plus(layout);
    // Of outputs g and of outputs g + 8.
    let halves = match (x, decode) {
        (DType::F16, Decode::Fast) => [0x8000 + (plus << 6); 2],
        (DType::F16, Decode::Exact) => [0xbc00 + (plus << 6), 0xcc00 + (plus << 2)], // -1 and -16, in sixteenths
        _ => [0xbf80 + (plus << 3); 2],                                              // -1
    };
    [0, 1, 0, 1].map(|i| halves[i] << 16 | halves[i])
}

/// The same of int8 x (`W4Int8` in w4a8.cuh): whole numbers.
pub(super) fn minus_base_int8(layout: &PackedLayout) -> [u32; 4] {
    let minus = plus(layout).wrapping_neg();
    [minus.wrapping_mul(16), minus, 0, 0]
}

/// What 4-bit zeros are beyond the stored ones.
fn plus(layout: &PackedLayout) -> u32 {
    match layout.format() {
        WeightFormat::Int4(ZeroPoint::Bits4 { plus }) => plus.into(),
        _ => 0,
    }
}
