//! Scales of any kind on the host, owned.

use half::f16;
use lowbit::format::{HostScales, HostScalesMut, Matrix, ScaleKind, Scales, Scheme};

/// Room for every kind; those that the scheme does not have are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedScales {
    /// The kind that the scheme has.
    pub kind: ScaleKind,
    /// f32 scales, or the one of the tensor.
    pub f32: Vec<f32>,
    /// f16 scales.
    pub f16: Vec<f16>,
    /// f16 minima.
    pub min: Vec<f16>,
    /// Block scales.
    pub block: Vec<u8>,
}

impl OwnedScales {
    /// Room for the scheme's regions.
    pub fn new(scheme: Scheme, shape: Matrix) -> Self {
        let (regions, kind) = (scheme.regions(shape), scheme.code.scale_kind());
        let (f32, f16, block) = match kind {
            ScaleKind::F32 => (regions, 0, 0),
            ScaleKind::F16WithMin => (0, regions, 0),
            ScaleKind::E4m3UnderF32 => (1, 0, regions),
            ScaleKind::E8m0 => (0, 0, regions),
        };
        Self { kind, f32: vec![0.0; f32], f16: vec![f16::ZERO; f16], min: vec![f16::ZERO; f16], block: vec![0; block] }
    }

    /// To be read.
    pub fn view(&self) -> HostScales<'_> {
        match self.kind {
            ScaleKind::F32 => Scales::Symmetric(&self.f32[..]),
            ScaleKind::F16WithMin => Scales::Asymmetric { scale: &self.f16[..], min: &self.min[..] },
            ScaleKind::E4m3UnderF32 => Scales::Blocks { block: &self.block[..], tensor: &self.f32[..] },
            ScaleKind::E8m0 => Scales::Exponents(&self.block[..]),
        }
    }

    /// To be written.
    pub fn view_mut(&mut self) -> HostScalesMut<'_> {
        match self.kind {
            ScaleKind::F32 => Scales::Symmetric(&mut self.f32[..]),
            ScaleKind::F16WithMin => Scales::Asymmetric { scale: &mut self.f16[..], min: &mut self.min[..] },
            ScaleKind::E4m3UnderF32 => Scales::Blocks { block: &mut self.block[..], tensor: &mut self.f32[..] },
            ScaleKind::E8m0 => Scales::Exponents(&mut self.block[..]),
        }
    }
}
