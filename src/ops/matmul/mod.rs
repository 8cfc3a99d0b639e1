//! Products of activations with packed low-bit weights: 16-bit activations (W4A16, W8A16; E4M3 weights: [`w8a16()`]), and 8-bit
//! ones ([`w8a8()`], [`w4a8()`], [`llm_int8()`]).
//!
//! [`skinny()`] computes `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])` for 1 to 32 rows of x with f32
//! accumulation for weights in the layout of [`crate::weights`]. Every row of y is bitwise the same for every number of
//! rows, every neighbour, and every run on a device of the same number of multiprocessors. [`tiled()`] does the same for any
//! number of rows. [`arrange()`] puts x into the order of weights whose groups were sorted (act-order);
//! [`repack()`] makes packed weights from the tensors of a checkpoint. Where y goes, and what becomes
//! of it on the way, is an [`Output`]: one matrix, a gated pair, or segments.
//!
//! Non-finite x give NaN or an infinity in their own row of y only.

mod act8;
mod arguments;
mod arrange;
mod instance;
mod llm_int8;
mod operands;
mod params;
mod repack;
mod skinny;
mod split;
mod tensors;
mod tiled;
mod w4a8;
mod w8a16;
mod w8a8;

pub use act8::{Coded, CodedConfig, Epilogue, MAX_CODED_ROWS};
pub use arrange::{ArrangeConfig, arrange};
pub use instance::supported;
pub use llm_int8::{LlmInt8Operands, llm_int8, llm_int8_workspace_bytes};
pub use operands::{Operands, Output, Residual, Segment};
pub use params::MAX_SEGMENTS;
pub use repack::{RepackStatus, repack};
pub use skinny::{Decode, MAX_ROWS, SkinnyConfig, skinny, workspace_bytes};
pub use tensors::{DeviceOrder, DeviceScales, DeviceWords, DeviceZeros, Tensors};
pub use tiled::{MAX_TILED_ROWS, TiledConfig, tiled};
pub use w4a8::{W4A8Operands, w4a8, w4a8_supported, w4a8_workspace_bytes};
pub use w8a8::{ByteOperands, w8a8, w8a8_workspace_bytes};
pub use w8a16::{W8A16Operands, w8a16, w8a16_workspace_bytes};

/// The lines of the launch table.
pub(crate) fn entries() -> Vec<crate::runtime::EntryRow> {
    let coded = w8a8::entries().chain(w8a16::entries()).chain(w4a8::entries()).chain(llm_int8::entries());
    instance::entries().into_iter().chain(arrange::entries()).chain(repack::entries()).chain(coded).collect()
}
