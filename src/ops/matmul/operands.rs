//! What a product reads and where it goes, with the checks that all products share.

use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, SyncOnDrop};

use super::arguments::Arguments;
use super::params::{MAX_SEGMENTS, OutputPart, ProductParams};
use super::skinny::Decode;
use crate::error::{Error, Result};
use crate::format::activation::Gate;
use crate::format::{Element, Half16};
use crate::weights::PackedLayout;

/// What is added to the product before it is rounded.
#[derive(Clone, Copy)]
pub enum Residual<'a, O> {
    /// Nothing.
    None,
    /// `[rows, n]` from another buffer.
    From(&'a CudaView<'a, O>),
    /// What the output holds (with `residual_stride` not used).
    Output,
}

/// What a call reads. The product is rounded to `O` once, after bias, residual and gate.
#[derive(Clone, Copy)]
pub struct Operands<'a, X, O> {
    /// Shape and format of the weights.
    pub layout: &'a PackedLayout,
    /// The packed buffer, [`PackedLayout::bytes`] long at least; its start must be a multiple of 16 bytes.
    pub weights: &'a CudaView<'a, u8>,
    /// `[rows, k]`.
    pub x: &'a CudaView<'a, X>,
    /// `[n]`.
    pub bias: Option<&'a CudaView<'a, O>>,
    /// `[rows, n]`; for an [`Output::Whole`] only.
    pub residual: Residual<'a, O>,
}

/// A matrix that takes some of the outputs.
pub struct Segment<'b, O> {
    /// `[rows, columns]`.
    pub out: CudaViewMut<'b, O>,
    /// How many outputs, at least 1.
    pub columns: usize,
    /// Elements from row to row, at least `columns`.
    pub stride: usize,
}

/// Where a product goes. `&mut CudaViewMut` converts into [`Output::Whole`].
pub enum Output<'a, 'b, O> {
    /// One matrix `[rows, n]`, rows `config.out_stride` apart.
    Whole(&'a mut CudaViewMut<'b, O>),
    /// `f(y[m][j] + bias[j]) * (y[m][n/2 + j] + bias[n/2 + j])`, j < n / 2: gate and up projection in one matrix of
    /// weights, the gate's outputs first. `[rows, n / 2]`, rows `config.out_stride` apart; n must be a multiple of 32.
    /// f is SiLU or the tanh form of GELU.
    Gated(Gate, &'a mut CudaViewMut<'b, O>),
    /// 1 to [`MAX_SEGMENTS`] matrices, which take the outputs in their order, together all n: query, key and value
    /// projection in one matrix of weights. `config.out_stride` is not used.
    Segments(&'a mut [Segment<'b, O>]),
}

impl<'a, 'b, O> From<&'a mut CudaViewMut<'b, O>> for Output<'a, 'b, O> {
    fn from(out: &'a mut CudaViewMut<'b, O>) -> Self {
        Self::Whole(out)
    }
}

/// Strides of a call in elements.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub x: usize,
    pub residual: usize,
    pub out: usize,
}

/// A call's arguments.
pub(super) struct Call<'c, 'o, 'v, X, O> {
    pub arguments: Arguments,
    pub strides: Strides,
    pub operands: &'c Operands<'c, X, O>,
    pub output: Output<'o, 'v, O>,
}

impl<X: Half16, O: Element> Call<'_, '_, '_, X, O> {
    /// Everything that can be known to be wrong without the device's addresses, but for the workspace.
    pub(super) fn check(&self, most_rows: usize) -> Result<()> {
        let Self { arguments, strides, operands, .. } = self;
        let (n, k) = (operands.layout.n(), operands.layout.k());
        arguments.rows(most_rows)?;
        arguments.at_least("weights", operands.layout.bytes(), operands.weights.len())?;
        arguments.matrix("x", ("config.x_stride", strides.x), k, operands.x.len())?;
        if let Some(bias) = operands.bias {
            arguments.at_least("bias", n, bias.len())?;
        }
        if let Residual::From(residual) = operands.residual {
            arguments.matrix("residual", ("config.residual_stride", strides.residual), n, residual.len())?;
        }
        if !matches!(self.output, Output::Whole(_)) && !matches!(operands.residual, Residual::None) {
            let expected = "none with a gated output or segments";
            return Err(Error::argument(arguments.op, "residual", expected, "a residual"));
        }
        self.check_output(n)
    }

    fn check_output(&self, n: usize) -> Result<()> {
        let arguments = self.arguments;
        let wrong =
            |argument, expected: String, found: String| Err(Error::argument(arguments.op, argument, expected, found));
        let stride = ("config.out_stride", self.strides.out);
        match &self.output {
            Output::Whole(out) => arguments.matrix("out", stride, n, out.len()),
            Output::Gated(Gate::GeluErf, _) => {
                Err(Error::unsupported(arguments.op, "a gate GeluErf", "Silu, GeluTanh"))
            }
            Output::Gated(_, out) => {
                if !n.is_multiple_of(32) {
                    return wrong("layout", "n a multiple of 32 for a gated output".into(), n.to_string());
                }
                arguments.matrix("out", stride, n / 2, out.len())
            }
            Output::Segments(segments) => {
                if segments.is_empty() || segments.len() > MAX_SEGMENTS {
                    return wrong("segments", format!("1 to {MAX_SEGMENTS} segments"), segments.len().to_string());
                }
                for Segment { out, columns, stride } in segments.iter() {
                    arguments.at_least("segments.columns", 1, *columns)?;
                    arguments.matrix("segments.out", ("segments.stride", *stride), *columns, out.len())?;
                }
                let columns = segments.iter().fold(0usize, |sum, segment| sum.saturating_add(segment.columns));
                if columns != n {
                    return wrong("segments.columns", format!("{n} columns together"), columns.to_string());
                }
                Ok(())
            }
        }
    }

    /// The arguments as kernels of `decode` take them. Call after [`Self::check`].
    pub(super) fn bind<'g>(&'g mut self, stream: &'g Arc<CudaStream>, decode: Decode) -> Result<Bound<'g>> {
        let Self { arguments, strides, operands, output } = self;
        let layout = operands.layout;
        let mut guards = Vec::new();
        let (weights, guard) = operands.weights.device_ptr(stream);
        guards.push(guard);
        arguments.aligned("weights", weights, 16)?;
        let mut params = ProductParams {
            x_stride: strides.x as u64,
            m: arguments.rows as u32,
            out_type: O::DTYPE as u32,
            ..ProductParams::of_weights(layout, weights, X::DTYPE, decode)
        };
        let (x, guard) = operands.x.device_ptr(stream);
        guards.push(guard);
        params.x = x;
        params.x_aligned = u32::from(x.is_multiple_of(16) && (arguments.rows == 1 || strides.x.is_multiple_of(8)));
        if let Some(bias) = operands.bias {
            let (pointer, guard) = bias.device_ptr(stream);
            guards.push(guard);
            params.bias = pointer;
        }
        if let Residual::From(residual) = operands.residual {
            let (pointer, guard) = residual.device_ptr(stream);
            guards.push(guard);
            (params.residual, params.residual_stride) = (pointer, strides.residual as u64);
        }
        let mut end = 0;
        let mut part = |at: usize, out: &'g mut CudaViewMut<'_, O>, columns: usize, stride: usize| {
            let (pointer, guard) = out.device_ptr_mut(stream);
            guards.push(guard);
            end += columns as u32;
            params.parts[at] = OutputPart { out: pointer, stride: stride as u64, end, reserved: 0 };
        };
        match output {
            Output::Whole(out) => part(0, out, layout.n(), strides.out),
            Output::Gated(function, out) => {
                part(0, out, layout.n(), strides.out);
                params.gate = 1 + *function as u32;
            }
            Output::Segments(segments) => {
                for (at, Segment { out, columns, stride }) in segments.iter_mut().enumerate() {
                    part(at, out, *columns, *stride);
                }
            }
        }
        if let Residual::Output = operands.residual {
            (params.residual, params.residual_stride) = (params.parts[0].out, strides.out as u64);
        }
        Ok(Bound { params, _guards: guards })
    }
}

/// Parameters, all but how k is divided, and the guards of the buffers that they point to.
pub(super) struct Bound<'g> {
    pub params: ProductParams,
    _guards: Vec<SyncOnDrop<'g>>,
}
