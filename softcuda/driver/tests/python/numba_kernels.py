"""Kernels that numba compiles from Python (package numba-cuda) on softcuda.

PTX of another compiler than nvcc, made by NVVM with its own mathematical library, linked by the driver's linker, loaded
as a library, launched by cuLaunchKernelEx: nothing here was written for softcuda. Results are compared with numpy.
"""

import math
import os
import warnings

import numba
import numpy
from numba import cuda

# They are about speed.
warnings.simplefilter("ignore")
RANDOM = numpy.random.default_rng(7)
THREADS = 128


def uniform(*shape, dtype=numpy.float32):
    return RANDOM.uniform(-2, 2, shape).astype(dtype)


def elements_are_added():
    @cuda.jit
    def add(a, b, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = a[i] + b[i]

    for dtype in (numpy.float32, numpy.float64, numpy.int32, numpy.int64):
        a, b = (uniform(1000) * 100).astype(dtype), (uniform(1000) * 100).astype(dtype)
        out = cuda.device_array_like(a)
        add[8, THREADS](cuda.to_device(a), cuda.to_device(b), out)
        assert (out.copy_to_host() == a + b).all()


def loops_have_a_stride():
    @cuda.jit
    def axpy(x, y, factor):
        for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
            y[i] += factor * x[i]

    x, y = uniform(5000, dtype=numpy.float64), uniform(5000, dtype=numpy.float64)
    device = cuda.to_device(y)
    axpy[3, THREADS](cuda.to_device(x), device, 0.25)
    numpy.testing.assert_allclose(device.copy_to_host(), y + 0.25 * x, rtol=1e-15)


def tiles_are_multiplied():
    tile = 8

    @cuda.jit
    def matmul(a, b, c):
        left = cuda.shared.array((tile, tile), numba.float32)
        right = cuda.shared.array((tile, tile), numba.float32)
        x, y = cuda.grid(2)
        tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
        total = numba.float32(0)
        for k in range(0, a.shape[1], tile):
            left[tx, ty] = a[x, k + ty] if x < a.shape[0] and k + ty < a.shape[1] else 0
            right[tx, ty] = b[k + tx, y] if y < b.shape[1] and k + tx < b.shape[0] else 0
            cuda.syncthreads()
            for j in range(tile):
                total += left[tx, j] * right[j, ty]
            cuda.syncthreads()
        if x < c.shape[0] and y < c.shape[1]:
            c[x, y] = total

    a, b = uniform(20, 30), uniform(30, 17)
    c = cuda.device_array((20, 17), numpy.float32)
    matmul[(3, 3), (tile, tile)](cuda.to_device(a), cuda.to_device(b), c)
    numpy.testing.assert_allclose(c.copy_to_host(), a.astype(float) @ b, rtol=1e-4, atol=1e-5)


def atomics_count():
    @cuda.jit
    def histogram(values, bins, low, total):
        i = cuda.grid(1)
        if i < values.size:
            cuda.atomic.add(bins, values[i], 1)
            cuda.atomic.min(low, 0, values[i])
            cuda.atomic.add(total, 0, numba.float32(values[i]))

    values = RANDOM.integers(3, 16, 2000).astype(numpy.int32)
    bins, low = cuda.to_device(numpy.zeros(16, numpy.int32)), cuda.to_device(numpy.full(1, 99, numpy.int32))
    total = cuda.to_device(numpy.zeros(1, numpy.float32))
    histogram[16, THREADS](cuda.to_device(values), bins, low, total)
    assert (bins.copy_to_host() == numpy.bincount(values, minlength=16)).all()
    assert low.copy_to_host()[0] == values.min()
    assert total.copy_to_host()[0] == values.sum()


def warps_exchange():
    @cuda.jit
    def sums(values, out, votes):
        lane = cuda.laneid
        i = cuda.grid(1)
        value = values[i]
        votes[i // 32] = cuda.ballot_sync(0xFFFFFFFF, value > 0)
        for step in (16, 8, 4, 2, 1):
            value += cuda.shfl_down_sync(0xFFFFFFFF, value, step)
        if lane == 0:
            out[i // 32] = value

    values = RANDOM.integers(-50, 50, 256).astype(numpy.int32)
    out, votes = cuda.device_array(8, numpy.int32), cuda.device_array(8, numpy.uint32)
    sums[2, THREADS](cuda.to_device(values), out, votes)
    rows = values.reshape(8, 32)
    assert (out.copy_to_host() == rows.sum(1)).all()
    assert (votes.copy_to_host() == ((rows > 0) << numpy.arange(32)).sum(1)).all()


def functions_of_the_library():
    @cuda.jit
    def functions(x, out):
        i = cuda.grid(1)
        if i < x.size:
            v = x[i]
            out[0, i] = math.exp(v)
            out[1, i] = math.sin(v)
            out[2, i] = math.sqrt(abs(v))
            out[3, i] = math.log1p(abs(v))
            out[4, i] = math.atan2(v, v + 3)
            out[5, i] = math.pow(abs(v), 1.5)
            out[6, i] = math.erf(v)
            out[7, i] = math.tanh(v)

    for dtype, tolerance in ((numpy.float32, 5e-6), (numpy.float64, 1e-14)):
        x = uniform(300, dtype=dtype)
        out = cuda.device_array((8, 300), dtype)
        functions[3, THREADS](cuda.to_device(x), out)
        w = x.astype(numpy.float64)
        erf = numpy.array([math.erf(v) for v in w])
        expected = [
            numpy.exp(w),
            numpy.sin(w),
            numpy.sqrt(abs(w)),
            numpy.log1p(abs(w)),
            numpy.arctan2(w, w + 3),
            abs(w) ** 1.5,
            erf,
            numpy.tanh(w),
        ]
        numpy.testing.assert_allclose(out.copy_to_host(), expected, rtol=tolerance, atol=tolerance)


def lanes_diverge():
    @cuda.jit
    def steps(values, out):
        i = cuda.grid(1)
        if i < values.size:
            n, count = values[i], 0
            while n != 1:
                n = 3 * n + 1 if n % 2 else n // 2
                count += 1
            out[i] = count

    def collatz(n):
        count = 0
        while n != 1:
            n, count = (3 * n + 1 if n % 2 else n // 2), count + 1
        return count

    values = numpy.arange(1, 201)
    out = cuda.device_array_like(values)
    steps[2, THREADS](cuda.to_device(values), out)
    assert out.copy_to_host().tolist() == [collatz(int(n)) for n in values]


def local_arrays_and_device_functions():
    @cuda.jit(device=True)
    def swap(values, i):
        values[i], values[i + 1] = values[i + 1], values[i]

    @cuda.jit
    def sort(rows):
        row = cuda.grid(1)
        if row < rows.shape[0]:
            own = cuda.local.array(9, numba.float32)
            for i in range(9):
                own[i] = rows[row, i]
            for end in range(8, 0, -1):
                for i in range(end):
                    if own[i] > own[i + 1]:
                        swap(own, i)
            for i in range(9):
                rows[row, i] = own[i]

    rows = uniform(40, 9)
    device = cuda.to_device(rows)
    sort[1, 64](device)
    assert (device.copy_to_host() == numpy.sort(rows, 1)).all()


def halves_are_multiplied():
    @cuda.jit
    def square(x):
        i = cuda.grid(1)
        if i < x.size:
            x[i] = x[i] * x[i]

    x = uniform(100).astype(numpy.float16)
    device = cuda.to_device(x)
    square[1, THREADS](device)
    assert (device.copy_to_host() == x * x).all()


def reduction_of_the_package():
    total = cuda.reduce(lambda a, b: a + b)
    values = RANDOM.integers(0, 1000, 3000)
    assert total(values) == values.sum()


def streams_events_and_pinned_memory():
    @cuda.jit
    def double(x):
        i = cuda.grid(1)
        if i < x.size:
            x[i] *= 2

    stream = cuda.stream()
    start, end = cuda.event(), cuda.event()
    host = cuda.pinned_array(500, numpy.float32)
    host[:] = 3
    start.record(stream)
    device = cuda.to_device(host, stream)
    double[4, THREADS, stream](device)
    device.copy_to_host(host, stream)
    end.record(stream)
    end.synchronize()
    assert (host == 6).all() and cuda.event_elapsed_time(start, end) >= 0
    managed = cuda.managed_array(64, numpy.float32)
    managed[:] = 1
    double[1, 64](managed)
    cuda.synchronize()
    assert (managed == 2).all()


def a_fault_is_an_error():
    """The last one: nothing works after it."""

    @cuda.jit
    def beyond(x):
        x[cuda.grid(1) + (1 << 28)] = 1

    beyond[1, 1](cuda.to_device(numpy.zeros(4, numpy.float32)))
    try:
        cuda.synchronize()
    except cuda.cudadrv.driver.CudaAPIError as error:
        assert error.code == 700, error
    else:
        raise AssertionError("the fault went unseen")


CHECKS = [
    elements_are_added,
    loops_have_a_stride,
    tiles_are_multiplied,
    atomics_count,
    warps_exchange,
    functions_of_the_library,
    lanes_diverge,
    local_arrays_and_device_functions,
    halves_are_multiplied,
    reduction_of_the_package,
    streams_events_and_pinned_memory,
    a_fault_is_an_error,
]

if __name__ == "__main__":
    for check in CHECKS:
        print(f"{check.__name__} ...", flush=True)
        check()
    print(f"{len(CHECKS)} checks passed", flush=True)
    # No destructors: they would complain that nothing can be freed in a broken context.
    os._exit(0)
