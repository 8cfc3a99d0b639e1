//! One way to launch a kernel, and the table of what can be launched.
//!
//! A kernel takes exactly one parameter: a `#[repr(C)]` struct by value, with device pointers as `u64`. An [`Entry`]
//! ties the exported name to that struct's type, so a launch with another struct does not compile; the test
//! `ptx_abi` compares [`launch_table`] with the `.entry` and `.param` lines of the embedded PTX.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::{CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};

use super::Kernels;
use crate::error::{Error, Result, driver_text};

/// An exported kernel: the module it is in, its name, and (as `P`) the struct it takes.
pub(crate) struct Entry<P> {
    module: &'static str,
    name: &'static str,
    params: PhantomData<fn(P)>,
}

impl<P> Clone for Entry<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Entry<P> {}

impl<P> Entry<P> {
    /// `module` is the path of the `.cu` under `kernels/` without its suffix.
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, params: PhantomData }
    }

    /// The line of the launch table.
    pub(crate) const fn row(&self) -> EntryRow {
        EntryRow { module: self.module, name: self.name, param_bytes: size_of::<P>(), param_align: align_of::<P>() }
    }
}

/// A line of the launch table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryRow {
    /// Path of the `.cu` file under `kernels/` without its suffix.
    pub module: &'static str,
    /// The exported name.
    pub name: &'static str,
    /// Size of the parameter struct, bytes.
    pub param_bytes: usize,
    /// Alignment of the parameter struct, bytes.
    pub param_align: usize,
}

/// Every kernel that this crate launches. One line per family; each family lists its entries beside their launches.
pub fn launch_table() -> Vec<EntryRow> {
    let families = [
        super::probe::ENTRIES.to_vec(), //
        crate::ops::activation::entries(),
        crate::ops::attend::entries(),
        crate::ops::cast::entries(),
        crate::ops::codebook::entries(),
        crate::ops::ggml::entries(),
        crate::ops::kv::entries(),
        crate::ops::matmul::entries(),
        crate::ops::outliers::entries(),
        crate::ops::quantize::entries(),
        crate::ops::transform::entries(),
    ];
    families.concat()
}

/// A launch: what, on how many threads, for which operation.
pub(crate) struct Launch<P> {
    /// The operation, for errors.
    pub op: &'static str,
    /// The kernel.
    pub entry: Entry<P>,
    /// Blocks in x, y, z. With a zero in it there is nothing to do, and nothing is launched.
    pub grid: (u32, u32, u32),
    /// Threads of a block in x, y, z.
    pub block: (u32, u32, u32),
    /// Dynamic shared memory, bytes.
    pub shared: u32,
}

impl<P: DeviceRepr> Launch<P> {
    /// Loads what the launch needs, so that it can be captured, and checks it against the device's limits.
    pub(crate) fn prepare(&self, kernels: &Kernels) -> Result<()> {
        self.check(kernels)?;
        kernels.function(self.entry.module, self.entry.name, self.shared).map(|_| ())
    }

    /// Queues the kernel on `stream`.
    ///
    /// # Safety
    /// 1. Every pointer in `params` stays valid, for what the kernel does with it, until the kernel has run.
    /// 2. The cudarc guards of the buffers behind these pointers (`device_ptr`, `device_ptr_mut`) are alive across
    ///    this call, so that work on other streams is ordered.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, stream: &Arc<CudaStream>, params: &P) -> Result<()> {
        self.check(kernels)?;
        check_stream(self.op, kernels, stream)?;
        let (x, y, z) = self.grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let function = kernels.function(self.entry.module, self.entry.name, self.shared)?;
        let mut launch = stream.launch_builder(&function);
        launch.arg(params);
        let config = LaunchConfig { grid_dim: self.grid, block_dim: self.block, shared_mem_bytes: self.shared };
        // SAFETY: the kernel takes one `P` by value (`Entry`, held by the test `ptx_abi`); its pointers are the
        // caller's obligations 1 and 2.
        match unsafe { launch.launch(config) } {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Launch {
                op: self.op,
                kernel: self.entry.name,
                grid: self.grid,
                block: self.block,
                shared: self.shared,
                driver: driver_text(error),
            }),
        }
    }

    /// The limits of the CUDA programming guide's table of technical specifications, the same for every device of
    /// capability 8.0 or more; shared memory as the device says.
    fn check(&self, kernels: &Kernels) -> Result<()> {
        let wrong =
            |argument, expected: String, found: String| Err(Error::argument(self.op, argument, expected, found));
        let (x, y, z) = self.grid;
        if x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
            return wrong("grid", "at most 2147483647 x 65535 x 65535 blocks".into(), format!("{x} x {y} x {z}"));
        }
        let (x, y, z) = self.block;
        let threads = u64::from(x) * u64::from(y) * u64::from(z);
        if threads == 0 || threads > 1024 || z > 64 {
            return wrong("block", "1 to 1024 threads, at most 64 in z".into(), format!("{x} x {y} x {z}"));
        }
        let most = kernels.max_shared_bytes();
        if self.shared > most {
            return wrong("shared memory", format!("at most {most} bytes"), self.shared.to_string());
        }
        Ok(())
    }
}

/// The stream must belong to the context whose kernels are used.
pub(crate) fn check_stream(op: &'static str, kernels: &Kernels, stream: &Arc<CudaStream>) -> Result<()> {
    if stream.context() == kernels.context() {
        return Ok(());
    }
    let describe = |ordinal: usize| format!("a stream of device {ordinal}");
    Err(Error::argument(
        op,
        "stream",
        format!("{} in the context of `kernels`", describe(kernels.context().ordinal())),
        describe(stream.context().ordinal()),
    ))
}
