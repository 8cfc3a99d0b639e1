//! The whole of LLM.int8(): outlier columns taken out on the device, then the product.

use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::outliers::OutlierOutputs;
use lowbit::format::{ByteCode, Matrix};
use lowbit::half::f16;
use lowbit::ops::matmul::{self, CodedConfig, Epilogue, LlmInt8Operands};
use lowbit::ops::outliers;
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteLayout, ByteScales, PackedBytes};

use crate::data::{bytes, close, numbers};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

const THRESHOLD: f32 = 6.0;
/// Columns that the list holds.
const CAP: usize = 32;
/// Columns with outliers.
const OUTLIERS: usize = 4;

struct LlmInt8 {
    layout: ByteLayout,
    rows: usize,
}

struct OnDevice {
    weights: Vec<CudaSlice<u8>>,
    x: CudaSlice<f16>,
    codes: CudaSlice<u8>,
    scale: CudaSlice<f32>,
    columns: CudaSlice<u32>,
    count: CudaSlice<u32>,
    values: CudaSlice<f16>,
    mask: CudaSlice<u32>,
    out: CudaSlice<f16>,
    workspace: CudaSlice<u8>,
}

impl Case for LlmInt8 {
    type Data = (PackedBytes, Vec<f16>);
    type Call = OnDevice;
    type Answer = Product;

    fn name(&self) -> String {
        format!("{} x {}, {} rows, {OUTLIERS} outlier columns", self.layout.n(), self.layout.k(), self.rows)
    }

    /// x twice: for its columns, and for its codes.
    fn bytes(&self) -> usize {
        self.rotated() + self.rows * (4 * self.layout.k() + 2 * self.layout.n())
    }

    fn rotated(&self) -> usize {
        self.layout.bytes()
    }

    fn data(&self) -> Self::Data {
        let (n, k) = (self.layout.n(), self.layout.k());
        let scales = ByteScales::Tensor(2f32.powi(-12));
        let weights = PackedBytes::from_codes(n, k, ByteCode::Int8, &bytes(n * k, 4), scales).expect("codes");
        let mut x = numbers(self.rows * k, 6);
        for (at, x) in x.iter_mut().enumerate() {
            let (row, column) = (at / k, at % k);
            let outlier = column % (k / OUTLIERS) == 3 && row == 0;
            *x = if outlier { f16::from_f32(20.0) } else { *x / f16::from_f32(2.0) };
        }
        (weights, x)
    }

    fn reference(&self, (weights, x): &Self::Data) -> Product {
        reference::matmul::llm_int8::<f16, f16>(weights, x, (THRESHOLD, CAP), None, None).expect("a valid call")
    }

    fn upload(&self, (weights, x): &Self::Data, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let (stream, rows, n, k) = (&device.stream, self.rows, self.layout.n(), self.layout.k());
        let workspace = matmul::llm_int8_workspace_bytes(&device.kernels, &self.layout, rows);
        Ok(OnDevice {
            weights: (0..copies).map(|_| stream.clone_htod(weights.bytes())).collect::<Result<_, _>>()?,
            x: stream.clone_htod(x)?,
            codes: stream.alloc_zeros(rows * k)?,
            scale: stream.alloc_zeros(rows)?,
            columns: stream.alloc_zeros(CAP)?,
            count: stream.alloc_zeros(2)?,
            values: stream.alloc_zeros(rows * CAP)?,
            mask: stream.alloc_zeros(outliers::workspace_words(k))?,
            out: stream.alloc_zeros(rows * n)?,
            workspace: stream.alloc_zeros(workspace.max(1))?,
        })
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let (Device { kernels, stream, .. }, k) = (device, self.layout.k());
        let x = &call.x.as_view();
        let taken = OutlierOutputs {
            codes: call.codes.as_view_mut(),
            scale: call.scale.as_view_mut(),
            columns: call.columns.as_view_mut(),
            count: call.count.as_view_mut(),
            values: call.values.as_view_mut(),
        };
        let shape = Matrix::dense(self.rows, k);
        outliers::extract(kernels, stream, THRESHOLD, shape, x, taken, &mut call.mask.as_view_mut())?;
        let operands = LlmInt8Operands {
            layout: &self.layout,
            weights: &call.weights[copy].as_view(),
            x,
            x_stride: k,
            codes: &call.codes.as_view(),
            scale: &call.scale.as_view(),
            columns: &call.columns.as_view(),
            count: &call.count.as_view(),
            values: &call.values.as_view(),
        };
        let config = CodedConfig::contiguous(self.rows, self.layout.n());
        let (out, workspace) = (&mut call.out.as_view_mut(), Some(&mut call.workspace.as_view_mut()));
        matmul::llm_int8(kernels, stream, &config, &operands, &Epilogue::default(), out, workspace)
    }

    fn check(&self, device: &Device, call: &OnDevice, answer: &Product) -> Outcome<()> {
        let count = device.stream.clone_dtoh(&call.count)?;
        if count != [OUTLIERS as u32, 0] {
            return Err(format!("{} outlier columns and {} are counted", count[0], count[1]).into());
        }
        close(&device.stream.clone_dtoh(&call.out)?, answer)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let (n, k) = (bench.size(8192, 512, 96), bench.size(8192, 1024, 256));
    let layout = ByteLayout::new(n, k, ByteCode::Int8, ByteAxis::Output).expect("a known format");
    bench.family("llm_int8", &[1, 8, 32, 256].map(|rows| LlmInt8 { layout, rows }));
}
