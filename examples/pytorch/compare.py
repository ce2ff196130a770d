#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch module to the simulated accelerator and back.

    compare.py [--imbrex PROGRAM] [--target ibx3] [--bf16]

Exports a small transformer block, compiles it, runs the program on the
simulator and compares its output with PyTorch's.
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]


class Block(nn.Module):
    """Attention and a gated layer, each with a norm before and a sum after."""

    def __init__(self, width=64, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q, k, v = (part.reshape(shape).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imbrex", default=ROOT / "build/release/bin/imbrex")
    parser.add_argument("--target", default="ibx3")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()

    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.manual_seed(7)
    block, x = Block().eval(), torch.randn(1, 32, 64)
    with torch.no_grad():
        want = block(x).numpy()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        torch.onnx.export(block, (x,), str(folder / "block.onnx"), dynamo=True,
                          external_data=False, input_names=["x"],
                          output_names=["y"], verbose=False)
        np.save(folder / "x.npy", x.numpy())
        cast = ["--auto-cast", "all"] if options.bf16 else []
        for line in (["compile", folder / "block.onnx", "-o",
                      folder / "block.ibx", "--target", options.target, *cast],
                     ["run", folder / "block.ibx", "--input",
                      f"x={folder / 'x.npy'}", "--output-dir", folder]):
            subprocess.run([str(options.imbrex), *map(str, line)], check=True,
                           stdout=subprocess.DEVNULL)
        got = np.load(folder / "y.npy")

    # fp32 sums in another order; bf16 keeps 8 bits of each operand.
    error = np.abs(got - want).max() / (want.max() - want.min())
    limit = 3e-2 if options.bf16 else 1e-5
    print(f"{want.shape} on {options.target}: largest error {error:.1e} of the "
          f"range, at most {limit:.0e} is expected")
    return 0 if error <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
