#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft with random attributes and shapes, on the simulator.

ONNX Runtime judges. Each output is divided by its largest number, so that the
tolerance is a share of its range, and elements that the operator leaves open are
multiplied by 0. The cases are the same in every run.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

TOLERANCE = "1e-4"


class Case:
    """One node: attributes, inputs by name (None: left out), outputs.

    Inputs whose names stand in `known` become initialisers. `counts` has flags
    by output: which elements are compared."""

    def __init__(self, op, inputs, outputs=1, known=(), counts=None, **attrs):
        self.op, self.inputs, self.outputs = op, inputs, outputs
        self.known, self.counts = set(known), counts or {}
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
    k, n = int(rng.integers(1, 130)), int(rng.integers(1, 40))
    blocks = -(-k // block)
    weights = rng.integers(0, 1 << bits, (n, blocks, block))
    zeros = rng.integers(0, 1 << bits, (n, blocks))
    zero = pick(rng, None, pack(zeros, bits))
    if bits == 4 and rng.random() < 0.3:
        zero = zeros.astype(np.float32) + np.float32(0.25)
    lead = pick(rng, [3], [2, 3], [1, 1, 2])
    return Case(op, {"a": floats(rng, *lead, k), "b": pack(weights, bits),
                     "s": rng.random((n, blocks)).astype(np.float32) / 8,
                     "z": zero, "g": None,
                     "bias": maybe(rng, floats(rng, n))},
                known=["b", "s", "z", "bias"], K=k, N=n, bits=bits,
                block_size=block)


OPERATORS = {
    "MatMulNBits": matmul_nbits,
}


# --- running -----------------------------------------------------------------


def value_info(name, array):
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def make_model(case, nodes, outputs, constants):
    given = {n: a for n, a in case.inputs.items() if a is not None}
    constants = {**{n: a for n, a in given.items() if n in case.known},
                 **constants}
    graph = helper.make_graph(
        nodes, "g", [value_info(n, a) for n, a in given.items()
                     if n not in case.known], outputs,
        [numpy_helper.from_array(a, n) for n, a in constants.items()])
    return helper.make_model(
        graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def write_case(folder, case):
    names = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(
        case.op, [n if a is not None else "" for n, a in case.inputs.items()],
        names, name=case.op.lower(), domain="com.microsoft", **case.attrs)
    feeds = {n: a for n, a in case.inputs.items()
             if a is not None and n not in case.known}
    plain = make_model(case, [node], [helper.make_empty_tensor_value_info(n)
                                      for n in names], {})
    values = run(plain, feeds)
    nodes, infos, constants, arrays = [node], [], {}, []
    for i, value in enumerate(values):
        counts = np.asarray(case.counts.get(i, True))
        if value.dtype == np.float32:
            value = np.where(counts, value, 0)
            assert np.isfinite(value).all()
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
    model = make_model(case, nodes, infos, constants)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, port_infos, port_arrays in (
            ("input", model.graph.input, feeds.values()),
            ("output", model.graph.output, arrays)):
        for i, (info, array) in enumerate(zip(port_infos, port_arrays)):
            tensor = numpy_helper.from_array(np.ascontiguousarray(array),
                                             info.name)
            (data / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--only", choices=OPERATORS)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    for op, make in OPERATORS.items():
        if args.only not in (None, op):
            continue
        for seed in range(args.first, args.first + args.count):
            case = make(np.random.default_rng([seed, *op.encode()]), op)
            write_case(args.work / f"{op.lower()}_{seed}", case)
    done = subprocess.run(
        [args.imbrex, "test", "--json", "--rtol", "0", "--atol", TOLERANCE,
         args.work], capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"{args.imbrex} exits with {done.returncode}: {done.stderr}")
    cases = json.loads(done.stdout)["cases"]
    bad = [case for case in cases if case["result"] != "pass"]
    for case in bad:
        print(f"{case['name']}: {case['result']}: {case['reason']}")
    print(f"{len(cases) - len(bad)} of {len(cases)} cases agree")
    return bool(bad) or not cases


if __name__ == "__main__":
    sys.exit(main())
