//! The only place that talks to the driver: is there one ([`context`]), which PTX image fits the device ([`images`]),
//! modules loaded lazily and kept ([`Kernels`]), and one way to launch, with its checks.

mod driver;
mod image;
mod kernels;
mod launch;
mod probe;

pub use driver::{context, device_count, driver_present};
pub use image::{Image, build_note, images};
pub use kernels::Kernels;
pub use launch::{EntryRow, launch_table};
pub use probe::{probe, probe_read};

pub(crate) use launch::{Entry, Launch, check_stream};
