//! Products of f16 activations with E4M3 weights.

use lowbit::format::ByteCode;
use lowbit::half::f16;
use lowbit::ops::matmul::{self, CodedConfig, Epilogue, W8A16Operands};
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteLayout, ByteScales, PackedBytes};

use crate::data::{by_rows, bytes, close, numbers};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};
use crate::w16::OnDevice;

struct Wide {
    layout: ByteLayout,
    rows: usize,
}

impl Case for Wide {
    type Data = (PackedBytes, Vec<f16>);
    type Call = OnDevice;
    type Answer = Product;

    fn name(&self) -> String {
        format!("{} x {}, {} rows", self.layout.n(), self.layout.k(), self.rows)
    }

    fn bytes(&self) -> usize {
        self.rotated() + 2 * self.rows * (self.layout.k() + self.layout.n())
    }

    fn rotated(&self) -> usize {
        self.layout.bytes()
    }

    fn data(&self) -> Self::Data {
        let (n, k) = (self.layout.n(), self.layout.k());
        let mut codes = bytes(n * k, 4);
        codes.iter_mut().filter(|code| **code & 0x7F == 0x7F).for_each(|code| *code = 0x38);
        let scales = vec![2f32.powi(-12); n];
        let weights = PackedBytes::from_codes(n, k, ByteCode::E4m3, &codes, ByteScales::Output(&scales));
        (weights.expect("codes that are numbers"), numbers(self.rows * k, 1))
    }

    fn reference(&self, (weights, x): &Self::Data) -> Product {
        let k = self.layout.k();
        by_rows(self.rows, |rows| {
            reference::matmul::w8a16::<f16, f16>(weights, &x[rows.start * k..rows.end * k], None, None)
        })
    }

    fn upload(&self, (weights, x): &Self::Data, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let workspace = matmul::w8a16_workspace_bytes(&device.kernels, &self.layout, self.rows);
        OnDevice::new(device, (weights.bytes(), copies), x, self.rows * self.layout.n(), workspace)
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let (Device { kernels, stream, .. }, layout) = (device, &self.layout);
        let (weights, x) = (call.weights[copy].as_view(), call.x.as_view());
        let operands = W8A16Operands { layout, weights: &weights, x: &x, x_stride: layout.k() };
        let config = CodedConfig::contiguous(self.rows, layout.n());
        let (out, workspace) = (&mut call.out.as_view_mut(), &mut call.workspace.as_view_mut());
        matmul::w8a16(kernels, stream, &config, &operands, &Epilogue::default(), out, Some(workspace))
    }

    fn check(&self, device: &Device, call: &OnDevice, answer: &Product) -> Outcome<()> {
        close(&device.stream.clone_dtoh(&call.out)?, answer)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let (n, k) = (bench.size(14336, 512, 96), bench.size(8192, 1024, 256));
    let layout = ByteLayout::new(n, k, ByteCode::E4m3, ByteAxis::Output).expect("a known format");
    bench.family("w8a16_e4m3", &[1, 8, 32].map(|rows| Wide { layout, rows }));
}
