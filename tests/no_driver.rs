//! Without a driver nothing panics, and the errors say what to do.
//!
//! The test runs itself again in a process whose loader path does not hold the software driver.

use std::process::Command;

use lowbit::{Error, runtime};

const CHILD: &str = "LOWBIT_TEST_WITHOUT_DRIVER";

/// Does its work only in the child process.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    println!("present: {}", runtime::driver_present());
    println!("count: {}", runtime::device_count().map_or_else(|e| e.to_string(), |n| n.to_string()));
    println!("context: {}", runtime::context(0).map_or_else(|e| e.to_string(), |_| "made".to_string()));
    let error = lowbit::cudarc::driver::DriverError(lowbit::cudarc::driver::sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    println!("converted: {}", Error::from(error));
}

#[test]
fn a_missing_driver_is_an_error_with_a_remedy() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("LD_PRELOAD")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // The harness may print its own words on the same line as the child's first.
    let line = |name: &str| text.lines().find_map(|l| l.split_once(name).map(|(_, rest)| rest)).unwrap_or_default();
    if line("present: ") == "true" {
        assert_ne!(line("count: "), "", "a driver is installed on this machine, so only a panic could be seen");
        return;
    }
    for name in ["count: ", "context: "] {
        let message = line(name);
        assert!(message.starts_with("no CUDA driver: none of libcuda.so, "), "{name}{message}");
        assert!(message.contains("libcuda.so.1, libnvcuda.so, "), "{name}{message}");
        assert!(message.contains("Install the NVIDIA driver"), "{name}{message}");
    }
    assert_eq!(line("converted: "), "CUDA driver: CUDA_ERROR_INVALID_VALUE");
}

#[test]
fn kernels_not_built_is_an_error_with_a_remedy() {
    let error = Error::NotBuilt { searched: "no nvcc was found (no nvcc on PATH)".to_string() };
    assert_eq!(
        error.to_string(),
        "lowbit was built without its CUDA kernels: no nvcc was found (no nvcc on PATH). Install the CUDA toolkit or \
         set NVCC, CUDA_HOME or LOWBIT_PTX_DIR, and build again (in the repository: `cargo xtask toolchain`)"
    );
    assert_eq!(cfg!(kernels_built), !runtime::images().is_empty());
}
