// nvcc: -fmad=false
// Quantize per row and per group of a row (rows.cuh).
#include "quantize/rows.cuh"

ROWS_OF(int8, Int8)
ROWS_OF(int4, Int4)
ROWS_OF(int2, Int2)
ROWS_OF(e4m3, E4m3)
ROWS_OF(e5m2, E5m2)
ROWS_OF(uint8, Uint8)
ROWS_OF(uint4, Uint4)
ROWS_OF(uint2, Uint2)
