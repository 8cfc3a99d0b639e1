//! The one error type of the crate.
//!
//! Every message names the operation, the argument, what was expected and what came, or, for the environment, the
//! remedy. Nothing here calls the driver while formatting: texts are taken when the error is made.

use cudarc::driver::DriverError;

/// Result of everything that can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen. Outputs are bytewise unchanged after any of these, except after
/// [`Error::Driver`], which may report a fault of earlier asynchronous work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument does not fit the operation.
    #[error("{op}: `{argument}`: expected {expected}, found {found}")]
    Argument {
        /// The operation, such as `quantize::per_token`.
        op: &'static str,
        /// The argument's name as in the signature, or a field of it (`shape.head_dim`).
        argument: &'static str,
        /// What the operation accepts.
        expected: String,
        /// What came.
        found: String,
    },
    /// A combination that no kernel covers. There is no silent fallback.
    #[error("{op}: {what} is not supported; supported: {supported}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// What was asked for.
        what: String,
        /// The closed list of what there is.
        supported: String,
    },
    /// The crate was built without its kernels.
    #[error(
        "lowbit was built without its CUDA kernels: {searched}. Install the CUDA toolkit or set NVCC, CUDA_HOME or \
         LOWBIT_PTX_DIR, and build again (in the repository: `cargo xtask toolchain`)"
    )]
    NotBuilt {
        /// Where the build looked for nvcc, or why it did not look.
        searched: String,
    },
    /// No CUDA driver library could be loaded.
    #[error(
        "no CUDA driver: {reason}. Install the NVIDIA driver, or put a folder with libcuda.so.1 on LD_LIBRARY_PATH"
    )]
    NoDriver {
        /// What was tried.
        reason: String,
    },
    /// The driver is there but the device is not.
    #[error("no CUDA device {ordinal}: the driver reports {count}{}", note(.reason))]
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// How many devices the driver reports.
        count: usize,
        /// The driver's reason if it gave one, else empty.
        reason: String,
    },
    /// The driver refused a kernel image.
    #[error("loading kernel module `{module}` (PTX for compute_{target}) on a device of capability {capability}: {driver}{}", note(.log))]
    Load {
        /// The module: path of the `.cu` file under `kernels/` without its suffix.
        module: &'static str,
        /// The image's target, such as `80`.
        target: &'static str,
        /// The device's compute capability, such as `8.6`.
        capability: String,
        /// The driver's error.
        driver: String,
        /// The driver's compilation log, or empty. An unsupported PTX version here means that the driver is older than
        /// the toolkit that built the kernels: update it, or build with an older nvcc.
        log: String,
    },
    /// The driver refused a launch.
    #[error(
        "{op}: launching kernel `{kernel}` with grid {grid:?}, block {block:?}, {shared} bytes of shared memory: {driver}"
    )]
    Launch {
        /// The operation.
        op: &'static str,
        /// The kernel's exported name.
        kernel: &'static str,
        /// Blocks in x, y, z.
        grid: (u32, u32, u32),
        /// Threads in x, y, z.
        block: (u32, u32, u32),
        /// Dynamic shared memory per block, bytes.
        shared: u32,
        /// The driver's error.
        driver: String,
    },
    /// Any other driver call failed; may also report a fault of earlier asynchronous work on the context.
    #[error("CUDA driver: {text}")]
    Driver {
        /// The `CUresult` value.
        code: u32,
        /// Its name and the driver's description.
        text: String,
    },
}

impl Error {
    /// An [`Error::Argument`].
    pub fn argument(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Argument { op, argument, expected: expected.into(), found: found.into() }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(op: &'static str, what: impl Into<String>, supported: impl Into<String>) -> Self {
        Self::Unsupported { op, what: what.into(), supported: supported.into() }
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::Driver { code: error.0 as u32, text: driver_text(error) }
    }
}

/// Name and description of a driver error. Formatting a `DriverError` loads the driver and panics where there is
/// none, so the driver is asked only when it is known to be there.
pub(crate) fn driver_text(error: DriverError) -> String {
    let code = format!("{:?}", error.0);
    if !crate::runtime::driver_present() {
        return code;
    }
    match error.error_string() {
        Ok(text) => format!("{code} ({})", text.to_string_lossy()),
        Err(_) => code,
    }
}

fn note(text: &str) -> String {
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_can_cross_threads() {
        fn check<T: std::error::Error + Send + Sync + 'static>() {}
        check::<Error>();
    }

    #[test]
    fn texts_name_what_was_expected_and_what_came() {
        let error = Error::argument("quantize::per_token", "scales", "at least 16 elements", "15");
        assert_eq!(error.to_string(), "quantize::per_token: `scales`: expected at least 16 elements, found 15");
        let error = Error::unsupported("attend", "head_dim 72", "64, 128");
        assert_eq!(error.to_string(), "attend: head_dim 72 is not supported; supported: 64, 128");
        let error = Error::Launch {
            op: "attend",
            kernel: "attend_int8_d128",
            grid: (1, 2, 3),
            block: (128, 1, 1),
            shared: 1024,
            driver: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES".to_string(),
        };
        assert_eq!(
            error.to_string(),
            "attend: launching kernel `attend_int8_d128` with grid (1, 2, 3), block (128, 1, 1), 1024 bytes of shared \
             memory: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"
        );
        let error = Error::Load {
            module: "kv/append",
            target: "89",
            capability: "8.9".to_string(),
            driver: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION".to_string(),
            log: "  line 7: version 9.0\n".to_string(),
        };
        assert_eq!(
            error.to_string(),
            "loading kernel module `kv/append` (PTX for compute_89) on a device of capability 8.9: \
             CUDA_ERROR_UNSUPPORTED_PTX_VERSION: line 7: version 9.0"
        );
        let error = Error::NoDevice { ordinal: 1, count: 1, reason: String::new() };
        assert_eq!(error.to_string(), "no CUDA device 1: the driver reports 1");
    }
}
