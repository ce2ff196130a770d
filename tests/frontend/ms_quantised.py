#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quantised operators of com.microsoft, and what ONNX Runtime computes.

Nodes with random shapes, scales and attributes, and two models that ONNX
Runtime's own quantiser makes. Each is run on the simulator. Integers must be
those of ONNX Runtime, but for one step in few elements: its kernels multiply
and add in one rounding where the machine has two, and sum in another order, so
a number in the middle between two integers may fall to either side. The numbers
are the same in every run.
"""

import argparse
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from cases import sizes

onnxruntime.set_default_logger_severity(3)
logging.disable(logging.WARNING)
DOMAIN = "com.microsoft"


def pick(rng, *values):
    return values[rng.integers(len(values))]


def shape_of(rng, low=1, high=4, most=6):
    return sizes(rng, int(rng.integers(low, high + 1)), most)


def integers(rng, dtype, shape=()):
    info = np.iinfo(dtype)
    return np.asarray(rng.integers(info.min, info.max + 1, shape), dtype)


def scale(rng, shape=()):
    """Powers of two make ties, others none."""
    if rng.random() < 0.3:
        return np.asarray(2.0 ** rng.integers(-6, -1, shape), np.float32)
    return np.asarray(0.01 + 0.1 * rng.random(shape), np.float32)


def zero(rng, dtype, shape=()):
    return None if rng.random() < 0.2 else integers(rng, dtype, shape)


class Node:
    """Inputs in order: (array, is constant), or None where left out. The output
    y is judged, others are of its type."""

    def __init__(self, op, inputs, dtype, outputs=("y",), **attrs):
        self.op, self.dtype, self.attrs = op, dtype, attrs
        self.outputs = outputs
        self.inputs = [i if i is None or isinstance(i, tuple) else (i, True)
                       for i in inputs]

    def model(self):
        names = ["" if i is None else f"i{k}"
                 for k, i in enumerate(self.inputs)]
        given = [(n, i) for n, i in zip(names, self.inputs) if n]
        infos = [helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(i[0].dtype), i[0].shape)
            for n, i in given if not i[1]]
        constants = [numpy_helper.from_array(i[0], n) for n, i in given if i[1]]
        node = helper.make_node(self.op, names, self.outputs, name="node",
                                domain=DOMAIN, **self.attrs)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        outputs = [helper.make_tensor_value_info(n, kind, None)
                   for n in self.outputs]
        graph = helper.make_graph([node], "g", infos, outputs, constants)
        return (helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]),
            {n: i[0] for n, i in given if not i[1]})


def input_of(array):
    return (array, False)


# --- nodes -------------------------------------------------------------------


def quantize_linear(rng):
    dtype = pick(rng, np.int8, np.uint8, np.int16, np.uint16)
    shape = shape_of(rng)
    axis = int(rng.integers(len(shape)))
    own = pick(rng, (), (shape[axis],))
    x = rng.standard_normal(shape).astype(np.float32) * 3
    attrs = {"axis": axis} if own else {}
    return Node("QuantizeLinear", [input_of(x), scale(rng, own),
                                   integers(rng, dtype, own)], dtype, **attrs)


def dequantize_linear(rng):
    dtype = pick(rng, np.int8, np.uint8, np.int16, np.uint16)
    shape = shape_of(rng)
    axis = int(rng.integers(len(shape)))
    own = pick(rng, (), (shape[axis],))
    attrs = {"axis": axis} if own else {}
    return Node("DequantizeLinear",
                [input_of(integers(rng, dtype, shape)), scale(rng, own),
                 zero(rng, dtype, own)], np.float32, **attrs)


def small(rng, dtype, shape):
    """Of 7 bits where they are signed: on processors without an instruction for
    it ONNX Runtime lets sums of two products overflow 16 bits."""
    if dtype == np.uint8:
        return integers(rng, dtype, shape)
    return np.asarray(rng.integers(-64, 64, shape), dtype)


def weights(rng, rows, columns):
    dtype = pick(rng, np.int8, np.uint8)
    own = pick(rng, (), (columns,))
    return dtype, small(rng, dtype, (rows, columns)), own


def dynamic_quantize_matmul(rng):
    *batch, rows, inner = shape_of(rng, 2, 3, 9)
    (columns,) = sizes(rng, 1, 8)
    dtype, b, own = weights(rng, inner, columns)
    a = rng.standard_normal([*batch, rows, inner]).astype(np.float32)
    a = a * pick(rng, 1, 1, 0) + pick(rng, 0, 0, 5)
    bias = rng.standard_normal(columns).astype(np.float32)
    return Node("DynamicQuantizeMatMul",
                [input_of(a.astype(np.float32)), b, scale(rng, own),
                 zero(rng, dtype, own), pick(rng, None, bias)], np.float32)


def dynamic_quantize_lstm(rng):
    direction = pick(rng, "forward", "reverse", "bidirectional")
    d = 2 if direction == "bidirectional" else 1
    steps, batch, width, hidden = sizes(rng, 4, 5)
    inputs = [input_of(rng.standard_normal((steps, batch, width)).astype(
        np.float32))]
    factors, dtype = [], pick(rng, np.int8, np.uint8)
    for rows in (width, hidden):
        own = pick(rng, (d,), (d, 4 * hidden))
        inputs.append(small(rng, dtype, (d, rows, 4 * hidden)))
        factors += [np.asarray(0.002 + 0.01 * rng.random(own), np.float32),
                    np.full(own, 0 if dtype == np.int8 else 128, dtype)]
    bias = rng.standard_normal((d, 8 * hidden)).astype(np.float32)
    start = rng.standard_normal((2, d, batch, hidden)).astype(np.float32)
    lengths = np.asarray(rng.integers(1, steps + 1, batch), np.int32)
    if direction != "forward":
        # From the ends on, ONNX Runtime quantises other states with each other,
        # and with more threads others again.
        lengths[:] = lengths[0]
    peepholes = rng.standard_normal((d, 3 * hidden)).astype(np.float32)
    inputs += [pick(rng, None, bias), pick(rng, None, None, lengths),
               *pick(rng, (None, None), (start[0], start[1])),
               pick(rng, None, None, peepholes)]
    attrs = pick(rng, {}, {"clip": 0.5}, {"input_forget": 1}, {
        "activations": ["Sigmoid", "Tanh", "Relu"] * d})
    return Node("DynamicQuantizeLSTM", [*inputs, *factors], np.float32,
                hidden_size=hidden, direction=direction, **attrs)


def matmul_integer_to_float(rng):
    *batch, rows, inner = shape_of(rng, 2, 3, 9)
    (columns,), own_dtype = sizes(rng, 1, 8), pick(rng, np.uint8, np.int8)
    dtype, b, own = weights(rng, inner, columns)
    if own_dtype == np.int8:
        dtype, b = np.int8, small(rng, np.int8, b.shape)
    if batch and rng.random() < 0.4:
        b, own = small(rng, dtype, (*batch, inner, columns)), pick(
            rng, (), (*batch, 1, columns))
    bias = rng.standard_normal(columns).astype(np.float32)
    return Node("MatMulIntegerToFloat",
                [input_of(integers(rng, own_dtype, [*batch, rows, inner])), b,
                 scale(rng), scale(rng, own), zero(rng, own_dtype),
                 zero(rng, dtype, own), pick(rng, None, bias)], np.float32)


def qgemm(rng):
    rows, inner, columns = sizes(rng, 3, 11)
    own_dtype = pick(rng, np.uint8, np.int8)
    dtype, b, own = weights(rng, inner, columns)
    if own_dtype == np.int8:
        dtype, b = np.int8, small(rng, np.int8, b.shape)
    turn_a, turn_b = pick(rng, 0, 1), pick(rng, 0, 1)
    a = integers(rng, own_dtype, (rows, inner))
    c = rng.integers(-5000, 5000, pick(
        rng, (columns,), (1, columns), (rows, 1), (rows, columns), ()))
    quantises = rng.random() < 0.7
    out = [np.float32(4 * rng.random() + 0.5), integers(rng, own_dtype)]
    return Node("QGemm",
                [input_of(np.ascontiguousarray(a.T) if turn_a else a),
                 scale(rng), integers(rng, own_dtype),
                 np.ascontiguousarray(b.T) if turn_b else b, scale(rng, own),
                 integers(rng, dtype, own),
                 pick(rng, None, np.asarray(c, np.int32)),
                 *(out if quantises else [])],
                own_dtype if quantises else np.float32, transA=turn_a,
                transB=turn_b, alpha=pick(rng, 1.0, 0.5))


def pair(op):
    def make(rng):
        dtype, shape = pick(rng, np.uint8, np.int8), shape_of(rng)
        other = [e if rng.random() < 0.7 else 1 for e in shape]
        other = other[int(rng.integers(len(other) + 1)):] if (
            rng.random() < 0.4) else other
        a, b = integers(rng, dtype, shape), integers(rng, dtype, other)
        if rng.random() < 0.3:
            a, b = b, a
        out = scale(rng) * np.float32(1 if op == "QLinearAdd" else 4)
        return Node(op, [input_of(a), scale(rng), integers(rng, dtype),
                         (b, rng.random() < 0.5), scale(rng),
                         integers(rng, dtype),
                         np.asarray(out, np.float32),
                         *pick(rng, [], [integers(rng, dtype)])], dtype)
    return make


def single(op, out_scale=None, attrs=lambda rng, shape: {}):
    def make(rng):
        dtype, shape = pick(rng, np.uint8, np.int8), shape_of(rng)
        out = scale(rng) if out_scale is None else out_scale(rng)
        return Node(op, [input_of(integers(rng, dtype, shape)), scale(rng),
                         zero(rng, dtype), np.asarray(out, np.float32),
                         zero(rng, dtype)], dtype, **attrs(rng, shape))
    return make


def softmax(rng):
    """The zero points that the quantiser writes: ONNX Runtime's kernel does not
    saturate signed results."""
    dtype, shape = pick(rng, np.uint8, np.int8), shape_of(rng, 2, 4)
    out = pick(rng, 1 / 256, 1 / 255, 1 / 128)
    low = np.asarray(np.iinfo(dtype).min, dtype)
    if dtype == np.int8:
        out = pick(rng, 1 / 255, 1 / 128)
    return Node("QLinearSoftmax",
                [input_of(integers(rng, dtype, shape)), scale(rng),
                 zero(rng, dtype), np.float32(out), low], dtype,
                opset=pick(rng, 11, 13),
                axis=int(rng.integers(-len(shape), len(shape))))


def reduce_mean(rng, shape):
    count = int(rng.integers(1, len(shape) + 1))
    axes = sorted(int(v) for v in rng.permutation(len(shape))[:count])
    return {"axes": axes, "keepdims": pick(rng, 0, 1)}


def image(rng, spatial, channels_last, dtype):
    n, c = sizes(rng, 2, 4)
    size = [3 + v for v in sizes(rng, spatial, 5)]
    shape = [n, *size, c] if channels_last else [n, c, *size]
    return integers(rng, dtype, shape), c


def average_pool(rng):
    dtype, last = pick(rng, np.uint8, np.int8), pick(rng, 0, 1)
    spatial = pick(rng, 1, 2, 2, 3)
    x, _ = image(rng, spatial, last, dtype)
    kernel = [int(v) for v in rng.integers(2, 4, spatial)]
    pads = [int(v) for v in rng.integers(0, 2, 2 * spatial)]
    where = pick(rng, {"pads": pads}, {"pads": pads}, {},
                 {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"})
    return Node("QLinearAveragePool",
                [input_of(x), scale(rng), integers(rng, dtype), scale(rng),
                 integers(rng, dtype)], dtype, kernel_shape=kernel,
                strides=[int(v) for v in rng.integers(1, 3, spatial)],
                channels_last=last, count_include_pad=pick(rng, 0, 1),
                ceil_mode=pick(rng, 0, 1), **where)


def global_average_pool(rng):
    dtype, last = pick(rng, np.uint8, np.int8), pick(rng, 0, 1)
    x, _ = image(rng, pick(rng, 1, 2, 3), last, dtype)
    return Node("QLinearGlobalAveragePool",
                [input_of(x), scale(rng), integers(rng, dtype), scale(rng),
                 integers(rng, dtype)], dtype, channels_last=last)


def nhwc_max_pool(rng):
    dtype, spatial = pick(rng, np.uint8, np.int8), pick(rng, 1, 2, 3)
    x, _ = image(rng, spatial, True, dtype)
    pads = [int(v) for v in rng.integers(0, 2, 2 * spatial)]
    kernel = [int(v) for v in rng.integers(2, 4, spatial)]
    return Node("NhwcMaxPool", [input_of(x)], dtype, pads=pads,
                kernel_shape=kernel,
                strides=[int(v) for v in rng.integers(1, 3, spatial)],
                dilations=[pick(rng, 1, 2) if k < 3 else 1 for k in kernel],
                ceil_mode=pick(rng, 0, 1))


def q_attention(rng):
    heads, depth = int(rng.integers(1, 4)), 4 * int(rng.integers(1, 3))
    batch, length, width = sizes(rng, 3, 5)
    dtype, all_of = pick(rng, np.int8, np.uint8), 3 * heads * depth
    own, past = pick(rng, (), (all_of,)), pick(rng, 0, 0, 3)
    keys = past + length
    lengths = rng.integers(1, keys + 1, batch).astype(np.int32)
    mask = pick(rng, None, lengths, np.asarray(
        np.arange(keys) < lengths[:, None], np.int32))
    cache = rng.standard_normal((2, batch, heads, past, depth))
    point = np.full(own, 0 if dtype == np.int8 else 128, dtype)
    return Node("QAttention",
                [input_of(integers(rng, np.uint8, (batch, length, width))),
                 small(rng, dtype, (width, all_of)),
                 rng.standard_normal(all_of).astype(np.float32),
                 np.float32(0.02), scale(rng, own),
                 None if mask is None else input_of(mask), np.uint8(120), point,
                 input_of(cache.astype(np.float32)) if past else None],
                np.float32, ("y", "present") if past else ("y",),
                num_heads=heads,
                unidirectional=pick(rng, 0, 0, 1))


def matmul_bnb4(rng):
    inner, columns = sizes(rng, 2, 39)
    inner += inner % 2
    block = pick(rng, 16, 32, 64)
    count = inner * columns
    shape = [*shape_of(rng, 0, 2, 4), int(rng.integers(1, 4)), inner]
    codes = integers(rng, np.uint8, (count + 1) // 2)
    largest = rng.random((count + block - 1) // block).astype(np.float32) + 0.1
    return Node("MatMulBnb4",
                [input_of(rng.standard_normal(shape).astype(np.float32)), codes,
                 largest], np.float32, K=inner, N=columns, block_size=block,
                quant_type=pick(rng, 0, 1))


def concat(rng):
    dtype, shape = pick(rng, np.uint8, np.int8), shape_of(rng)
    axis = int(rng.integers(-len(shape), len(shape)))
    own, point = scale(rng), integers(rng, dtype)
    inputs = [own, point]
    for _ in range(int(rng.integers(1, 5))):
        part = list(shape)
        part[axis] = int(rng.integers(1, 5))
        same = rng.random() < 0.3
        inputs += [input_of(integers(rng, dtype, part)),
                   own if same else scale(rng),
                   point if same else integers(rng, dtype)]
    return Node("QLinearConcat", inputs, dtype, axis=axis)


def where(rng):
    dtype, shape = pick(rng, np.uint8, np.int8), shape_of(rng)
    narrow = [e if rng.random() < 0.7 else 1 for e in shape]
    inputs = [input_of(rng.random(shape) < 0.5)]
    own, point = scale(rng), integers(rng, dtype)
    for part in (shape, narrow):
        same = rng.random() < 0.3
        inputs += [input_of(integers(rng, dtype, part)),
                   own if same else scale(rng),
                   point if same else integers(rng, dtype)]
    return Node("QLinearWhere", [*inputs, own, point], dtype)


def conv(rng):
    last, group = pick(rng, 0, 1, 1), pick(rng, 1, 1, 2)
    spatial = pick(rng, 1, 2, 2)
    dtype, weight = pick(rng, (np.uint8, np.uint8), (np.uint8, np.int8),
                         (np.int8, np.int8))
    x, _ = image(rng, spatial, last, dtype)
    axis = -1 if last else 1
    x = np.concatenate([x] * group, axis)
    inner, outer = x.shape[axis] // group, group * int(rng.integers(1, 4))
    kernel = [int(v) for v in rng.integers(1, 4, spatial)]
    own = pick(rng, (), (outer,))
    bias = rng.integers(-2000, 2000, outer).astype(np.int32)
    points = np.full(own, 0 if weight == np.int8 else 128, weight)
    return Node("QLinearConv",
                [input_of(x), scale(rng), integers(rng, dtype),
                 small(rng, weight, (outer, inner, *kernel)),
                 scale(rng, own), points,
                 np.float32(2 * rng.random() + 0.2), integers(rng, dtype),
                 pick(rng, None, bias)], dtype, channels_last=last, group=group,
                kernel_shape=kernel,
                pads=[int(v) for v in rng.integers(0, 2, 2 * spatial)],
                dilations=pick(rng, [1] * spatial, [2] * spatial)
                if max(kernel) < 3 else [1] * spatial,
                strides=[int(v) for v in rng.integers(1, 3, spatial)])


MAKERS = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLSTM": dynamic_quantize_lstm,
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "QGemm": qgemm,
    "QLinearAdd": pair("QLinearAdd"),
    "QLinearMul": pair("QLinearMul"),
    "QLinearSigmoid": single("QLinearSigmoid", lambda rng: 1 / 256),
    "QLinearLeakyRelu": single(
        "QLinearLeakyRelu",
        attrs=lambda rng, shape: {"alpha": pick(rng, 0.01, 0.25, 1.5)}),
    "QLinearSoftmax": softmax,
    "QLinearAveragePool": average_pool,
    "QLinearGlobalAveragePool": global_average_pool,
    "NhwcMaxPool": nhwc_max_pool,
    "QAttention": q_attention,
    "MatMulBnb4": matmul_bnb4,
    "QLinearConcat": concat,
    "QLinearWhere": where,
    "QLinearConv": conv,
    "QLinearReduceMean": single("QLinearReduceMean", attrs=reduce_mean),
}


# --- models of the quantiser ---------------------------------------------------


class Data:
    """What the quantiser measures ranges with."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def weight(rng, name, *shape):
    array = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(array.astype(np.float32), name)


def conv_net(rng):
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("LeakyRelu", ["c1"], ["r1"], alpha=0.1),
        node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("Sigmoid", ["c2"], ["s2"]),
        node("Mul", ["c2", "s2"], ["m2"]),
        node("Add", ["m2", "r1"], ["a2"]),
        node("AveragePool", ["a2"], ["p2"], kernel_shape=[2, 2],
             strides=[2, 2]),
        node("MaxPool", ["a2"], ["q2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", ["p2", "q2"], ["k2"], axis=1),
        node("GlobalAveragePool", ["k2"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3", "b3"], ["z"], transB=1),
        node("Softmax", ["z"], ["y"])]
    constants = [weight(rng, "w1", 8, 3, 3, 3), weight(rng, "b1", 8),
                 weight(rng, "w2", 8, 8, 3, 3), weight(rng, "w3", 10, 16),
                 weight(rng, "b3", 10)]
    return nodes, constants, [2, 3, 12, 12], [2, 10]


def mlp(rng):
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w1"], ["m1"]),
             node("Add", ["m1", "b1"], ["a1"]),
             node("Relu", ["a1"], ["r1"]),
             node("Gemm", ["r1", "w2", "b2"], ["y"], transB=1)]
    constants = [weight(rng, "w1", 24, 32), weight(rng, "b1", 32),
                 weight(rng, "w2", 10, 32), weight(rng, "b2", 10)]
    return nodes, constants, [4, 24], [4, 10]


def lstm(rng):
    node = helper.make_node
    nodes = [node("LSTM", ["x", "w", "r", "b"], ["", "h"], hidden_size=16),
             node("Squeeze", ["h", "first"], ["s"]),
             node("MatMul", ["s", "v"], ["y"])]
    constants = [weight(rng, "w", 1, 64, 8), weight(rng, "r", 1, 64, 16),
                 weight(rng, "b", 1, 128), weight(rng, "v", 16, 4),
                 numpy_helper.from_array(np.array([0]), "first")]
    return nodes, constants, [5, 2, 8], [2, 4]


def quantised_models(work):
    """Name, path, input and how far outputs may be off on average: a step of one
    element in the middle of a model changes others a little."""
    from onnxruntime.quantization import (QuantFormat, QuantType,
                                          quantize_dynamic, quantize_static)
    for name, make in (("conv_net", conv_net), ("mlp", mlp),
                       ("lstm", lstm)):
        rng = np.random.default_rng(7)
        nodes, constants, shape, out = make(rng)
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
            constants)
        source = work / f"{name}.onnx"
        onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21)]), source)
        batches = [{"x": rng.standard_normal(shape).astype(np.float32)}
                   for _ in range(4)]
        for kind in (QuantType.QUInt8, QuantType.QInt8):
            if name == "lstm":
                continue  # has no static form
            for channels in (False, True):
                path = work / f"{name}_static_{kind}_{channels}.onnx"
                quantize_static(source, path, Data(batches),
                                quant_format=QuantFormat.QOperator,
                                per_channel=channels, activation_type=kind,
                                weight_type=QuantType.QInt8,
                                reduce_range=True)
                yield path.stem, path, batches[0], 3e-3
        path = work / f"{name}_dynamic.onnx"
        quantize_dynamic(source, path, reduce_range=True)
        yield path.stem, path, batches[0], 1e-4


# --- judging -------------------------------------------------------------------


def mean_by_hand(node):
    """ONNX Runtime knows QLinearReduceMean, but has no kernel for it."""
    x, s, z, t, u = [None if i is None else i[0].astype(np.float32)
                     for i in node.inputs]
    y = np.mean((x - (0 if z is None else z)) * s,
                axis=tuple(node.attrs["axes"]),
                keepdims=bool(node.attrs["keepdims"]), dtype=np.float32)
    y = np.round(y / t) + (0 if u is None else u)
    info = np.iinfo(node.dtype)
    return np.clip(y, info.min, info.max).astype(node.dtype)


def expected_of(path_or_bytes, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        path_or_bytes, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def judge(node):
    """What the outputs must be."""
    if node.op == "QLinearReduceMean":
        return [mean_by_hand(node)]
    model, feeds = node.model()
    return expected_of(model.SerializeToString(), feeds)


def run(imbrex, target, path, feeds):
    """The output y, or what went wrong."""
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    command = [imbrex, "run", path, "--target", target, "--output-dir", folder]
    for name, array in feeds.items():
        np.save(folder / f"in_{name}.npy", array)
        command += ["--input", f"{name}={folder / f'in_{name}.npy'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"exits with {done.returncode}: {done.stderr.strip()}"
    return np.load(folder / "y.npy")


def fault_of(got, want, far):
    """Why it is wrong, or None. Counts elements that are one step off."""
    if isinstance(got, str):
        return got, 0
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype}{got.shape}, not {want.dtype}{want.shape}", 0
    apart = np.abs(got.astype(np.float64) - want.astype(np.float64))
    if want.dtype.kind == "f":
        most = far * max(1.0, float(np.abs(want).max(initial=0)))
        close = apart.max(initial=0) <= most  # of NaN neither
        return (None if close else f"is off by {apart.max()}"), 0
    off = int(np.count_nonzero(apart))
    if apart.max(initial=0) > 1:
        return f"{off} of {apart.size} are off, by up to {apart.max()}", off
    return None, off


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--target", default="ibx3")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--op", choices=sorted(MAKERS))
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    bad = total = 0
    for op, make in MAKERS.items():
        if args.op not in (None, op):
            continue
        off = elements = 0
        for seed in range(args.first, args.first + args.count):
            node = make(np.random.default_rng([seed, *op.encode()]))
            model, feeds = node.model()
            path = args.work / f"{op}_{seed}.onnx"
            onnx.save(model, path)
            want = judge(node)[0]
            got = run(args.imbrex, args.target, path, feeds)
            # A state in the middle between two steps changes later ones.
            far = 1e-2 if op == "DynamicQuantizeLSTM" else 1e-5
            fault, steps = fault_of(got, want, far)
            off, elements = off + steps, elements + want.size
            total += 1
            if fault:
                bad += 1
                print(f"{path.stem}: {fault}")
        print(f"{op}: {off} of {elements} elements are one step off")
        # A number that lies in the middle is seldom.
        if off > 2 + elements // 200:
            bad += 1
            print(f"{op}: too many")
    if args.op is None:
        for name, path, feeds, far in quantised_models(args.work):
            want = expected_of(str(path), feeds)[0]
            got = run(args.imbrex, args.target, path, feeds)
            total += 1
            wrong = isinstance(got, str) or not np.abs(got - want).mean() <= far
            if wrong:
                bad += 1
                print(f"{name}: {got} is not {want}")
    print(f"{total} models, {bad} faults")
    return bool(bad) or not total


if __name__ == "__main__":
    sys.exit(main())
