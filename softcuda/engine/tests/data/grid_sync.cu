// Blocks that meet by cooperative_groups. Compiled to grid_sync.ptx by:
//   nvcc -std=c++17 -O3 --ptx -arch=compute_80 grid_sync.cu
#include <cooperative_groups.h>

extern "C" __global__ void rounds(int* x, int n) {
    auto grid = cooperative_groups::this_grid();
    int i = blockIdx.x * blockDim.x + threadIdx.x, total = gridDim.x * blockDim.x;
    for (int r = 0; r < n; r++) {
        int next = x[(i + 33) % total];
        grid.sync();
        x[i] = next + 1;
        grid.sync();
    }
}
