//! Checks of lengths, strides and addresses that the products share.

use crate::error::{Error, Result};

/// What is checked, for errors.
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    pub op: &'static str,
    pub rows: usize,
}

impl Arguments {
    /// 1 to `most` rows.
    pub fn rows(&self, most: usize) -> Result<()> {
        self.within("config.rows", 1..=most, self.rows)
    }

    pub fn within(&self, argument: &'static str, range: std::ops::RangeInclusive<usize>, found: usize) -> Result<()> {
        if range.contains(&found) {
            return Ok(());
        }
        let expected = format!("{} to {}", range.start(), range.end());
        Err(Error::argument(self.op, argument, expected, found.to_string()))
    }

    pub fn at_least(&self, argument: &'static str, least: usize, found: usize) -> Result<()> {
        if found >= least {
            return Ok(());
        }
        Err(Error::argument(self.op, argument, format!("at least {least}"), found.to_string()))
    }

    /// A buffer holds the rows of `columns` elements, `stride` apart.
    pub fn matrix(
        &self,
        argument: &'static str,
        stride: (&'static str, usize),
        columns: usize,
        found: usize,
    ) -> Result<()> {
        let (name, stride) = stride;
        self.at_least(name, columns, stride)?;
        let extent = (self.rows - 1)
            .checked_mul(stride)
            .and_then(|start| start.checked_add(columns))
            .filter(|&extent| extent <= isize::MAX as usize / 4)
            .ok_or_else(|| {
                let found = format!("{} rows {stride} apart", self.rows);
                Error::argument(self.op, name, "a matrix that fits the address space", found)
            })?;
        self.at_least(argument, extent, found)
    }

    pub fn aligned(&self, argument: &'static str, pointer: u64, to: u64) -> Result<()> {
        if pointer.is_multiple_of(to) {
            return Ok(());
        }
        let expected = format!("a start at a multiple of {to} bytes");
        Err(Error::argument(self.op, argument, expected, format!("{pointer:#x}")))
    }
}
