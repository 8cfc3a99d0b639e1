//! Weights whose groups are not runs of consecutive k (GPTQ's act-order, `g_idx`): sorted into runs, with the order that
//! the activations must be read in.

use half::f16;

use super::plain::{PlainWeights, Zeros};
use crate::error::{Error, Result};

/// In an [`Imported::order`]: no activation; its place in the sum counts as x = 0.
pub const PADDING: u32 = u32::MAX;

/// Imported weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The weights, in groups of consecutive k.
    pub weights: PlainWeights,
    /// `[weights.k]`: which of the model's inputs position k of `weights` multiplies, or [`PADDING`]; `None` when position
    /// k is input k.
    pub order: Option<Vec<u32>>,
}

impl Imported {
    /// The activations `x [rows, k]` in the order of the weights, `[rows, weights.k]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when `x` is not whole rows of `k` elements, or `k` is not the model's.
    pub fn arrange<T: Copy + Default>(&self, x: &[T], k: usize) -> Result<Vec<T>> {
        const OP: &str = "weights::Imported::arrange";
        let inputs = self.inputs();
        if k != inputs {
            return Err(Error::argument(OP, "k", inputs.to_string(), k.to_string()));
        }
        if !x.len().is_multiple_of(k) {
            return Err(Error::argument(OP, "x", format!("rows of {k}"), format!("{} elements", x.len())));
        }
        let Some(order) = &self.order else { return Ok(x.to_vec()) };
        let pick = |row: &[T], &at: &u32| if at == PADDING { T::default() } else { row[at as usize] };
        Ok(x.chunks_exact(k).flat_map(|row| order.iter().map(move |at| pick(row, at))).collect())
    }

    /// The model's number of inputs: [`PlainWeights::k`] less the padding.
    pub fn inputs(&self) -> usize {
        self.order.as_ref().map_or(self.weights.k, |order| order.iter().filter(|&&at| at != PADDING).count())
    }
}

/// Groups that are not runs of consecutive k, sorted into runs of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActOrder {
    /// As [`Imported::order`]: input at each position, or [`PADDING`].
    pub order: Vec<u32>,
    /// k of a run, which is a group of the sorted weights.
    pub group: usize,
    /// The group that each run is of. A group longer than a run has several.
    pub groups: Vec<u32>,
}

impl ActOrder {
    /// Of inputs that belong to groups `g_idx`, each below `groups`; `None` where they are runs of `group` already.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty `g_idx` or an entry outside the groups.
    pub fn new(g_idx: &[i32], group: usize, groups: usize) -> Result<Option<Self>> {
        Self::of("weights::ActOrder::new", g_idx, group, groups)
    }

    fn of(op: &'static str, g_idx: &[i32], group: usize, groups: usize) -> Result<Option<Self>> {
        if g_idx.is_empty() || groups == 0 {
            return Err(Error::argument(op, "g_idx", "at least one element, of at least one group", "none"));
        }
        if let Some(at) = g_idx.iter().position(|&g| g < 0 || g as usize >= groups) {
            let found = format!("{} at {at}", g_idx[at]);
            return Err(Error::argument(op, "g_idx", format!("0 to {}", groups - 1), found));
        }
        if g_idx.iter().enumerate().all(|(k, &g)| g as usize == k / group.max(1)) {
            return Ok(None);
        }
        let rows = rows_of_groups(g_idx, groups);
        let piece = piece_size(&rows);
        let mut sorted = Self { order: Vec::new(), group: piece, groups: Vec::new() };
        for (group, rows) in rows.iter().enumerate() {
            for rows in rows.chunks(piece) {
                sorted.order.extend(rows.iter().map(|&k| k as u32));
                sorted.order.extend(std::iter::repeat_n(PADDING, piece - rows.len()));
                sorted.groups.push(group as u32);
            }
        }
        Ok(Some(sorted))
    }
}

/// Codes, scales and zeros of all groups, with the group of each k.
pub(super) struct Grouped<'a> {
    pub op: &'static str,
    pub n: usize,
    pub k: usize,
    /// k of a group when groups are runs.
    pub group: usize,
    /// Code of (k, n).
    pub code: &'a dyn Fn(usize, usize) -> u8,
    /// `[groups, n]`.
    pub scales: Vec<f16>,
    /// Zero of (group, n); `None` for symmetric codes.
    pub zero: Option<&'a dyn Fn(usize, usize) -> u8>,
    /// `[k]`, or `None` for runs.
    pub g_idx: Option<&'a [i32]>,
}

impl Grouped<'_> {
    /// Weights in groups of consecutive k.
    pub(super) fn import(self) -> Result<Imported> {
        let groups = self.scales.len() / self.n;
        let Some(g_idx) = self.g_idx else { return Ok(Imported { weights: self.runs(), order: None }) };
        if g_idx.len() != self.k {
            return Err(Error::argument(self.op, "g_idx", format!("{} elements", self.k), g_idx.len().to_string()));
        }
        Ok(match ActOrder::of(self.op, g_idx, self.group, groups)? {
            None => Imported { weights: self.runs(), order: None },
            Some(sorted) => self.sorted(sorted),
        })
    }

    fn runs(&self) -> PlainWeights {
        let groups = self.k.div_ceil(self.group);
        PlainWeights {
            n: self.n,
            k: self.k,
            group: self.group,
            codes: (0..self.k * self.n).map(|at| (self.code)(at / self.n, at % self.n)).collect(),
            scales: self.scales[..groups * self.n].to_vec(),
            zeros: self.zeros_of(0..groups),
        }
    }

    fn zeros_of(&self, groups: impl Iterator<Item = usize>) -> Zeros {
        match self.zero {
            None => Zeros::Symmetric,
            Some(zero) => Zeros::Codes(groups.flat_map(|g| (0..self.n).map(move |n| zero(g, n))).collect()),
        }
    }

    /// The weights in the order of the runs.
    fn sorted(&self, ActOrder { order, group: piece, groups }: ActOrder) -> Imported {
        let group_of = |at: usize| groups[at / piece] as usize;
        // A padded weight is multiplied by 0; the code of weight 0 where there is one.
        let padding = |at: usize, n: usize| self.zero.map_or(8, |zero| zero(group_of(at), n).min(15));
        let code = |at: usize, n: usize| match order[at] {
            PADDING => padding(at, n),
            k => (self.code)(k as usize, n),
        };
        let scales = groups.iter().flat_map(|&g| &self.scales[g as usize * self.n..][..self.n]);
        let weights = PlainWeights {
            n: self.n,
            k: order.len(),
            group: piece,
            codes: (0..order.len() * self.n).map(|at| code(at / self.n, at % self.n)).collect(),
            scales: scales.copied().collect(),
            zeros: self.zeros_of(groups.iter().map(|&g| g as usize)),
        };
        Imported { weights, order: Some(order) }
    }
}

fn rows_of_groups(g_idx: &[i32], groups: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); groups];
    for (k, &group) in g_idx.iter().enumerate() {
        rows[group as usize].push(k);
    }
    rows
}

/// The group size of the kernels with which the sorted matrix takes the fewest bytes: half a byte per code, 2.5 per scale
/// and zero.
fn piece_size(rows: &[Vec<usize>]) -> usize {
    let tenths = |piece: &usize| {
        let padded: usize = rows.iter().map(|rows| rows.len().next_multiple_of(*piece)).sum();
        padded * 5 + padded / piece * 25
    };
    [128, 64, 32].into_iter().min_by_key(tenths).unwrap_or(32)
}
