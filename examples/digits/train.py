#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the network of this example and writes it as text.

    build/venv/bin/python examples/digits/train.py

Data: the 1,797 handwritten digits of 8 x 8 pixels inside scikit-learn. Seed
and split are fixed. Writes digits.onnx.txt (an ONNX model as protocol buffer
text) and digit_K.pb.txt (a few test digits as ONNX tensors) beside itself.
"""

import textwrap
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf import text_format
from onnx import TensorProto, helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
SEED = 7
EPOCHS = 80
SAMPLES = (0, 3, 7)  # one test digit for each of these values


def data():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return train_test_split(images, labels, test_size=360, random_state=SEED,
                            stratify=labels)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(24 * 4 * 4, 10))


def train(model, images, labels):
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]),
                                               labels[batch])
            loss.backward()
            optimizer.step()
        schedule.step()
    model.eval()


def tensor(name, values):
    values = np.asarray(values)
    kind = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
    return helper.make_tensor(name, kind, values.shape, values.ravel())


def to_onnx(model):
    conv1, _, conv2, _, _, _, _, dense = model
    weights = {"conv1.weight": conv1.weight, "conv1.bias": conv1.bias,
               "conv2.weight": conv2.weight, "conv2.bias": conv2.bias,
               "dense.weight": dense.weight, "dense.bias": dense.bias}
    kernel = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    node = helper.make_node
    graph = helper.make_graph(
        [node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"],
              name="conv1", **kernel),
         node("Relu", ["conv1"], ["relu1"], name="relu1"),
         node("Conv", ["relu1", "conv2.weight", "conv2.bias"], ["conv2"],
              name="conv2", **kernel),
         node("Relu", ["conv2"], ["relu2"], name="relu2"),
         node("MaxPool", ["relu2"], ["pool"], name="pool",
              kernel_shape=[2, 2], strides=[2, 2]),
         node("Flatten", ["pool"], ["features"], name="flatten", axis=1),
         node("Gemm", ["features", "dense.weight", "dense.bias"], ["scores"],
              name="dense", transB=1)],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT,
                                       [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [tensor(n, w.detach().numpy()) for n, w in weights.items()])
    made = helper.make_model(graph, producer_name="imbrex digits example",
                             opset_imports=[helper.make_opsetid("", 17)],
                             ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def text(message):
    """Protocol buffer text in lines of at most 80 columns; floats keep every
    bit."""
    lines = ["# Written by train.py."]
    for line in text_format.MessageToString(
            message, use_short_repeated_primitives=True).splitlines():
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines += textwrap.wrap(line, 80, subsequent_indent=indent)
    return "\n".join(lines) + "\n"


def main():
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train_x, test_x, train_y, test_y = data()
    model = network()
    train(model, train_x, train_y)
    with torch.no_grad():
        right = model(torch.from_numpy(test_x)).argmax(1).numpy() == test_y
    print(f"test accuracy {right.mean():.4f} on {len(test_y)} digits")
    if right.mean() < 0.97:
        raise SystemExit("train.py: too inaccurate to keep")

    made = to_onnx(model)
    path = HERE / "digits.onnx.txt"
    path.write_text(text(made))
    assert text_format.Parse(path.read_text(), onnx.ModelProto()) == made
    for value in SAMPLES:
        index = np.flatnonzero(test_y == value)[0]
        sample = tensor("image", test_x[index][None])
        (HERE / f"digit_{value}.pb.txt").write_text(text(sample))
    print(f"wrote {path.name}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
