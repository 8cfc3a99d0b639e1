//! Codes of a matrix, per token and in groups.

use lowbit::cudarc::driver::{CudaSlice, CudaViewMut};
use lowbit::format::{Axis, Code, Fp8, Matrix, ScaleKind, Scales, Scheme};
use lowbit::half::f16;
use lowbit::{ops, reference};

use crate::data::{equal, numbers};
use crate::device::{Device, Outcome};
use crate::measure::{Bench, Case};

struct Quantize {
    scheme: Scheme,
    rows: usize,
    cols: usize,
}

/// Codes; f32 scales, or f16 scales and minima (the others have length 0, on the device 1).
struct Coded<C, F, H> {
    codes: C,
    scale: F,
    half_scale: H,
    min: H,
}

type Host = Coded<Vec<u8>, Vec<f32>, Vec<f16>>;

struct OnDevice {
    x: Vec<CudaSlice<f16>>,
    out: Coded<CudaSlice<u8>, CudaSlice<f32>, CudaSlice<f16>>,
}

impl Quantize {
    fn shape(&self) -> Matrix {
        Matrix::dense(self.rows, self.cols)
    }

    fn code_bytes(&self) -> usize {
        self.rows * self.scheme.row_bytes(self.cols)
    }

    /// How many f32 scales, and how many f16 scales and minima.
    fn scales(&self) -> (usize, usize) {
        let regions = self.scheme.regions(self.shape());
        if self.scheme.code.scale_kind() == ScaleKind::F32 { (regions, 0) } else { (0, regions) }
    }
}

impl Case for Quantize {
    type Data = Vec<f16>;
    type Call = OnDevice;
    type Answer = Host;

    fn name(&self) -> String {
        format!("{} per {:?}, {} x {}", self.scheme.code.name(), self.scheme.axis, self.rows, self.cols)
    }

    fn bytes(&self) -> usize {
        self.rotated() + self.code_bytes() + 4 * (self.scales().0 + self.scales().1)
    }

    fn rotated(&self) -> usize {
        2 * self.rows * self.cols
    }

    fn data(&self) -> Vec<f16> {
        numbers(self.rows * self.cols, 1)
    }

    fn reference(&self, x: &Vec<f16>) -> Host {
        let (single, half) = self.scales();
        let zeros = || vec![f16::ZERO; half];
        let codes = vec![0; self.code_bytes()];
        let mut out = Coded { codes, scale: vec![0.0; single], half_scale: zeros(), min: zeros() };
        let scales = match half {
            0 => Scales::Symmetric(&mut out.scale[..]),
            _ => Scales::Asymmetric { scale: &mut out.half_scale[..], min: &mut out.min[..] },
        };
        reference::quantize::quantize(self.scheme, self.shape(), x, &mut out.codes, scales).expect("a valid call");
        out
    }

    fn upload(&self, x: &Vec<f16>, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let stream = &device.stream;
        let (single, half) = self.scales();
        let zeros = || stream.alloc_zeros::<f16>(half.max(1));
        Ok(OnDevice {
            x: (0..copies).map(|_| stream.clone_htod(x)).collect::<Result<_, _>>()?,
            out: Coded {
                codes: stream.alloc_zeros(self.code_bytes())?,
                scale: stream.alloc_zeros(single.max(1))?,
                half_scale: zeros()?,
                min: zeros()?,
            },
        })
    }

    fn launch(&self, device: &Device, call: &mut OnDevice, copy: usize) -> lowbit::Result<()> {
        let out = &mut call.out;
        let mut scales: ops::quantize::DeviceScalesMut<'_> = match self.scales().1 {
            0 => Scales::Symmetric(out.scale.as_view_mut()),
            _ => Scales::Asymmetric { scale: out.half_scale.as_view_mut(), min: out.min.as_view_mut() },
        };
        let codes: &mut CudaViewMut<'_, u8> = &mut out.codes.as_view_mut();
        let x = call.x[copy].as_view();
        ops::quantize::quantize(&device.kernels, &device.stream, self.scheme, self.shape(), &x, codes, &mut scales)
    }

    fn check(&self, device: &Device, call: &OnDevice, answer: &Host) -> Outcome<()> {
        let (stream, out) = (&device.stream, &call.out);
        let (single, half) = self.scales();
        equal("codes", &stream.clone_dtoh(&out.codes)?, &answer.codes)?;
        equal("scales", &stream.clone_dtoh(&out.scale)?[..single], &answer.scale)?;
        equal("scales", &stream.clone_dtoh(&out.half_scale)?[..half], &answer.half_scale)?;
        equal("minima", &stream.clone_dtoh(&out.min)?[..half], &answer.min)
    }
}

pub fn run(bench: &mut Bench<'_>) {
    let (rows, cols) = (bench.size(8192, 64, 4), bench.size(8192, 4096, 256));
    let cases = [
        (Code::Int8, Axis::Row),
        (Code::Fp8(Fp8::E4m3), Axis::Row),
        (Code::Int4, Axis::Group(128)),
        (Code::Uint4, Axis::Group(128)),
    ];
    bench.family("quantize", &cases.map(|(code, axis)| Quantize { scheme: Scheme { code, axis }, rows, cols }));
}
