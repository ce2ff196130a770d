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
from onnx import helper, numpy_helper

from . import build, plain
from .build import CHAINS, DTYPES, FLOATS, INTS, NAME_OF, SMALL_FLOATS, \
    SMALL_INTS, Sequence, Unfit, arrays_of, over, type_of

onnxruntime.set_default_logger_severity(4)

# Relative noise of an operand and of a result.
NOISE = {"f32": 2e-6, "f64": 2e-6, "f16": 1.2e-3, "bf16": 8e-3}
ABSOLUTE = 0.02  # of that, of the largest element
# In these something of the size of the largest operand, or of 1, cancels. Of two
# elements, a norm makes 1 and -1 whatever noise they have: that of the variance,
# the difference of large squares in some, is seen only where the bias cancels.
CANCELS = {"DFT": 0.5, "STFT": 0.5, "BlackmanWindow": 0.5, "HannWindow": 0.5,
           "Gradient": 0.1, "DynamicQuantizeLSTM": 1} | dict.fromkeys("""
EmbedLayerNormalization GroupNorm GroupNormalization InstanceNormalization
LayerNormalization MeanVarianceNormalization QEmbedLayerNormalization
SkipGroupNorm SkipLayerNormalization
""".split(), 1) | dict.fromkeys("""
BiasGelu BiasSplitGelu Celu Elu FastGelu FusedConv FusedGemm GRU Gelu LSTM LinearAttentionGate
Log LogSoftmax Mish QuickGelu RNN ReduceLogSum ReduceLogSumExp Selu Sigmoid
SoftmaxCrossEntropyLoss Softplus Swish
""".split(), 0)
# Numbers in the middle between two integers fall to either side, and change all
# steps that follow; scores are rounded before they are raised to powers. Units
# of NOISE of the result.
ROUGH = {"DynamicQuantizeLSTM": {"f32": 1000}} | dict.fromkeys(
    ["Attention", "GroupQueryAttention", "MultiHeadAttention"],
    {"f16": 4, "bf16": 4})
# These have jumps: an operand on one of them is not taken.
JUMPS = {"Ceil", "Floor", "Round", "Sign", "Hardmax", "Shrink",
         "ThresholdedRelu", "Mod", "DynamicQuantizeMatMul"}
# Floats move, are compared or change in the sign: nothing is rounded, or there
# is one way to round.
EXACT = set("""
Abs And ArgMax ArgMin ArrayFeatureExtractor Bernoulli Binarizer BitCast BitShift
BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike CastMap Ceil
CenterCropPad Clip Concat ConcatFromSequence Constant ConstantOfShape
DepthToSpace DictVectorizer Equal Expand EyeLike FeatureVectorizer Flatten Floor
Gather GatherElements GatherND GlobalMaxPool Greater GreaterOrEqual Hardmax
Identity If Imputer IsInf IsNaN LabelEncoder Less LessOrEqual Max MaxPool
MaxUnpool Min Multinomial Neg NonMaxSuppression Not OneHot OneHotEncoder
Optional OptionalGetElement OptionalHasElement Or Pad RandomNormal
RandomNormalLike RandomUniform RandomUniformLike ReduceMax ReduceMin Relu
Reshape ReverseSequence Round Scatter SequenceAt SequenceConstruct SequenceEmpty
SequenceErase SequenceInsert SequenceLength Shape Sign Size Slice SpaceToDepth
Split SplitToSequence Squeeze TensorScatter Tile TopK Transpose Trilu Unsqueeze
Where Xor ZipMap
""".split())
# The operand without noise, the scale of the result: with it, numbers that are
# in the middle of two steps in every implementation would not be any more. That
# of the other scales goes to one side, as it could cancel.
STILL = {"QLinearAdd": 6, "QLinearMul": 6, "QLinearSigmoid": 3,
         "QLinearLeakyRelu": 3, "QLinearReduceMean": 3, "QLinearSoftmax": 3,
         "QLinearAveragePool": 3, "QLinearGlobalAveragePool": 3,
         "QLinearConcat": 0, "QLinearWhere": 7, "QLinearConv": 6,
         "QLinearMatMul": 6, "QGemm": 7}
WIDER = {"f16": "f32", "bf16": "f32", "f8e4m3fn": "f32", "f8e5m2": "f32",
         "i8": "i32", "u8": "i32", "i16": "i32", "u16": "i32", "i32": "i64",
         "u32": "i64", "u64": "i64", "f64": "f32", "bool": "i32"}
LARGEST = {"f32": 1e12, "f64": 1e12, "f16": 6e4, "bf16": 1e12,
           "f8e4m3fn": 448, "f8e5m2": 57344, "f8e4m3fnuz": 240,
           "f8e5m2fnuz": 57344, "f8e8m0": 1e12, "f6e2m3fn": 7.5,
           "f6e3m2fn": 28, "f4e2m1fn": 6}
# Integers overflow in these, which the standard leaves open.
SUMS = set("""
Abs Add CumProd CumSum Einsum Gemm MatMul Mul Neg Pow ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd ReduceSum ReduceSumSquare
Sub Sum Mean
""".split())


def hidden(dtype):
    """Types that NumPy hands to ONNX Runtime as f32."""
    return NAME_OF[dtype] == "bf16" or NAME_OF[dtype] in SMALL_FLOATS or \
        NAME_OF[dtype] in SMALL_INTS


def is_hidden(thing):
    return isinstance(thing, np.ndarray) and hidden(thing.dtype)


def node_model(proto, arrays, types, opset):
    """A model of one node. Inputs and outputs of hidden types are f32."""
    nodes, inputs, outputs = [], [], []
    for name, array in arrays.items():
        kind = type_of(array)
        if is_hidden(array):
            nodes.append(helper.make_node("Cast", [f"{name}_wide"], [name],
                                          to=kind.tensor_type.elem_type))
            name = f"{name}_wide"
            kind.tensor_type.elem_type = onnx.TensorProto.FLOAT
        inputs.append(helper.make_value_info(name, kind))
    nodes.append(proto)
    for name in proto.output:
        if not name:
            continue
        kind = types[name]
        if isinstance(kind, np.dtype):
            if hidden(kind):
                nodes.append(helper.make_node("Cast", [name], [f"{name}_wide"],
                                              to=onnx.TensorProto.FLOAT))
                name, kind = f"{name}_wide", np.dtype(np.float32)
            kind = helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(kind), None)
        outputs.append(onnx.ValueInfoProto(name=name, type=kind))
    return build.make_model(helper.make_graph(nodes, "node", inputs, outputs),
                            opset)


def feed(arrays):
    return {f"{n}_wide" if is_hidden(a) else n:
            a.astype(np.float32) if is_hidden(a) else a
            for n, a in arrays.items()}


def typed(found, kind):
    """What was computed, of the type that was inferred, if one was."""
    if kind is None or isinstance(kind, np.dtype):
        array = np.asarray(found)
        return array if kind is None else array.astype(kind, copy=False)
    if not kind.HasField("sequence_type") or not isinstance(found, list):
        raise Unfit("no tensor or sequence")
    dtype = helper.tensor_dtype_to_np_dtype(
        kind.sequence_type.elem_type.tensor_type.elem_type)
    return Sequence(dtype, [np.asarray(a).astype(dtype, copy=False)
                            for a in found])


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
        return [typed(a, t) for a, t in zip(found, self.types)]


class Widened:
    """The same with operands of wider types."""

    def __init__(self, proto, arrays, types, opset):
        self.types = [types[n] for n in proto.output if n]
        # Models of ai.onnx.ml compute with fp32, whatever comes in.
        self.wider = dict.fromkeys(WIDER | {"i64": ""}, "f32") \
            if proto.domain == "ai.onnx.ml" else WIDER
        if proto.domain == "com.microsoft":  # integers have one meaning there
            self.wider = {k: w for k, w in WIDER.items() if k in FLOATS}
        wide = self.widen(arrays)
        if wide is None:
            raise Unfit
        if proto.domain == "ai.onnx.ml":
            proto = wide_attributes(proto)
        inferred = infer(proto, wide, opset) or {
            n: self.wide_type(t) for n, t in types.items()}
        self.inner = Runtime(proto, wide, inferred, opset)

    def wide_type(self, dtype):
        name = NAME_OF[dtype]
        return DTYPES[self.wider.get(name, name)]

    def widen(self, arrays):
        if not all(isinstance(a, np.ndarray) for a in arrays.values()):
            return None
        names = {NAME_OF[a.dtype] for a in arrays.values()}
        if not names & set(self.wider) - {"bool"}:
            return None
        return {n: a.astype(DTYPES[self.wider[NAME_OF[a.dtype]]])
                if NAME_OF[a.dtype] in self.wider and a.dtype != bool
                else a for n, a in arrays.items()}

    def run(self, arrays):
        with np.errstate(all="ignore"):
            return [a.astype(t) for a, t in
                    zip(self.inner.run(self.widen(arrays)), self.types)]


def wide_attributes(proto):
    wide = onnx.NodeProto()
    wide.CopyFrom(proto)
    for attribute in wide.attribute:
        array = numpy_helper.to_array(attribute.t) \
            if attribute.HasField("t") else np.zeros(0)
        if array.dtype in (np.float16, DTYPES["bf16"]):
            attribute.t.CopyFrom(numpy_helper.from_array(
                array.astype(np.float32)))
    return wide


class Evaluator:
    """The onnx package's own reference."""

    def __init__(self, proto, arrays, types, opset):
        from onnx.reference import ReferenceEvaluator

        self.types = [types[n] for n in proto.output if n]
        outputs = [onnx.ValueInfoProto(name=n) for n in proto.output if n]
        self.run_model = ReferenceEvaluator(build.make_model(
            helper.make_graph([proto], "node", infos(arrays), outputs), opset))

    def run(self, arrays):
        with np.errstate(all="ignore"):
            found = self.run_model.run(None, arrays)
        for array, kind in zip(found, self.types):
            dtype = np.asarray(array).dtype
            # NumPy makes f64 of much that the operator does not.
            if isinstance(kind, np.dtype) and dtype not in (kind, np.float64) \
                    and kind != object:
                raise Unfit
        return [typed(a, t) for a, t in zip(found, self.types)]


class Agreed:
    """What ONNX Runtime and the onnx package agree on."""

    def __init__(self, proto, arrays, types, opset):
        kind = Widened if arrays[proto.input[0]].dtype == np.float16 else \
            Runtime
        self.ways = [k(proto, arrays, types, opset) for k in (kind, Evaluator)]

    def run(self, arrays):
        one, other = (way.run(arrays) for way in self.ways)
        if not all(np.allclose(a, b, 0.01, 0.01) for a, b in zip(one, other)):
            raise Unfit("no agreement")
        return one


def infos(arrays):
    return [helper.make_value_info(n, type_of(a)) for n, a in arrays.items()]


def infer(proto, arrays, opset):
    """Types of the results by name: of tensors as dtypes."""
    outputs = [onnx.ValueInfoProto(name=n) for n in proto.output if n]
    model = build.make_model(
        helper.make_graph([proto], "node", infos(arrays), outputs), opset)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {}
    for value in list(graph.output) + list(graph.value_info):
        if value.type.tensor_type.elem_type:
            types[value.name] = np.dtype(helper.tensor_dtype_to_np_dtype(
                value.type.tensor_type.elem_type))
        elif value.type.HasField("sequence_type"):
            types[value.name] = value.type
    return types


def is_contrib(node):
    return node.domain == "com.microsoft" or \
        node.op == "SimplifiedLayerNormalization"


def saturates(node):
    """Whether ONNX Runtime adds pairs of products of bytes of which one has a
    sign in 16 bits: its documentation says so of machines without VNNI."""
    return node.op in ("ConvInteger", "MatMulInteger") and \
        {"i8", "u8"} <= {v.dtype for v in node.operands()}


def the_type(node, index, opset):
    """Of an output that has one type by its schema, else None."""
    try:
        schema = onnx.defs.get_schema(
            node.op, build.version_of(node.domain, opset), node.domain)
    except onnx.defs.SchemaError as error:  # not yet
        raise Unfit(f"{node.op}: no schema") from error
    found = schema.outputs[min(index, len(schema.outputs) - 1)].types
    return DTYPES["f32"] if found == {"tensor(float)"} else None


def ways_of(node):
    if saturates(node):
        return Widened, Evaluator
    # Where trees vote for each of two classes, ONNX Runtime gives labels that
    # the model does not have.
    if node.op == "TreeEnsembleClassifier" and \
            len(set(node.attrs["class_ids"])) == 2:
        return (Evaluator,)
    # Both go astray among nodes with sets of members, but not together.
    if "membership_values" in node.attrs:
        return (Agreed,)
    # It leaves texts out where it moves them in blocks, finds no part in an
    # empty one, and takes weights by the column of an n-gram. But the onnx
    # package takes an end of Shape before the first dimension for one from the
    # last.
    if node.domain == "" and node.op not in ("StringNormalizer", "Shape") and \
            any(v.dtype == "text" for v in node.operands()) or \
            node.op == "TfIdfVectorizer":
        return (Evaluator,) + (Runtime,) * (node.op != "StringSplit")
    # Its Bernoulli gives 1 with probability 1 - p, as the operator's function.
    if node.op == "Bernoulli":
        return (Evaluator,)
    # It rounds floats to the nearest of these, and cuts them off for others.
    to = node.inputs[1].array.dtype if node.op == "CastLike" else \
        helper.tensor_dtype_to_np_dtype(node.attrs.get("to", 1))
    if node.op in ("Cast", "CastLike") and NAME_OF[to] in SMALL_INTS:
        return (Evaluator,)
    return Runtime, Widened, Evaluator


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
        return {n: types.get(n, first if is_contrib(node) else
                             the_type(node, i, opset))
                for i, n in enumerate(names)}

    def start(self, graph, node, proto, arrays):
        if node.way is not None:
            return node.way, node.way.run(arrays)
        if node.op in plain.OPERATORS:
            way = plain.Plain(node)
            return way, way.run(arrays)
        if node.op == "Gradient":
            way = plain.Gradient(graph, node)
            return way, way.run(arrays)
        types = self.types(node, proto, arrays, graph.opset)
        for kind in ways_of(node):
            if kind is Runtime and any(a.dtype == DTYPES["bf16"]
                                       for t in arrays.values()
                                       for a in arrays_of(t)) and \
                    node.op not in EXACT:
                continue
            if kind is not Runtime and node.op in ("If", "Loop", "Scan"):
                continue
            try:
                way = kind(proto, arrays, types, graph.opset)
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
        way, found = self.start(graph, node, proto, arrays)
        check_size(found)
        if node.op in SUMS and found[0].dtype.kind in "iu":
            self.check_overflow(node, proto, arrays, found, graph.opset)
        # The second chain goes where the first does not: nothing that turns on
        # a single sign is missed.
        seed = int(graph.rng.integers(2 ** 62))
        chains = [self.noisy(Noise(seed + k * (k > 1), -1 if k == 1 else 1),
                             node, way, arrays, found, k)
                  for k in range(CHAINS)]
        check_steady(found, chains, graph.infinite, node.op in JUMPS)
        return self.spread(names, found), [self.spread(names, c)
                                           for c in chains]

    @staticmethod
    def spread(names, arrays):
        rest = iter(arrays)
        return [next(rest) if n else None for n in names]

    @staticmethod
    def noisy(noise, node, way, arrays, found, chain):
        exact = node.op in EXACT
        fed = {v.name: v.noisy[chain] for v in node.operands()}
        at = STILL.get(node.op, len(node.inputs))
        still = node.inputs[at].name if at < len(node.inputs) else None
        noise.alike = node.op in STILL
        if not exact:
            fed = {n: t if n == still else over(lambda a: put_off(noise, a), t)
                   for n, t in fed.items()}
        same = all(fed[n] is arrays[n] for n in fed)
        try:
            made = found if same else way.run(fed)
        except Exception as error:
            raise Unfit("does not bear noise") from error
        noise.alike = False
        return made if exact else [
            over(lambda a: put_off(noise, a, node.op), t) for t in made]

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


class Noise:
    def __init__(self, seed, side):
        self.rng, self.side = np.random.default_rng(seed), side
        self.alike = False  # all numbers are put off to the same side

    def signs(self, shape):
        if self.alike:
            return float(self.side)
        return self.side * (self.rng.integers(0, 2, shape) * 2.0 - 1)


def put_off(noise, array, op=None):
    name = NAME_OF[array.dtype]
    scale = NOISE.get(name, 0) * ROUGH.get(op, {}).get(name, 1)
    if scale == 0 or array.size == 0:
        return array
    sign = noise.signs(array.shape)
    wide = array.astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.abs(wide[np.isfinite(wide)]).max(initial=0)
        share = ABSOLUTE
        if op in CANCELS:
            share, largest = max(CANCELS[op], ABSOLUTE), max(largest, 1)
        off = wide * (1 + scale * sign) + sign * share * scale * largest
        return np.asarray(off).astype(array.dtype)  # also of rank 0


def flat(things):
    return [a for t in things for a in arrays_of(t)]


def check_size(found):
    for array in flat(found):
        if array.size > 5 * build.MOST_ELEMENTS or array.ndim > 6:
            raise Unfit("large")


def check_steady(found, chains, infinite, jumps):
    """No result turns on the noise, or leaves what its type holds well."""
    chains = [flat(c) for c in chains]
    for at, array in enumerate(flat(found)):
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
        if name not in FLOATS + SMALL_FLOATS:
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
                most = min(8 * NOISE.get(name, 0), 0.3 / max(scale, 1))
            if np.abs(wide[finite] - other[finite]).max(initial=0) > \
                    most * scale:
                raise Unfit("unsteady")
