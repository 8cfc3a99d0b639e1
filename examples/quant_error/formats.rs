//! The formats, each as a way to code a tensor and to read it back.

use lowbit::calibrate::{channel_range, lloyd_max, nuq};
use lowbit::format::{
    Axis, Code, Fp8, GgmlType, Matrix, Outliers, Rotation, ScaleKind, Scales, Scheme, Spread, Transform, outlier_slots,
};
use lowbit::half::f16;
use lowbit::reference;

use crate::Tensor;

/// A coded tensor: its bytes with everything that belongs to it, and its values.
pub struct Coded {
    pub bytes: usize,
    pub y: Vec<f32>,
}

pub struct Format {
    pub name: String,
    how: How,
}

enum How {
    Scheme(Scheme),
    Ggml(GgmlType, Rotation),
    /// KVQuant's keys: calibrated on the tensor itself.
    NuqChannel(usize),
    /// KVQuant's values.
    NuqToken(usize),
    /// A signed rotation, the norm, the Gaussian's table.
    LloydMax(usize),
}

/// Every format, those that the tensor's shape does not allow included: they say why when they code.
pub fn all(tensor: &Tensor) -> Vec<Format> {
    let (e4m3, e5m2) = (Code::Fp8(Fp8::E4m3), Code::Fp8(Fp8::E5m2));
    let head = Axis::Group(tensor.head_dim);
    let schemes = [
        ("int8 per tensor", Code::Int8, Axis::Tensor),
        ("int8 per token and head", Code::Int8, head),
        ("int8 per channel", Code::Int8, Axis::Column),
        ("e4m3 per tensor", e4m3, Axis::Tensor),
        ("e4m3 per token and head", e4m3, head),
        ("e5m2 per tensor", e5m2, Axis::Tensor),
        ("int4 per tensor", Code::Int4, Axis::Tensor),
        ("int4 per token and head", Code::Int4, head),
        ("int4 per channel", Code::Int4, Axis::Column),
        ("int2 per channel", Code::Int2, Axis::Column),
        ("e4m3 per channel", e4m3, Axis::Column),
        ("uint8, 32 channels", Code::Uint8, Axis::Group(32)),
        ("uint4, 32 channels", Code::Uint4, Axis::Group(32)),
        ("uint2, 32 channels", Code::Uint2, Axis::Group(32)),
        ("int4, 32 channels", Code::Int4, Axis::Group(32)),
        ("uint8, 32 tokens of a channel", Code::Uint8, Axis::TokenGroup(32)),
        ("uint4, 32 tokens of a channel", Code::Uint4, Axis::TokenGroup(32)),
        ("uint2, 32 tokens of a channel", Code::Uint2, Axis::TokenGroup(32)),
        ("nvfp4", Code::Nvfp4, Axis::Group(16)),
        ("mxfp4", Code::Mxfp4, Axis::Group(32)),
        ("mxfp8 e4m3", Code::Mxfp8(Fp8::E4m3), Axis::Group(32)),
        ("mxfp8 e5m2", Code::Mxfp8(Fp8::E5m2), Axis::Group(32)),
    ];
    let scheme = |(name, code, axis): (&str, _, _)| (name.to_string(), How::Scheme(Scheme { code, axis }));
    let rotation = Rotation::of_head(tensor.head_dim);
    let block = rotation.block();
    let mut all: Vec<(String, How)> = schemes.into_iter().map(scheme).collect();
    all.extend(GgmlType::ALL.map(|kind| (format!("ggml {}", kind.name()), How::Ggml(kind, Rotation::None))));
    all.push((format!("ggml q4_0, rotated by {block}"), How::Ggml(GgmlType::Q4_0, rotation)));
    for bits in [4, 3, 2] {
        all.push((format!("nuq{bits} per channel, outliers"), How::NuqChannel(bits)));
        all.push((format!("nuq{bits} per token, outliers"), How::NuqToken(bits)));
        all.push((format!("Lloyd-Max {bits} bits, rotated by {block}"), How::LloydMax(bits)));
    }
    all.into_iter().map(|(name, how)| Format { name, how }).collect()
}

impl Format {
    pub fn code(&self, tensor: &Tensor) -> lowbit::Result<Coded> {
        match self.how {
            How::Scheme(scheme) => self::scheme(tensor, scheme),
            How::Ggml(kind, rotation) => ggml(tensor, kind, rotation),
            How::NuqChannel(bits) => nuq_channel(tensor, bits),
            How::NuqToken(bits) => nuq_token(tensor, bits),
            How::LloydMax(bits) => gaussian(tensor, bits),
        }
    }
}

/// A row per token, or one per token and head.
const fn by_token(tensor: &Tensor) -> Matrix {
    Matrix::dense(tensor.tokens, tensor.channels())
}
const fn by_head(tensor: &Tensor) -> Matrix {
    Matrix::dense(tensor.tokens * tensor.heads, tensor.head_dim)
}

/// Codes by a scheme of `ops::quantize`.
pub fn scheme(tensor: &Tensor, scheme: Scheme) -> lowbit::Result<Coded> {
    let (shape, kind) = (by_token(tensor), scheme.code.scale_kind());
    let regions = scheme.regions(shape);
    let (mut scale, mut halves, mut min) = (vec![0f32; regions], vec![f16::ZERO; regions], vec![f16::ZERO; regions]);
    let mut block = vec![0u8; regions];
    let mut codes = vec![0u8; shape.rows * scheme.row_bytes(shape.cols)];
    let scales = match kind {
        ScaleKind::F32 => Scales::Symmetric(&mut scale[..]),
        ScaleKind::F16WithMin => Scales::Asymmetric { scale: &mut halves[..], min: &mut min[..] },
        ScaleKind::E4m3UnderF32 => Scales::Blocks { block: &mut block[..], tensor: &mut scale[..] },
        ScaleKind::E8m0 => Scales::Exponents(&mut block[..]),
    };
    reference::quantize::quantize(scheme, shape, &tensor.x, &mut codes, scales)?;
    let scales = match kind {
        ScaleKind::F32 => Scales::Symmetric(&scale[..]),
        ScaleKind::F16WithMin => Scales::Asymmetric { scale: &halves[..], min: &min[..] },
        ScaleKind::E4m3UnderF32 => Scales::Blocks { block: &block[..], tensor: &scale[..] },
        ScaleKind::E8m0 => Scales::Exponents(&block[..]),
    };
    let mut y = vec![0f32; tensor.x.len()];
    reference::quantize::dequantize(scheme, shape, &codes, scales, &mut y)?;
    let of_scales = match kind {
        ScaleKind::F32 | ScaleKind::F16WithMin => 4 * regions,
        ScaleKind::E4m3UnderF32 => regions + 4,
        ScaleKind::E8m0 => regions,
    };
    Ok(Coded { bytes: codes.len() + of_scales, y })
}

fn ggml(tensor: &Tensor, kind: GgmlType, rotation: Rotation) -> lowbit::Result<Coded> {
    let (shape, transform) = (by_head(tensor), Transform::rotation(rotation));
    let mut blocks = vec![0u8; shape.rows * kind.row_bytes(shape.cols)];
    reference::ggml::quantize(kind, &transform, shape, &tensor.x, &mut blocks)?;
    let mut y = vec![0f32; tensor.x.len()];
    reference::ggml::dequantize(kind, shape, &blocks, &mut y)?;
    Ok(Coded { bytes: blocks.len(), y: inverse(&transform, shape, &y)? })
}

fn inverse(transform: &Transform<&[f32]>, shape: Matrix, y: &[f32]) -> lowbit::Result<Vec<f32>> {
    let mut x = vec![0f32; y.len()];
    reference::transform::inverse(transform, shape, y, &mut x)?;
    Ok(x)
}

/// What an outlier-aware code of `slots` a row holds beside its codes.
struct Slots {
    channel: Vec<u8>,
    value: Vec<f16>,
}

impl Slots {
    fn new(count: usize) -> Slots {
        Slots { channel: vec![0; count], value: vec![f16::ZERO; count] }
    }
}

fn nuq_channel(tensor: &Tensor, bits: usize) -> lowbit::Result<Coded> {
    let (shape, heads, slots) = (by_head(tensor), tensor.heads, outlier_slots(tensor.head_dim));
    let x: Vec<f32> = tensor.x.iter().map(|v| v.to_f32()).collect();
    let (range, zero) = channel_range(&x, tensor.channels(), 0.005)?;
    let channel = |i: usize| i % tensor.channels();
    let z = |(i, x): (usize, &f32)| (x - zero[channel(i)].to_f32()) / range[channel(i)].to_f32();
    let book = nuq(bits, &x.iter().enumerate().map(z).collect::<Vec<_>>(), None)?;
    let mut codes = vec![0u8; shape.rows * book.row_bytes(shape.cols)];
    let mut kept = Slots::new(shape.rows * slots);
    let spread = Spread::Channel { heads, range: &range[..], zero: &zero[..] };
    let outliers = Outliers { slots, channel: &mut kept.channel[..], value: &mut kept.value[..] };
    reference::codebook::quantize(&book, &Transform::NONE, shape, &tensor.x, &mut codes, spread, Some(outliers))?;
    let spread = Spread::Channel { heads, range: &range[..], zero: &zero[..] };
    let outliers = Outliers { slots, channel: &kept.channel[..], value: &kept.value[..] };
    let mut y = vec![0f32; tensor.x.len()];
    reference::codebook::dequantize(&book, shape, &codes, &spread, Some(&outliers), &mut y)?;
    Ok(Coded { bytes: codes.len() + 4 * tensor.channels() + 3 * shape.rows * slots, y })
}

fn nuq_token(tensor: &Tensor, bits: usize) -> lowbit::Result<Coded> {
    let (shape, slots) = (by_head(tensor), outlier_slots(tensor.head_dim));
    // The table is calibrated with the ranges that coding finds, whatever the table.
    let code = |book: &lowbit::format::Codebook, range: &mut [f16], zero: &mut [f16], kept: &mut Slots| {
        let mut codes = vec![0u8; shape.rows * book.row_bytes(shape.cols)];
        let spread = Spread::Row { range, zero };
        let outliers = Outliers { slots, channel: &mut kept.channel[..], value: &mut kept.value[..] };
        reference::codebook::quantize(book, &Transform::NONE, shape, &tensor.x, &mut codes, spread, Some(outliers))?;
        Ok::<_, lowbit::Error>(codes)
    };
    let (mut range, mut zero) = (vec![f16::ZERO; shape.rows], vec![f16::ZERO; shape.rows]);
    let mut kept = Slots::new(shape.rows * slots);
    code(&lloyd_max(bits)?, &mut range, &mut zero, &mut kept)?;
    let row = |i: usize| i / shape.cols;
    let z = |(i, x): (usize, &f16)| (x.to_f32() - zero[row(i)].to_f32()) / range[row(i)].to_f32();
    let book = nuq(bits, &tensor.x.iter().enumerate().map(z).collect::<Vec<_>>(), None)?;
    let codes = code(&book, &mut range, &mut zero, &mut kept)?;
    let spread = Spread::Row { range: &range[..], zero: &zero[..] };
    let outliers = Outliers { slots, channel: &kept.channel[..], value: &kept.value[..] };
    let mut y = vec![0f32; tensor.x.len()];
    reference::codebook::dequantize(&book, shape, &codes, &spread, Some(&outliers), &mut y)?;
    Ok(Coded { bytes: codes.len() + shape.rows * (4 + 3 * slots), y })
}

fn gaussian(tensor: &Tensor, bits: usize) -> lowbit::Result<Coded> {
    let (shape, book) = (by_head(tensor), lloyd_max(bits)?);
    let block = Rotation::of_head(tensor.head_dim).block();
    let transform = Transform::rotation(Rotation::SignedHadamard { block, seed: 1 });
    let mut codes = vec![0u8; shape.rows * book.row_bytes(shape.cols)];
    let mut range = vec![f16::ZERO; shape.rows];
    let spread = Spread::Norm { range: &mut range[..] };
    reference::codebook::quantize(&book, &transform, shape, &tensor.x, &mut codes, spread, None)?;
    let mut y = vec![0f32; tensor.x.len()];
    reference::codebook::dequantize(&book, shape, &codes, &Spread::Norm { range: &range[..] }, None, &mut y)?;
    Ok(Coded { bytes: codes.len() + 2 * shape.rows, y: inverse(&transform, shape, &y)? })
}
