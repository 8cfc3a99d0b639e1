"""Writes mx.safetensors: OCP MX blocks of 32 by numpy and ml_dtypes, independent of the crate.

Usage: python mx.py quantize_real_k.safetensors mx.safetensors
"""
import json
import struct
import sys

import ml_dtypes
import numpy as np

FORMATS = {
    "mxfp4": (ml_dtypes.float4_e2m1fn, 6.0, 2),
    "mxfp8_e4m3": (ml_dtypes.float8_e4m3fn, 448.0, 8),
    "mxfp8_e5m2": (ml_dtypes.float8_e5m2, 57344.0, 15),
}


def read(path, name):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + length])[name]
    start, end = entry["data_offsets"]
    return np.frombuffer(data[8 + length + start:8 + length + end], np.float16).reshape(entry["shape"])


def inputs(real):
    """Rows of 64: real keys, wide magnitudes, exact ties of every format at several scales, special values."""
    rng = np.random.default_rng(20261)
    rows = [real.reshape(-1, 64)[:96]]
    rows.append(rng.normal(size=(32, 64)) * np.exp2(rng.integers(-24, 15, (32, 1))))
    for dtype, top, _ in FORMATS.values():
        bits = 4 if dtype == ml_dtypes.float4_e2m1fn else 8
        levels = np.arange(1 << (bits - 1), dtype=np.uint8).view(dtype).astype(np.float64)
        levels = levels[np.isfinite(levels)]
        ties = (levels[1:] + levels[:-1]) / 2
        ties = ties[ties < 2.0**15]
        ties = np.resize(ties, -(-len(ties) // 31) * 31).reshape(-1, 31)
        # A leading value in the top binade fixes the scale at 1.
        head = np.full((len(ties), 1), min(2.0**np.floor(np.log2(top)), 2.0**15))
        half = np.concatenate([head, ties], 1)
        rows.append(np.concatenate([half, -half], 1))
    special = np.zeros((4, 64))
    special[0, :5] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    special[1, :2] = [-0.0, 2.0**-24]
    special[2] = np.nan
    rows.append(special)
    with np.errstate(over="ignore"):
        return np.concatenate(rows).astype(np.float16)


def quantize(x, name):
    dtype, top, exponent = FORMATS[name]
    x = x.astype(np.float64).reshape(len(x), -1, 32)
    nan = np.isnan(x)
    x = np.clip(np.where(nan, 0.0, x), -65504, 65504)
    amax = np.abs(x).max(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        shared = np.where(amax > 0, np.floor(np.log2(amax)) - exponent, -127).clip(-127, 127)
    scaled = np.clip(x / np.exp2(shared), -top, top).astype(np.float32)
    q = scaled.astype(dtype).view(np.uint8).copy()
    if name != "mxfp4":
        q[nan] = 0x7F
    y = (q.view(dtype).astype(np.float64) * np.exp2(shared)).astype(np.float32)
    rows = len(x)
    return q.reshape(rows, -1), (shared[..., 0] + 127).astype(np.uint8), y.reshape(rows, -1)


def write(path, tensors):
    header, offset, body = {}, 0, b""
    for name, tensor in sorted(tensors.items()):
        kind = {"float16": "F16", "float32": "F32", "uint8": "U8"}[str(tensor.dtype)]
        data = np.ascontiguousarray(tensor).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)


x = inputs(read(sys.argv[1], "x"))
tensors = {"x": x}
for name in FORMATS:
    tensors[f"{name}.q"], tensors[f"{name}.scale"], tensors[f"{name}.y"] = quantize(x, name)
write(sys.argv[2], tensors)
