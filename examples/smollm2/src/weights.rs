//! A weight matrix on the device in the packed layout of the W4A16 and W8A16 kernels.

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::{GgmlDType, QTensor};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig};
use lowbit::weights::{GgmlType, Packed, PackedLayout};

use crate::device::Device;
use crate::gguf::Model;

/// A matrix `[n, k]`, multiplied from the right by up to [`matmul::MAX_ROWS`] rows.
pub struct Matrix {
    layout: PackedLayout,
    bytes: CudaSlice<u8>,
    workspace: Option<CudaSlice<u8>>,
}

impl Matrix {
    /// [Packs](pack) and uploads a tensor of the file.
    pub fn load(device: &Device, model: &mut Model, name: &str) -> Result<Matrix> {
        let packed = pack(model, &[name.to_string()])?;
        let layout = *packed.layout();
        let bytes = device.stream.clone_htod(packed.bytes())?;
        let workspace = match matmul::workspace_bytes(&device.kernels, &layout, matmul::MAX_ROWS) {
            0 => None,
            needed => Some(device.stream.alloc_zeros(needed)?),
        };
        Ok(Matrix { layout, bytes, workspace })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// `x [rows, k]` (rounded to f16) times the matrix transposed, f32 `[rows, n]`.
    pub fn multiply(&mut self, device: &Device, x: &[f32]) -> Result<Vec<f32>> {
        let rows = x.len() / self.layout.k();
        let x = device.upload_f16(x)?;
        let mut out = device.stream.alloc_zeros::<f32>(rows * self.layout.n())?;
        let config = SkinnyConfig::contiguous(&self.layout, rows);
        let operands = Operands {
            layout: &self.layout,
            weights: &self.bytes.as_view(),
            x: &x.as_view(),
            bias: None,
            residual: Residual::None,
        };
        let mut workspace = self.workspace.as_mut().map(|w| w.as_view_mut());
        matmul::skinny(
            &device.kernels,
            &device.stream,
            &config,
            &operands,
            &mut out.as_view_mut(),
            workspace.as_mut(),
        )?;
        Ok(device.stream.clone_dtoh(&out)?)
    }
}

/// Packs tensors of the file, one below the other: Q4_0 and Q4_1 as 4-bit, Q8_0 as 8-bit weights, bit for bit. F16 and F32
/// matrices are first quantized to Q8_0.
pub fn pack(model: &mut Model, names: &[String]) -> Result<Packed> {
    let context = || format!("tensor {}", names.join(", "));
    let tensors = names.iter().map(|name| model.tensor(name)).collect::<Result<Vec<_>>>()?;
    below_each_other(tensors).with_context(context)
}

fn below_each_other(tensors: Vec<QTensor>) -> Result<Packed> {
    let (mut blocks, mut outputs, mut of_all) = (Vec::new(), 0, None);
    for mut tensor in tensors {
        if matches!(tensor.dtype(), GgmlDType::F16 | GgmlDType::F32) {
            tensor = QTensor::quantize(&tensor.dequantize(&candle_core::Device::Cpu)?, GgmlDType::Q8_0)?;
        }
        let (n, k) = tensor.shape().dims2()?;
        let own = (tensor.dtype(), k);
        let (dtype, k) = *of_all.get_or_insert(own);
        ensure!(own == (dtype, k), "one is {:?} of {} columns, another {dtype:?} of {k}", own.0, own.1);
        blocks.extend_from_slice(&tensor.data()?);
        outputs += n;
    }
    let (dtype, k) = of_all.context("no tensor")?;
    let kind = match dtype {
        GgmlDType::Q4_0 => GgmlType::Q4_0,
        GgmlDType::Q4_1 => GgmlType::Q4_1,
        GgmlDType::Q8_0 => GgmlType::Q8_0,
        other => bail!("type {other:?} has no kernel"),
    };
    Ok(Packed::from_ggml(kind, outputs, k, &blocks)?)
}
