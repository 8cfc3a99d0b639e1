//! RMSNorm, and SiLU(gate) * up, to codes per token.

use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::activation::{Gate, GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows};
use lowbit::format::{ByteCode, Code, Fp8};
use lowbit::half::f16;
use lowbit::{ops, reference};

use crate::data::numbers;
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

#[derive(Clone, Copy)]
enum Operation {
    Norm,
    Gate,
}

struct Activation {
    operation: Operation,
    code: ByteCode,
    rows: usize,
    cols: usize,
}

struct OnDevice {
    /// What is normalized, or the gates.
    x: Vec<CudaSlice<f16>>,
    /// What gates are multiplied with; the norm does not read it.
    up: Vec<CudaSlice<f16>>,
    weight: CudaSlice<f16>,
    codes: CudaSlice<u8>,
    scale: CudaSlice<f32>,
}

/// x (or the gates), up, the norm's weight.
type Host = [Vec<f16>; 3];

const EPSILON: f32 = 1e-5;

impl Activation {
    fn len(&self) -> usize {
        self.rows * self.cols
    }

    fn strided<X>(&self, data: X) -> Rows<X> {
        Rows { data, row_stride: self.cols }
    }
}

impl Case for Activation {
    type Data = Host;
    type Call = OnDevice;
    type Answer = Vec<f16>;

    fn name(&self) -> String {
        let operation = match self.operation {
            Operation::Norm => "rms_norm",
            Operation::Gate => "silu_mul",
        };
        format!("{operation} to {}, {} x {}", self.code.name(), self.rows, self.cols)
    }

    fn bytes(&self) -> usize {
        let weight = if let Operation::Norm = self.operation { 2 * self.cols } else { 0 };
        self.rotated() + weight + self.len() + 4 * self.rows
    }

    fn rotated(&self) -> usize {
        match self.operation {
            Operation::Norm => 2 * self.len(),
            Operation::Gate => 4 * self.len(),
        }
    }

    fn data(&self) -> Host {
        [numbers(self.len(), 1), numbers(self.len(), 2), numbers(self.cols, 3)]
    }

    /// The row before it is coded.
    fn reference(&self, [x, up, weight]: &Host) -> Vec<f16> {
        let mut row = vec![f16::ZERO; self.len()];
        let out = RowOutputs { row: Some(&mut row[..]), coded: None };
        let (rows, cols, x, smooth) = (self.rows, self.cols, self.strided(&x[..]), None);
        match self.operation {
            Operation::Norm => {
                let norm = RmsNorm { x, residual: None, weight: &weight[..], smooth, epsilon: EPSILON };
                reference::activation::rms_norm_quantize(rows, cols, norm, out)
            }
            Operation::Gate => {
                let input = GateMul { function: Gate::Silu, gate: x, up: self.strided(&up[..]), smooth };
                reference::activation::gate_mul_quantize(rows, cols, input, out)
            }
        }
        .expect("a valid call");
        row
    }

    fn upload(&self, [x, up, weight]: &Host, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let stream = &device.stream;
        let copied = |x: &Vec<f16>| (0..copies).map(|_| stream.clone_htod(x)).collect::<Result<Vec<_>, _>>();
        Ok(OnDevice {
            x: copied(x)?,
            up: if let Operation::Gate = self.operation { copied(up)? } else { Vec::new() },
            weight: stream.clone_htod(weight)?,
            codes: stream.alloc_zeros(self.len())?,
            scale: stream.alloc_zeros(self.rows)?,
        })
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let Device { kernels, stream, .. } = device;
        let code = match self.code {
            ByteCode::Int8 => Code::Int8,
            ByteCode::E4m3 => Code::Fp8(Fp8::E4m3),
        };
        let scale = RowScale::Token(call.scale.as_view_mut());
        let out = RowOutputs { row: None, coded: Some(RowCodes { code, codes: call.codes.as_view_mut(), scale }) };
        let (x, smooth) = (call.x[copy].as_view(), None);
        let (rows, cols, x) = (self.rows, self.cols, self.strided(&x));
        match self.operation {
            Operation::Norm => {
                let norm = RmsNorm { x, residual: None, weight: &call.weight.as_view(), smooth, epsilon: EPSILON };
                ops::activation::rms_norm_quantize(kernels, stream, rows, cols, norm, out)
            }
            Operation::Gate => {
                let up = call.up[copy].as_view();
                let input = GateMul { function: Gate::Silu, gate: x, up: self.strided(&up), smooth };
                ops::activation::gate_mul_quantize(kernels, stream, rows, cols, input, out)
            }
        }
    }

    /// A code is within half a step of the reference's row, and of what the row in f32 may differ by: one unit of f16.
    fn check(&self, device: &Device, call: &OnDevice, row: &Vec<f16>) -> Outcome<()> {
        let (codes, scale) = (device.stream.clone_dtoh(&call.codes)?, device.stream.clone_dtoh(&call.scale)?);
        for (at, (bits, x)) in codes.iter().zip(row).enumerate() {
            let (scale, x) = (f64::from(scale[at / self.cols]), x.to_f64());
            let step = match self.code {
                ByteCode::Int8 => scale,
                // 3 bits of mantissa; below 2^-6 steps of 2^-9.
                ByteCode::E4m3 => (x.abs() / 8.0).max(scale * 2f64.powi(-9)),
            };
            let near = (f64::from(self.code.value(*bits)) * scale - x).abs() <= 0.5 * step + 2f64.powi(-9) * x.abs();
            if !near {
                return Err(format!("code {at} is {bits:#04x} of scale {scale:e}, and the row has {x}").into());
            }
        }
        Ok(())
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let (rows, cols) = (bench.size(8192, 64, 4), bench.size(8192, 4096, 256));
    let cases = [Operation::Norm, Operation::Gate]
        .into_iter()
        .flat_map(|operation| [ByteCode::Int8, ByteCode::E4m3].map(|code| Activation { operation, code, rows, cols }));
    bench.family("activation", &cases.collect::<Vec<_>>());
}
