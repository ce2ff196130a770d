# SPDX-License-Identifier: Apache-2.0
"""Rules for ai.onnx.preview.training, and for operators that draw numbers, where
there is one number to draw."""

import numpy as np

from .build import DTYPES, FLOATS, onnx_dtype
from .rules import rule


def optimiser(g, op, form, state_count, **attrs):
    """Learning rate, time, then tensors, gradients and states of each."""
    count = g.choice([1, 1, 2, 3])
    tensors = [g.some(form.dtype(g, ("f32",)), share=0.5)
               for _ in range(count)]
    gradients = [g.some(v.dtype, shape=v.shape) for v in tensors]
    states = [[g.fresh(v.dtype, v.shape, 0.1, 2) for v in tensors]
              for _ in range(state_count)]
    operands = [g.add(np.float32(g.choice([0.1, 0.02]))),
                g.add(np.int64(g.integer(0, 5))), *tensors, *gradients]
    return g.node(op, operands + sum(states, []), count * (1 + state_count),
                  domain=form.domain, **attrs)[0]


@rule("Adam")
def adam(g, op, form):
    return optimiser(g, op, form, 2, alpha=g.choice([None, 0.8]),
                     beta=g.choice([None, 0.95]),
                     epsilon=g.choice([None, 1e-3]),
                     norm_coefficient=g.choice([None, 0.01]),
                     norm_coefficient_post=g.choice([None, 0.02]))


@rule("Adagrad")
def adagrad(g, op, form):
    return optimiser(g, op, form, 1, decay_factor=g.choice([None, 0.1]),
                     epsilon=g.choice([None, 1e-3]),
                     norm_coefficient=g.choice([None, 0.01]))


@rule("Momentum")
def momentum(g, op, form):
    return optimiser(g, op, form, 1, alpha=0.9, beta=g.choice([1.0, 0.8]),
                     mode=g.choice(["standard", "nesterov"]),
                     norm_coefficient=0.01)


# --- Gradient ----------------------------------------------------------------

ONE = ["Sigmoid", "Tanh", "Sin", "Cos", "Neg", "Relu", "Abs", "Softplus", "Exp",
       "Softmax", "LogSoftmax", "Transpose", "Reshape", "ReduceMean", "Elu",
       "LeakyRelu", "HardSigmoid", "Selu", "Softsign", "Identity", "Flatten",
       "Sqrt", "Log", "Reciprocal", "Erf", "Gelu", "HardSwish", "Mish"]
TWO = ["Add", "Sub", "Mul", "Div", "Max", "Min", "MatMul", "Gemm", "Concat",
       "Where", "Pow", "Sum", "Mean", "PRelu"]


def derived(g, op, x, others):
    """A node with a derivative on `x`."""
    if op in ("Sqrt", "Log", "Reciprocal"):
        x = g.one("Add", g.one("Mul", x, x), g.known(np.float32(0.3)))
    if op in ONE:
        attrs = {"Softmax": {"axis": x.rank - 1},
                 "LogSoftmax": {"axis": x.rank - 1},
                 "Transpose": {"perm": [1, 0]},
                 "Gelu": {"approximate": g.choice(["none", "tanh"])},
                 "ReduceMean": {"keepdims": g.choice([0, 1])}}.get(op, {})
        if op in ("Softmax", "LogSoftmax", "Transpose", "Exp"):
            g.need(x.rank == 2 and x.within(-20, 4))
        operands = [g.ints([-1] if x.rank == 0 else [x.array.size])] \
            if op == "Reshape" else []
        return g.one(op, x, *operands, **attrs)
    other = g.choice([v for v in others if v.shape == x.shape] or [x])
    if op == "Div":
        other = g.fresh("f32", x.shape, 0.5, 2)
    if op == "Pow":
        other = g.known(np.float32(g.choice([1, 2, 3])))
    if op in ("MatMul", "Gemm"):
        g.need(x.rank == 2 and g.opset >= 11)
        other = g.fresh("f32", [x.shape[1], 3])
    if op in ("Add", "Sub", "Mul", "Max") and x.rank == 2 and g.chance(0.3):
        other = g.fresh("f32", g.choice([[1, x.shape[1]], [x.shape[1]], []]))
    if op == "Where":
        g.need(g.opset >= 9)
        return g.one(op, g.fresh("bool", x.shape), x, other)
    if op == "Concat":
        g.need(x.rank > 0)
        return g.one(op, x, other, axis=0)
    return g.one(op, x, other)


@rule("Gradient")
def gradient(g, op, form):
    g.need(g.outer is None)
    shape = [g.integer(1, 3), g.integer(1, 4)]
    xs = [g.fresh("f32", shape, -1.5, 1.5, "input")
          for _ in range(g.choice([1, 1, 2]))]
    made = list(xs)
    for _ in range(g.integer(1, 5)):
        y = derived(g, g.choice(ONE + TWO), g.choice(made[-2:]), made)
        y.fixed = True
        made.append(y)
    return g.node(op, xs, len(xs), domain=form.domain, captured=[y],
                  xs=[v.name for v in xs], y=y.name)[0]


# --- numbers that are drawn --------------------------------------------------


@rule("RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike")
def drawn(g, op, form):
    number = g.choice([0.5, -2.0, 3.0])
    attrs = {"low": number, "high": number} if "Uniform" in op else \
        {"mean": number, "scale": 1e-30}
    attrs["seed"] = g.choice([None, 3.0])
    attrs["dtype"] = g.choice([1, 10])
    if not op.endswith("Like"):
        return g.one(op, shape=g.shape(g.integer(1, 4)), **attrs)
    x = g.some(form.dtype(g))
    if x.dtype in ("f32", "f16") and g.chance(0.5):
        del attrs["dtype"]
    return g.one(op, x, **attrs)


@rule("Bernoulli")
def bernoulli(g, op, form):
    kind = form.dtype(g)
    shape = g.shape(g.integer(1, 4))
    x = g.add((g.rng.random(shape) < 0.5).astype(DTYPES[kind]))
    to = g.choice([None, "f32", "i64", "bool", "u8", "f16"])
    return g.one(op, x, dtype=to and onnx_dtype(DTYPES[to]))


@rule("Multinomial")
def multinomial(g, op, form):
    kind = form.dtype(g, FLOATS)
    rows, places = g.integer(1, 4), g.choice([1, 2, 5, 40])
    weights = np.full([rows, places], -80)
    weights[range(rows), g.rng.integers(0, places, rows)] = 0
    return g.one(op, g.add(weights.astype(DTYPES[kind])),
                 sample_size=g.choice([None, 1, 7]),
                 dtype=g.choice([None, 6, 7]))
