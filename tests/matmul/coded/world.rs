//! Calls on the host, and inputs.

use std::sync::LazyLock;

use lowbit::Result;
use lowbit::format::{ByteCode, CodedRows, CodedScale, CodedZero, Element};
use lowbit::ops::matmul::{self, ByteOperands, CodedConfig, Epilogue, Residual, W4A8Operands};
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, Packed, PackedBytes};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub use crate::world::{World, assert_close, in_every_mode, in_repeatable_modes, rng};

/// One for all tests: loading the kernels takes longer than most.
pub fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(crate::world::world);
    &WORLD
}

/// Rows of codes with their scales, on the host.
#[derive(Debug, Clone)]
pub struct HostRows {
    pub code: ByteCode,
    pub codes: Vec<u8>,
    pub stride: usize,
    pub scale: CodedScale<Vec<f32>>,
    pub zero: Option<CodedZero<Vec<i32>>>,
}

/// The same with its buffers lent out.
pub fn lend_scale<'a, V, F>(scale: &'a CodedScale<V>, lend: impl FnOnce(&'a V) -> F) -> CodedScale<F> {
    match scale {
        CodedScale::Tensor(v) => CodedScale::Tensor(lend(v)),
        CodedScale::Row(v) => CodedScale::Row(lend(v)),
        CodedScale::Group(v) => CodedScale::Group(lend(v)),
    }
}

pub fn lend_zero<'a, V, F>(zero: &'a CodedZero<V>, lend: impl FnOnce(&'a V) -> F) -> CodedZero<F> {
    match zero {
        CodedZero::Tensor(v) => CodedZero::Tensor(lend(v)),
        CodedZero::Row(v) => CodedZero::Row(lend(v)),
    }
}

impl HostRows {
    /// For `reference`.
    pub fn slices(&self) -> CodedRows<&[u8], &[f32], &[i32]> {
        CodedRows {
            code: self.code,
            codes: &self.codes,
            row_stride: self.stride,
            scale: lend_scale(&self.scale, |v| &v[..]),
            zero: self.zero.as_ref().map(|zero| lend_zero(zero, |v| &v[..])),
        }
    }

    /// Rows `first ..`, with their scales.
    pub fn starting_at(&self, first: usize, k: usize) -> Self {
        let skip = |scale: &CodedScale<Vec<f32>>| match scale {
            CodedScale::Tensor(v) => CodedScale::Tensor(v.clone()),
            CodedScale::Row(v) => CodedScale::Row(v[first..].to_vec()),
            CodedScale::Group(v) => CodedScale::Group(v[first * k.div_ceil(128)..].to_vec()),
        };
        let zero = self.zero.as_ref().map(|zero| match zero {
            CodedZero::Tensor(v) => CodedZero::Tensor(v.clone()),
            CodedZero::Row(v) => CodedZero::Row(v[first..].to_vec()),
        });
        Self { codes: self.codes[first * self.stride..].to_vec(), scale: skip(&self.scale), zero, ..self.clone() }
    }
}

/// The weights of a product.
#[derive(Clone, Copy)]
pub enum HostWeights<'a> {
    Bytes(&'a PackedBytes),
    Four(&'a Packed),
}

impl<'a> From<&'a PackedBytes> for HostWeights<'a> {
    fn from(weights: &'a PackedBytes) -> Self {
        Self::Bytes(weights)
    }
}

impl<'a> From<&'a Packed> for HostWeights<'a> {
    fn from(weights: &'a Packed) -> Self {
        Self::Four(weights)
    }
}

impl HostWeights<'_> {
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Bytes(weights) => (weights.layout().n(), weights.layout().k()),
            Self::Four(weights) => (weights.layout().n(), weights.layout().k()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(weights) => weights.bytes(),
            Self::Four(weights) => weights.bytes(),
        }
    }
}

/// A product on the host.
pub struct Call<'a, O> {
    pub weights: HostWeights<'a>,
    pub x: &'a HostRows,
    pub rows: usize,
    pub bias: Option<&'a [O]>,
    pub residual: Option<&'a [O]>,
    /// Bytes by which the codes are off their allocation's start.
    pub shift: usize,
    /// Whether 8-bit floats are accumulated fast.
    pub fast: bool,
}

impl<'a, O: Element> Call<'a, O> {
    pub fn new(weights: impl Into<HostWeights<'a>>, x: &'a HostRows, rows: usize) -> Self {
        Self { weights: weights.into(), x, rows, bias: None, residual: None, shift: 0, fast: false }
    }

    pub fn run(&self, world: &World) -> Result<Vec<O>> {
        let World { kernels, stream } = world;
        let (n, k) = self.weights.shape();
        let optional = |values: Option<&[O]>| values.map(|values| stream.clone_htod(values)).transpose();
        let (bias, residual) = (optional(self.bias)?, optional(self.residual)?);
        let (bias, residual) = (bias.as_ref().map(|b| b.as_view()), residual.as_ref().map(|r| r.as_view()));
        let residual = residual.as_ref().map_or(Residual::None, Residual::From);
        let epilogue = Epilogue { bias: bias.as_ref(), residual };
        // SAFETY: the kernel writes every element; softcuda would report one that it does not.
        let mut out = unsafe { stream.alloc::<O>(self.rows * n)? };
        let bytes = match self.weights {
            HostWeights::Bytes(weights) => matmul::w8a8_workspace_bytes(kernels, weights.layout(), self.rows),
            HostWeights::Four(weights) => matmul::w4a8_workspace_bytes(kernels, weights.layout(), self.rows),
        };
        let mut workspace = stream.alloc_zeros::<u8>(bytes.max(1))?;
        let config = CodedConfig { fast_accumulation: self.fast, ..CodedConfig::contiguous(self.rows, n) };
        let weights = stream.clone_htod(self.weights.bytes())?;
        with_device_rows(world, self.x, self.rows, k, self.shift, |x| {
            let (weights, out) = (&weights.as_view(), &mut out.as_view_mut());
            let workspace = Some(&mut workspace.as_view_mut());
            match self.weights {
                HostWeights::Bytes(host) => {
                    let operands = ByteOperands { layout: host.layout(), weights, x };
                    matmul::w8a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
                }
                HostWeights::Four(host) => {
                    let operands = W4A8Operands { layout: host.layout(), weights, x };
                    matmul::w4a8(kernels, stream, &config, &operands, &epilogue, out, workspace)
                }
            }
        })?;
        Ok(stream.clone_dtoh(&out)?)
    }

    pub fn reference(&self) -> Product {
        let x = self.x.slices();
        match self.weights {
            HostWeights::Bytes(weights) => reference::matmul::w8a8(weights, self.rows, &x, self.bias, self.residual),
            HostWeights::Four(weights) => reference::matmul::w4a8(weights, self.rows, &x, self.bias, self.residual),
        }
    }

    pub fn check(&self, world: &World, case: &str) {
        let found = self.run(world).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_close(&found, &self.reference(), case);
    }
}

/// Uploads exactly the bytes that so many rows have, and hands the views on.
pub fn with_device_rows<R>(
    world: &World,
    x: &HostRows,
    rows: usize,
    k: usize,
    shift: usize,
    call: impl FnOnce(matmul::Coded<'_>) -> Result<R>,
) -> Result<R> {
    let stream = &world.stream;
    let codes = [&vec![0xA5; shift], &x.codes[..(rows - 1) * x.stride + k]].concat();
    let codes = stream.clone_htod(&codes)?;
    let scale = stream.clone_htod(x.scale.buffer())?;
    let zero = x.zero.as_ref().map(|zero| stream.clone_htod(zero.buffer())).transpose()?;
    let (codes, scale) = (codes.slice(shift..), scale.as_view());
    let zero_view = zero.as_ref().map(|zero| zero.as_view());
    call(CodedRows {
        code: x.code,
        codes: &codes,
        row_stride: x.stride,
        scale: lend_scale(&x.scale, |_| &scale),
        zero: x.zero.as_ref().zip(zero_view.as_ref()).map(|(zero, view)| lend_zero(zero, |_| view)),
    })
}

/// Codes of x that cover the code's range; `kind` as in the tests of 16-bit activations: zero mean, or positive.
pub fn random_rows(rng: &mut ChaCha8Rng, code: ByteCode, kind: &str, rows: usize, k: usize) -> HostRows {
    let mut codes = random_codes(rng, code, rows * k);
    if kind == "abs" {
        codes
            .iter_mut()
            .for_each(|c| *c = if code == ByteCode::Int8 { (*c as i8).unsigned_abs().min(127) } else { *c & 0x7F });
    }
    let scale = CodedScale::Row((0..rows).map(|_| rng.random_range(0.001..0.05)).collect());
    HostRows { code, codes, stride: k, scale, zero: None }
}

/// Any byte; of E4M3 no NaN.
pub fn random_codes(rng: &mut ChaCha8Rng, code: ByteCode, len: usize) -> Vec<u8> {
    (0..len)
        .map(|_| match (code, rng.random::<u8>()) {
            (ByteCode::E4m3, bits) if bits & 0x7F == 0x7F => 0,
            (_, bits) => bits,
        })
        .collect()
}

pub fn random_weights(rng: &mut ChaCha8Rng, code: ByteCode, axis: ByteAxis, n: usize, k: usize) -> PackedBytes {
    use lowbit::weights::ByteScales;
    let codes = random_codes(rng, code, n * k);
    let len = if axis == ByteAxis::Output { n } else { n.div_ceil(128) * k.div_ceil(128) };
    let scales: Vec<f32> = (0..len).map(|_| rng.random_range(0.001..0.05)).collect();
    let scales = if axis == ByteAxis::Output { ByteScales::Output(&scales) } else { ByteScales::Block(&scales) };
    PackedBytes::from_codes(n, k, code, &codes, scales).unwrap()
}

/// As [`random_rows`], with the scales that go with the weights' axis.
pub fn rows_for(
    rng: &mut ChaCha8Rng,
    (code, axis): (ByteCode, ByteAxis),
    kind: &str,
    rows: usize,
    k: usize,
) -> HostRows {
    let x = random_rows(rng, code, kind, rows, k);
    let groups = rows * k.div_ceil(128);
    let scale = match axis {
        ByteAxis::Output => x.scale.clone(),
        ByteAxis::Block => CodedScale::Group((0..groups).map(|_| rng.random_range(0.001..0.05)).collect()),
    };
    HostRows { scale, ..x }
}
