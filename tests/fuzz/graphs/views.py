# SPDX-License-Identifier: Apache-2.0
"""Long rows of operators that move elements and compute nothing, on tensors of
which some extents are larger than the partitions and odd: each step is right by
itself, so what such a row finds is how views of views are computed."""

import numpy as np

from .build import Unfit

MOST = 50000  # elements
EDGES = [127, 128, 129, 131, 133, 137, 143, 149, 161, 170, 187, 193, 200, 211,
         255, 256, 257, 259, 273, 301, 385, 513]


def whole(g):
    """A tensor with a large extent or two."""
    rank = g.integer(1, 4)
    shape = [g.choice([1, 2, 3, 3, 4, 5, 7]) for _ in range(rank)]
    shape[g.integer(0, rank - 1)] = g.choice(EDGES)
    if g.chance(0.3):
        shape[g.integer(0, rank - 1)] = g.choice(EDGES)
    g.need(np.prod(shape) <= MOST)
    kinds = ["f32"] * 6 + ["f16", "bf16", "i32", "bool", "u8", "i8", "i64",
                           "f64"]
    return g.some(g.choice(kinds), shape=shape)


def room(g, x, times):
    g.need(x.array.size * times <= MOST)


def divisors(n):
    return [d for d in range(2, n) if n % d == 0]


def reshape(g, x):
    """Dimensions are joined and divided."""
    dims = list(x.shape)
    for _ in range(g.integer(1, 3)):
        if len(dims) > 1 and g.chance(0.5):
            at = g.integer(0, len(dims) - 2)
            dims[at:at + 2] = [dims[at] * dims[at + 1]]
        elif len(dims) < 6 and dims:
            at = g.integer(0, len(dims) - 1)
            parts = divisors(dims[at]) or [1, dims[at]]
            part = g.choice(parts)
            dims[at:at + 1] = [dims[at] // part, part]
    if dims and g.chance(0.3):
        dims[g.integer(0, len(dims) - 1)] = -1
    return g.one("Reshape", x, g.ints(dims))


def transpose(g, x):
    return g.one("Transpose", x, perm=[int(a) for a in
                                       g.rng.permutation(x.rank)])


def gather(g, x):
    axis = g.axis(x)
    extent = x.shape[axis]
    count = g.choice([1, 2, extent // 2 + 1, extent, extent + 3])
    room(g, x, count / extent)
    first = g.integer(0, extent - 1)
    at = g.choice([g.rng.integers(-extent, extent, count),
                   np.arange(extent)[::-1][:count],
                   (first + np.arange(count)) % extent,
                   np.sort(g.rng.integers(0, extent, count)),
                   np.repeat(np.arange(extent), 2)[:count]])
    shape = g.choice([[-1]] * 4 + [[1, -1], [-1, 1]])
    if len(at) == 1 and g.chance(0.3):
        shape = []
    at = at.reshape(shape)
    g.need(x.rank + at.ndim <= 6)
    return g.one("Gather", x, g.ints(at), axis=axis)


def cut(g, x):
    starts, ends, axes, steps = [], [], [], []
    for axis in range(x.rank):
        if g.chance(0.5):
            continue
        extent = x.shape[axis]
        low = g.integer(0, extent - 1)
        high = g.integer(low + 1, extent)
        step = g.choice([1, 1, 1, 2, 3, 5])
        if g.chance(0.2):  # backwards
            low, high, step = high - 1, low - 1 - extent, -step
        axes.append(axis)
        starts.append(low)
        ends.append(high)
        steps.append(step)
    g.need(axes)
    return g.one("Slice", x, *map(g.ints, (starts, ends, axes, steps)))


def halves(g, x):
    axis = g.axis(x)
    extent = x.shape[axis]
    g.need(extent > 1)
    at = g.integer(1, extent - 1)
    low, high = g.node("Split", [x, g.ints([at, extent - at])], 2, axis=axis)
    return g.choice([low, high, None]) or \
        g.one("Concat", high, low, axis=axis)


def concat(g, x):
    axis = g.axis(x)
    other = x
    if g.chance(0.7):
        shape = list(x.shape)
        shape[axis] = g.choice([1, 2, 3, shape[axis]])
        other = g.some(x.dtype, shape=shape)
    room(g, x, 1 + other.shape[axis] / x.shape[axis])
    both = [x, other] if g.chance(0.5) else [other, x]
    return g.one("Concat", *both, axis=axis)


def pad(g, x):
    g.need(x.dtype != "bool")
    mode = g.choice(["constant", "constant", "edge", "reflect"])
    sizes = np.zeros([2, x.rank], np.int64)
    for axis in range(x.rank):
        if g.chance(0.5):
            most = 3 if mode != "reflect" else min(3, x.shape[axis] - 1)
            sizes[:, axis] = [g.integer(0, most), g.integer(0, most)]
    after = np.add(x.shape, sizes.sum(0))
    room(g, x, np.prod(after) / x.array.size)
    operands = [x, g.ints(sizes.reshape(-1))]
    if mode == "constant" and g.chance(0.5):
        operands.append(g.known(np.array(2, x.array.dtype)))
    return g.one("Pad", *operands, mode=mode)


def tile(g, x):
    counts = [g.choice([1, 1, 1, 2, 3]) for _ in range(x.rank)]
    room(g, x, np.prod(counts))
    return g.one("Tile", x, g.ints(counts))


def expand(g, x):
    """A dimension of extent 1, made larger, and often joined with another."""
    g.need(x.rank < 6)
    times = g.choice([2, 3, 5])
    room(g, x, times)
    at = g.integer(0, x.rank)
    dims = list(x.shape)
    dims.insert(at, 1)
    x = g.one("Reshape", x, g.ints(dims)) if g.chance(0.5) else \
        g.one("Unsqueeze", x, g.ints([at]))
    dims[at] = times
    x = g.one("Expand", x, g.ints(dims))
    if at + 1 < len(dims) and g.chance(0.6):
        dims[at:at + 2] = [dims[at] * dims[at + 1]]
        x = g.one("Reshape", x, g.ints(dims))
    return x


def squeeze(g, x):
    axes = [a for a, d in enumerate(x.shape) if d == 1]
    g.need(axes)
    return g.one("Squeeze", x, g.ints([g.choice(axes)]))


def blocks(g, x):
    g.need(x.rank == 4 and x.dtype == "f32")
    size = g.choice([2, 3])
    if x.shape[2] % size == 0 and x.shape[3] % size == 0:
        return g.one("SpaceToDepth", x, blocksize=size)
    g.need(x.shape[1] % size ** 2 == 0)
    return g.one("DepthToSpace", x, blocksize=size,
                 mode=g.choice(["DCR", "CRD"]))


def compute(g, x):
    """Now and then something that is no view."""
    g.need(x.dtype == "f32")
    kind = g.choice(["unary", "binary", "sum", "product"])
    if kind == "unary":
        return g.one(g.choice(["Relu", "Neg", "Abs", "Tanh"]), x)
    if kind == "binary":
        return g.one(g.choice(["Add", "Mul", "Max"]), x, g.partner(x))
    if kind == "sum":
        return g.one("ReduceSum", x, g.ints([g.axis(x)]),
                     keepdims=g.choice([0, 1]))
    g.need(x.rank >= 2)
    shape = [x.shape[-1], g.choice([1, 5, 64])]
    room(g, x, shape[1] / shape[0])
    return g.one("MatMul", x, g.some("f32", shape=shape))


STEPS = [reshape] * 5 + [transpose] * 4 + [gather] * 3 + [cut] * 3 + \
    [concat] * 2 + [pad] * 2 + [tile] * 2 + [expand] * 3 + \
    [halves, squeeze, blocks, compute]


def views(g):
    g.need(g.opset >= 13)
    found = [whole(g)]
    for _ in range(g.integer(3, 12)):
        x = found[-1] if g.chance(0.85) else g.choice(found[-4:])
        if x.rank == 0:
            break
        try:
            found.append(g.choice(STEPS)(g, x))
        except Unfit:
            continue
    # Operators that want their operands to lie in some way.
    for _ in range(3):
        g.wanted = found[-1]
        g.grow(g)
    g.wanted = None
