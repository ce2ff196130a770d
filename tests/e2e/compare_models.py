#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real models through `imbrex compare`.

    compare_models.py --imbrex PROGRAM --models FOLDER --driver LIB --work FOLDER

Every node of the models agrees with the reference kernels. Then a driver of the
tests changes an operator in the programs, as a faulty compiler would: the
comparison fails, the reduced model has few nodes, and it fails by itself, but not
on a good device.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SKIPPED = 77
# name, the fault, most nodes of the reduced model; no fault where it takes long
MODELS = (
    ("digits", "swap=max:min", 1),
    ("digits", "second=max:min", 2),
    ("mnist", "swap=add:subtract", 1),
    ("micro-kws", "swap=max:min", 2),
    ("magika", None, 0),
    ("bert4", None, 0),
)


class Failure(Exception):
    """What is wrong, in a sentence."""


def compare(imbrex, model, arguments, expected):
    line = [str(imbrex), "compare", str(model), "--json", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != expected or not done.stdout:
        raise Failure(f"exit {done.returncode} instead of {expected}: "
                      f"{done.stderr.strip()[-1000:]}{done.stdout[:1000]}")
    return json.loads(done.stdout)


def inputs_of(folder, meta):
    line = []
    for name, value in meta["dims"].items():
        line += ["--dim", f"{name}={value}"]
    for row in meta["inputs"]:
        line += ["--input", f"{row['name']}={folder / row['file']}"]
    return line


def check_fault(options, folder, inputs, fault, most):
    small = options.work / f"{folder.name}.onnx"
    device = ["--device", f"driver:{options.driver}?{fault}"]
    found = compare(options.imbrex, folder / "model.onnx",
                    [*inputs, *device, "--reduce", str(small)], 1)
    reduced = found["reduced"]
    if not 1 <= reduced["nodes"] <= most:
        raise Failure(f"{reduced['nodes']} nodes instead of at most {most}")
    own = []
    for name, file in reduced["inputs"].items():
        own += ["--input", f"{name}={file}"]
    again = compare(options.imbrex, small, [*own, *device], 1)
    if again["first"]["value"] != reduced["value"]:
        raise Failure(f"the reduced model fails at {again['first']['value']}")
    compare(options.imbrex, small, own, 0)
    return f"{reduced['nodes']} nodes, {reduced['attempts']} comparisons"


def check(options, name, fault, most):
    folder = options.models / name
    meta = json.loads((folder / "meta.json").read_text())
    inputs = inputs_of(folder, meta)
    found = compare(options.imbrex, folder / "model.onnx", inputs, 0)
    values = [row for row in found["rows"] if not row["whole"]]
    missing = [row["value"] for row in values if row["reason"]]
    if not values or missing:
        raise Failure(f"of {len(values)} values, not compared: {missing}")
    text = f"{len(values)} values"
    if fault:
        text += ", " + check_fault(options, folder, inputs, fault, most)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("imbrex", "models", "driver", "work"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    for name, fault, most in MODELS:
        if not (options.models / name / "meta.json").is_file():
            print(f"SKIPPED {name}: run tests/support/make_models.py")
            continue
        try:
            print(f"pass {name} {fault or ''}: "
                  f"{check(options, name, fault, most)}", flush=True)
            passed += 1
        except (Failure, OSError, ValueError) as error:
            print(f"FAIL {name} {fault or ''}: {error}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    if failed:
        return 1
    return 0 if passed else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
