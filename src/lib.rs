//! CUDA kernels for inference-time quantization.
