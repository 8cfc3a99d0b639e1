//! Safe wrappers over the kernels: validation, launch. Mirrors `kernels/` family by family.
