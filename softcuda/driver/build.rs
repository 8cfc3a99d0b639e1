//! Gives the library the SONAME `libcuda.so`.
//!
//! A program that asks the loader for `libcuda.so` gets an already loaded library with that SONAME, whatever its file is called: so
//! loading `libnvcuda.so` by its path before the first CUDA call chooses it over an installed driver. The file name stays
//! `libnvcuda.so`, which CUDA programs try last, so that without such a call an installed driver wins.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
