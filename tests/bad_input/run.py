#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models that are wrong: each problem must be told, and nothing must break.

    run.py --imbrex PROGRAM --protoc PROGRAM [CASE...]

A case is a file NAME.txt of this folder: a model as protocol buffer text whose
head says what is expected, or bytes that this script makes from a good model.

    # EXPECT: CODE NODE [ATTRIBUTE]    alternatives of NODE: a|b; any: *
    # ARGS: options of `imbrex check`

`imbrex check` must exit with 1 and report exactly the expected problems, each
with a node and a remedy; `imbrex compile` must exit with 1 and leave no file.
"""

import argparse
import json
import random
import shlex
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "src" / "frontend"
GOOD = """
ir_version: 8
opset_import { version: 17 }
graph {
  name: "g"
  node { name: "add" op_type: "Add" input: "x" input: "w" output: "s" }
  node { name: "softmax" op_type: "Softmax" input: "s" output: "y"
         attribute { name: "axis" i: 1 type: INT } }
  initializer { name: "w" dims: 3 data_type: 1
                raw_data: "\\000\\000\\200\\077\\000\\000\\000\\100\\000\\000\\100\\100" }
  input { name: "x" type { tensor_type { elem_type: 1
          shape { dim { dim_value: 2 } dim { dim_value: 3 } } } } }
  output { name: "y" type { tensor_type { elem_type: 1 } } }
}
"""


def encode(protoc, text):
    done = subprocess.run(
        [protoc, f"--proto_path={PROTO}", "onnx.proto",
         "--encode=onnx.ModelProto"],
        input=text.encode(), capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())
    return done.stdout


def field(number, wire, payload=b""):
    return varint(number << 3 | wire) + payload


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def chunk(number, payload):
    return field(number, 2, varint(len(payload)) + payload)


def damaged(good):
    """Yields (name, bytes, must_fail): what a broken download or an attack may
    look like. Random changes may leave a good model: then only breaking is
    forbidden."""
    yield "empty", b"", True
    yield "text", b"this is no model\n", True
    yield "zeros", bytes(64), True
    yield "png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), True
    for cut in sorted({1, 2, 3, 5, *range(8, len(good), len(good) // 16),
                       len(good) - 1}):
        yield f"truncated_{cut}", good[:cut], True
    yield "graph_as_number", field(7, 0, varint(1)), True
    yield "ir_version_as_bytes", chunk(1, b"abc"), True
    yield "node_as_float", chunk(7, field(1, 5, bytes(4))), True
    yield "wire_type_3", field(7, 3), True
    yield "wire_type_7", field(7, 7), True
    yield "field_0", bytes([0x02, 0x00]), True
    yield "long_varint", bytes([0x08] + [0xFF] * 11), True
    yield "length_past_end", field(7, 2, varint(1 << 20)) + b"abc", True
    yield "length_64_bits", field(7, 2, varint((1 << 64) - 1)) + b"abc", True
    yield "zero_in_name", chunk(7, chunk(1, chunk(3, b"a\0b"))), True
    yield "packed_cut", chunk(7, chunk(5, chunk(1, b"\x80"))), True
    yield "floats_cut", chunk(7, chunk(5, chunk(4, bytes(6)))), True
    nested = b""
    for _ in range(400):  # graph, node, attribute, graph, ...
        nested = chunk(1, chunk(5, chunk(6, nested)))
    yield "nested", chunk(7, nested), True
    dice = random.Random(20240517)
    for i in range(100):
        data = bytearray(good)
        for _ in range(dice.choice([1, 1, 2, 4])):
            data[dice.randrange(len(data))] = dice.randrange(256)
        yield f"flipped_{i}", bytes(data), False
    for i in range(50):
        at, size = dice.randrange(len(good)), dice.randrange(1, 9)
        noise = bytes(dice.randrange(256) for _ in range(size))
        yield f"inserted_{i}", good[:at] + noise + good[at:], False
    huge = struct.pack("<Q", (1 << 63) - 1)
    yield "huge_raw", good + chunk(7, chunk(5, field(9, 2, huge))), True


def run(command):
    done = subprocess.run(command, capture_output=True, timeout=120)
    errors = done.stderr.decode(errors="replace")
    broken = (done.returncode not in (0, 1) or "Sanitizer" in errors or
              "runtime error" in errors)
    return done, errors, broken


def matches(expectation, found):
    code, node, *attribute = expectation + ["*"] * (len(expectation) == 1)
    return (found["code"] == code and
            (node == "*" or found["node"] in node.split("|")) and
            (not attribute or found["attribute"] == attribute[0]))


def problems_of(options, model, args, expected):
    """Yields what is wrong with the answer to one model."""
    done, errors, broken = run([options.imbrex, "check", model, "--json", *args])
    if broken:
        yield f"check exits with {done.returncode}: {errors[:2000]}"
        return
    report = json.loads(done.stdout)
    found = [d for d in report["diagnostics"] if d["severity"] == "error"]
    if (done.returncode == 1) != bool(found):
        yield f"check exits with {done.returncode} for {len(found)} errors"
    for one in found:
        if not one["node"] or not one["remedy"] or not one["message"]:
            yield f"no node, message or remedy: {one}"
    if expected is None:
        return
    if done.returncode != 1:
        yield f"check exits with {done.returncode}, not 1"
    for one in expected:
        if not any(matches(one, d) for d in found):
            yield f"nothing says {' '.join(one)}; found {found}"
    for one in found:
        if expected and not any(matches(e, one) for e in expected):
            yield f"unexpected: {one}"


def check_compile(options, model, args, must_fail):
    out = model.with_suffix(".ibx")
    before = set(model.parent.iterdir())
    done, errors, broken = run([options.imbrex, "compile", model, "-o", out,
                                *args])
    if broken:
        yield f"compile exits with {done.returncode}: {errors[:2000]}"
    left = set(model.parent.iterdir()) - before
    if done.returncode != 0 and left:
        yield f"compile leaves {sorted(p.name for p in left)}"
    if must_fail and done.returncode != 1:
        yield f"compile exits with {done.returncode}, not 1"
    if out.exists():
        out.unlink()


def read_case(path):
    text = path.read_text()
    expected, args = [], []
    for line in text.splitlines():
        if line.startswith("# EXPECT: "):
            expected.append(line.removeprefix("# EXPECT: ").split())
        if line.startswith("# ARGS: "):
            args = shlex.split(line.removeprefix("# ARGS: "))
    return text, expected, args


def cases(options):
    """Yields (name, bytes, args, expected or None when it may be fine)."""
    for path in sorted(HERE.glob("*.txt")):
        text, expected, args = read_case(path)
        yield path.stem, encode(options.protoc, text), args, expected
    for name, data, must_fail in damaged(encode(options.protoc, GOOD)):
        yield name, data, [], [] if must_fail else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--protoc", default="protoc")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    failed = count = 0
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "model"
        home.mkdir()
        (Path(scratch) / "secret.bin").write_bytes(bytes(64))
        (home / "ten.bin").write_bytes(bytes(10))
        (home / "folder").mkdir()
        (home / "link.bin").symlink_to("../secret.bin")
        for name, data, args, expected in cases(options):
            if options.names and name not in options.names:
                continue
            count += 1
            model = home / f"{name}.onnx"
            model.write_bytes(data)
            wrong = list(problems_of(options, model, args, expected))
            wrong += check_compile(options, model, args, expected is not None)
            for text in wrong:
                print(f"{name}: {text}")
            failed += bool(wrong)
            model.unlink()
    print(f"{count} cases, {failed} failed")
    return 1 if failed or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
