# SPDX-License-Identifier: Apache-2.0
"""Operators that only move whole tensors, and Gradient, computed here: neither
ONNX Runtime nor the onnx package has all of them, or has them right."""

import math

import numpy as np
from onnx import ValueInfoProto, helper, numpy_helper

from .build import Maps, Maybe, Sequence, Unfit, make_model


def position(at, count):
    return int(at) + (count if at < 0 else 0)


def insert(sequence, tensor, at=None):
    items = list(sequence)
    items.insert(len(items) if at is None else position(at, len(items)),
                 tensor)
    return Sequence(sequence.dtype, items)


def erase(sequence, at=-1):
    items = list(sequence)
    del items[position(at, len(items))]
    return Sequence(sequence.dtype, items)


def join(sequence, axis, new_axis=0):
    return (np.stack if new_axis else np.concatenate)(list(sequence), axis=axis)


def optional(item=None, type=None):
    if item is not None:
        return Maybe(item, item)
    element = type.sequence_type.elem_type if type.HasField("sequence_type") \
        else type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(
        element.tensor_type.elem_type))
    return Maybe(None, np.zeros(0, dtype) if element is type
                 else Sequence(dtype))


def get_element(x):
    return x.item if isinstance(x, Maybe) else x


def has_element(x=None):
    return np.array(x is not None and get_element(x) is not None)


def zip_map(x, classlabels_strings=None, classlabels_int64s=None):
    return Maps(x.reshape(-1, x.shape[-1]), 8 if classlabels_strings else 7)


OPERATORS = {
    "SequenceConstruct": lambda *items: Sequence(items[0].dtype, items),
    "SequenceEmpty": lambda dtype=1: Sequence(
        helper.tensor_dtype_to_np_dtype(dtype)),
    "SequenceLength": lambda sequence: np.array(len(sequence), np.int64),
    "SequenceAt": lambda sequence, at: sequence[position(at, len(sequence))],
    "SequenceInsert": insert, "SequenceErase": erase,
    "ConcatFromSequence": join, "Optional": optional,
    "DictVectorizer": lambda x, int64_vocabulary: x.scores,
    "CastMap": lambda x, cast_to, map_form, max_map: x.scores.astype(
        np.int64 if cast_to == "TO_INT64" else np.float32),
    "ZipMap": zip_map, "OptionalGetElement": get_element,
    "OptionalHasElement": has_element,
}


class Plain:
    def __init__(self, node):
        self.names = [v and v.name for v in node.inputs]
        self.function, self.attrs = OPERATORS[node.op], node.attrs

    def run(self, arrays):
        return [self.function(*[n and arrays[n] for n in self.names],
                              **self.attrs)]


# --- Gradient ----------------------------------------------------------------

STEP = 1e-5  # of a central difference, in f64


class Gradient:
    """Differences of the sum of y, by the onnx package's reference."""

    def __init__(self, graph, node):
        from onnx.reference import ReferenceEvaluator
        from onnx.reference.op_run import OpRun

        class Erf(OpRun):
            """The package's own gives f32, whatever it gets."""

            def _run(self, x):
                return (np.vectorize(math.erf, otypes=[np.float64])(x),)

        class Gelu(OpRun):
            def _run(self, x, approximate="none"):
                cube = math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)
                below = np.tanh(cube) if approximate == "tanh" else \
                    Erf._run(self, x / math.sqrt(2))[0]
                return (x * (1 + below) / 2,)

        self.xs, y = node.inputs, node.captured[0]
        nodes, needed = [], {y}
        for n in reversed(graph.nodes):
            if needed & set(n.outputs) - set(self.xs):
                nodes.insert(0, n.proto())
                needed.update(n.operands())
        made = {name for n in nodes for name in n.output}
        rest = [v for v in needed if v.name not in made and v not in self.xs]
        self.evaluator = ReferenceEvaluator(make_model(helper.make_graph(
            nodes, "chain", [ValueInfoProto(name=v.name) for v in self.xs],
            [ValueInfoProto(name=y.name)],
            [numpy_helper.from_array(wide(v.array), v.name) for v in rest]),
            graph.opset), new_ops=[Erf, Gelu])

    def sum(self, arrays):
        try:
            return self.evaluator.run(None, arrays)[0].sum()
        except Exception as error:  # it has some for numbers of rank 0
            raise Unfit("no reference") from error

    def run(self, arrays):
        arrays = {v.name: wide(arrays[v.name]) for v in self.xs}
        middle = self.sum(arrays)
        return [self.slopes(arrays, v.name, middle) for v in self.xs]

    def slopes(self, arrays, name, middle):
        found = np.zeros(arrays[name].shape)
        for at in np.ndindex(found.shape):
            sides = []
            for sign in (1, -1):
                moved = arrays[name].copy()
                moved[at] += sign * STEP
                sides.append(sign * (self.sum({**arrays, name: moved}) -
                                     middle) / STEP)
            if abs(sides[0] - sides[1]) > 0.01:
                raise Unfit("at a corner")
            found[at] = (sides[0] + sides[1]) / 2
        return found.astype(np.float32)


def wide(array):
    return array.astype(np.float64) if array.dtype == np.float32 else array
