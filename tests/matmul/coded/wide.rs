//! Products of 16-bit activations with E4M3 weights.

use half::{bf16, f16};
use lowbit::Result;
use lowbit::format::{ByteCode, Element, Half16};
use lowbit::ops::matmul::{self, CodedConfig, Epilogue, Residual, W8A16Operands};
use lowbit::reference;
use lowbit::reference::matmul::Product;
use lowbit::weights::{ByteAxis, ByteScales, PackedBytes};
use nvcuda::client;

use super::world::*;
use crate::world::{X_KINDS, activations};

const AXES: [ByteAxis; 2] = [ByteAxis::Output, ByteAxis::Block];

/// A product on the host. Rows of x are `stride` apart, from element `shift` of its buffer on.
struct Call<'a, X, O> {
    weights: &'a PackedBytes,
    x: &'a [X],
    rows: usize,
    stride: usize,
    shift: usize,
    bias: Option<&'a [O]>,
    residual: Option<&'a [O]>,
}

impl<'a, X: Half16, O: Element> Call<'a, X, O> {
    fn new(weights: &'a PackedBytes, x: &'a [X], rows: usize) -> Self {
        let stride = weights.layout().k();
        Self { weights, x, rows, stride, shift: 0, bias: None, residual: None }
    }

    fn run(&self, world: &World) -> Result<Vec<O>> {
        let World { kernels, stream } = world;
        let (layout, rows) = (self.weights.layout(), self.rows);
        let optional = |values: Option<&[O]>| values.map(|values| stream.clone_htod(values)).transpose();
        let (bias, residual) = (optional(self.bias)?, optional(self.residual)?);
        let (bias, residual) = (bias.as_ref().map(|b| b.as_view()), residual.as_ref().map(|r| r.as_view()));
        let residual = residual.as_ref().map_or(Residual::None, Residual::From);
        let epilogue = Epilogue { bias: bias.as_ref(), residual };
        let weights = stream.clone_htod(self.weights.bytes())?;
        // The last row ends where the buffer does.
        let end = self.shift + (rows - 1) * self.stride + layout.k();
        let x = stream.clone_htod(&self.x[..end])?;
        // SAFETY: the kernel writes every element; softcuda would report one that it does not.
        let mut out = unsafe { stream.alloc::<O>(rows * layout.n())? };
        let bytes = matmul::w8a16_workspace_bytes(kernels, layout, rows);
        let mut workspace = stream.alloc_zeros::<u8>(bytes.max(1))?;
        let operands =
            W8A16Operands { layout, weights: &weights.as_view(), x: &x.slice(self.shift..), x_stride: self.stride };
        let config = CodedConfig::contiguous(rows, layout.n());
        let (out_view, workspace) = (&mut out.as_view_mut(), &mut workspace.as_view_mut());
        matmul::w8a16(kernels, stream, &config, &operands, &epilogue, out_view, Some(workspace))?;
        Ok(stream.clone_dtoh(&out)?)
    }

    fn reference(&self) -> Product {
        let k = self.weights.layout().k();
        let row = |row: usize| &self.x[self.shift + row * self.stride..][..k];
        let x: Vec<X> = (0..self.rows).flat_map(|at| row(at).iter().copied()).collect();
        reference::matmul::w8a16(self.weights, &x, self.bias, self.residual)
    }

    fn check(&self, world: &World, case: &str) {
        let found = self.run(world).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_close(&found, &self.reference(), case);
    }
}

fn every_shape<X: Half16>() {
    let world = world();
    let mut rng = rng(21);
    let mut shapes: Vec<(usize, usize, usize)> =
        (1..=9).chain([16, 17, 32, 33, 65]).map(|rows| (rows, 24, [64, 96, 160, 256][rows % 4])).collect();
    shapes.extend([(1, 4104, 96), (9, 520, 160), (3, 96, 4128), (2, 8, 14336), (40, 200, 1000)]);
    for axis in AXES {
        for (&(rows, n, k), kind) in shapes.iter().zip(X_KINDS.iter().cycle()) {
            let weights = random_weights(&mut rng, ByteCode::E4m3, axis, n, k);
            let x: Vec<X> = activations(&mut rng, kind, rows * (k + 3) + 1);
            let (bias, residual): (Vec<f32>, Vec<f32>) =
                ((0..n).map(|i| (i % 7) as f32 / 64.0).collect(), vec![0.125; rows * n]);
            in_every_mode(|mode| {
                let case = format!("{} {axis:?} {kind} {rows} rows {n} x {k} {mode}", X::DTYPE);
                Call::<X, f32>::new(&weights, &x, rows).check(world, &case);
                let apart = Call { stride: k + 3, shift: 1, ..Call::<X, f32>::new(&weights, &x, rows) };
                Call { bias: Some(&bias), residual: Some(&residual), ..apart }.check(world, &case);
            });
            Call::<X, X>::new(&weights, &x, rows).check(world, &format!("{axis:?} {rows} rows {n} x {k}"));
        }
    }
}

#[test]
fn f16_of_every_shape_is_its_definition() {
    every_shape::<f16>();
}

#[test]
fn bf16_of_every_shape_is_its_definition() {
    every_shape::<bf16>();
}

/// Every code by a row of x that picks it out: the number itself, bit for bit, on every image.
#[test]
fn every_code_is_its_number() {
    fn picked<X: Half16>(world: &World, weights: &PackedBytes) -> Vec<f32> {
        let rows = weights.layout().k();
        let one = |at: usize| X::from_f32(if at / rows == at % rows { 1.0 } else { 0.0 });
        let x: Vec<X> = (0..rows * rows).map(one).collect();
        Call::<X, f32>::new(weights, &x, rows).run(world).unwrap()
    }
    // Without the two codes that are no numbers.
    let codes: Vec<u8> = (0..=255u8).filter(|code| code & 0x7F != 0x7F).collect();
    let k = codes.len();
    let weights = PackedBytes::from_codes(1, k, ByteCode::E4m3, &codes, ByteScales::Tensor(1.0)).unwrap();
    let expected: Vec<f32> = codes.iter().map(|&code| ByteCode::E4m3.value(code)).collect();
    for model in ["sm_80", "sm_89", "sm_90"] {
        client::set_model(model);
        let world = crate::world::world();
        assert_eq!(picked::<f16>(&world, &weights), expected, "{model} f16");
        assert_eq!(picked::<bf16>(&world, &weights), expected, "{model} bf16");
    }
    client::reset_modes();
}

/// With NaN and infinities next door, in every block of rows.
#[test]
fn rows_do_not_depend_on_each_other() {
    let world = world();
    let mut rng = rng(22);
    for axis in AXES {
        let (n, k) = (40, 1000);
        let weights = random_weights(&mut rng, ByteCode::E4m3, axis, n, k);
        let mut x: Vec<bf16> = activations(&mut rng, "gauss", 70 * k);
        x[5 * k + 17] = bf16::NAN;
        x[40 * k] = bf16::INFINITY;
        in_repeatable_modes(|mode| {
            let run = |first: usize, rows: usize| -> Vec<u32> {
                let y = Call::<bf16, f32>::new(&weights, &x[first * k..], rows).run(world).unwrap();
                y.iter().map(|y| y.to_bits()).collect()
            };
            let all = run(0, 70);
            assert!(all[5 * n..6 * n].iter().all(|&y| f32::from_bits(y).is_nan()), "{axis:?} {mode}");
            for (first, rows) in [(0, 1), (6, 1), (6, 8), (6, 17), (6, 33), (41, 29)] {
                assert_eq!(run(first, rows), all[first * n..][..rows * n], "{axis:?} {first} {rows} {mode}");
            }
        });
    }
}

#[test]
fn wrong_arguments_are_named() {
    let world = world();
    let (n, k, rows) = (24, 160, 2);
    let x = vec![f16::ONE; rows * k + 8];
    let attempt = |code, change: &dyn Fn(&mut CodedConfig, &mut usize, &mut usize, &mut usize)| {
        let World { kernels, stream } = world;
        let weights = PackedBytes::quantize(n, k, code, ByteAxis::Output, &vec![1.0; n * k]).unwrap();
        let (mut config, mut stride) = (CodedConfig::contiguous(rows, n), k);
        let (mut weights_len, mut x_len) = (weights.bytes().len(), rows * k);
        change(&mut config, &mut stride, &mut weights_len, &mut x_len);
        let device = stream.clone_htod(weights.bytes()).unwrap();
        let x = stream.clone_htod(&x).unwrap();
        let mut out = stream.clone_htod(&vec![42f32; rows * n]).unwrap();
        let operands = W8A16Operands {
            layout: weights.layout(),
            weights: &device.slice(..weights_len),
            x: &x.slice(..x_len),
            x_stride: stride,
        };
        let epilogue = Epilogue::default();
        let result = matmul::w8a16(kernels, stream, &config, &operands, &epilogue, &mut out.as_view_mut(), None);
        assert_eq!(stream.clone_dtoh(&out).unwrap(), vec![42f32; rows * n], "an error leaves the output as it was");
        result.unwrap_err().to_string()
    };
    let e4m3 = |change: &dyn Fn(&mut CodedConfig, &mut usize, &mut usize, &mut usize)| attempt(ByteCode::E4m3, change);
    assert_eq!(
        attempt(ByteCode::Int8, &|_, _, _, _| ()),
        "matmul::w8a16: int8 weights is not supported; supported: e4m3"
    );
    assert_eq!(
        e4m3(&|config, _, _, _| config.fast_accumulation = true),
        "matmul::w8a16: `config.fast_accumulation`: expected false, its products are not of 8-bit floats, found true"
    );
    for (name, found) in [
        ("rows", e4m3(&|config, _, _, _| config.rows = 0)),
        ("x_stride", e4m3(&|_, stride, _, _| *stride = k - 1)),
        ("x", e4m3(&|_, _, _, x| *x -= 1)),
        ("weights", e4m3(&|_, _, weights, _| *weights -= 1)),
        ("out", e4m3(&|config, _, _, _| config.out_stride = n + 1)),
        ("config.out_stride", e4m3(&|config, _, _, _| config.out_stride = n - 1)),
    ] {
        assert!(
            found.starts_with("matmul::w8a16: ") && found.contains(&format!("{name}`: expected")),
            "{name}: {found}"
        );
    }
}
