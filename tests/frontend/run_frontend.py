#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the front end makes of models, against others' results.

    run_frontend.py nodes  --eval PROGRAM --work FOLDER
    run_frontend.py models --eval PROGRAM --work FOLDER --models FOLDER
    run_frontend.py random --eval PROGRAM --work FOLDER
    run_frontend.py table  --imbrex PROGRAM

nodes: the node tests of the onnx package, imported and run with the reference
kernels. Each is tried with all inputs at run time and with all but the first
as constants. A refusal is fine, a wrong result is not; and no fewer than the
given number must pass, so that a front end that refuses everything fails.
models: the test models against what ONNX Runtime computed.
random: operators with random attributes against ONNX Runtime; see
random_operators.py. A refusal fails too.
table: the versions in onnx_ops.def against those of the onnx package.
"""

import argparse
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

LEAST_PASSED = 2800
RANDOM_CASES = 16  # of each operator
CHUNK = 200
# Steps that rounding may differ by where a model quantises on its way.
QUANTISED = {"micro-kws": 1 / 256}


def save(path, array):
    """NumPy has no types of bf16 and of 8 bits and less: their bits are stored,
    those of integers of a few bits as a byte each."""
    array = np.array(array, order="C")
    name = array.dtype.name
    if name == "bfloat16":
        array = array.view(np.uint16)
    elif name.startswith(("float4_", "float6_", "float8_")):
        array = array.view(np.uint8)
    elif name in ("int4", "int2", "uint4", "uint2"):
        array = array.astype(np.uint8 if name[0] == "u" else np.int8)
    np.save(path, np.array(array, order="C"), allow_pickle=True)


def write_case(folder, case, constant):
    """Writes one node test; inputs but the first become initialisers."""
    import onnx
    from onnx import numpy_helper

    def as_array(value):
        if isinstance(value, onnx.TensorProto):
            return numpy_helper.to_array(value)
        return np.asarray(value)

    def as_tensor(value, name):
        tensor = onnx.TensorProto()
        if isinstance(value, onnx.TensorProto):
            tensor.CopyFrom(value)
        else:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(value)))
        tensor.name = name
        return tensor

    inputs, outputs = case.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    if constant:
        for value, info in list(zip(inputs, graph.input))[1:]:
            graph.initializer.append(as_tensor(value, info.name))
        del graph.input[1:]
        inputs = inputs[:1]
    folder.mkdir(parents=True, exist_ok=True)
    for index, (value, info) in enumerate(zip(inputs, graph.input)):
        array = as_array(value)
        for dim, extent in zip(info.type.tensor_type.shape.dim, array.shape):
            dim.dim_value = extent
        save(folder / f"input_{index}.npy", array)
    for index, value in enumerate(outputs):
        save(folder / f"output_{index}.npy", as_array(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def write_nodes(work):
    from onnx.backend.test.case import node

    folders = []
    for case in node.collect_testcases(None):
        graph = case.model.graph
        values = list(graph.input) + list(graph.output)
        if not all(v.type.HasField("tensor_type") for v in values):
            continue
        if len(case.data_sets[0][0]) != len(graph.input):
            continue
        if "bernoulli" in case.name:
            continue  # a result drawn with a generator of its own
        for constant in (False, True):
            if constant and len(graph.input) < 2:
                continue
            folder = work / (case.name + (".constant" if constant else ""))
            write_case(folder, case, constant)
            folders.append(folder)
    return folders


def evaluate(program, folders):
    """Runs eval_model on the folders; returns its lines."""
    lines = []
    for start in range(0, len(folders), CHUNK):
        done = subprocess.run([program, *folders[start:start + CHUNK]],
                              capture_output=True, text=True)
        lines += done.stdout.splitlines()
        if done.returncode not in (0, 1) or done.stderr:
            sys.exit(f"{program} exits with {done.returncode}: {done.stderr}")
    if len(lines) != len(folders):
        sys.exit(f"{len(lines)} lines for {len(folders)} folders")
    return lines


def count(lines, word):
    return sum(line.split()[0] == word for line in lines)


def run_nodes(options):
    lines = evaluate(options.eval, write_nodes(options.work / "nodes"))
    passed, failed = count(lines, "pass"), count(lines, "fail")
    for line in lines:
        if line.startswith("fail"):
            print(line)
    print(f"{passed} passed, {failed} failed, {count(lines, 'refused')} refused")
    return failed == 0 and passed >= LEAST_PASSED


def link(folder, model):
    """A folder with the files of a model, and what eval_model needs besides."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = json.loads((model / "meta.json").read_text())
    for path in list(model.glob("*.npy")) + [model / "model.onnx"]:
        target = folder / path.name
        target.unlink(missing_ok=True)
        target.symlink_to(path.resolve())
    dims = "".join(f"{name}={value}\n" for name, value in meta["dims"].items())
    (folder / "dims").write_text(dims)
    (folder / "tolerance").write_text(str(QUANTISED.get(model.name, 0)))
    return folder


def run_models(options):
    models = sorted(p for p in options.models.iterdir()
                    if (p / "meta.json").exists())
    folders = [link(options.work / "models" / m.name, m) for m in models]
    lines = evaluate(options.eval, folders)
    print("\n".join(lines))
    return len(lines) > 0 and count(lines, "pass") == len(lines)


def run_random(options):
    import random_operators

    folders = random_operators.write_cases(options.work / "random",
                                           RANDOM_CASES)
    lines = evaluate(options.eval, folders)
    for line in lines:
        if not line.startswith("pass"):
            print(line)
    print(f"{count(lines, 'pass')} of {len(lines)} passed")
    return count(lines, "pass") == len(lines)


def run_table(options):
    """Forms that opset 6 has or that are newer, for every operator."""
    import onnx

    history = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, set()).add(schema.since_version)
    done = subprocess.run([options.imbrex, "ops", "--json"], check=True,
                          capture_output=True, text=True)
    ours = {op["name"]: op for op in json.loads(done.stdout)["operators"]
            if op["domain"] == "ai.onnx"}
    fine = True
    for name in sorted(set(history) | set(ours)):
        versions = sorted(history.get(name, ()))
        wanted = [v for i, v in enumerate(versions)
                  if i + 1 == len(versions) or versions[i + 1] > 6]
        have = ours.get(name, {"since": [], "imported": True})
        if name not in history and have["since"] == [1]:
            continue  # exporters put operators of com.microsoft there
        if have["imported"] and have["since"] != wanted:
            print(f"{name}: versions {have['since']}, not {wanted}")
            fine = False
        if not have["imported"] and have["since"] != wanted[:1]:
            print(f"{name}: refused since {have['since']}, not {wanted[:1]}")
            fine = False
    print(f"{len(ours)} operators compared with onnx {onnx.__version__}")
    return fine and len(ours) > 150


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("nodes", "models", "random", "table"))
    parser.add_argument("--eval")
    parser.add_argument("--imbrex")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.what == "models" and not options.models.is_dir():
        print(f"SKIPPED: {options.models} is absent; run make_models.py")
        return 77
    run = {"nodes": run_nodes, "models": run_models, "random": run_random,
           "table": run_table}
    return 0 if run[options.what](options) else 1


if __name__ == "__main__":
    sys.exit(main())
