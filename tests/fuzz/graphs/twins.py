# SPDX-License-Identifier: Apache-2.0
"""Breaks a model in one place: an attribute, a dtype, a shape, an edge.

`broken(rng, model)` returns a copy and what was done to it, or None where the
model has nothing of the kind. The copy may be valid still, or again.
"""

import copy

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

ODD = (0, -1, 1, 2, 7, -7, 2 ** 31, -2 ** 31, 2 ** 40, 2 ** 63 - 1, -2 ** 63)
DTYPES = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32,
          TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.BFLOAT16,
          TensorProto.UINT8, TensorProto.INT8, TensorProto.DOUBLE,
          TensorProto.STRING, TensorProto.UNDEFINED, TensorProto.COMPLEX64,
          TensorProto.FLOAT8E4M3FN, TensorProto.INT4, TensorProto.UINT2,
          TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E8M0, 99]


def pick(rng, items):
    items = list(items)
    return items[int(rng.integers(len(items)))] if items else None


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def any_node(rng, model, fits=lambda node: True):
    return pick(rng, [n for g in graphs_of(model.graph) for n in g.node
                      if fits(n)])


def names_of(model):
    names = [v.name for v in model.graph.input]
    names += [t.name for t in model.graph.initializer]
    return names + [n for node in model.graph.node for n in node.output if n]


# --- attributes --------------------------------------------------------------


def some_attribute(rng, model):
    node = any_node(rng, model, lambda n: len(n.attribute) > 0)
    return (node, pick(rng, node.attribute)) if node else (None, None)


def drop_attribute(rng, model):
    node, attribute = some_attribute(rng, model)
    if node is None:
        return None
    name = attribute.name
    if name == "ignore_index":  # what the ignored labels are then, is open
        return None
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
        a.f = pick(rng, (0, -1, np.inf, np.nan, 1e38, -1e-38))
    elif a.type == AttributeProto.STRING:
        a.s = pick(rng, (b"", b"nonsense", b"\xff\xfe", a.s * 40, a.s.lower()))
    elif a.type == AttributeProto.INTS:
        odd_list(rng, a.ints, ODD)
    elif a.type == AttributeProto.FLOATS:
        odd_list(rng, a.floats, (0, -1, np.inf, np.nan, 1e38))
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
    node = any_node(rng, model)
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
    node = any_node(rng, model, lambda n: len(n.input) > 0)
    if node is None:
        return None
    at = int(rng.integers(len(node.input)))
    node.input[at] = pick(rng, ["absent", "", node.output[0]] +
                          names_of(model) * 2)
    return f"{node.name}: input {at} is {node.input[at]}"


def other_operands(rng, model):
    node = any_node(rng, model, lambda n: len(n.input) > 0)
    if node is None:
        return None
    how = rng.integers(3)
    if how == 0:
        node.input.pop()
    elif how == 1:
        node.input.append(pick(rng, names_of(model)))
    else:
        shuffled = [node.input[i] for i in rng.permutation(len(node.input))]
        del node.input[:]
        node.input.extend(shuffled)
    return f"{node.name}: other operands"


def other_outputs(rng, model):
    node = any_node(rng, model)
    how = rng.integers(4)
    if how == 0:
        node.output.append(pick(rng, ("more", node.output[0])))
    elif how == 1:
        node.output[0] = pick(rng, names_of(model))
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
        port.name = pick(rng, ("", "absent", pick(rng, names_of(model))))
    return f"port {name}"


# --- operators ---------------------------------------------------------------


def other_operator(rng, model):
    node = any_node(rng, model)
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
    node = any_node(rng, model)
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
        other_operator, other_opset, no_name)


def broken(rng, model):
    while True:
        twin = onnx.ModelProto()
        twin.CopyFrom(model)
        what = pick(rng, WAYS)(rng, twin)
        if what:
            return twin, what


# --- what a twin computes ----------------------------------------------------


def feeds(model, arrays):
    """Inputs of the model by name: those of the valid model where they fit.
    None where an input has no shape."""
    known = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in known:
            continue
        if not value.type.HasField("tensor_type"):
            return None
        tensor = value.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if any(d.dim_param for d in tensor.shape.dim) or \
                np.prod(dims, dtype=float) > 1e7:
            return None
        array = arrays.get(value.name)
        if array is None or list(array.shape) != dims or \
                (array.dtype == object) != (dtype == object):
            array = np.full(dims, "a") if dtype == object else np.ones(dims)
        with np.errstate(all="ignore"):
            found[value.name] = array.astype(dtype)
    return found


def has_texts(graph):
    """Whether a constant of the graph holds texts."""
    tensors = list(graph.initializer) + [
        a.t for n in graph.node for a in n.attribute if a.HasField("t")]
    return any(t.data_type == TensorProto.STRING for t in tensors)


def of_type(value, name):
    """ONNX Runtime hands numbers of 8 bits out as bytes."""
    if not name.startswith("tensor(float8"):
        return value
    code = getattr(TensorProto, name[len("tensor("):-1].upper())
    return value.view(helper.tensor_dtype_to_np_dtype(code))


def runtime(data, arrays):
    """The outputs by ONNX Runtime. None where it refuses, may pad by less than
    nothing, draws numbers, or is wrong otherwise, see reference.py."""
    import onnxruntime

    if any(word in data for word in (
            b"SAME_", b"Random", b"Bernoulli", b"Multinomial", b"TfIdf",
            b"StringSplit", b"TreeEnsembleClassifier")) or \
            any(a.dtype == object for a in arrays.values()) or \
            has_texts(onnx.load_from_string(data).graph):
        return None

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = \
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"])
        if any(o.type.startswith("optional") or "map" in o.type
               for o in session.get_outputs()):
            return None
        found = [of_type(value, o.type) for value, o in
                 zip(session.run(None, arrays), session.get_outputs())]
        return [a for value in found for a in
                (value if isinstance(value, list) else [value])]
    except Exception:  # it has a type of its own for each reason
        return None
