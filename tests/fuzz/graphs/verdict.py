# SPDX-License-Identifier: Apache-2.0
"""What a broken model computes that compiles nevertheless.

ONNX Runtime judges. Where an output is not what it says, the onnx package's own
reference is asked: where the two differ, the standard's text is on the side of
the reference (an empty list of axes is a list, not none; sums of squares of
fp32 overflow), or leaves open what comes out (NaN as an integer). What ONNX
Runtime does not take, our reference kernels judge.
"""

import multiprocessing

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .hostile import graphs_of, tensors_of

SECONDS = 60
# What ONNX Runtime computes otherwise than the standard, see reference.py; may
# pad by less than nothing; or draws.
NOT_JUDGED = (b"SAME_", b"Random", b"Bernoulli", b"Multinomial", b"TfIdf",
              b"StringSplit", b"TreeEnsembleClassifier")


def some(dims):
    """Numbers from 1 to 2, no two equal: as integers, all 1."""
    count = int(np.prod(dims))
    return (1 + np.arange(count) / (count + 1)).reshape(dims)


def feeds(data, arrays):
    """Inputs of the model by name: those of the valid model where they fit.
    None where an input has no shape."""
    try:
        model = onnx.load_from_string(data)
    except Exception:  # flipped bits, which we read more kindly
        return None
    known = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in known:
            continue
        if not value.type.HasField("tensor_type"):
            return None
        tensor = value.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        if any(d.dim_param for d in tensor.shape.dim) or \
                np.prod(dims, dtype=float) > 1e7 or min(dims, default=0) < 0:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        array = arrays.get(value.name)
        if array is None or list(array.shape) != dims or \
                (array.dtype == object) != (dtype == object):
            array = np.full(dims, "a") if dtype == object else some(dims)
        with np.errstate(all="ignore"):
            found[value.name] = array.astype(dtype)
    return found


def has_texts(graph):
    """Whether a constant of the graph holds texts."""
    tensors = list(graph.initializer) + [
        a.t for n in graph.node for a in n.attribute if a.HasField("t")]
    return any(t.data_type == TensorProto.STRING for t in tensors)


# Floats become integers in these, and what these decide.
ROUNDS = {"ArgMax", "ArgMin", "Cast", "CastLike", "DynamicQuantizeLinear",
          "QLinearConv", "QLinearMatMul", "QuantizeLinear", "TopK"}


def of_type(value, name):
    """ONNX Runtime hands numbers of 8 bits out as bytes."""
    if not name.startswith("tensor(float8"):
        return value
    code = getattr(TensorProto, name[len("tensor("):-1].upper())
    return value.view(helper.tensor_dtype_to_np_dtype(code))


def runtime(data, arrays):
    """The outputs by ONNX Runtime. None where it refuses, or does not judge."""
    import onnxruntime

    if any(word in data for word in NOT_JUDGED) or \
            any(a.dtype == object for a in arrays.values()) or \
            has_texts(onnx.load_from_string(data).graph):
        return None

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = \
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        data, options, providers=["CPUExecutionProvider"])
    if any(o.type.startswith("optional") or "map" in o.type
           for o in session.get_outputs()):
        return None
    found = [of_type(value, o.type) for value, o in
             zip(session.run(None, arrays), session.get_outputs())]
    return [a for value in found for a in
            (value if isinstance(value, list) else [value])]


def reference(data, arrays):
    """The outputs by the onnx package, with the types of the model."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(onnx.load_from_string(data)).run(
            None, arrays)
    return [np.asarray(a) for value in found for a in
            (value if isinstance(value, list) else [value])]


def is_open(data, want):
    """Whether an output is not for the standard to say: integers that the
    machine does not hold (docs/architecture.md), and such as NaN, infinities
    and numbers out of all bounds become."""
    is_whole = want.dtype.kind in "iub"
    if is_whole and want.dtype.itemsize == 8 and want.size and (
            want.max() >= 2 ** 31 or want.min() < -2 ** 31):
        return True
    graph = onnx.load_from_string(data).graph
    rounds = any(n.op_type in ROUNDS for g in graphs_of(graph) for n in g.node)
    return (is_whole or rounds) and has_odd_floats(graph)


def has_odd_floats(graph):
    """Whether a constant holds floats that make integers overflow."""
    for g in graphs_of(graph):
        for a in (a for n in g.node for a in n.attribute):
            if not np.all(np.abs([a.f, *a.floats]) < 1e4) or \
                    a.name.startswith("value_float") and \
                    0 in (list(a.floats) or [a.f]):
                return True
    for tensor in tensors_of(graph):
        try:
            array = numpy_helper.to_array(tensor)
        except Exception:  # what this is, ONNX Runtime knows
            return True
        if array.dtype.kind in "iubOSU":
            continue
        size = np.abs(array.astype(np.float64))
        is_scale = array.ndim <= 1  # and may be what is divided by
        if not np.all(size < 1e4) or is_scale and np.any(size == 0):
            return True
    return False


def serve(pipe):
    while True:
        try:
            way, data, arrays = pipe.recv()
        except EOFError:  # the other side has ended
            return
        try:
            pipe.send(way(data, arrays))
        except Exception:  # each reason has a type of its own
            pipe.send(None)


class Others:
    """The two in a process of their own, which a broken model may end."""

    def __init__(self):
        self.process = None

    def ask(self, way, data, arrays):
        if self.process is None:
            # Not a fork: ONNX Runtime has threads.
            start = multiprocessing.get_context("spawn")
            self.pipe, other = start.Pipe()
            self.process = start.Process(
                target=serve, args=(other,), daemon=True)
            self.process.start()
            other.close()
        try:
            self.pipe.send((way, data, arrays))
            if not self.pipe.poll(SECONDS):
                raise EOFError
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.kill()
            self.process.join()
            self.process = None
            return None
