//! The CUDA driver API over a software device, and a client for tests.
//!
//! This crate is two things in one:
//! - the **library** `libnvcuda.so`, which exports the `cu*` symbols of the CUDA driver API (module `api`) over one
//!   [`softcuda_engine::Device`] (module `state`). Programs load it in place of a driver; nothing links to it.
//! - the **[`client`]**, for tests: finds the loaded library and asks it for counters and reports, or sets its modes. It keeps nothing of its
//!   own, so that there is one device in a process, whoever uses this crate as a Rust library.
//!
//! How a program finds the library: README.md of this package's parent folder.

mod api;
pub mod client;
mod counters;
mod profile;
mod state;
