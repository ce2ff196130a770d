# SPDX-License-Identifier: Apache-2.0
"""What a node computes, by others: ONNX Runtime, with wider types where it has
no kernel for the type, else the onnx package, else our reference kernels.

Noise stands for all that may differ between right implementations: order of
sums, approximations, where something is rounded. An inexact node gets operands
that are off by some units in the last place, and its result is put off again.
"""

import collections

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from . import build
from .build import CHAINS, DTYPES, FLOAT8, FLOATS, INTS, NAME_OF, Unfit

onnxruntime.set_default_logger_severity(4)

# Relative noise of an operand and of a result.
NOISE = {"f32": 2e-6, "f64": 2e-6, "f16": 1.2e-3, "bf16": 8e-3,
         "f8e4m3fn": 0, "f8e5m2": 0}
ABSOLUTE = 0.02  # of that, of the largest element
# In these something of the size of the largest operand, or of 1, cancels.
CANCELS = {"DFT": 0.5, "STFT": 0.5, "Elu": 0, "Selu": 0, "Celu": 0, "Gelu": 0,
           "BiasGelu": 0, "FastGelu": 0, "Mish": 0, "Log": 0, "LogSoftmax": 0,
           "ReduceLogSum": 0, "ReduceLogSumExp": 0, "Softplus": 0,
           "SoftmaxCrossEntropyLoss": 0, "Sigmoid": 0, "Swish": 0,
           "QuickGelu": 0}
# These have jumps: an operand on one of them is not taken.
JUMPS = {"Ceil", "Floor", "Round", "Sign", "Hardmax", "Shrink",
         "ThresholdedRelu", "Mod"}
# Floats move, are compared or change in the sign: nothing is rounded, or there
# is one way to round.
EXACT = set("""
Abs ArrayFeatureExtractor And ArgMax ArgMin Binarizer BitCast BitShift
BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil CenterCropPad
Clip Concat Constant ConstantOfShape DepthToSpace Equal Expand EyeLike Flatten
Floor Gather GatherElements GatherND Greater GreaterOrEqual GlobalMaxPool
Hardmax Identity If IsInf IsNaN Less LessOrEqual Max MaxPool MaxUnpool Min Neg
Not OneHot Or Pad ReduceMax ReduceMin Relu Reshape ReverseSequence Round
Scatter Shape Sign Size Slice SpaceToDepth Split Squeeze TensorScatter Tile
TopK Transpose Trilu Unsqueeze Where Xor
""".split())
WIDER = {"f16": "f32", "bf16": "f32", "f8e4m3fn": "f32", "f8e5m2": "f32",
         "i8": "i32", "u8": "i32", "i16": "i32", "u16": "i32", "i32": "i64",
         "u32": "i64", "u64": "i64", "f64": "f32", "bool": "i32"}
LARGEST = {"f32": 1e12, "f64": 1e12, "f16": 6e4, "bf16": 1e12,
           "f8e4m3fn": 448, "f8e5m2": 57344}
# Integers overflow in these, which the standard leaves open.
SUMS = set("""
Abs Add CumProd CumSum Einsum Gemm MatMul Mul Neg Pow ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare
Sub Sum Mean
""".split())


def type_of(dtype, shape):
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype),
                                         shape)


def hidden(dtype):
    """Types that NumPy hands to ONNX Runtime as f32."""
    return NAME_OF[dtype] == "bf16" or NAME_OF[dtype] in FLOAT8


def node_model(proto, arrays, types, opset):
    """A model of one node. Inputs and outputs of hidden types are f32."""
    nodes, inputs, outputs = [], [], []
    for name, array in arrays.items():
        dtype = array.dtype
        if hidden(dtype):
            nodes.append(helper.make_node(
                "Cast", [f"{name}_wide"], [name],
                to=helper.np_dtype_to_tensor_dtype(dtype)))
            name, dtype = f"{name}_wide", np.dtype(np.float32)
        inputs.append(helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(dtype), array.shape))
    nodes.append(proto)
    for name in proto.output:
        if not name:
            continue
        dtype = types[name]
        if hidden(dtype):
            nodes.append(helper.make_node("Cast", [name], [f"{name}_wide"],
                                          to=onnx.TensorProto.FLOAT))
            name, dtype = f"{name}_wide", np.dtype(np.float32)
        outputs.append(helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(dtype), None))
    return build.make_model(helper.make_graph(nodes, "node", inputs, outputs),
                            opset)


def feed(arrays):
    return {f"{n}_wide" if hidden(a.dtype) else n:
            a.astype(np.float32) if hidden(a.dtype) else a
            for n, a in arrays.items()}


class Runtime:
    """A node in ONNX Runtime."""

    def __init__(self, proto, arrays, types, opset):
        self.types = [types[n] for n in proto.output if n]
        model = node_model(proto, arrays, types, opset)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = \
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options,
            providers=["CPUExecutionProvider"])

    def run(self, arrays):
        found = self.session.run(None, feed(arrays))
        return [np.asarray(a).astype(t, copy=False)
                for a, t in zip(found, self.types)]


class Widened:
    """The same with operands of wider types."""

    def __init__(self, proto, arrays, types, opset):
        self.types = [types[n] for n in proto.output if n]
        wide = self.widen(arrays)
        if wide is None:
            raise Unfit
        inferred = infer(proto, wide, opset)
        self.inner = Runtime(proto, wide, inferred, opset)

    @staticmethod
    def widen(arrays):
        names = {NAME_OF[a.dtype] for a in arrays.values()}
        if not names - {"i64", "bool"}:
            return None
        return {n: a.astype(DTYPES[WIDER[NAME_OF[a.dtype]]])
                if NAME_OF[a.dtype] in WIDER and NAME_OF[a.dtype] != "bool"
                else a for n, a in arrays.items()}

    def run(self, arrays):
        with np.errstate(all="ignore"):
            return [a.astype(t) for a, t in
                    zip(self.inner.run(self.widen(arrays)), self.types)]


class Evaluator:
    """The onnx package's own reference."""

    def __init__(self, proto, arrays, types, opset):
        from onnx.reference import ReferenceEvaluator

        self.types = [types[n] for n in proto.output if n]
        inputs = [helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in arrays.items()]
        outputs = [onnx.ValueInfoProto(name=n) for n in proto.output if n]
        self.run_model = ReferenceEvaluator(build.make_model(
            helper.make_graph([proto], "node", inputs, outputs), opset))

    def run(self, arrays):
        with np.errstate(all="ignore"):
            found = self.run_model.run(None, arrays)
        for array, dtype in zip(found, self.types):
            if np.asarray(array).dtype != dtype:
                raise Unfit
        return [np.asarray(a) for a in found]


def infer(proto, arrays, opset):
    """Types of the results by name."""
    inputs = [helper.make_tensor_value_info(
        n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in arrays.items()]
    outputs = [onnx.ValueInfoProto(name=n) for n in proto.output if n]
    model = build.make_model(
        helper.make_graph([proto], "node", inputs, outputs), opset)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {}
    for value in list(graph.output) + list(graph.value_info):
        if value.type.tensor_type.elem_type:
            types[value.name] = np.dtype(helper.tensor_dtype_to_np_dtype(
                value.type.tensor_type.elem_type))
    return types


def is_contrib(node):
    return node.domain == "com.microsoft" or \
        node.op == "SimplifiedLayerNormalization"


def saturates(op, arrays):
    """Whether ONNX Runtime adds pairs of products of bytes of which one has a
    sign in 16 bits: its documentation says so of machines without VNNI."""
    kinds = {a.dtype for a in arrays.values()}
    return op in ("ConvInteger", "MatMulInteger") and \
        {np.dtype(np.int8), np.dtype(np.uint8)} <= kinds


class Judge:
    def __init__(self):
        self.counts = collections.Counter()

    # Results of contrib operators have the type of the first operand.
    def types(self, node, proto, arrays, opset):
        names = [n for n in proto.output if n]
        try:
            types = infer(proto, arrays, opset)
        except Exception as error:
            if not is_contrib(node):
                raise Unfit(f"{node.op}: {error}") from error
            types = {}
        first = next(iter(arrays.values())).dtype if arrays else None
        if is_contrib(node):
            types = {n: types.get(n, first) for n in names}
        if any(n not in types for n in names):
            raise Unfit(f"{node.op}: no type")
        return types

    def start(self, node, proto, arrays, opset):
        types = self.types(node, proto, arrays, opset)
        for kind in (Runtime, Widened, Evaluator):
            if kind is Runtime and any(NAME_OF[a.dtype] == "bf16"
                                       for a in arrays.values()) and \
                    node.op not in EXACT:
                continue
            if kind is not Runtime and node.op in ("If", "Loop", "Scan"):
                continue
            if kind is Runtime and saturates(node.op, arrays):
                continue
            try:
                way = kind(proto, arrays, types, opset)
                found = way.run(arrays)
            except Exception:
                continue
            self.counts[kind.__name__] += 1
            return way, found
        self.counts[f"none for {node.op}"] += 1
        raise Unfit(f"{node.op}: nobody computes it")

    def run(self, graph, node, names):
        node.outputs = [build.Value(n, None, [], "node") if n else None
                        for n in names]
        proto = node.proto()
        node.outputs = []
        arrays = {v.name: v.array for v in node.operands()}
        way, found = self.start(node, proto, arrays, graph.opset)
        check_size(found)
        if node.op in SUMS and found[0].dtype.kind in "iu":
            self.check_overflow(node, proto, arrays, found, graph.opset)
        chains = []
        for k in range(CHAINS):
            chains.append(self.noisy(graph, node, way, arrays, found, k))
        check_steady(found, chains, graph.infinite, node.op in JUMPS)
        return self.spread(names, found), [self.spread(names, c)
                                           for c in chains]

    @staticmethod
    def spread(names, arrays):
        rest = iter(arrays)
        return [next(rest) if n else None for n in names]

    @staticmethod
    def noisy(graph, node, way, arrays, found, chain):
        exact = node.op in EXACT
        fed = {v.name: v.noisy[chain] for v in node.operands()}
        if not exact:
            fed = {n: put_off(graph.rng, a) for n, a in fed.items()}
        same = all(fed[n] is arrays[n] for n in fed)
        try:
            made = found if same else way.run(fed)
        except Exception as error:
            raise Unfit("does not bear noise") from error
        return made if exact else [put_off(graph.rng, a, node.op)
                                   for a in made]

    def check_overflow(self, node, proto, arrays, found, opset):
        """The same in f64 must give the same integers."""
        wide = {n: a.astype(np.float64) if a.dtype.kind in "iu" else a
                for n, a in arrays.items()}
        if node.op in ("CumSum", "CumProd") or node.op.startswith("Reduce"):
            first = node.inputs[0].name
            wide = {n: a if n != first else wide[n] for n, a in arrays.items()}
        try:
            types = infer(proto, wide, opset)
            floats = Runtime(proto, wide, types, opset).run(wide)[0]
            same = np.array_equal(np.trunc(floats),
                                  found[0].astype(np.float64))
        except Exception:
            limits = np.iinfo(found[0].dtype)
            same = bool(np.all(np.abs(found[0].astype(np.float64))
                               < limits.max / 64))
        if not same:
            raise Unfit("overflow")


def put_off(rng, array, op=None):
    scale = NOISE.get(NAME_OF[array.dtype], 0)
    if scale == 0 or array.size == 0:
        return array
    sign = rng.integers(0, 2, array.shape) * 2.0 - 1
    wide = array.astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.abs(wide[np.isfinite(wide)]).max(initial=0)
        share = ABSOLUTE
        if op in CANCELS:
            share, largest = max(CANCELS[op], ABSOLUTE), max(largest, 1)
        return (wide * (1 + scale * sign) + sign * share * scale * largest) \
            .astype(array.dtype)


def check_size(found):
    for array in found:
        if array.size > 5 * build.MOST_ELEMENTS or array.ndim > 6:
            raise Unfit("large")


def check_steady(found, chains, infinite, jumps):
    """No result turns on the noise, or leaves what its type holds well."""
    for at, array in enumerate(found):
        name = NAME_OF.get(array.dtype)
        if name is None:
            raise Unfit(f"type {array.dtype}")
        # The machine's integers have 32 bits.
        most = {"i64": 2 ** 31, "u64": 2 ** 32}.get(name)
        if most and array.size and (array.max() >= most or
                                    array.min() < -most):
            raise Unfit("64 bits")
        if any(array.shape != c[at].shape for c in chains):
            raise Unfit("turns on noise")
        if name not in FLOATS + FLOAT8:
            if any(not np.array_equal(array, c[at]) for c in chains):
                raise Unfit("turns on noise")
            continue
        wide = array.astype(np.float64)
        finite = np.isfinite(wide)
        if not infinite and not finite.all():
            raise Unfit("infinite")
        if np.abs(wide[finite]).max(initial=0) > LARGEST[name]:
            raise Unfit("large numbers")
        scale = np.abs(wide[finite]).max(initial=0)
        for chain in chains:
            other = chain[at].astype(np.float64)
            odd = ~np.isfinite(other)
            if not np.array_equal(~finite, odd) or \
                    not np.array_equal(wide[odd], other[odd], equal_nan=True):
                raise Unfit("turns infinite")
            most = 0.02 if name in ("f32", "f64") else 0.2
            if jumps:
                most = min(8 * NOISE[name], 0.3 / max(scale, 1))
            if np.abs(wide[finite] - other[finite]).max(initial=0) > \
                    most * scale:
                raise Unfit("unsteady")
