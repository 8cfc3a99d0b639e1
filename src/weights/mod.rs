//! Weight matrices `w [n outputs, k]` in the packed layout that the skinny matmul kernels read, and importers to it.
//!
//! - [`PackedLayout`]: the layout as a value: every byte offset, documented and versioned.
//! - [`Packed`]: a matrix packed on the host, from [ggml blocks](Packed::from_ggml) (Q4_0, Q4_1, Q8_0) or from
//!   [plain codes](Packed::from_plain), and [back](Packed::to_plain).
//!
//! The engine uploads [`Packed::bytes`] and hands the kernels that buffer together with the layout.

mod ggml;
mod layout;
mod packed;
mod plain;

pub use ggml::GgmlType;
pub use layout::{CodePlace, PACKED_VERSION, PackedLayout, WeightFormat, ZeroPoint};
pub use packed::Packed;
pub use plain::{PlainWeights, Zeros};
