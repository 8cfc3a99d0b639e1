//! Memory of the device and the one door to it.
//!
//! | file | holds |
//! |---|---|
//! | `space.rs` | device addresses: windows, allocations, guards, host copies |
//! | `bytes.rs` | raw bytes that worker threads share |
//! | `access.rs` | what an access is, and the [`Door`] through which kernels make it |
//! | `global.rs`, `shared.rs`, `local.rs`, `param.rs` | one state space each |
//! | `async_copy.rs` | `cp.async`: bytes that land late |
//! | `late.rs` | an optional mode: stores that other blocks see late |
//! | `atomic.rs` | the arithmetic of `atom` and `red` |
//! | `barrier.rs` | barrier objects in shared memory |

mod access;
mod async_copy;
mod atomic;
mod barrier;
mod bytes;
mod global;
mod late;
mod launch;
mod local;
mod param;
mod pattern;
mod shared;
pub mod space;

pub use crate::report::Site;
pub(crate) use access::lanes;
pub use access::{Access, Door, Order, Scope, Space, Wide};
pub use atomic::{AtomOp, AtomTy, apply};
pub use barrier::{MAX_COUNT, Object};
pub use late::LateStores;
pub use launch::{BlockMemory, LaunchMemory, LaunchShape};
pub use space::GlobalSpace;
