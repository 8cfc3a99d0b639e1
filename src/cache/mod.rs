//! The quantized, paged KV cache: formats, layout, window rule, views.
//!
//! The engine owns memory and step state, this crate owns arithmetic. A cache is three allocations of the engine:
//!
//! - `pages: u8 [num_pages * page_bytes]`: codes and scales, one page per `page_tokens` tokens of one layer;
//! - `state: u8 [num_slots * state_bytes]`: the last tokens of every sequence in the model's dtype, for the formats
//!   that keep a residual window (KIVI), the first ones for those that keep a sink (KVQuant); empty for the others;
//! - `status: u32 [1]`: sticky bits ([`Status`]) by which kernels report what only the device can see.
//!
//! [`KvLayout`] says where every byte is; `docs/kv-layout.md` is the same contract in words, versioned by
//! [`LAYOUT_VERSION`]. [`tile`] holds the index maps inside a tile record, [`window`] the rule that decides which tokens
//! are read as codes and which from the window.

mod budget;
mod format;
mod layout;
mod nuq;
pub mod params;
mod plan;
mod rope;
mod status;
pub mod tile;
mod view;
pub mod window;

pub use budget::{CacheBytes, ModelCache};
pub use format::{KvCode, KvFormat, KvScale, KvSide};
pub use layout::{KvLayout, KvShape, LAYOUT_VERSION, Part, TileLayout, WindowLayout};
pub(crate) use nuq::{BOOK as NUQ_BOOK, slots as nuq_slots};
pub use nuq::{KeyRope, nuq_key_table, nuq_value_table};
pub use plan::{Capacity, Plan, chunk_count, chunk_tokens};
pub use rope::Rope;
pub use status::Status;
pub use view::{Batch, KvCacheMut, KvCacheRef, Rows};
pub(crate) use view::{check_aligned, check_context, checked_batch, checked_params};
