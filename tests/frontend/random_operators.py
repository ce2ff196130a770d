#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Operators with random attributes and shapes, and what others compute.

write_cases(folder, count) writes `count` models of each operator of OPERATORS
with inputs and expected outputs, as eval_model reads them. The outputs come
from ONNX Runtime where it has the operator, else from the onnx package's
reference. The numbers are the same in every run.
"""

import warnings

import numpy as np

OPSET = 22
# ONNX Runtime crops to other places where a region leaves the tensor or has
# its extent: there the onnx package's reference judges.
REFERENCE = ("Resize",)
DIRECTIONS = ("forward", "reverse", "bidirectional")


class Case:
    """One node: attributes, inputs by name (None: left out), outputs.

    Inputs whose names stand in `known` become initialisers."""

    def __init__(self, op, inputs, outputs=1, known=(), opset=OPSET, **attrs):
        self.op, self.inputs, self.outputs = op, inputs, outputs
        self.reference = op in REFERENCE
        self.known, self.opset = set(known), opset
        self.attrs = {k: v for k, v in attrs.items() if v is not None}


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def pick(rng, *values):
    return values[rng.integers(len(values))]


def scalar(value, dtype=np.int64):
    return np.array(value, dtype)


# --- losses ------------------------------------------------------------------


def loss(rng, op):
    classes, rank = int(rng.integers(2, 6)), int(rng.integers(0, 3))
    shape = [int(rng.integers(1, 4)) for _ in range(rank + 1)]
    target = rng.integers(0, classes, shape).astype(pick(rng, np.int64,
                                                         np.int32))
    ignore = pick(rng, None, 0, -1, 77)
    if ignore is not None:
        target[rng.random(shape) < 0.3] = ignore
        target.flat[0] = 1 if ignore != 1 else 0
    weight = pick(rng, None, rng.random(classes).astype(np.float32) + 0.1)
    inputs = {"x": floats(rng, shape[0], classes, *shape[1:]), "t": target,
              "w": weight}
    return Case(op, inputs, reduction=pick(rng, None, "none", "sum", "mean"),
                ignore_index=ignore,
                outputs=pick(rng, 1, 2) if op.startswith("Soft") else 1)


# --- running products, loops -------------------------------------------------


def cum_prod(rng, op):
    shape = [int(rng.integers(1, 6)) for _ in range(int(rng.integers(1, 4)))]
    axis = int(rng.integers(-len(shape), len(shape)))
    return Case(op, {"x": floats(rng, *shape), "axis": scalar(axis)},
                known=["axis"], opset=26, exclusive=pick(rng, 0, 1),
                reverse=pick(rng, 0, 1))


def scan(rng, op):
    from onnx import TensorProto, helper

    steps, width = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    axis = pick(rng, 0, 1)
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [width])
            for n in ("s", "x", "next", "out")]
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "x"], ["sum"]),
         helper.make_node("Tanh", ["sum"], ["next"]),
         helper.make_node("Mul", ["next", "x"], ["out"])],
        "body", info[:2], info[2:])
    shape = (steps, width) if axis == 0 else (width, steps)
    if rng.random() < 0.4:  # the old form: a batch, each with a length
        lengths = rng.integers(1, steps + 1, 2)
        return Case(op, {"l": pick(rng, None, lengths),
                         "s": floats(rng, 2, width),
                         "x": floats(rng, 2, steps, width)},
                    known=pick(rng, [], ["l"]), opset=8, outputs=2, body=body,
                    num_scan_inputs=1, directions=[pick(rng, 0, 1)])
    return Case(op, {"s": floats(rng, width), "x": floats(rng, *shape)},
                outputs=2, body=body, num_scan_inputs=1,
                scan_input_axes=[axis], scan_input_directions=[pick(rng, 0, 1)],
                scan_output_axes=[pick(rng, 0, 1)],
                scan_output_directions=[pick(rng, 0, 1)])


def loop(rng, op):
    from onnx import TensorProto, helper

    width = int(rng.integers(1, 4))
    real, flag, number = (TensorProto.FLOAT, TensorProto.BOOL,
                          TensorProto.INT64)
    body = helper.make_graph(
        [helper.make_node("Cast", ["i"], ["f"], to=real),
         helper.make_node("Add", ["v", "f"], ["next"]),
         helper.make_node("Less", ["i", "last"], ["go"]),
         helper.make_node("Mul", ["next", "next"], ["out"])],
        "body",
        [helper.make_tensor_value_info("i", number, []),
         helper.make_tensor_value_info("c", flag, []),
         helper.make_tensor_value_info("v", real, [width])],
        [helper.make_tensor_value_info("go", flag, []),
         helper.make_tensor_value_info("next", real, [width]),
         helper.make_tensor_value_info("out", real, [width])],
        [helper.make_tensor("last", number, [], [int(rng.integers(0, 5))])])
    return Case(op, {"m": scalar(int(rng.integers(1, 6))),
                     "c": scalar(True, np.bool_), "v": floats(rng, width)},
                known=["m", "c"], outputs=2, body=body)


# --- tokens with a state -----------------------------------------------------


def causal_conv(rng, op):
    batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    length, kernel = int(rng.integers(1, 6)), int(rng.integers(2, 5))
    past = pick(rng, None, floats(rng, batch, channels, kernel - 1))
    inputs = {"x": floats(rng, batch, channels, length),
              "w": floats(rng, channels, 1, kernel),
              "b": pick(rng, None, floats(rng, channels)), "past": past}
    return Case(op, inputs, outputs=2, opset=27, known=pick(rng, [], ["w"]),
                activation=pick(rng, None, "silu", "swish", "none"))


def linear_attention(rng, op):
    batch, tokens = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    heads, group = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    keys, values = int(rng.integers(2, 4)), int(rng.integers(1, 4))
    rule = pick(rng, "linear", "gated", "delta", "gated_delta")
    decay = -np.abs(floats(rng, batch, tokens, heads * pick(rng, 1, keys)))
    beta = rng.random((batch, tokens, pick(rng, heads, 1))).astype(np.float32)
    inputs = {"q": floats(rng, batch, tokens, heads * group * keys),
              "k": floats(rng, batch, tokens, heads * keys) / 2,
              "v": floats(rng, batch, tokens, heads * values),
              "past": pick(rng, None, floats(rng, batch, heads, keys, values)),
              "decay": decay if "gated" in rule else None,
              "beta": beta if "delta" in rule else None}
    return Case(op, inputs, outputs=2, opset=27, q_num_heads=heads * group,
                kv_num_heads=heads, update_rule=rule,
                scale=pick(rng, None, 0.3))


def attention(rng, op):
    batch, heads, depth = 2, int(rng.integers(1, 3)), int(rng.integers(1, 5))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(4, 7))
    lengths = rng.integers(rows, columns + 1, batch).astype(np.int64)
    inputs = {"q": floats(rng, batch, heads, rows, depth),
              "k": floats(rng, batch, heads, columns, depth),
              "v": floats(rng, batch, heads, columns, depth),
              "mask": pick(rng, None, rng.random((rows, columns)) < 0.8),
              "pk": None, "pv": None, "lengths": lengths}
    return Case(op, inputs, opset=24, is_causal=pick(rng, 0, 1),
                softcap=pick(rng, None, 2.0), scale=pick(rng, None, 0.5))


# --- images ------------------------------------------------------------------


def grid_sample(rng, op):
    volume = rng.random() < 0.3
    image = [int(rng.integers(2, 6)) for _ in range(3 if volume else 2)]
    out = [int(rng.integers(1, 5)) for _ in image]
    batch = int(rng.integers(1, 3))
    modes = ("linear", "nearest") if volume else ("linear", "nearest", "cubic")
    return Case(op, {"x": floats(rng, batch, int(rng.integers(1, 4)), *image),
                     "g": (floats(rng, batch, *out, len(image)) * 0.8)},
                mode=pick(rng, *modes), align_corners=pick(rng, 0, 1),
                padding_mode=pick(rng, "zeros", "border", "reflection"))


def affine_grid(rng, op):
    spatial = [int(rng.integers(2, 5)) for _ in range(pick(rng, 2, 3))]
    batch = int(rng.integers(1, 3))
    return Case(op, {"theta": floats(rng, batch, len(spatial),
                                     len(spatial) + 1),
                     "size": scalar([batch, 3, *spatial])},
                known=["size"], align_corners=pick(rng, 0, 1))


def col2im(rng, op):
    image = [int(rng.integers(4, 8)) for _ in range(2)]
    block = [int(rng.integers(1, 4)) for _ in range(2)]
    strides = [int(rng.integers(1, 3)) for _ in range(2)]
    pads = [int(rng.integers(0, 2)) for _ in range(4)]
    dilations = [pick(rng, 1, 1, 2) for _ in range(2)]
    count = 1
    for i in range(2):
        room = image[i] + pads[i] + pads[i + 2] - dilations[i] * (block[i] - 1)
        if room < 1:
            return col2im(rng, op)
        count *= (room - 1) // strides[i] + 1
    planes = int(rng.integers(1, 3)) * block[0] * block[1]
    return Case(op, {"x": floats(rng, int(rng.integers(1, 3)), planes, count),
                     "image": scalar(image), "block": scalar(block)},
                known=["image", "block"], strides=strides, pads=pads,
                dilations=dilations)


def center_crop_pad(rng, op):
    shape = [int(rng.integers(1, 7)) for _ in range(3)]
    axes = pick(rng, None, [0, 2], [-1])
    count = 3 if axes is None else len(axes)
    wanted = [int(rng.integers(1, 8)) for _ in range(count)]
    return Case(op, {"x": floats(rng, *shape), "shape": scalar(wanted)},
                known=["shape"], axes=axes)


def roi_align(rng, op):
    batch, regions = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    ratio, mode = pick(rng, 0, 0, 1, 2, 3), pick(rng, "avg", "avg", "max")
    start = rng.random((regions, 2)) * 6 - 1
    size = rng.random((regions, 2)) * 5 + 0.5
    if ratio == 0:  # as many samples as elements, none where nothing is
        size = size * pick(rng, 1, 3) - 0.8
    boxes = np.concatenate([start, start + size], 1).astype(np.float32)
    image = pick(rng, (6, 7), (6, 7), (1, 5))
    return Case(op, {"x": floats(rng, batch, 2, *image), "r": boxes,
                     "b": rng.integers(0, batch, regions)}, opset=16,
                known=["r"] if ratio == 0 and mode == "max" else [],
                output_height=pick(rng, 1, 2, 3), output_width=pick(rng, 1, 2),
                sampling_ratio=ratio, mode=mode,
                spatial_scale=pick(rng, 1.0, 0.5),
                coordinate_transformation_mode=pick(rng, "half_pixel",
                                                    "output_half_pixel"))


def max_roi_pool(rng, op):
    batch, regions = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    image = [int(rng.integers(1, 12)) for _ in range(2)]
    scale = pick(rng, None, 0.5, 0.0625, 0.3)
    room = np.array(image[::-1]) / (scale or 1)
    start = (rng.random((regions, 2)) * 1.6 - 0.4) * room
    size = (rng.random((regions, 2)) * 1.4 - 0.2) * room
    boxes = np.concatenate([rng.integers(0, batch, (regions, 1)), start,
                            start + size], 1)
    boxes[:, 1:] = np.round(boxes[:, 1:] * 2) / 2  # halves are frequent
    return Case(op, {"x": floats(rng, batch, int(rng.integers(1, 4)), *image),
                     "r": boxes.astype(np.float32)},
                known=pick(rng, [], ["r"]), opset=16, spatial_scale=scale,
                pooled_shape=[int(rng.integers(1, 8)) for _ in range(2)])


def deform_conv(rng, op):
    group, offsets = pick(rng, 1, 2), pick(rng, 1, 2)
    kernel = [int(rng.integers(1, 4)) for _ in range(2)]
    image = [int(rng.integers(5, 8)) for _ in range(2)]
    strides, dilations = [pick(rng, 1, 2), 1], [1, pick(rng, 1, 2)]
    pads = [int(rng.integers(0, 2)) for _ in range(4)]
    out = [(image[i] + pads[i] + pads[i + 2]
            - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
           for i in range(2)]
    taps = kernel[0] * kernel[1]
    inputs = {"x": floats(rng, 2, 4, *image),
              "w": floats(rng, 2 * group, 4 // group, *kernel),
              "o": floats(rng, 2, offsets * taps * 2, *out),
              "b": pick(rng, None, floats(rng, 2 * group)),
              "m": pick(rng, None,
                        rng.random((2, offsets * taps, *out))
                        .astype(np.float32))}
    return Case(op, inputs, group=group, offset_group=offsets, pads=pads,
                strides=strides, dilations=dilations)


def max_unpool(rng, op):
    kernel = [int(rng.integers(1, 4)) for _ in range(2)]
    x = floats(rng, 2, 2, 3, 2)
    total = 2 * 2 * (3 * kernel[0]) * (2 * kernel[1])
    index = rng.permutation(total)[:x.size].reshape(x.shape)
    return Case(op, {"x": x, "i": index.astype(np.int64)}, known=["i"],
                kernel_shape=kernel, strides=kernel)


def resize_crop(rng, op):
    """Regions of interest; the other modes have node tests."""
    start, size = rng.random(2) * 0.6 - 0.1, rng.random(2) * 0.7 + 0.1
    roi = np.array([0, 0, *start, 1, 1, *(start + size)], np.float32)
    sizes = [1, 2, int(rng.integers(1, 8)), int(rng.integers(1, 8))]
    return Case(op, {"x": floats(rng, 1, 2, 5, 6), "roi": roi, "scales": None,
                     "sizes": scalar(sizes)}, known=["roi", "sizes"], opset=19,
                mode=pick(rng, "linear", "nearest", "cubic"),
                coordinate_transformation_mode="tf_crop_and_resize",
                extrapolation_value=pick(rng, None, 3.0))


# --- recurrent layers --------------------------------------------------------

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def recurrent(rng, op):
    direction = pick(rng, *DIRECTIONS)
    sides = 2 if direction == "bidirectional" else 1
    steps, batch = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    width, hidden = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    rows = GATES[op] * hidden
    start = floats(rng, sides, batch, hidden)
    lengths = rng.integers(1, steps + 1, batch).astype(np.int32)
    lengths[0] = steps
    inputs = {"x": floats(rng, steps, batch, width),
              "w": floats(rng, sides, rows, width),
              "r": floats(rng, sides, rows, hidden),
              "b": pick(rng, None, floats(rng, sides, 2 * rows)),
              "n": pick(rng, None, lengths), "h": pick(rng, None, start)}
    attrs = {"hidden_size": hidden, "direction": direction,
             "clip": pick(rng, None, 0.7)}
    if op == "LSTM":  # ONNX Runtime does not clip what the third function reads
        attrs["clip"] = None
    if op == "GRU":
        attrs["linear_before_reset"] = pick(rng, 0, 1)
    if op == "LSTM":
        inputs["c"] = pick(rng, None, floats(rng, sides, batch, hidden))
        inputs["p"] = pick(rng, None, floats(rng, sides, 3 * hidden))
        attrs["input_forget"] = pick(rng, 0, 0, 1)
    if rng.random() < 0.4:
        names = ("Relu", "Tanh", "Sigmoid", "Softsign", "HardSigmoid")
        attrs["activations"] = [pick(rng, *names)
                                for _ in range(FUNCTIONS[op] * sides)]
    return Case(op, inputs, outputs=3 if op == "LSTM" else 2, known=["w", "r"],
                **attrs)


# --- signals -----------------------------------------------------------------


def dft(rng, op):
    shape = [int(rng.integers(1, 3)), int(rng.integers(2, 9)),
             int(rng.integers(2, 6))]
    inverse, onesided = pick(rng, 0, 1), pick(rng, 0, 1)
    parts = 2 if inverse else (1 if onesided else pick(rng, 1, 2))
    if inverse and onesided:  # ONNX Runtime knows no such form
        onesided = 0
    axis = pick(rng, 1, 2)
    length = pick(rng, None, scalar(int(rng.integers(2, 10))))
    return Case(op, {"x": floats(rng, *shape, parts), "n": length,
                     "axis": scalar(axis)}, known=["n", "axis"],
                inverse=inverse, onesided=onesided)


def stft(rng, op):
    length, frame = int(rng.integers(8, 20)), int(rng.integers(2, 8))
    window = pick(rng, None, rng.random(frame).astype(np.float32))
    return Case(op, {"x": floats(rng, 2, length, 1),
                     "step": scalar(int(rng.integers(1, 5))), "w": window,
                     "n": scalar(frame)},
                known=["step", "n"] + pick(rng, [], ["w"]),
                onesided=pick(rng, 0, 1))


def window(rng, op):
    return Case(op, {"n": scalar(int(rng.integers(3, 20)))}, known=["n"],
                periodic=pick(rng, 0, 1))


def mel(rng, op):
    low = float(rng.integers(0, 200))
    inputs = {"bins": scalar(int(rng.integers(1, 12))),
              "n": scalar(int(pick(rng, 64, 128, 200))),
              "rate": scalar(8000), "low": scalar(low, np.float32),
              "high": scalar(float(rng.integers(1000, 4000)), np.float32)}
    return Case(op, inputs, known=list(inputs))


# --- elements ----------------------------------------------------------------


def inverse(rng, op):
    x = floats(rng, 3, 40) * 3
    if op in ("Acos", "Asin", "Atanh"):
        x = np.tanh(x)
        x.flat[:4] = 1, -1, 0, 1e-6
    if op == "Acosh":
        x = 1 + np.abs(x) ** 3
        x.flat[:4] = 1, 1 + 1e-6, 1e6, 1e30
    if op in ("Asinh", "Atan"):
        x.flat[:6] = 1e-6, -1e-6, 1e6, -1e30, 0, 1e30
    return Case(op, {"x": x.astype(np.float32)})


# Few and many updates, with indices that are known and that are not.
def scatter_elements(rng, op):
    most = pick(rng, 5, 30)
    shape = [int(rng.integers(2, most)) for _ in range(2)]
    axis = int(rng.integers(-2, 2))
    index_shape = [int(rng.integers(1, n + 1)) for n in shape]
    extent = shape[axis]
    index = rng.integers(-extent, extent, index_shape)
    how = pick(rng, "none", "add", "mul", "max", "min")
    if how == "none":  # which one of two stays is not defined
        index = np.argsort(rng.random(shape), axis)
        index = index[tuple(slice(n) for n in index_shape)]
    return Case(op, {"x": floats(rng, *shape), "i": index,
                     "u": floats(rng, *index_shape)},
                known=pick(rng, ["i"], []), axis=axis, reduction=how)


def scatter_nd(rng, op):
    most = pick(rng, 5, 9)
    shape = [int(rng.integers(2, most)) for _ in range(3)]
    depth, count = int(rng.integers(1, 4)), int(rng.integers(1, 5 * most))
    how = pick(rng, "none", "add", "mul", "max", "min")
    index = np.stack([rng.integers(-shape[d], shape[d], count)
                      for d in range(depth)], 1)
    if how == "none":
        index = np.unique(index % shape[:depth], axis=0)
        rng.shuffle(index)
    return Case(op, {"x": floats(rng, *shape), "i": index,
                     "u": floats(rng, len(index), *shape[depth:])},
                known=pick(rng, ["i"], []), reduction=how)


def reverse_sequence(rng, op):
    axis = pick(rng, 0, 1)
    shape = [int(rng.integers(1, 5)) for _ in range(2)] + [2]
    lengths = rng.integers(1, shape[1 - axis] + 1, shape[axis])
    return Case(op, {"x": floats(rng, *shape), "n": lengths}, batch_axis=axis,
                time_axis=1 - axis)


def tensor_scatter(rng, op):
    batch, places = int(rng.integers(1, 4)), int(rng.integers(3, 7))
    written = int(rng.integers(1, 4))
    mode = pick(rng, "linear", "circular")
    most = places if mode == "circular" else places - written + 1
    start = pick(rng, None, rng.integers(0, most, batch))
    return Case(op, {"x": floats(rng, batch, 2, places, 3),
                     "u": floats(rng, batch, 2, written, 3), "i": start},
                mode=mode, opset=24)


def det(rng, op):
    rows = int(rng.integers(1, 6))
    x = floats(rng, 2, 2, rows, rows)
    x[0, 0, 0, 0] = 0
    return Case(op, {"x": x})


def top_k(rng, op):
    shape = [int(rng.integers(1, 6)) for _ in range(int(rng.integers(1, 4)))]
    axis = int(rng.integers(-len(shape), len(shape)))
    x = rng.integers(-4, 4, shape).astype(pick(rng, np.float32, np.int32,
                                               np.int64))
    count = int(rng.integers(1, shape[axis] + 1))
    return Case(op, {"x": x, "k": scalar([count])}, outputs=2, known=["k"],
                axis=axis, largest=pick(rng, 0, 1))


def batch_norm(rng, op):
    channels = int(rng.integers(1, 4))
    vectors = {n: floats(rng, channels) for n in ("scale", "bias", "mean")}
    return Case(op, {"x": floats(rng, 3, channels, 4), **vectors,
                     "var": rng.random(channels).astype(np.float32) + 0.1},
                outputs=3, opset=15, training_mode=1,
                momentum=pick(rng, None, 0.6), epsilon=pick(rng, None, 1e-2))


OPERATORS = {
    "NegativeLogLikelihoodLoss": loss, "SoftmaxCrossEntropyLoss": loss,
    "CumProd": cum_prod, "Scan": scan, "Loop": loop,
    "CausalConvWithState": causal_conv, "LinearAttention": linear_attention,
    "Attention": attention, "GridSample": grid_sample,
    "AffineGrid": affine_grid, "Resize": resize_crop, "Col2Im": col2im,
    "CenterCropPad": center_crop_pad, "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool, "DeformConv": deform_conv, "MaxUnpool": max_unpool, "RNN": recurrent,
    "GRU": recurrent, "LSTM": recurrent, "DFT": dft, "STFT": stft,
    "HannWindow": window, "HammingWindow": window, "BlackmanWindow": window,
    "MelWeightMatrix": mel, "Acos": inverse, "Asin": inverse, "Atan": inverse,
    "Acosh": inverse, "Asinh": inverse, "Atanh": inverse,
    "ScatterElements": scatter_elements, "ScatterND": scatter_nd,
    "ReverseSequence": reverse_sequence, "TensorScatter": tensor_scatter,
    "Det": det, "TopK": top_k, "BatchNormalization": batch_norm,
}


def make_model(case):
    import onnx
    from onnx import helper, numpy_helper

    given = {n: v for n, v in case.inputs.items() if v is not None}
    names = [n if v is not None else "" for n, v in case.inputs.items()]
    while names and not names[-1]:
        names.pop()
    outputs = [f"out_{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, name="node", **case.attrs)

    def info(name, array):
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, dtype, array.shape)

    graph = helper.make_graph(
        [node], "random",
        [info(n, v) for n, v in given.items() if n not in case.known],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(v, n) for n, v in given.items()
         if n in case.known])
    return helper.make_model(
        graph, ir_version=10,
        opset_imports=[helper.make_opsetid("", case.opset)])


def infer_types(model):
    """Output types, which ONNX Runtime wants to see."""
    from onnx import shape_inference

    inferred = shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def expected(model, feeds, reference=False):
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    onnxruntime.set_default_logger_severity(4)
    if reference:
        return ReferenceEvaluator(model).run(None, feeds)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # it has a type of its own for each reason
        return ReferenceEvaluator(model).run(None, feeds)
    return session.run(None, feeds)


def write_case(folder, case):
    model = make_model(case)
    infer_types(model)
    feeds = {n: v for n, v in case.inputs.items()
             if v is not None and n not in case.known}
    folder.mkdir(parents=True, exist_ok=True)
    for index, value in enumerate(expected(model, feeds, case.reference)):
        np.save(folder / f"output_{index}.npy", np.array(value, order="C"))
    for index, value in enumerate(feeds.values()):
        np.save(folder / f"input_{index}.npy", np.array(value, order="C"))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def write_cases(work, count):
    """Returns the folders."""
    warnings.filterwarnings("ignore")
    folders = []
    for number, (op, make) in enumerate(OPERATORS.items()):
        rng = np.random.default_rng(1000 + number)
        for index in range(count):
            folder = work / f"{op}.{index}"
            write_case(folder, make(rng, op))
            folders.append(folder)
    return folders
