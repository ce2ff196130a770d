# SPDX-License-Identifier: Apache-2.0
"""The networks of export_rows.py with sizes, types and options of a seed.

In: a row, the seed, the number of the attempt. Out: a folder as exports.py
makes it, with the limit that its outputs are held to. What `transformers`, the
exporter or ONNX Runtime refuses is drawn again, each attempt nearer to what
the row says; a row whose last attempt is refused counts as skipped.
"""

import copy
import dataclasses
import inspect
import json
import random
import shutil
from pathlib import Path

import numpy as np

import exports
from export_rows import TINY

ATTEMPTS = 4
PLAIN = dict(TINY)  # TINY itself holds what is drawn while a row is made
HEADS = [(3, 16), (6, 8), (3, 32), (6, 16), (5, 16), (5, 24), (6, 20), (3, 40),
         (12, 32)]
WORDS = [1, 3, 17, 33, 130, 259]
IMAGES = [(40, 8), (56, 8), (50, 10), (48, 16), (36, 12)]  # edge, patch
VIEWS = ["50x70", "64x96", "75x101", "96x64"]  # of networks for any edge
WIDTHS = ("hidden_size", "dim", "emb_dim", "d_latents", "d_model", "width",
          "projection_dim", "qk_channels", "v_channels", "feature_size",
          "hidden_dim", "embed_proj_dim", "bottleneck_size",
          "embedding_size")
CHANNELS = ("hidden_sizes", "embed_dims", "embed_dim", "embedding_size",
            "stem_out_channels", "neck_hidden_sizes", "conv_dim")


# --- drawing ------------------------------------------------------------------


@dataclasses.dataclass
class Draw:
    row: object
    sizes: dict
    type_name: str = "float32"
    folding: bool = True


def draw_sizes(pick, attempt):
    """Other sizes for the names of TINY."""
    if attempt == 3:
        return dict(PLAIN, vocab_size=131, max_position_embeddings=280,
                    n_positions=280)
    heads, width = pick.choice(HEADS)
    groups = pick.choice([n for n in range(1, heads) if heads % n == 0])
    layers = PLAIN["num_layers"] if attempt > 1 else pick.randint(1, 3)
    edge, patch = pick.choice(IMAGES)
    inner = pick.choice([100, 60, 72])
    sizes = {}
    for name, size in PLAIN.items():
        if name in ("hidden_size", "d_model", "n_embd") or (
                name.endswith("_hidden_size")):
            size = heads * width
        elif "key_value_heads" in name:
            size = groups
        elif name == "n_head" or name.endswith("heads"):
            size = heads
        elif name in ("head_dim", "d_kv"):
            size = width
        elif name.endswith("layers") or name == "n_layer":
            size = layers
        elif name.endswith("ffn_dim") or name in ("d_ff", "intermediate_size"):
            size = inner
        elif name.endswith("intermediate_size"):
            size = 36
        sizes[name] = size
    sizes.update(vocab_size=131, max_position_embeddings=280, n_positions=280,
                 projection_dim=40, embedding_size=24, image_size=edge,
                 patch_size=patch, num_labels=7, state_size=12,
                 num_experts=5, num_local_experts=5, n_routed_experts=5,
                 sliding_window=pick.choice([8, 20]))
    return sizes


def change(name, value, sizes, factor):
    """What a field of a row becomes that repeats a size of TINY."""
    if isinstance(value, dict):
        return {inner: change(inner, v, sizes, factor)
                for inner, v in value.items()}
    if name in CHANNELS and isinstance(value, list):
        return [v * factor for v in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if "vocab_size" in name and value == PLAIN["vocab_size"]:
        return sizes["vocab_size"]
    if name.endswith(WIDTHS) and value == PLAIN["hidden_size"]:
        return sizes["hidden_size"]
    if value == PLAIN["d_ff"] and name.endswith(("_dim", "dff", "feedforward")):
        return sizes["d_ff"]
    if name.endswith("heads") and value == PLAIN["num_heads"]:
        return sizes["num_heads"]
    if name in ("head_dim", "num_key_value_heads") and value == PLAIN[name]:
        return sizes[name]
    return value * factor if name in CHANNELS else value


def draw_inputs(pick, row, sizes, attempt):
    """The row's inputs with shapes. Only the batch changes of a shape that the
    row gives, and the edges where it leaves them to the network."""
    import transformers

    kind = getattr(transformers, row.network)
    names = row.inputs.split() or [kind.main_input_name]
    if not row.inputs and "decoder" in "".join(
            inspect.signature(kind.forward).parameters):
        names.append("decoder_input_ids")
    view, words, after = pick.choice(VIEWS), pick.choice(WORDS), pick.choice(
        [1, 5, 21])
    edge = sizes["image_size"]
    shapes = {"pixel_values": f"3x{edge}x{edge}", "bbox": f"{words}x4",
              "input_values": str(pick.choice([1601, 2345])),
              "decoder_input_ids": str(after),
              "decoder_attention_mask": str(after)}
    made = []
    for text in names:
        name, _, form = text.partition("=")
        shape, _, kind = form.partition(":")
        if not shape:
            if "features" in name or name.startswith("pixel_values_"):
                return row.inputs  # depends on the configuration
            shape = "1x" + shapes.get(name, str(words))
        if name == "pixel_values" and attempt < 3:
            shape = shape.replace("3x64x64", "3x" + view)
        made.append((name, shape, kind))
    batch = pick.randint(1, 3)
    return " ".join(
        f"{name}={batch}{shape[shape.index('x'):]}" + (kind and ":" + kind)
        if "x" in shape else f"{name}={shape}" for name, shape, kind in made)


def draw(row, seed, attempt):
    """The last attempts keep options and layers as the row has them, the very
    last one all but words and batch."""
    pick = random.Random(f"{seed} {row.name} {attempt}")
    sizes = draw_sizes(pick, attempt)
    factor = pick.choice([1, 3]) if attempt < 2 else 1
    config = {name: change(name, value, sizes, factor)
              for name, value in row.config.items()}
    if row.image_tokens:
        sizes.update(image_size=PLAIN["image_size"],
                     patch_size=PLAIN["patch_size"])
    if attempt < 3:
        config["attn_implementation"] = pick.choice(["eager", "sdpa"])
    inputs = draw_inputs(pick, row, sizes, attempt) if not row.dims else row.inputs
    dims = row.dims
    if all(w.startswith(("input_ids=", "attention_mask=")) for w in
           inputs.split()) and inputs and pick.random() < 0.3 and attempt < 2:
        dims = "batch words"
    made = dataclasses.replace(row, inputs=inputs, config=config, dims=dims)
    if attempt < 2:
        made.opset = pick.choice([13, 15, 17])
    chosen = Draw(made, sizes, folding=pick.random() < 0.7)
    if attempt < 2 and pick.random() < 0.4:
        chosen.type_name = pick.choice(["float16", "bfloat16"])
    return chosen


# --- exports ------------------------------------------------------------------


def limit_of(type_name, wide, narrow):
    """What the outputs of a network of that type are held to: four times the
    error that PyTorch makes when it computes in that type, since others round
    in other places, and no less than one rounding of a result."""
    import torch

    if type_name == "float32":
        return exports.LIMIT
    own = max(exports.judge(n, w) for n, w in zip(narrow, wide))
    return max(4 * own, torch.finfo(getattr(torch, type_name)).eps)


def run(network, names, inputs):
    import torch

    with torch.no_grad():
        found = exports.wrap(network, names)(*inputs)
    return [t.float().numpy() if t.is_floating_point() else t.numpy()
            for t in found]


def cast(network, names, kind):
    """A network whose ports are fp32 and whose inside is of another type."""
    import torch

    inner = exports.wrap(network, names)

    class Cast(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, *args):
            args = [a.to(kind) if a.is_floating_point() else a for a in args]
            return tuple(t.float() if t.is_floating_point() else t
                         for t in self.inner(*args))

    return Cast().eval()


def find_dims(graph, given):
    return {dim.dim_param: size for port in graph.input
            for dim, size in zip(port.type.tensor_type.shape.dim,
                                 given[port.name].shape) if dim.dim_param}


def run_runtime(path, given):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), settings,
                                   providers=["CPUExecutionProvider"])
    return session.run(None, given)


def export(chosen, exporter, path):
    """Writes the model. Returns its inputs, outputs and their limit."""
    import torch

    row, kind = chosen.row, getattr(torch, chosen.type_name)
    network = exports.make_network(row).to(kind)
    inputs = exports.make_inputs(row, network)
    names, values = list(inputs), tuple(inputs.values())
    narrow = [v.to(kind) if v.is_floating_point() else v for v in values]
    rounded = [v.float() if v.is_floating_point() else v for v in narrow]
    got = run(network, names, narrow)
    want = run(copy.deepcopy(network).float(), names, rounded)
    if not all(np.isfinite(a).all() for a in got + want if a.dtype.kind == "f"):
        raise ValueError("the network makes values that are not finite")
    options = {"dynamo": True, "external_data": False, "verbose": False}
    if exporter == "script":
        options = {"dynamo": False, "opset_version": row.opset,
                   "do_constant_folding": chosen.folding}
    options.update(exports.open_dims(row, exporter, inputs))
    with torch.no_grad():
        torch.onnx.export(cast(network, names, kind), values, str(path),
                          input_names=names,
                          output_names=[f"out.{i}" for i in range(len(got))],
                          **options)
    given = {n: v.numpy().copy() for n, v in zip(names, values)}
    return given, want, limit_of(chosen.type_name, want, got)


def make(chosen, exporter, folder, stamp):
    """The folder of an export. ONNX Runtime is the reference; of bf16 it is
    PyTorch with the same weights in fp32."""
    import onnx

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    given, want, limit = export(chosen, exporter, path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)  # exporters err, too
    graph = model.graph
    given = {port.name: given[port.name] for port in graph.input}
    if chosen.type_name != "bfloat16":  # its CPU kernels are few
        want = run_runtime(path, given)
    meta = {"made_by": stamp, "limit": limit, "dims": find_dims(graph, given),
            "drawn": f"{chosen.type_name} opset {chosen.row.opset} folding "
                     f"{chosen.folding} {chosen.row.inputs} "
                     f"{chosen.row.config.get('attn_implementation', '')} "
                     f"dims {chosen.row.dims or 'none'} "
                     f"heads {chosen.sizes['num_heads']} of "
                     f"{chosen.sizes['head_dim']}",
            "inputs": exports.describe("input", given, given.values(), folder),
            "outputs": exports.describe(
                "output", [o.name for o in graph.output], want, folder)}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return meta


def find_or_make(row, seed, exporter, folder):
    """The folder of the first attempt that nobody refuses. None: skipped."""
    stamp = exports.fingerprint(row) + str(hash_of_file())
    meta = exports.find(folder, stamp)
    if meta is not None:
        return meta
    exports.quiet()
    for attempt in range(ATTEMPTS):
        chosen = draw(row, seed, attempt)
        TINY.update(chosen.sizes)
        try:
            return make(chosen, exporter, folder, stamp)
        except Exception as error:  # of any package: drawn again
            (folder.with_suffix(f".refused{attempt}")).write_text(
                f"{chosen.row}\n{type(error).__name__}: {error}\n")
        finally:
            TINY.update(PLAIN)
    return None


def hash_of_file():
    import zlib

    return zlib.crc32(Path(__file__).read_bytes())
