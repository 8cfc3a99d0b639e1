//! compressed-tensors checkpoints (llm-compressor), format `pack-quantized`, 4 bits.

use super::order::{Grouped, Imported};
use super::plain::{PlainWeights, Zeros};
use super::words::{ScaleValues, Words, put};
use crate::error::{Error, Result};

/// The tensors of a linear layer in a compressed-tensors checkpoint: `w[n][k] = (code - zero)*scale`, code and zero
/// signed in the checkpoint and stored plus 8.
#[derive(Debug, Clone, Copy)]
pub struct CompressedTensors<'a> {
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// k of a group; k for one scale per output (`channel`).
    pub group: usize,
    /// `weight_packed [n, ceil(k / 8)]`: code of k in bits `4*(k % 8) ..`.
    pub weight_packed: Words<'a>,
    /// `weight_scale [n, groups]`.
    pub scales: ScaleValues<'a>,
    /// `weight_zero_point [ceil(n / 8), groups]`: zero of n in bits `4*(n % 8) ..`; `None` for symmetric codes.
    pub zero_point: Option<Words<'a>>,
    /// `weight_g_idx [k]`: group of each k; `None` for runs of `group`.
    pub g_idx: Option<&'a [i32]>,
}

/// Tensors to write: words of the shapes that [`CompressedTensors`] states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressedWords {
    /// `[n, ceil(k / 8)]`.
    pub weight_packed: Vec<u32>,
    /// `[ceil(n / 8), groups]`; `None` for symmetric codes.
    pub zero_point: Option<Vec<u32>>,
}

impl CompressedTensors<'_> {
    /// Every code, scale and zero, unchanged. Groups that are no runs are sorted ([`Imported::order`]).
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit each other, a scale that f16 does not hold, or a `g_idx` outside the
    /// groups.
    pub fn import(&self) -> Result<Imported> {
        const OP: &str = "weights::CompressedTensors::import";
        let &Self { n, k, group, .. } = self;
        for (argument, value) in [("n", n), ("k", k), ("group", group)] {
            if value == 0 {
                return Err(Error::argument(OP, argument, "above 0", "0"));
            }
        }
        let groups = match self.g_idx {
            None => k.div_ceil(group),
            Some(_) => self.scales.rows(n).max(1),
        };
        let row_words = k.div_ceil(8);
        self.weight_packed.check(OP, "weight_packed", n * row_words, "[n, ceil(k / 8)]")?;
        if let Some(zero_point) = self.zero_point {
            zero_point.check(OP, "zero_point", n.div_ceil(8) * groups, "[ceil(n / 8), groups]")?;
        }
        let by_output = self.scales.exact(OP, n * groups, "[n, groups]")?;
        let zero = self.zero_point.map(|words| move |group, at: usize| words.code(at / 8 * groups + group, at % 8));
        Grouped {
            op: OP,
            n,
            k,
            group,
            code: &|k, at| self.weight_packed.code(at * row_words + k / 8, k % 8),
            scales: (0..groups * n).map(|at| by_output[at % n * groups + at / n]).collect(),
            zero: zero.as_ref().map(|zero| zero as &dyn Fn(usize, usize) -> u8),
            g_idx: self.g_idx,
        }
        .import()
    }
}

impl PlainWeights {
    /// The words of a compressed-tensors checkpoint.
    ///
    /// # Errors
    /// [`Error::Argument`] for lengths that do not fit, or zeros beyond 0..=15.
    pub fn to_compressed_tensors(&self) -> Result<CompressedWords> {
        const OP: &str = "weights::PlainWeights::to_compressed_tensors";
        self.check(OP)?;
        let (n, row_words, groups) = (self.n, self.k.div_ceil(8), self.k.div_ceil(self.group));
        let mut weight_packed = vec![0; n * row_words];
        for (at, &code) in self.codes.iter().enumerate() {
            let (k, output) = (at / n, at % n);
            put(&mut weight_packed[output * row_words + k / 8], k % 8, code);
        }
        if self.zeros == Zeros::Symmetric {
            return Ok(CompressedWords { weight_packed, zero_point: None });
        }
        let mut zero_point = vec![0; n.div_ceil(8) * groups];
        for (at, &zero) in self.code_zeros(OP)?.iter().enumerate() {
            if zero > 15 {
                return Err(Error::argument(OP, "zeros", "0 to 15", zero.to_string()));
            }
            let (group, output) = (at / n, at % n);
            put(&mut zero_point[output / 8 * groups + group], output % 8, zero);
        }
        Ok(CompressedWords { weight_packed, zero_point: Some(zero_point) })
    }
}
