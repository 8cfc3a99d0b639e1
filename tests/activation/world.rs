//! Calls of the fused activations on the device and by the reference, with everything around the outputs fenced.

use std::sync::Arc;

use bytemuck::Pod;
use half::f16;
use lowbit::cudarc::driver::{CudaSlice, CudaStream, DeviceRepr};
use lowbit::format::activation::{GROUP, Gate, GateMul, RmsNorm, RowCodes, RowOutputs, RowScale, Rows};
use lowbit::format::{Axis, Code, Element, Fp8, Half16, Matrix, Scales, Scheme};
use lowbit::{Kernels, ops, reference, testing};
use rand::{RngExt, SeedableRng};

/// What lies behind every output.
pub const FENCE: u8 = 0xA5;
pub const E4M3: Code = Code::Fp8(Fp8::E4m3);

pub struct World {
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

pub fn world() -> World {
    let (context, kernels) = testing::device();
    World { stream: context.default_stream(), kernels }
}

/// Which scale a code takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Token,
    Static(f32),
    Group,
}

/// The operation with its inputs on the host.
#[derive(Clone)]
pub enum Input<E> {
    Norm { x: Vec<E>, residual: Option<Vec<E>>, weight: Vec<E>, smooth: Option<Vec<f32>>, epsilon: f32 },
    Gate { function: Gate, gate: Vec<E>, up: Vec<E>, smooth: Option<Vec<f32>> },
}

#[derive(Clone)]
pub struct Call<E> {
    pub rows: usize,
    pub cols: usize,
    /// Elements from row to row of every input matrix.
    pub stride: usize,
    /// Elements by which device buffers are off their allocation's start.
    pub shift: usize,
    pub input: Input<E>,
    pub coded: Option<(Code, Kind)>,
}

/// What a call wrote.
#[derive(Debug, Clone)]
pub struct Written<E> {
    pub row: Vec<E>,
    pub residual: Option<Vec<E>>,
    pub codes: Vec<u8>,
    pub scale: Vec<f32>,
}

impl<E: Half16> Call<E> {
    fn scales(&self) -> usize {
        match self.coded {
            Some((_, Kind::Token)) => self.rows,
            Some((_, Kind::Static(_))) => 1,
            Some((_, Kind::Group)) => self.rows * self.cols.div_ceil(GROUP),
            None => 0,
        }
    }

    pub fn by_reference(&self) -> Written<E> {
        let &Call { rows, cols, stride, .. } = self;
        let len = rows * cols;
        let (mut row, mut codes, mut scale) = (vec![E::from_f32(0.0); len], vec![0; len], vec![0.0; self.scales()]);
        let mut given = [0f32];
        let coded = self.coded.map(|(code, kind)| {
            let scale = match kind {
                Kind::Token => RowScale::Token(&mut scale[..]),
                Kind::Group => RowScale::Group(&mut scale[..]),
                Kind::Static(s) => {
                    given[0] = s;
                    RowScale::Static(&given[..])
                }
            };
            RowCodes { code, codes: &mut codes[..], scale }
        });
        let out = RowOutputs { row: Some(&mut row[..]), coded };
        let matrix = |data| Rows { data, row_stride: stride };
        let mut written = None;
        match &self.input {
            Input::Norm { x, residual, weight, smooth, epsilon } => {
                written.clone_from(residual);
                let residual = written.as_mut().map(|data| Rows { data: &mut data[..], row_stride: stride });
                let (x, smooth) = (matrix(&x[..]), smooth.as_deref());
                let norm = RmsNorm { x, residual, weight: &weight[..], smooth, epsilon: *epsilon };
                reference::activation::rms_norm_quantize(rows, cols, norm, out).unwrap();
            }
            Input::Gate { function, gate, up, smooth } => {
                let (gate, up, smooth) = (matrix(&gate[..]), matrix(&up[..]), smooth.as_deref());
                let input = GateMul { function: *function, gate, up, smooth };
                reference::activation::gate_mul_quantize(rows, cols, input, out).unwrap();
            }
        }
        if let Some((_, Kind::Static(s))) = self.coded {
            scale[0] = s;
        }
        Written { row, residual: written, codes, scale }
    }

    /// With the row written (or not), and everything else that the call asks for.
    pub fn by_device(&self, world: &World, with_row: bool) -> Written<E> {
        let World { stream, kernels } = world;
        let &Call { rows, cols, stride, shift, .. } = self;
        let len = rows * cols;
        let up = |x: &[E]| padded(stream, x, shift, E::from_f32(3.0));
        let up32 = |x: &[f32]| padded(stream, x, shift, 3.0);
        let mut row = up(&vec![E::from_f32(7.0); len]);
        let mut codes = padded(stream, &vec![FENCE; len], shift, FENCE);
        let start = if let Some((_, Kind::Static(s))) = self.coded { s } else { 9.0 };
        let mut scale = up32(&vec![start; self.scales()]);
        let (from, to) = (shift, shift + len);
        let given = scale.clone();
        let given = given.slice(shift..shift + self.scales());
        let coded = self.coded.map(|(code, kind)| {
            let scale = scale.slice_mut(shift..shift + given.len());
            let scale = match kind {
                Kind::Token => RowScale::Token(scale),
                Kind::Group => RowScale::Group(scale),
                Kind::Static(_) => RowScale::Static(&given),
            };
            RowCodes { code, codes: codes.slice_mut(from..to), scale }
        });
        let out = RowOutputs { row: with_row.then(|| row.slice_mut(from..to)), coded };
        let mut written = None;
        match &self.input {
            Input::Norm { x, residual, weight, smooth, epsilon } => {
                let (x_device, w_device) = (up(x), up(weight));
                let smooth_device = smooth.as_deref().map(up32);
                written = residual.as_deref().map(up);
                let x = x_device.slice(shift..shift + x.len());
                let weight = w_device.slice(shift..shift + cols);
                let smooth = smooth_device.as_ref().map(|s| s.slice(shift..shift + cols));
                let residual = written.as_mut().map(|data| {
                    let end = data.len() - 1;
                    Rows { data: data.slice_mut(shift..end), row_stride: stride }
                });
                let x = Rows { data: &x, row_stride: stride };
                let norm = RmsNorm { x, residual, weight: &weight, smooth: smooth.as_ref(), epsilon: *epsilon };
                ops::activation::rms_norm_quantize(kernels, stream, rows, cols, norm, out).unwrap();
            }
            Input::Gate { function, gate, up: right, smooth } => {
                let (g, u, s) = (up(gate), up(right), smooth.as_deref().map(up32));
                let (g, u) = (g.slice(shift..shift + gate.len()), u.slice(shift..shift + right.len()));
                let smooth = s.as_ref().map(|s| s.slice(shift..shift + cols));
                let (gate, up) = (Rows { data: &g, row_stride: stride }, Rows { data: &u, row_stride: stride });
                let input = GateMul { function: *function, gate, up, smooth: smooth.as_ref() };
                ops::activation::gate_mul_quantize(kernels, stream, rows, cols, input, out).unwrap();
            }
        }
        let row = unpadded(stream, &row, shift, E::from_f32(3.0));
        let codes = unpadded(stream, &codes, shift, FENCE);
        if !with_row {
            assert!(row.iter().all(|x| x.to_f32() == 7.0), "the row was written unasked");
        }
        if self.coded.is_none() {
            assert!(codes.iter().all(|&c| c == FENCE), "codes were written unasked");
        }
        let residual = written.map(|data| unpadded(stream, &data, shift, E::from_f32(3.0)));
        Written { row, residual, codes, scale: unpadded(stream, &scale, shift, 3.0) }
    }

    /// The device's row is within a unit in the last place of the reference's (both are within half of one, and a little,
    /// of the exact value), the residual is the same, codes and scales are those of quantizing the device's row.
    pub fn check(&self, world: &World, what: &str) {
        let what = format!(
            "{what}: {} x {} stride {} shift {} {:?}",
            self.rows, self.cols, self.stride, self.shift, self.coded
        );
        let (expected, found) = (self.by_reference(), self.by_device(world, true));
        for (at, (x, y)) in found.row.iter().zip(&expected.row).enumerate() {
            let (row, col) = (at / self.cols, at % self.cols);
            // Where a sigmoid is below 2^-126 it counts as 0.
            let tiny = (x.to_f32() - y.to_f32()).abs() <= 2f32.powi(-100);
            assert!(tiny || neighbours(*x, *y), "{what}: row {row} column {col}: {} for {}", x.to_f32(), y.to_f32());
        }
        assert_eq!(
            found.residual.as_deref().map(bits),
            expected.residual.as_deref().map(bits),
            "{what}: the sum with the residual"
        );
        if let (Some((code, kind)), 1..) = (self.coded, self.cols) {
            let (codes, scale) = quantized(code, kind, &found.row, self.rows, self.cols);
            assert_eq!(bits(&found.scale), bits(&scale), "{what}: scales");
            assert_eq!(found.codes, codes, "{what}: codes");
            let without = self.by_device(world, false);
            assert_eq!((without.codes, bits(&without.scale)), (codes, bits(&scale)), "{what}: without the row");
        }
    }
}

/// Codes and scales of a dense matrix: by the reference of the generic quantizer, a part that shares a scale at a time.
pub fn quantized<E: Half16>(code: Code, kind: Kind, x: &[E], rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut codes, mut scales) = (vec![0; x.len()], Vec::new());
    if let Kind::Static(scale) = kind {
        for (code_at, x) in codes.iter_mut().zip(x) {
            *code_at = with_scale(code, x.to_f32(), scale);
        }
        return (codes, vec![scale]);
    }
    let part = if kind == Kind::Group { GROUP } else { cols.max(1) };
    for row in 0..rows {
        for first in (0..cols).step_by(part) {
            let (at, len) = (row * cols + first, part.min(cols - first));
            let (scheme, shape) = (Scheme { code, axis: Axis::Row }, Matrix::dense(1, len));
            let mut scale = [0f32];
            let out = &mut codes[at..at + len];
            reference::quantize::quantize(scheme, shape, &x[at..at + len], out, Scales::Symmetric(&mut scale[..]))
                .unwrap();
            scales.push(scale[0]);
        }
    }
    (codes, scales)
}

/// The definition of a code under a scale that is given, once more.
fn with_scale(code: Code, x: f32, scale: f32) -> u8 {
    let clamped = x.clamp(-65504.0, 65504.0);
    match code {
        Code::Fp8(format) if x.is_nan() => format.encode(x),
        Code::Fp8(format) => format.encode(clamped / scale),
        _ if x.is_nan() => 0,
        _ => (clamped / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8,
    }
}

/// Equal, next to each other, or both NaN.
pub fn neighbours<E: Element>(x: E, y: E) -> bool {
    let (a, b) = (x.to_f32(), y.to_f32());
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    // 16-bit floats order as sign and magnitude; their f32 images keep the upper bits, so counting goes by the type.
    let place = |v: f32| {
        let bits = if E::DTYPE == lowbit::format::DType::F16 {
            f16::from_f32(v).to_bits()
        } else {
            (v.to_bits() >> 16) as u16
        };
        let magnitude = i32::from(bits & 0x7FFF);
        if bits & 0x8000 != 0 { -magnitude } else { magnitude }
    };
    (place(a) - place(b)).abs() <= 1
}

pub fn bits<E: Element>(x: &[E]) -> Vec<u32> {
    x.iter().map(|v| if v.to_f32().is_nan() { 0x7FC0_0000 } else { v.to_f32().to_bits() }).collect()
}

fn padded<T: DeviceRepr + Copy>(stream: &Arc<CudaStream>, x: &[T], shift: usize, fence: T) -> CudaSlice<T> {
    stream.clone_htod(&[&vec![fence; shift][..], x, &[fence]].concat()).unwrap()
}

/// The part between the fences, which must stand.
fn unpadded<T: DeviceRepr + Pod>(stream: &Arc<CudaStream>, x: &CudaSlice<T>, shift: usize, fence: T) -> Vec<T> {
    let all = stream.clone_dtoh(x).unwrap();
    let end = all.len() - 1;
    let stands = |v: &T| bytemuck::bytes_of(v) == bytemuck::bytes_of(&fence);
    assert!(all[..shift].iter().chain(&all[end..]).all(stands), "something was written outside");
    all[shift..end].to_vec()
}

/// Numbers of many magnitudes; with `special`, now and then a NaN, an infinity, a zero of either sign.
pub fn numbers<E: Element>(len: usize, seed: u64, special: bool) -> Vec<E> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 65504.0, -65504.0, 6e-8];
    let each = |random: &mut rand_chacha::ChaCha8Rng| match random.random_range(0..600) {
        i if special && i < specials.len() => specials[i],
        _ => random.random_range(-4.0f32..4.0) * [1.0, 1.0, 1.0, 8.0, 0.01][random.random_range(0..5)],
    };
    (0..len).map(|_| E::from_f32(each(&mut random))).collect()
}

pub fn divisors(len: usize, seed: u64) -> Vec<f32> {
    numbers::<f32>(len, seed, false).iter().map(|x| x.abs() / 4.0 + 0.05).collect()
}
