#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ONNX standard's own tests, through `imbrex test`.

    onnx_suite.py --imbrex PROGRAM --work FOLDER [--update]

Writes the node tests of the onnx package and its converted models in the layout
of the backend tests, runs all of them, and compares what does not pass with
onnx_suite.txt beside this file: one line a test, its name and the reason. A test
that is listed and passes fails the run, as does one that is not listed and does
not pass, so the list is always true. --update writes it anew.

Prints, too, how many of them pass without a node on the host, and how many with
none in the library of GpSimd either. Tests that use the host must be refused
with --no-host.
"""

import argparse
import collections
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

import cases

SUITES = ("pytorch-converted", "pytorch-operator", "simple")
LIST = Path(__file__).with_name("onnx_suite.txt")
HEAD = """\
# The tests of the onnx package that do not pass, each with the reason that
# `imbrex test` gives. Written by onnx_suite.py --update.
"""


def to_proto(value, info):
    """What the layout holds: tensors, sequences and optional values."""
    import onnx
    from onnx import numpy_helper

    if isinstance(value, onnx.TensorProto):
        return value
    if info.type.HasField("sequence_type"):
        return numpy_helper.from_list(value, info.name)
    if info.type.HasField("optional_type"):
        return numpy_helper.from_optional(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


def write_set(folder, case, inputs, outputs):
    folder.mkdir(parents=True)
    graph = case.model.graph
    for kind, values, infos in (("input", inputs, graph.input),
                                ("output", outputs, graph.output)):
        for index, (value, info) in enumerate(zip(values, infos)):
            data = to_proto(value, info).SerializeToString()
            (folder / f"{kind}_{index}.pb").write_bytes(data)


def write_nodes(work):
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        folder = work / "node" / case.name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        for index, (inputs, outputs) in enumerate(case.data_sets):
            write_set(folder / f"test_data_set_{index}", case, inputs, outputs)


def write_light(data, work):
    """Models with an output and no input: 0, 1/n, 2/n ... gives it."""
    import onnx
    from onnx import numpy_helper

    for path in sorted(data.glob("*.onnx")):
        folder = work / "light" / path.stem
        values = folder / "test_data_set_0"
        values.mkdir(parents=True)
        (folder / "model.onnx").symlink_to(path)
        graph = onnx.load(path).graph
        known = {tensor.name for tensor in graph.initializer}
        inputs = [info for info in graph.input if info.name not in known]
        for index, info in enumerate(inputs):
            shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
            count = int(np.prod(shape))
            array = (np.arange(count).reshape(shape) / count).astype(np.float32)
            (values / f"input_{index}.pb").write_bytes(
                numpy_helper.from_array(array, info.name).SerializeToString())
        for output in data.glob(f"{path.stem}_output_*.pb"):
            name = output.name.removeprefix(f"{path.stem}_")
            (values / name).symlink_to(output)


def link_suites(work):
    """Those that lie in files."""
    import onnx

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for suite in SUITES:
        (work / suite).symlink_to(data / suite)
    write_light(data / "light", work)


def run(imbrex, folders, *options):
    return cases.judge(imbrex, folders, "--jobs", "2", *options)


def read_list():
    if not LIST.exists():
        return set()
    lines = LIST.read_text().splitlines()
    return {line.split(": ", 1)[0] for line in lines if line[:1] != "#"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    write_nodes(options.work)
    link_suites(options.work)
    missing, counts = {}, collections.defaultdict(collections.Counter)
    on_host = []
    for case in run(options.imbrex, [options.work]):
        path = Path(case["name"]).relative_to(options.work)
        counts[path.parts[0]][case["result"]] += 1
        if case["result"] != "pass":
            reason = f"{case['result']}: {case['reason']}"
            missing[str(path)] = " ".join(reason.split())
            continue
        if case["host_nodes"]:
            on_host.append(case["name"])
        else:
            counts[path.parts[0]]["no host"] += 1
            counts[path.parts[0]]["own"] += case["gpsimd_calls"] == 0
    for suite, results in counts.items():
        total = results["pass"] + results["refused"] + results["fail"]
        print(f"{suite}: {results['pass']} of {total} pass, "
              f"{results['refused']} refused, {results['fail']} fail; "
              f"{results['no host']} pass without the host, "
              f"{results['own']} without calls of the library either")
    for case in run(options.imbrex, on_host, "--no-host") if on_host else []:
        if case["result"] != "refused":
            sys.exit(f"{case['name']} uses the host, but not with --no-host: "
                     f"{case['result']}")
    if options.update:
        lines = [f"{name}: {missing[name]}\n" for name in sorted(missing)]
        LIST.write_text(HEAD + "".join(lines))
        return 0
    listed = read_list()
    for name in sorted(missing.keys() - listed):
        print(f"does not pass: {name}: {missing[name]}")
    for name in sorted(listed - missing.keys()):
        print(f"is listed, but passes or is gone: {name}")
    return 0 if listed == missing.keys() and counts["node"].total() > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
