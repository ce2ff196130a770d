#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft that carry a state, as ms_attention.py has others."""

import sys

import numpy as np

import ms_attention
from cases import sizes
from ms_attention import Case, floats, maybe, pick


def causal_conv(rng, op):
    batch, channels, length, window = sizes(rng, 4, 5)
    dilation, last = pick(rng, 1, 1, 2), pick(rng, None, 0, 1)
    kept = (window - 1) * dilation
    shape, past = (batch, channels, length), (batch, channels, kept)
    if last:
        inner = pick(rng, (channels,), (channels, 3))
        channels = int(np.prod(inner))
        shape, past = (batch, length, *inner), (batch, kept, *inner)
    return Case(op, {"x": floats(rng, *shape),
                     "w": floats(rng, channels, 1, window),
                     "b": maybe(rng, floats(rng, channels)),
                     "p": maybe(rng, floats(rng, *past)) if kept else None},
                outputs=2, known=pick(rng, ["w", "b"], []),
                activation=pick(rng, None, "none", "silu", "swish"),
                dilation=dilation if dilation > 1 else None, channels_last=last)


def linear_attention(rng, op):
    batch, tokens, heads, group = sizes(rng, 4, 3)
    keys, values = (4 * int(v) for v in rng.integers(1, 4, 2))
    rule = pick(rng, "linear", "gated", "delta", "gated_delta", None)
    name = rule or "gated_delta"
    decay = beta = None
    if "gated" in name:
        decay = -rng.random((batch, tokens, heads * pick(rng, 1, keys)))
        decay = decay.astype(np.float32)
    if "delta" in name:
        beta = rng.random((batch, tokens, pick(rng, 1, heads)))
        beta = beta.astype(np.float32)
    key = floats(rng, batch, tokens, heads, keys)
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    state = floats(rng, batch, heads, keys, values)
    queries = heads * group
    if rng.random() < 0.3:  # heads of values share those of queries and keys
        wide = pick(rng, *(n for n in range(1, heads + 1) if heads % n == 0))
        queries, key = heads // wide, key[:, :, :pick(rng, heads, heads // wide)]
    return Case(op, {"q": floats(rng, batch, tokens, queries * keys),
                     "k": key.reshape(batch, tokens, -1),
                     "v": floats(rng, batch, tokens, heads * values),
                     "s": maybe(rng, state), "d": decay, "b": beta},
                outputs=2, q_num_heads=queries, kv_num_heads=heads,
                update_rule=rule, scale=pick(rng, None, 0.0, 0.3))


def delta_net(rng, op):
    batch, each, heads, group = (int(v) for v in rng.integers(1, 4, 4))
    keys, values = (4 * int(v) for v in rng.integers(1, 4, 2))
    tokens, wide = batch * each, heads * group
    rule = pick(rng, "linear", "gated", "delta", "gated_delta", None)
    name = rule or "gated_delta"
    decay = beta = a_log = dt_bias = gate = rate = None
    if "gated" in name:
        shape = pick(rng, (tokens, wide), (tokens, wide, keys))
        decay, gate = -rng.random(shape).astype(np.float32), maybe(rng, "qwen")
        if gate:
            a_log, dt_bias = floats(rng, wide) / 4, floats(rng, wide)
    if "delta" in name:
        beta = rng.random((tokens, wide)).astype(np.float32)
        rate = maybe(rng, "sigmoid")
    query, key = (floats(rng, tokens, heads, keys) for _ in range(2))
    norm = 0 if "delta" not in name else pick(rng, 0, 1)
    if "delta" in name and not norm:
        key /= np.linalg.norm(key, axis=-1, keepdims=True)
    starts = np.arange(batch + 1) * each
    if rng.random() < 0.6:
        starts[1:-1] = np.sort(rng.integers(0, tokens + 1, batch - 1))
    starts = pick(rng, starts.astype(np.int32), starts.astype(np.int32), None)
    state = floats(rng, batch, wide, values, keys)
    if starts is not None:
        state = maybe(rng, state)
    return Case(op, {"q": query, "k": key, "v": floats(rng, tokens, wide, values),
                     "c": starts, "d": decay, "b": beta, "s": state, "a": a_log,
                     "t": dt_bias},
                outputs=2, known=pick(rng, [], ["c"]), update_rule=rule,
                scale=pick(rng, None, 0.0, 0.3), gate_activation=gate,
                beta_activation=rate, qk_l2_norm=norm or None)


def attention_gate(rng, op):
    shape = sizes(rng, 3, 5)
    b = maybe(rng, floats(rng, *shape))
    return Case(op, {"a": 4 * floats(rng, *shape), "t": floats(rng, shape[2]),
                     "s": -rng.random(shape[2]).astype(np.float32), "b": b},
                outputs=1 if b is None else 2)


def gated_norm(rng, op):
    *lead, groups, width = sizes(rng, 4, 5)
    shape = (*lead, groups * width)
    return Case(op, {"x": floats(rng, *shape), "s": floats(rng, width),
                     "g": floats(rng, *shape)}, epsilon=pick(rng, None, 1e-2),
                activation=pick(rng, None, "silu", "swish", "sigmoid"))


OPERATORS = {
    "CausalConvWithState": causal_conv,
    "LinearAttention": linear_attention,
    "GatedDeltaNet": delta_net,
    "LinearAttentionGate": attention_gate,
    "GatedRMSNorm": gated_norm,
}

if __name__ == "__main__":
    sys.exit(ms_attention.main(OPERATORS))
