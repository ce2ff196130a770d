#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft with random attributes and shapes, simulated.

ONNX Runtime judges, or NumPy where it has no kernel. Each output is divided by
its largest number, so that the tolerance is a share of its range, and elements
that the operator leaves open are multiplied by 0. The cases are the same in
every run.
"""

import argparse
import copy
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import cases
from cases import sizes

TOLERANCE = "1e-4"


class Case:
    """One node: attributes, inputs by name (None: left out), outputs.

    Inputs whose names stand in `known` become initialisers. `counts` has flags
    by output: which elements are compared, and `types` what is not FLOAT.
    Both of these are functions of the inputs: `judged` makes those that ONNX
    Runtime gets instead, where it lacks a form, and `expected` the outputs
    where it lacks the operator."""

    def __init__(self, op, inputs, outputs=1, known=(), counts=None, types=None,
                 judged=None, expected=None, **attrs):
        self.op, self.inputs, self.outputs = op, inputs, outputs
        self.known, self.counts = set(known), counts or {}
        self.types, self.judged = types or {}, judged or dict
        self.expected = expected
        self.attrs = {k: v for k, v in attrs.items() if v is not None}


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def pick(rng, *values):
    return values[rng.integers(len(values))]


def maybe(rng, value):
    return pick(rng, None, value)


# --- weights of few bits -----------------------------------------------------


def pack(values, bits):
    """Along the last dimension, from the lowest bits of a byte."""
    per_byte = 8 // bits
    pad = -values.shape[-1] % per_byte
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, pad)])
    parts = values.reshape(*values.shape[:-1], -1, per_byte)
    shifts = np.arange(per_byte) * bits
    return (parts.astype(np.uint32) << shifts).sum(-1).astype(np.uint8)


def matmul_nbits(rng, op):
    bits, block = pick(rng, 2, 4, 4, 8), pick(rng, 16, 32, 64)
    (k,), (n,) = sizes(rng, 1, 129), sizes(rng, 1, 39)
    blocks = -(-k // block)
    weights = rng.integers(0, 1 << bits, (n, blocks, block))
    zeros = rng.integers(0, 1 << bits, (n, blocks))
    zero = pick(rng, None, pack(zeros, bits))
    if bits == 4 and rng.random() < 0.3:
        zero = zeros.astype(np.float32) + np.float32(0.25)
    lead = pick(rng, sizes(rng, 1, 3), [2, 3], [1, 1, 2])
    return Case(op, {"a": floats(rng, *lead, k), "b": pack(weights, bits),
                     "s": rng.random((n, blocks)).astype(np.float32) / 8,
                     "z": zero, "g": None,
                     "bias": maybe(rng, floats(rng, n))},
                known=["b", "s", "z", "bias"], K=k, N=n, bits=bits,
                block_size=block)


def float_weights(rng, op):
    """Weights of e4m3 or e2m1, and what NumPy makes of them."""
    import ml_dtypes

    is_fp8 = op == "MatMulBlockQuantizedFp8Weight"
    block = pick(rng, None, 16, 32)
    n, k = int(rng.integers(1, 40)), 2 * int(rng.integers(1, 65))
    blocks = -(-k // (block or (128 if is_fp8 else 16)))
    each = np.repeat(np.arange(blocks), block or (128 if is_fp8 else 16))[:k]
    a = floats(rng, *pick(rng, [3], [2, 3]), k)
    bias = maybe(rng, floats(rng, n))
    if is_fp8:
        weights = floats(rng, n, k).astype(ml_dtypes.float8_e4m3fn)
        scales = rng.random((n, blocks)).astype(np.float32)
        factor = pick(rng, None, np.float32(0.02))
        inputs = {"a": a, "b": weights, "s": scales,
                  "f": factor and np.asarray(factor), "bias": bias}
    else:
        codes = rng.integers(0, 16, (n, k)).astype(np.uint8)
        table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
        weights = table[codes & 7] * np.where(codes > 7, -1, 1)
        scales = rng.random((n, blocks)).astype(ml_dtypes.float8_e4m3fn)
        whole = pick(rng, (), (1,))
        inputs = {"a": a, "b": pack(codes, 4), "s": scales.view(np.uint8),
                  "s2": np.full(whole, 0.25, np.float32), "f": None,
                  "bias": bias}
        scales = scales.astype(np.float32) * np.float32(0.25)
    whole = weights.astype(np.float32) * scales[:, each]

    def expected(given):
        a, by = given["a"], given["f"]
        if by is not None:
            steps = np.clip(a / by, -448, 448).astype(ml_dtypes.float8_e4m3fn)
            a = steps.astype(np.float32) * by
        return [a @ whole.T + (0 if given["bias"] is None else given["bias"])]

    return Case(op, inputs, known=["b", "s", "s2"], block_size=block,
                expected=expected)


def gather_floats(rng, op):
    """Tables of floating types, where one scale may be for all rows."""
    import ml_dtypes

    dtype = pick(rng, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
                 ml_dtypes.float4_e2m1fn, ml_dtypes.float8_e4m3fnuz)
    rows, cols = int(rng.integers(2, 12)), int(rng.integers(1, 5)) * 16
    block = pick(rng, 0, 16, 32)
    blocks = -(-cols // block) if block else 1
    scales = rng.random((pick(rng, 1, rows), blocks)).astype(np.float32)
    shape = [int(n) for n in rng.integers(1, 4, int(rng.integers(0, 3)))]
    return Case(op, {"data": floats(rng, rows, cols).astype(dtype),
                     "i": rng.integers(-rows, rows, shape), "s": scales},
                known=["data", "s"], block_size=block, gather_axis=0,
                quantize_axis=pick(rng, 1, -1))


def gather_quantised(rng, op):
    if rng.random() < 0.3:
        return gather_floats(rng, op)
    *lead, rows = sizes(rng, int(rng.integers(1, 3)), 6)
    block, bits = pick(rng, 16, 32), pick(rng, 4, 4, 8)
    shape, low = [*lead, rows, int(rng.integers(1, 5)) * 16], 0
    small = bits == 4 and rng.random() < 0.5
    along, by = len(shape) - 1, 0
    if small:  # only those of bytes need the last dimension, and the first
        along = int(rng.integers(len(shape)))
        by = int(rng.integers(len(shape)))
    few = list(shape)
    few[along] = -(-few[along] // block)
    values, zeros = (rng.integers(0, 1 << bits, s) for s in (shape, few))
    if small:
        dtype = pick(rng, T.INT4, T.UINT4)
        low = 8 if dtype == T.INT4 else 0
        numpy_dtype = helper.tensor_dtype_to_np_dtype(dtype)
        data = (values - low).astype(numpy_dtype)
        zero = (zeros - low).astype(numpy_dtype)
    else:
        data, zero = pack(values, bits), pack(zeros, bits)
    extent = shape[by]
    at = rng.integers(-extent, extent, sizes(rng, int(rng.integers(0, 3)), 3))
    return Case(op, {"data": data,
                     "i": np.asarray(at, pick(rng, np.int32, np.int64)),
                     "s": rng.random(few).astype(np.float32),
                     "z": maybe(rng, zero)},
                known=["data", "s", "z"], bits=bits, block_size=block,
                gather_axis=by - pick(rng, 0, len(shape)) * (by > 0),
                quantize_axis=along - pick(rng, 0, len(shape)))


def embed(rng, op):
    batch, length, width = sizes(rng, 3, 5)
    width += 1
    places = int(rng.integers(length, length + 4))

    def ids(most, *shape):
        return rng.integers(0, most, shape).astype(np.int32)

    segments = pick(rng, True, False)
    return Case(op, {
        "ids": ids(7, batch, length),
        "segments": ids(2, batch, length) if segments else None,
        "words": floats(rng, 7, width), "places": floats(rng, places, width),
        "table": floats(rng, 2, width) if segments else None,
        "gamma": floats(rng, width), "beta": floats(rng, width),
        "mask": maybe(rng, ids(2, batch, length)),
        "at": maybe(rng, ids(places, pick(rng, 1, batch), length))},
                outputs=3, types={1: T.INT32}, known=["words", "places"],
                epsilon=pick(rng, None, 1e-3))


def embed_quantised(rng, op):
    batch, length, width = (int(n) for n in rng.integers(1, 6, 3))
    dtype = pick(rng, np.int8, np.uint8)
    rows = {"words": 7, "places": int(rng.integers(length, 9)), "segments": 2,
            "gamma": None, "beta": None}
    if rng.random() < 0.5:
        del rows["segments"]
    info, width = np.iinfo(dtype), width + 1

    def table(count):
        shape = (width,) if count is None else (count, width)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)

    def each(name, make):
        shape = pick(rng, (), (1,))
        return {f"{part}{name}": make(shape) if part in rows else None
                for part in ("words", "places", "segments", "gamma", "beta")}

    def ids(most):
        return rng.integers(0, most, (batch, length)).astype(np.int32)

    tables = {n: table(rows[n]) if n in rows else None
              for n in ("words", "places", "segments", "gamma", "beta")}
    scales = each("_scale", lambda shape: np.asarray(
        0.01 + rng.random(shape) / 20, np.float32))
    zeros = each("_zero", lambda shape: np.asarray(
        rng.integers(info.min, info.max + 1, shape), dtype))
    return Case(op, {"ids": ids(7),
                     "at": ids(2) if "segments" in rows else None, **tables,
                     "mask": maybe(rng, ids(2)), **scales, **zeros},
                outputs=2, types={1: T.INT32}, epsilon=pick(rng, None, 1e-3),
                known=pick(rng, [], [*tables, *scales, *zeros]))


# --- several operators in one ------------------------------------------------


def fused_conv(rng, op):
    spatial, group = pick(rng, 1, 2, 2, 3), pick(rng, 1, 1, 2)
    batch, channels, maps = sizes(rng, 3, 3)
    kernel, strides, dilations = (
        [int(n) for n in rng.integers(1, most + 1, spatial)]
        for most in (3, 2, 2))
    size = [n + 4 for n in sizes(rng, spatial, 3)]
    pads = [int(n) for n in rng.integers(0, 2, 2 * spatial)]
    out = [(n + a + b - d * (k - 1) - 1) // s + 1 for n, a, b, d, k, s in zip(
        size, pads[:spatial], pads[spatial:], dilations, kernel, strides)]
    name, params = pick(rng, ("Relu", None), ("LeakyRelu", [0.3]),
                        ("Clip", [-0.5, 0.7]), ("HardSigmoid", [0.3, 0.4]),
                        ("Sigmoid", None), ("Tanh", None), (None, None))
    return Case(op, {"x": floats(rng, batch, channels * group, *size),
                     "w": floats(rng, maps * group, channels, *kernel),
                     "b": maybe(rng, floats(rng, maps * group)),
                     "z": maybe(rng, floats(rng, batch, maps * group, *out))},
                known=["w", "b"], kernel_shape=kernel, pads=pads,
                strides=strides, dilations=dilations, group=group,
                activation=name, activation_params=params)


def nhwc_conv(rng, op):
    """FusedConv, or Conv, with the channels last."""
    case = fused_conv(rng, "FusedConv")
    while case.inputs["x"].ndim != 4:
        case = fused_conv(rng, "FusedConv")
    if op == "NhwcConv":
        del case.inputs["z"]
        case.attrs.pop("activation", None)
        case.attrs.pop("activation_params", None)
    last = {"x", "z"} if op == "NhwcFusedConv" else {"x", "w"}

    def moved(inputs, axes):
        return {n: a.transpose(axes) if n in last and a is not None else a
                for n, a in inputs.items()}

    def expected(inputs, first=copy.copy(case)):
        first.inputs = moved(inputs, (0, 3, 1, 2))
        return [y.transpose(0, 2, 3, 1) for y in judge(first, ["y"])]

    case.op, case.expected = op, expected
    case.inputs = moved(case.inputs, (0, 2, 3, 1))
    return case


def fused_gemm(rng, op):
    m, n, k = sizes(rng, 3, 8)
    turn_a, turn_b = pick(rng, 0, 1), pick(rng, 0, 1)
    name, alpha, beta = pick(rng, ("Relu", None, None), ("Elu", 0.7, None),
                             ("LeakyRelu", 0.3, None), ("Tanh", None, None),
                             ("HardSigmoid", 0.3, 0.4), ("Sigmoid", None, None),
                             ("Softplus", None, None))
    return Case(op, {"a": floats(rng, *((k, m) if turn_a else (m, k))),
                     "b": floats(rng, *((n, k) if turn_b else (k, n))),
                     "c": maybe(rng, floats(rng, n))},
                transA=turn_a, transB=turn_b, alpha=maybe(rng, 0.5),
                beta=maybe(rng, 2.0), activation=name, activation_alpha=alpha,
                activation_beta=beta)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bias_add(rng, op):
    shape = sizes(rng, 3, 5)
    return Case(op, {"x": floats(rng, *shape), "bias": floats(rng, shape[2]),
                     "skip": floats(rng, *shape)},
                expected=lambda i: [i["x"] + i["bias"] + i["skip"]])


def bias_split_gelu(rng, op):
    *lead, width = sizes(rng, 3, 8)

    def expected(inputs):
        left, right = np.split(inputs["x"] + inputs["bias"], 2, 2)
        below = 1 + np.vectorize(math.erf)(right / np.sqrt(2))
        return [left * right * below / 2]

    return Case(op, {"x": floats(rng, *lead, 2 * width),
                     "bias": floats(rng, 2 * width)}, expected=expected)


def rms_norm(rng, op):
    """ONNX Runtime has it in the domain of ONNX only."""
    shape = sizes(rng, int(rng.integers(1, 5)), 5)

    def expected(inputs):
        square = (inputs["x"].astype(np.float64) ** 2).mean(-1, keepdims=True)
        return [inputs["x"] / np.sqrt(square + 0.01) * inputs["scale"]]

    return Case(op, {"x": floats(rng, *shape), "scale": floats(rng, shape[-1])},
                expected=expected, axis=-1, epsilon=0.01)


def group_norm(rng, op):
    batch, high, wide, groups, each = sizes(rng, 5, 4)
    channels = groups * (each + 1)
    last, silu = pick(rng, None, 0, 1), pick(rng, 0, 1)
    shape = (batch, channels, high, wide) if last == 0 else \
        (batch, high, wide, channels)
    inputs = {"x": floats(rng, *shape), "gamma": floats(rng, channels),
              "beta": floats(rng, channels)}
    if op == "SkipGroupNorm":
        inputs["skip"] = floats(rng, *pick(rng, shape, (batch, channels)))
        inputs["bias"] = maybe(rng, floats(rng, channels))
    return Case(op, inputs, outputs=1 if op == "GroupNorm" else 2,
                channels_last=last, groups=groups, activation=silu,
                epsilon=0.01, expected=lambda i: group_norms(
                    i, last, groups, silu))


def group_norms(inputs, last, groups, silu):
    def turned(x, *order):
        return x.transpose(order) if last == 0 and x.ndim == 4 else x

    total = turned(inputs["x"].astype(np.float64), 0, 2, 3, 1)
    skip, bias = inputs.get("skip"), inputs.get("bias")
    if skip is not None:
        total = total + (skip[:, None, None] if skip.ndim == 2 else
                         turned(skip, 0, 2, 3, 1))
    if bias is not None:
        total = total + bias
    parts = total.reshape(*total.shape[:3], groups, -1)
    low = parts - parts.mean((1, 2, 4), keepdims=True)
    y = low / np.sqrt((low * low).mean((1, 2, 4), keepdims=True) + 0.01)
    y = y.reshape(total.shape) * inputs["gamma"] + inputs["beta"]
    y = y * sigmoid(y) if silu else y
    return [turned(a, 0, 3, 1, 2)
            for a in ([y] if skip is None else [y, total])]


def experts(rng, op):
    count, tokens, hidden, width = sizes(rng, 4, 7)
    kind, fusion = pick(rng, ("relu", 0), ("gelu", 0), ("silu", 0),
                        ("identity", 0), ("swiglu", 1))
    rows = width * (2 if fusion else 1)
    shape = pick(rng, [tokens], [1, tokens])
    limits = kind == "swiglu" and rng.random() < 0.5
    return Case(op, {"x": floats(rng, *shape, hidden),
                     "router": floats(rng, tokens, count),
                     "fc1": floats(rng, count, rows, hidden),
                     "b1": maybe(rng, floats(rng, count, rows)),
                     "fc2": floats(rng, count, hidden, width),
                     "b2": maybe(rng, floats(rng, count, hidden))},
                known=["fc1", "b1", "fc2", "b2"], activation_type=kind,
                k=int(rng.integers(1, min(count, 3) + 1)),
                swiglu_fusion=fusion, swiglu_limit=1.0 if limits else None,
                activation_alpha=1.7 if limits else None,
                activation_beta=1.0 if limits else None,
                normalize_routing_weights=pick(rng, 0, 1))


# --- attention ---------------------------------------------------------------


def key_mask(rng, batch, rows, keys, forms, causal=False):
    """A mask that leaves each row a key: without one, rounding decides."""
    kind = pick(rng, None, *forms)
    lengths = rng.integers(1, keys + 1, batch)
    if kind == 1:
        return lengths.astype(np.int32)
    if kind == "range":
        starts = (rng.random(batch) * lengths * (not causal)).astype(np.int64)
        return np.concatenate([lengths, starts]).astype(np.int32)
    if kind is None:
        return None
    mask = rng.random((batch, rows, keys)) < 0.7
    mask[:, :, 0] = True
    return (mask if kind == 3 else mask[:, 0]).astype(np.int32)


def pack_qkv(rng, q, k, v, heads, depth):
    """Inputs in place of these: packed, or none."""
    parts = [x.reshape(*x.shape[:2], heads, 1, depth) for x in (q, k, v)]
    kind = pick(rng, "apart", "kv", "qkv")
    if kind == "kv":
        return {"k": np.concatenate(parts[1:], 3), "v": None}
    if kind == "qkv" and q.shape == k.shape:
        return {"q": np.concatenate(parts, 3), "k": None, "v": None}
    return {}


def unpack_qkv(inputs):
    parts = [inputs["q"]] if inputs["k"] is not None else []
    packed = inputs["q"] if inputs["k"] is None else inputs["k"]
    if packed.ndim != 5:
        return inputs
    parts += list(np.moveaxis(packed, 3, 0))
    return {**inputs, **{n: x.reshape(*x.shape[:2], -1)
                         for n, x in zip("qkv", parts)}}


def multi_head(rng, op):
    batch, heads, depth = sizes(rng, 3, 3)
    rows, keys, past = sizes(rng, 3, 5)
    width = heads * depth
    # Without the outputs ONNX Runtime reads past the end of keys.
    form = pick(rng, "apart", "apart", "cross", "past")
    out = depth + (int(rng.integers(0, 3)) if form == "apart" else 0)
    q, k = floats(rng, batch, rows, width), floats(rng, batch, keys, width)
    v = floats(rng, batch, keys, heads * out)
    bias, old = maybe(rng, floats(rng, 2 * width + heads * out)), None
    total = keys
    if form == "cross":
        k = floats(rng, batch, heads, keys, depth)
        v, bias = floats(rng, batch, heads, keys, depth), None
    if form == "past":
        past = pick(rng, 0, past, past)
        k, v = (floats(rng, batch, rows, width) for _ in range(2))
        old = floats(rng, 2, batch, heads, past, depth)
        total = past + rows
    packed = {}
    if form == "apart" and out == depth:
        packed = pack_qkv(rng, q, k, v, heads, depth)
    extra = floats(rng, pick(rng, 1, batch), pick(rng, 1, heads), rows, total)
    causal = pick(rng, 0, 1) if form == "past" or rows == keys else None
    outputs = {"apart": pick(rng, 1, 3), "past": pick(rng, 3, 4),
               "cross": 1}[form]
    if outputs == 4:  # a score that the rule hides is the lowest or infinite
        causal = None
    inputs = {"q": q, "k": k, "v": v, "bias": bias,
              "mask": key_mask(rng, batch, rows, total, [1, 2, 3]),
              "extra": maybe(rng, extra), "pk": None if old is None else old[0],
              "pv": None if old is None else old[1], **packed}
    return Case(op, inputs, judged=unpack_qkv,
                outputs=outputs, num_heads=heads, unidirectional=causal,
                scale=maybe(rng, 0.3), mask_filter_value=maybe(rng, -5000.0))


def attention(rng, op):
    batch, heads, depth = sizes(rng, 3, 3)
    rows, width, past = sizes(rng, 3, 5)
    old = maybe(rng, floats(rng, 2, batch, heads, past, depth))
    causal = rng.random() < 0.5
    total = rows + (0 if old is None else past)
    out = depth if old is not None else depth + int(rng.integers(0, 2))
    widths = [heads * depth, heads * depth, heads * out]
    forms = [2, 3] if old is not None else [1, "range", 2, 3]
    extra = floats(rng, pick(rng, 1, batch), pick(rng, 1, heads), rows, total)
    return Case(op, {"x": floats(rng, batch, rows, width),
                     "w": floats(rng, width, sum(widths)),
                     "b": floats(rng, sum(widths)),
                     "mask": key_mask(rng, batch, rows, total, forms, causal),
                     "past": old,
                     "extra": maybe(rng, extra) if old is None else None},
                outputs=2 if old is not None else 1, known=["w", "b"],
                num_heads=heads, unidirectional=1 if causal else None,
                qkv_hidden_sizes=widths if out != depth else maybe(rng, widths),
                scale=maybe(rng, 0.3), mask_filter_value=maybe(rng, -5000.0))


def angles(rng, positions, half):
    turn = rng.random((positions, half)).astype(np.float32) * 6
    return np.cos(turn), np.sin(turn)


def norms(rng, inputs, heads, kv, depth):
    """With weights that normalise heads, ONNX Runtime gets normal ones."""
    if inputs["k"] is None or rng.random() < 0.7:
        return inputs, None, None

    def judged(inputs):
        names = list(inputs)
        found = {n: inputs[n] for n in names[:names.index("k_scale")]}
        for name, count in (("q", heads), ("k", kv)):
            x = inputs[name].reshape(*inputs[name].shape[:2], count, depth)
            square = (x.astype(np.float64) ** 2).mean(3, keepdims=True)
            x = x / np.sqrt(square + 0.5) * inputs[f"{name}_norm"]
            found[name] = x.reshape(inputs[name].shape).astype(
                inputs[name].dtype)
        return found

    return {**inputs, "k_scale": None, "v_scale": None,
            "q_norm": floats(rng, depth), "k_norm": floats(rng, depth)}, \
        judged, 0.5


def group_query(rng, op):
    kv, depth = int(rng.integers(1, 3)), pick(rng, 16, 32)
    heads = kv * int(rng.integers(1, 4))
    form = pick(rng, "prompt", "step", "step", "chunk")
    batch = 1 if form == "chunk" else int(rng.integers(1, 4))
    rows = 1 if form == "step" else 1 + sizes(rng, 1, 4)[0]
    old = 0 if form == "prompt" else sizes(rng, 1, 5)[0]
    total, past = rows + old, old
    if rng.random() < 0.5:
        past += rows + int(rng.integers(0, 4))
    lengths = np.full(batch, total)
    if form == "step":
        lengths = rng.integers(2, total + 1, batch)
        lengths[0] = total
    if form == "prompt":
        lengths = rng.integers(1, total + 1, batch)
        lengths[0] = total
    present = max(total, past)
    cache = None
    if past > 0 or rng.random() < 0.5:  # an empty one is a cache too
        cache = floats(rng, 2, batch, kv, past, depth)
    q = floats(rng, batch, rows, heads * depth)
    k, v = (floats(rng, batch, rows, kv * depth) for _ in range(2))
    if rng.random() < 0.4:
        q, k, v = np.concatenate([q, k, v], 2), None, None
    turns = pick(rng, 0, 1)
    half = depth // pick(rng, 2, 4) if depth == 32 else 8
    cosine, sine = angles(rng, total + 5, half) if turns else (None, None)
    places = lengths[:, None] - rows + np.arange(rows)
    if form == "prompt":
        places = np.tile(np.arange(rows), (batch, 1)) + 2
    extra = floats(rng, pick(rng, 1, batch), pick(rng, 1, heads), rows, total)
    inputs = {"q": q, "k": k, "v": v,
              "pk": None if cache is None else cache[0],
              "pv": None if cache is None else cache[1],
              "lengths": (lengths - 1).astype(np.int32),
              "total": np.array([total], np.int32), "cos": cosine, "sin": sine,
              "places": maybe(rng, places.astype(np.int64)) if turns else None,
              "extra": pick(rng, None, None, extra),
              "sink": pick(rng, None, None, floats(rng, heads))}
    inputs, judged, epsilon = norms(rng, inputs, heads, kv, depth)
    window = pick(rng, None, None, 1, 2, 4)
    # Rows of the cache and of the result behind the tokens are open.
    filled = np.arange(present) < lengths[:, None]
    real = np.arange(rows) < (lengths if form == "prompt" else rows * (
        lengths > 0))[:, None]
    return Case(op, inputs, outputs=3, judged=judged,
                known=["total", "cos", "sin", *pick(rng, [], ["lengths"])],
                counts={0: real[:, :, None], 1: filled[:, None, :, None],
                        2: filled[:, None, :, None]},
                num_heads=heads, kv_num_heads=kv, scale=maybe(rng, 0.3),
                softcap=pick(rng, None, None, 2.0), do_rotary=turns,
                rotary_interleaved=pick(rng, 0, 1),
                local_window_size=window, qk_norm_epsilon=epsilon,
                causal=pick(rng, None, None, 0) if window is None else None,
                smooth_softmax=pick(rng, None, None, 1))


def rotate_streams(rng, op):
    batch, rows, heads, half = (int(v) for v in rng.integers(1, 5, 4))
    half += 2
    behind = pick(rng, 0, 0, 2)
    depth = 2 * half + behind
    layout = pick(rng, None, 0, 1)
    section = rng.multinomial(half, [0.4, 0.3, 0.3])
    if layout == 1:
        section[1], section[2] = min(section[1], (half + 1) // 3), min(
            section[2], half // 3)
        section[0] = half - section[1] - section[2]
    shape = pick(rng, (batch, rows, heads * depth), (batch, heads, rows, depth))
    cosine, sine = angles(rng, 7, half)
    return Case(op, {"x": floats(rng, *shape),
                     "at": rng.integers(0, 7, (3, batch, rows)),
                     "cos": cosine, "sin": sine},
                known=pick(rng, [], ["cos", "sin"]), num_heads=heads,
                mrope_section=[int(v) for v in section], mrope_layout=layout,
                interleaved=pick(rng, None, 1), scale=pick(rng, None, None, 0.5),
                rotary_embedding_dim=2 * half if behind else None)


OPERATORS = {
    "MatMulNBits": matmul_nbits,
    "MatMulBlockQuantizedFp8Weight": float_weights,
    "MatMulBlockQuantizedFp4Weight": float_weights,
    "GatherBlockQuantized": gather_quantised,
    "EmbedLayerNormalization": embed,
    "QEmbedLayerNormalization": embed_quantised,
    "FusedConv": fused_conv,
    "NhwcConv": nhwc_conv,
    "NhwcFusedConv": nhwc_conv,
    "FusedGemm": fused_gemm,
    "BiasAdd": bias_add,
    "BiasSplitGelu": bias_split_gelu,
    "SimplifiedLayerNormalization": rms_norm,
    "GroupNorm": group_norm,
    "SkipGroupNorm": group_norm,
    "MoE": experts,
    "MultiHeadAttention": multi_head,
    "Attention": attention,
    "GroupQueryAttention": group_query,
    "MRotaryEmbedding": rotate_streams,
}


# --- running -----------------------------------------------------------------


def value_info(name, array):
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def make_node(case, inputs, names):
    return helper.make_node(
        case.op, [n if a is not None else "" for n, a in inputs.items()],
        names, name=case.op.lower(), domain="com.microsoft", **case.attrs)


def make_model(case, inputs, nodes, outputs, constants):
    given = {n: a for n, a in inputs.items() if a is not None}
    constants = {**{n: a for n, a in given.items() if n in case.known},
                 **constants}
    graph = helper.make_graph(
        nodes, "g", [value_info(n, a) for n, a in given.items()
                     if n not in case.known], outputs,
        [numpy_helper.from_array(a, n) for n, a in constants.items()])
    return helper.make_model(
        graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21),
            helper.make_opsetid("com.microsoft", 1)])


def start(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model, feeds):
    return start(model).run(None, feeds)


def judge(case, names, shared=()):
    """What the outputs must be. `shared` has pairs of an input and an output
    that are one buffer."""
    if case.expected is not None:
        return [a.astype(np.float32) for a in case.expected(case.inputs)]
    judged = case.judged(case.inputs)
    model = make_model(
        case, judged, [make_node(case, judged, names)],
        [helper.make_tensor_value_info(n, case.types.get(i, T.FLOAT), None)
         for i, n in enumerate(names)], {})
    feeds = {n: a for n, a in judged.items()
             if a is not None and n not in case.known}
    if not shared:
        return run(model, feeds)
    session = start(model)
    binding, values = session.io_binding(), {}
    for name, array in feeds.items():
        values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array.copy())
        binding.bind_ortvalue_input(name, values[name])
    places = {output: values[given] for given, output in shared}
    for name in names:
        if name in places:
            binding.bind_ortvalue_output(name, places[name])
        else:
            binding.bind_output(name)
    session.run_with_iobinding(binding)
    return [value.numpy().copy() for value in binding.get_outputs()]


def write_case(folder, case):
    names = [f"y{i}" for i in range(case.outputs)]
    values = judge(case, names)
    feeds = {n: a for n, a in case.inputs.items()
             if a is not None and n not in case.known}
    node = make_node(case, case.inputs, names)
    nodes, infos, constants, arrays = [node], [], {}, []
    for i, value in enumerate(values):
        counts = np.asarray(case.counts.get(i, True))
        if value.dtype == np.float32:
            value = np.where(counts, value, 0)
            assert np.isfinite(value).all(), folder
            share = counts / max(np.abs(value).max(initial=0), 1e-30)
            share = np.broadcast_to(share, value.shape).astype(np.float32)
            constants[f"share{i}"] = share
            nodes.append(helper.make_node("Mul", [names[i], f"share{i}"],
                                          [f"out{i}"]))
            value, name = value * share, f"out{i}"
        else:
            name = names[i]
        infos.append(value_info(name, value))
        arrays.append(value)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    model = make_model(case, case.inputs, nodes, infos, constants)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, port_infos, port_arrays in (
            ("input", model.graph.input, feeds.values()),
            ("output", model.graph.output, arrays)):
        for i, (info, array) in enumerate(zip(port_infos, port_arrays)):
            tensor = numpy_helper.from_array(np.asarray(array, order="C"),
                                             info.name)
            (data / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def main(operators):
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--only", choices=operators)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    for op, make in operators.items():
        if args.only not in (None, op):
            continue
        for seed in range(args.first, args.first + args.count):
            case = make(np.random.default_rng([seed, *op.encode()]), op)
            write_case(args.work / f"{op.lower()}_{seed}", case)
    found = cases.judge(args.imbrex, [args.work], "--rtol", "0",
                        "--atol", TOLERANCE)
    return cases.count_bad(found, "cases") > 0 or not found


if __name__ == "__main__":
    sys.exit(main(OPERATORS))
