# SPDX-License-Identifier: Apache-2.0
"""One rule for each operator: how to add a node with it to a graph.

A rule takes the graph, the operator and its form (version and the types of the
first operand), and adds a node, or raises Unfit. What an operator takes in a
version is in the rule; which operators and types there are comes from `imbrex
ops`. Operators without a rule here may have a case in random_operators.py.
"""

import dataclasses

import numpy as np
import onnx

from .build import DTYPES, FLOATS, INTS, Unfit

RULES = {}
# Types are not equally interesting.
WEIGHTS = {"f32": 30, "f16": 6, "bf16": 5, "i64": 4, "i32": 4, "bool": 3}


@dataclasses.dataclass
class Form:
    op: str
    domain: str
    since: int
    dtypes: list

    @property
    def name(self):
        return f"{self.domain}.{self.op}"

    def dtype(self, g, among=None):
        names = [d for d in self.dtypes if among is None or d in among]
        g.need(names)
        weights = np.array([WEIGHTS.get(n, 1) for n in names], float)
        return str(g.rng.choice(names, p=weights / weights.sum()))


def rule(*ops, **extra):
    def note(make):
        for op in ops:
            RULES[op] = (lambda g, op, form, make=make:
                         make(g, op, form, **extra)) if extra else make
        return make
    return note


def rule_of(domain, op):
    """One of the domain comes before one for all of that name."""
    return RULES.get(f"{domain}.{op}", RULES.get(op))


def by_axes(g, op, value, axes, since, **attrs):
    """Axes are an attribute, and an operand from version `since` on."""
    if axes is None:
        return g.one(op, value, **attrs)
    if g.opset >= since:
        return g.one(op, value, g.ints(axes), **attrs)
    return g.one(op, value, axes=axes, **attrs)


def some_axes(g, rank, most=None):
    count = g.integer(1, max(min(rank, most or rank), 1))
    g.need(rank > 0)
    axes = g.rng.permutation(rank)[:count]
    if g.chance(0.5):
        axes = np.sort(axes)
    return [int(a) - (rank if g.chance(0.3) else 0) for a in axes]


# --- one operand -------------------------------------------------------------

ANY = (None, None)
RANGES = {
    "Acos": (-0.95, 0.95), "Acosh": (1.1, 20), "Asin": (-0.95, 0.95),
    "Asinh": ANY, "Atan": ANY, "Atanh": (-0.95, 0.95), "Ceil": ANY,
    "Floor": ANY, "Round": ANY, "Cos": (-10, 10), "Sin": (-10, 10),
    "Tan": (-1.3, 1.3), "Cosh": (-6, 6), "Sinh": (-6, 6), "Erf": ANY,
    "Exp": (-12, 8), "Log": (0.02, 100), "Sqrt": (0, 100),
    "Reciprocal": (0.1, 50), "Tanh": ANY, "Sigmoid": ANY, "Softplus": ANY,
    "Softsign": ANY, "Relu": ANY, "HardSwish": ANY, "Mish": ANY, "Sign": ANY,
    "Abs": ANY, "Neg": ANY, "IsNaN": ANY, "Not": ANY, "BitwiseNot": ANY,
    "Identity": ANY, "GlobalAveragePool": ANY,
}


def ranged(g, form, low, high, dtype=None):
    """An operand within a range: one at hand, or one that is clipped."""
    dtype = dtype or form.dtype(g)
    if low is not None and dtype not in FLOATS:
        low, high = int(np.ceil(low)), int(high)
    if low is not None and dtype == "f32" and g.opset >= 11 and \
            g.chance(0.3):
        x = g.some(dtype)
        return g.one("Clip", x, g.known(np.float32(low)),
                     g.known(np.float32(high)))
    return g.some(dtype, low=low, high=high)


@rule(*[op for op in RANGES if op != "GlobalAveragePool"])
def unary(g, op, form):
    low, high = RANGES[op]
    x = ranged(g, form, low, high)
    if op == "Reciprocal" and g.chance(0.3):
        x = g.one("Neg", x)
    return g.one(op, x)


ATTRIBUTES = {
    "LeakyRelu": {"alpha": (0.0, 0.5)}, "Elu": {"alpha": (0.2, 2)},
    "Celu": {"alpha": (0.5, 2)}, "Selu": {"alpha": (1, 2), "gamma": (1, 2)},
    "ThresholdedRelu": {"alpha": (0.1, 2)}, "Swish": {"alpha": (0.5, 2)},
    "HardSigmoid": {"alpha": (0.1, 0.5), "beta": (0.2, 0.6)},
    "Shrink": {"lambd": (0.1, 1), "bias": (0, 0.7)},
}


@rule(*ATTRIBUTES)
def with_attributes(g, op, form):
    x = g.some(form.dtype(g))
    attrs = {n: round(float(low + (high - low) * g.rng.random()), 3)
             for n, (low, high) in ATTRIBUTES[op].items() if g.chance(0.7)}
    return g.one(op, x, **attrs)


@rule("Gelu", "QuickGelu")
def gelu(g, op, form):
    x = g.some(form.dtype(g))
    if op == "QuickGelu":
        return g.one(op, x, domain=form.domain, alpha=g.choice([None, 1.5]))
    if form.domain:
        return g.one(op, x, domain=form.domain)
    return g.one(op, x, approximate=g.choice([None, "none", "tanh"]))


@rule("BiasGelu", "FastGelu")
def bias_gelu(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    bias = g.some(x.dtype, shape=x.shape[-1:])
    if op == "FastGelu" and g.chance(0.4):
        return g.one(op, x, domain=form.domain)
    return g.one(op, x, bias, domain=form.domain)


@rule("IsInf")
def is_inf(g, op, form):
    return g.one(op, g.some(form.dtype(g)),
                 detect_negative=g.choice([None, 0, 1]),
                 detect_positive=g.choice([None, 0, 1]))


@rule("Clip")
def clip(g, op, form):
    x = g.some(form.dtype(g))
    low, high = sorted([g.integer(-4, 2), g.integer(-1, 6)])
    if x.dtype[0] == "u":
        low, high = max(low, 0), max(high, 1)
    if form.since < 11:
        return g.one(op, x, min=g.choice([None, float(low)]),
                     max=g.choice([None, float(high)]))
    kind = DTYPES[x.dtype]
    bounds = [None if g.chance(0.2) else
              g.known(np.array(b, kind)) if g.chance(0.7) else
              g.add(np.array(b, kind)) for b in (low, high)]
    return g.one(op, x, *bounds)


@rule("Dropout")
def dropout(g, op, form):
    x = g.some(form.dtype(g))
    if form.since < 12:
        return g.one(op, x, ratio=g.choice([None, 0.3]))
    return g.node(op, [x, g.known(np.float32(0.4))],
                  g.choice([[True], [True, True]]))[0]


# --- two operands and more ---------------------------------------------------


@rule("Add", "Sub", "Mul", "Div", "PRelu", "Min", "Max", "Equal", "Less",
      "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor",
      "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def binary(g, op, form):
    if form.since < 7 and op not in ("Min", "Max"):
        return old_broadcast(g, op, form)
    x = g.some(form.dtype(g))
    if op == "Div":
        low, high = (1, 9) if x.dtype in INTS else (0.2, 9)
        y = g.partner(x, low=low, high=high)
        if x.dtype in FLOATS and g.chance(0.3):
            y = g.one("Neg", y)
        return g.one(op, x, y)
    if op in ("Min", "Max") and form.since < 8:
        return g.one(op, x, g.some(x.dtype, shape=x.shape))
    y = g.partner(x, one_way=op == "PRelu")
    if op != "PRelu" and g.chance(0.4):
        x, y = y, x
    return g.one(op, x, y)


def old_broadcast(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    low, high = (0.2, 9) if op == "Div" else ANY
    if g.chance(0.4):
        return g.one(op, x, g.some(x.dtype, shape=x.shape, low=low, high=high))
    first = g.integer(0, x.rank - 1)
    last = g.integer(first + 1, x.rank)
    y = g.some(x.dtype, shape=x.shape[first:last], low=low, high=high)
    return g.one(op, x, y, broadcast=1,
                 axis=None if last == x.rank and g.chance(0.5) else first)


@rule("Pow")
def power(g, op, form):
    x = g.some(form.dtype(g, ("f32", "f16", "bf16", "i32", "i64", "f64")),
               low=0.1, high=9)
    other = x.dtype
    if form.since >= 12 and g.chance(0.3):
        other = g.choice(["f32", "i32", "i64"])
    if g.chance(0.6):
        number = g.choice([0, 1, 2, 3] if other in INTS or x.dtype in INTS
                          else [0, 0.5, 1, 2, 3, -0.5, -1, -2, 1.5])
        return g.one(op, x, g.add(np.array(number, DTYPES[other])))
    low = 0 if x.dtype in INTS or other in INTS else -2
    return g.one(op, x, g.partner(x, dtype=other, low=low, high=3))


@rule("Sum", "Mean")
def variadic(g, op, form):
    x = g.some(form.dtype(g))
    others = [g.partner(x) if form.since >= 8 else
              g.some(x.dtype, shape=x.shape)
              for _ in range(g.integer(0, 3))]
    return g.one(op, x, *others)


@rule("Mod")
def mod(g, op, form):
    x = g.some(form.dtype(g))
    if x.dtype in FLOATS:
        return g.one(op, x, g.partner(x, low=0.5, high=5), fmod=1)
    y = g.partner(x, low=1, high=9)
    if x.dtype[0] == "i" and g.chance(0.3):
        y = g.one("Neg", y) if g.opset >= 13 or x.dtype in ("i32", "i64") else y
    return g.one(op, x, y, fmod=g.choice([None, 0, 1]))


@rule("BitShift")
def bit_shift(g, op, form):
    x = g.some(form.dtype(g))
    y = g.partner(x, low=0, high=DTYPES[x.dtype].itemsize * 8 - 1)
    direction = g.choice(["LEFT", "RIGHT"])
    if direction == "LEFT" and x.dtype[0] == "i":
        g.need(y.within(0, 3))
    return g.one(op, x, y, direction=direction)


@rule("Where")
def where(g, op, form):
    condition = g.some("bool")
    dtype = g.choice(["f32"] * 5 + ["f16", "i64", "i32", "u8", "bool", "text"])
    x = g.partner(condition, dtype=dtype)
    shape = np.broadcast_shapes(condition.shape, x.shape)
    y = g.fresh(dtype, [d if g.chance(0.8) else 1 for d in shape]) \
        if g.chance(0.5) else g.partner(x)
    return g.one(op, condition, x, y)


# --- reductions and what goes along an axis ----------------------------------


REDUCES = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd",
           "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
           "ReduceSumSquare")


@rule(*REDUCES)
def reduce(g, op, form):
    low, high = {"ReduceLogSum": (0.1, 9), "ReduceLogSumExp": (-6, 6),
                 "ReduceProd": (-2, 2)}.get(op, ANY)
    x = g.some(form.dtype(g), low=low, high=high)
    if op in ("ReduceMax", "ReduceMin", "ReduceLogSum", "ReduceMean",
              "ReduceLogSumExp"):
        g.need(x.array.size)
    if op in ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        g.need(x.dtype in FLOATS)
    axes = some_axes(g, x.rank) if x.rank and g.chance(0.85) else None
    since = 13 if op == "ReduceSum" else 18
    noop = g.choice([None, 0, 1]) if form.since >= since else None
    return by_axes(g, op, x, axes, since, keepdims=g.choice([None, 0, 1]),
                   noop_with_empty_axes=noop)


@rule("ArgMax", "ArgMin")
def arg(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    return g.one(op, x, axis=g.axis(x), keepdims=g.choice([None, 0, 1]),
                 select_last_index=g.choice([None, 0, 1])
                 if form.since >= 12 else None)


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1, low=-30, high=30)
    axis = g.axis(x) if g.chance(0.8) else None
    if form.since < 11 and axis is not None:
        axis %= x.rank
    if form.since < 13 and axis is None:
        g.need(x.rank > 1)
    return g.one(op, x, axis=axis)


@rule("CumSum")
def cum_sum(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    return g.one(op, x, g.known(np.array(g.axis(x), g.choice(
        [np.int32, np.int64]))), exclusive=g.choice([None, 0, 1]),
        reverse=g.choice([None, 0, 1]))


@rule("TopK")
def top_k(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    axis = g.axis(x) if form.since >= 11 or g.chance(0.5) else -1
    count = g.integer(1, min(x.shape[axis], 24))
    attrs = {"axis": axis}
    if form.since >= 11:
        attrs["largest"] = g.choice([None, 0, 1])
    if form.since < 10:
        return g.node(op, [x], 2, k=count, **attrs)[0]
    return g.node(op, [x, g.ints([count])], 2, **attrs)[0]


# --- shapes and places -------------------------------------------------------


@rule("Transpose")
def transpose(g, op, form):
    x = g.some(form.dtype(g))
    perm = [int(i) for i in g.rng.permutation(x.rank)]
    return g.one(op, x, perm=None if x.rank == 0 or g.chance(0.15) else perm)


def factors(g, count, rank):
    """Extents whose product is `count`."""
    dims = [1] * rank
    for prime in (2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 5, 5, 7, 11, 13):
        if rank and count % prime == 0:
            count //= prime
            dims[g.integer(0, rank - 1)] *= prime
    if rank:
        dims[g.integer(0, rank - 1)] *= count
    return dims


@rule("Reshape")
def reshape(g, op, form):
    x = g.some(form.dtype(g))
    size = x.array.size
    if g.opset < 14:
        g.need(size)
    rank = g.integer(0 if size == 1 else 1, 5)
    shape = factors(g, size, rank) if size else [0] + g.shape(g.integer(0, 2))
    attrs = {}
    if size:
        for at in range(min(rank, x.rank)):
            if shape[at] == x.shape[at] and g.chance(0.4):
                shape[at] = 0
        if shape and g.chance(0.4):
            shape[g.integer(0, rank - 1)] = -1
    else:
        attrs["allowzero"] = 1
    if form.since < 5:
        return g.one(op, x, shape=shape)
    return g.one(op, x, g.ints(shape), **attrs)


@rule("Flatten")
def flatten(g, op, form):
    x = g.some(form.dtype(g), least_rank=1 if form.since < 9 else 0)
    axis = g.integer(0, x.rank)
    if form.since >= 11 and x.rank and g.chance(0.4) and axis < x.rank:
        axis -= x.rank
    return g.one(op, x, axis=g.choice([axis, axis, None]) if x.rank else axis)


@rule("Squeeze")
def squeeze(g, op, form):
    x = g.some(form.dtype(g), where=lambda v: 1 in v.shape)
    ones = [i for i, d in enumerate(x.shape) if d == 1]
    axes = None
    if g.chance(0.7):
        count = g.integer(1, len(ones))
        axes = sorted(int(a) for a in g.rng.permutation(ones)[:count])
        if form.since >= 11 and g.chance(0.4):
            axes = [a - x.rank for a in axes]
    return by_axes(g, op, x, axes, 13)


@rule("Unsqueeze")
def unsqueeze(g, op, form):
    x = g.some(form.dtype(g), most_rank=4)
    count = g.integer(1, 2)
    rank = x.rank + count
    axes = sorted(int(a) for a in g.rng.permutation(rank)[:count])
    if form.since >= 11 and g.chance(0.4):
        axes = [a - rank for a in axes]
    return by_axes(g, op, x, axes, 13)


@rule("Concat")
def concat(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    axis = g.axis(x) if form.since >= 11 else g.axis(x) % x.rank
    parts = [x]
    for _ in range(g.integer(0, 3)):
        if g.chance(0.2):
            parts.append(x)
            continue
        shape = list(x.shape)
        shape[axis] = g.choice([0, 1, 2, 3, 5, 16, 33])
        parts.append(g.some(x.dtype, where=lambda v: v.rank == x.rank and all(
            a == b for i, (a, b) in enumerate(zip(v.shape, x.shape))
            if i != axis % x.rank), shape=None if g.chance(0.4) else shape,
            rank=x.rank))
    order = g.rng.permutation(len(parts))
    return g.one(op, *[parts[i] for i in order], axis=axis)


@rule("Split")
def split(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    axis = g.axis(x) if form.since >= 11 else g.axis(x) % x.rank
    extent = x.shape[axis]
    parts = g.integer(1, 4)
    if g.chance(0.4) and (form.since >= 18 or extent % parts == 0):
        if form.since >= 18:
            g.need(parts <= extent and
                   -(-extent // parts) * (parts - 1) < extent)
        return g.node(op, [x], parts, axis=axis,
                      num_outputs=parts if form.since >= 18 else None)[0]
    cuts = sorted(g.integer(0, extent) for _ in range(parts - 1))
    sizes = [int(b - a) for a, b in zip([0] + cuts, cuts + [extent])]
    if form.since >= 13:
        return g.node(op, [x, g.ints(sizes)], parts, axis=axis)[0]
    return g.node(op, [x], parts, axis=axis, split=sizes)[0]


@rule("Slice")
def slice_(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    axes = some_axes(g, x.rank)
    if form.since < 10:
        axes = [a % x.rank for a in axes]
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = x.shape[axis]
        step = g.choice([1, 1, 1, 2, 3, -1, -1, -2]) if form.since >= 10 else 1
        a, b = sorted(g.integer(0, extent) for _ in range(2))
        if step < 0:
            a, b = b - 1, (a - 1 if a > 0 else -extent - 1)
            a = max(a, 0)
        elif g.chance(0.3):
            b = g.choice([2 ** 31 - 1, extent + 3])
        if g.chance(0.3) and 0 < a < extent:
            a -= extent
        if g.chance(0.3) and 0 < b < extent and step > 0:
            b -= extent
        starts.append(a), ends.append(b), steps.append(step)
    if form.since < 10:
        return g.one(op, x, starts=starts, ends=ends, axes=axes)
    kind = g.choice([np.int64, np.int32])
    operands = [g.ints(starts, kind), g.ints(ends, kind), g.ints(axes, kind)]
    if steps != [1] * len(steps) or g.chance(0.5):
        operands.append(g.ints(steps, kind))
    return g.one(op, x, *operands)


@rule("Expand")
def expand(g, op, form):
    x = g.some(form.dtype(g), most_rank=4)
    shape = [g.choice([2, 3, 5, 16]) if d == 1 and g.chance(0.6) else d
             for d in x.shape]
    if g.chance(0.3):
        shape = [g.choice([1, 2, 4])] + shape
    if shape and g.chance(0.3):
        at = g.integer(0, len(shape) - 1)
        shape[at] = 1 if len(shape) == x.rank else shape[at]
    g.need(np.prod(shape, dtype=np.int64) < 30000)
    return g.one(op, x, g.ints(shape))


@rule("Tile")
def tile(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    repeats = [g.choice([1, 1, 1, 2, 3, 0 if g.chance(0.05) else 1])
               for _ in x.shape]
    return g.one(op, x, g.ints(repeats))


@rule("Pad")
def pad(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, most_rank=5, least=1)
    mode = g.choice([None, "constant", "reflect", "edge"] +
                    (["wrap"] if form.since >= 19 else []))
    axes, pads = list(range(x.rank)), []
    if form.since >= 18 and g.chance(0.4):
        axes = some_axes(g, x.rank)
    for side in range(2):
        for axis in axes:
            extent = x.shape[axis]
            most = {"reflect": extent - 1, "wrap": extent}.get(mode, 4)
            pads.append(g.integer(0, max(min(most, 4), 0)))
    if mode in (None, "constant") and g.chance(0.2):
        at = g.integer(0, len(axes) - 1)
        pads[at] = -min(1, x.shape[axes[at]] - 1)
    value = None
    if mode in (None, "constant") and (x.dtype == "f8e8m0" or g.chance(0.5)):
        value = 1.5 if x.dtype in FLOATS else 1
    if form.since < 11:
        return g.one(op, x, mode=mode, pads=pads, value=value and float(value))
    if value is not None:
        value = g.known(np.array(value, DTYPES[x.dtype]))
    operands = [g.ints(pads), value]
    if axes != list(range(x.rank)):
        operands.append(g.ints(axes, g.choice([np.int32, np.int64])))
    return g.one(op, x, *operands, mode=mode)


def indices(g, extent, shape, kind=None):
    g.need(extent > 0 or 0 in shape)
    low = -extent if g.opset >= 11 and g.chance(0.5) else 0
    numbers = g.rng.integers(low, max(extent, 1), shape) if extent else \
        np.zeros(shape)
    return g.add(np.asarray(numbers, g.choice([np.int64, np.int32])), kind)


@rule("Gather")
def gather(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    axis = g.axis(x) if form.since >= 11 else g.axis(x) % x.rank
    shape = g.shape(g.choice([0, 1, 1, 2]), most=64)
    return g.one(op, x, indices(g, x.shape[axis], shape), axis=axis)


@rule("GatherElements")
def gather_elements(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    axis = g.axis(x)
    shape = [g.integer(1, d) for d in x.shape]
    shape[axis] = g.integer(1, min(x.shape[axis] + 2, 16))
    g.need(np.prod(shape) < 2000)
    return g.one(op, x, indices(g, x.shape[axis], shape), axis=axis)


@rule("GatherND")
def gather_nd(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    batch = g.integer(0, min(1, x.rank - 1)) if form.since >= 12 else 0
    depth = g.integer(1, x.rank - batch)
    shape = x.shape[:batch] + g.shape(g.integer(0, 2), most=24, least=1)
    g.need(np.prod(shape) < 400)
    at = np.stack([g.rng.integers(-x.shape[batch + d], x.shape[batch + d],
                                  shape) for d in range(depth)], -1)
    return g.one(op, x, g.add(at.astype(np.int64)),
                 batch_dims=batch if batch else None)


@rule("OneHot")
def one_hot(g, op, form):
    kind = form.dtype(g, ("i64", "i32", "f32", "u8"))
    depth = g.choice([1, 2, 5, 17])
    shape = g.shape(g.integer(1, 2), most=300)
    low = 0 if kind == "u8" else -depth
    at = g.rng.integers(low, depth, shape).astype(DTYPES[kind])
    values = np.array([g.integer(-2, 2), g.integer(3, 6)], g.choice(
        [np.float32, np.int64, np.int32]))
    return g.one(op, g.add(at), g.ints(g.choice([depth, [depth]])),
                 g.add(values), axis=g.choice(
                     [None, -1, 0, len(shape)]))


@rule("Trilu")
def trilu(g, op, form):
    x = g.some(form.dtype(g), least_rank=2)
    operands = [x]
    if g.chance(0.7):
        operands.append(g.ints(g.integer(-3, 3)))
    return g.one(op, *operands, upper=g.choice([None, 0, 1]))


@rule("EyeLike")
def eye_like(g, op, form):
    x = g.some(form.dtype(g, ("f32", "i32", "i64", "f16", "u8", "i8")), rank=2)
    return g.one(op, x, k=g.choice([None, 0, 1, -2]),
                 dtype=g.choice([None, 1, 7]))


@rule("Shape")
def shape_of(g, op, form):
    x = g.some(form.dtype(g))
    if form.since < 15 or g.chance(0.5):
        return g.one(op, x)
    return g.one(op, x, start=g.integer(-x.rank - 1, x.rank + 1),
                 end=g.choice([None, g.integer(-x.rank - 1, x.rank + 1)]))


@rule("Size")
def size_of(g, op, form):
    return g.one(op, g.some(form.dtype(g)))


@rule("ConstantOfShape")
def constant_of_shape(g, op, form):
    dtype = g.choice(["f32", "f32", "i64", "i32", "bool", "f16", "u8"])
    value = onnx.numpy_helper.from_array(
        np.array([g.integer(0, 3)], DTYPES[dtype]))
    return g.one(op, g.ints(g.shape()), value=g.choice([value, value, None]))


@rule("Range")
def range_(g, op, form):
    kind = form.dtype(g, ("f32", "i32", "i64", "i16"))
    step = g.choice([1, 2, 3, -1, -2]) if kind[0] == "i" else \
        g.choice([0.5, 1, -0.25])
    start = g.integer(-5, 5)
    end = start + step * g.choice([0, 1, 3, 10, 130]) + \
        (0.1 * np.sign(step) if kind == "f32" else 0)
    return g.one(op, *[g.known(np.array(n, DTYPES[kind]))
                       for n in (start, end, step)])


@rule("Constant")
def constant(g, op, form):
    return g.fresh("f32", g.shape(), kind="constant")


@rule("DepthToSpace", "SpaceToDepth")
def depth_space(g, op, form):
    block = g.choice([1, 2, 3])
    n, c, h, w = g.integer(1, 2), g.choice([1, 2, 3, 8]), \
        g.choice([1, 2, 3, 5]), g.choice([1, 2, 4, 7])
    shape = [n, c * block ** 2, h, w] if op == "DepthToSpace" else \
        [n, c, h * block, w * block]
    x = g.some(form.dtype(g), shape=shape)
    attrs = {"mode": g.choice([None, "DCR", "CRD"])} \
        if op == "DepthToSpace" and form.since >= 11 else {}
    return g.one(op, x, blocksize=block, **attrs)


@rule("ScatterElements", "Scatter")
def scatter_elements(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    axis = g.axis(x) if form.since >= 11 else g.axis(x) % x.rank
    shape = [g.integer(1, min(d, 8)) for d in x.shape]
    g.need(np.prod(shape) < 2000)
    how = g.choice([None, "none", "add", "mul", "max", "min"])
    if form.since < 16 or x.dtype in ("bool", "text") or \
            (form.since < 18 and how in ("max", "min")):
        how = None
    extent = x.shape[axis]
    at = g.rng.integers(0, extent, shape)
    if how in (None, "none"):  # each place once
        g.need(shape[axis] <= extent)
        at = np.argsort(g.rng.random(
            shape[:axis % x.rank] + [extent] + shape[axis % x.rank + 1:]),
            axis=axis).take(range(shape[axis]), axis=axis)
    if g.opset >= 11 and g.chance(0.4):
        at = np.where(g.rng.random(shape) < 0.5, at, at - extent)
    updates = g.some(x.dtype, shape=shape)
    return g.one(op, x, g.known(at.astype(g.choice([np.int64, np.int32]))),
                 updates, axis=axis, reduction=how)


@rule("ScatterND")
def scatter_nd(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    depth = g.integer(1, x.rank)
    places = int(np.prod(x.shape[:depth]))
    count = g.integer(1, min(places, 12))
    flat = g.rng.permutation(places)[:count]
    at = np.stack(np.unravel_index(flat, x.shape[:depth]), -1)
    if g.chance(0.3):
        at = at - np.array(x.shape[:depth])
    updates = g.some(x.dtype, shape=[count] + x.shape[depth:])
    how = g.choice([None, "add", "mul", "max", "min"])
    if form.since < 16 or (form.since < 18 and how in ("max", "min")) or \
            x.dtype in ("bool", "text"):
        how = None
    return g.one(op, x, g.known(at.astype(np.int64)), updates, reduction=how)


@rule("ReverseSequence")
def reverse_sequence(g, op, form):
    x = g.some(form.dtype(g), least_rank=2, least=1)
    axis = g.integer(0, 1)
    lengths = g.rng.integers(1, x.shape[1 - axis] + 1, x.shape[axis])
    return g.one(op, x, g.add(lengths.astype(np.int64)), batch_axis=axis,
                 time_axis=1 - axis)


@rule("Resize", "Upsample")
def resize(g, op, form):
    shape = [1, g.choice([1, 3, 8]), g.choice([1, 2, 5, 16]),
             g.choice([1, 3, 7, 12])]
    x = g.some(form.dtype(g, FLOATS), shape=shape)
    scales = [1, 1] + [g.choice([1, 2, 3]) for _ in range(2)]
    mode = g.choice([None, "nearest", "linear"])
    if op == "Upsample":
        if form.since < 9:
            return g.one(op, x, mode=mode, scales=[float(s) for s in scales])
        return g.one(op, x, g.known(np.array(scales, np.float32)), mode=mode)
    if form.since < 11:
        return g.one(op, x, g.known(np.array(scales, np.float32)), mode=mode)
    mode = g.choice([mode, mode, "cubic"])
    transform = g.choice([None, "half_pixel", "asymmetric", "align_corners",
                          "pytorch_half_pixel"])
    attrs = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode in (None, "nearest"):
        attrs["nearest_mode"] = g.choice([None, "floor", "ceil",
                                          "round_prefer_ceil"])
    roi = g.known(np.zeros(0, np.float32)) if form.since < 13 else None
    if g.chance(0.5):
        return g.one(op, x, roi, g.known(np.array(scales, np.float32)),
                     **attrs)
    sizes = x.shape[:2] + [g.integer(1, 12), g.integer(1, 12)]
    if mode in (None, "nearest"):  # others round positions half way
        sizes = [d * g.choice([1, 2, 4]) for d in x.shape]
        sizes[:2] = x.shape[:2]
    if form.since < 13:
        return g.one(op, x, roi, g.known(np.zeros(0, np.float32)),
                     g.ints(sizes), **attrs)
    return g.one(op, x, None, None, g.ints(sizes), **attrs)


# --- products ----------------------------------------------------------------


@rule("MatMul", "FusedMatMul")
def matmul(g, op, form):
    a = g.some(form.dtype(g), least_rank=1, least=1)
    turn_a = g.choice([None, 0, 1]) if op == "FusedMatMul" and a.rank > 1 \
        else None
    k = a.shape[-2 if turn_a else -1]
    shape = [k] if g.chance(0.15) else [k, g.choice([1, 2, 5, 16, 64, 129])]
    if len(shape) == 2 and a.rank > 2 and g.chance(0.4):
        shape = [d if g.chance(0.7) else 1 for d in a.shape[:-2]] + shape
    g.need(np.prod(shape) <= 40000)
    if op == "FusedMatMul":
        g.need(a.rank >= 2 and len(shape) >= 2)
        turn = g.choice([None, 0, 1])
        if turn:
            shape[-2:] = shape[:-3:-1]
        b = g.some(a.dtype, shape=shape)
        return g.one(op, a, b, domain=form.domain, transA=turn_a, transB=turn,
                     alpha=g.choice([None, 0.5]))
    return g.one(op, a, g.some(a.dtype, shape=shape))


@rule("Gemm")
def gemm(g, op, form):
    a = g.some(form.dtype(g), rank=2, least=1)
    turn_a, turn_b = g.choice([None, 0, 1]), g.choice([None, 0, 1])
    m, k = a.shape[::-1] if turn_a else a.shape
    n = g.choice([1, 3, 16, 65])
    g.need(k * n <= 40000 and m * n <= 40000)
    b = g.some(a.dtype, shape=[n, k] if turn_b else [k, n])
    operands, attrs = [a, b], {}
    if form.since < 11 or g.chance(0.6):
        shape = g.choice([[n], [1, n], [m, 1], [m, n], [1], []])
        if form.since < 7:
            shape, attrs["broadcast"] = [n], 1
        operands.append(g.some(a.dtype, shape=shape))
    whole = a.dtype in INTS
    return g.one(op, *operands, transA=turn_a, transB=turn_b,
                 alpha=g.choice([None, 3.0 if whole else 0.5, 2.0]),
                 beta=g.choice([None, 2.0 if whole else 0.25, 1.0]), **attrs)


@rule("Einsum")
def einsum(g, op, form):
    dtype = form.dtype(g)
    sizes = {c: g.choice([1, 2, 3, 5, 8, 17]) for c in "abcde"}
    equation = g.choice(["ab,bc->ac", "ab,bc", "abc,abd->acd", "ab->ba",
                         "abc->b", "ab,ab->", "a,b->ab", "abc,cd->abd",
                         "abcd,aecd->aeb", "ab,ab->a", "ab,bc,cd->ad",
                         "...ab,...bc->...ac", "abc->cab"])
    terms = equation.split("->")[0].replace("...", "").split(",")
    return g.one(op, *[g.some(dtype, shape=[sizes[c] for c in t])
                       for t in terms], equation=equation)


@rule("MatMulInteger")
def matmul_integer(g, op, form):
    a = g.some(form.dtype(g), least_rank=2, most_rank=3, least=1)
    b = bytes_of(g, g.choice(["i8", "u8"]), [a.shape[-1],
                                             g.choice([1, 4, 33])])
    operands = [a, b]
    if g.chance(0.6):
        operands.append(g.add(np.array(g.integer(0, 5), DTYPES[a.dtype])))
        if g.chance(0.6):
            operands.append(g.add(np.array(g.integer(0, 5), DTYPES[b.dtype])))
    return g.one(op, *operands)


# --- windows -----------------------------------------------------------------


def window(g, spatial, kernel=None):
    """Attributes of a window that stays within its image."""
    rank = len(spatial)
    kernel = kernel or [g.integer(1, min(d, 4)) for d in spatial]
    strides = [g.choice([1, 1, 2, 3]) for _ in range(rank)]
    dilations = [g.choice([1, 1, 1, 2]) for _ in range(rank)]
    for i in range(rank):
        if dilations[i] * (kernel[i] - 1) + 1 > spatial[i]:
            dilations[i] = 1
    attrs = {"kernel_shape": kernel}
    if g.chance(0.7):
        attrs["strides"] = strides
    how = g.choice(["none", "pads", "pads", "SAME_UPPER", "SAME_LOWER",
                    "VALID"])
    if how == "pads":
        attrs["pads"] = [g.integer(0, max(k - 1, 0) // 2 + (k > 1 and
                                                            g.chance(0.3)))
                         if k > 1 else 0 for k in kernel * 2]
        attrs["pads"] = [min(p, k - 1) for p, k in
                         zip(attrs["pads"], kernel * 2)]
    elif how != "none":
        attrs["auto_pad"] = how
        # What shall be where a stride jumps over elements is not told.
        if how != "VALID" and "strides" in attrs:
            attrs["strides"] = [min(s, k) for s, k in zip(strides, kernel)]
    return attrs, dilations


def bytes_of(g, kind, shape):
    """Weights. ONNX Runtime saturates a sum of two products at 16 bits on some
    machines; of these it does not."""
    return g.fresh(kind, shape, -60 if kind == "i8" else 0, 60)


def image(g, dtype, rank=None, share=0.5):
    rank = rank or g.choice([1, 2, 2, 2, 2, 3])
    spatial = [g.choice([1, 2, 3, 5, 8, 9, 14, 17]) for _ in range(rank)]
    channels = g.choice([1, 2, 3, 4, 6, 8, 16, 32])
    if g.chance(0.1):
        channels = g.choice([64, 128, 130])
    if rank == 3:
        spatial = [min(d, 6) for d in spatial]
    return g.some(dtype, shape=[g.choice([1, 1, 2, 3]), channels, *spatial],
                  share=share) if not g.chance(share) else \
        g.some(dtype, least_rank=rank + 2, most_rank=rank + 2, least=1,
               where=lambda v: v.array.size < 20000 and v.shape[1] <= 130)


@rule("Conv")
def conv(g, op, form):
    x = image(g, form.dtype(g))
    group = g.choice([d for d in (1, 1, 2, 3, x.shape[1])
                      if x.shape[1] % d == 0])
    attrs, dilations = window(g, x.shape[2:])
    kernel = attrs["kernel_shape"]
    if "auto_pad" not in attrs:
        attrs["dilations"] = dilations
    out = group * g.choice([1, 1, 2, 3, 8])
    shape = [out, x.shape[1] // group, *kernel]
    g.need(np.prod(shape) < 60000)
    operands = [x, g.some(x.dtype, shape=shape)]
    if g.chance(0.5):
        operands.append(g.some(x.dtype, shape=[out]))
    if g.chance(0.3):
        del attrs["kernel_shape"]
    return g.one(op, *operands, group=group, **attrs)


@rule("ConvTranspose")
def conv_transpose(g, op, form):
    x = image(g, form.dtype(g))
    g.need(x.array.size < 4000)
    group = g.choice([d for d in (1, 1, 2, x.shape[1])
                      if x.shape[1] % d == 0])
    rank = x.rank - 2
    kernel = [g.integer(1, 4) for _ in range(rank)]
    strides = [g.choice([1, 2, 3]) for _ in range(rank)]
    attrs = {"strides": strides, "kernel_shape": kernel, "group": group}
    if g.chance(0.5):
        attrs["pads"] = [min(g.integer(0, 1), k // 2) for k in kernel * 2]
        attrs["output_padding"] = [g.integer(0, s - 1) for s in strides]
        for i in range(rank):
            out = strides[i] * (x.shape[2 + i] - 1) + kernel[i] - \
                attrs["pads"][i] - attrs["pads"][i + rank] + \
                attrs["output_padding"][i]
            g.need(out > 0)
    elif g.chance(0.3):
        attrs["auto_pad"] = g.choice(["SAME_UPPER", "SAME_LOWER", "VALID"])
        g.need(all(k >= s for k, s in zip(kernel, strides)))
    else:
        attrs["dilations"] = [g.choice([1, 2]) for _ in range(rank)]
    out = g.choice([1, 2, 3])
    operands = [x, g.some(x.dtype, shape=[x.shape[1], out, *kernel])]
    if g.chance(0.5):
        operands.append(g.some(x.dtype, shape=[out * group]))
    return g.one(op, *operands, **attrs)


@rule("MaxPool", "AveragePool", "LpPool")
def pool(g, op, form):
    x = image(g, form.dtype(g))
    attrs, dilations = window(g, x.shape[2:])
    since = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op]
    if form.since >= since and "auto_pad" not in attrs:
        attrs["dilations"] = dilations
    if op != "LpPool" and form.since >= 10 and "auto_pad" not in attrs:
        attrs["ceil_mode"] = g.choice([None, 0, 1])
    if op == "AveragePool" and form.since >= 7:
        attrs["count_include_pad"] = g.choice([None, 0, 1])
    if op == "LpPool":
        attrs["p"] = g.choice([None, 1, 2, 3])
    return g.one(op, x, **attrs)


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(g, op, form):
    x = image(g, form.dtype(g))
    if op == "GlobalLpPool":
        return g.one(op, x, p=g.choice([None, 1, 2]))
    return g.one(op, x)


@rule("ConvInteger")
def conv_integer(g, op, form):
    x = image(g, form.dtype(g), share=0.2)
    attrs, dilations = window(g, x.shape[2:])
    w = bytes_of(g, g.choice(["u8", "i8"]), [
        g.choice([1, 3, 8]), x.shape[1], *attrs["kernel_shape"]])
    operands = [x, w]
    if g.chance(0.5):
        operands.append(g.known(np.array(g.integer(0, 9), DTYPES[x.dtype])))
    return g.one(op, *operands, **attrs)


# --- normalisation -----------------------------------------------------------


@rule("LayerNormalization", "RMSNormalization",
      "SimplifiedLayerNormalization")
def layer_norm(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1,
               where=lambda v: v.array.size > 1)
    axis = -1 if form.domain or op[0] == "S" else g.axis(x)
    shape = x.shape[axis % x.rank:]
    g.need(np.prod(shape) > 1)
    operands = [x, g.some(x.dtype, shape=shape)]
    if op == "LayerNormalization" and g.chance(0.6):
        operands.append(g.some(x.dtype, shape=shape))
    return g.one(op, *operands, domain=form.domain,
                 axis=axis, epsilon=g.choice([None, 1e-3]))


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def skip_norm(g, op, form):
    x = g.some(form.dtype(g), rank=3, least=2)
    few = g.choice([x.shape] * 3 + [x.shape[1:], [1] + x.shape[1:]])
    skip = g.some(x.dtype, shape=few)
    operands = [x, skip, g.some(x.dtype, shape=x.shape[-1:])]
    if op == "SkipLayerNormalization":
        operands.append(None if g.chance(0.2) else
                        g.some(x.dtype, shape=x.shape[-1:]))
    if g.chance(0.5):
        operands.append(g.some(x.dtype, shape=x.shape[-1:]))
    return g.node(op, operands, [True, False, False, g.chance(0.4)],
                  domain=form.domain, epsilon=g.choice([None, 1e-4]))[0]


@rule("BatchNormalization")
def batch_norm(g, op, form):
    x = g.some(form.dtype(g), least_rank=2, least=1)
    shape = x.shape[1:2]
    vectors = [g.some(x.dtype, shape=shape) for _ in range(3)]
    attrs = {"is_test": 1} if form.since < 7 else {}
    return g.one(op, x, *vectors, g.some(x.dtype, shape=shape, low=0.1,
                                         high=4),
                 epsilon=g.choice([None, 1e-2]), **attrs)


@rule("InstanceNormalization", "GroupNormalization")
def instance_norm(g, op, form):
    x = image(g, form.dtype(g))
    g.need(np.prod(x.shape[2:]) > 1)
    channels = x.shape[1]
    if op == "InstanceNormalization":
        return g.one(op, x, *[g.some(x.dtype, shape=[channels])
                              for _ in range(2)],
                     epsilon=g.choice([None, 1e-2]))
    groups = g.choice([d for d in (1, 2, 3, 4, channels)
                       if channels % d == 0])
    shape = [groups if form.since < 21 else channels]
    return g.one(op, x, *[g.some(x.dtype, shape=shape) for _ in range(2)],
                 num_groups=groups, epsilon=g.choice([None, 1e-2]))


@rule("LRN")
def lrn(g, op, form):
    x = image(g, form.dtype(g), rank=2)
    return g.one(op, x, size=g.choice([1, 3, 5]), alpha=g.choice([None, 0.1]),
                 beta=g.choice([None, 0.5]), bias=g.choice([None, 2.0]))


@rule("LpNormalization")
def lp_norm(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    axis = g.axis(x)
    p = g.choice([None, 1, 2])
    sums = np.abs(x.array.astype(np.float64)).sum(axis=axis)
    g.need(sums.min(initial=1) > 0.05)
    return g.one(op, x, axis=axis, p=p)


@rule("MeanVarianceNormalization")
def mean_variance(g, op, form):
    x = g.some(form.dtype(g), rank=4, least=2)
    axes = g.choice([None, [0, 2, 3], [1], [2, 3]])
    spread = x.array.astype(np.float64).std(axis=tuple(axes or (0, 2, 3)))
    g.need(spread.min() > 0.05)
    return g.one(op, x, axes=axes)


# --- quantisation ------------------------------------------------------------


QUANTISED = ("u8", "i8")


def scale_of(g, shape=(), dtype=np.float32):
    return g.add(np.asarray(g.rng.choice(
        [0.02, 0.05, 0.1, 0.013, 0.25], shape), dtype))


def zero_point(g, dtype, shape=()):
    low, high = (0, 200) if dtype == "u8" else (-60, 60)
    return g.add(g.rng.integers(low, high, shape).astype(DTYPES[dtype]))


@rule("DynamicQuantizeLinear")
def dynamic_quantize(g, op, form):
    x = g.some("f32", least=1)
    g.need(np.any(x.array))
    return g.node(op, [x], 3)[0]


@rule("QLinearMatMul")
def qlinear_matmul(g, op, form):
    a = g.some(form.dtype(g, QUANTISED), least_rank=2, most_rank=3, least=1)
    b = g.fresh(a.dtype, [a.shape[-1], g.choice([1, 3, 16, 40])], -9
                if a.dtype == "i8" else 0, 30)
    def pair():
        return [scale_of(g), zero_point(g, a.dtype)]
    return g.one(op, a, *pair(), b, *pair(),
                 g.add(np.float32(g.choice([0.1, 0.7, 2.3]))),
                 zero_point(g, a.dtype))


@rule("QLinearConv")
def qlinear_conv(g, op, form):
    x = image(g, form.dtype(g, QUANTISED), share=0.2)
    attrs, dilations = window(g, x.shape[2:])
    out = g.choice([1, 3, 8])
    w = bytes_of(g, g.choice(["i8", x.dtype]), [out, x.shape[1],
                                                *attrs["kernel_shape"]])
    many = g.chance(0.4)
    operands = [x, scale_of(g), zero_point(g, x.dtype), w,
                scale_of(g, (out,) if many else ()),
                g.add(np.zeros((out,) if many else (), DTYPES[w.dtype])),
                g.add(np.float32(g.choice([0.1, 0.7, 2.3]))),
                zero_point(g, x.dtype)]
    if g.chance(0.5):
        operands.append(g.fresh("i32", [out], -90, 90))
    return g.one(op, *operands, **attrs)


# --- graphs in nodes ---------------------------------------------------------


def child_of(g):
    return type(g)(g.rng, g.opset, g.judge, outer=g)


def inner_nodes(child, grow, count):
    for _ in range(count):
        grow(child)


def computed_flag(g):
    """A condition that only a run tells."""
    x = g.some("f32", least=1)
    least = g.one("ReduceMin", x, keepdims=0)
    return g.one("Less", least, g.known(np.float32(g.choice([-1, 0, 1]))))


def condition(g):
    return computed_flag(g) if g.chance(0.5) else \
        g.known(np.array(bool(g.chance(0.5))))


@rule("If")
def if_(g, op, form):
    flag = condition(g)
    dtype, shape = g.choice(["f32", "f32", "i64", "f16"]), g.shape()
    graphs, captured = [], []
    for name in ("then", "else"):
        child = child_of(g)
        inner_nodes(child, g.grow, g.integer(0, 3))
        result = child.some(dtype, shape=shape)
        result = child.one("Identity", result)
        graphs.append(child.proto([result], f"{name}_{result.name}"))
        captured += [v for v in child.captured if v not in captured]
    return g.one(op, flag, captured=captured, then_branch=graphs[0],
                 else_branch=graphs[1])


def carried_body(child, grow, states):
    """Nodes that make the next states from `states`."""
    inner_nodes(child, grow, child.integer(0, 2))
    results = []
    for state in states:
        other = child.partner(state, one_way=True, share=0.3)
        mixed = child.one(child.choice(["Add", "Sub", "Max", "Min"]), state,
                          other)
        if state.dtype == "f32":
            mixed = child.one(child.choice(["Tanh", "Sigmoid", "Relu"]), mixed)
        results.append(mixed)
    return results


def inner_value(child, array):
    value = child.add(array, "inner")
    return value


@rule("Loop")
def loop(g, op, form):
    states = [g.some(g.choice(["f32", "f32", "i64", "i32"]))
              for _ in range(g.integer(1, 2))]
    g.need(all(v.array.size <= 3000 for v in states))
    trips = g.choice([0, 1, 2, 3, 5])
    child = child_of(g)
    step = inner_value(child, np.array(0, np.int64))
    go = inner_value(child, np.array(True))
    inner = [inner_value(child, v.array) for v in states]
    results = carried_body(child, g.grow, inner)
    scans = [child.one("Identity", results[0])] if g.chance(0.5) else []
    if g.chance(0.5):
        number = child.one("Cast", step, to=onnx.TensorProto.FLOAT)
        # For some it is a scalar, for others not.
        scans.append(child.one("Reshape", number, child.ints([1])))
    # A last step that the number of trips does not tell.
    last = child.known(np.array(g.choice([0, 1, 4]), np.int64))
    again = child.one("Less", step, last) if g.opset >= 9 and g.chance(0.3) \
        else child.one("Identity", go)
    body = child.proto([again, *results, *scans], f"body_{again.name}")
    return g.node(op, [g.known(np.array(trips, np.int64)),
                       g.known(np.array(True)), *states],
                  len(states) + len(scans), captured=child.captured,
                  body=body)[0]


@rule("Scan")
def scan(g, op, form):
    g.need(form.since >= 9)
    state = g.some("f32", most_rank=2)
    source = g.some("f32", least_rank=1, most_rank=3, least=1,
                    where=lambda v: v.shape[0] <= 8)
    g.need(state.array.size <= 3000)
    child = child_of(g)
    inner = inner_value(child, state.array)
    element = inner_value(child, source.array[0])
    results = carried_body(child, g.grow, [inner])
    out = child.one(g.choice(["Neg", "Abs", "Tanh"]), element)
    body = child.proto([*results, out], f"body_{out.name}")
    return g.node(op, [state, source], 2, captured=child.captured, body=body,
                  num_scan_inputs=1,
                  scan_input_directions=g.choice([None, [0], [1]]),
                  scan_output_directions=g.choice([None, [1]]))[0]


# --- others ------------------------------------------------------------------


@rule("Binarizer")
def binarizer(g, op, form):
    return g.one(op, g.some(form.dtype(g, ("f32",))), domain=form.domain,
                 threshold=g.choice([None, 0.5]))


@rule("ArrayFeatureExtractor")
def features(g, op, form):
    x = g.some(form.dtype(g), rank=2, least=1)
    at = g.rng.integers(0, x.shape[1], g.integer(1, 5))
    return g.one(op, x, g.add(at.astype(np.int64)), domain=form.domain)


@rule("SwiGLU")
def swiglu(g, op, form):
    a = g.some(form.dtype(g))
    return g.one(op, a, g.some(a.dtype, shape=a.shape))


# --- shapes that depend on data ----------------------------------------------


@rule("NonZero")
def non_zero(g, op, form):
    x = g.some(form.dtype(g), least_rank=1)
    return g.one(op, x)


@rule("Compress")
def compress(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, least=1)
    axis = g.axis(x) if g.chance(0.7) else None
    extent = x.array.size if axis is None else x.shape[axis]
    return g.one(op, x, g.fresh("bool", [g.integer(1, extent)]), axis=axis)


@rule("Unique")
def unique(g, op, form):
    x = g.some(form.dtype(g, ("f32", "i64", "i8")), least_rank=1, least=1)
    g.need(all(a is x.array for a in x.noisy))  # equal ones stay equal
    return g.node(op, [x], g.integer(1, 4), axis=None if g.chance(0.6) else
                  g.axis(x), sorted=g.choice([None, 1]))[0]


@rule("RotaryEmbedding")
def rotary(g, op, form):
    batch, heads, length, size = g.integer(1, 2), g.integer(1, 3), \
        g.integer(1, 5), g.choice([2, 4, 8])
    x = g.some(form.dtype(g), shape=[batch, heads, length, size])
    if form.domain:
        return rotary_by_table(g, op, form)
    caches = [g.some(x.dtype, shape=[batch, length, size // 2])
              for _ in range(2)]
    return g.one(op, x, *caches, interleaved=g.choice([None, 0, 1]))


def rotary_by_table(g, op, form):
    batch, heads, length = g.choice([1, 2, 3]), g.choice([1, 2, 5]), \
        g.choice([1, 2, 5, 33, 130])
    size = g.choice([8, 16, 32, 64])
    turned = g.choice([size, size, size // 2])
    rows = length + g.integer(0, 9)
    attrs = {"interleaved": g.choice([None, 0, 1])}
    apart = g.chance(0.5)
    x = g.some(form.dtype(g), shape=[batch, heads, length, size] if apart else
               [batch, length, heads * size])
    if turned < size:
        attrs |= {"rotary_embedding_dim": turned, "num_heads": heads}
    places = g.rng.integers(0, rows, [batch, length])
    if g.chance(0.3):  # of the first of them
        places = np.array([g.integer(0, rows - length)])
    caches = [g.some(x.dtype, shape=[rows, turned // 2], low=-3, high=3)
              for _ in range(2)]
    return g.one(op, x, g.add(places), *caches, domain=form.domain, **attrs)


@rule("NonMaxSuppression")
def non_max_suppression(g, op, form):
    batch, classes, boxes = g.integer(1, 2), g.integer(1, 3), \
        g.choice([1, 2, 5, 16, 40])
    places = g.rng.random([batch, boxes, 4]) * 10
    sizes = places[..., 2:]
    centre = g.choice([None, 0, 1]) if boxes > 1 else None
    if not centre:
        sizes += places[..., :2]
        if g.chance(0.3):  # corners in another order
            places = places[..., [2, 3, 0, 1]]
    operands = [g.add(places.astype(np.float32)),
                g.fresh("f32", [batch, classes, boxes], 0, 1)]
    limits = [np.int64(g.choice([0, 1, 3, 100])),
              np.float32(g.choice([0.1, 0.3, 0.5, 0.9])),
              np.float32(g.choice([0, 0.2, 0.5]))]
    for number in limits[:g.integer(1, 3)]:
        operands.append(g.known(np.reshape(number, g.choice([[], [1]]))))
    return g.one(op, *operands, center_point_box=centre)


@rule("FlexAttention")
def flex_attention(g, op, form):
    kind = form.dtype(g)
    batch, heads, group = g.integer(1, 2), g.integer(1, 2), g.integer(1, 3)
    rows, columns, depth = g.choice([1, 3, 17]), g.choice([1, 5, 33]), \
        g.choice([4, 8])
    q = g.some(kind, shape=[batch, heads * group, rows, depth])
    k = g.some(kind, shape=[batch, heads, columns, depth])
    v = g.some(kind, shape=[batch, heads, columns, g.choice([depth, 3])])
    attrs, inner = {"scale": g.choice([None, 0.25])}, \
        np.zeros([batch, heads * group, rows, columns],
                 DTYPES["f64" if kind == "f64" else "f32"])
    for name, ops in (("score_mod", ("Neg", "Tanh", "Abs", "Add")),
                      ("prob_mod", ("Relu", "Sigmoid", "Mul"))):
        if g.chance(0.5):
            continue
        child = child_of(g)
        x = inner_value(child, inner)
        if (step := g.choice(ops)) in ("Add", "Mul"):
            y = child.one(step, x, child.fresh(x.dtype, x.shape[2:], 0, 1))
        else:
            y = child.one(step, x)
        g.need(not child.captured)
        attrs[name] = child.proto([y], name)
    return g.one(op, q, k, v, domain=form.domain, **attrs)
