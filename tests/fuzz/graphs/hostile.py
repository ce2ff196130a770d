# SPDX-License-Identifier: Apache-2.0
"""Breaks a model as no exporter would: how data are stored, what names say, how
nodes hang together, numbers that nobody counts with.

Each function breaks its argument in one place and returns what it did, or None
where there is nothing of the kind. See twins.py.
"""

import copy

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

NUMBERS = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64,
           TensorProto.FLOAT16: np.float16, TensorProto.INT64: np.int64,
           TensorProto.INT32: np.int32, TensorProto.INT8: np.int8,
           TensorProto.UINT8: np.uint8}
# Of squares of them fp32 holds some: what overflows on the way, right programs
# do not agree on.
ODD_FLOATS = (0, -0.0, -1, 0.5, np.inf, -np.inf, np.nan, 1e-45, 1e6, 2.0 ** 31,
              2.0 ** 63, 65520)
ODD_INTS = (0, -1, 1, 3, -128, 255, 4096, 65537, 10 ** 6, 2 ** 31 - 1,
            -2 ** 31, 2 ** 31, 2 ** 32, 2 ** 53 + 1, 2 ** 63 - 1, -2 ** 63)
NAMES = ("a" * 100000, "%s%n%d", "a\nb", "'", '"', "\\", "../../x", "\0",
         "a\0b", "\u00e9\u4e16\U0001f600", " ", "<svg onload=x>", "\x1b[31m")


def pick(rng, items):
    items = list(items)
    return items[int(rng.integers(len(items)))] if items else None


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def some_node(rng, model, fits=lambda node: True):
    return pick(rng, [n for g in graphs_of(model.graph) for n in g.node
                      if fits(n)])


def breakable(node):
    """Attributes of a node. What labels that are not ignored any more stand
    for, is open."""
    return [a for a in node.attribute if a.name != "ignore_index"]


def tensors_of(graph):
    for graph in graphs_of(graph):
        yield from graph.initializer
        for node in graph.node:
            yield from (a.t for a in node.attribute if a.HasField("t"))


# --- tensors -----------------------------------------------------------------


def odd_numbers(rng, model):
    """Some numbers of a constant are such as nobody counts with."""
    tensor = pick(rng, [t for t in tensors_of(model.graph) if t.raw_data and
                        t.data_type in NUMBERS])
    if tensor is None:
        return None
    kind = np.dtype(NUMBERS[tensor.data_type])
    numbers = np.frombuffer(tensor.raw_data, kind).copy()
    odd = ODD_FLOATS if kind.kind == "f" else [
        n for n in ODD_INTS if np.iinfo(kind).min <= n <= np.iinfo(kind).max]
    at = slice(None) if rng.random() < 0.2 else int(rng.integers(numbers.size))
    with np.errstate(all="ignore"):
        numbers[at] = np.asarray(pick(rng, odd)).astype(kind)
    tensor.raw_data = numbers.tobytes()
    return f"odd numbers in {tensor.name}"


def odd_storage(rng, model):
    """The data of a constant do not stand where they should."""
    tensor = pick(rng, tensors_of(model.graph))
    if tensor is None:
        return None
    how = rng.integers(9)
    if how == 0:
        tensor.raw_data += bytes(int(rng.choice([1, 4, 8, 4096])))
    elif how == 1:
        tensor.raw_data = b""
    elif how == 2:
        tensor.raw_data = tensor.raw_data[:len(tensor.raw_data) // 2]
    elif how == 3:
        tensor.float_data.extend([1.0] * int(rng.integers(1, 5)))
    elif how == 4:
        tensor.ClearField("raw_data")
        tensor.int32_data.extend(pick(rng, ([2 ** 31 - 1], [-1, 300], [7] * 9)))
    elif how == 5:
        tensor.data_location = TensorProto.EXTERNAL
        for key in ("location", "offset", "length", "location"):
            if rng.random() < 0.6:
                tensor.external_data.add(key=key, value=pick(rng, (
                    "", "/dev/zero", "../x", "-1", "99999999999999999999",
                    "0", "weights.bin")))
    elif how == 6:
        tensor.segment.begin = pick(rng, (0, 1, -1))
        tensor.segment.end = pick(rng, (0, 1, 2 ** 62))
    elif how == 7:
        tensor.string_data.append(b"text")
    else:
        tensor.ClearField("raw_data")
        tensor.int64_data.extend([int(pick(rng, ODD_INTS))] * 3)
    return f"odd storage of {tensor.name}"


def odd_extents(rng, model):
    tensor = pick(rng, tensors_of(model.graph))
    if tensor is None:
        return None
    dims = pick(rng, ([2 ** 32, 2 ** 32], [0, 2 ** 62], [2 ** 62, 4], [-1, -1],
                      [2 ** 31, 2 ** 31, 2], [1] * 9, [1] * 1000, [0] * 3,
                      [2 ** 20, 2 ** 20], [], list(tensor.dims) + [1],
                      list(tensor.dims)[::-1], [-2 ** 63]))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return f"odd extents of {tensor.name}"


# --- attributes --------------------------------------------------------------


def long_list(rng, model):
    a = pick(rng, [a for g in graphs_of(model.graph) for n in g.node
                   for a in n.attribute
                   if a.ints or a.floats or a.strings or a.s])
    if a is None:
        return None
    times = int(pick(rng, (2, 5, 9, 64, 300, 20000)))
    for items in (a.ints, a.floats, a.strings):
        items.extend(list(items) * (times - 1))
    a.s *= times
    return f"{a.name} is {times} times as long"


def odd_attribute_record(rng, model):
    """An attribute that says something else of itself than it holds."""
    node = some_node(rng, model, breakable)
    if node is None:
        return None
    a = pick(rng, breakable(node))
    name, how = a.name, rng.integers(6)
    if how == 0:
        a.ClearField("type")
    elif how == 1:
        a.type = int(rng.integers(0, 16))
    elif how == 2:
        a.ref_attr_name = pick(rng, ("", "absent", a.name))
    elif how == 3:
        a.name = pick(rng, ("",) + NAMES)
    elif how == 4:
        a.i, a.f, a.s = 1, 1.0, b"1"
    else:
        for field in ("i", "f", "s", "t", "g", "ints", "floats", "strings"):
            a.ClearField(field)
    return f"{node.name}: odd record of {name}"


def odd_body(rng, model):
    """A graph of an If, a Loop or the like."""
    node = some_node(rng, model, lambda n: any(a.HasField("g")
                                               for a in n.attribute))
    if node is None:
        return None
    body = pick(rng, [a for a in node.attribute if a.HasField("g")]).g
    how = rng.integers(8)
    if how == 0:
        body.Clear()
    elif how == 1:
        del body.node[:]
    elif how == 2:
        del body.output[:]
    elif how == 3:
        del body.input[:]
    elif how == 4:
        body.CopyFrom(copy.deepcopy(model.graph))
    elif how == 5:
        inner = body.node.add()
        inner.CopyFrom(copy.deepcopy(node))
    elif how == 6:
        pick(rng, [v for v in list(body.input) + list(body.output)] or
             [body]).name = pick(rng, names_of(model.graph))
    else:
        body.output.extend(copy.deepcopy(list(body.output)))
    return f"{node.name}: odd body"


# --- names and edges ---------------------------------------------------------


def names_of(graph):
    return [v.name for v in graph.input] + \
        [t.name for t in graph.initializer] + \
        [n for node in graph.node for n in node.output if n]


def rename(model, old, new):
    for graph in graphs_of(model.graph):
        for item in list(graph.input) + list(graph.output) + \
                list(graph.initializer) + list(graph.value_info):
            if item.name == old:
                item.name = new
        for node in graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new


def odd_name(rng, model):
    """A value or a node is called oddly, everywhere. Or as another value."""
    if rng.random() < 0.3:
        node = some_node(rng, model)
        old, node.name = node.name, pick(rng, NAMES)
        return f"{old} is called {node.name[:20]!r}"
    names = names_of(model.graph)
    old, new = pick(rng, names), pick(rng, NAMES + (pick(rng, names),))
    rename(model, old, new)
    return f"{old} is called {new[:20]!r}"


def lost(rng, model):
    """A node, a constant or an input is not there any more."""
    graph = pick(rng, graphs_of(model.graph))
    items = pick(rng, (graph.node, graph.initializer, graph.input))
    if not items:
        return None
    item = pick(rng, items)
    name = item.name
    items.remove(item)
    return f"{name} is lost"


def twice(rng, model):
    """The same node, constant or input again."""
    graph = pick(rng, graphs_of(model.graph))
    items = pick(rng, (graph.node, graph.initializer, graph.input))
    if not items:
        return None
    item = copy.deepcopy(pick(rng, items))
    items.append(item)
    return f"{item.name} twice"


def other_order(rng, model):
    graph = pick(rng, graphs_of(model.graph))
    nodes = [copy.deepcopy(n) for n in graph.node]
    if len(nodes) < 2:
        return None
    del graph.node[:]
    graph.node.extend(nodes[::-1] if rng.random() < 0.5 else
                      [nodes[i] for i in rng.permutation(len(nodes))])
    return "nodes in another order"


def cycle(rng, model):
    nodes = [n for n in model.graph.node if n.input and n.output]
    if not nodes:
        return None
    first = int(rng.integers(len(nodes)))
    node, later = nodes[first], pick(rng, nodes[first:])
    at = int(rng.integers(len(node.input)))
    node.input[at] = later.output[0]
    return f"{node.name}: input {at} is computed by {later.name}"


def many_operands(rng, model):
    node = some_node(rng, model, lambda n: len(n.input) > 0)
    if node is None:
        return None
    times = int(pick(rng, (2, 7, 8, 9, 17, 65, 257, 3000)))
    how = rng.integers(4)
    if how == 0:
        node.input.extend([node.input[0]] * times)
    elif how == 1:
        node.input.extend([""] * times)
    elif how == 2:
        node.output.extend([f"more_{i}" for i in range(times)])
    else:
        at = int(rng.integers(len(node.input)))
        node.input[at] = ""
        return f"{node.name}: input {at} is left out"
    return f"{node.name}: {times} more"


# --- the model ---------------------------------------------------------------


def odd_port_shape(rng, model):
    graph = pick(rng, graphs_of(model.graph))
    value = pick(rng, list(graph.input) + list(graph.output))
    if value is None:
        return None
    kind = value.type
    while not kind.HasField("tensor_type"):
        if kind.HasField("sequence_type"):
            kind = kind.sequence_type.elem_type
        elif kind.HasField("optional_type"):
            kind = kind.optional_type.elem_type
        else:
            return None
    shape = kind.tensor_type.shape
    dims = pick(rng, ([], [0], [1] * 9, [2 ** 31], [2 ** 62, 2 ** 62], [-1],
                      [-2 ** 63], [1] * 300, [2 ** 40], ["n"] * len(shape.dim),
                      ["n", "m"], [0] * len(shape.dim), [None] * 2,
                      [100000] * len(shape.dim)))
    del shape.dim[:]
    for extent in dims:
        dim = shape.dim.add()
        if isinstance(extent, str):
            dim.dim_param = extent
        elif extent is not None:
            dim.dim_value = extent
    return f"{value.name} has shape {dims[:9]}"


def odd_value_info(rng, model):
    """Says of an inner value what is not so."""
    name = pick(rng, names_of(model.graph))
    kind = pick(rng, list(range(0, 27)) + [99])
    shape = pick(rng, ([], [1], [2 ** 62] * 2, [-1], [3, 5], None))
    model.graph.value_info.append(
        helper.make_tensor_value_info(name, kind, shape))
    return f"value_info of {name}"


def odd_header(rng, model):
    how = rng.integers(7)
    if how == 0:
        model.ir_version = int(pick(rng, (0, -1, 1, 2, 3, 99, 2 ** 62)))
    elif how == 1:
        model.opset_import.append(copy.deepcopy(pick(rng, model.opset_import)))
        model.opset_import[-1].version = int(pick(rng, (7, 13, 21, 99)))
    elif how == 2:
        del model.opset_import[:]
    elif how == 3:
        pick(rng, model.opset_import).domain = pick(rng, NAMES)
    elif how == 4:
        model.ClearField("graph")
    elif how == 5:
        del model.graph.output[:]
    else:
        model.graph.quantization_annotation.add(tensor_name="absent")
        model.metadata_props.add(key="", value="x" * 100000)
        model.graph.ClearField("name")
    return f"odd header {how}"


def odd_function(rng, model):
    """A node is a call of a function of the model, in which something is
    wrong, or nothing."""
    node = pick(rng, [n for n in model.graph.node if not any(
        a.HasField("g") for a in n.attribute) and all(n.output)])
    if node is None:
        return None
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inputs = [f"in{i}" for i in range(len(inner.input))]
    outputs = [f"out{i}" for i in range(len(inner.output))]
    for names, given in ((inner.input, inputs), (inner.output, outputs)):
        for i, name in enumerate(names):
            names[i] = given[i] if name else ""
    function = helper.make_function(
        "local", "Call", inputs, outputs, [inner],
        copy.deepcopy(list(model.opset_import)))
    node.domain, node.op_type = "local", "Call"
    del node.attribute[:]
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.ir_version = max(model.ir_version, 8)
    how = rng.integers(11)
    inner = function.node[0]
    if how == 0:
        inner.domain, inner.op_type = "local", "Call"
    elif how == 1 and inputs:
        del function.input[-1]
    elif how == 2:
        del function.output[:]
    elif how == 3:
        function.output[0] = "absent"
    elif how == 4:
        function.attribute.append("absent")
        inner.attribute.add(name="axis", ref_attr_name="absent",
                            type=AttributeProto.INT)
    elif how == 5:
        inner.attribute.add(name="axis", ref_attr_name="undeclared",
                            type=AttributeProto.INT)
    elif how == 6:
        del function.opset_import[:]
    elif how == 7:
        del function.node[:]
    elif how == 8:
        function.input.append(pick(rng, inputs or ["x"]))
    elif how == 9:
        model.functions.append(copy.deepcopy(function))
    model.functions.append(function)
    return f"{node.name} calls a function, {how}"


WAYS = (odd_numbers, odd_numbers, odd_numbers, odd_storage, odd_extents,
        long_list, odd_attribute_record, odd_body, odd_name, lost, twice,
        other_order, cycle, many_operands, odd_port_shape, odd_value_info,
        odd_header, odd_function)


def flipped(rng, data):
    """The bytes of a model with a few of them changed."""
    data = bytearray(data)
    how = rng.integers(4)
    if how == 0:
        del data[int(rng.integers(len(data))):]
    elif how == 1:
        at = int(rng.integers(len(data)))
        del data[at:at + int(rng.integers(1, 20))]
    else:
        for at in rng.integers(len(data), size=int(rng.integers(1, 4))):
            data[at] = int(rng.integers(256)) if how == 2 else \
                data[at] ^ 1 << int(rng.integers(8))
    return bytes(data)
