//! AWQ checkpoints in AutoAWQ's "gemm" order, 4 bits.

use super::order::{Grouped, Imported};
use super::plain::PlainWeights;
use super::words::{ScaleValues, Words, put};
use crate::error::{Error, Result};

/// The slot of output n in its word is `SLOT[n % 8]`.
const SLOT: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The tensors of a linear layer in an AWQ checkpoint: `w[n][k] = (code - zero)*scale`.
#[derive(Debug, Clone, Copy)]
pub struct Awq<'a> {
    /// Outputs, a multiple of 8.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// k of a group.
    pub group: usize,
    /// `[k, n / 8]`: outputs 0..8 of a word lie in its slots of 4 bits 0, 4, 1, 5, 2, 6, 3, 7.
    pub qweight: Words<'a>,
    /// `[groups, n / 8]`, the same slots.
    pub qzeros: Words<'a>,
    /// `[groups, n]`.
    pub scales: ScaleValues<'a>,
}

/// Tensors to write: words of the shapes that [`Awq`] states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwqWords {
    /// `[k, n / 8]`.
    pub qweight: Vec<u32>,
    /// `[groups, n / 8]`.
    pub qzeros: Vec<u32>,
}

impl Awq<'_> {
    /// Every code, scale and zero, unchanged.
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit each other or a scale that f16 does not hold.
    pub fn import(&self) -> Result<Imported> {
        const OP: &str = "weights::Awq::import";
        let &Self { n, k, group, .. } = self;
        for (argument, value, multiple) in [("n", n, 8), ("k", k, 1), ("group", group, 1)] {
            if value == 0 || !value.is_multiple_of(multiple) {
                return Err(Error::argument(
                    OP,
                    argument,
                    format!("a multiple of {multiple} above 0"),
                    value.to_string(),
                ));
            }
        }
        let groups = k.div_ceil(group);
        self.qweight.check(OP, "qweight", k * n / 8, "[k, n / 8]")?;
        self.qzeros.check(OP, "qzeros", groups * n / 8, "[groups, n / 8]")?;
        Grouped {
            op: OP,
            n,
            k,
            group,
            code: &|k, at| self.qweight.code((k * n + at) / 8, SLOT[at % 8]),
            scales: self.scales.exact(OP, groups * n, "[groups, n]")?,
            zero: Some(&|group, at| self.qzeros.code((group * n + at) / 8, SLOT[at % 8])),
            g_idx: None,
        }
        .import()
    }
}

impl PlainWeights {
    /// The words of an AWQ checkpoint; symmetric codes have zero 8.
    ///
    /// # Errors
    /// [`Error::Argument`] for lengths that do not fit, n that is no multiple of 8, or zeros beyond 0..=15.
    pub fn to_awq(&self) -> Result<AwqWords> {
        const OP: &str = "weights::PlainWeights::to_awq";
        self.check(OP)?;
        if !self.n.is_multiple_of(8) {
            return Err(Error::argument(OP, "n", "a multiple of 8", self.n.to_string()));
        }
        let zeros = self.code_zeros(OP)?;
        if let Some(zero) = zeros.iter().find(|&&zero| zero > 15) {
            return Err(Error::argument(OP, "zeros", "0 to 15", zero.to_string()));
        }
        let pack = |codes: &[u8]| {
            let mut words = vec![0; codes.len() / 8];
            for (at, &code) in codes.iter().enumerate() {
                put(&mut words[at / 8], SLOT[at % 8], code);
            }
            words
        };
        Ok(AwqWords { qweight: pack(&self.codes), qzeros: pack(&zeros) })
    }
}
