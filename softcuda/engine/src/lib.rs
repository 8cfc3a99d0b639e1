//! A software CUDA device: parses PTX and executes it on the CPU, checked and counted.
//!
//! The life of a launch:
//! 1. [`Module::load`] turns text into statements (`ptx`), looks each one up in the list of instructions (`isa`), and makes executable
//!    instructions of them (`decode`, `liveness`). What it does not know it refuses, with the line.
//! 2. [`Device::launch`] hands blocks to worker threads (`exec::grid`), each of which runs resumable blocks (`exec::block`).
//! 3. A warp executes one instruction for up to 32 lanes at once (`exec::warp`); `arith` says what a lane computes.
//! 4. Every byte goes through one door (`memory::access`), which asks the detectors (`check`) and feeds the counters (`count`).
//! 5. A fault ends the launch and becomes a [`Report`]; otherwise the [`LaunchStats`] of all workers are added up.

// Bit fields read best as in the manual; lanes are numbered.
#![allow(clippy::precedence, clippy::needless_range_loop)]
// A function as a value is called through `Fn::call`, which is not inlined into a tier's code; a closure is.
#![allow(clippy::redundant_closure)]

pub mod arith;
pub mod check;
mod config;
pub mod count;
mod decode;
mod device;
pub mod exec;
pub mod fragment;
pub mod isa;
mod listing;
mod liveness;
pub mod memory;
mod module;
pub mod ptx;
pub mod report;
mod tiers;

pub use config::{Approx, Checks, Config, MmaMode, Model, Numerics, Schedule};
pub use count::{Class, LaunchStats};
pub use device::{Device, Launch, OutOfMemory};
pub use listing::Listing;
pub use module::{Kernel, LoadError, LoadErrorKind, Module, Param};
pub use report::{Blame, Fault, FaultKind, Report, Site};
