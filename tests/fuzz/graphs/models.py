# SPDX-License-Identifier: Apache-2.0
"""Parts of models in which tensors are mostly moved: heads that are packed into
one product, windows that are shifted, patches, shuffled channels, caches. Sizes
are those at which tiles end, as images of odd sizes have them."""

import numpy as np

ROWS = [5, 16, 49, 65, 77, 129, 130, 145, 197]


def weights(g, *shape):
    return g.fresh("f32", shape, -0.3, 0.3, kind="known")


def linear(g, x, width):
    x = g.one("MatMul", x, weights(g, x.shape[-1], width))
    return g.one("Add", x, weights(g, width)) if g.chance(0.7) else x


def reshape(g, x, *dims):
    return g.one("Reshape", x, g.ints(dims))


def turn(g, x, *perm):
    return g.one("Transpose", x, perm=list(perm))


def parts(g, x, count, axis):
    """Slices of extent 1, without that dimension, in one of three ways."""
    how = g.choice(["gather", "split", "slice"])
    if how == "gather":
        return [g.one("Gather", x, g.known(np.array(i)), axis=axis)
                for i in range(count)]
    if how == "split":
        found = g.node("Split", [x, g.ints([1] * count)], count, axis=axis)
    else:
        found = [g.one("Slice", x, g.ints([i]), g.ints([i + 1]),
                       g.ints([axis])) for i in range(count)]
    return [g.one("Squeeze", v, g.ints([axis])) for v in found]


def attend(g, q, k, v, bias=None):
    """Of [batch, heads, rows, depth]."""
    scores = g.one("MatMul", q, turn(g, k, 0, 1, 3, 2))
    scores = g.one("Mul", scores, g.known(np.float32(q.shape[-1] ** -0.5)))
    if bias is not None:
        scores = g.one("Add", scores, bias)
    return g.one("MatMul", g.one("Softmax", scores, axis=-1), v)


def heads_of(g, most):
    heads = g.choice([1, 2, 3])
    rows = g.choice([r for r in ROWS if heads * r * r <= most])
    return heads, rows, g.choice([4, 8, 32])


def packed_attention(g):
    heads, rows, depth = heads_of(g, 45000)
    x = g.some("f32", shape=[1, rows, heads * depth], low=-8, high=8)
    y = linear(g, x, 3 * heads * depth)
    if g.chance(0.5):
        y = turn(g, reshape(g, y, 1, rows, 3, heads, depth), 2, 0, 3, 1, 4)
        q, k, v = parts(g, y, 3, 0)
    else:
        parts_of = g.node("Split", [y, g.ints([heads * depth] * 3)], 3, axis=2)
        q, k, v = (turn(g, reshape(g, p, 1, rows, heads, depth), 0, 2, 1, 3)
                   for p in parts_of)
    y = turn(g, attend(g, q, k, v), 0, 2, 1, 3)
    return linear(g, reshape(g, y, 1, rows, heads * depth), heads * depth)


def roll(g, x, axis, by):
    extent = x.shape[axis]
    at = g.ints([axis])
    return g.one("Concat", g.one("Slice", x, g.ints([by]), g.ints([extent]), at),
                 g.one("Slice", x, g.ints([0]), g.ints([by]), at), axis=axis)


def window_attention(g):
    """Windows of an image, shifted, with a bias by the place."""
    size, high, wide = g.choice([2, 3, 4, 7]), g.integer(1, 4), g.integer(1, 3)
    heads, depth = g.choice([1, 2, 3]), g.choice([4, 8])
    width, rows, count = heads * depth, size * size, high * wide
    g.need(count * heads * rows * rows <= 45000)
    x = g.some("f32", shape=[1, high * size, wide * size, width], low=-8,
               high=8)
    shift = g.integer(1, size - 1) if g.chance(0.6) else 0
    if shift:
        x = roll(g, roll(g, x, 1, shift), 2, shift)
    x = turn(g, reshape(g, x, 1, high, size, wide, size, width),
             0, 1, 3, 2, 4, 5)
    x = linear(g, reshape(g, x, -1, rows, width), 3 * width)
    x = turn(g, reshape(g, x, count, rows, 3, heads, depth), 2, 0, 3, 1, 4)
    table = g.fresh("f32", [(2 * size - 1) ** 2, heads])
    places = g.rng.integers(0, (2 * size - 1) ** 2, rows * rows)
    bias = turn(g, reshape(g, g.one("Gather", table, g.ints(places)), rows,
                           rows, heads), 2, 0, 1)
    y = turn(g, attend(g, *parts(g, x, 3, 0),
                       g.one("Unsqueeze", bias, g.ints([0]))), 0, 2, 1, 3)
    y = turn(g, reshape(g, y, 1, high, wide, size, size, width),
             0, 1, 3, 2, 4, 5)
    y = reshape(g, y, 1, high * size, wide * size, width)
    if shift:
        y = roll(g, roll(g, y, 1, high * size - shift), 2, wide * size - shift)
    return y


def merge_patches(g):
    """Every second row and column, beside each other."""
    high, wide, width = (2 * g.choice([1, 3, 7, 9, 14]) for _ in range(3))
    x = g.some("f32", shape=[g.choice([1, 2]), high, wide, width])
    quarters = [g.one("Slice", x, g.ints([a, b]), g.ints([high, wide]),
                      g.ints([1, 2]), g.ints([2, 2]))
                for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))]
    y = g.one("Concat", *quarters, axis=-1)
    y = reshape(g, y, x.shape[0], -1, 4 * width)
    return linear(g, y, g.choice([3, 17, 130]))


def shuffle(g):
    """Channels in groups, each group's first ones first."""
    groups, each = g.choice([2, 3, 4]), g.choice([2, 5, 33, 67])
    high, wide = g.choice([1, 3, 7, 13]), g.choice([1, 5, 8, 14])
    g.need(groups * each * high * wide <= 30000)
    x = g.some("f32", shape=[1, groups * each, high, wide])
    y = turn(g, reshape(g, x, 1, groups, each, high, wide), 0, 2, 1, 3, 4)
    y = reshape(g, y, 1, groups * each, high, wide)
    low, top = g.node("Split", [y, g.ints([each, (groups - 1) * each])], 2,
                      axis=1)
    return g.one("Concat", g.one("Relu", top), low, axis=1)


def pixels(g):
    """An image from channels, and back."""
    size = g.choice([2, 3, 4])
    channels, high, wide = g.choice([1, 3, 5]), g.choice([3, 7, 16, 33]), \
        g.choice([2, 5, 17, 43])
    g.need(channels * size * size * high * wide <= 30000)
    x = g.some("f32", shape=[1, channels * size * size, high, wide])
    y = turn(g, reshape(g, x, 1, channels, size, size, high, wide),
             0, 1, 4, 2, 5, 3)
    y = reshape(g, y, 1, channels, high * size, wide * size)
    if g.chance(0.5):
        y = g.one("Pad", y, g.ints([0, 0, 1, 2, 0, 0, 2, 1]), mode=g.choice(
            ["reflect", "edge", "constant"]))
    return g.one(g.choice(["Relu", "Neg", "Tanh"]), y)


def pairs(g):
    """Rotation of pairs of neighbours."""
    batch, heads, rows = g.choice([1, 2]), g.choice([1, 3]), g.choice(ROWS)
    depth = g.choice([4, 8, 32])
    x = g.some("f32", shape=[batch, rows, heads, depth])
    even, odd = parts(g, reshape(g, x, batch, rows, heads, depth // 2, 2), 2, 4)
    cosine, sine = (g.fresh("f32", [rows, 1, depth // 2]) for _ in range(2))
    real = g.one("Sub", g.one("Mul", even, cosine), g.one("Mul", odd, sine))
    other = g.one("Add", g.one("Mul", even, sine), g.one("Mul", odd, cosine))
    last = g.ints([-1])
    y = g.one("Concat", g.one("Unsqueeze", real, last),
              g.one("Unsqueeze", other, last), axis=-1)
    return turn(g, reshape(g, y, batch, rows, heads, depth), 0, 2, 1, 3)


def cached_attention(g):
    """One token more; heads share keys."""
    kv, group, depth = g.choice([1, 2]), g.choice([1, 2, 4]), g.choice([8, 32])
    past, rows = g.choice(ROWS), g.choice([1, 1, 3])
    heads, all_rows = kv * group, past + rows
    x = g.some("f32", shape=[1, rows, heads * depth], low=-8, high=8)
    q = turn(g, reshape(g, linear(g, x, heads * depth), 1, rows, heads, depth),
             0, 2, 1, 3)
    caches = []
    for _ in range(2):
        new = turn(g, reshape(g, linear(g, x, kv * depth), 1, rows, kv, depth),
                   0, 2, 1, 3)
        old = g.some("f32", shape=[1, kv, past, depth], low=-8, high=8)
        y = g.one("Concat", old, new, axis=2)
        if group > 1:
            y = g.one("Expand", g.one("Unsqueeze", y, g.ints([2])),
                      g.ints([1, kv, group, all_rows, depth]))
            y = reshape(g, y, 1, heads, all_rows, depth)
        caches.append(y)
    y = turn(g, attend(g, q, *caches), 0, 2, 1, 3)
    return reshape(g, y, 1, rows, heads * depth)


def patches(g):
    """An image as rows of a matrix, with a token in front and places added."""
    size, count = g.choice([2, 4, 7]), g.choice([3, 8, 11, 14])
    width = g.choice([8, 33, 64])
    x = g.some("f32", shape=[1, 3, size * count, size * count], low=-8, high=8)
    y = g.one("Conv", x, weights(g, width, 3, size, size),
              strides=[size, size])
    y = turn(g, reshape(g, y, 1, width, count * count), 0, 2, 1)
    token = g.fresh("f32", [1, 1, width])
    y = g.one("Concat", token, y, axis=1)
    y = g.one("Add", y, g.some("f32", shape=[1, count * count + 1, width]))
    if g.chance(0.5):
        return g.one("Gather", y, g.known(np.array(0)), axis=1)
    y = g.one("Slice", y, g.ints([1]), g.ints([count * count + 1]), g.ints([1]))
    return reshape(g, turn(g, y, 0, 2, 1), 1, width, count, count)


def since_13(make):
    """Axes are operands from then on."""
    def checked(g):
        g.need(g.opset >= 13)
        return make(g)
    checked.__name__ = make.__name__
    return checked


MODELS = [since_13(make) for make in (
    packed_attention, window_attention, merge_patches, shuffle, pixels, pairs,
    cached_attention, patches)]
