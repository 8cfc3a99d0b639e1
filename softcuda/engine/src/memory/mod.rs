//! Device memory: virtual addresses, and the one door through which kernels reach bytes.

pub mod space;
