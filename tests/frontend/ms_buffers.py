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
    return Case(op, inputs, judged=lambda _: judged, outputs=4 if scores else 3,
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


def layouts(rng, count, blocks):
    """Compressed rows of random blocks that have the diagonal."""
    seen = np.tril(rng.random((count, blocks, blocks)) < 0.4)
    seen |= np.eye(blocks, dtype=bool)
    ends = np.cumsum(seen.sum(2), 1)
    rows = np.concatenate([np.zeros((count, 1), np.int64), ends], 1)
    columns = np.full((count, ends.max()), -1)
    for layout in range(count):
        named = np.nonzero(seen[layout])[1]
        columns[layout, :len(named)] = named
    return rows.astype(np.int32), columns.astype(np.int32)


def sparse(rng, op):
    kv, depth, block = int(rng.integers(1, 3)), 16, 16
    heads = kv * int(rng.integers(1, 4))
    form = pick(rng, "prompt", "step", "step")
    batch, blocks = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    cache = blocks * block
    rows = 1 if form == "step" else int(rng.integers(2, cache + 1))
    total = rows if form == "prompt" else int(rng.integers(2, cache + 1))
    lengths = rng.integers(1 if form == "prompt" else 2, total + 1, batch)
    lengths[0] = total
    q = floats(rng, batch, rows, heads * depth)
    k, v = (floats(rng, batch, rows, kv * depth) for _ in range(2))
    if rng.random() < 0.4:
        q, k, v = np.concatenate([q, k, v], 2), None, None
    count = pick(rng, *(n for n in range(1, heads + 1) if heads % n == 0))
    row_starts, columns = layouts(rng, count, blocks)
    turns = pick(rng, 0, 1)
    cosine, sine = ms_attention.angles(rng, cache, depth // 2)
    past = floats(rng, 2, batch, kv, cache, depth)
    inputs = {"q": q, "k": k, "v": v, "pk": past[0], "pv": past[1],
              "rows": row_starts, "columns": columns,
              "total": np.array([total], np.int32),
              "lengths": lengths.astype(np.int32),
              "cos": cosine if turns else None, "sin": sine if turns else None}
    # Rows of the cache and of the result behind the tokens are open.
    real = np.arange(rows) < (lengths if form == "prompt" else
                              np.full(batch, rows))[:, None]
    filled = (np.arange(cache) < lengths[:, None])[:, None, :, None]
    case = Case(op, inputs, outputs=3,
                known=["rows", "columns", *pick(rng, [], ["total"],
                                                ["total", "lengths"])],
                counts={0: real[:, :, None], 1: filled, 2: filled},
                num_heads=heads, kv_num_heads=kv, sparse_block_size=block,
                scale=maybe(rng, 0.3), do_rotary=turns,
                rotary_interleaved=pick(rng, 0, 1))
    # With several lengths ONNX Runtime reads memory that nothing wrote: each
    # element alone, a prompt without its padding.
    parts = []
    for i in range(batch):
        some = min(rows, int(lengths[i]))
        one = {n: a if a is None or n not in (
            "q", "k", "v", "pk", "pv", "lengths") else a[i:i + 1]
               for n, a in inputs.items()}
        for name in "qkv":
            if inputs[name] is not None:
                one[name] = one[name][:, :some]
        one["total"] = one["lengths"]
        case.judged = lambda _, one=one: one
        y, *caches = ms_attention.judge(case, ["y", "k1", "v1"],
                                        [("pk", "k1"), ("pv", "v1")])
        y = np.pad(y, [(0, 0), (0, rows - some), (0, 0)])
        parts.append([y, *caches])
    found = [np.concatenate(part) for part in zip(*parts)]
    case.expected = lambda _: found
    return case


def turn(x, cosine, sine, start, interleaved):
    """x [tokens, heads, depth] with a part of each head rotated."""
    half, y = cosine.shape[1], x.copy()
    part = x[..., start:start + 2 * half]
    cut = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (
        slice(0, half), slice(half, None))
    first, second = part[..., cut[0]], part[..., cut[1]]
    cosine, sine = cosine[:, None], sine[:, None]
    out = np.empty_like(part)
    out[..., cut[0]] = first * cosine - second * sine
    out[..., cut[1]] = first * sine + second * cosine
    y[..., start:start + 2 * half] = out
    return y


def attend(q, k, v, seen, scale, softcap, sink):
    """One token and one head over the keys that it sees."""
    scores = k[seen] @ q * scale
    if softcap:
        scores = np.tanh(scores / softcap) * softcap
    top = max(scores.max(), -np.inf if sink is None else sink)
    share = np.exp(scores - top)
    total = share.sum() + (0 if sink is None else np.exp(sink - top))
    return share / total @ v[seen]


def paged(rng, op):
    """Requests over a cache of blocks, and what NumPy makes of them."""
    kv, depth, batch = (int(n) for n in rng.integers(1, 4, 3))
    depth, heads = 4 * depth, kv * int(rng.integers(1, 4))
    block, each = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    most = block * each
    news = rng.integers(pick(rng, 0, 1), min(most, 5) + 1, batch)
    news[rng.integers(batch)] = max(news.max(), 1)
    past = np.array([rng.integers(0, most - n + 1) for n in news])
    ends = np.concatenate([[0], np.cumsum(news)])
    tokens, blocks = int(ends[-1]), batch * each + 2
    table = rng.permutation(blocks)[:batch * each].reshape(batch, each)
    q = floats(rng, tokens, heads, depth)
    k, v = (floats(rng, tokens, kv, depth) for _ in range(2))
    caches = floats(rng, 2, blocks, block, kv, depth)
    owner = np.repeat(np.arange(batch), news)
    place = past[owner] + np.arange(tokens) - ends[owner]
    slots = table[owner, place // block] * block + place % block
    skips = rng.random() < 0.3
    given = np.where(rng.random(tokens) < 0.3, -1, slots) if skips else slots
    inputs = {"q": q.reshape(tokens, -1), "k": k.reshape(tokens, -1),
              "v": v.reshape(tokens, -1), "kc": caches[0], "vc": caches[1],
              "ends": ends.astype(np.int32), "past": past.astype(np.int32),
              "table": table.astype(np.int32)}
    if rng.random() < 0.4:
        inputs["q"] = np.concatenate([inputs[n] for n in "qkv"], 1)
        inputs["k"] = inputs["v"] = None
    turns, start, crossed = pick(rng, 0, 1), pick(rng, 0, 2), pick(rng, 0, 1)
    half = max(1, (depth - start) // 2 // pick(rng, 1, 2))
    cosine, sine = ms_attention.angles(rng, most, half)
    norm = maybe(rng, floats(rng, 2, depth))
    sink = maybe(rng, floats(rng, heads))
    inputs.update({"cos": cosine if turns else None,
                   "sin": sine if turns else None,
                   "slots": maybe(rng, given.astype(np.int32)) if not skips
                   else given.astype(np.int32), "sink": sink,
                   "qn": None if norm is None else norm[0],
                   "kn": None if norm is None else norm[1]})
    causal, window = pick(rng, None, 1, 0), pick(rng, None, None, 1, 3)
    softcap, scale = pick(rng, None, 2.0), maybe(rng, 0.3)
    if norm is not None:
        q, k = (x / np.sqrt((x * x).mean(2, keepdims=True) + 1e-6) * w
                for x, w in zip((q, k), norm))
    if turns:
        q, k = (turn(x, cosine[place], sine[place], start, crossed)
                for x in (q, k))
    keys, values = (c.copy().reshape(-1, kv, depth) for c in caches)
    written = given >= 0
    keys[given[written]], values[given[written]] = k[written], v[written]
    y = np.zeros((tokens, heads, depth))
    line = np.arange(most)
    for t in range(tokens):
        b = owner[t]
        rows = (table[b][:, None] * block + np.arange(block)).reshape(-1)
        seen = line <= place[t] if causal != 0 else line < past[b] + news[b]
        if window:
            seen &= line > place[t] - window
        for h in range(heads):
            g = h * kv // heads
            y[t, h] = attend(q[t, h], keys[rows, g], values[rows, g], seen,
                             scale or depth ** -0.5, softcap,
                             None if sink is None else sink[h])
    behind = pick(rng, 0, 0, 2)  # tokens of no request
    for name in ("q", "k", "v", "slots"):
        if inputs[name] is not None:
            inputs[name] = np.concatenate(
                [inputs[name], *[inputs[name][:1]] * behind])
    y = np.pad(y, [(0, behind), (0, 0), (0, 0)])
    found = [y.reshape(tokens + behind, -1), keys.reshape(caches[0].shape),
             values.reshape(caches[1].shape)]
    return Case(op, inputs, outputs=3, known=pick(
        rng, [], ["ends", "past", "table", "cos", "sin"]), num_heads=heads,
                kv_num_heads=kv, do_rotary=turns, rotary_offset=start or None,
                rotary_interleaved=crossed, is_causal=causal,
                local_window_size=window, softcap=softcap, scale=scale,
                counts={0: np.arange(tokens + behind)[:, None] < tokens},
                expected=lambda _: found)


OPERATORS = {
    "PagedAttention": paged,
    "SparseAttention": sparse,
    "MultiHeadAttention": either,
    "DecoderMaskedMultiHeadAttention": either,
}

if __name__ == "__main__":
    sys.exit(ms_attention.main(OPERATORS))
