# SPDX-License-Identifier: Apache-2.0
"""Rules for sequences and optionals. What goes through them is a tensor in the
end: those that consume them make one of their own where none is at hand."""

import numpy as np

from .build import DTYPES, Maybe, Sequence, onnx_dtype, type_of
from .rules import carried_body, child_of, condition, if_, inner_value, loop, \
    rule

MOST_ITEMS = 6


def some_sequence(g, least=1, where=None):
    """A sequence at hand, or a new one."""
    def fits(v):
        return isinstance(v.array, Sequence) and \
            least <= len(v.array) <= MOST_ITEMS and \
            (where is None or where(v.array))

    found = [v for v in g.visible()[-40:] if fits(v)]
    if found and g.chance(0.75):
        return g.take(g.choice(found))
    value = construct(g, "SequenceConstruct", None) if g.chance(0.6) or \
        g.opset < 11 else split(g, "SplitToSequence", None)
    g.need(fits(value))
    return value


def place(g, count, past=0):
    """A position, of either sign."""
    at = g.integer(0, count - 1 + past)
    if at < count and g.chance(0.4):
        at -= count
    return g.ints(at, g.choice([np.int64, np.int32]))


@rule("SequenceConstruct")
def construct(g, op, form):
    x = g.some(form.dtype(g) if form else "f32")
    items = [x]
    for _ in range(g.integer(0, 3)):
        shape = x.shape if g.chance(0.6) else None
        if shape and g.chance(0.3):
            shape = [g.choice([1, 2, 5])] + shape[1:]
        items.append(x if g.chance(0.2) else g.some(x.dtype, shape=shape))
    return g.one(op, *items)


@rule("SequenceEmpty")
def empty(g, op, form):
    kind = g.choice(["f32", "f32", "i64", "f16", "bool"])
    value = g.one(op, dtype=None if kind == "f32" else
                  onnx_dtype(DTYPES[kind]))
    for _ in range(g.integer(0, 2)):
        value = g.one("SequenceInsert", value, g.some(kind))
    return value if len(value.array) else g.one("SequenceLength", value)


@rule("SequenceLength")
def length(g, op, form):
    return g.one(op, some_sequence(g))


@rule("SequenceAt")
def at(g, op, form):
    x = some_sequence(g)
    return g.one(op, x, place(g, len(x.array)))


@rule("SequenceInsert")
def insert(g, op, form):
    x = some_sequence(g)
    operands = [place(g, len(x.array), 1)] if g.chance(0.7) else []
    like = g.choice(list(x.array)).shape
    dtype = next(n for n, d in DTYPES.items() if d == x.array.dtype)
    item = g.some(dtype, shape=list(like) if g.chance(0.7) else None)
    return at(g, "SequenceAt", None) if not g.chance(0.7) else \
        g.one(op, x, item, *operands)


@rule("SequenceErase")
def erase(g, op, form):
    x = some_sequence(g, 2)
    operands = [place(g, len(x.array))] if g.chance(0.7) else []
    return g.one(op, x, *operands)


@rule("SplitToSequence")
def split(g, op, form):
    x = g.some(form.dtype(g) if form else "f32", least_rank=1, least=1)
    axis = g.axis(x)
    extent = x.shape[axis]
    how = g.choice(["all", "step", "sizes"])
    attrs = {"axis": axis if axis or g.chance(0.5) else None}
    if how == "all":
        g.need(extent <= 8)
        return g.one(op, x, keepdims=g.choice([None, 0, 1]), **attrs)
    if how == "step":
        step = g.integer(1, extent)
        g.need(extent <= 8 * step)
        return g.one(op, x, g.ints(step), **attrs)
    first = g.integer(0, extent)
    return g.one(op, x, g.ints([first, extent - first]), **attrs)


@rule("ConcatFromSequence")
def join(g, op, form):
    new = g.choice([None, 0, 1])

    def fits(items):
        shapes = {a.shape for a in items}
        if new:
            return len(shapes) == 1 and items[0].ndim < 5
        return items[0].ndim and len({(len(s), s[1:]) for s in shapes}) == 1

    x = some_sequence(g, where=fits)
    first = x.array[0]
    low = -first.ndim - (1 if new else 0)
    same = len({a.shape for a in x.array}) == 1
    axis = g.integer(low, -low - 1) if same else g.choice([0, -first.ndim])
    return g.one(op, x, axis=axis, new_axis=new)


@rule("SequenceMap")
def sequence_map(g, op, form):
    x = some_sequence(g, where=lambda items: len(
        {a.shape for a in items}) == 1 and items.dtype == np.float32 and
        items[0].size <= 3000)
    child = child_of(g)
    inner = [inner_value(child, x.array[0])]
    operands = [x]
    if g.chance(0.4):
        other = g.some("f32", shape=list(x.array[0].shape))
        operands.append(other)
        inner.append(inner_value(child, other.array))
    results = carried_body(child, g.grow, inner[:1])
    if len(inner) > 1:
        results.append(child.one("Add", *inner))
    body = child.proto(results, f"body_{results[0].name}")
    for value in g.node(op, operands, len(results), captured=child.captured,
                        body=body):
        joined = g.one("ConcatFromSequence", value, axis=0, new_axis=1)
    return joined


# --- optionals ---------------------------------------------------------------


def some_optional(g, absent=False):
    found = [v for v in g.visible()[-40:] if isinstance(v.array, Maybe) and
             (absent or v.array.item is not None)]
    if found and g.chance(0.7):
        return g.take(g.choice(found))
    return optional(g, "Optional", None, absent)


@rule("Optional")
def optional(g, op, form, absent=False):
    if absent and g.chance(0.5):
        kind = g.choice([np.float32, np.int64])
        like = np.zeros(0, kind)
        like = Sequence(kind) if g.chance(0.4) else like
        kind = type_of(like)
        kind.tensor_type.ClearField("shape") if \
            kind.HasField("tensor_type") else None
        return g.one(op, type=kind)
    if g.chance(0.3):
        return g.one(op, some_sequence(g))
    return g.one(op, g.some(form.dtype(g) if form else "f32"))


@rule("OptionalHasElement")
def has_element(g, op, form):
    if form.since >= 18 and g.chance(0.4):
        kind = g.choice([[], [g.some("f32")], [some_sequence(g)]])
        return g.one(op, *kind)
    return g.one(op, some_optional(g, True))


@rule("OptionalGetElement")
def get_element(g, op, form):
    if form.since >= 18 and g.chance(0.3):
        return g.one(op, g.some("f32"))
    return g.one(op, some_optional(g))


# --- in graphs of nodes ------------------------------------------------------


@rule("If", "Loop")
def bundle_in_graph(g, op, form):
    """A sequence from a branch, or one that a loop makes longer."""
    if g.opset < 13 or g.chance(0.85):
        return {"If": if_, "Loop": loop}[op](g, op, form)
    dtype = g.choice(["f32", "f32", "i64"])
    return if_sequence(g, dtype) if op == "If" else loop_sequence(g, dtype)


def if_sequence(g, dtype):
    shape, count, graphs, captured = g.shape(most=600), g.integer(1, 3), [], []
    for name in ("then", "else"):
        child = child_of(g)
        items = [child.some(dtype, shape=shape) for _ in range(count)]
        result = child.one("SequenceConstruct", *items)
        graphs.append(child.proto([result], f"{name}_{result.name}"))
        captured += [v for v in child.captured if v not in captured]
    return g.one("If", condition(g), captured=captured, then_branch=graphs[0],
                 else_branch=graphs[1])


def loop_sequence(g, dtype):
    state = g.some(dtype, most_rank=3, where=lambda v: v.array.size <= 600)
    start = g.one("SequenceConstruct", state) if g.chance(0.6) else \
        g.one("SequenceEmpty", dtype=onnx_dtype(DTYPES[dtype]))
    child = child_of(g)
    inner_value(child, np.array(0, np.int64))
    go = inner_value(child, np.array(True))
    inner = [inner_value(child, v.array) for v in (state, start)]
    following = carried_body(child, g.grow, inner[:1])[0]
    longer = child.one("SequenceInsert", inner[1], following)
    again = child.one("Identity", go)
    body = child.proto([again, following, longer], f"body_{again.name}")
    return g.node("Loop", [g.ints(g.choice([0, 1, 3])),
                           g.known(np.array(True)), state, start], 2,
                  captured=child.captured, body=body)[1]
