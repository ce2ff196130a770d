#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts of com.microsoft, as ms_attention.py has others."""

import sys

import numpy as np

import ms_attention
from cases import sizes
from ms_attention import Case, floats, maybe, pack, pick


def extents(rng):
    (tokens,), count = sizes(rng, 1, 6), int(rng.integers(1, 7))
    return tokens, count, 16 * int(rng.integers(1, 4)), 16 * int(
        rng.integers(1, 3))


def shape_of(rng, tokens, hidden):
    return pick(rng, (tokens, hidden), (1, tokens, hidden))


def attributes(rng, count):
    act = pick(rng, "relu", "gelu", "silu", "identity", "swiglu", "swiglu")
    attrs = {"k": int(rng.integers(1, count + 1)), "activation_type": act,
             "normalize_routing_weights": pick(rng, 0, 1)}
    if act == "swiglu":
        attrs.update(swiglu_fusion=1, activation_alpha=pick(rng, 1.0, 1.702),
                     activation_beta=pick(rng, 0.0, 1.0),
                     swiglu_limit=pick(rng, None, 0.5))
    return attrs, 2 if act == "swiglu" else 1


def scores(rng, tokens, count):
    """Some of a token are equal now and then."""
    found = floats(rng, tokens, count)
    return pick(rng, found, np.round(found))


def experts(rng, op):
    tokens, count, hidden, inner = extents(rng)
    attrs, fused = attributes(rng, count)
    scale = np.float32(1 / np.sqrt(hidden))
    return Case(op, {
        "x": floats(rng, *shape_of(rng, tokens, hidden)),
        "r": scores(rng, tokens, count),
        "w1": scale * floats(rng, count, fused * inner, hidden),
        "b1": maybe(rng, floats(rng, count, fused * inner)),
        "w2": scale * floats(rng, count, hidden, inner),
        "b2": maybe(rng, floats(rng, count, hidden))},
        known=["w1", "w2"], **attrs)


def quantised(rng, count, rows, columns, bits, block):
    """Weights, scales and zero points as the operator has them."""
    weights = rng.integers(0, 1 << bits, (count, rows, columns))
    weights = weights.astype(np.uint8)
    blocks = columns // block if block else 1
    scales = (0.2 + rng.random((count, rows, blocks))) / (4 << bits)
    zeros = rng.integers(0, 1 << bits, (count, rows, blocks)).astype(np.uint8)
    if not block:
        scales, zeros = scales[..., 0], zeros[..., 0]
    return (pack(weights, bits), scales.astype(np.float32), pack(zeros, bits))


def quantised_experts(rng, op):
    tokens, count, hidden, inner = extents(rng)
    attrs, fused = attributes(rng, count)
    # With blocks of 8 bits ONNX Runtime quantises what goes in, too.
    bits, block = pick(rng, (4, None), (4, 16), (8, None), (2, 16))
    w1, s1, z1 = quantised(rng, count, fused * inner, hidden, bits, block)
    w2, s2, z2 = quantised(rng, count, hidden, inner, bits, block)
    if rng.random() < 0.5:
        z1 = z2 = None
    inputs = {"x": floats(rng, *shape_of(rng, tokens, hidden)),
              "r": scores(rng, tokens, count), "w1": w1, "s1": s1,
              "b1": maybe(rng, floats(rng, count, fused * inner)), "w2": w2,
              "s2": s2, "b2": maybe(rng, floats(rng, count, hidden)),
              "w3": None, "s3": None, "b3": None, "z1": z1, "z2": z2}
    if rng.random() < 0.3:
        inputs["z3"] = None
        inputs["rw"] = rng.random((tokens, count)).astype(np.float32)
    elif attrs["k"] < count:
        attrs["normalize_routing_weights"] = 1
    return Case(op, inputs, known=["w1", "s1", "w2", "s2", "z1", "z2"],
                expert_weight_bits=bits, block_size=block, **attrs)


def unpack(bytes_of, bits):
    parts = [bytes_of >> i & ((1 << bits) - 1) for i in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*bytes_of.shape[:-1], -1)


def apart_experts(rng, op):
    """The factor of the activation as a third layer: ONNX Runtime has it on the
    CPU as other columns of the first only, with SwiGLU."""
    case = quantised_experts(rng, op)
    while case.attrs.get("swiglu_fusion") != 1:
        case = quantised_experts(rng, op)
    silu = rng.random() < 0.5
    if silu:
        case.attrs.update(activation_alpha=1.0, activation_beta=0.0)
        case.attrs.pop("swiglu_limit", None)
    found = ms_attention.judge(case, ["y"])
    case.expected = lambda _: found
    joined = dict(case.inputs)
    for name in ("w", "s", "b", "z"):
        both = joined[f"{name}1"]
        if both is None:
            continue
        if name == "z" and both.ndim == 2:  # dense along the columns
            both = unpack(both, case.attrs["expert_weight_bits"])
            parts = [pack(both[:, i::2], case.attrs["expert_weight_bits"])
                     for i in range(2)]
        else:
            parts = [both[:, i::2] for i in range(2)]
        case.inputs.update({f"{name}1": parts[0], f"{name}3": parts[1]})
    case.known |= {"w3", "s3", "z3"}
    case.attrs.update(swiglu_fusion=0, **({"activation_type": "silu"} if silu
                                          else {}))
    return case


def either(rng, op):
    return pick(rng, quantised_experts, quantised_experts,
                apart_experts)(rng, op)


OPERATORS = {"MoE": experts, "QMoE": quantised_experts}

if __name__ == "__main__":
    sys.exit(ms_attention.main({**OPERATORS, "QMoE": either}))
