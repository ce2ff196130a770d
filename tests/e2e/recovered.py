#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the fused operations that opt_recover finds in real exports.

    recovered.py --imbrex PROGRAM --work FOLDER [--document FILE [--write]]

The networks are rows of export_rows.py, by both exporters of PyTorch; FOLDER is
that of exports.py. What a network computes is asked of the network itself: it
runs once, and each call of a norm, a softmax or an activation is counted. The
graph after opt_recover must have as many of each, and no exponential, error
function or root more than the calls leave. FILE is the table of the counts: it
must be what this run finds, or is written.
"""

import argparse
import collections
import re
import subprocess
import sys
from pathlib import Path

import exports
from export_rows import ROWS

NETWORKS = ("bert", "deberta", "gpt2", "bloom", "llama", "gemma2", "qwen3",
            "mamba", "t5", "mt5", "vit", "clip", "swin", "convnext",
            "efficientnet", "whisper", "wav2vec2")
FUSED = ("softmax", "layer_norm", "rms_norm", "gelu", "gelu_tanh",
         "gelu_sigmoid", "silu")
# What only decomposed forms of these networks would need.
WRITTEN_OUT = ("erf", "sqrt", "rsqrt")


# --- what the network computes ------------------------------------------------

# Functions of torch that are the operation.
FUNCTIONS = {
    "softmax": "softmax", "scaled_dot_product_attention": "softmax",
    "layer_norm": "layer_norm", "group_norm": "layer_norm",
    "instance_norm": "layer_norm", "rms_norm": "rms_norm", "silu": "silu",
}
# Modules of `transformers` that write one out, by the end of their names.
MODULES = {
    "NewGELUActivation": "gelu_tanh", "FastGELUActivation": "gelu_tanh",
    "BloomGelu": "gelu_tanh", "QuickGELUActivation": "gelu_sigmoid",
    "RMSNorm": "rms_norm", "T5LayerNorm": "rms_norm",
    "DebertaLayerNorm": "layer_norm",
}
# What a network computes outside of any function or module of its own: CLIP
# divides the features of text and image by their lengths.
LOOSE = {"clip": {"rms_norm": 2}}


def make_counter(calls):
    """Counts the calls of torch's own functions while it is entered."""
    from torch.overrides import TorchFunctionMode

    class Counter(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            name, options = getattr(function, "__name__", ""), kwargs or {}
            kind = FUNCTIONS.get(name)
            if name == "gelu":
                is_tanh = options.get("approximate") == "tanh"
                kind = "gelu_tanh" if is_tanh else "gelu"
            if kind:
                calls[kind] += 1
            return function(*args, **options)  # calls inside do not count

    return Counter()


def called(row):
    """How often the network calls each fused operation."""
    import torch

    calls = collections.Counter(LOOSE.get(row.name, {}))
    network = exports.make_network(row)
    inputs = exports.make_inputs(row, network)
    for module in network.modules():
        for name, kind in MODULES.items():
            if type(module).__name__.endswith(name):
                module.register_forward_hook(
                    lambda *_, kind=kind: calls.update([kind]))
    with make_counter(calls), torch.no_grad():
        network(**inputs)
    return calls


# --- what the graph has -------------------------------------------------------


def count_ops(imbrex, folder, after):
    line = [str(imbrex), "compile", str(folder / "model.onnx"), "--emit", "mlir",
            "--stop-after", after, "-o", "-"]
    done = subprocess.run(line, capture_output=True, text=True, check=True,
                          timeout=exports.MOST_SECONDS)
    return collections.Counter(re.findall(r'= "ibx\.(\w+)"', done.stdout))


def examine(options, row, exporter, calls):
    """A row of the table, and what is wrong."""
    folder = options.work / f"{row.name}.{exporter}"
    exports.find_or_make(row, exporter, folder)
    before = count_ops(options.imbrex, folder, "opt_dce")
    after = count_ops(options.imbrex, folder, "opt_recover")
    wrong = [f"{folder.name}: the network has {calls[op]} of {op}, the graph "
             f"{after[op]}" for op in FUSED if after[op] != calls[op]]
    wrong += [f"{folder.name}: {after[op]} of {op} are left"
              for op in WRITTEN_OUT if after[op]]
    cells = [f"{before[op]} → {after[op]}" if before[op] != after[op]
             else str(after[op] or "") for op in FUSED]
    return f"| {row.name} | {exporter} | " + " | ".join(cells) + " |", wrong


def heading():
    return ["# Recovered operations", "",
            "What `opt_recover` finds in exports of small networks of "
            "`transformers`, printed by `tests/e2e/recovered.py --write`. "
            "Left of an arrow: how many the exporter has left whole; right of "
            "it, or alone: how many there are after the pass, which is how "
            "often the network calls them.", "",
            "| network | exporter | " + " | ".join(FUSED) + " |",
            "|" + "---|" * (len(FUSED) + 2)]


def judge_document(options, lines):
    text = "\n".join(lines) + "\n"
    if not options.document:
        return []
    if options.write:
        options.document.write_text(text)
    if options.document.read_text() != text:
        return [f"{options.document} is not what this run finds; print it "
                "again with --write"]
    return []


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--document", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    exports.begin()
    exports.quiet()
    by_name = {row.name: row for row in ROWS}
    lines, wrong = heading(), []
    for name in NETWORKS:
        row = by_name[name]
        calls = called(row)
        for exporter in row.exporters:
            line, problems = examine(options, row, exporter, calls)
            lines.append(line)
            wrong += problems
            print(line, flush=True)
    wrong += judge_document(options, lines)
    print("\n".join(wrong) or f"{len(lines) - len(heading())} graphs agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
