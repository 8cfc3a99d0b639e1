//! For tests, benches and downstream suites: a device with kernels.
//!
//! In this repository the software driver is a dev-dependency whose library cargo puts on the loader's path under
//! the second name that CUDA programs look for, so [`device`] finds the GPU when there is one and the software device
//! otherwise, without any environment.

use std::io::Write;
use std::sync::{Arc, Once};

use cudarc::driver::CudaContext;

use crate::runtime::{self, Kernels};

/// Device 0 and its kernels; prints once which device that is.
///
/// # Panics
/// With the reason, when there is no driver, no device, or the crate was built without kernels.
pub fn device() -> (Arc<CudaContext>, Kernels) {
    let context = runtime::context(0).unwrap_or_else(|error| panic!("{error}"));
    static SAY: Once = Once::new();
    SAY.call_once(|| {
        let name = context.name().unwrap_or_else(|error| format!("unnamed ({error})"));
        // Past the test harness's capture: every log is to say where its results come from.
        let _ = writeln!(std::io::stderr(), "device: {name}");
    });
    let kernels = Kernels::new(&context).unwrap_or_else(|error| panic!("{error}"));
    (context, kernels)
}
