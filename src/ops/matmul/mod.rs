//! Products of 1 to 8 rows of activations with packed low-bit weights (W4A16, W8A16).
//!
//! [`skinny()`] computes `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])` with f32 accumulation for
//! weights in the layout of [`crate::weights`]. Every row of y is bitwise the same for every number of rows, every
//! neighbour, and every run on a device of the same number of multiprocessors.
//!
//! Non-finite x give NaN or an infinity in their own row of y only.

mod instance;
mod skinny;

pub(crate) use instance::entries;
pub use instance::supported;
pub use skinny::{Decode, MAX_ROWS, Operands, Residual, SkinnyConfig, skinny, workspace_bytes};
