//! Products of f16 activations: 4-bit weights (W4A16) and 8-bit weights (W8A16).

use lowbit::cudarc::driver::CudaSlice;
use lowbit::half::f16;
use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig, TiledConfig};
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{Packed, PackedLayout, WeightFormat, ZeroPoint};

use crate::data::{by_rows, close, numbers, packed};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

struct W16 {
    layout: PackedLayout,
    rows: usize,
}

/// Copies of the weights, and the rest, of a product of f16.
pub struct OnDevice {
    pub weights: Vec<CudaSlice<u8>>,
    pub x: CudaSlice<f16>,
    pub out: CudaSlice<f16>,
    pub workspace: CudaSlice<u8>,
}

impl OnDevice {
    pub fn new(
        device: &Device,
        (weights, copies): (&[u8], usize),
        x: &[f16],
        out: usize,
        workspace: usize,
    ) -> Outcome<Self> {
        let stream = &device.stream;
        Ok(Self {
            weights: (0..copies).map(|_| stream.clone_htod(weights)).collect::<Result<_, _>>()?,
            x: stream.clone_htod(x)?,
            out: stream.alloc_zeros(out)?,
            workspace: stream.alloc_zeros(workspace.max(1))?,
        })
    }
}

impl Case for W16 {
    type Data = (Packed, Vec<f16>);
    type Call = OnDevice;
    type Answer = Product;

    fn name(&self) -> String {
        let (n, k, group) = (self.layout.n(), self.layout.k(), self.layout.group());
        format!("{n} x {k} in groups of {group}, {} rows", self.rows)
    }

    fn bytes(&self) -> usize {
        self.rotated() + 2 * self.rows * (self.layout.k() + self.layout.n())
    }

    fn rotated(&self) -> usize {
        self.layout.bytes()
    }

    fn data(&self) -> Self::Data {
        (packed(self.layout), numbers(self.rows * self.layout.k(), 1))
    }

    fn reference(&self, (weights, x): &Self::Data) -> Product {
        let k = self.layout.k();
        by_rows(self.rows, |rows| {
            reference::matmul::skinny::<f16, f16>(weights, &x[rows.start * k..rows.end * k], None, None)
        })
    }

    fn upload(&self, (weights, x): &Self::Data, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let workspace = matmul::workspace_bytes(&device.kernels, &self.layout, self.rows.min(matmul::MAX_ROWS));
        OnDevice::new(device, (weights.bytes(), copies), x, self.rows * self.layout.n(), workspace)
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let (Device { kernels, stream, .. }, layout, rows) = (device, &self.layout, self.rows);
        let (weights, x) = (call.weights[copy].as_view(), call.x.as_view());
        let operands = Operands { layout, weights: &weights, x: &x, bias: None, residual: Residual::None };
        let out = &mut call.out.as_view_mut();
        if rows > matmul::MAX_ROWS {
            return matmul::tiled(kernels, stream, &TiledConfig::contiguous(layout, rows), &operands, out);
        }
        let config = SkinnyConfig::contiguous(layout, rows);
        matmul::skinny(kernels, stream, &config, &operands, out, Some(&mut call.workspace.as_view_mut()))
    }

    fn check(&self, device: &Device, call: &OnDevice, answer: &Product) -> Outcome<()> {
        close(&device.stream.clone_dtoh(&call.out)?, answer)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let k = bench.size(8192, 1024, 256);
    let (few, many) = (bench.size(14336, 512, 96), bench.size(8192, 512, 96));
    let case = |format, group, rows| {
        let n = if rows > 8 { many } else { few };
        let layout = PackedLayout::new(n, k, group, format).expect("a known format");
        W16 { layout, rows }
    };
    let zeros = WeightFormat::Int4(ZeroPoint::Bits4 { plus: 0 });
    bench.family("w4a16", &[1, 8, 16, 32, 256].map(|rows| case(zeros, 128, rows)));
    bench.family("w8a16", &[1, 8, 32, 256].map(|rows| case(WeightFormat::Int8, 32, rows)));
}
