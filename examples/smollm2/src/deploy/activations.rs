//! What linear layers read: f16 rows, or their 8-bit codes, made by the operation before in the same launch.

use anyhow::Result;
use half::f16;
use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::activation::{Gate, GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows};
use lowbit::format::{Axis, ByteCode, Code, Fp8, Matrix, Scales};
use lowbit::ops::{activation, quantize};

use super::preset::Scheme;
use crate::device::Device;

/// Rows on the device.
pub enum Activations {
    /// `[rows, k]`.
    Half(CudaSlice<f16>),
    /// `[rows, k]` with a scale a row.
    Coded {
        /// What a byte is.
        code: ByteCode,
        /// The bytes.
        codes: CudaSlice<u8>,
        /// `[rows]`.
        scale: CudaSlice<f32>,
    },
}

impl Activations {
    /// How many rows of `k` these are.
    pub fn rows(&self, k: usize) -> usize {
        match self {
            Activations::Half(x) => x.len() / k,
            Activations::Coded { scale, .. } => scale.len(),
        }
    }

    /// RMSNorm of the rows of `x`.
    pub fn norm(
        device: &Device,
        scheme: Scheme,
        x: &CudaSlice<f16>,
        weight: &CudaSlice<f16>,
        epsilon: f32,
    ) -> Result<Activations> {
        let (rows, cols) = (x.len() / weight.len(), weight.len());
        Activations::new(device, scheme, rows, cols)?.written(|out| {
            let (x, weight) = (x.as_view(), weight.as_view());
            let x = Rows { data: &x, row_stride: cols };
            let norm = RmsNorm { x, residual: None, weight: &weight, smooth: None, epsilon };
            activation::rms_norm_quantize(&device.kernels, &device.stream, rows, cols, norm, out)
        })
    }

    /// SiLU(gate) * up; a row of `gate_up [rows, 2*cols]` holds the gates first.
    pub fn gated(device: &Device, scheme: Scheme, gate_up: &CudaSlice<f16>, cols: usize) -> Result<Activations> {
        let rows = gate_up.len() / (2 * cols);
        Activations::new(device, scheme, rows, cols)?.written(|out| {
            let (gate, up) = (gate_up.as_view(), gate_up.slice(cols..));
            let half = |data| Rows { data, row_stride: 2 * cols };
            let input = GateMul { function: Gate::Silu, gate: half(&gate), up: half(&up), smooth: None };
            activation::gate_mul_quantize(&device.kernels, &device.stream, rows, cols, input, out)
        })
    }

    /// The rows of `x [rows, cols]`.
    pub fn of(device: &Device, scheme: Scheme, x: CudaSlice<f16>, cols: usize) -> Result<Activations> {
        let shape = Matrix::dense(x.len() / cols, cols);
        let mut made = Activations::new(device, scheme, shape.rows, cols)?;
        let Activations::Coded { code, codes, scale } = &mut made else { return Ok(Activations::Half(x)) };
        let by_row = lowbit::format::Scheme { code: code_of(*code), axis: Axis::Row };
        let mut scales = Scales::Symmetric(scale.as_view_mut());
        let (x, codes) = (x.as_view(), &mut codes.as_view_mut());
        quantize::quantize(&device.kernels, &device.stream, by_row, shape, &x, codes, &mut scales)?;
        Ok(made)
    }

    /// Room for rows as the scheme's linear layers read them.
    fn new(device: &Device, scheme: Scheme, rows: usize, cols: usize) -> Result<Activations> {
        let stream = &device.stream;
        Ok(match scheme {
            Scheme::W4A16(_) => Activations::Half(stream.alloc_zeros(rows * cols)?),
            Scheme::W8A8 { code, .. } => {
                Activations::Coded { code, codes: stream.alloc_zeros(rows * cols)?, scale: stream.alloc_zeros(rows)? }
            }
        })
    }

    /// Fills the rows by an operation that writes them or their codes.
    fn written(
        mut self,
        operation: impl FnOnce(activation::Outputs<'_, '_, f16>) -> lowbit::Result<()>,
    ) -> Result<Activations> {
        operation(match &mut self {
            Activations::Half(row) => RowOutputs { row: Some(row.as_view_mut()), coded: None },
            Activations::Coded { code, codes, scale } => {
                let scale = RowScale::Token(scale.as_view_mut());
                let coded = RowCodes { code: code_of(*code), codes: codes.as_view_mut(), scale };
                RowOutputs { row: None, coded: Some(coded) }
            }
        })?;
        Ok(self)
    }
}

fn code_of(code: ByteCode) -> Code {
    match code {
        ByteCode::Int8 => Code::Int8,
        ByteCode::E4m3 => Code::Fp8(Fp8::E4m3),
    }
}
