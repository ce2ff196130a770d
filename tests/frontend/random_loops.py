#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loops whose end only the run tells, or that are not unrolled.

    random_loops.py --imbrex PROGRAM --work FOLDER [--count N] [--seed N]

Writes random models in the layout of the backend tests: nodes, a Loop that a
number, a condition or both end, nodes behind it. Bodies exchange and replace
what they carry, read tensors and weights from outside, give slices, and hold
loops themselves. Each model has data sets without a
trip, with one and with several, for one program. Beside them, a tenth as many:
recurrent networks, scans and loops of more than 1024 steps. What ONNX Runtime
computes is expected, and `imbrex test` judges: every case must pass.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import cases

SHAPE = (3, 5)


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


class Body:
    """The nodes of one graph, with names that no other has."""

    def __init__(self, rng, prefix):
        self.rng, self.prefix, self.nodes = rng, prefix, []

    def emit(self, op, *names, **attributes):
        out = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [out], **attributes))
        return out

    def constant(self, array):
        tensor = numpy_helper.from_array(np.asarray(array))
        return self.emit("Constant", value=tensor)

    def step(self, x, outer):
        """Another tensor of that shape, which does not grow."""
        kind = self.rng.integers(5)
        if kind == 0:
            return self.emit("Tanh", self.emit("Add", x, outer))
        if kind == 1:
            return self.emit("MatMul", x, "weights")
        if kind == 2:
            return self.emit("Softmax", x, axis=int(self.rng.integers(2)))
        if kind == 3:
            half = self.constant(np.float32(0.5))
            return self.emit("Sub", outer, self.emit("Mul", x, half))
        return self.emit("Sigmoid", x)


def make_loop(rng, depth, prefix, number, condition, carried):
    """The node, its outputs: what is carried, then slices."""
    body = Body(rng, f"{prefix}b")
    names = [f"{prefix}in{i}" for i in range(len(carried))]
    trip = body.emit("Cast", f"{prefix}trip", to=T.FLOAT)
    given = [body.step(name, "outer") for name in names]
    given[0] = body.emit("Add", given[0], body.emit(
        "Mul", trip, body.constant(np.float32(0.01))))
    if depth and rng.random() < 0.7:
        most = body.emit("Add", f"{prefix}trip", body.constant(np.int64(1)))
        node, outs = make_loop(rng, depth - 1, f"{prefix}n", most, "", given)
        body.nodes.append(node)
        given = outs[:len(given)]
    if rng.random() < 0.5:
        given = given[1:] + given[:1]
    if rng.random() < 0.3:
        given[-1] = names[0]
    outs = [(name, T.FLOAT, SHAPE) for name in given]
    if rng.random() < 0.6:
        sums = body.emit("ReduceSum", given[0], body.constant(np.array([1])))
        outs.append((sums, T.FLOAT, (SHAPE[0], 1)))
    if rng.random() < 0.3:
        outs.append((f"{prefix}trip", T.INT64, ()))
    cond = f"{prefix}cond"
    if condition is None or rng.random() < 0.4:
        short = body.emit("Less", trip, "limit")
    else:
        short = body.emit("Identity", cond)
    # An output may be an input, or another output, under a name of its own.
    ports = []
    for i, (name, dtype, shape) in enumerate(outs):
        own = f"{prefix}out{i}"
        body.nodes.append(helper.make_node("Identity", [name], [own]))
        ports.append(value(own, dtype, shape))
    graph = helper.make_graph(
        body.nodes, f"{prefix}body",
        [value(f"{prefix}trip", T.INT64, ()), value(cond, T.BOOL, ()),
         *(value(n, T.FLOAT, SHAPE) for n in names)],
        [value(short, T.BOOL, ()), *ports])
    results = [f"{prefix}result{i}" for i in range(len(outs))]
    node = helper.make_node("Loop", [number, condition or "", *carried],
                            results, body=graph)
    return node, results


def make_model(rng):
    main = Body(rng, "m")
    carried = [main.step("x", "outer")]
    carried += [main.step("outer", "x") for _ in range(int(rng.integers(3)))]
    number = "number" if rng.random() < 0.7 else ""
    condition = None if not number or rng.random() < 0.5 else "go"
    node, results = make_loop(rng, 1, "l", number, condition, carried)
    main.nodes.append(node)
    outputs = [main.emit("Add", results[0], main.step("x", "outer"))]
    outputs += results[1:]
    types = {o.name: o.type.tensor_type for o in node.attribute[0].g.output}
    ports = [value(outputs[0], T.FLOAT, SHAPE)]
    for i, name in enumerate(results[1:], 1):
        kind = types[f"lout{i}"]
        shape = [d.dim_value for d in kind.shape.dim]
        ports.append(value(name, kind.elem_type,
                           shape if i < len(carried) else ["n", *shape]))
    weights = (rng.random((SHAPE[1], SHAPE[1])) / SHAPE[1]).astype(np.float32)
    graph = helper.make_graph(
        main.nodes, "loops",
        [value("x", T.FLOAT, SHAPE), value("outer", T.FLOAT, SHAPE),
         value("number", T.INT64, ()), value("go", T.BOOL, ()),
         value("limit", T.FLOAT, ())],
        ports, [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model


def draw_inputs(rng, trips):
    return {"x": rng.standard_normal(SHAPE).astype(np.float32),
            "outer": rng.standard_normal(SHAPE).astype(np.float32),
            "number": np.array(trips, np.int64),
            "go": np.array(rng.random() < 0.9),
            "limit": np.array(rng.integers(4) - 0.5, np.float32)}


# --- more trips than are unrolled --------------------------------------------


def finish(nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes, "long",
        [value(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
         for n, a in inputs.items()],
        [value(name, T.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants.items()])
    return helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17)]), [inputs]


def long_recurrent(rng, op):
    """One with all of its outputs, and lengths that the run tells."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    steps = int(rng.integers(1025, 1400)) if rng.random() < 0.7 else 1152
    batch, hidden, width = (int(n) for n in rng.integers(1, 5, 3))
    direction = ("forward", "reverse", "bidirectional")[rng.integers(3)]
    each = 2 if direction == "bidirectional" else 1

    def floats(*shape):
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    inputs = {"x": floats(steps, batch, width)}
    constants = {"w": floats(each, gates * hidden, width),
                 "r": floats(each, gates * hidden, hidden),
                 "b": floats(each, 2 * gates * hidden)}
    if rng.random() < 0.5:
        inputs["lengths"] = rng.integers(
            1, steps + 1, batch).astype(np.int32)
    outputs = ["y", "last"] + ["cell"] * (op == "LSTM")
    node = helper.make_node(
        op, ["x", "w", "r", "b", *list(inputs)[1:]], outputs,
        hidden_size=hidden, direction=direction)
    return finish([node], inputs, outputs, constants)


def long_scan(rng):
    """Slices along any dimension, in any direction, on both sides."""
    body = Body(rng, "s")
    mixed = body.emit("Add", body.emit("Mul", "state", body.constant(
        np.float32(0.5))), "slice")
    given = body.emit("Tanh", mixed)
    graph = helper.make_graph(
        body.nodes, "body", [value(n, T.FLOAT, (3,)) for n in
                             ("state", "slice")],
        [value(n, T.FLOAT, (3,)) for n in (mixed, given)])
    count, axis = int(rng.integers(1025, 1300)), int(rng.integers(2))
    x = rng.standard_normal((count, 3) if axis == 0 else (3, count))
    inputs = {"state0": rng.standard_normal(3).astype(np.float32),
              "x": x.astype(np.float32)}
    node = helper.make_node(
        "Scan", ["state0", "x"], ["state1", "slices"], body=graph,
        num_scan_inputs=1, scan_input_axes=[axis],
        **{f"scan_{name}": [int(rng.integers(2))] for name in (
            "input_directions", "output_axes", "output_directions")})
    after = helper.make_node("Neg", ["slices"], ["y"])
    return finish([node, after], inputs, ["state1", "y"], {})


def long_loop(rng):
    """A constant number of trips, whose slices the device reads."""
    body = Body(rng, "l")
    given = body.emit("Tanh", body.emit("Add", "value", "x"))
    go = body.emit("Identity", "go")
    row = body.emit("Identity", given)
    graph = helper.make_graph(
        body.nodes, "body", [value("trip", T.INT64, ()),
                             value("go", T.BOOL, ()),
                             value("value", T.FLOAT, SHAPE)],
        [value(go, T.BOOL, ()), value(given, T.FLOAT, SHAPE),
         value(row, T.FLOAT, SHAPE)])
    node = helper.make_node("Loop", ["number", "", "x"], ["last", "rows"],
                            body=graph)
    after = helper.make_node("Transpose", ["rows"], ["y"])
    x = rng.standard_normal(SHAPE).astype(np.float32)
    return finish([node, after], {"x": x}, ["last", "y"],
                  {"number": np.array(rng.integers(1025, 1300))})


def write_case(folder, model, sets):
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for index, inputs in enumerate(sets):
        outputs = session.run(None, inputs)
        data = folder / f"test_data_set_{index}"
        data.mkdir()
        for side, arrays in (("input", inputs.values()), ("output", outputs)):
            for i, array in enumerate(arrays):
                tensor = numpy_helper.from_array(np.asarray(array))
                (data / f"{side}_{i}.pb").write_bytes(
                    tensor.SerializeToString())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    onnxruntime.set_default_logger_severity(4)
    for index in range(args.count):
        rng = np.random.default_rng([args.seed, index])
        model = make_model(rng)
        write_case(args.work / f"loop_{index}", model,
                   [draw_inputs(rng, trips) for trips in (0, 1, 4)])
    for index in range(args.count // 10):
        rng = np.random.default_rng([args.seed, index, 1])
        for op in ("RNN", "GRU", "LSTM"):
            write_case(args.work / f"{op}_{index}", *long_recurrent(rng, op))
        write_case(args.work / f"Scan_{index}", *long_scan(rng))
        write_case(args.work / f"long_{index}", *long_loop(rng))
    done = cases.judge(args.imbrex, sorted(args.work.iterdir()))
    return 1 if cases.count_bad(done, "loops") else 0


if __name__ == "__main__":
    raise SystemExit(main())
