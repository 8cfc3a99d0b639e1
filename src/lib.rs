#![doc = include_str!("../README.md")]

pub mod cache;
pub mod calibrate;
pub mod error;
pub mod format;
pub mod ops;
pub mod reference;
pub mod runtime;
pub mod testing;
pub mod weights;

pub use cudarc;
pub use half;

pub use error::{Error, Result};
pub use runtime::Kernels;

/// The pages of `docs/` whose code the tests compile.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/choosing-a-format.md")]
    struct ChoosingAFormat;
    #[doc = include_str!("../docs/integrating.md")]
    struct Integrating;
}
