#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Graphs of conversions and moves on every element type, run on the simulator.

What each computes must be, bit for bit, what the onnx package's reference
gives: nothing here adds up more than two numbers. The graphs are the same in
every run. Left out are conversions that the standard leaves open: negative
numbers to unsigned types; and those that the reference does not have.
"""

import argparse
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import cases

SMALL = [T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ,
         T.UINT4, T.INT4, T.FLOAT4E2M1, T.FLOAT8E8M0, T.UINT2, T.INT2,
         T.FLOAT6E2M3, T.FLOAT6E3M2]
OTHER = [T.FLOAT, T.FLOAT16, T.BFLOAT16, T.INT8, T.UINT8, T.INT16, T.INT32,
         T.INT64, T.BOOL, T.DOUBLE, T.UINT16, T.UINT32]
FLOAT8 = SMALL[:4]
QUANTISED = [T.UINT4, T.INT4, T.UINT2, T.INT2, T.INT8, T.UINT8, *FLOAT8,
             T.FLOAT4E2M1]
UNSIGNED = [T.UINT8, T.UINT16, T.UINT32]
RANGES = {T.INT4: (-8, 8), T.UINT4: (0, 16), T.INT2: (-2, 2), T.UINT2: (0, 4),
          T.BOOL: (0, 2), T.UINT8: (0, 200), T.UINT16: (0, 200),
          T.UINT32: (0, 200), T.INT8: (-100, 100), T.INT16: (-100, 100),
          T.INT32: (-100, 100), T.INT64: (-2**40, 2**40)}


def numpy_dtype(dtype):
    return helper.tensor_dtype_to_np_dtype(dtype)


class Graph:
    """Values by name, with type and shape; nodes on them, one at a time."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.inputs, self.constants = [], [], []
        self.values, self.used = [], set()
        shape = [self.pick(1, 2, 3, 5, 7, 16, 40)
                 for _ in range(self.rng.integers(1, 5))]
        self.tensor(self.pick(*SMALL, T.DOUBLE, T.INT64), shape, False)
        if self.rng.random() < 0.6:
            self.tensor(self.pick(*SMALL, *OTHER), shape, self.rng.random() < 0.5)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def tensor(self, dtype, shape, is_constant):
        if dtype in RANGES:
            array = self.rng.integers(*RANGES[dtype], shape)
        elif dtype == T.FLOAT8E8M0:
            array = 2.0 ** self.rng.integers(-6, 7, shape)
        else:
            array = self.rng.normal(size=shape) * self.pick(0.01, 1, 30)
        array, name = array.astype(numpy_dtype(dtype)), f"t{len(self.values)}"
        if is_constant:
            self.constants.append(numpy_helper.from_array(array, name))
        else:
            self.inputs.append((name, dtype, array))
        self.values.append((name, dtype, list(shape)))

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, inputs, dtype, shape, **attrs):
        name = f"v{len(self.values)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=op + name,
                                           **attrs))
        self.used.update(inputs)
        self.values.append((name, dtype, list(shape)))

    def add(self):
        x, dtype, shape = self.values[-self.rng.integers(1, min(
            3, len(self.values)) + 1)]
        self.pick(cast, cast, cast, view, view, view, gather, concat,
                  dequantise, quantise, arithmetic)(self, x, dtype, shape)

    def model(self):
        outputs = [v for v in self.values
                   if v[0] not in self.used and v[0][0] == "v"]
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info(n, d, a.shape)
             for n, d, a in self.inputs],
            [helper.make_tensor_value_info(*v) for v in outputs],
            self.constants)
        return helper.make_model(graph, ir_version=12,
                                 opset_imports=[helper.make_opsetid("", 25)])


def cast(g, x, dtype, shape):
    to = g.pick(*SMALL, *OTHER)
    if to in UNSIGNED and dtype not in (T.UINT2, T.UINT4, T.UINT8, T.BOOL):
        return
    if dtype == T.INT64 and to not in (T.INT32, T.INT8, T.INT16, T.INT64):
        return  # 40 bits are not 32
    saturate = g.pick(0, 1) if to in FLOAT8 else None
    g.node("Cast", [x], to, shape, to=to,
           **({} if saturate is None else {"saturate": saturate}))


def view(g, x, dtype, shape):
    kind = g.rng.integers(5)
    if kind == 0:
        g.node("Identity", [x], dtype, shape)
    elif kind == 1:
        count = int(np.prod(shape))
        g.node("Reshape", [x, g.constant([count])], dtype, [count])
    elif kind == 2 and shape:
        perm = g.rng.permutation(len(shape)).tolist()
        g.node("Transpose", [x], dtype, [shape[i] for i in perm], perm=perm)
    elif kind == 3 and shape and shape[0] > 1:
        bounds = [g.constant([v]) for v in (1, shape[0], 0)]
        g.node("Slice", [x, *bounds], dtype, [shape[0] - 1, *shape[1:]])
    elif kind == 4 and shape and shape[0] == 1:
        wide = [3, *shape[1:]]
        g.node("Expand", [x, g.constant(wide)], dtype, wide)


def gather(g, x, dtype, shape):
    axis, count = int(g.rng.integers(len(shape))), int(g.rng.integers(1, 5))
    places = g.constant(g.rng.integers(0, shape[axis], count))
    g.node("Gather", [x, places], dtype,
           [*shape[:axis], count, *shape[axis + 1:]], axis=axis)


def concat(g, x, dtype, shape):
    g.node("Concat", [x, x], dtype, [2 * shape[0], *shape[1:]], axis=0)


def dequantise(g, x, dtype, shape):
    if dtype not in QUANTISED:
        return
    inputs = [x, g.constant(np.float32(g.pick(0.5, 0.1, 3)))]
    if dtype in RANGES and g.rng.random() < 0.5:
        inputs.append(g.constant(np.array(1).astype(numpy_dtype(dtype))))
    g.node("DequantizeLinear", inputs, T.FLOAT, shape)


def quantise(g, x, dtype, shape):
    if dtype == T.FLOAT:
        to = g.pick(*QUANTISED)
        g.node("QuantizeLinear", [x, g.constant(np.float32(0.25))], to, shape,
               output_dtype=to)


def arithmetic(g, x, dtype, shape):
    if dtype in (T.FLOAT, T.DOUBLE, T.INT32):
        g.node(g.pick("Add", "Sub", "Mul"), [x, x], dtype, shape)


def write_case(folder, graph):
    model, data = graph.model(), folder / "test_data_set_0"
    try:
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(model).run(
                None, {name: array for name, _, array in graph.inputs})
    except TypeError:  # NumPy has no conversion between the two
        return
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, infos, arrays in (
            ("input", model.graph.input, [a for _, _, a in graph.inputs]),
            ("output", model.graph.output, outputs)):
        for i, (info, array) in enumerate(zip(infos, arrays)):
            dtype = numpy_dtype(info.type.tensor_type.elem_type)
            tensor = numpy_helper.from_array(np.asarray(array).astype(dtype),
                                             info.name)
            (data / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--target", default="ibx3")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    shutil.rmtree(args.work, ignore_errors=True)
    for seed in range(args.first, args.first + args.count):
        graph = Graph(seed)
        while len(graph.nodes) < 1 + seed % 6:
            graph.add()
        write_case(args.work / f"graph_{seed}", graph)
    found = cases.judge(args.imbrex, [args.work], "--target", args.target,
                        "--rtol", "0", "--atol", "0")
    return cases.count_bad(found, "graphs") > 0 or not found


if __name__ == "__main__":
    sys.exit(main())
