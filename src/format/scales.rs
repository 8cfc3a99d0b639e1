//! The scales of a quantized matrix, and the check of a call's shape and lengths.

use crate::error::{Error, Result};
use crate::format::{Axis, Code, Matrix, ScaleKind, Scheme};

/// The scales of a code: `F`, `H` and `B` are slices or device views of f32, f16 and u8 (or lengths of these).
///
/// The order of regions is that of [`Scheme::region`].
#[derive(Debug)]
pub enum Scales<F, H, B> {
    /// Of [`ScaleKind::F32`].
    Symmetric(F),
    /// Of [`ScaleKind::F16WithMin`].
    Asymmetric {
        /// Value of one step.
        scale: H,
        /// Value of code 0.
        min: H,
    },
    /// Of [`ScaleKind::E4m3UnderF32`]: an element's scale is block * tensor, in f32.
    Blocks {
        /// E4M3, one a block.
        block: B,
        /// One for the tensor.
        tensor: F,
    },
    /// Of [`ScaleKind::E8m0`], one a block.
    Exponents(B),
}

/// Scales on the host, read.
pub type HostScales<'a> = Scales<&'a [f32], &'a [half::f16], &'a [u8]>;
/// Scales on the host, written.
pub type HostScalesMut<'a> = Scales<&'a mut [f32], &'a mut [half::f16], &'a mut [u8]>;

impl<F, H, B> Scales<F, H, B> {
    /// The same kind of scales, with each part put through its function.
    pub(crate) fn map<'a, F2, H2, B2>(
        &'a self,
        f: impl Fn(&'a F) -> F2,
        h: impl Fn(&'a H) -> H2,
        b: impl Fn(&'a B) -> B2,
    ) -> Scales<F2, H2, B2> {
        match self {
            Self::Symmetric(scale) => Scales::Symmetric(f(scale)),
            Self::Asymmetric { scale, min } => Scales::Asymmetric { scale: h(scale), min: h(min) },
            Self::Blocks { block, tensor } => Scales::Blocks { block: b(block), tensor: f(tensor) },
            Self::Exponents(block) => Scales::Exponents(b(block)),
        }
    }

    const fn kind(&self) -> ScaleKind {
        match self {
            Self::Symmetric(_) => ScaleKind::F32,
            Self::Asymmetric { .. } => ScaleKind::F16WithMin,
            Self::Blocks { .. } => ScaleKind::E4m3UnderF32,
            Self::Exponents(_) => ScaleKind::E8m0,
        }
    }
}

const fn kind_text(kind: ScaleKind) -> &'static str {
    match kind {
        ScaleKind::F32 => "f32 scales",
        ScaleKind::F16WithMin => "f16 scales and minima",
        ScaleKind::E4m3UnderF32 => "E4M3 block scales and one f32",
        ScaleKind::E8m0 => "E8M0 block scales",
    }
}

/// What came with a call, for [`Scheme::validate`].
#[derive(Debug)]
pub struct Lengths {
    /// Name of the argument with the real numbers: `x` or `out`.
    pub element_name: &'static str,
    /// Real numbers.
    pub elements: usize,
    /// Bytes of codes.
    pub codes: usize,
    /// Lengths of the scales.
    pub scales: Scales<usize, usize, usize>,
}

impl Scheme {
    /// Checks the shape and every length against it.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the argument; [`Error::Unsupported`] for a block format on another axis than its own.
    pub fn validate(&self, op: &'static str, shape: Matrix, lengths: Lengths) -> Result<()> {
        shape.validate(op, (lengths.element_name, lengths.elements))?;
        self.check_axis(op, shape)?;
        let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
        let bytes = shape.rows * self.row_bytes(shape.cols);
        if lengths.codes < bytes {
            return wrong("codes", format!("at least {bytes} bytes"), lengths.codes.to_string());
        }
        let (regions, kind) = (self.regions(shape), self.code.scale_kind());
        let (expected, found) = match lengths.scales {
            Scales::Symmetric(scale) if kind == ScaleKind::F32 => {
                if scale >= regions {
                    return Ok(());
                }
                (format!("at least {regions} f32"), scale.to_string())
            }
            Scales::Asymmetric { scale, min } if kind == ScaleKind::F16WithMin => {
                if scale >= regions && min >= regions {
                    return Ok(());
                }
                (format!("at least {regions} f16 scales and minima"), format!("{scale} and {min}"))
            }
            Scales::Blocks { block, tensor } if kind == ScaleKind::E4m3UnderF32 => {
                if block >= regions && tensor >= 1 {
                    return Ok(());
                }
                (format!("at least {regions} block scales and 1 f32"), format!("{block} and {tensor}"))
            }
            Scales::Exponents(block) if kind == ScaleKind::E8m0 => {
                if block >= regions {
                    return Ok(());
                }
                (format!("at least {regions} block scales"), block.to_string())
            }
            ref other => (format!("{} for {}", kind_text(kind), self.code.name()), kind_text(other.kind()).to_string()),
        };
        wrong("scales", expected, found)
    }

    fn check_axis(&self, op: &'static str, shape: Matrix) -> Result<()> {
        let wrong = |argument, expected: String, found: String| Err(Error::argument(op, argument, expected, found));
        let Matrix { rows, cols, .. } = shape;
        if let Some(block) = self.code.block()
            && self.axis != Axis::Group(block)
        {
            let what = format!("{} per {:?}", self.code.name(), self.axis);
            return Err(Error::unsupported(op, what, SUPPORTED));
        }
        match self.axis {
            Axis::Group(size) if !(8..=1024).contains(&size) || !size.is_multiple_of(8) => {
                wrong("scheme.axis", "a group of 8 to 1024 elements, a multiple of 8".into(), size.to_string())
            }
            Axis::Group(size) if !cols.is_multiple_of(size) => {
                wrong("shape.cols", format!("a multiple of the group of {size}"), cols.to_string())
            }
            Axis::TokenGroup(size) if !(8..=256).contains(&size) || !size.is_multiple_of(8) => {
                wrong("scheme.axis", "a group of 8 to 256 tokens, a multiple of 8".into(), size.to_string())
            }
            Axis::TokenGroup(size) if !rows.is_multiple_of(size) => {
                wrong("shape.rows", format!("a multiple of the group of {size}"), rows.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// The closed list, for errors.
const SUPPORTED: &str = "int8, int4, int2, e4m3, e5m2, uint8, uint4, uint2 per Tensor, Row, Column, Group, TokenGroup; nvfp4 per \
                         Group(16); mxfp4, mxfp8_e4m3, mxfp8_e5m2 per Group(32)";

/// How a quotient becomes a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To the nearest code, ties to the even one.
    #[default]
    Nearest,
    /// To one of the two neighbouring codes, the farther from zero with the fraction's probability: away from zero when
    /// [`crate::format::uniform`]`(seed, row * cols + col)` is below the fraction. INT8, E4M3 and E5M2 only.
    Stochastic {
        /// Seed of the generator.
        seed: u64,
    },
}

/// How a tensor is quantized beside its scheme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Statistics (amax, or min and max) are multiplied by this first, in f32; codes beyond saturate. In (0, 1].
    pub clip_ratio: f32,
    /// How a quotient becomes a code.
    pub rounding: Rounding,
    /// NVFP4: the tensor's scale is read from `scales` instead of written.
    pub given_tensor_scale: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clip_ratio: 1.0, rounding: Rounding::Nearest, given_tensor_scale: false }
    }
}

impl Options {
    /// Checks the options against the code.
    ///
    /// # Errors
    /// [`Error::Argument`] for a clip ratio outside (0, 1], or a given tensor scale of a code that has none;
    /// [`Error::Unsupported`] for stochastic rounding to another code than those listed at [`Rounding`].
    pub fn validate(&self, op: &'static str, code: Code) -> Result<()> {
        if !(self.clip_ratio > 0.0 && self.clip_ratio <= 1.0) {
            return Err(Error::argument(op, "options.clip_ratio", "a ratio in (0, 1]", self.clip_ratio.to_string()));
        }
        if self.given_tensor_scale && code != Code::Nvfp4 {
            return Err(Error::argument(op, "options.given_tensor_scale", "false, but for nvfp4", code.name()));
        }
        self.rounding.validate(op, code)
    }
}

impl Rounding {
    /// # Errors
    /// [`Error::Unsupported`] for stochastic rounding to another code than INT8, E4M3 and E5M2.
    pub fn validate(self, op: &'static str, code: Code) -> Result<()> {
        match (self, code) {
            (Self::Nearest, _) | (Self::Stochastic { .. }, Code::Int8 | Code::Fp8(_)) => Ok(()),
            _ => Err(Error::unsupported(op, format!("stochastic rounding to {}", code.name()), "int8, e4m3, e5m2")),
        }
    }
}
