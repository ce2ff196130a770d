#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares exports of `transformers` networks with ONNX Runtime.

    exports.py --imbrex PROGRAM --work FOLDER [--all | --only NAME,...]
               [--sizes SEED | --full]

The networks are the rows of export_rows.py: tiny, with random weights of a
fixed seed, exported by both exporters of PyTorch. An export and the outputs
of ONNX Runtime stay in FOLDER/NAME.EXPORTER and are made again when the row,
this script or the packages change.

Every output of every export must be within 1e-4 of the range of the reference:
both sides sum in fp32, in different orders. Integers must be equal.

Without --all every network is exported once, as `ctest` does: by the older
exporter, which takes a tenth of the time, where it can, else by the newer one.
--only takes both. With --sizes the same networks have other sizes, types,
opsets and options, drawn from the seed (export_sizes.py). --full takes the rows
of export_full.py instead, networks in the sizes that people use: they need an
hour, 16 GiB of memory and some 15 GB of disk.
"""

import argparse
import fnmatch
import hashlib
import inspect
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np

import export_full
import export_sizes
from export_rows import ROWS, TINY

HERE = Path(__file__).resolve().parent
SEED = 20240517
LIMIT = 1e-4
EXPORTERS = ("dynamo", "script")
MOST_SECONDS = 600  # of one compilation with its simulation
SKIPPED = 77


# --- networks -----------------------------------------------------------------


def tiny_config(kind, changes, default=None):
    """The configuration class with the sizes of TINY and the row's changes,
    in its nested configurations too."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    default = default or kind()
    changes = dict(changes)
    values = {name: size for name, size in TINY.items()
              if isinstance(getattr(default, name, None), type(size))}
    for name in getattr(kind, "sub_configs_defaults", {}):
        nested = changes.pop(name, {})
        inner = getattr(default, name, None)
        if isinstance(nested, dict) and "model_type" in nested:
            inner = CONFIG_MAPPING[nested["model_type"]]()
        if nested is None or inner is None:
            values[name] = None
        else:
            values[name] = tiny_config(type(inner), nested, inner)
    values.update(changes)
    return kind(**{k: v for k, v in values.items() if v is not ...})


def randomise(network):
    """Gives every parameter of one dimension and every statistic of a batch
    norm a value of its own: a fresh network has zeros and ones there, which
    would hide an importer that mixes them up."""
    import torch

    for name, vector in network.named_parameters():
        if vector.dim() == 1 and name.endswith("bias"):
            torch.nn.init.normal_(vector, 0.0, 0.1)
        elif vector.dim() == 1:
            torch.nn.init.uniform_(vector, 0.8, 1.2)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, 0.0, 0.1)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)


def make_network(row):
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    torch.manual_seed(SEED + zlib.crc32(row.name.encode()) % 1000)
    config = tiny_config(CONFIG_MAPPING[row.model_type], row.config)
    config._experts_implementation = "batched_mm"  # no list of used experts
    network = getattr(transformers, row.network)(config).eval()
    randomise(network)
    return network


# --- inputs -------------------------------------------------------------------


def find_size(config, *names, absent=None):
    """The first of these fields in the configuration or one inside it."""
    inner = [getattr(config, name, None)
             for name in getattr(config, "sub_configs_defaults", {})]
    for part in [config, *filter(None, inner)]:
        for name in names:
            size = getattr(part, name, None)
            if size is not None:
                return size[0] if isinstance(size, (list, tuple)) else size
    return absent


def default_dims(name, config):
    """The shape of an input of that name."""
    if name.startswith("decoder_"):
        return [1, 7]
    if name == "bbox":
        return [1, 12, 4]
    if name.startswith("pixel_values"):
        edge = find_size(config, "image_size", "input_size", absent=32)
        return [1, find_size(config, "num_channels", absent=3), edge, edge]
    if name == "input_values":
        return [1, 2000]
    if name == "input_features":
        return [1, find_size(config, "num_mel_bins", absent=16),
                2 * find_size(config, "max_source_positions", absent=32)]
    return [1, 12]


def make_ids(row, config, dims):
    """Words that mean nothing special, and a run of places for an image."""
    import torch

    low = 16 if find_size(config, "vocab_size", absent=0) > 32 else 0
    high = find_size(config, "vocab_size", absent=96)
    ids = torch.randint(low, high, dims)
    if row.image_tokens:
        ids[:, 1:1 + row.image_tokens] = TINY["image_token_id"]
    return ids


def make_input(row, config, name, dims, kind):
    import torch

    dims = dims or default_dims(name, config)
    if kind == "mask":  # the last quarter is padding
        mask = torch.ones(dims, dtype=torch.int64)
        mask[..., dims[-1] - dims[-1] // 4:] = 0
        return mask
    if kind == "ones":
        return torch.ones(dims, dtype=torch.int64)
    if kind == "four":
        return torch.full(dims, 4, dtype=torch.int64)
    if kind == "zeros":
        return torch.zeros(dims, dtype=torch.int64)
    if kind == "iota":
        return torch.arange(dims[-1]).expand(dims).contiguous()
    if kind == "floats":
        return torch.randn(dims)
    if kind == "ids":
        return make_ids(row, config, dims)
    if name == "bbox":
        return torch.randint(0, 30, dims) + torch.tensor([0, 0, 31, 31])
    if name.endswith("input_ids"):
        return make_ids(row, config, dims)
    if name == "token_type_ids":
        return torch.arange(dims[-1]).expand(dims) * 2 // dims[-1]
    if name.endswith("mask"):
        return make_input(row, config, name, dims, "mask")
    return torch.randn(dims)


def make_inputs(row, network):
    """By name, as the row lists them: NAME, NAME=2x3, NAME=2x3:KIND."""
    names = row.inputs.split()
    if not names:
        names = [network.main_input_name]
        if getattr(network.config, "is_encoder_decoder", False):
            names.append("decoder_input_ids")
    made = {}
    for text in names:
        name, _, form = text.partition("=")
        shape, _, kind = form.partition(":")
        dims = [int(d) for d in shape.split("x")] if shape else None
        made[name] = make_input(row, network.config, name, dims, kind)
    return made


# --- outputs ------------------------------------------------------------------


def flatten(value, name, found):
    """Adds the tensors inside to `found`, by name; caches are left out."""
    import torch

    if isinstance(value, torch.Tensor):
        found[name] = value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if "past_key_values" not in key and "cache" not in key:
                flatten(inner, f"{name}.{key}" if name else key, found)
    elif isinstance(value, (tuple, list)):
        for index, inner in enumerate(value):
            flatten(inner, f"{name}.{index}" if name else str(index), found)


def wrap(network, names):
    """Tensors in by position, the tensors of the output out."""
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, *args):
            found = {}
            flatten(self.network(**dict(zip(names, args))), "", found)
            return tuple(found.values())

    return Wrapped().eval()


# --- exports ------------------------------------------------------------------


def open_dims(row, exporter, names):
    """Options that leave the row's dimensions open: those of each input, by
    name, '-' for one that stays. A decoder's have names of their own."""
    axes = {name: {index: ("decoder_" if "decoder" in name else "") + dim
                   for index, dim in enumerate(row.dims.split()) if dim != "-"}
            for name in names}
    if not row.dims:
        return {}
    if exporter == "script":
        return {"dynamic_axes": axes}
    return {"dynamic_shapes": (tuple(axes.values()),)}


def export(row, exporter, path):
    """Writes the model. Returns the arrays of its inputs."""
    import torch

    network = make_network(row)
    inputs = make_inputs(row, network)
    arrays = [t.numpy().copy() for t in inputs.values()]
    found = {}
    with torch.no_grad():
        flatten(network(**inputs), "", found)
    names = [f"out.{name}" for name in found]
    options = {"dynamo": True, "external_data": False, "verbose": False}
    if exporter == "script":
        options = {"dynamo": False, "opset_version": row.opset}
    options.update(open_dims(row, exporter, inputs))
    with torch.no_grad():
        torch.onnx.export(wrap(network, list(inputs)), tuple(inputs.values()),
                          str(path), input_names=list(inputs),
                          output_names=names, **options)
    return arrays


def describe(kind, names, values, folder):
    rows = []
    for index, (name, value) in enumerate(zip(names, values)):
        file = f"{kind}_{index}.npy"
        np.save(folder / file, value)
        rows.append({"name": name, "file": file})
    return rows


def make(row, exporter, folder, stamp):
    """Makes a folder with the model, its inputs and what ONNX Runtime says."""
    import onnxruntime as ort

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    path = part / "model.onnx"
    made = export(row, exporter, path)
    ort.set_default_logger_severity(4)
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), settings,
                                   providers=["CPUExecutionProvider"])
    # An input that no node needs may be gone from the graph.
    given = dict(zip([text.partition("=")[0] for text in row.inputs.split()],
                     made)) if row.inputs else None
    ports = session.get_inputs()
    names = [port.name for port in ports]
    given = given or dict(zip(names, made))
    values = [given[name] for name in names]
    dims = {dim: size for port, value in zip(ports, values)
            for dim, size in zip(port.shape, value.shape)
            if isinstance(dim, str)}
    outputs = session.run(None, dict(zip(names, values)))
    meta = {"made_by": stamp, "dims": dims,
            "inputs": describe("input", names, values, part),
            "outputs": describe("output",
                                [o.name for o in session.get_outputs()],
                                outputs, part)}
    (part / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return meta


def fingerprint(row):
    """Changes with anything that an export depends on."""
    digest = hashlib.sha256(repr((row, TINY, SEED)).encode())
    for function in (tiny_config, randomise, make_network, default_dims,
                     make_ids, make_input, make_inputs, flatten, wrap,
                     open_dims, export):
        digest.update(inspect.getsource(function).encode())
    packages = HERE.parent / "support/requirements.txt"
    for line in packages.read_text().splitlines():
        if line.startswith(("torch=", "onnx", "transformers=")):
            digest.update(line.encode())
    return digest.hexdigest()


def find(folder, stamp):
    """What was made there with that stamp, or None."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError):
        return None
    return meta if meta["made_by"] == stamp else None


def find_or_make(row, exporter, folder):
    """The folder of an export, as it is or made anew."""
    stamp = fingerprint(row)
    meta = find(folder, stamp)
    if meta is not None:
        return meta
    quiet()
    return make(row, exporter, folder, stamp)


# --- comparison ---------------------------------------------------------------


def judge(got, want):
    """The largest error as a part of the range; above LIMIT is wrong."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise ValueError(f"{got.dtype}{list(got.shape)} instead of "
                         f"{want.dtype}{list(want.shape)}")
    if want.size == 0:
        return 0.0
    if want.dtype.kind in "iub":
        return float(np.count_nonzero(got != want))
    if not np.isfinite(want).all():
        same = np.array_equal(np.isfinite(got), np.isfinite(want))
        finite = np.isfinite(want)
        if not same or not np.array_equal(got[~finite], want[~finite]):
            return float("inf")
        got, want = got[finite], want[finite]
    if not want.size:
        return 0.0
    got, want = got.astype(np.float64), want.astype(np.float64)
    if not np.isfinite(got).all():
        return float("inf")
    span = want.max() - want.min() or np.abs(want).max() or 1.0
    return float(np.abs(got - want).max() / span)


def find_output(folder, name, index):
    """Reads an output that `imbrex run --output-dir` wrote."""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    for stem in (name, clean, f"output_{index}"):
        path = folder / f"{stem}.npy"
        if "/" not in stem and path.is_file():
            return np.load(path)
    raise FileNotFoundError(f"no file for output {name}")


def compare(imbrex, folder, meta):
    """Runs the model; returns the worst error of its outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        line = [str(imbrex), "run", str(folder / "model.onnx"),
                "--output-dir", scratch]
        for row in meta["inputs"]:
            line += ["--input", f"{row['name']}={folder / row['file']}"]
        for name, size in meta["dims"].items():
            line += ["--dim", f"{name}={size}"]
        done = subprocess.run(line, capture_output=True, text=True, check=False,
                              timeout=MOST_SECONDS)
        if done.returncode:
            raise RuntimeError(f"exit {done.returncode}: "
                               f"{done.stderr.strip()[:2000]}")
        worst = 0.0
        for index, row in enumerate(meta["outputs"]):
            got = find_output(Path(scratch), row["name"], index)
            want = np.load(folder / row["file"])
            error = judge(got, want)
            limit = meta.get("limit", LIMIT)
            if error > limit:
                raise RuntimeError(f"output {row['name']}: error {error:.2e} "
                                   f"of the range, limit {limit:.0e}")
            worst = max(worst, error)
        return worst


# --- the run ------------------------------------------------------------------


def begin():
    """What a process does before its first export."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.filterwarnings("ignore")
    if multiprocessing.parent_process():  # exporters print whole graphs
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def quiet():
    import logging

    import torch
    import transformers

    torch.set_num_threads(1)
    logging.disable(logging.ERROR)
    transformers.logging.set_verbosity_error()


def try_one(job):
    """Returns (name, worst error or None, what is wrong, seconds)."""
    row, exporter, options = job
    folder = options.work / f"{row.name}.{exporter}"
    times = [time.monotonic()]
    worst, wrong = None, ""
    try:
        if options.full:
            meta = export_full.find_or_make(row, exporter, folder)
        elif options.sizes is None:
            meta = find_or_make(row, exporter, folder)
        else:
            meta = export_sizes.find_or_make(row, options.sizes, exporter,
                                             folder)
        times.append(time.monotonic())
        if meta is None:
            return folder.name, None, "", [times[1] - times[0]]
        worst = compare(options.imbrex, folder, meta)
    except Exception as error:  # of any package: the row fails, others go on
        stage = "export" if len(times) == 1 else "imbrex"
        wrong = f"{stage}: {type(error).__name__}: {str(error)[:600]}"
    times.append(time.monotonic())
    return folder.name, worst, wrong, [b - a for a, b in zip(times, times[1:])]


def cheapest(row):
    """The exporter of a row when one is enough."""
    return "script" if "script" in row.exporters else row.exporters[0]


def choose(options):
    rows = export_full.FULL if options.full else ROWS
    jobs = [(row, exporter, options) for row in rows for exporter in EXPORTERS
            if exporter in row.exporters]
    if options.sizes is not None and not options.all:
        jobs = [j for j in jobs if j[1] == cheapest(j[0])]
    if options.only:
        wanted = options.only.split(",")
        return [j for j in jobs if any(
            fnmatch.fnmatch(name, pattern) for pattern in wanted
            for name in (j[0].name, f"{j[0].name}.{j[1]}"))]
    if options.all or options.sizes is not None:
        return jobs
    return [(row, cheapest(row), options) for row in rows]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--all", action="store_true",
                        help="both exporters for every row")
    parser.add_argument("--only", help="patterns of NAME or NAME.EXPORTER,\n"
                        "as in bert,vit.script,*swin*")
    parser.add_argument("--sizes", type=int, metavar="SEED",
                        help="sizes and options drawn from the seed")
    parser.add_argument("--full", action="store_true",
                        help="networks that are not tiny")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()

    begin()
    jobs = choose(options)
    failed = skipped = 0
    with multiprocessing.get_context("spawn").Pool(options.jobs, begin) as pool:
        for name, worst, wrong, times in pool.imap_unordered(try_one, jobs):
            failed += bool(wrong)
            skipped += worst is None and not wrong
            took = " ".join(f"{t:.1f}" for t in times)
            verdict = f"FAIL {name}: {wrong}" if wrong else (
                f"skip {name}: refused before Imbrex" if worst is None
                else f"pass {name}: error {worst:.1e}")
            print(f"{verdict} [{took} s]", flush=True)
        pool.close()
        pool.join()
    if skipped:
        print(f"{skipped} skipped: other packages refuse all that was drawn")
    print(f"{len(jobs) - failed - skipped} passed, {failed} failed, of "
          f"{len({j[0].model_type for j in jobs})} model types")
    return 1 if failed or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
