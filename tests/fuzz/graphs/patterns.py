# SPDX-License-Identifier: Apache-2.0
"""Groups of nodes as exporters write them, which passes look for: a pattern adds
all nodes of one form, in one of the orders in which it is met."""

import numpy as np

from .models import MODELS
from .rules import image, window
from .views import views


def scalar(g, number):
    return g.known(np.float32(number))


def wide(g, least_rank=1):
    return g.some("f32", least_rank=least_rank, least=2, most_rank=4)


def either(g, op, a, b):
    """The operands of an operator that commutes, in some order."""
    return g.one(op, a, b) if g.chance(0.5) else g.one(op, b, a)


def gelu(g):
    x = wide(g)
    inner = g.one("Div", x, scalar(g, 2 ** 0.5)) if g.chance(0.5) else \
        either(g, "Mul", x, scalar(g, 0.5 ** 0.5))
    one = either(g, "Add", g.one("Erf", inner), scalar(g, 1))
    if g.chance(0.5):
        return either(g, "Mul", either(g, "Mul", x, one), scalar(g, 0.5))
    return either(g, "Mul", either(g, "Mul", x, scalar(g, 0.5)), one)


def gelu_tanh(g):
    x = wide(g)
    cube = g.one("Pow", x, scalar(g, 3)) if g.chance(0.5) else \
        g.one("Mul", x, g.one("Mul", x, x))
    inner = either(g, "Add", x, either(g, "Mul", cube, scalar(g, 0.044715)))
    inner = either(g, "Mul", inner, scalar(g, (2 / np.pi) ** 0.5))
    one = either(g, "Add", g.one("Tanh", inner), scalar(g, 1))
    return either(g, "Mul", either(g, "Mul", x, scalar(g, 0.5)), one)


def silu(g):
    x = wide(g)
    return either(g, "Mul", x, g.one("Sigmoid", x))


def hard_swish(g):
    x = wide(g)
    g.need(g.opset >= 11)
    inner = g.one("Clip", either(g, "Add", x, scalar(g, 3)), scalar(g, 0),
                  scalar(g, 6))
    return g.one("Div", either(g, "Mul", x, inner), scalar(g, 6))


def mean(g, x, op="ReduceMean"):
    if g.opset >= (13 if op == "ReduceSum" else 18):
        return g.one(op, x, g.ints([-1]), keepdims=1)
    return g.one(op, x, axes=[-1], keepdims=1)


def square(g, x):
    return g.one("Pow", x, scalar(g, 2)) if g.chance(0.6) else \
        g.one("Mul", x, x)


def deviation(g, squares):
    return g.one("Sqrt", either(g, "Add", mean(g, squares), scalar(g, 1e-3)))


def affine(g, x, shift=True):
    size = x.shape[-1:]
    x = either(g, "Mul", x, g.some("f32", shape=size))
    return either(g, "Add", x, g.some("f32", shape=size)) if shift else x


def layer_norm(g):
    g.need(g.opset >= 11)
    x = wide(g)
    centred = g.one("Sub", x, mean(g, x))
    normal = g.one("Div", centred, deviation(g, square(g, centred)))
    return affine(g, normal, g.chance(0.8)) if g.chance(0.8) else normal


def rms_norm(g):
    g.need(g.opset >= 11)
    x = wide(g)
    size = deviation(g, square(g, x))
    normal = g.one("Div", x, size) if g.chance(0.4) else \
        either(g, "Mul", x, g.one("Reciprocal", size))
    return affine(g, normal, False)


def softmax(g, x=None):
    g.need(g.opset >= 11)
    x = x or wide(g)
    if g.chance(0.5):
        return g.one("Softmax", x, axis=-1 if g.opset >= 13 else x.rank - 1)
    top = g.one("ReduceMax", x, g.ints([-1])) if g.opset >= 18 else \
        g.one("ReduceMax", x, axes=[-1])
    powers = g.one("Exp", g.one("Sub", x, top))
    return g.one("Div", powers, mean(g, powers, "ReduceSum"))


def attention(g):
    batch, heads = g.choice([1, 2]), g.choice([1, 2, 3])
    rows, columns = g.choice([1, 3, 17, 64]), g.choice([1, 5, 17, 64])
    depth = g.choice([4, 8, 33])
    q = g.some("f32", shape=[batch, heads, rows, depth])
    k = g.some("f32", shape=[batch, heads, columns, depth])
    v = g.some("f32", shape=[batch, heads, columns, depth])
    scale = depth ** -0.5
    if g.chance(0.4):
        q = either(g, "Mul", q, scalar(g, scale))
        scale = None
    scores = g.one("MatMul", q, g.one("Transpose", k, perm=[0, 1, 3, 2]))
    if scale:
        scores = either(g, "Mul", scores, scalar(g, scale)) \
            if g.chance(0.5) else g.one("Div", scores, scalar(g, 1 / scale))
    shape = [g.choice([1, batch]), g.choice([1, heads]), rows, columns]
    how = g.choice(["none", "add", "where"])
    if how == "add":
        scores = either(g, "Add", scores, g.some("f32", shape=shape))
    elif how == "where":
        g.need(g.opset >= 9)
        mask = g.rng.random(shape) < 0.7
        mask[..., 0] = True
        scores = g.one("Where", g.add(mask), scores, scalar(g, -1e4))
    return g.one("MatMul", softmax(g, scores), v)


def rotary(g):
    x = g.some("f32", shape=[g.choice([1, 2]), g.choice([1, 3]),
                             g.choice([1, 5, 16]), g.choice([4, 8, 64])])
    half = x.shape[-1] // 2
    g.need(g.opset >= 13)
    low, high = g.node("Split", [x, g.ints([half, half])], 2, axis=-1)
    turned = g.one("Concat", g.one("Neg", high), low, axis=-1)
    shape = [x.shape[2], x.shape[3]]
    return either(g, "Add", either(g, "Mul", x, g.some("f32", shape=shape)),
                  either(g, "Mul", turned, g.some("f32", shape=shape)))


def activation(g, x):
    op = g.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", None])
    return g.one(op, x) if op else x


def convolution(g):
    """With a batch normalisation, a sum and an activation behind it."""
    x = image(g, "f32")
    attrs, _ = window(g, x.shape[2:])
    out = g.choice([1, 4, 8, 33])
    group = 1
    if g.chance(0.2):
        group = out = x.shape[1]
    shape = [out, x.shape[1] // group, *attrs["kernel_shape"]]
    g.need(np.prod(shape) < 40000)
    y = g.one("Conv", x, g.fresh("f32", shape, kind="known"), group=group,
              **attrs)
    if g.chance(0.6):
        vectors = [g.fresh("f32", [out], kind="known") for _ in range(3)]
        y = g.one("BatchNormalization", y, *vectors,
                  g.fresh("f32", [out], 0.2, 3, kind="known"))
    if g.chance(0.4):
        y = either(g, "Add", y, g.some("f32", shape=y.shape))
    return activation(g, y)


def linear(g):
    x = wide(g, 2)
    out = g.choice([1, 5, 64, 130])
    w = g.fresh("f32", [x.shape[-1], out], kind="known")
    y = either(g, "Add", g.one("MatMul", x, w), g.some("f32", shape=[out]))
    return activation(g, y)


def excite(g):
    x = image(g, "f32", rank=2)
    channels, few = x.shape[1], g.choice([1, 2, 8])
    mean_ = g.one("GlobalAveragePool", x)
    down = g.one("Relu", g.one("Conv", mean_, g.fresh(
        "f32", [few, channels, 1, 1])))
    up = g.one("Sigmoid", g.one("Conv", down, g.fresh(
        "f32", [channels, few, 1, 1])))
    return either(g, "Mul", x, up)


def blocks(g):
    """Windows or heads: a dimension is split and moved."""
    g.need(g.opset >= 5)
    a, b, c = g.choice([1, 2, 3]), g.choice([2, 4, 8]), g.choice([3, 8, 32])
    rows = g.choice([1, 5, 16, 49])
    x = g.some("f32", shape=[a, rows, b * c])
    y = g.one("Transpose", g.one("Reshape", x, g.ints([a, rows, b, c])),
              perm=g.choice([[0, 2, 1, 3], [0, 2, 3, 1], [2, 0, 1, 3]]))
    if g.chance(0.5):
        y = activation(g, y)
    return g.one("Reshape", y, g.ints(g.choice([[a, -1], [-1, rows], [-1]])))


def quantised(g):
    g.need(g.opset >= 13)
    x = g.some("f32", low=-6, high=6, least=1)
    zero = g.known(np.int8(g.integer(-5, 5)))
    scale = scalar(g, g.choice([0.05, 0.06, 0.031]))
    y = g.one("DequantizeLinear", g.one("QuantizeLinear", x, scale, zero),
              scale, zero)
    return activation(g, y)


PATTERNS = {f.__name__: f for f in (
    gelu, gelu_tanh, silu, hard_swish, layer_norm, rms_norm, softmax, attention,
    rotary, convolution, linear, excite, blocks, quantised, views,
    *MODELS)}
