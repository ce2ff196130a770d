#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a block of attention as exporters write it with the fused operators.

    attention_forms.py --imbrex PROGRAM --work FOLDER

The block has grouped queries, rotary embedding and a causal mask. `fused` is
RotaryEmbedding and Attention of ai.onnx; `eager` and `sdpa` are what the
exporters of PyTorch make of the same: halves turned by Slice, Neg and Concat,
heads repeated by Expand, the scale behind the first product or its root before
it, a softmax guarded against rows that are all masked. All must give what ONNX
Runtime gives for `eager`, and over all sizes what is written out may take no
more simulated time than the fused operators do.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# batch, tokens, heads of queries, heads of keys, elements of a head
SIZES = ((1, 12, 4, 2, 8), (1, 128, 8, 2, 64), (1, 64, 4, 4, 32),
         (2, 32, 8, 4, 32), (1, 1, 16, 4, 64))
LIMIT = 1e-4  # of the range, as in run_models.py
SLACK = 1.05  # of the time: layouts of one size differ by more


class Block:
    """A graph under construction, with the same weights for every form."""

    def __init__(self, sizes):
        self.batch, self.tokens, self.heads, self.groups, self.size = sizes
        self.width = self.heads * self.size
        self.random = np.random.default_rng(7)
        self.nodes, self.constants = [], {}

    def constant(self, values, dtype=np.float32):
        name = f"c{len(self.constants)}"
        array = np.asarray(values, dtype=dtype)
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def ints(self, *values):
        return self.constant(values, np.int64)

    def add(self, operator, *inputs, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, inputs, [name], **attributes))
        return name

    def project(self, x, rows, columns):
        weights = self.random.standard_normal((rows, columns)) / rows ** 0.5
        return self.add("MatMul", x, self.constant(weights))

    def angles(self):
        step = 10000.0 ** -(np.arange(self.size // 2) / (self.size // 2))
        return np.outer(np.arange(self.tokens), step)

    def save(self, path, opset):
        shape = [self.batch, self.tokens, self.width]
        ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
                 for name in ("x", "y")]
        graph = helper.make_graph(self.nodes, "block", *ports,
                                  list(self.constants.values()))
        opsets = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(model, path)


def fused(block, q, k, v):
    tables = [block.constant(f(block.angles())[None]) for f in (np.cos, np.sin)]
    q = block.add("RotaryEmbedding", q, *tables, num_heads=block.heads)
    k = block.add("RotaryEmbedding", k, *tables, num_heads=block.groups)
    return block.add("Attention", q, k, v, q_num_heads=block.heads,
                     kv_num_heads=block.groups, is_causal=1)


def split(block, x, heads):
    shape = block.ints(block.batch, block.tokens, heads, block.size)
    return block.add("Transpose", block.add("Reshape", x, shape),
                     perm=[0, 2, 1, 3])


def rotate(block, x):
    both = np.tile(block.angles(), 2)[None, None]
    half, axis = block.size // 2, block.ints(3)
    first = block.add("Slice", x, block.ints(0), block.ints(half), axis)
    last = block.add("Slice", x, block.ints(half), block.ints(2 ** 62), axis)
    turned = block.add("Concat", block.add("Neg", last), first, axis=-1)
    return block.add(
        "Add", block.add("Mul", x, block.constant(np.cos(both))),
        block.add("Mul", turned, block.constant(np.sin(both))))


def repeat(block, x):
    each = block.heads // block.groups
    wide = block.ints(block.batch, block.groups, each, block.tokens, block.size)
    heads = block.ints(block.batch, block.heads, block.tokens, block.size)
    x = block.add("Expand", block.add("Unsqueeze", x, block.ints(2)), wide)
    return block.add("Reshape", x, heads)


def written_out(block, q, k, v, guarded):
    q = rotate(block, split(block, q, block.heads))
    k = repeat(block, rotate(block, split(block, k, block.groups)))
    v = repeat(block, split(block, v, block.groups))
    k = block.add("Transpose", k, perm=[0, 1, 3, 2])
    if guarded:  # scaled_dot_product_attention
        root = block.constant(block.size ** -0.25)
        scores = block.add("MatMul", block.add("Mul", q, root),
                           block.add("Mul", k, root))
    else:
        scores = block.add("Mul", block.add("MatMul", q, k),
                           block.constant(block.size ** -0.5))
    causal = np.tril(np.ones((block.tokens, block.tokens))) > 0
    mask = np.where(causal, 0.0, -np.inf)[None, None]
    p = block.add("Add", scores, block.constant(mask))
    p = block.add("Softmax", p, axis=-1)
    if guarded:
        p = block.add("Where", block.add("IsNaN", p), block.constant(0.0), p)
    y = block.add("Transpose", block.add("MatMul", p, v), perm=[0, 2, 1, 3])
    return block.add("Reshape", y,
                     block.ints(block.batch, block.tokens, block.width))


FORMS = {
    "fused": (23, fused),
    "eager": (17, lambda *values: written_out(*values, guarded=False)),
    "sdpa": (17, lambda *values: written_out(*values, guarded=True)),
}


def make(sizes, form, path):
    block = Block(sizes)
    narrow = block.groups * block.size
    values = [block.project("x", block.width, n)
              for n in (block.width, narrow, narrow)]
    opset, write = FORMS[form]
    y = block.project(write(block, *values), block.width, block.width)
    block.nodes[-1].output[0] = "y"
    assert y.startswith("v")
    block.save(path, opset)
    return np.random.default_rng(8).standard_normal(
        (block.batch, block.tokens, block.width)).astype(np.float32)


def call(imbrex, *words):
    done = subprocess.run([str(imbrex), *map(str, words)], check=True,
                          capture_output=True, text=True, timeout=300)
    return done.stdout


def measure(imbrex, path, x):
    """The output and the simulated time."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        np.save(scratch / "x.npy", x)
        call(imbrex, "run", path, "--input", f"x={scratch / 'x.npy'}",
             "--output-dir", scratch)
        y = np.load(scratch / "y.npy")
    return y, json.loads(call(imbrex, "bench", "--json", path))["simulated_us"]


def judge(options, sizes):
    """The times of one size by form, and what is wrong."""
    import onnxruntime

    wrong, times, want = [], {}, None
    for form in ("eager", "sdpa", "fused"):
        path = options.work / f"{form}.onnx"
        x = make(sizes, form, path)
        if want is None:
            session = onnxruntime.InferenceSession(path)
            want = session.run(None, {"x": x})[0]
        y, times[form] = measure(options.imbrex, path, x)
        error = float(np.abs(y - want).max() / (want.max() - want.min()))
        if not error <= LIMIT:
            wrong.append(f"{sizes}: {form} is off by {error:.1e} of the range")
    print(sizes, *(f"{form} {us:.1f} us" for form, us in times.items()))
    return times, wrong


def judge_times(times):
    """`times`: of each size."""
    total = {form: sum(row[form] for row in times) for form in FORMS}
    return [f"{form} takes {total[form]:.1f} us in all, fused "
            f"{total['fused']:.1f} us" for form in ("eager", "sdpa")
            if total[form] > total["fused"] * SLACK]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found = [judge(options, sizes) for sizes in SIZES]
    wrong = [line for _, lines in found for line in lines]
    wrong += judge_times([times for times, _ in found])
    print("\n".join(wrong) or f"{len(SIZES)} sizes agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
