#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small decoder as language models for ONNX Runtime have it, simulated.

Weights of 4 bits, GroupQueryAttention with rotation, norms of sums. It reads a
prompt, then one token with a cache that grows or that lies in a buffer. ONNX
Runtime computes what the logits and the caches must be.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import cases
from ms_attention import floats, run, value_info

WIDTH, HEADS, KV_HEADS, DEPTH, INNER, WORDS, LAYERS = 128, 4, 2, 32, 256, 64, 2
BLOCK = 32
# tokens, rows of the caches before, tokens of all
FORMS = {"prompt": (6, 0, 6), "step": (1, 6, 7), "buffer": (1, 16, 9)}


class Decoder:
    """Nodes and constants, the same for each form but for the shapes."""

    def __init__(self):
        self.rng = np.random.default_rng(1)
        self.nodes, self.constants = [], {}

    def constant(self, name, array):
        self.constants[name] = array
        return name

    def node(self, op, inputs, outputs, domain="", **attrs):
        self.nodes.append(helper.make_node(op, inputs, outputs, domain=domain,
                                           name=outputs[0], **attrs))
        return outputs[0]

    def contrib(self, op, inputs, outputs, **attrs):
        return self.node(op, inputs, outputs, "com.microsoft", **attrs)

    def product(self, name, x, k, n):
        bytes_of = self.rng.integers(0, 256, (n, k // BLOCK, BLOCK // 2))
        scales = (self.rng.random((n, k // BLOCK)) / 40).astype(np.float32)
        return self.contrib(
            "MatMulNBits", [x, self.constant(name + "_w",
                                             bytes_of.astype(np.uint8)),
                            self.constant(name + "_s", scales)],
            [name], K=k, N=n, bits=4, block_size=BLOCK)

    def embed(self):
        table = self.rng.integers(0, 256, (WORDS, WIDTH // 2)).astype(np.uint8)
        scales = self.rng.random((WORDS, WIDTH // BLOCK)).astype(np.float32)
        self.contrib("GatherBlockQuantized",
                     [self.constant("table", table), "ids",
                      self.constant("table_s", scales)], ["h"],
                     block_size=BLOCK, bits=4)
        turn = self.rng.random((64, DEPTH // 2)).astype(np.float32) * 6
        self.constant("cos", np.cos(turn))
        self.constant("sin", np.sin(turn))
        self.constant("one", np.array([1]))
        self.constant("axis", np.array(1))
        self.node("ReduceSum", ["mask", "one"], ["count"], keepdims=0)
        self.node("Sub", ["count", "one"], ["last"])
        self.node("Cast", ["last"], ["lengths"], to=T.INT32)
        self.node("Shape", ["mask"], ["extents"])
        self.node("Gather", ["extents", "axis"], ["extent"])
        self.node("Cast", ["extent"], ["total"], to=T.INT32)
        ones = self.constant("ones", np.ones(WIDTH, np.float32))
        self.node("SimplifiedLayerNormalization", ["h", ones], ["normal"],
                  epsilon=1e-6, axis=-1)
        return "h", "normal"

    def norm_of_sum(self, name, x, y):
        scale = self.rng.random(WIDTH).astype(np.float32)
        self.contrib("SkipSimplifiedLayerNormalization",
                     [x, y, self.constant(name + "_scale", scale)],
                     [name, "", "", name + "_sum"], epsilon=1e-6)
        return name + "_sum", name

    def layer(self, i, h, normal):
        q = self.product(f"q{i}", normal, WIDTH, HEADS * DEPTH)
        k = self.product(f"k{i}", normal, WIDTH, KV_HEADS * DEPTH)
        v = self.product(f"v{i}", normal, WIDTH, KV_HEADS * DEPTH)
        y = self.contrib(
            "GroupQueryAttention", [q, k, v, f"past_k{i}", f"past_v{i}",
                                    "lengths", "total", "cos", "sin"],
            [f"a{i}", f"present_k{i}", f"present_v{i}"], num_heads=HEADS,
            kv_num_heads=KV_HEADS, do_rotary=1)
        y = self.product(f"o{i}", y, HEADS * DEPTH, WIDTH)
        h, normal = self.norm_of_sum(f"m{i}", h, y)
        up = self.product(f"up{i}", normal, WIDTH, INNER)
        gate = self.product(f"gate{i}", normal, WIDTH, INNER)
        self.node("Sigmoid", [gate], [f"share{i}"])
        self.node("Mul", [gate, f"share{i}"], [f"silu{i}"])
        self.node("Mul", [f"silu{i}", up], [f"inner{i}"])
        y = self.product(f"down{i}", f"inner{i}", INNER, WIDTH)
        return self.norm_of_sum(f"n{i}", h, y)

    def model(self, feeds):
        h, normal = self.embed()
        outputs = ["logits"]
        for i in range(LAYERS):
            h, normal = self.layer(i, h, normal)
            outputs += [f"present_k{i}", f"present_v{i}"]
        self.product("logits", normal, WIDTH, WORDS)
        graph = helper.make_graph(
            self.nodes, "decoder", [value_info(n, a) for n, a in feeds.items()],
            [helper.make_tensor_value_info(n, T.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(a, n) for n, a in self.constants.items()])
        return helper.make_model(graph, ir_version=10, opset_imports=[
            helper.make_opsetid("", 21),
            helper.make_opsetid("com.microsoft", 1)])


def make_feeds(tokens, past, total):
    rng = np.random.default_rng(2)
    feeds = {"ids": rng.integers(0, WORDS, (1, tokens)),
             "mask": np.ones((1, total), np.int64)}
    for i in range(LAYERS):
        for part in "kv":
            feeds[f"past_{part}{i}"] = floats(rng, 1, KV_HEADS, past, DEPTH)
    return feeds


def write_form(folder, tokens, past, total):
    feeds = make_feeds(tokens, past, total)
    model = Decoder().model(feeds)
    values = run(model, feeds)
    for info, value in zip(model.graph.output[1:], values[1:]):
        # Rows of a buffer behind the tokens stay as they are.
        rest = feeds[info.name.replace("present", "past")][:, :, total:]
        value[:, :, total:] = rest
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, infos, arrays in (("input", model.graph.input, feeds.values()),
                                ("output", model.graph.output, values)):
        for i, (info, array) in enumerate(zip(infos, arrays)):
            tensor = numpy_helper.from_array(array, info.name)
            (data / f"{kind}_{i}.pb").write_bytes(tensor.SerializeToString())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.work, ignore_errors=True)
    for name, form in FORMS.items():
        write_form(args.work / name, *form)
    found = cases.judge(args.imbrex, [args.work], "--rtol", "1e-4",
                        "--atol", "1e-4")
    return cases.count_bad(found, "forms") > 0 or len(found) != len(FORMS)


if __name__ == "__main__":
    sys.exit(main())
