"""What PyTorch takes in f16 for the shapes of `cargo bench`: cuBLAS for products, its best attention for decoding.

Timed as the benches time: CUDA graphs of calls between two events, operands in copies that exceed the second-level cache
together four times, the best of ten. Prints one line a shape: microseconds, and GB/s of the bytes a call has to move.
"""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = torch.device("cuda")
UNCACHED = 4 * torch.cuda.get_device_properties(0).L2_cache_size


def numbers(*shape):
    return torch.empty(shape, dtype=torch.float16, device=DEVICE).uniform_(-1, 1)


def microseconds(call, copies):
    """Of one call; `call(i)` takes copy i."""
    calls = copies * -(-16 // copies)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for at in range(copies):
            call(at)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for at in range(calls):
            call(at % copies)
    best = float("inf")
    for _ in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) * 1e3 / calls)
    return best


def line(name, time, moved):
    print(f"{name}: {time:.2f} us, {moved / time * 1e-3:.0f} GB/s", flush=True)


def product(n, k, rows):
    copies = max(2, -(-UNCACHED // (2 * n * k)))
    weights = [numbers(n, k) for _ in range(copies)]
    x = numbers(rows, k)
    time = microseconds(lambda at: F.linear(x, weights[at]), copies)
    line(f"f16 product, {n} x {k}, {rows} rows", time, 2 * (n * k + rows * (n + k)))


def attention(sequences, tokens, kv_heads=8, group=8, dim=128):
    """The query heads of a KV head are the rows of one attention without a mask: each sees all tokens."""
    moved = 4 * sequences * kv_heads * tokens * dim
    copies = max(2, -(-UNCACHED // moved))
    keys, values = ([numbers(sequences, kv_heads, tokens, dim) for _ in range(copies)] for _ in range(2))
    q = numbers(sequences, kv_heads, group, dim)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        try:
            with sdpa_kernel(backend):
                time = microseconds(lambda at: F.scaled_dot_product_attention(q, keys[at], values[at]), copies)
        except RuntimeError as error:
            print(f"f16 attention, {backend.name}: {str(error).splitlines()[0]}")
            continue
        line(f"f16 attention, {backend.name}, {sequences} x {tokens} tokens", time, moved + 4 * q.nbytes // 2)


print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
for rows in (1, 8):
    product(14336, 8192, rows)
for rows in (16, 32, 256):
    product(8192, 8192, rows)
attention(16, 4096)
attention(1, 32768)
