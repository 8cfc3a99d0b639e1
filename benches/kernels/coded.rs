//! Products of 8-bit activations: 8-bit weights (W8A8) and 4-bit weights (W4A8).

use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::{ByteCode, CodedRows, CodedScale};
use lowbit::half::f16;
use lowbit::ops::matmul::{self, ByteOperands, CodedConfig, Epilogue, W4A8Operands};
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteScales, Packed, PackedBytes, PackedLayout, WeightFormat, ZeroPoint};

use crate::data::{by_rows, bytes, close, packed};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

/// Bits of a weight.
#[derive(Clone, Copy, PartialEq)]
enum Bits {
    Four,
    Eight,
}

struct Coded {
    bits: Bits,
    code: ByteCode,
    rows: usize,
    n: usize,
    k: usize,
}

enum Weights {
    Four(Packed),
    Eight(PackedBytes),
}

struct Host {
    weights: Weights,
    x: Vec<u8>,
    scale: Vec<f32>,
}

struct OnDevice {
    weights: Vec<CudaSlice<u8>>,
    x: CudaSlice<u8>,
    scale: CudaSlice<f32>,
    out: CudaSlice<f16>,
    workspace: CudaSlice<u8>,
}

impl Coded {
    fn packed_layout(&self) -> PackedLayout {
        PackedLayout::new(self.n, self.k, 128, WeightFormat::Int4(ZeroPoint::Symmetric)).expect("a known format")
    }

    fn byte_layout(&self) -> lowbit::weights::ByteLayout {
        lowbit::weights::ByteLayout::new(self.n, self.k, self.code, ByteAxis::Output).expect("a known format")
    }

    /// Random codes that are numbers.
    fn codes(&self, len: usize, seed: u64) -> Vec<u8> {
        let mut codes = bytes(len, seed);
        codes.iter_mut().filter(|code| self.code.value(**code).is_nan()).for_each(|code| *code = 0x38);
        codes
    }

    fn rows<C, F, I>(&self, codes: C, scale: F) -> CodedRows<C, F, I> {
        CodedRows { code: self.code, codes, row_stride: self.k, scale: CodedScale::Row(scale), zero: None }
    }
}

impl Case for Coded {
    type Data = Host;
    type Call = OnDevice;
    type Answer = Product;

    fn name(&self) -> String {
        format!("{}, {} x {}, {} rows", self.code.name(), self.n, self.k, self.rows)
    }

    fn bytes(&self) -> usize {
        self.rotated() + self.rows * (self.k + 4 + 2 * self.n)
    }

    fn rotated(&self) -> usize {
        match self.bits {
            Bits::Four => self.packed_layout().bytes(),
            Bits::Eight => self.byte_layout().bytes(),
        }
    }

    fn data(&self) -> Host {
        let weights = match self.bits {
            Bits::Four => Weights::Four(packed(self.packed_layout())),
            Bits::Eight => {
                let (codes, scales) = (self.codes(self.n * self.k, 4), vec![2f32.powi(-12); self.n]);
                let scales = ByteScales::Output(&scales);
                let packed = PackedBytes::from_codes(self.n, self.k, self.code, &codes, scales);
                Weights::Eight(packed.expect("codes that are numbers"))
            }
        };
        let scale = (0..self.rows).map(|row| 0.004 + 0.001 * (row % 5) as f32).collect();
        Host { weights, x: self.codes(self.rows * self.k, 5), scale }
    }

    fn reference(&self, Host { weights, x, scale }: &Host) -> Product {
        by_rows(self.rows, |rows| {
            let x = self.rows(&x[rows.start * self.k..rows.end * self.k], &scale[rows.clone()]);
            match weights {
                Weights::Four(weights) => reference::matmul::w4a8::<f16>(weights, rows.len(), &x, None, None),
                Weights::Eight(weights) => reference::matmul::w8a8::<f16>(weights, rows.len(), &x, None, None),
            }
        })
    }

    fn upload(&self, host: &Host, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let Device { kernels, stream, .. } = device;
        let (bytes, workspace) = match &host.weights {
            Weights::Four(weights) => {
                (weights.bytes(), matmul::w4a8_workspace_bytes(kernels, weights.layout(), self.rows))
            }
            Weights::Eight(weights) => {
                (weights.bytes(), matmul::w8a8_workspace_bytes(kernels, weights.layout(), self.rows))
            }
        };
        Ok(OnDevice {
            weights: (0..copies).map(|_| stream.clone_htod(bytes)).collect::<Result<_, _>>()?,
            x: stream.clone_htod(&host.x)?,
            scale: stream.clone_htod(&host.scale)?,
            out: stream.alloc_zeros(self.rows * self.n)?,
            workspace: stream.alloc_zeros(workspace.max(1))?,
        })
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let Device { kernels, stream, .. } = device;
        let (weights, x, scale) = (&call.weights[copy].as_view(), call.x.as_view(), call.scale.as_view());
        let (x, config, epilogue) =
            (self.rows(&x, &scale), CodedConfig::contiguous(self.rows, self.n), Epilogue::default());
        let (out, workspace) = (&mut call.out.as_view_mut(), Some(&mut call.workspace.as_view_mut()));
        match self.bits {
            Bits::Four => {
                let operands = W4A8Operands { layout: &self.packed_layout(), weights, x };
                matmul::w4a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
            }
            Bits::Eight => {
                let operands = ByteOperands { layout: &self.byte_layout(), weights, x };
                matmul::w8a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
            }
        }
    }

    fn check(&self, device: &Device, call: &OnDevice, answer: &Product) -> Outcome<()> {
        close(&device.stream.clone_dtoh(&call.out)?, answer)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let k = bench.size(8192, 1024, 256);
    let (few, many) = (bench.size(14336, 512, 96), bench.size(8192, 512, 96));
    for (family, bits, rows) in [("w4a8", Bits::Four, &[1, 8, 32][..]), ("w8a8", Bits::Eight, &[1, 8, 16, 32, 256])] {
        let cases = [ByteCode::Int8, ByteCode::E4m3]
            .into_iter()
            .flat_map(|code| rows.iter().map(move |&rows| (code, rows)))
            .map(|(code, rows)| Coded { bits, code, rows, n: if rows > 8 { many } else { few }, k });
        bench.family(family, &cases.collect::<Vec<_>>());
    }
}
