// nvcc: -fmad=false
// Quantize to the formats whose blocks are groups of a row: NVFP4 and OCP MX (rows.cuh).
#include "quantize/rows.cuh"

BLOCKS_OF(nvfp4, Nvfp4)
BLOCKS_OF(mxfp4, Mxfp4)
BLOCKS_OF(mxfp8_e4m3, Mxfp8E4m3)
BLOCKS_OF(mxfp8_e5m2, Mxfp8E5m2)
