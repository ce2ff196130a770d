#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks as people write them, in the sizes that they use, against ONNX Runtime.

    networks.py --imbrex PROGRAM --work FOLDER [--only NAME,...]

Random weights of a fixed seed, exported by the older exporter of PyTorch. An
export stays in FOLDER/NAME. Every output must be within 1e-4 of the range.
Takes ten minutes, and 8 GiB of memory.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import exports

SEED = 20241127


def conv(before, after, size=3, step=1, act=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(before, after, size, step, size // 2, bias=False),
        nn.BatchNorm2d(after), act())


# --- a step of latent diffusion: attention over 64 x 64 places -----------------


class Attention(nn.Module):
    def __init__(self, width, heads, context=None):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context or width, width, bias=False)
        self.value = nn.Linear(context or width, width, bias=False)
        self.out = nn.Linear(width, width)

    def split(self, x):
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x, context=None):
        context = x if context is None else context
        y = F.scaled_dot_product_attention(
            self.split(self.query(x)), self.split(self.key(context)),
            self.split(self.value(context)))
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Transformer(nn.Module):
    """Pixels that look at each other, then at words."""

    def __init__(self, width, heads=8, context=768):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = Attention(width, heads)
        self.words = Attention(width, heads, context)
        self.up, self.down = nn.Linear(width, 8 * width), \
            nn.Linear(4 * width, width)

    def forward(self, image, words):
        x = self.norm(image).flatten(2).transpose(1, 2)
        x = x + self.own(self.norms[0](x))
        x = x + self.words(self.norms[1](x), words)
        value, gate = self.up(self.norms[2](x)).chunk(2, -1)
        x = x + self.down(value * F.gelu(gate))
        return image + x.transpose(1, 2).reshape(image.shape)


class Residual(nn.Module):
    def __init__(self, before, after, time):
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(32, before),
                                    nn.GroupNorm(32, after)])
        self.convs = nn.ModuleList([
            nn.Conv2d(before, after, 3, padding=1),
            nn.Conv2d(after, after, 3, padding=1)])
        self.time = nn.Linear(time, after)
        self.skip = nn.Conv2d(before, after, 1)

    def forward(self, x, time):
        y = self.convs[0](F.silu(self.norms[0](x)))
        y = y + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.convs[1](F.silu(self.norms[1](y)))


class Diffusion(nn.Module):
    def __init__(self, low=320, mid=640, high=1280, time=1280):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(320, time), nn.SiLU(),
                                  nn.Linear(time, time))
        self.first = nn.Conv2d(4, low, 3, padding=1)
        self.down = nn.ModuleList([nn.Conv2d(low, low, 3, 2, 1),
                                   nn.Conv2d(mid, mid, 3, 2, 1)])
        self.blocks = nn.ModuleList([
            Residual(low, low, time), Residual(low, mid, time),
            Residual(mid, high, time), Residual(high, mid, time),
            Residual(2 * mid, mid, time), Residual(mid + low, low, time)])
        self.looks = nn.ModuleList(Transformer(w) for w in
                                   (low, mid, high, mid, low))
        self.norm, self.last = nn.GroupNorm(32, low), \
            nn.Conv2d(low, 4, 3, padding=1)

    def forward(self, image, step, words):
        rates = torch.exp(-math.log(10000) * torch.arange(160) / 160)
        angles = step[:, None] * rates
        time = self.time(torch.cat([angles.cos(), angles.sin()], -1))
        block, look = self.blocks, self.looks
        wide = look[0](block[0](self.first(image), time), words)
        half = look[1](block[1](self.down[0](wide), time), words)
        deep = look[2](block[2](self.down[1](half), time), words)
        deep = F.interpolate(block[3](deep, time), scale_factor=2.0)
        half = look[3](block[4](torch.cat([deep, half], 1), time), words)
        half = F.interpolate(half, scale_factor=2.0)
        wide = look[4](block[5](torch.cat([half, wide], 1), time), words)
        return self.last(F.silu(self.norm(wide)))


# --- images -------------------------------------------------------------------


class UNet(nn.Module):
    def __init__(self, width=64, levels=4):
        super().__init__()
        sizes = [width << i for i in range(levels + 1)]
        twice = lambda a, b: nn.Sequential(conv(a, b), conv(b, b))
        self.down = nn.ModuleList(
            twice(a, b) for a, b in zip([3] + sizes, sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * s, s, 2, 2)
                                for s in reversed(sizes[:-1]))
        self.join = nn.ModuleList(twice(2 * s, s)
                                  for s in reversed(sizes[:-1]))
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        kept = []
        for block in self.down[:-1]:
            kept.append(block(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.down[-1](x)
        for up, join in zip(self.up, self.join):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return self.last(x)


class DenseNet(nn.Module):
    def __init__(self, blocks=(6, 12, 24, 16), growth=32):
        super().__init__()
        self.first = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.blocks, self.between, width = nn.ModuleList(), nn.ModuleList(), 64
        for i, count in enumerate(blocks):
            self.blocks.append(nn.ModuleList(
                self.layer(width + j * growth, growth) for j in range(count)))
            width += count * growth
            if i + 1 < len(blocks):
                self.between.append(nn.Sequential(
                    nn.BatchNorm2d(width), nn.ReLU(),
                    nn.Conv2d(width, width // 2, 1), nn.AvgPool2d(2)))
                width //= 2
        self.between.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()))
        self.last = nn.Linear(width, 1000)

    @staticmethod
    def layer(width, growth):
        return nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 128, 1),
            nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, growth, 3, padding=1))

    def forward(self, x):
        x = self.first(x)
        for layers, between in zip(self.blocks, self.between):
            for layer in layers:
                x = torch.cat([x, layer(x)], 1)
            x = between(x)
        return self.last(x.mean((2, 3)))


class SuperResolution(nn.Module):
    """Dense blocks at one size, then twice the edge, twice."""

    def __init__(self, blocks=6, width=64, growth=32):
        super().__init__()
        three = lambda a, b: nn.Conv2d(a, b, 3, padding=1)
        self.first, self.last = three(3, width), three(width, 3)
        self.blocks = nn.ModuleList(nn.ModuleList(
            three(width + i * growth, growth if i < 4 else width)
            for i in range(5)) for _ in range(blocks))
        self.up = nn.ModuleList(three(width, width) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            kept = [x]
            for layer in block[:-1]:
                kept.append(F.leaky_relu(layer(torch.cat(kept, 1)), 0.2))
            x = x + 0.2 * block[-1](torch.cat(kept, 1))
        for layer in self.up[:2]:
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2.0)), 0.2)
        return self.last(F.leaky_relu(self.up[2](x), 0.2))


class Video(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = self.conv(3, 64, (3, 7, 7), (1, 2, 2))
        self.blocks = nn.ModuleList(nn.ModuleList([
            self.conv(a, b, (3, 3, 3), s), self.conv(b, b, (3, 3, 3), 1),
            self.conv(a, b, (1, 1, 1), s)]) for a, b, s in
            ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)))
        self.last = nn.Linear(512, 400)

    @staticmethod
    def conv(before, after, size, step):
        return nn.Sequential(
            nn.Conv3d(before, after, size, step, [s // 2 for s in size]),
            nn.BatchNorm3d(after))

    def forward(self, x):
        x = F.relu(self.first(x))
        for one, two, skip in self.blocks:
            x = F.relu(two(F.relu(one(x))) + skip(x))
        return self.last(x.mean((2, 3, 4)))


# --- sound and words ----------------------------------------------------------


class Vocoder(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.first = nn.Conv1d(80, width, 7, padding=3)
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for step, size in ((8, 16), (8, 16), (2, 4), (2, 4)):
            self.up.append(nn.ConvTranspose1d(width, width // 2, size, step,
                                              (size - step) // 2))
            width //= 2
            self.blocks.append(nn.ModuleList(nn.ModuleList(
                nn.Conv1d(width, width, size, padding=far * (size // 2),
                          dilation=far) for far in (1, 3, 5))
                for size in (3, 7, 11)))
        self.last = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, x):
        x = self.first(x)
        for up, blocks in zip(self.up, self.blocks):
            x = up(F.leaky_relu(x, 0.1))
            parts = []
            for block in blocks:
                y = x
                for layer in block:
                    y = y + layer(F.leaky_relu(y, 0.1))
                parts.append(y)
            x = sum(parts) / 3
        return torch.tanh(self.last(F.leaky_relu(x)))


class Speech(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5)), nn.BatchNorm2d(32),
            nn.Hardtanh(0, 20),
            nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5)), nn.BatchNorm2d(32),
            nn.Hardtanh(0, 20))
        self.layers = nn.GRU(32 * 41, 256, 2, bidirectional=True)
        self.last = nn.Linear(512, 29)

    def forward(self, x):
        x = self.convs(x).flatten(1, 2).permute(2, 0, 1)
        return F.log_softmax(self.last(self.layers(x)[0]), -1)


class Words(nn.Module):
    def __init__(self, words=10000, width=650):
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.layers = nn.LSTM(width, width, 2, batch_first=True)
        self.last = nn.Linear(width, words)

    def forward(self, x):
        return self.last(self.layers(self.table(x))[0])


class LongText(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, 8)

    def forward(self, x):
        return x + self.attention(self.norm(x))


# --- the run ------------------------------------------------------------------

NETWORKS = {
    "diffusion": (Diffusion, lambda: (torch.randn(1, 4, 64, 64),
                                      torch.tensor([17.0]),
                                      torch.randn(1, 77, 768))),
    "unet": (UNet, lambda: (torch.randn(1, 3, 512, 512),)),
    "densenet": (DenseNet, lambda: (torch.randn(1, 3, 224, 224),)),
    "super_resolution": (SuperResolution,
                         lambda: (torch.randn(1, 3, 128, 128),)),
    "video": (Video, lambda: (torch.randn(1, 3, 16, 112, 112),)),
    "vocoder": (Vocoder, lambda: (torch.randn(1, 80, 100),)),
    "speech": (Speech, lambda: (torch.randn(1, 1, 161, 200),)),
    "words": (Words, lambda: (torch.randint(0, 10000, (4, 35)),)),
    "long_text": (LongText, lambda: (torch.randn(1, 8192, 512),)),
}


def make(name, folder):
    import onnxruntime

    torch.manual_seed(SEED)
    kind, inputs = NETWORKS[name]
    network, inputs = kind().eval(), inputs()
    exports.randomise(network)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    with torch.no_grad():
        torch.onnx.export(network, inputs, str(path), dynamo=False,
                          opset_version=17)
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    values = [tensor.numpy() for tensor in inputs]
    outputs = session.run(None, dict(zip(names, values)))
    meta = {"dims": {},
            "inputs": exports.describe("input", names, values, folder),
            "outputs": exports.describe(
                "output", [port.name for port in session.get_outputs()],
                outputs, folder)}
    (folder / "meta.json").write_text(json.dumps(meta) + "\n")
    return meta


def check(imbrex, name, folder):
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except OSError:
        meta = make(name, folder)
    return exports.compare(imbrex, folder, meta)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", type=lambda text: text.split(","),
                        default=list(NETWORKS))
    options = parser.parse_args()
    exports.begin()
    exports.quiet()
    failed = 0
    for name in options.only:
        try:
            error = check(options.imbrex, name, options.work / name)
            print(f"pass {name}: error {error:.1e}", flush=True)
        except Exception as error:  # of any package: others go on
            failed += 1
            print(f"FAIL {name}: {str(error)[:600]}", flush=True)
    print(f"{len(options.only) - failed} of {len(options.only)} networks pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
