//! A software CUDA device: parses PTX and executes it on the CPU, checked and counted.
