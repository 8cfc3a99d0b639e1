//! GPTQ checkpoints (AutoGPTQ, GPTQModel), 4 bits.

use super::order::{Grouped, Imported};
use super::plain::{PlainWeights, Zeros};
use super::words::{ScaleValues, Words, put};
use crate::error::{Error, Result};

/// What a GPTQ checkpoint stores as a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GptqVersion {
    /// zero - 1, so zeros are 1..=16.
    V1,
    /// The zero, 0..=15.
    V2,
}

impl GptqVersion {
    /// Zero less what is stored.
    const fn plus(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 0,
        }
    }
}

/// The tensors of a linear layer in a GPTQ checkpoint: `w[n][k] = (code - zero)*scale`.
#[derive(Debug, Clone, Copy)]
pub struct Gptq<'a> {
    /// Outputs, a multiple of 8.
    pub n: usize,
    /// Inputs, a multiple of 8.
    pub k: usize,
    /// k of a group (`group_size`; k where the checkpoint says -1). With `g_idx` the groups are as many as there are rows of
    /// scales, whatever this is.
    pub group: usize,
    /// Meaning of the zeros.
    pub version: GptqVersion,
    /// `[k / 8, n]`: code of k in bits `4*(k % 8) ..`.
    pub qweight: Words<'a>,
    /// `[groups, n / 8]`: stored zero of n in bits `4*(n % 8) ..`.
    pub qzeros: Words<'a>,
    /// `[groups, n]`.
    pub scales: ScaleValues<'a>,
    /// `[k]`: group of each k (`desc_act`); `None` for runs of `group`.
    pub g_idx: Option<&'a [i32]>,
}

/// Tensors to write: words of the shapes that [`Gptq`] states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptqWords {
    /// `[k / 8, n]`.
    pub qweight: Vec<u32>,
    /// `[groups, n / 8]`.
    pub qzeros: Vec<u32>,
}

impl Gptq<'_> {
    /// Every code, scale and zero, unchanged. Groups that are no runs are sorted ([`Imported::order`]), and padded where
    /// their sizes differ.
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit each other, a scale that f16 does not hold, or a `g_idx` outside the
    /// groups.
    pub fn import(&self) -> Result<Imported> {
        const OP: &str = "weights::Gptq::import";
        let &Self { n, k, group, .. } = self;
        for (argument, value, multiple) in [("n", n, 8), ("k", k, 8), ("group", group, 1)] {
            if value == 0 || !value.is_multiple_of(multiple) {
                return Err(Error::argument(
                    OP,
                    argument,
                    format!("a multiple of {multiple} above 0"),
                    value.to_string(),
                ));
            }
        }
        let groups = match self.g_idx {
            None => k.div_ceil(group),
            Some(_) => self.scales.rows(n).max(1),
        };
        let scales = self.scales.exact(OP, groups * n, "[groups, n]")?;
        self.qweight.check(OP, "qweight", k / 8 * n, "[k / 8, n]")?;
        self.qzeros.check(OP, "qzeros", groups * n / 8, "[groups, n / 8]")?;
        let plus = self.version.plus();
        Grouped {
            op: OP,
            n,
            k,
            group,
            code: &|k, at| self.qweight.code(k / 8 * n + at, k % 8),
            scales,
            zero: Some(&|group, at| self.qzeros.code(group * (n / 8) + at / 8, at % 8) + plus),
            g_idx: self.g_idx,
        }
        .import()
    }
}

impl PlainWeights {
    /// The words of a GPTQ checkpoint; symmetric codes have zero 8.
    ///
    /// # Errors
    /// [`Error::Argument`] for lengths that do not fit, n or k that is no multiple of 8, or zeros that the version cannot
    /// store.
    pub fn to_gptq(&self, version: GptqVersion) -> Result<GptqWords> {
        const OP: &str = "weights::PlainWeights::to_gptq";
        self.check(OP)?;
        let (n, k, groups) = (self.n, self.k, self.k.div_ceil(self.group));
        for (argument, value) in [("n", n), ("k", k)] {
            if !value.is_multiple_of(8) {
                return Err(Error::argument(OP, argument, "a multiple of 8", value.to_string()));
            }
        }
        let plus = version.plus();
        let zeros = self.code_zeros(OP)?;
        if let Some(zero) = zeros.iter().find(|&&zero| zero < plus || zero > 15 + plus) {
            return Err(Error::argument(OP, "zeros", format!("{plus} to {}", 15 + plus), zero.to_string()));
        }
        let mut words = GptqWords { qweight: vec![0; k / 8 * n], qzeros: vec![0; groups * n / 8] };
        for (at, &code) in self.codes.iter().enumerate() {
            let (k, output) = (at / n, at % n);
            put(&mut words.qweight[k / 8 * n + output], k % 8, code);
        }
        for (at, &zero) in zeros.iter().enumerate() {
            put(&mut words.qzeros[at / 8], at % 8, zero - plus);
        }
        Ok(words)
    }

    /// The zeros `[groups, n]` as codes.
    pub(super) fn code_zeros(&self, op: &'static str) -> Result<Vec<u8>> {
        match &self.zeros {
            Zeros::Symmetric => Ok(vec![8; self.k.div_ceil(self.group) * self.n]),
            Zeros::Codes(zeros) => Ok(zeros.clone()),
            Zeros::Real(_) | Zeros::Min(_) => {
                Err(Error::argument(op, "zeros", "symmetric, or zeros that are codes", "zeros or minima in f16"))
            }
        }
    }
}
