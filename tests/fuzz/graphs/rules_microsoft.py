# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft: the cases of tests/frontend, which know what ONNX
Runtime takes and computes, with larger extents, other types and operands that
the graph has."""

import copy
import sys
from pathlib import Path

import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state

from .build import DTYPES, FLOATS, NAME_OF, Unfit, helper
from .rules import RULES

sys.path.insert(0, str(Path(__file__).parents[2] / "frontend"))
import cases  # noqa: E402
import ms_attention  # noqa: E402
import ms_buffers  # noqa: E402
import ms_moe  # noqa: E402
import ms_quantised  # noqa: E402
import ms_states  # noqa: E402

DOMAIN = "com.microsoft"
# Without 0: at some operators a division by it ends ONNX Runtime.
EDGES = [7, 11, 13, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 130, 160,
         200, 256, 257, 300]
MOST_BYTES = 200000  # of all operands
SHARE_AT_HAND, SHARE_CUT, SHARE_OTHER_TYPE = 0.5, 0.25, 0.2
KINDS = {"tensor(float)": "f32", "tensor(float16)": "f16",
         "tensor(bfloat16)": "bf16"}
# Of operands at hand. Scores of larger ones leave f16, or, as they are rounded
# to 16 bits before they are raised to powers, become other numbers.
BOUNDS = {"f16": (-3, 3), "bf16": (-3, 3), "f32": (-20, 20), "f64": (-20, 20)}
USUAL_BOUNDS = (-128, 255)
SHARE_OF_16_BITS = 0.3
SHARE_LOOSE = 0.15  # of nodes whose constants may be computed, too
# Those of bytes are large, whatever the scales are. And a sink that is larger
# than all scores leaves results that may be flushed to 0, or not.
SINGLE = {"QAttention"}
AS_MADE = {"sink"}
ROUNDS = {"T_CACHE"}  # what goes on, so that noise would have to know
SCHEMAS = {s.name: s for s in
           onnxruntime_pybind11_state.get_all_operator_schema()
           if s.domain == DOMAIN}


class ByCase:
    """What a case says of its node: outputs are computed in f32 from operands
    of any floating type, and elements that the operator leaves open are 0."""

    def __init__(self, case, operands, types, masks):
        self.case, self.types, self.masks = case, types, masks
        self.names = [v and v.name for v in operands]

    def run(self, arrays):
        given = [n and narrow(arrays[n]) for n in self.names]
        try:
            found = judge(refilled(self.case, given), len(self.types))
        except Exception as error:
            raise Unfit("ONNX Runtime does not take it") from error
        with np.errstate(all="ignore"):
            return [np.where(mask, a, 0).astype(t) for a, t, mask in
                    zip(found, self.types, self.masks)]


def narrow(array):
    return array.astype(np.float32) if NAME_OF[array.dtype] in FLOATS else array


def judge(case, count):
    if isinstance(case, ms_quantised.Node):
        return ms_quantised.judge(case)
    return ms_attention.judge(case, [f"y{i}" for i in range(count)])


def parts(case):
    """Names and arrays of the inputs, and whether each must be a constant."""
    if isinstance(case, ms_quantised.Node):
        return [(None, *(i or (None, False))) for i in case.inputs]
    return [(n, a, n in case.known) for n, a in case.inputs.items()]


def refilled(case, arrays):
    """The case with other inputs."""
    other = copy.copy(case)
    if isinstance(case, ms_quantised.Node):
        other.inputs = [i and (a, i[1]) for i, a in zip(case.inputs, arrays)]
    else:
        other.inputs = dict(zip(case.inputs, arrays))
    return other


class Types:
    """Floating types by the names that the schema has for them."""

    def __init__(self, g, form, as_made):
        self.as_made = as_made
        self.g, self.schema = g, SCHEMAS.get(form.op)
        self.allowed = {c.type_param_str: {KINDS.get(t) for t in
                                           c.allowed_type_strs} - {None}
                        for c in self.schema.type_constraints} \
            if self.schema else {}
        self.drawn = {}
        # Most schemas have no f64.
        self.main = "f32" if as_made or form.op in SINGLE else \
            form.dtype(g, KINDS.values()) \
            if set(form.dtypes) & set(KINDS.values()) else \
            g.choice(["f32", "f32", "f32", "f16", "bf16"])

    def draw(self, ports, index):
        """Of an input or output with floating numbers."""
        if self.schema is None:
            return self.main
        name = ports[min(index, len(ports) - 1)].typeStr
        if self.as_made or self.schema.name in SINGLE:
            return self.main
        if name not in self.drawn:
            allowed = self.allowed.get(name) or {KINDS[name]}
            other = self.drawn and name not in ROUNDS and \
                self.g.chance(SHARE_OTHER_TYPE)
            self.drawn[name] = self.main if self.main in allowed and \
                not other else self.g.choice(sorted(allowed))
        return self.drawn[name]

    def input(self, index):
        return self.draw(self.schema and self.schema.inputs, index)

    def output(self, index):
        """Of an optional operand that is left out it is the first type."""
        if self.schema is None:
            return self.main
        ports = self.schema.outputs
        name = ports[min(index, len(ports) - 1)].typeStr
        return self.drawn.get(name, self.main if self.main in
                              self.allowed.get(name, ()) else "f32")


def outputs_of(case, types):
    """Types and masks of the outputs."""
    if isinstance(case, ms_quantised.Node):
        count = len(case.outputs)
        return [DTYPES[types.output(i)] if case.dtype == np.float32 else
                np.dtype(case.dtype) for i in range(count)], [True] * count
    kinds = [helper.tensor_dtype_to_np_dtype(case.types[i]) if i in case.types
             else DTYPES[types.output(i)] for i in range(case.outputs)]
    return kinds, [case.counts.get(i, True) for i in range(case.outputs)]


def takes_any(array):
    """Whether other numbers would do as well: those of both signs, or all that
    a byte holds, stand for nothing."""
    if array.dtype == np.float32:
        return array.size > 1 and array.min() < 0 < array.max()
    return array.dtype in (np.int8, np.uint8) and array.size > 1 and \
        np.ptp(array.astype(int)) > 128


def cut(g, dtype, shape):
    """Elements of a value at hand that lie one behind the other, or None."""
    size = int(np.prod(shape))
    found = [v for v in g.visible()[-40:] if v.dtype == dtype and
             v.array.size >= size and
             v.within(*BOUNDS.get(dtype, USUAL_BOUNDS))]
    if not found or g.opset < 10:
        return None
    x = g.take(g.choice(found))
    first = g.integer(0, x.array.size - size)
    x = g.one("Reshape", x, g.ints([-1]))
    x = g.one("Slice", x, g.ints([first]), g.ints([first + size]))
    return g.one("Reshape", x, g.ints(shape))


def operand(g, array, known, types, index, as_made):
    if array is None:
        return None
    any_do = takes_any(array) and not as_made
    if array.dtype == np.float32:
        dtype = types.input(index)
        if dtype in ("f16", "bf16") and takes_any(array):
            array = array * SHARE_OF_16_BITS
        array = array.astype(DTYPES[dtype])
    if known:
        return g.known(array)
    kind, shape = NAME_OF[array.dtype], list(array.shape)
    if any_do and g.chance(SHARE_CUT):
        value = cut(g, kind, shape)
        if value is not None:
            return value
    if any_do and g.chance(SHARE_AT_HAND):
        low, high = BOUNDS.get(kind, USUAL_BOUNDS)
        return g.some(kind, shape=shape, low=low, high=high)
    return g.add(array)


def by_case(g, form, make, as_made=False):
    """`as_made`: what is expected was computed with the case."""
    try:
        case = make(cases.Large(g.rng, EDGES))
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise Unfit("no case has such an extent") from error
    inputs = parts(case)
    g.need(sum(a.nbytes for _, a, _ in inputs if a is not None) < MOST_BYTES)
    types = Types(g, form, as_made)
    loose = not as_made and g.chance(SHARE_LOOSE)
    operands = [operand(g, a, known and not loose, types, i, loose or
                        as_made or name in AS_MADE)
                for i, (name, a, known) in enumerate(inputs)]
    kinds, masks = outputs_of(case, types)
    made = g.node(form.op, operands, len(kinds), domain=DOMAIN,
                  way=ByCase(case, operands, kinds, masks), **case.attrs)
    for value, mask in zip(made, masks):
        if not np.all(mask):
            value.private = value.fixed = True
            g.one("Mul", value, g.known(np.broadcast_to(
                mask, value.shape).astype(value.array.dtype)))


def note(op, make, as_made=False):
    """A rule for the operator, or one of several that it has."""
    before = RULES.get(f"{DOMAIN}.{op}")

    def rule(g, op, form):
        if before and g.chance(0.5):
            return before(g, op, form)
        return by_case(g, form, lambda rng: make(rng, op), as_made)

    RULES[f"{DOMAIN}.{op}"] = rule


for module in (ms_attention, ms_states, ms_moe, ms_buffers):
    for name, make_case in module.OPERATORS.items():
        note(name, make_case, module is ms_buffers)
for name, make_case in ms_quantised.MAKERS.items():
    note(name, lambda rng, op, make=make_case: make(rng))
