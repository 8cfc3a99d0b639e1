//! Weight tensors of other formats to the packed layout that the matmul kernels read.
