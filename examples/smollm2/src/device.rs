//! The device everything runs on: a GPU when there is one, else the software device.

use std::sync::Arc;

use anyhow::{Context, Result};
use half::f16;
use lowbit::Kernels;
use lowbit::cudarc::driver::{CudaSlice, CudaStream};
use nvcuda::client;

/// A stream and the kernels of its context.
pub struct Device {
    /// What every launch and copy is queued on.
    pub stream: Arc<CudaStream>,
    /// The kernels.
    pub kernels: Kernels,
    /// The device's name.
    pub name: String,
}

impl Device {
    /// Opens device 0. The software device runs without its checks here: tests run the same kernels with all of them.
    pub fn open() -> Result<Device> {
        client::ensure().context("no CUDA device, and the software device")?;
        if let Some(mut modes) = client::modes() {
            modes.checks = client::Checks { memory: false, init: false, race: false, sync: false };
            modes.count = false;
            client::set_modes(modes);
        }
        let context = lowbit::runtime::context(0)?;
        let kernels = Kernels::new(&context)?;
        let name = context.name()?;
        Ok(Device { stream: context.default_stream(), kernels, name })
    }

    /// Whether times are those of a simulation.
    pub fn is_software(&self) -> bool {
        client::active()
    }

    /// Rounds to f16 and uploads.
    pub fn upload_f16(&self, x: &[f32]) -> Result<CudaSlice<f16>> {
        Ok(self.stream.clone_htod(&x.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>())?)
    }
}
