//! Gives the library the SONAME `libcuda.so`, and removes its outdated copy.
//!
//! - A program that asks the loader for `libcuda.so` gets an already loaded library with that SONAME, whatever its file is called: so loading
//!   `libnvcuda.so` by its path before the first CUDA call chooses it over an installed driver. The file name stays `libnvcuda.so`, which
//!   CUDA programs try last, so that without such a call an installed driver wins.
//! - `cargo build` puts a second name of the library into `target/<profile>`, which the loader searches before `target/<profile>/deps`, and
//!   `cargo test` does not renew it: tests would run an old library. This script runs when a source file changed, and removes it.

use std::path::Path;

fn main() {
    for watched in ["build.rs", "src", "../engine/src", "../engine/Cargo.toml"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
    // OUT_DIR is target/<profile>/build/<package>/out.
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    if let Some(profile) = Path::new(&out).ancestors().nth(3) {
        // Most often there is none: nothing to do then, and nothing to do about a failure, which the library itself notices.
        let _ = std::fs::remove_file(profile.join("libnvcuda.so"));
    }
}
