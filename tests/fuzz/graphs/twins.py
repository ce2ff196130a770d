# SPDX-License-Identifier: Apache-2.0
"""Breaks a model in one place: an attribute, a dtype, a shape, an edge; or as
no exporter would, see hostile.py.

`broken(rng, model)` returns the bytes of a copy and what was done to it. The
copy may be valid still, or again. See verdict.py for what it must compute.
"""

import copy

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from . import hostile
from .hostile import ODD_FLOATS, ODD_INTS, breakable, graphs_of, names_of, \
    pick, some_node

ODD = ODD_INTS + (2, 7, -7, 2 ** 40)
DTYPES = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32,
          TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.BFLOAT16,
          TensorProto.UINT8, TensorProto.INT8, TensorProto.DOUBLE,
          TensorProto.STRING, TensorProto.UNDEFINED, TensorProto.COMPLEX64,
          TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.UINT2,
          TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E8M0, 99]


# --- attributes --------------------------------------------------------------


def some_attribute(rng, model):
    node = some_node(rng, model, breakable)
    return (node, pick(rng, breakable(node))) if node else (None, None)


def drop_attribute(rng, model):
    node, attribute = some_attribute(rng, model)
    if node is None:
        return None
    name = attribute.name
    node.attribute.remove(attribute)
    return f"{node.name} without {name}"


def odd_list(rng, items, odd):
    how = rng.integers(4)
    if how == 0 and items:
        items.pop()
    elif how == 1:
        items.append(pick(rng, odd))
    elif how == 2:
        del items[:]
    elif items:
        items[int(rng.integers(len(items)))] = pick(rng, odd)


def odd_attribute(rng, model):
    node, a = some_attribute(rng, model)
    if node is None:
        return None
    if a.type == AttributeProto.INT:
        a.i = pick(rng, ODD)
    elif a.type == AttributeProto.FLOAT:
        a.f = pick(rng, ODD_FLOATS + (3e38, -1e-38))
    elif a.type == AttributeProto.STRING:
        a.s = pick(rng, (b"", b"nonsense", b"\xff\xfe", a.s * 40, a.s.lower()))
    elif a.type == AttributeProto.INTS:
        odd_list(rng, a.ints, ODD)
    elif a.type == AttributeProto.FLOATS:
        odd_list(rng, a.floats, ODD_FLOATS)
    elif a.type == AttributeProto.STRINGS:
        odd_list(rng, a.strings, (b"", b"nonsense", b"\xff\xfe"))
    elif a.type == AttributeProto.TENSOR:
        return odd_tensor(rng, a.t) and f"{node.name}: odd {a.name}"
    elif a.type == AttributeProto.TYPE_PROTO:
        odd_type(rng, a.tp)
    else:
        return None
    return f"{node.name}: odd {a.name}"


def other_attribute_type(rng, model):
    node, a = some_attribute(rng, model)
    if node is None:
        return None
    name = a.name
    node.attribute.remove(a)
    value = pick(rng, (1, 0.5, "text", [1, 2], [0.5], ["a"],
                       helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])))
    node.attribute.append(helper.make_attribute(name, value))
    if rng.random() < 0.3:
        node.attribute[-1].type = int(rng.integers(0, 16))
    return f"{node.name}: {name} of another type"


def more_attributes(rng, model):
    node = some_node(rng, model)
    twice = len(node.attribute) > 0 and rng.random() < 0.4
    name = pick(rng, node.attribute).name if twice else "bogus"
    node.attribute.append(helper.make_attribute(name, pick(rng, (1, "x"))))
    return f"{node.name}: also {name}"


# --- tensors -----------------------------------------------------------------


def odd_tensor(rng, tensor):
    how = rng.integers(5)
    if how == 0:
        tensor.data_type = pick(rng, DTYPES)
    elif how == 1:
        tensor.dims.append(pick(rng, ODD))
    elif how == 2 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = pick(rng, ODD)
    elif how == 3 and tensor.dims:
        tensor.dims.pop()
    elif tensor.raw_data and tensor.data_type == TensorProto.INT64:
        numbers = np.frombuffer(tensor.raw_data, np.int64).copy()
        numbers[int(rng.integers(numbers.size))] = pick(rng, ODD)
        tensor.raw_data = numbers.tobytes()
    elif tensor.raw_data:
        tensor.raw_data = tensor.raw_data[:-1]
    return True


def odd_initializer(rng, model):
    tensor = pick(rng, [t for g in graphs_of(model.graph)
                        for t in g.initializer])
    if tensor is None:
        return None
    odd_tensor(rng, tensor)
    return f"odd initialiser {tensor.name}"


def odd_type(rng, kind):
    """A tensor becomes a sequence of such, or an optional, and these become
    what they have."""
    inner = onnx.TypeProto()
    inner.CopyFrom(kind)
    if kind.HasField("sequence_type"):
        inner = kind.sequence_type.elem_type
    elif kind.HasField("optional_type"):
        inner = kind.optional_type.elem_type
    elif rng.random() < 0.5:
        inner = helper.make_sequence_type_proto(inner)
    else:
        inner = helper.make_optional_type_proto(inner)
    kind.CopyFrom(copy.deepcopy(inner))


def odd_port(rng, model):
    value = pick(rng, [v for g in graphs_of(model.graph)
                       for v in list(g.input) + list(g.output)])
    if value is None:
        return None
    tensor = value.type.tensor_type
    how = rng.integers(8)
    if how <= 1:
        tensor.elem_type = pick(rng, DTYPES)
    elif how >= 6:
        odd_type(rng, value.type)
    elif how == 2 and tensor.shape.dim:
        pick(rng, tensor.shape.dim).dim_value = pick(rng, ODD)
    elif how == 3:
        tensor.shape.dim.add().dim_value = pick(rng, (1, 2, 5))
    elif how == 4 and tensor.shape.dim:
        pick(rng, tensor.shape.dim).dim_param = pick(rng, ("N", ""))
    elif tensor.shape.dim:
        del tensor.shape.dim[-1]
    else:
        value.type.Clear()
    return f"odd type of {value.name}"


# --- edges -------------------------------------------------------------------


def other_edge(rng, model):
    node = some_node(rng, model, lambda n: len(n.input) > 0)
    if node is None:
        return None
    at = int(rng.integers(len(node.input)))
    node.input[at] = pick(rng, ["absent", "", node.output[0]] +
                          names_of(model.graph) * 2)
    return f"{node.name}: input {at} is {node.input[at]}"


def other_operands(rng, model):
    node = some_node(rng, model, lambda n: len(n.input) > 0)
    if node is None:
        return None
    how = rng.integers(3)
    if how == 0:
        node.input.pop()
    elif how == 1:
        node.input.append(pick(rng, names_of(model.graph)))
    else:
        shuffled = [node.input[i] for i in rng.permutation(len(node.input))]
        del node.input[:]
        node.input.extend(shuffled)
    return f"{node.name}: other operands"


def other_outputs(rng, model):
    node = some_node(rng, model)
    how = rng.integers(4)
    if how == 0:
        node.output.append(pick(rng, ("more", node.output[0])))
    elif how == 1:
        node.output[0] = pick(rng, names_of(model.graph))
    elif how == 2:
        node.output[0] = ""
    else:
        del node.output[:]
    return f"{node.name}: other outputs"


def other_ports(rng, model):
    graph = pick(rng, graphs_of(model.graph))
    ports = pick(rng, (graph.input, graph.output))
    if not ports:
        return None
    how = rng.integers(3)
    port = pick(rng, ports)
    name = port.name
    if how == 0:
        ports.remove(port)
    elif how == 1:
        ports.append(copy.deepcopy(port))
    else:
        port.name = pick(rng, ("", "absent", pick(rng, names_of(model.graph))))
    return f"port {name}"


# --- operators ---------------------------------------------------------------


def other_operator(rng, model):
    node = some_node(rng, model)
    name = node.name
    if rng.random() < 0.2:
        node.domain = pick(rng, ("com.microsoft", "no.such", "ai.onnx.ml"))
    else:
        node.op_type = pick(rng, OPERATORS[node.domain] if rng.random() < 0.5
                            and node.domain in OPERATORS else OPERATORS[""])
    return f"{name} is {node.op_type} of {node.domain}"


def other_opset(rng, model):
    entry = pick(rng, model.opset_import)
    entry.version = pick(rng, (0, 1, 6, 7, 9, 11, 13, 18, 21, 23, 28, 99, -1))
    return f"opset {entry.version} of {entry.domain}"


def no_name(rng, model):
    node = some_node(rng, model)
    name = node.name
    node.name = pick(rng, ("", pick(rng, model.graph.node).name))
    return f"{name} is called {node.name}"


OPERATORS = {domain: ["", "Nonsense"] + sorted(
    {s.name for s in onnx.defs.get_all_schemas() if s.domain == domain})
    for domain in ("", "ai.onnx.ml", "ai.onnx.preview",
                   "ai.onnx.preview.training")}
WAYS = (drop_attribute, odd_attribute, odd_attribute, other_attribute_type,
        more_attributes, odd_initializer, odd_initializer, odd_port, odd_port,
        other_edge, other_edge, other_operands, other_outputs, other_ports,
        other_operator, other_opset, no_name) + hostile.WAYS
SHARE_TWICE = 0.15  # broken in two places
SHARE_FLIPPED = 0.02  # broken as a file


def broken(rng, model):
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    done = []
    for _ in range(2 if rng.random() < SHARE_TWICE else 1):
        what = None
        while what is None and twin.graph.node:
            what = pick(rng, WAYS)(rng, twin)
        done += [what] if what else []
    if rng.random() < SHARE_FLIPPED:
        return hostile.flipped(rng, model.SerializeToString()), "flipped"
    return twin.SerializeToString(), ", ".join(done)
