#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention over buffers that past and present share, as ms_attention.py has
other operators of com.microsoft."""

import sys

import numpy as np

import ms_attention
from ms_attention import Case, floats, maybe, pick


def heads(rng, op):
    """One new token, in a buffer; ONNX Runtime writes no more."""
    batch, count, depth = (int(v) for v in rng.integers(1, 4, 3))
    beams = maybe(rng, int(rng.integers(1, 4)))
    batch *= beams or 1
    past, width = int(rng.integers(0, 5)), count * depth
    rows, total = past + int(rng.integers(1, 5)), past + 1
    q, k, v = (floats(rng, batch, 1, width) for _ in range(3))
    mask = rng.integers(0, 2, (batch, total)).astype(np.int32)
    mask[:, -1] = 1
    extra = floats(rng, pick(rng, 1, batch), pick(rng, 1, count), 1, total)
    indirection = None
    if beams is not None:  # garbage where no beam was yet
        indirection = rng.integers(0, beams, (batch // beams, beams, rows))
        indirection[:, :, past:] = 1 << 20
        indirection = indirection.astype(np.int32)
        extra = extra[:1]
    bias, mask = maybe(rng, floats(rng, 3 * width)), maybe(rng, mask)
    extra = maybe(rng, extra)
    cache = {"pk": floats(rng, batch, count, rows, depth),
             "pv": floats(rng, batch, count, rows, depth),
             "past": np.array([past], np.int32)}
    if op == "MultiHeadAttention":
        inputs = {"q": q, "k": k, "v": v, "bias": bias, "mask": mask,
                  "extra": extra, **cache, "beams": indirection}
    else:
        inputs = {"q": q, "k": k, "v": v, "mask": mask, "extra": extra, **cache,
                  "width": None if beams is None else np.array([beams],
                                                               np.int32),
                  "beams": indirection, "bias": bias}
    judged = inputs
    if op != "MultiHeadAttention" and rng.random() < 0.3:
        inputs = {**inputs, "q": np.concatenate([q, k, v], 2), "k": None,
                  "v": None}
    scores = pick(rng, None, 1)
    attrs = {} if op == "MultiHeadAttention" else {
        "past_present_share_buffer": 1, "output_qk": scores}
    return Case(op, inputs, judged=judged, outputs=4 if scores else 3,
                known=pick(rng, [], ["past"]), num_heads=count,
                scale=maybe(rng, 0.3), mask_filter_value=maybe(rng, -20.0),
                **attrs)


def cross(rng, op):
    """Keys and values behind their projection, queries before their bias."""
    batch, count, depth, rows, keys = (int(v) for v in rng.integers(1, 5, 5))
    rows = 1 if op == "DecoderMaskedMultiHeadAttention" else rows
    width = count * depth
    mask = rng.integers(0, 2, (batch, keys)).astype(np.int32)
    mask[:, 0] = 1
    q = floats(rng, batch, rows, width)
    k, v = (floats(rng, batch, count, keys, depth) for _ in range(2))
    bias = maybe(rng, floats(rng, 3 * width))
    if op == "MultiHeadAttention":
        return Case(op, {"q": q, "k": k, "v": v, "bias": bias,
                         "mask": maybe(rng, mask)}, num_heads=count)
    empty = {n: None for n in ("extra", "pk", "pv", "past", "width", "beams")}
    return Case(op, {"q": q, "k": k, "v": v, "mask": maybe(rng, mask), **empty,
                     "bias": bias}, num_heads=count)


def either(rng, op):
    return pick(rng, heads, heads, cross)(rng, op)


ms_attention.OPERATORS = {
    "MultiHeadAttention": either,
    "DecoderMaskedMultiHeadAttention": either,
}

if __name__ == "__main__":
    sys.exit(ms_attention.main())
