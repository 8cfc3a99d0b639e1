//! Inputs, launches and the tolerance that the tests share.

use half::{bf16, f16};
use lowbit::cudarc::driver::CudaStream;
use lowbit::format::{Element, Half16};
use lowbit::ops::matmul::{self, Decode, Operands, Residual, SkinnyConfig, TiledConfig};
use lowbit::reference::matmul::Product;
use lowbit::weights::{GgmlType, Packed, PlainWeights, Zeros};
use lowbit::{Kernels, Result, testing};
use nvcuda::client::{self, Checks, MmaMode, Modes, Schedule};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// A device, its kernels, a stream.
pub struct World {
    pub kernels: Kernels,
    pub stream: Arc<CudaStream>,
}

pub fn world() -> World {
    let (context, kernels) = testing::device();
    World { kernels, stream: context.default_stream() }
}

/// A call: what [`SkinnyConfig`] and [`Operands`] say, on the host.
pub struct Call<'a, X, O> {
    pub weights: &'a Packed,
    pub x: &'a [X],
    pub rows: usize,
    pub decode: Decode,
    /// By the kernel for any number of rows.
    pub tiled: bool,
    pub bias: Option<&'a [O]>,
    pub residual: Option<&'a [O]>,
}

impl<'a, X: Half16, O: Element> Call<'a, X, O> {
    pub fn new(weights: &'a Packed, x: &'a [X], rows: usize) -> Self {
        let x = &x[..rows * weights.layout().k()];
        Self { weights, x, rows, decode: Decode::Fast, tiled: false, bias: None, residual: None }
    }

    /// Runs the kernel on contiguous buffers.
    pub fn run(&self, world: &World) -> Result<Vec<O>> {
        let World { kernels, stream } = world;
        let layout = self.weights.layout();
        let weights = stream.clone_htod(self.weights.bytes())?;
        let x = stream.clone_htod(self.x)?;
        let optional = |values: Option<&[O]>| values.map(|values| stream.clone_htod(values)).transpose();
        let (bias, residual) = (optional(self.bias)?, optional(self.residual)?);
        let (bias, residual) = (bias.as_ref().map(|b| b.as_view()), residual.as_ref().map(|r| r.as_view()));
        // SAFETY: the kernel writes every element; softcuda would report one that it does not.
        let mut out = unsafe { stream.alloc::<O>(self.rows * layout.n())? };
        let operands = Operands {
            layout,
            weights: &weights.as_view(),
            x: &x.as_view(),
            bias: bias.as_ref(),
            residual: residual.as_ref().map_or(Residual::None, Residual::From),
        };
        let view = &mut out.as_view_mut();
        if self.tiled {
            let config = TiledConfig::contiguous(layout, self.rows);
            matmul::tiled(kernels, stream, &config, &operands, view)?;
        } else {
            let mut workspace = stream.alloc_zeros::<u8>(matmul::workspace_bytes(kernels, layout, self.rows).max(1))?;
            let config = SkinnyConfig { decode: self.decode, ..SkinnyConfig::contiguous(layout, self.rows) };
            matmul::skinny(kernels, stream, &config, &operands, view, Some(&mut workspace.as_view_mut()))?;
            // The kernel leaves its counters of arrivals as it has to find them; they come first.
            if workspace.len() > 1 {
                assert_eq!(stream.clone_dtoh(&workspace.slice(..4))?, [0; 4], "the first counter after the launch");
            }
        }
        Ok(stream.clone_dtoh(&out)?)
    }

    pub fn reference(&self) -> Product {
        lowbit::reference::matmul::skinny(self.weights, self.x, self.bias, self.residual)
    }

    /// Runs the kernel and compares with the definition.
    pub fn check(&self, world: &World, case: &str) {
        let found = self.run(world).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_close(&found, &self.reference(), case);
    }
}

/// The unit roundoff of an output type: half an ulp of 1.
fn roundoff<O: Element>() -> f64 {
    match O::DTYPE {
        lowbit::format::DType::F32 => 0.0,
        lowbit::format::DType::F16 => 2f64.powi(-11),
        lowbit::format::DType::Bf16 => 2f64.powi(-8),
    }
}

/// `|y - y*| <= u*|y*| + 2^-20 * sum_k |x||w|`: one rounding to the output type, and sums in f32 whose error is a few
/// units of 2^-24 of the sum of magnitudes (the products are exact; tensor cores truncate where they add). f16 outputs
/// below its normal range are rounded to multiples of 2^-24 instead.
pub fn assert_close<O: Element>(found: &[O], expected: &Product, case: &str) {
    assert_within(2f64.powi(-20), found, expected, case);
}

/// The same with another share of the sum of magnitudes.
pub fn assert_within<O: Element>(share: f64, found: &[O], expected: &Product, case: &str) {
    assert_eq!(found.len(), expected.y.len(), "{case}");
    for (at, (found, y)) in found.iter().zip(&expected.y).enumerate() {
        let least = if O::DTYPE == lowbit::format::DType::F16 { 2f64.powi(-25) } else { 0.0 };
        let tolerance = roundoff::<O>() * y.abs() + share * expected.magnitude[at] + least;
        let error = (f64::from(found.to_f32()) - y).abs();
        assert!(
            error <= tolerance,
            "{case} [{at}]: {} is not {y}: off by {error:e}, {:.2} of the tolerance",
            found.to_f32(),
            error / tolerance
        );
    }
}

/// The modes that every product must pass: the three ways in which a tensor core may add, with every check, the last with
/// warps and blocks in a hostile order.
pub fn in_every_mode(test: impl Fn(&str)) {
    for mode in [MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc] {
        let change = |modes: &mut Modes| {
            modes.mma = mode;
            modes.checks = Checks { memory: true, init: true, race: true, sync: true };
            if mode == MmaMode::Trunc {
                modes.schedule = Schedule::Adversarial;
            }
        };
        client::with_modes(change, || test(&format!("{mode:?}")));
    }
}

/// The modes in which equal operands give equal sums, as on every GPU; `Shuffle` draws another order for each product.
pub fn in_repeatable_modes(test: impl Fn(&str)) {
    for mode in [MmaMode::Exact, MmaMode::Trunc] {
        client::with_modes(|modes| modes.mma = mode, || test(&format!("{mode:?}")));
    }
}

/// Kinds of activations: zero mean with outliers, positive, shifted, and the output of SiLU.
pub const X_KINDS: [&str; 4] = ["gauss", "abs", "plus3", "silu"];

pub fn activations<X: Half16>(rng: &mut ChaCha8Rng, kind: &str, len: usize) -> Vec<X> {
    let mut gauss = || {
        let (a, b): (f32, f32) = (rng.random_range(1e-7..1.0), rng.random_range(0.0..std::f32::consts::TAU));
        (-2.0 * a.ln()).sqrt() * b.cos()
    };
    let mut one = |at: usize| match kind {
        "gauss" => gauss() * if at % 50 == 7 { 10.0 } else { 1.0 },
        "abs" => gauss().abs(),
        "plus3" => gauss() + 3.0,
        _ => {
            let g = 2.0 * gauss();
            g / (1.0 + (-g).exp())
        }
    };
    (0..len).map(|at| X::from_f32(one(at))).collect()
}

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// What weights can be, for tables of cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Symmetric,
    Zeros,
    ZerosFromOne,
    Real,
    Min,
    Int8,
}

pub const KINDS_OF_4_BITS: [Kind; 5] = [Kind::Symmetric, Kind::Zeros, Kind::ZerosFromOne, Kind::Real, Kind::Min];

/// Random weights; 8-bit ones are Q8_0 blocks, whatever the group.
pub fn random_weights(rng: &mut ChaCha8Rng, kind: Kind, n: usize, k: usize, group: usize) -> Packed {
    if kind == Kind::Int8 {
        let mut block = |_| {
            let mut block = f16::from_f32(rng.random_range(0.001..0.02)).to_le_bytes().to_vec();
            block.extend((0..32).map(|_| rng.random::<u8>()));
            block
        };
        let bytes: Vec<u8> = (0..n * k / 32).flat_map(&mut block).collect();
        return Packed::from_ggml(GgmlType::Q8_0, n, k, &bytes).unwrap();
    }
    let per_group = k.div_ceil(group) * n;
    let halves = |rng: &mut ChaCha8Rng, low: f32, high: f32| -> Vec<f16> {
        (0..per_group).map(|_| f16::from_f32(rng.random_range(low..high))).collect()
    };
    let zeros = |rng: &mut ChaCha8Rng, low: u8| (0..per_group).map(|_| rng.random_range(low..low + 16)).collect();
    let plain = PlainWeights {
        n,
        k,
        group,
        codes: (0..n * k).map(|_| rng.random_range(0..16)).collect(),
        scales: halves(rng, 0.002, 0.05),
        zeros: match kind {
            Kind::Symmetric | Kind::Int8 => Zeros::Symmetric,
            Kind::Zeros => Zeros::Codes(zeros(rng, 0)),
            Kind::ZerosFromOne => Zeros::Codes(zeros(rng, 1)),
            Kind::Real => Zeros::Real(halves(rng, 0.0, 15.0)),
            Kind::Min => Zeros::Min(halves(rng, -0.4, 0.05)),
        },
    };
    Packed::from_plain(&plain).unwrap()
}

/// bf16 of f16 values, for golden inputs.
pub fn to_bf16(x: &[f16]) -> Vec<bf16> {
    x.iter().map(|x| bf16::from_f32(x.to_f32())).collect()
}
