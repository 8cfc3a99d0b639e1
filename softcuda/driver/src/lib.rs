//! The CUDA driver API over the software device.
