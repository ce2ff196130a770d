#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the models of the end-to-end tests and their reference outputs.

    make_models.py FOLDER [--only NAME,...] [--ops FILE]
    make_models.py --list

Every model gets a folder FOLDER/NAME with

    model.onnx     the model, batch 1
    input_K.npy    seeded inputs, in the order of the graph
    output_K.npy   what ONNX Runtime computes from them on the CPU
    meta.json      names, dtypes, shapes and symbolic dimensions

Networks from `transformers` have random weights from a fixed seed and are
exported by the current PyTorch exporter. The corpus models are data that no
package carries: they are read from $IMBREX_SHARED/corpora/models, by default
../shared beside the source tree, and skipped with a message where that is
absent. A complete folder made by the same version of this script is kept.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import time
import warnings
import zlib
from pathlib import Path

try:
    import numpy as np
except ImportError:  # --list works without any package
    np = None

ROOT = Path(__file__).resolve().parents[2]
SEED = 20240517


def shared_folder():
    return Path(os.environ.get("IMBREX_SHARED", ROOT.parent / "shared"))


# --- networks exported from PyTorch ----------------------------------------


def pick(network, field):
    """Wraps a network: tensors in by position, one field of its output out."""
    import torch

    class Picked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, *args):
            names = self.network.imbrex_inputs
            return getattr(self.network(**dict(zip(names, args))), field)

    return Picked().eval()


def vary_vectors(network):
    """Gives biases and norm scales values of their own: a fresh network has
    zeros and ones, which would hide an importer that mixes them up."""
    import torch

    for name, vector in network.named_parameters():
        if vector.dim() == 1 and name.endswith("bias"):
            torch.nn.init.normal_(vector, 0.0, 0.1)
        elif vector.dim() == 1:
            torch.nn.init.uniform_(vector, 0.8, 1.2)


def settle_batch_norm(network, sample, branch_scale=1.0):
    """Sets batch norms to the statistics of `sample`, as training would.

    `branch_scale` quietens the branches beside a shortcut. Trained networks
    have quiet ones; with loud random ones, 50 layers amplify the rounding of
    their own weights until no 16-bit result means anything."""
    import torch

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain average over the batches seen
            module.reset_running_stats()
            module.train()
        if getattr(module, "use_residual", False):
            module.reduce_1x1.normalization.weight.data *= branch_scale
    with torch.no_grad():
        network(sample)
    network.eval()


def image(batch=1):
    """Smooth patches with some noise: neighbours correlate as in a photo."""
    import torch

    coarse = torch.randn(batch, 3, 8, 8)
    smooth = torch.nn.functional.interpolate(coarse, size=(224, 224),
                                             mode="bilinear")
    return smooth + 0.2 * torch.randn(batch, 3, 224, 224)


def resnet18():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(depths=[2, 2, 2, 2], layer_type="basic",
                          hidden_sizes=[64, 128, 256, 512],
                          embedding_size=64, num_labels=1000)
    network = ResNetForImageClassification(config).eval()
    vary_vectors(network)
    settle_batch_norm(network, image(4))
    return network, {"pixel_values": image()}, "logits"


def mobilenetv2():
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(image_size=224, num_labels=1000)
    network = MobileNetV2ForImageClassification(config).eval()
    vary_vectors(network)
    for module in network.modules():  # trained depthwise kernels blur
        if getattr(module, "groups", 1) > 1:
            module.weight.data += 0.02 * torch.tensor([[0.5, 1.0, 0.5],
                                                       [1.0, 2.0, 1.0],
                                                       [0.5, 1.0, 0.5]])
    settle_batch_norm(network, image(4), branch_scale=0.3)
    return network, {"pixel_values": image()}, "logits"


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=192, num_hidden_layers=4,
                       num_attention_heads=3, intermediate_size=768,
                       image_size=224, patch_size=16, num_labels=1000,
                       initializer_range=0.05)
    network = ViTForImageClassification(config).eval()
    vary_vectors(network)
    return network, {"pixel_values": image()}, "logits"


def tokens(vocabulary, count):
    import torch

    return torch.randint(0, vocabulary, (1, count))


def bert(layers, width, heads, with_mask, spread):
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=width, num_hidden_layers=layers,
                        num_attention_heads=heads, intermediate_size=4 * width,
                        initializer_range=spread)
    network = BertModel(config, add_pooling_layer=False).eval()
    vary_vectors(network)
    inputs = {"input_ids": tokens(config.vocab_size, 128)}
    if with_mask:
        mask = torch.ones(1, 128, dtype=torch.int64)
        mask[:, 100:] = 0  # a sentence of 100 tokens, then padding
        inputs["attention_mask"] = mask
    return network, inputs, "last_hidden_state"


def bert4():
    return bert(4, 256, 4, True, 0.05)


def bert_base():
    return bert(12, 768, 12, False, 0.03)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=256, n_layer=4, n_head=4, n_positions=256,
                        vocab_size=8192, bos_token_id=0, eos_token_id=0,
                        use_cache=False, initializer_range=0.05)
    network = GPT2LMHeadModel(config).eval()
    vary_vectors(network)
    return network, {"input_ids": tokens(config.vocab_size, 64)}, "logits"


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=256, num_hidden_layers=4,
                         num_attention_heads=4, num_key_value_heads=2,
                         intermediate_size=688, vocab_size=8192,
                         max_position_embeddings=256, use_cache=False,
                         initializer_range=0.05)
    network = LlamaForCausalLM(config).eval()
    vary_vectors(network)
    return network, {"input_ids": tokens(config.vocab_size, 64)}, "logits"


def export(make):
    """Returns a maker that exports what `make` builds."""

    def maker(path):
        import torch

        network, inputs, field = make()
        network.imbrex_inputs = list(inputs)
        torch.onnx.export(pick(network, field), tuple(inputs.values()),
                          str(path), dynamo=True, external_data=False,
                          input_names=list(inputs), output_names=[field],
                          verbose=False)
        return {"inputs": [t.numpy() for t in inputs.values()]}

    return maker


# --- models that are files --------------------------------------------------


def handwritten(size, margin):
    """A handwritten digit of scikit-learn, enlarged; values 0 to 255."""
    from sklearn.datasets import load_digits

    small = load_digits().images[0] / 16.0
    at = np.linspace(0, 7, size - 2 * margin)
    low = np.minimum(at.astype(int), 6)
    part = at - low
    rows = small[low] * (1 - part)[:, None] + small[low + 1] * part[:, None]
    both = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    return np.pad(both * 255.0, margin).astype(np.float32)


def corpus(name, make_inputs, dims=None):
    """Returns a maker that copies a corpus model."""

    def maker(path):
        source = shared_folder() / "corpora" / "models" / name
        if not source.is_file():
            raise FileNotFoundError(f"{source} is absent")
        shutil.copyfile(source, path)
        path.chmod(0o644)
        return {"inputs": make_inputs(path), "dims": dims or {}}

    return maker


def mnist_inputs(path):
    return [handwritten(28, 4)[None, None]]


def ultraface_inputs(path):
    random = np.random.default_rng(SEED)
    coarse = random.uniform(0, 255, (3, 15, 20))
    picture = coarse.repeat(16, axis=1).repeat(16, axis=2)
    picture = np.clip(picture + random.normal(0, 12, picture.shape), 0, 255)
    return [((picture - 127) / 128).astype(np.float32)[None]]


def micro_kws_inputs(path):
    """Features over the whole range of the model's input quantisation."""
    import onnx

    graph = onnx.load(path).graph
    values = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    scale, zero = (values[v] for v in first.input[1:3])
    limits = np.iinfo(zero.dtype)
    low, high = ((float(v) - float(zero)) * float(scale)
                 for v in (limits.min, limits.max))
    random = np.random.default_rng(SEED)
    return [random.uniform(low, high, (1, 1960)).astype(np.float32)]


def magika_inputs(path):
    """The first and last bytes of this script, as the file typer reads them."""
    text = Path(__file__).read_bytes()
    data = np.full((1, 4096), 256, np.int32)  # 256 pads
    data[0, :1024] = np.frombuffer(text[:1024], np.uint8)
    data[0, -1024:] = np.frombuffer(text[-1024:], np.uint8)
    return [data]


def digits(path):
    """The trained example, from the text in the tree."""
    import onnx
    from google.protobuf import text_format
    from sklearn.datasets import load_digits

    source = ROOT / "examples" / "digits" / "digits.onnx.txt"
    model = text_format.Parse(source.read_text(), onnx.ModelProto())
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    picture = load_digits().images[0].astype(np.float32) / 16
    return {"inputs": [picture[None, None]]}


MODELS = {
    "digits": digits,
    "mnist": corpus("mnist.onnx", mnist_inputs),
    "ultraface": corpus("ultraface-rfb-320.onnx", ultraface_inputs),
    "micro-kws": corpus("micro-kws-int8-qdq.onnx", micro_kws_inputs,
                        {"unk__68": 1, "unk__69": 1}),
    "magika": corpus("magika-standard-v2.1.onnx", magika_inputs,
                     {"unk__132": 1, "unk__133": 1}),
    "resnet18": export(resnet18),
    "mobilenetv2": export(mobilenetv2),
    "vit": export(vit),
    "bert4": export(bert4),
    "gpt2": export(gpt2),
    "llama": export(llama),
    "bert_base": export(bert_base),
}


# --- one folder a model ------------------------------------------------------


def fingerprint():
    """Changes with anything that the folders depend on."""
    digest = hashlib.sha256()
    support = Path(__file__).parent
    example = ROOT / "examples" / "digits" / "digits.onnx.txt"
    for path in (Path(__file__), support / "requirements.txt", example):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def is_complete(folder, stamp):
    try:
        meta = json.loads((folder / "meta.json").read_text())
        files = [t["file"] for t in meta["inputs"] + meta["outputs"]]
        return meta["made_by"] == stamp and all(
            (folder / f).is_file() for f in files + ["model.onnx"])
    except (OSError, KeyError, ValueError):
        return False


def describe(names, values, kind, folder):
    rows = []
    for k, (name, value) in enumerate(zip(names, values)):
        file = f"{kind}_{k}.npy"
        np.save(folder / file, np.asarray(value))
        rows.append({"name": name, "dtype": str(value.dtype),
                     "shape": list(value.shape), "file": file})
    return rows


def make(name, folder, stamp):
    """Makes one model in a temporary folder, then moves it into place."""
    import onnx
    import onnxruntime as ort

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    path = part / "model.onnx"

    seed = SEED + zlib.crc32(name.encode()) % 1000
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    made = MODELS[name](path)

    ort.set_default_logger_severity(3)  # errors only
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, made["inputs"])))
    model = onnx.load(path, load_external_data=False)
    meta = {
        "name": name,
        "made_by": stamp,
        "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "dims": made.get("dims", {}),
        "inputs": describe(names, made["inputs"], "input", part),
        "outputs": describe([o.name for o in session.get_outputs()], outputs,
                            "output", part),
    }
    (part / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


# --- the listing for compiler authors ---------------------------------------


def shape_text(value):
    import onnx

    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return kind
    dims = (str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?"
            for d in tensor.shape.dim)
    return f"{kind}[{','.join(dims)}]"


def attribute_text(attribute):
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(value)
        value = array.tolist() if array.size <= 8 else f"tensor{array.shape}"
    elif isinstance(value, bytes):
        value = value.decode()
    elif isinstance(value, onnx.GraphProto):
        value = "graph"
    return f"{attribute.name}={value}"


def listing(name, folder):
    from collections import Counter

    import onnx

    model = onnx.load(folder / "model.onnx")
    meta = json.loads((folder / "meta.json").read_text())
    for value, known in zip(model.graph.input, meta["inputs"]):
        for dim, size in zip(value.type.tensor_type.shape.dim, known["shape"]):
            dim.dim_value = size
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # a listing without shapes is still a listing
        print(f"make_models: {name}: {error}", file=sys.stderr)
    graph = model.graph
    types = {v.name: shape_text(v) for group in
             (graph.value_info, graph.input, graph.output) for v in group}
    for tensor in graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        text = f"const {kind}{list(tensor.dims)}".replace(" ", "")
        array = onnx.numpy_helper.to_array(tensor)
        if array.size <= 8:
            text += f"={array.tolist()}"
        types[tensor.name] = text.replace("const", "const ")

    def operand(value):
        return f"{value}:{types.get(value, '?')}" if value else "-"

    lines = [f"==== {name}  opset {meta['opset']}  ir {model.ir_version}  "
             f"{(folder / 'model.onnx').stat().st_size} bytes  "
             f"{len(graph.node)} nodes, {len(model.functions)} functions"]
    for kind in ("inputs", "outputs"):
        for row in meta[kind]:
            lines.append(f"{kind[:-1]:6} {row['name']} {row['dtype']}"
                         f"{row['shape']}")
    counts = Counter(n.op_type if not n.domain else f"{n.domain}.{n.op_type}"
                     for n in graph.node)
    lines.append("ops    " + " ".join(f"{op}:{count}" for op, count in
                                      sorted(counts.items(),
                                             key=lambda c: (-c[1], c[0]))))
    for index, node in enumerate(graph.node):
        attributes = ", ".join(map(attribute_text, node.attribute))
        lines.append(f"{index:4} {node.op_type}"
                     f"({', '.join(map(operand, node.input))})"
                     f"{' {' + attributes + '}' if attributes else ''} -> "
                     f"{', '.join(map(operand, node.output))}")
    return "\n".join(lines) + "\n\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--ops", type=Path, help="write a listing of all nodes")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(MODELS)
    unknown = [n for n in names if n not in MODELS]
    if unknown:
        parser.error(f"unknown model {', '.join(unknown)}; "
                     f"known: {', '.join(MODELS)}")
    if options.list:
        print("\n".join(names))  # without any package: CMake asks too
        return 0
    if not options.folder:
        parser.error("which folder?")

    stamp = fingerprint()
    pending = [n for n in names
               if not is_complete(options.folder / n, stamp)]
    if pending:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch

        torch.set_num_threads(min(2, os.cpu_count() or 1))
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=FutureWarning)
    for name in pending:
        start = time.monotonic()
        try:
            make(name, options.folder / name, stamp)
        except FileNotFoundError as error:
            print(f"make_models: SKIPPED {name}: {error}", file=sys.stderr)
            shutil.rmtree(options.folder / (name + ".part"), ignore_errors=True)
            continue
        print(f"make_models: {name}: {time.monotonic() - start:.1f} s",
              file=sys.stderr)
    if options.ops:
        made = [n for n in names if is_complete(options.folder / n, stamp)]
        options.ops.write_text("".join(listing(n, options.folder / n)
                                       for n in made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
