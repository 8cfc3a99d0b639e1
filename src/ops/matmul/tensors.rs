//! Weights of checkpoints as they lie on the device.

use cudarc::driver::{CudaStream, CudaView, DevicePtr, SyncOnDrop};
use half::{bf16, f16};

use super::arguments::Arguments;
use super::repack::RepackParams;
use crate::error::{Error, Result};
use crate::format::{DType, GgmlType};
use crate::weights::{GptqVersion, PackedLayout, WeightFormat, ZeroPoint};

/// 32-bit words of eight 4-bit codes on the device, as different tensors hold them; [`Words`](crate::weights::Words).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum DeviceWords<'a> {
    /// As unsigned words.
    U32(&'a CudaView<'a, u32>),
    /// As signed words.
    I32(&'a CudaView<'a, i32>),
    /// As bytes, from a multiple of 4 bytes on.
    U8(&'a CudaView<'a, u8>),
}

/// Scales on the device. A value that f16 does not hold is reported in the status word.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum DeviceScales<'a> {
    /// IEEE half precision.
    F16(&'a CudaView<'a, f16>),
    /// bfloat16.
    Bf16(&'a CudaView<'a, bf16>),
    /// IEEE single precision.
    F32(&'a CudaView<'a, f32>),
}

/// Zero points of plain codes on the device, `[groups, n]`; [`Zeros`](crate::weights::Zeros).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum DeviceZeros<'a> {
    /// `w = (q - 8)*s`.
    Symmetric,
    /// `w = (q - zero)*s`.
    Codes(&'a CudaView<'a, u8>),
    /// `w = (q - zero)*s`.
    Real(&'a CudaView<'a, f16>),
    /// `w = q*s + min`.
    Min(&'a CudaView<'a, f16>),
}

/// The order of sorted groups ([`ActOrder`](crate::weights::ActOrder)) on the device.
#[derive(Clone, Copy)]
pub struct DeviceOrder<'a> {
    /// `[layout.k()]`: input of the tensors at a position.
    pub order: &'a CudaView<'a, u32>,
    /// `[layout.groups()]`: group of the tensors that a group of the layout is.
    pub groups: &'a CudaView<'a, u32>,
    /// k of the tensors.
    pub inputs: usize,
    /// Groups of the tensors.
    pub tensor_groups: usize,
}

/// The tensors of a linear layer. Their shapes are those of [`weights::Gptq`](crate::weights::Gptq),
/// [`weights::Awq`](crate::weights::Awq), [`weights::CompressedTensors`](crate::weights::CompressedTensors),
/// [`weights::PlainWeights`](crate::weights::PlainWeights), and rows of blocks.
#[derive(Clone, Copy)]
#[non_exhaustive]
#[allow(missing_docs)] // The fields are those of the types above.
pub enum Tensors<'a> {
    /// To a layout with 4-bit zeros.
    Gptq {
        version: GptqVersion,
        qweight: DeviceWords<'a>,
        qzeros: DeviceWords<'a>,
        scales: DeviceScales<'a>,
        order: Option<DeviceOrder<'a>>,
    },
    /// To a layout with 4-bit zeros.
    Awq { qweight: DeviceWords<'a>, qzeros: DeviceWords<'a>, scales: DeviceScales<'a> },
    /// To a layout with 4-bit zeros, or a symmetric one where there is no zero point.
    CompressedTensors {
        weight_packed: DeviceWords<'a>,
        zero_point: Option<DeviceWords<'a>>,
        scales: DeviceScales<'a>,
        order: Option<DeviceOrder<'a>>,
    },
    /// To a layout of the zeros' kind.
    Plain { codes: &'a CudaView<'a, u8>, scales: &'a CudaView<'a, f16>, zeros: DeviceZeros<'a> },
    /// Q4_0 to a symmetric layout, Q4_1 to one with minima, Q8_0 to 8 bits; groups of 32.
    Ggml { kind: GgmlType, blocks: &'a CudaView<'a, u8> },
}

/// Fills in the parameters; checks while it goes, and keeps the guards.
struct Binder<'a> {
    arguments: Arguments,
    stream: &'a CudaStream,
    guards: Vec<SyncOnDrop<'a>>,
}

impl<'a> Binder<'a> {
    fn view<T>(&mut self, argument: &'static str, view: &'a CudaView<'a, T>, elements: usize) -> Result<u64> {
        self.arguments.at_least(argument, elements, view.len())?;
        let (pointer, guard) = view.device_ptr(self.stream);
        self.guards.push(guard);
        Ok(pointer)
    }

    fn words(&mut self, argument: &'static str, words: DeviceWords<'a>, count: usize) -> Result<u64> {
        match words {
            DeviceWords::U32(view) => self.view(argument, view, count),
            DeviceWords::I32(view) => self.view(argument, view, count),
            DeviceWords::U8(view) => {
                let pointer = self.view(argument, view, 4 * count)?;
                self.arguments.aligned(argument, pointer, 4)?;
                Ok(pointer)
            }
        }
    }

    fn scales(&mut self, scales: DeviceScales<'a>, count: usize) -> Result<(u64, u32)> {
        Ok(match scales {
            DeviceScales::F16(view) => (self.view("scales", view, count)?, DType::F16 as u32),
            DeviceScales::Bf16(view) => (self.view("scales", view, count)?, DType::Bf16 as u32),
            DeviceScales::F32(view) => (self.view("scales", view, count)?, DType::F32 as u32),
        })
    }

    fn order(&mut self, params: &mut RepackParams, order: Option<DeviceOrder<'a>>) -> Result<()> {
        let Some(order) = order else { return Ok(()) };
        self.arguments.within("order.inputs", 1..=1 << 24, order.inputs)?;
        self.arguments.within("order.tensor_groups", 1..=1 << 24, order.tensor_groups)?;
        params.order = self.view("order.order", order.order, params.k as usize)?;
        params.order_groups = self.view("order.groups", order.groups, params.groups as usize)?;
        params.k_inputs = order.inputs as u32;
        params.tensor_groups = order.tensor_groups as u32;
        Ok(())
    }

    fn multiple_of_8(&self, argument: &'static str, value: u32) -> Result<()> {
        if value.is_multiple_of(8) {
            return Ok(());
        }
        Err(Error::argument(self.arguments.op, argument, "a multiple of 8", value.to_string()))
    }
}

impl Tensors<'_> {
    fn wrong_format(op: &'static str, expected: &'static str, layout: &PackedLayout) -> Error {
        Error::argument(op, "layout", expected, format!("{:?} in groups of {}", layout.format(), layout.group()))
    }

    /// Refuses a layout that does not hold the tensors; the rest of the parameters but status and output.
    pub(super) fn bind<'a>(
        &'a self,
        arguments: Arguments,
        stream: &'a CudaStream,
        layout: &PackedLayout,
    ) -> Result<(RepackParams, Vec<SyncOnDrop<'a>>)> {
        let op = arguments.op;
        let fits = |ok: bool, expected| if ok { Ok(()) } else { Err(Self::wrong_format(op, expected, layout)) };
        let plus = match layout.format() {
            WeightFormat::Int4(ZeroPoint::Bits4 { plus }) => Some(i32::from(plus)),
            _ => None,
        };
        let mut params = RepackParams::of(layout);
        let mut binder = Binder { arguments, stream, guards: Vec::new() };
        let n = layout.n();
        match *self {
            Tensors::Gptq { version, qweight, qzeros, scales, order } => {
                fits(plus.is_some(), "4-bit weights with 4-bit zeros")?;
                binder.order(&mut params, order)?;
                binder.multiple_of_8("n", params.n)?;
                binder.multiple_of_8("k", params.k_inputs)?;
                let groups = params.tensor_groups as usize;
                params.tensors = 0;
                params.codes = binder.words("qweight", qweight, params.k_inputs as usize / 8 * n)?;
                params.zeros = binder.words("qzeros", qzeros, groups * n / 8)?;
                (params.scales, params.scale_type) = binder.scales(scales, groups * n)?;
                params.version_plus = u32::from(version == GptqVersion::V1);
            }
            Tensors::Awq { qweight, qzeros, scales } => {
                fits(plus.is_some(), "4-bit weights with 4-bit zeros")?;
                binder.multiple_of_8("n", params.n)?;
                let groups = layout.groups();
                params.tensors = 1;
                params.codes = binder.words("qweight", qweight, layout.k() * n / 8)?;
                params.zeros = binder.words("qzeros", qzeros, groups * n / 8)?;
                (params.scales, params.scale_type) = binder.scales(scales, groups * n)?;
            }
            Tensors::CompressedTensors { weight_packed, zero_point, scales, order } => {
                if zero_point.is_some() {
                    fits(plus.is_some(), "4-bit weights with 4-bit zeros")?;
                } else {
                    fits(layout.format() == WeightFormat::Int4(ZeroPoint::Symmetric), "symmetric 4-bit weights")?;
                }
                binder.order(&mut params, order)?;
                let groups = params.tensor_groups as usize;
                params.tensors = 2;
                params.codes =
                    binder.words("weight_packed", weight_packed, n * params.k_inputs.div_ceil(8) as usize)?;
                if let Some(zeros) = zero_point {
                    params.zeros = binder.words("zero_point", zeros, n.div_ceil(8) * groups)?;
                }
                (params.scales, params.scale_type) = binder.scales(scales, n * groups)?;
            }
            Tensors::Plain { codes, scales, zeros } => {
                let per_group = layout.groups() * n;
                params.tensors = 3;
                params.codes = binder.view("codes", codes, layout.k() * n)?;
                (params.scales, params.scale_type) = binder.scales(DeviceScales::F16(scales), per_group)?;
                match zeros {
                    DeviceZeros::Symmetric => {
                        fits(layout.format() == WeightFormat::Int4(ZeroPoint::Symmetric), "symmetric 4-bit weights")?;
                    }
                    DeviceZeros::Codes(view) => {
                        fits(plus.is_some(), "4-bit weights with 4-bit zeros")?;
                        params.zeros = binder.view("zeros", view, per_group)?;
                    }
                    DeviceZeros::Real(view) => {
                        fits(layout.format() == WeightFormat::Int4(ZeroPoint::Real), "4-bit weights with real zeros")?;
                        params.offsets = binder.view("zeros", view, per_group)?;
                    }
                    DeviceZeros::Min(view) => {
                        fits(layout.format() == WeightFormat::Int4(ZeroPoint::Min), "4-bit weights with minima")?;
                        params.offsets = binder.view("zeros", view, per_group)?;
                    }
                }
            }
            Tensors::Ggml { kind, blocks } => {
                let (format, tensors) = match kind {
                    GgmlType::Q4_0 => (WeightFormat::Int4(ZeroPoint::Symmetric), 4),
                    GgmlType::Q4_1 => (WeightFormat::Int4(ZeroPoint::Min), 5),
                    GgmlType::Q8_0 => (WeightFormat::Int8, 6),
                    _ => return Err(Error::unsupported(op, kind.name(), "q4_0, q4_1, q8_0")),
                };
                let whole = layout.k().is_multiple_of(32) && layout.group() == 32;
                fits(whole && layout.format() == format, "the weights of the blocks' type, whole groups of 32")?;
                params.tensors = tensors;
                params.codes = binder.view("blocks", blocks, n * (layout.k() / 32) * kind.block_bytes())?;
            }
        }
        params.zero_delta = params.version_plus as i32 - plus.unwrap_or(0);
        Ok((params, binder.guards))
    }
}
