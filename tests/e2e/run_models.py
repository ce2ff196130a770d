#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `imbrex run` with ONNX Runtime's stored outputs.

    run_models.py --imbrex PROGRAM --models FOLDER [--target T,...]
                  [--mode fp32,bf16] NAME...

Tolerances, for each output of each model in each mode:

    fp32 (--auto-cast none)  largest error at most 1e-4 of the output's range:
                             both sides sum in fp32, in different orders
    bf16 (--auto-cast all)   2-norm of the error at most 0.03 of the 2-norm of
                             (reference - its mean): operands keep 8 bits, and
                             errors of a few thousandths a layer add up
    integers                 equal
    int8 QDQ models          within one step of the output's quantisation

Exits with 77 where a model is not there to be tested, and says why.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MODES = {
    "fp32": ["--auto-cast", "none"],
    "bf16": ["--auto-cast", "all", "--auto-cast-type", "bf16"],
}
FP32_LIMIT = 1e-4
BF16_LIMIT = 0.03
SKIPPED = 77


def output_step(folder):
    """The quantisation step of the outputs, or None for a float model."""
    import onnx

    graph = onnx.load(folder / "model.onnx").graph
    last = [n for n in graph.node if n.op_type == "DequantizeLinear"
            and n.output[0] in {o.name for o in graph.output}]
    if not last:
        return None
    scales = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    return float(scales[last[0].input[1]].max())


def is_quantised(folder):
    """True for a graph whose weights pass through integers."""
    import onnx

    return any(n.op_type == "QuantizeLinear"
               for n in onnx.load(folder / "model.onnx").graph.node)


def find_output(folder, name, index):
    """Reads an output that `imbrex run --output-dir` wrote."""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    for stem in (name, clean, f"output_{index}"):
        path = folder / f"{stem}.npy"
        if "/" not in stem and path.is_file():
            return np.load(path)
    made = sorted(p.name for p in folder.iterdir())
    raise FileNotFoundError(f"no file for output {name}; there are {made}")


def judge(got, want, mode, step):
    """Returns (error, limit) in the measure of the mode."""
    if got.shape != want.shape or got.dtype != want.dtype:
        raise ValueError(f"{got.dtype}{got.shape} instead of "
                         f"{want.dtype}{want.shape}")
    if want.dtype.kind in "iub":
        return float(np.count_nonzero(got != want)), 0.0
    got, want = got.astype(np.float64), want.astype(np.float64)
    if not np.isfinite(got).all():
        return float("inf"), 0.0
    if step is not None:
        return float(np.abs(got - want).max() / step), 1.001
    if mode == "fp32":
        span = want.max() - want.min() or 1.0
        return float(np.abs(got - want).max() / span), FP32_LIMIT
    norm = np.linalg.norm(want - want.mean()) or 1.0
    return float(np.linalg.norm(got - want) / norm), BF16_LIMIT


def command(imbrex, verb, folder, meta, options):
    line = [str(imbrex), verb, str(folder / "model.onnx"), *options]
    for name, value in meta["dims"].items():
        line += ["--dim", f"{name}={value}"]
    return line


def run_one(imbrex, folder, meta, target, mode):
    """Runs one model; returns [(output, error, limit)]."""
    with tempfile.TemporaryDirectory() as scratch:
        line = command(imbrex, "run", folder, meta,
                       ["--target", target, *MODES[mode],
                        "--output-dir", scratch])
        for row in meta["inputs"]:
            line += ["--input", f"{row['name']}={folder / row['file']}"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"exit {done.returncode}: "
                               f"{done.stderr.strip()[-2000:]}")
        step = output_step(folder)
        rows = []
        for index, row in enumerate(meta["outputs"]):
            got = find_output(Path(scratch), row["name"], index)
            want = np.load(folder / row["file"])
            rows.append((row["name"], *judge(got, want, mode, step)))
        return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--target", default="ibx2,ibx3,ibx4")
    parser.add_argument("--mode", default=",".join(MODES))
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()

    passed = failed = skipped = 0
    for name in options.names:
        folder = options.models / name
        if not (folder / "meta.json").is_file():
            print(f"SKIPPED {name}: {folder} is absent; "
                  f"run tests/support/make_models.py")
            skipped += 1
            continue
        meta = json.loads((folder / "meta.json").read_text())
        # A quantised graph has chosen its precision: no cast is asked of it.
        modes = ["fp32"] if is_quantised(folder) else options.mode.split(",")
        for target in options.target.split(","):
            for mode in modes:
                try:
                    rows = run_one(options.imbrex, folder, meta, target, mode)
                except (OSError, RuntimeError, ValueError) as error:
                    print(f"FAIL {name} {target} {mode}: {error}")
                    failed += 1
                    continue
                for output, error, limit in rows:
                    good = error <= limit
                    print(f"{'pass' if good else 'FAIL'} {name} {target} {mode}"
                          f" {output}: error {error:.2e}, limit {limit:.2e}")
                    passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return 0 if passed else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
