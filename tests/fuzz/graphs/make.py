# SPDX-License-Identifier: Apache-2.0
"""A random graph from a seed, with the operators of `imbrex ops`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from . import rules_bundle, rules_host, rules_microsoft, rules_ml, \
    rules_training, rules_types  # noqa: F401
from .build import DTYPES, Graph, Maybe, OneMap, Unfit, version_of
from .patterns import PATTERNS
from .reference import Judge
from .rules import Form, rule_of

sys.path.insert(0, str(Path(__file__).parents[2] / "frontend"))
import random_operators  # noqa: E402

OPSETS = [7, 8, 9, 10, 11, 12] + [13, 14, 15, 16, 17] * 3 + \
    [18, 19, 20, 21, 22, 23] * 5 + [24, 25, 26, 27, 28] * 2
# What infinities and NaN become in these is beyond doubt; docs/architecture.md
# assumes finite inputs for the rest.
BEARS_INFINITY = set("""
Abs Add And CenterCropPad Concat DepthToSpace Expand Flatten Gather
GatherElements GatherND Identity IsInf IsNaN Mul Neg Not Or Pad Reshape
ReverseSequence Shape Size Slice SpaceToDepth Split Squeeze Sub Tile Transpose
Unsqueeze Where Xor
""".split())
SHARE_INFINITE = 0.04
SHARE_PATTERNS = 0.12
MOST_TRIES = 6  # for each node that is wanted
KINDS = {f"tensor({k})": n for k, n in {
    "float": "f32", "bfloat16": "bf16", "float16": "f16", "double": "f64",
    "float8e4m3fn": "f8e4m3fn", "float8e5m2": "f8e5m2",
    "float8e4m3fnuz": "f8e4m3fnuz", "float8e5m2fnuz": "f8e5m2fnuz",
    "float8e8m0": "f8e8m0", "float6e2m3": "f6e2m3fn", "float6e3m2": "f6e3m2fn",
    "float4e2m1": "f4e2m1fn", "int2": "i2", "uint2": "u2", "int4": "i4",
    "uint4": "u4", "int8": "i8",
    "uint8": "u8", "int16": "i16", "uint16": "u16", "int32": "i32",
    "uint32": "u32", "int64": "i64", "uint64": "u64", "bool": "bool",
    "string": "text"}.items()}


def has_rule(row):
    return row["domain"] == "ai.onnx" and \
        row["name"] in random_operators.OPERATORS or \
        rule_of(row["domain"], row["name"]) is not None


class Table:
    """What can be used at an opset."""

    def __init__(self, imbrex):
        text = subprocess.run([imbrex, "ops", "--json"], check=True,
                              capture_output=True, text=True).stdout
        self.rows = [row for row in json.loads(text)["operators"]
                     if row["imported"]]
        self.opsets = {}

    def without_rule(self):
        return sorted(r["name"] for r in self.rows if not has_rule(r))

    def forms(self, opset):
        if opset not in self.opsets:
            found = [self.form(row, opset) for row in self.rows]
            self.opsets[opset] = [f for f in found if f]
        return self.opsets[opset]

    def form(self, row, opset):
        domain = "" if row["domain"] == "ai.onnx" else row["domain"]
        version = version_of(domain, opset)
        rows = [i for i, s in enumerate(row["since"]) if s <= version]
        if not rows or not has_rule(row):
            return None
        dtypes = set(row["dtypes"][rows[-1]])
        dtypes |= {"text"} if "texts" in row["types"] else set()
        since = row["since"][rows[-1]]
        try:
            schema = onnx.defs.get_schema(row["name"], version, domain)
        except Exception:
            if domain != "com.microsoft" and \
                    row["name"] != "SimplifiedLayerNormalization":
                return None
        else:
            if schema.deprecated:
                return None
            since = schema.since_version
            if schema.inputs:
                dtypes &= {KINDS.get(t) for t in schema.inputs[0].types}
        dtypes &= set(DTYPES)
        return Form(row["name"], domain, since, sorted(dtypes))


def from_case(g, form):
    """A node as random_operators.py makes them."""
    case = random_operators.OPERATORS[form.op](g.rng, form.op)
    then = onnx.defs.get_schema(form.op, case.opset, "").since_version
    g.need(then == form.since)
    operands = []
    for name, array in case.inputs.items():
        if array is None:
            operands.append(None)
        elif name in case.known:
            operands.append(g.known(array))
        elif name == "x" and array.dtype == np.float32 and g.chance(0.5):
            operands.append(g.some("f32", shape=array.shape))
        else:
            operands.append(g.add(array))
    captured = []
    return g.node(form.op, operands, case.outputs, captured=captured,
                  **case.attrs)


def add_node(g, forms, patterns=()):
    """Adds one, or those of a pattern. False where what was drawn is unfit."""
    form = g.choice(forms) if forms else None
    before = len(g.values), len(g.nodes), len(g.captured)
    try:
        if patterns and (form is None or g.chance(SHARE_PATTERNS)):
            g.choice(patterns)(g)
        elif form is None:
            return False
        elif rule_of(form.domain, form.op):
            rule_of(form.domain, form.op)(g, form.op, form)
        else:
            from_case(g, form)
    except Unfit:
        # What a rule prepared goes with it.
        for node in g.nodes[before[1]:]:
            for value in node.operands():
                value.uses -= 1
        del g.values[before[0]:], g.nodes[before[1]:], g.captured[before[2]:]
        return False
    return True


def pick_outputs(g):
    ends = [v for n in g.nodes for v in n.outputs
            if v is not None and not isinstance(v.array, Maybe) and
            not v.private]
    outputs = [v for v in ends if (v.uses == 0 and g.chance(0.93)) or
               g.chance(0.08)]
    # An empty one gives nothing to compare.
    if not any(v.is_tensor for v in outputs):
        outputs.append([v for v in ends if v.is_tensor][-1])
    # Only what reads a map tells what it holds.
    inputs = [v for v in g.values if v.kind == "input" and
              not isinstance(v.array, OneMap)]
    if inputs and g.chance(0.05):
        outputs.append(g.choice(inputs))
    return outputs


def make_graph(seed, table, only=None):
    """The graph and its outputs. `only`: names of operators, domains and
    patterns, or all."""
    rng = np.random.default_rng(seed)
    opset = OPSETS[int(rng.integers(len(OPSETS)))]
    g = Graph(rng, opset, Judge())
    g.infinite = g.chance(SHARE_INFINITE)
    forms = []
    patterns = [make for name, make in PATTERNS.items()
                if only is None or name in only]
    while not forms and (only is None or not patterns):
        forms = [f for f in table.forms(g.opset) if
                 (not g.infinite or f.op in BEARS_INFINITY) and
                 (only is None or only & {f.op, f.domain, f.name})]
        if not forms:  # with so few operators
            g.opset, g.infinite = g.choice(OPSETS), False
    simple = [f for f in forms if f.op not in ("If", "Loop", "Scan") or
              g.chance(0.2)]
    count = g.choice([2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30])
    g.grow = lambda child: add_node(child, simple)
    for _ in range(MOST_TRIES * count):
        if len(g.nodes) >= count:
            break
        add_node(g, forms, [] if g.infinite and forms else patterns)
    while not any(v and v.is_tensor for n in g.nodes for v in n.outputs):
        if not forms:  # patterns alone, which the opset may not have
            g.opset = g.choice(OPSETS)
        add_node(g, forms, patterns)
    return g, pick_outputs(g)


