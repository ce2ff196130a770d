# SPDX-License-Identifier: Apache-2.0
"""A random graph while it grows: values with their numbers, nodes, a model.

Every value is known as it is made, from reference.py: rules can so ask for
operands with what they need, and the outputs are known at the end. Beside the
exact numbers go some with noise, see `noise` below: a node whose result would
turn on the last bit of an operand is not taken.
"""

import dataclasses

import numpy as np
import onnx
from onnx import helper, numpy_helper

NAMES = {"f32": "FLOAT", "bf16": "BFLOAT16", "f16": "FLOAT16", "f64": "DOUBLE",
         "f8e4m3fn": "FLOAT8E4M3FN", "f8e5m2": "FLOAT8E5M2",
         "f8e4m3fnuz": "FLOAT8E4M3FNUZ", "f8e5m2fnuz": "FLOAT8E5M2FNUZ",
         "f8e8m0": "FLOAT8E8M0", "f6e2m3fn": "FLOAT6E2M3",
         "f6e3m2fn": "FLOAT6E3M2", "f4e2m1fn": "FLOAT4E2M1",
         "i2": "INT2", "u2": "UINT2", "i4": "INT4", "u4": "UINT4", "i8": "INT8",
         "u8": "UINT8", "i16": "INT16", "u16": "UINT16", "i32": "INT32",
         "u32": "UINT32", "i64": "INT64", "u64": "UINT64", "bool": "BOOL",
         "text": "STRING"}
DTYPES = {name: np.dtype(helper.tensor_dtype_to_np_dtype(
    onnx.TensorProto.DataType.Value(proto))) for name, proto in NAMES.items()}
NAME_OF = {dtype: name for name, dtype in DTYPES.items()}
FLOATS = ("f32", "bf16", "f16", "f64")
SMALL_FLOATS = ("f8e4m3fn", "f8e5m2", "f8e4m3fnuz", "f8e5m2fnuz", "f8e8m0",
                "f6e2m3fn", "f6e3m2fn", "f4e2m1fn")
# What fits in all of a type, whatever rounds or wraps.
SMALL_INTS = {"i2": (-2, 1), "u2": (0, 3), "i4": (-8, 7), "u4": (0, 15)}
INTS = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
CHAINS = 3  # of noise
WORDS = ["a", "abc", "Abc", "x y", "b", "12", "cab", "a bc d", "", "ab"]

# Extents: what walks partitions, banks and blocks has its edges at these.
EXTENTS = [1] * 14 + [2] * 12 + [3] * 12 + [4] * 8 + [5] * 8 + [7] * 5 + \
    [8] * 5 + [11, 13, 16, 17, 23, 31, 32, 33, 64, 64, 65, 127, 128, 128, 129,
               200, 256, 257, 513, 1031]
MOST_ELEMENTS = 12000


class Unfit(Exception):
    """A rule cannot be applied here, or its result does not serve."""


def onnx_dtype(dtype):
    return helper.np_dtype_to_tensor_dtype(dtype)


class Sequence(list):
    """Of arrays of a dtype."""

    def __init__(self, dtype, items=()):
        super().__init__(items)
        self.dtype = np.dtype(dtype)


@dataclasses.dataclass
class Maybe:
    """An optional: an array, a sequence, or nothing of the kind of `like`."""
    item: object
    like: object


@dataclasses.dataclass
class Maps:
    """What a program gives for a list of maps: scores with a column for each
    key."""
    scores: np.ndarray
    key: int  # TensorProto.DataType


class OneMap(Maps):
    """The same of one map, which an input may be."""


def arrays_of(thing):
    """All arrays of a tensor, a sequence, an optional or maps."""
    if isinstance(thing, Maps):
        return [thing.scores]
    if isinstance(thing, Maybe):
        return [] if thing.item is None else arrays_of(thing.item)
    return list(thing) if isinstance(thing, Sequence) else [thing]


def over(function, thing):
    """The same with `function` of each array."""
    if isinstance(thing, Maps):
        return type(thing)(function(thing.scores), thing.key)
    if isinstance(thing, Maybe):
        return thing if thing.item is None else \
            Maybe(over(function, thing.item), thing.like)
    if isinstance(thing, Sequence):
        return Sequence(thing.dtype, map(function, thing))
    return function(thing)


def type_of(thing):
    if isinstance(thing, Maps):
        maps = onnx.TypeProto()
        maps.map_type.key_type = thing.key
        maps.map_type.value_type.CopyFrom(type_of(np.float32(0)))
        if isinstance(thing, OneMap):
            return maps
        return helper.make_sequence_type_proto(maps)
    if isinstance(thing, Maybe):
        return helper.make_optional_type_proto(type_of(thing.like))
    element = helper.np_dtype_to_tensor_dtype(thing.dtype)
    if isinstance(thing, Sequence):
        return helper.make_sequence_type_proto(
            helper.make_tensor_type_proto(element, None))
    return helper.make_tensor_type_proto(element, thing.shape)


@dataclasses.dataclass(eq=False)
class Value:
    name: str
    array: object  # an ndarray, a Sequence or a Maybe
    noisy: list  # CHAINS of the kind: `array` itself where there is no noise
    kind: str  # input, initializer, constant, node or inner
    uses: int = 0
    fixed: bool = False  # another node counts on how it is computed
    private: bool = False  # no other rule shall take it

    @property
    def is_tensor(self):
        return isinstance(self.array, np.ndarray)

    @property
    def dtype(self):
        """Of a tensor; no rule for tensors asks for what others have."""
        return NAME_OF[self.array.dtype] if self.is_tensor else \
            type(self.array).__name__

    @property
    def shape(self):
        return list(self.array.shape)

    @property
    def rank(self):
        return self.array.ndim

    @property
    def is_known(self):
        return self.kind in ("initializer", "constant")

    def within(self, low, high):
        if self.dtype == "text":
            return False
        numbers = self.array.astype(np.float64)
        return bool(np.all((numbers >= low) & (numbers <= high)))


@dataclasses.dataclass(eq=False)
class Node:
    op: str
    inputs: list  # of Value or None
    outputs: list  # of Value or None
    attrs: dict
    domain: str
    name: str
    captured: list  # Values that its subgraphs use
    way: object = None  # how it is computed, where its rule knows

    def proto(self):
        def name(value):
            return value.name if value is not None else ""

        names = [name(v) for v in self.inputs]
        while names and not names[-1]:
            names.pop()
        return helper.make_node(self.op, names, [name(v) for v in self.outputs],
                                name=self.name, domain=self.domain,
                                **self.attrs)

    def operands(self):
        return [v for v in self.inputs if v is not None] + self.captured


def seed_array(rng, dtype, shape, low=None, high=None):
    """Numbers of a dtype that do not come near its limits."""
    kind = DTYPES[dtype]
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype == "text":
        return np.asarray(rng.choice(np.array(WORDS, object), shape), object)
    if dtype in SMALL_INTS:
        least, most = SMALL_INTS[dtype]
        low = least if low is None else max(int(np.ceil(low)), least)
        high = most if high is None else min(int(high), most)
        return np.asarray(rng.integers(low, max(low, high) + 1,
                                       shape)).astype(kind)
    if dtype == "f8e8m0":
        return np.asarray(2.0 ** rng.integers(-4, 4, shape)).astype(kind)
    if dtype in INTS:
        if low is None and high is None and rng.random() < 0.12:
            limit = min(int(np.iinfo(kind).max), 2 ** 31 - 1)
            low = 0 if dtype[0] == "u" else -limit
            high = limit // rng.choice([1, 3, 128])
        low = (0 if dtype[0] == "u" else -9) if low is None else low
        high = 9 if high is None else high
        return np.asarray(rng.integers(int(np.ceil(low)), int(high) + 1,
                                       shape)).astype(kind)
    if low is None and high is None:
        numbers = rng.standard_normal(shape) * rng.choice([0.3, 1, 1, 1, 4])
    else:
        low = -8 if low is None else low
        high = max(low, 8) if high is None else high
        numbers = low + (high - low) * rng.random(shape)
    return np.asarray(numbers).astype(kind)


class Graph:
    """Grows. Rules take operands from it and add nodes to it."""

    def __init__(self, rng, opset, judge, outer=None):
        self.rng, self.opset, self.judge, self.outer = rng, opset, judge, outer
        self.values, self.nodes, self.captured = [], [], []
        self.counter = outer.counter if outer else [0]
        self.infinite = outer.infinite if outer else False
        self.grow = outer.grow if outer else None  # adds a node to a graph
        self.wanted = None  # a value that the next operand is, if it fits

    # --- chance ---------------------------------------------------------------

    def chance(self, share):
        return self.rng.random() < share

    def choice(self, items):
        return items[int(self.rng.integers(len(items)))]

    def integer(self, low, high):
        """Both ends count."""
        return int(self.rng.integers(low, high + 1))

    def need(self, condition):
        if not condition:
            raise Unfit

    def shape(self, rank=None, most=MOST_ELEMENTS, least=0):
        rank = self.choice([0, 1, 1, 2, 2, 2, 3, 3, 4, 5]) if rank is None \
            else rank
        dims = [max(self.choice(EXTENTS), least) for _ in range(rank)]
        if rank and least == 0 and self.chance(0.02):
            dims[self.integer(0, rank - 1)] = 0
        while np.prod(dims, dtype=np.int64) > most:
            at = int(np.argmax(dims))
            dims[at] = max(dims[at] // 3, 1)
        return dims

    # --- values ---------------------------------------------------------------

    def new_name(self, prefix):
        self.counter[0] += 1
        return f"{prefix}{self.counter[0]}"

    def add(self, array, kind=None):
        """A new value that no node computes. `kind` None: any of the ways."""
        if not isinstance(array, (Sequence, Maybe, Maps)):
            array = np.asarray(array)
        if kind is None:
            kind = self.choice(["input"] * 5 + ["initializer"] * 3 +
                               ["constant"])
        if kind == "known":
            kind = self.choice(["initializer", "initializer", "constant"])
        if self.outer and kind == "input":
            kind = "initializer"
        value = Value(self.new_name(kind[0]), array, [array] * CHAINS, kind)
        self.values.append(value)
        return value

    def fresh(self, dtype, shape, low=None, high=None, kind=None):
        array = seed_array(self.rng, dtype, shape, low, high)
        if self.infinite and dtype in FLOATS and array.size and \
                low is None and kind is None and self.chance(0.4):
            at = self.rng.random(array.shape) < 0.1
            odd = self.rng.choice([np.inf, -np.inf, np.nan], array.shape)
            array = np.where(at, odd.astype(array.dtype), array)
        return self.add(array, kind)

    def known(self, array):
        """An operand whose value a compiler must know."""
        return self.add(np.asarray(array), "known")

    def ints(self, numbers, dtype=np.int64):
        return self.known(np.asarray(numbers, dtype))

    def visible(self):
        found = [v for v in self.values if not v.private]
        if self.outer:
            found += self.outer.visible()
        return found

    def some(self, dtypes, rank=None, shape=None, low=None, high=None,
             least_rank=0, most_rank=5, least=0, share=0.75, where=None):
        """A value at hand, or a new one. Recent values come first."""
        if isinstance(dtypes, str):
            dtypes = [dtypes]

        def fits(v):
            return (v.dtype in dtypes and (rank is None or v.rank == rank) and
                    (shape is None or v.shape == list(shape)) and
                    least_rank <= v.rank <= most_rank and
                    all(d >= least for d in v.shape) and
                    (low is None and high is None or
                     v.within(-np.inf if low is None else low,
                              np.inf if high is None else high)) and
                    (where is None or where(v)))

        if self.wanted is not None and fits(self.wanted):
            value, self.wanted = self.wanted, None
            return self.take(value)
        if self.chance(share):
            found = [v for v in self.visible()[-40:] if fits(v)]
            if found:
                late = found[-4:] if self.chance(0.6) else found
                return self.take(self.choice(late))
        dtype = self.choice(dtypes)
        if shape is None:
            if rank is None:
                rank = max(least_rank, min(most_rank, self.choice(
                    [0, 1, 1, 2, 2, 2, 3, 3, 4, 5])))
            shape = self.shape(rank, least=least)
        value = self.fresh(dtype, shape, low, high)
        self.need(fits(value))
        return value

    def take(self, value):
        if self.outer and value not in self.values:
            if value not in self.captured:
                self.captured.append(value)
            if self.outer.outer and value not in self.outer.values:
                self.outer.take(value)
        return value

    def partner(self, like, dtype=None, low=None, high=None, share=0.6,
                one_way=False):
        """An operand that broadcasts with `like`."""
        dtype = dtype or like.dtype

        def fits(v):
            try:
                out = np.broadcast_shapes(v.shape, like.shape)
            except ValueError:
                return False
            size = int(np.prod(out, dtype=np.int64))
            return size <= 4 * MOST_ELEMENTS and \
                (not one_way or list(out) == like.shape)

        shape = list(like.shape)
        for at in range(len(shape)):
            if self.chance(0.2):
                shape[at] = 1
        if shape and self.chance(0.25):
            shape = shape[self.integer(1, len(shape)):]
        if not one_way and len(shape) < 4 and self.chance(0.08):
            shape = [self.choice([1, 2, 3])] + shape
        if self.chance(share):
            found = [v for v in self.visible()[-40:]
                     if v.dtype == dtype and fits(v) and
                     (low is None or v.within(low, high))]
            if found:
                return self.take(self.choice(found))
        value = self.fresh(dtype, shape, low, high)
        self.need(fits(value))
        return value

    def axis(self, value, least_rank=1):
        self.need(value.rank >= least_rank)
        axis = self.integer(0, value.rank - 1)
        return axis - value.rank if self.chance(0.4) else axis

    # --- nodes ----------------------------------------------------------------

    def node(self, op, inputs, outputs=1, domain="", captured=(), way=None,
             **attrs):
        """Adds a node and returns its values; None where no output is wanted.

        `outputs` is a number, or a list of flags."""
        wanted = [True] * outputs if isinstance(outputs, int) else outputs
        attrs = {k: v for k, v in attrs.items() if v is not None}
        node = Node(op, list(inputs), [], attrs, domain,
                    self.new_name(f"{op}_"), list(captured), way)
        names = [self.new_name("v") if flag else "" for flag in wanted]
        arrays, noisy = self.judge.run(self, node, names)
        for name, array, noise in zip(names, arrays, zip(*noisy)):
            node.outputs.append(Value(name, array, list(noise), "node")
                                if name else None)
        for value in node.operands():
            value.uses += 1
        self.nodes.append(node)
        self.values += [v for v in node.outputs if v is not None]
        return node.outputs

    def one(self, op, *inputs, **attrs):
        return self.node(op, inputs, **attrs)[0]

    # --- models ---------------------------------------------------------------

    def constant_nodes(self):
        """Constants may stand in a node of their own, in several forms."""
        nodes = []
        for v in self.values:
            if v.kind != "constant":
                continue
            tensor = numpy_helper.from_array(np.ascontiguousarray(v.array)
                                             .reshape(v.array.shape), v.name)
            attrs = {"value": tensor}
            if self.opset >= 12 and v.rank <= 1 and v.array.size and \
                    v.dtype in ("f32", "i64"):
                kind = "float" if v.dtype == "f32" else "int"
                attrs = {f"value_{kind}s": v.array.tolist()} if v.rank else \
                    {f"value_{kind}": v.array.item()}
            nodes.append(helper.make_node("Constant", [], [v.name],
                                          name=f"make_{v.name}", **attrs))
        return nodes

    def initializers(self):
        return [numpy_helper.from_array(np.ascontiguousarray(v.array)
                                        .reshape(v.array.shape), v.name)
                for v in self.values if v.kind == "initializer"]

    def inputs(self):
        return [v for v in self.values if v.kind in ("input", "inner")]

    def proto(self, outputs, name="random"):
        return helper.make_graph(
            self.constant_nodes() + [n.proto() for n in self.nodes], name,
            [info(v) for v in self.inputs()], [info(v) for v in outputs],
            self.initializers(), value_info=self.foreign_types())

    def foreign_types(self):
        """What the onnx package cannot infer. In the graphs of nodes it does
        not survive that a type is missing."""
        found = [v for n in self.nodes if n.domain == "com.microsoft"
                 for v in n.outputs if v is not None and v.is_tensor]
        return [helper.make_tensor_value_info(v.name, onnx_dtype(
            v.array.dtype), None) for v in found if self.outer]

    def model(self, outputs):
        return make_model(self.proto(outputs), self.opset)


def info(value):
    return helper.make_value_info(value.name, type_of(value.array))


def version_of(domain, opset):
    """The version of a domain in models of an opset."""
    if domain == "ai.onnx.ml":
        return (1, 2, 3, 3, 4, 5, 5)[opset % 7]
    return opset if domain == "" else 1


def domains_of(graph):
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from domains_of(attribute.g)


def make_model(graph, opset):
    used = sorted(set(domains_of(graph)) - {""})
    imports = [helper.make_opsetid("", opset)] + \
        [helper.make_opsetid(d, version_of(d, opset)) for d in used]
    return helper.make_model(graph, ir_version=10, opset_imports=imports)
