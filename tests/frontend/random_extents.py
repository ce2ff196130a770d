#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chains of operators behind those whose shapes depend on the data.

    random_extents.py --imbrex PROGRAM --work FOLDER [--count N] [--seed N]

Writes random models in the layout of the backend tests: a source (NonZero,
Compress, Unique, NonMaxSuppression, a GatherND of what NonZero finds), then a
few operators that meet its extent in every place, with several consumers and
outputs. Each has data sets in which nothing, everything and some of it is
found, for one program. What ONNX Runtime computes is expected, in shape and
numbers; models that it does not run are made again. `imbrex test` judges: no
case may fail, and of those that it refuses the reason must be the extent.
"""

import argparse
import collections
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

import cases

# RoiAlign and MaxRoiPool are older in ONNX Runtime, Attention newer.
OPSETS = (18, 18, 23)
MOST_REFUSED = 0.02  # of the cases: the others must pass


class Value:
    """A name, what it is in the first data set, and which of its extents are
    seen to differ in another."""

    def __init__(self, name, array, others):
        self.name, self.array = name, array
        self.others = [o.shape for o in others]
        self.open = [any(o.shape[d] != n for o in others)
                     for d, n in enumerate(array.shape)]

    @property
    def rank(self):
        return self.array.ndim


class Builder:
    """A model that grows while it is evaluated, so that each choice is legal."""

    def __init__(self, rng):
        from onnx import helper

        self.rng, self.helper = rng, helper
        self.nodes, self.constants, self.inputs = [], [], []
        self.values, self.count = [], 0
        self.opset = OPSETS[rng.integers(len(OPSETS))]

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def constant(self, array):
        from onnx import numpy_helper

        name = self.fresh()
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def emit(self, op, names, outputs=1, **attrs):
        made = [self.fresh() for _ in range(outputs)]
        self.nodes.append(self.helper.make_node(op, names, made, **attrs))
        return made

    def model(self, outputs):
        import onnx

        infos = [self.helper.make_tensor_value_info(
            n, self.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in self.inputs]
        graph = self.helper.make_graph(
            self.nodes, "extents", infos,
            [onnx.ValueInfoProto(name=n) for n in outputs], self.constants)
        return self.helper.make_model(
            graph, ir_version=10,
            opset_imports=[self.helper.make_opsetid("", self.opset)])


def typed(model):
    """Gives outputs their types, without shapes, which ONNX Runtime wants."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def run(model, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


# --- sources -------------------------------------------------------------------


def sparse(rng, shape, share):
    x = np.round(rng.standard_normal(shape) * 2).astype(np.float32)
    x[x == 0] = 1
    return np.where(rng.random(shape) < share, x, 0).astype(np.float32)


def extents(rng, rank):
    return [int(rng.integers(1, 7)) for _ in range(rank)]


def add_input(b, name, array):
    b.inputs.append((name, array))
    return name


def compress(b):
    shape = extents(b.rng, int(b.rng.integers(1, 5)))
    axis = b.pick(None, int(b.rng.integers(len(shape))))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    length = int(b.rng.integers(max(1, length - 1), length + 1))
    x = add_input(b, "x", sparse(b.rng, shape, 1))
    flags = add_input(b, "flags", np.ones(length, np.bool_))
    attrs = {} if axis is None else {"axis": axis}
    return b.emit("Compress", [x, flags], **attrs)


def nonzero(b):
    x = add_input(b, "x", sparse(b.rng, extents(b.rng, int(b.rng.integers(1, 4))),
                                 0.5))
    return b.emit("NonZero", [x])


def masked_elements(b):
    shape = extents(b.rng, int(b.rng.integers(1, 3)))
    x = add_input(b, "x", sparse(b.rng, shape, 0.5))
    tail = b.pick([], extents(b.rng, 1))
    y = add_input(b, "y", sparse(b.rng, shape + tail, 1))
    places = b.emit("NonZero", [x])[0]
    places = b.emit("Transpose", [places], perm=[1, 0])[0]
    return b.emit("GatherND", [y, places])


def unique(b):
    shape = extents(b.rng, int(b.rng.integers(1, 3)))
    x = add_input(b, "x", sparse(b.rng, shape, 0.7))
    attrs = {"sorted": b.pick(0, 1)}
    if b.rng.random() < 0.5:
        attrs["axis"] = int(b.rng.integers(len(shape)))
    return b.emit("Unique", [x], outputs=4, **attrs)


def suppression(b):
    batch, classes = int(b.rng.integers(1, 3)), int(b.rng.integers(1, 4))
    count = int(b.rng.integers(1, 9))
    corners = b.rng.random((batch, count, 4)).astype(np.float32)
    boxes = add_input(b, "boxes", corners)
    scores = add_input(b, "scores",
                       b.rng.random((batch, classes, count)).astype(np.float32))
    names = [boxes, scores, b.constant(np.array([int(b.rng.integers(1, 5))])),
             b.constant(np.array([b.pick(0.1, 0.5)], np.float32))]
    if b.rng.random() < 0.7:
        names.append(b.constant(np.array([0.3], np.float32)))
    return b.emit("NonMaxSuppression", names,
                  center_point_box=b.pick(0, 1))


SOURCES = (compress, nonzero, masked_elements, unique, suppression)


# --- what follows ----------------------------------------------------------------


def axis_of(b, v):
    return int(b.rng.integers(-v.rank, v.rank))


def unary(b, v):
    if v.array.dtype != np.float32:
        return b.emit("Cast", [v.name], to=1)
    return b.emit(b.pick("Neg", "Abs", "Relu", "Sigmoid", "Tanh", "Floor"),
                  [v.name])


def with_number(b, v):
    number = b.constant(np.array(b.pick(2, 3, -1), v.array.dtype))
    return b.emit(b.pick("Add", "Mul", "Sub"), b.pick([v.name, number],
                                                     [number, v.name]))


def with_itself(b, v):
    other = b.emit("Mul", [v.name, v.name])[0]
    return b.emit(b.pick("Add", "Sub", "Max"), [v.name, other])


def select(b, v):
    zero = b.constant(np.array(0, v.array.dtype))
    flag = b.emit("Greater", [v.name, zero])[0]
    return b.emit("Where", [flag, v.name, zero])


def transpose(b, v):
    return b.emit("Transpose", [v.name],
                  perm=[int(i) for i in b.rng.permutation(v.rank)])


def flatten(b, v):
    return b.emit("Reshape", [v.name, b.constant(np.array([-1]))])


def keep_first(b, v):
    return b.emit("Reshape", [v.name, b.constant(np.array([0, -1]))])


def there_and_back(b, v):
    shape = b.emit("Shape", [v.name])[0]
    flat = b.emit("Reshape", [v.name, b.constant(np.array([-1]))])[0]
    return b.emit("Reshape", [flat, shape])


def unsqueeze(b, v):
    axis = int(b.rng.integers(0, v.rank + 1))
    return b.emit("Unsqueeze", [v.name, b.constant(np.array([axis]))])


def reduce(b, v):
    op = b.pick("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean",
                "ReduceProd", "ReduceSumSquare", "ReduceL1")
    if op in ("ReduceMax", "ReduceMin", "ReduceMean") and v.array.size == 0:
        return None
    axes = sorted(set(int(b.rng.integers(v.rank)) for _ in range(2)))
    return b.emit(op, [v.name, b.constant(np.array(axes))],
                  keepdims=b.pick(0, 1))


def softmax(b, v):
    if v.array.dtype != np.float32:
        return None
    return b.emit(b.pick("Softmax", "LogSoftmax"), [v.name],
                  axis=axis_of(b, v))


def top(b, v):
    axis = axis_of(b, v)
    if v.array.shape[axis] == 0 or v.array.dtype == np.bool_:
        return None
    return b.emit("TopK", [v.name, b.constant(np.array([1]))], outputs=2,
                  axis=axis, largest=b.pick(0, 1))


def arg(b, v):
    axis = axis_of(b, v)
    if v.array.shape[axis] == 0 or v.array.dtype != np.float32:
        return None
    return b.emit("ArgMax", [v.name], axis=axis, keepdims=b.pick(0, 1))


def concat(b, v):
    axis = int(b.rng.integers(v.rank))
    shape = list(v.array.shape)
    shape[axis] = int(b.rng.integers(1, 3))
    if any(o and d != axis for d, o in enumerate(v.open)):
        return b.emit("Concat", [v.name, v.name], axis=axis)
    other = b.constant(np.ones(shape, v.array.dtype))
    names = b.pick([v.name, other], [other, v.name], [v.name, v.name],
                   [v.name, other, v.name])
    return b.emit("Concat", names, axis=axis)


def cut(b, v):
    axis = int(b.rng.integers(v.rank))
    start, end = b.pick((0, 2), (1, 2 ** 31), (0, -1), (1, -1), (2, 3))
    names = [b.constant(np.array([n])) for n in
             (start, end, axis, b.pick(1, 2))]
    return b.emit("Slice", [v.name] + names)


def product(b, v):
    if v.array.dtype != np.float32 or v.rank < 2:
        return None
    if v.open[-1] or b.rng.random() < 0.5:
        perm = list(range(v.rank))
        perm[-1], perm[-2] = perm[-2], perm[-1]
        turned = b.emit("Transpose", [v.name], perm=perm)[0]
        return b.emit("MatMul", b.pick([v.name, turned], [turned, v.name]))
    inner = v.array.shape[-1]
    weight = b.rng.integers(-2, 3, (inner, 3)).astype(np.float32)
    return b.emit("MatMul", [v.name, b.constant(weight)])


def only_first_open(v):
    return v.array.dtype == np.float32 and not any(v.open[1:])


def normal(b, v):
    if v.array.dtype != np.float32 or v.open[-1] or v.array.shape[-1] == 0:
        return None
    scale = b.constant(np.linspace(1, 2, v.array.shape[-1], dtype=np.float32))
    return b.emit("LayerNormalization", [v.name, scale], axis=-1)


def windows(b, v):
    """A batch that is open, of images that are not."""
    if v.rank < 3 or not only_first_open(v) or 0 in v.array.shape[1:]:
        return None
    kernel = [1] * (v.rank - 3) + [min(2, v.array.shape[-1])]
    op = b.pick("MaxPool", "AveragePool", "Conv", "GlobalAveragePool",
                "BatchNormalization")
    channels = v.array.shape[1]
    if op == "Conv":
        weight = b.rng.integers(-2, 3, [2, channels] + kernel)
        return b.emit(op, [v.name, b.constant(weight.astype(np.float32))])
    if op == "BatchNormalization":
        line = b.constant(np.linspace(1, 2, channels, dtype=np.float32))
        return b.emit(op, [v.name] + 4 * [line])
    return b.emit(op, [v.name],
                  **({} if op[0] == "G" else {"kernel_shape": kernel}))


def parts(b, v):
    axis = int(b.rng.integers(v.rank))
    if v.open[axis] and b.rng.random() < 0.5:  # by sizes that are computed
        shape = b.emit("Shape", [v.name], start=axis,
                       **({} if axis + 1 == v.rank else {"end": axis + 1}))[0]
        two, one = b.constant(np.array([2])), b.constant(np.array([1]))
        half = b.emit("Div", [b.emit("Add", [shape, one])[0], two])[0]
        rest = b.emit("Sub", [shape, half])[0]
        sizes = b.emit("Concat", b.pick([half, rest], [rest, half]), axis=0)[0]
        return b.emit("Split", [v.name, sizes], outputs=2, axis=axis)
    if v.open[axis]:
        count = b.pick(2, 3)
        return b.emit("Split", [v.name], outputs=count, axis=axis,
                      num_outputs=count)
    if v.array.shape[axis] < 2:
        return None
    sizes = b.constant(np.array([1, v.array.shape[axis] - 1]))
    return b.emit("Split", [v.name, sizes], outputs=2, axis=axis)


def tile(b, v):
    repeats = [1 if is_open else b.pick(1, 2) for is_open in v.open]
    return b.emit("Tile", [v.name, b.constant(np.array(repeats))])


def running(b, v):
    if v.array.dtype not in (np.float32, np.int64):
        return None
    axis = b.constant(np.array(axis_of(b, v)))
    return b.emit("CumSum", [v.name, axis], exclusive=b.pick(0, 1),
                  reverse=b.pick(0, 1))


def ask_shape(b, v):
    if b.rng.random() < 0.5:
        return b.emit("Size", [v.name])
    return b.emit("Shape", [v.name])


def count_up(b, v):
    size = b.emit("Size", [v.name])[0]
    zero, one = b.constant(np.array(0)), b.constant(np.array(1))
    return b.emit("Range", [zero, size, one])


def fill(b, v):
    shape = b.emit("Shape", [v.name])[0]
    value = b.helper.make_tensor("value", v.array.dtype == np.float32 and 1 or 7,
                                 [1], [2])
    filled = b.emit("ConstantOfShape", [shape], value=value)[0]
    if v.array.dtype not in (np.float32, np.int64):
        return [filled]
    return b.emit("Add", [v.name, filled])


def expand(b, v):
    shape = b.emit("Shape", [v.name])[0]
    one = b.constant(np.ones([1] * v.rank, np.float32))
    return b.emit("Expand", [one, shape])


def compress_again(b, v):
    axis = int(b.rng.integers(v.rank))
    if v.array.dtype not in (np.float32, np.int64):
        return None
    axes = [d for d in range(v.rank) if d != axis]
    line = v.name
    if axes:
        line = b.emit("ReduceSum", [v.name, b.constant(np.array(axes))],
                      keepdims=0)[0]
    zero = b.constant(np.array(0, v.array.dtype))
    flags = b.emit("Greater", [line, zero])[0]
    return b.emit("Compress", [v.name, flags], axis=axis)


def pick_twice(b, v):
    """Rows of two tensors by a mask that is computed for each of them."""
    axis = int(b.rng.integers(v.rank))
    if v.array.dtype != np.float32:
        return None
    other, parts = b.emit("Mul", [v.name, v.name])[0], []
    for x in (v.name, other):
        axes = b.constant(np.array([d for d in range(v.rank) if d != axis]))
        line = v.name
        if v.rank > 1:
            line = b.emit("ReduceMax", [v.name, axes], keepdims=0)[0]
        zero = b.constant(np.array(0, np.float32))
        flags = b.emit("Greater", [line, zero])[0]
        parts += b.emit("Compress", [x, flags], axis=axis)
    return b.emit("Add", parts)


def meet(b, v):
    """As many rows found in another way, or one, which repeats."""
    axis = int(b.rng.integers(v.rank))
    if v.array.dtype != np.float32:
        return None
    axes = b.constant(np.array([d for d in range(v.rank) if d != axis]))
    zero = b.constant(np.array(0, np.float32))
    line = v.name
    if v.rank > 1:
        line = b.emit("ReduceMax", [v.name, axes], keepdims=0)[0]
    flags = b.emit("Greater", [line, zero])[0]
    if b.rng.random() < 0.5:  # the first of them only
        number = b.emit("Cast", [flags], to=7)[0]
        count = b.emit("CumSum", [number, b.constant(np.array(0))])[0]
        first = b.emit("Equal", [count, b.constant(np.array(1))])[0]
        other = b.emit("And", [first, flags])[0]
    else:
        other = b.emit("Less", [b.emit("Neg", [line])[0], zero])[0]
    parts = [b.emit("Compress", [v.name, f], axis=axis)[0]
             for f in (flags, other)]
    if b.rng.random() < 0.5:
        parts.reverse()
    return b.emit(b.pick("Add", "Sub", "Max"), parts)


def nonzero_again(b, v):
    return b.emit("NonZero", [v.name]) if v.rank else None


def take(b, v):
    axis = int(b.rng.integers(v.rank))
    if v.array.shape[axis] < 2:
        return None
    index = b.pick(np.array(0), np.array([1, 0]), np.array(-1))
    return b.emit("Gather", [v.name, b.constant(index)], axis=axis)


def indices_for(b, v, axis):
    """Positions that exist in every data set, or None."""
    least = min([v.array.shape[axis]] + [s[axis] for s in v.others])
    if least == 0:
        return None
    return lambda shape: b.rng.integers(-least, least, shape)


def take_elements(b, v):
    axis = int(b.rng.integers(v.rank))
    index = indices_for(b, v, axis)
    if index is None:
        return None
    if b.rng.random() < 0.5 and not any(v.open):
        shape = [int(b.rng.integers(1, n + 1)) for n in v.array.shape]
        names = [v.name, b.constant(index(shape))]
    else:  # as many as there are, in all but the axis
        zero = b.constant(np.array(0))
        shape = b.emit("Shape", [v.name])[0]
        zeros = b.emit("Expand", [zero, shape])[0]
        at = b.constant(index([1] * v.rank))
        names = [v.name, b.emit("Add", [zeros, at])[0]]
    return b.emit("GatherElements", names, axis=axis)


def take_rows(b, v):
    depth = int(b.rng.integers(1, v.rank + 1))
    columns = [indices_for(b, v, d) for d in range(depth)]
    if any(c is None for c in columns):
        return None
    rows = int(b.rng.integers(1, 4))
    index = np.stack([c([rows]) for c in columns], -1)
    return b.emit("GatherND", [v.name, b.constant(index)])


def take_where(b, v):
    """The elements that NonZero finds in an open tensor."""
    places = b.emit("Transpose", b.emit("NonZero", [v.name]), perm=[1, 0])
    return b.emit("GatherND", [v.name] + places)


def pad(b, v):
    number = b.constant(np.array(b.pick(0, 3), v.array.dtype))
    mode = b.pick("constant", "constant", "edge", "reflect", "wrap")
    low = [int(b.rng.integers(-1, 3)) for _ in range(2 * v.rank)]
    if mode != "constant":
        low = [max(0, n) for n in low]
    return b.emit("Pad", [v.name, b.constant(np.array(low)), number],
                  mode=mode)


def scatter(b, v):
    axis = int(b.rng.integers(v.rank))
    index = indices_for(b, v, axis)
    if index is None or v.array.dtype != np.float32:
        return None
    reduction = b.pick("none", "add", "max")
    if b.rng.random() < 0.5:
        at = np.unique(index([int(b.rng.integers(1, 3))]))
        rest = list(v.array.shape[1:])
        index = indices_for(b, v, 0)
        if index is None or any(v.open[1:]):
            return None
        at = np.unique(index([2]) % max(1, min(
            [v.array.shape[0]] + [s[0] for s in v.others])))
        updates = floats(b.rng, [len(at)] + rest)
        return b.emit("ScatterND", [v.name, b.constant(at[:, None]),
                                    b.constant(updates)], reduction=reduction)
    shape = [1] * v.rank
    return b.emit("ScatterElements", [v.name, b.constant(index(shape)),
                                      b.constant(floats(b.rng, shape))],
                  axis=axis, reduction=reduction)


def floats(rng, shape):
    return np.round(rng.standard_normal(shape) * 4).astype(np.float32) / 2


def unique_again(b, v):
    attrs = {"sorted": b.pick(0, 1)}
    if b.rng.random() < 0.5:
        axis = int(b.rng.integers(v.rank))
        if any(o and d != axis for d, o in enumerate(v.open)):
            return None
        attrs["axis"] = axis
    if v.array.size == 0:
        return None
    return b.emit("Unique", [v.name], outputs=4, **attrs)


def triangle(b, v):
    if v.array.dtype != np.float32:
        return None
    return b.emit("Trilu", [v.name], upper=b.pick(0, 1))


def eye(b, v):
    return b.emit("EyeLike", [v.name], k=b.pick(0, 1, -1), dtype=1)


def one_hot(b, v):
    if v.array.dtype != np.int64:
        return None
    return b.emit("OneHot", [v.name, b.constant(np.array(5)),
                             b.constant(np.array([0, 1], np.float32))],
                  axis=int(b.rng.integers(-v.rank - 1, v.rank + 1)))


def hard(b, v):
    axis = axis_of(b, v)
    if v.array.dtype != np.float32 or v.array.shape[axis] == 0:
        return None
    return b.emit("Hardmax", [v.name], axis=axis)


def last_arg(b, v):
    axis = axis_of(b, v)
    if v.array.shape[axis] == 0 or v.array.dtype != np.float32:
        return None
    return b.emit(b.pick("ArgMax", "ArgMin"), [v.name], axis=axis,
                  select_last_index=1, keepdims=b.pick(0, 1))


def norm(b, v):
    if v.array.dtype != np.float32 or v.array.size == 0:
        return None
    return b.emit("LpNormalization", [v.name], axis=axis_of(b, v),
                  p=b.pick(1, 2))


def quantised(b, v):
    if v.array.dtype != np.float32:
        return None
    scale = b.constant(np.array(0.25, np.float32))
    zero = b.constant(np.array(b.pick(0, 3, 128), np.uint8))
    q = b.emit("QuantizeLinear", [v.name, scale, zero])[0]
    if v.rank >= 2 and not v.open[-1] and b.rng.random() < 0.4:
        weight = b.rng.integers(-9, 9, (v.array.shape[-1], 3)).astype(np.int8)
        return b.emit("MatMulInteger", [q, b.constant(weight), zero])
    return b.emit("DequantizeLinear", [q, scale, zero])


def einsum(b, v):
    if v.array.dtype != np.float32:
        return None
    letters = "abcde"[:v.rank]
    equation = b.pick(f"{letters}->{letters[::-1]}",
                      f"{letters},{letters}->{letters[0]}",
                      f"{letters},{letters}->{letters[1:]}")
    return b.emit("Einsum", [v.name] * (1 + equation.count(",")),
                  equation=equation)


def attend(b, v):
    """Every row of what was found with every other."""
    if b.opset < 23 or v.rank > 2 or not only_first_open(v):
        return None
    axes = [0, 1] if v.rank == 2 else [0, 1, 3]
    x = b.emit("Unsqueeze", [v.name, b.constant(np.array(axes))])[0]
    return b.emit("Attention", [x, x, x], is_causal=b.pick(0, 1))


def regions(b, v):
    """Pools of regions of which the data decide the number."""
    if v.rank < 1 or any(v.open[1:]) or v.array.dtype != np.float32:
        return None
    axes = list(range(1, v.rank))
    start = v.name
    if axes:
        start = b.emit("ReduceMax", [v.name, b.constant(np.array(axes))],
                       keepdims=0)[0]
    low = b.constant(np.array([[0, 1, 2, 1.5]], np.float32))
    column = b.emit("Unsqueeze", [start, b.constant(np.array([1]))])[0]
    step = b.constant(np.array([[0.5, 0.25, 1, 1.5]], np.float32))
    rois = b.emit("Add", [b.emit("Mul", [column, step])[0], low])[0]
    image = b.constant(floats(b.rng, [2, 2, 5, 6]))
    one = b.emit("Mul", [column, b.constant(np.array(0, np.float32))])[0]
    if b.rng.random() < 0.5:
        rois = b.emit("Concat", [one, rois], axis=1)[0]
        return b.emit("MaxRoiPool", [image, rois], pooled_shape=[2, 3])
    batch = b.emit("Cast", b.emit("Squeeze", [one, b.constant(np.array([1]))]),
                   to=7)[0]
    mode = b.pick("avg", "max")
    return b.emit("RoiAlign", [image, rois, batch], output_height=2,
                  output_width=b.pick(1, 3), mode=mode,
                  sampling_ratio=2 if mode == "max" else b.pick(0, 2))


def image(b, v):
    """What keeps a batch apart whose size is open."""
    if v.rank > 4 or not only_first_open(v) or 0 in v.array.shape[1:]:
        return None
    shape = (list(v.array.shape) + [1, 1, 1])[:4]
    if v.rank < 4:
        axes = b.constant(np.arange(v.rank, 4))
        v = Value(b.emit("Unsqueeze", [v.name, axes])[0],
                  v.array.reshape(shape), [])
    channels = shape[1]
    op = b.pick("Resize", "Resize", "ConvTranspose", "InstanceNormalization",
                "LRN", "LpPool", "GlobalLpPool", "DepthToSpace")
    if op == "DepthToSpace":
        four = b.emit("Concat", [v.name] * 4, axis=1)[0]
        return b.emit(op, [four], blocksize=2)
    if op == "Resize" and b.rng.random() < 0.5:
        head = b.emit("Shape", [v.name], end=2)[0]
        sizes = b.emit("Concat", [head, b.constant(np.array([3, 5]))],
                       axis=0)[0]
        return b.emit(op, [v.name, "", "", sizes], mode=b.pick("nearest",
                                                               "linear"))
    if op == "Resize":
        scales = b.constant(np.array([1, 1, 2, 1.5], np.float32))
        return b.emit(op, [v.name, "", scales], mode="linear")
    if op == "ConvTranspose":
        weight = b.rng.integers(-2, 3, (channels, 2, 2, 1)).astype(np.float32)
        return b.emit(op, [v.name, b.constant(weight)], strides=[2, 1])
    if op == "InstanceNormalization":
        line = b.constant(np.linspace(1, 2, channels, dtype=np.float32))
        return b.emit(op, [v.name, line, line])
    return b.emit(op, [v.name], **{"LRN": {"size": 3}, "GlobalLpPool": {},
                                   "LpPool": {"kernel_shape": [1, 1]}}[op])


def graph(b, name, nodes, inputs, outputs):
    import onnx

    def info(name):
        return onnx.ValueInfoProto(name=name)

    return b.helper.make_graph(nodes, name, inputs, [info(n) for n in outputs])


def branch(b, v):
    """Either of two graphs, by how much was found."""
    size = b.emit("Size", [v.name])[0]
    flag = b.emit("Greater", [size, b.constant(np.array(b.pick(0, 3)))])[0]
    graphs = []
    for side in ("then", "else"):
        name, made = b.fresh(), b.fresh()
        op = b.pick("Identity", "Concat", "Slice")
        names = {"Identity": [v.name], "Concat": [v.name, v.name],
                 "Slice": [v.name, b.constant(np.array([0])),
                           b.constant(np.array([1]))]}[op]
        attrs = {"axis": 0} if op == "Concat" else {}
        nodes = [b.helper.make_node(op, names, [name], **attrs),
                 b.helper.make_node("Identity", [name], [made])]
        graphs.append(graph(b, side, nodes, [], [made]))
    return b.emit("If", [flag], then_branch=graphs[0], else_branch=graphs[1])


def loop(b, v):
    """As many trips as were found, or fewer: until a sum is reached."""
    helper, names = b.helper, [b.fresh() for _ in range(7)]
    i, c, acc, real, total, go, out = names
    most = b.emit("Size", [v.name])[0]
    if v.array.size > 40:
        return None
    limit = b.constant(np.array(b.pick(2.0, 7.0, 1e6), np.float32))
    body = graph(b, "body", [
        helper.make_node("Cast", [i], [real], to=1),
        helper.make_node("Add", [acc, real], [total]),
        helper.make_node("Less", [total, limit], [go]),
        helper.make_node("Mul", [total, real], [out])],
        [helper.make_tensor_value_info(i, 7, []),
         helper.make_tensor_value_info(c, 9, []),
         helper.make_tensor_value_info(acc, 1, [])], [go, total, out])
    start = b.constant(np.array(1.0, np.float32))
    return b.emit("Loop", [most, "", start], outputs=2, body=body)


def scan(b, v):
    """A sum over what was found, slice by slice; ONNX Runtime does not live
    through slices without elements."""
    helper, axis = b.helper, int(b.rng.integers(v.rank))
    if v.array.dtype != np.float32 or any(
            d != axis and 0 in [s[d] for s in v.others + [v.array.shape]]
            for d in range(v.rank)):
        return None
    x = v.name
    if not any(o and d != axis for d, o in enumerate(v.open)):
        one = list(v.array.shape)
        one[axis] = 1
        x = b.emit("Concat", [x, b.constant(np.ones(one, np.float32))],
                   axis=axis)[0]
    elif 0 in [s[axis] for s in v.others + [v.array.shape]]:
        return None
    acc, item, total, out = (b.fresh() for _ in range(4))
    axes = b.constant(np.arange(v.rank - 1))
    body = graph(b, "body", [
        helper.make_node("ReduceSum", [item, axes], [item + "s"], keepdims=0)
        if v.rank > 1 else helper.make_node("Identity", [item], [item + "s"]),
        helper.make_node("Add", [acc, item + "s"], [total]),
        helper.make_node("Mul", [total, item + "s"], [out])],
        [helper.make_tensor_value_info(acc, 1, []),
         helper.make_tensor_value_info(item, 1, [None] * (v.rank - 1))],
        [total, out])
    start = b.constant(np.array(1.0, np.float32))
    return b.emit("Scan", [start, x], outputs=2, body=body,
                  num_scan_inputs=1, scan_input_axes=[axis],
                  scan_input_directions=[b.pick(0, 1)],
                  scan_output_directions=[b.pick(0, 1)])


FOLLOWERS = (meet, scan, branch, loop, normal, windows, parts, tile, unary,
             with_number, with_itself, select, transpose, flatten, keep_first,
             there_and_back, unsqueeze, reduce, softmax, top, arg, concat, cut,
             product, running, ask_shape, count_up, fill, expand,
             compress_again, pick_twice, nonzero_again, take, take_elements,
             take_rows, take_where, pad, scatter, unique_again, triangle, eye,
             one_hot, hard, last_arg, norm, quantised, einsum, attend, regions,
             image)
NEEDS_RANK = {meet: 1, pick_twice: 1, scan: 1, normal: 1, parts: 1, tile: 1, branch: 1,
              transpose: 1, flatten: 1, keep_first: 2, there_and_back: 1,
              reduce: 1, softmax: 1, top: 1, arg: 1, concat: 1, cut: 1,
              running: 1, compress_again: 1, take: 1, fill: 1, expand: 1,
              pad: 1, take_elements: 1, take_rows: 1, take_where: 1,
              scatter: 1, unique_again: 1, triangle: 2, hard: 1, last_arg: 1,
              norm: 1, einsum: 2, attend: 1, regions: 1, image: 1}


# --- models -----------------------------------------------------------------------


def data_sets(b):
    """The inputs as they are, then with nothing, all and some of it found."""
    sets = [dict(b.inputs)]
    for share in (0.0, 1.0, 0.4):
        feeds = {}
        for name, array in b.inputs:
            if array.dtype == np.bool_:
                feeds[name] = b.rng.random(array.shape) < share
            elif name == "x":
                feeds[name] = sparse(b.rng, array.shape, share)
            elif name == "scores":
                feeds[name] = (array * share).astype(np.float32)
            else:
                feeds[name] = array
        sets.append(feeds)
    return sets


def grow(b, made):
    """Evaluates what was made; the last node's results become values."""
    model = typed(b.model(made))
    results = []
    for feeds in b.sets:
        try:
            results.append(run(model, feeds))
        except Exception:  # an index or extent that this data set has not
            if not results:
                raise
    for name, array, *others in zip(made, *results):
        if array.ndim <= 5 and array.dtype != np.bool_:
            b.values.append(Value(name, array, others))


def make(rng):
    b = Builder(rng)
    source = b.pick(*SOURCES)(b)
    b.sets = data_sets(b)
    grow(b, source)
    used = set()
    for _ in range(int(rng.integers(1, 6))):
        v = b.values[rng.integers(len(b.values))]
        follower = b.pick(*FOLLOWERS)
        if v.rank < NEEDS_RANK.get(follower, 0):
            continue
        made = follower(b, v)
        if made:
            used.add(v.name)
            grow(b, made)
    outputs = [v.name for v in b.values if v.name not in used]
    outputs += [n for n in sorted(used) if rng.random() < 0.3]
    return typed(b.model(outputs)), b.sets


def fits_the_machine(array):
    """Its integers have 32 bits."""
    return array.dtype != np.int64 or not array.size or (
        np.abs(array).max() < 2 ** 31 and array.min() > -2 ** 31)


def write(folder, model, sets):
    """Those of the data sets that ONNX Runtime computes; False for none."""
    from onnx import numpy_helper

    number = 0
    for feeds in sets:
        try:
            wanted = run(model, feeds)
        except Exception:  # an index or extent that this data set has not
            continue
        if not all(fits_the_machine(array) for array in wanted):
            continue
        place = folder / f"test_data_set_{number}"
        place.mkdir(parents=True)
        for kind, arrays in (("input", feeds.values()), ("output", wanted)):
            for index, array in enumerate(arrays):
                data = numpy_helper.from_array(np.array(array, order="C"))
                (place / f"{kind}_{index}.pb").write_bytes(
                    data.SerializeToString())
        number += 1
    if number:
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return number != 0


def write_cases(work, count, seed):
    warnings.filterwarnings("ignore")
    for index in range(count):
        for attempt in range(20):
            rng = np.random.default_rng([seed, index, attempt])
            try:
                model, sets = make(rng)
            except Exception:  # not a model that ONNX Runtime has
                continue
            if write(work / f"{index:04}", model, sets):
                break


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    write_cases(options.work, options.count, options.seed)
    found = cases.judge(options.imbrex, [options.work], "--rtol", "1e-3",
                        "--atol", "1e-4")
    results = collections.Counter(case["result"] for case in found)
    reasons = collections.Counter()
    wrong = results["fail"]
    for case in found:
        if case["result"] == "fail":
            print(f"{case['name']}: {case['reason']}")
        if case["result"] == "refused":
            reasons[case["reason"].split(": ", 1)[-1]] += 1
            if "extent depends on the data" not in case["reason"]:
                print(f"{case['name']}: {case['reason']}")
                wrong += 1
    for reason, count in reasons.most_common(8):
        print(f"refused {count}: {reason}")
    print(f"{results['pass']} passed, {results['fail']} failed, "
          f"{results['refused']} refused")
    few = results["refused"] > MOST_REFUSED * len(found)
    return 1 if wrong or few or not results["pass"] else 0


if __name__ == "__main__":
    sys.exit(main())
