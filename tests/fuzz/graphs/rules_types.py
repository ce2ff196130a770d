# SPDX-License-Identifier: Apache-2.0
"""Rules for what changes the type of elements: conversions, quantisation."""

import numpy as np

from .build import DTYPES, FLOATS, INTS, SMALL_FLOATS, SMALL_INTS, onnx_dtype
from .rules import QUANTISED, rule, scale_of, zero_point
from .rules_host import parse_texts

# The version of Cast, and of what quantises, from which on there is a type.
SINCE = {"bf16": 13, "f8e4m3fn": 19, "f8e5m2": 19, "f8e4m3fnuz": 19,
         "f8e5m2fnuz": 19, "i4": 21, "u4": 21, "f4e2m1fn": 23, "f8e8m0": 24,
         "i2": 25, "u2": 25, "f6e2m3fn": 28, "f6e3m2fn": 28}
LARGEST = {"f8e4m3fn": 448, "f8e5m2": 57344, "f8e4m3fnuz": 240,
           "f8e5m2fnuz": 57344, "f6e2m3fn": 7.5, "f6e3m2fn": 28, "f4e2m1fn": 6}


NUMBERS = [n for n in DTYPES if n != "text"]


def convertible(x, to):
    """Whether `to` holds the numbers of x, or says what becomes of them."""
    if to == "f8e8m0":
        return x.dtype in FLOATS and x.within(2.0 ** -20, 2.0 ** 20)
    if to in SMALL_FLOATS:
        return x.dtype in FLOATS and x.within(-2 * LARGEST[to],
                                              2 * LARGEST[to])
    if to in SMALL_INTS:
        return x.dtype in INTS or x.within(*SMALL_INTS[to])
    if to in INTS:
        return x.dtype == "bool" or x.within(0 if to[0] == "u" else -100,
                                             200 if to[0] == "u" else 100)
    return x.dtype != "text" and to != "f64"


def operand(g, form, to):
    """One that `to` can hold, more often than chance would have it."""
    low, high = {"f8e8m0": (0.01, 90), "f4e2m1fn": (-7, 7),
                 "f6e2m3fn": (-9, 9)}.get(to, SMALL_INTS.get(to, (None, None)))
    if low is not None and g.chance(0.8):
        x = g.some(form.dtype(g, FLOATS), low=low, high=high)
    else:
        x = g.some(form.dtype(g))
    g.need(convertible(x, to))
    return x


@rule("Cast")
def cast(g, op, form):
    if "text" in form.dtypes and g.chance(0.05):
        return parse_texts(g, op, form)
    to = g.choice([n for n in NUMBERS if form.since >= SINCE.get(n, 0)] +
                  ["f32"] * 6 + [n for n in SMALL_INTS
                                 if form.since >= SINCE[n]] * 2)
    x = operand(g, form, to)
    attrs = {}
    if to.startswith("f8e4") or to.startswith("f8e5"):
        attrs["saturate"] = g.choice([None, None, 1, 0])
        g.need(attrs["saturate"] != 0 or x.within(-LARGEST[to], LARGEST[to]))
    if to == "f8e8m0":
        attrs["round_mode"] = g.choice([None, "up", "down", "nearest"])
    return g.one(op, x, to=onnx_dtype(DTYPES[to]), **attrs)


@rule("CastLike")
def cast_like(g, op, form):
    like = g.some([n for n in NUMBERS if form.since >= SINCE.get(n, 0)])
    return g.one(op, operand(g, form, like.dtype), like)


@rule("BitCast")
def bit_cast(g, op, form):
    x = g.some(form.dtype(g))
    size = x.array.dtype.itemsize
    g.need(x.dtype not in SMALL_INTS and x.dtype[:2] not in ("f4", "f6"))
    to = g.choice([n for n in INTS if DTYPES[n].itemsize == size])
    return g.one(op, x, to=onnx_dtype(DTYPES[to]))


# --- quantisation ------------------------------------------------------------


def factors(g, form, x):
    """The shape of scales, and the attributes that tell how they lie."""
    if form.since < 13 or x.rank == 0 or g.chance(0.5):
        return (), {}
    axis = g.axis(x)
    if form.since < 21 or g.chance(0.5):
        return (x.shape[axis],), {"axis": axis}
    g.need(x.rank > 1 and x.array.size)
    block = g.integer(1, min(x.shape[axis], 40))
    shape = list(x.shape)
    shape[axis] = -(-shape[axis] // block)
    return tuple(shape), {"axis": axis, "block_size": block}


def zero_of(g, kind, shape):
    """A zero point; where there may be no other, 0."""
    if kind in QUANTISED:
        return zero_point(g, kind, shape)
    if kind in SMALL_INTS and g.chance(0.6):
        low, high = SMALL_INTS[kind]
        return g.add(g.rng.integers(low, high + 1, shape).astype(DTYPES[kind]))
    return g.add(np.zeros(shape, DTYPES[kind]))


@rule("QuantizeLinear")
def quantize(g, op, form):
    x = g.some(form.dtype(g, ("f32", "f16", "bf16")))
    kinds = QUANTISED + (("i16", "u16") if form.since >= 21 else ()) + \
        tuple(n for n in SMALL_INTS if form.since >= SINCE[n]) + \
        tuple(n for n in LARGEST if form.since >= SINCE[n])
    kind = g.choice(kinds + QUANTISED)
    shape, attrs = factors(g, form, x)
    scale = scale_of(g, shape, x.array.dtype)
    if kind in SMALL_FLOATS or kind in SMALL_INTS:
        scale = g.add((scale.array * 10).astype(x.array.dtype))
    if kind in SMALL_FLOATS and form.since >= 19:
        attrs["saturate"] = g.choice([None, 1])
    if kind == "u8" and g.chance(0.3):
        return g.one(op, x, scale, **attrs)
    if form.since >= 21 and g.chance(0.3):
        return g.one(op, x, scale, output_dtype=onnx_dtype(DTYPES[kind]),
                     **attrs)
    return g.one(op, x, scale, zero_of(g, kind, shape), **attrs)


@rule("DequantizeLinear")
def dequantize(g, op, form):
    x = g.some(form.dtype(g))
    g.need(x.dtype not in ("i64", "u64", "u32"))
    shape, attrs = factors(g, form, x)
    kinds = ["f32"] * 4 + (["f16", "bf16"] if form.since >= 19 else [])
    operands = [x, scale_of(g, shape, DTYPES[g.choice(kinds)])]
    if form.since >= 28 and g.chance(0.3):
        operands[1] = g.fresh("f8e8m0", shape)
        attrs["output_dtype"] = onnx_dtype(DTYPES[g.choice(kinds)])
    elif form.since >= 23 and g.chance(0.2):
        attrs["output_dtype"] = onnx_dtype(DTYPES[g.choice(["f32", "f16"])])
    if x.dtype != "i32" and g.chance(0.6):
        operands.append(zero_of(g, x.dtype, shape))
    return g.one(op, *operands, **attrs)
