//! Linear layers on the device: W4A16 on f16 rows, W8A8 on codes that the operation before has made.

use anyhow::{Result, bail};
use half::f16;
use lowbit::cudarc::driver::{CudaSlice, CudaView, CudaViewMut};
use lowbit::format::activation::Gate;
use lowbit::format::{CodedRows, CodedScale, Element};
use lowbit::ops::matmul::{
    self, ByteOperands, CodedConfig, Epilogue, Operands, Output, Residual, SkinnyConfig, TiledConfig,
};
use lowbit::weights::{ByteAxis, ByteLayout, Clip, Packed, PackedBytes, PackedLayout, RtnZeros, quantize_rtn};

use super::activations::Activations;
use super::preset::{GROUP, Scheme};
use crate::device::Device;

enum Layout {
    Packed(PackedLayout),
    Bytes(ByteLayout),
}

/// Weights `[n, k]` on the device.
pub struct Linear {
    layout: Layout,
    weights: CudaSlice<u8>,
}

impl Linear {
    /// Quantizes weights `[n, k]` to the codes of the scheme and uploads them.
    pub fn quantize(device: &Device, scheme: Scheme, n: usize, k: usize, weights: &[f32]) -> Result<Linear> {
        match scheme {
            Scheme::W4A16(_) => {
                let plain = quantize_rtn(weights, n, k, GROUP, RtnZeros::Asymmetric, Clip::Mse)?;
                Linear::packed(device, &Packed::from_plain(&plain)?)
            }
            Scheme::W8A8 { code, .. } => {
                let packed = PackedBytes::quantize(n, k, code, ByteAxis::Output, weights)?;
                let weights = device.stream.clone_htod(packed.bytes())?;
                Ok(Linear { layout: Layout::Bytes(*packed.layout()), weights })
            }
        }
    }

    /// Uploads weights that f16 rows are multiplied with.
    pub fn packed(device: &Device, packed: &Packed) -> Result<Linear> {
        let weights = device.stream.clone_htod(packed.bytes())?;
        Ok(Linear { layout: Layout::Packed(*packed.layout()), weights })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.weights.len()
    }

    /// Outputs and the length of a sum.
    fn shape(&self) -> (usize, usize) {
        match &self.layout {
            Layout::Packed(layout) => (layout.n(), layout.k()),
            Layout::Bytes(layout) => (layout.n(), layout.k()),
        }
    }

    /// x times the weights transposed, `[rows, n]`.
    pub fn multiply<O: Element>(&self, device: &Device, x: &Activations) -> Result<CudaSlice<O>> {
        let mut out = device.stream.alloc_zeros(x.rows(self.shape().1) * self.shape().0)?;
        self.product(device, x, &mut out.as_view_mut(), Residual::None)?;
        Ok(out)
    }

    /// Adds x times the weights transposed to `out [rows, n]`; the sum is rounded once.
    pub fn add_to(&self, device: &Device, x: &Activations, out: &mut CudaSlice<f16>) -> Result<()> {
        self.product(device, x, &mut out.as_view_mut(), Residual::Output)
    }

    /// SiLU(gate) * up as the layer behind reads it, where these weights are those of gate and up, in this order.
    pub fn gated(&self, device: &Device, scheme: Scheme, x: &Activations) -> Result<Activations> {
        let (cols, rows) = (self.shape().0 / 2, x.rows(self.shape().1));
        match (&self.layout, x) {
            (Layout::Packed(layout), Activations::Half(x)) => {
                let mut out = device.stream.alloc_zeros::<f16>(rows * cols)?;
                let output = Output::Gated(Gate::Silu, &mut out.as_view_mut());
                half_product(device, layout, &self.weights, (x, rows), (output, cols), Residual::None)?;
                Ok(Activations::Half(out))
            }
            _ => Activations::gated(device, scheme, &self.multiply(device, x)?, cols),
        }
    }

    fn product<O: Element>(
        &self,
        device: &Device,
        x: &Activations,
        out: &mut CudaViewMut<'_, O>,
        residual: Residual<'_, O>,
    ) -> Result<()> {
        let Device { kernels, stream, .. } = device;
        let (n, k) = self.shape();
        let rows = x.rows(k);
        match (&self.layout, x) {
            (Layout::Packed(layout), Activations::Half(x)) => {
                half_product(device, layout, &self.weights, (x, rows), (Output::Whole(out), n), residual)
            }
            (Layout::Bytes(layout), Activations::Coded { code, codes, scale }) => {
                let (codes, scale) = (codes.as_view(), scale.as_view());
                let scale = CodedScale::Row(&scale);
                let x = CodedRows { code: *code, codes: &codes, row_stride: k, scale, zero: None };
                let operands = ByteOperands { layout, weights: &self.weights.as_view(), x };
                let epilogue = Epilogue { bias: None, residual };
                let config = CodedConfig::contiguous(rows, n);
                let mut scratch = scratch(device, matmul::w8a8_workspace_bytes(kernels, layout, rows))?;
                let mut workspace = scratch.as_mut().map(|s| s.as_view_mut());
                Ok(matmul::w8a8(kernels, stream, &config, &operands, &epilogue, out, workspace.as_mut())?)
            }
            _ => bail!("weights and activations of different schemes"),
        }
    }
}

/// The product of f16 rows: the skinny kernel for as many rows as it takes, the tiled one for more.
fn half_product<'o, 'v: 'o, O: Element>(
    device: &Device,
    layout: &PackedLayout,
    weights: &CudaSlice<u8>,
    (x, rows): (&CudaSlice<f16>, usize),
    (output, out_stride): (Output<'o, 'v, O>, usize),
    residual: Residual<'_, O>,
) -> Result<()> {
    let Device { kernels, stream, .. } = device;
    let (weights, x): (CudaView<'_, u8>, _) = (weights.as_view(), x.as_view());
    let operands = Operands { layout, weights: &weights, x: &x, bias: None, residual };
    if rows > matmul::MAX_ROWS {
        let config = TiledConfig { out_stride, ..TiledConfig::contiguous(layout, rows) };
        return Ok(matmul::tiled(kernels, stream, &config, &operands, output)?);
    }
    let config = SkinnyConfig { out_stride, ..SkinnyConfig::contiguous(layout, rows) };
    let mut scratch = scratch(device, matmul::workspace_bytes(kernels, layout, rows))?;
    let mut workspace = scratch.as_mut().map(|s| s.as_view_mut());
    Ok(matmul::skinny(kernels, stream, &config, &operands, output, workspace.as_mut())?)
}

/// Workspace of so many bytes, where any is needed.
fn scratch(device: &Device, bytes: usize) -> Result<Option<CudaSlice<u8>>> {
    Ok(if bytes == 0 { None } else { Some(device.stream.alloc_zeros(bytes)?) })
}
