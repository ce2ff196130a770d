#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of docs/style.md that a program can check.

    check_tree.py [--cc CC] [--clang-format PROGRAM]

Licence line and guard of every source, include arrows, headers that compile
alone as C17 and as C++, layout by clang-format.
Prints one line for each breach; fails when there is any.
"""

import argparse
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPDX = "SPDX-License-Identifier: Apache-2.0"

# What a folder may include. Public headers may be included from anywhere.
ARROWS = {
    "include": set(),
    "runtime/isa": {"isa"},
    "runtime/host": {"host"},
    "runtime/images": {"host"},
    "runtime/core": {"core", "isa", "host", "sim"},
    "runtime/sim": {"sim", "isa", "core"},
    "src/support": {"support"},
    "src/ir": {"ir", "support"},
    "src/frontend": {"frontend", "ir", "support"},
    "src/passes": {"passes", "ir", "support"},
    "src/codegen": {"codegen", "ir", "support", "isa"},
    "src/driver": {"driver", "codegen", "passes", "frontend", "ir", "support"},
}
FOLDERS = {inner for allowed in ARROWS.values() for inner in allowed}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)


def tracked():
    """Files that git knows or would add, so that a new file is checked too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:  # a tree without history, as in a source archive
        paths = [p for p in ROOT.rglob("*") if "build" not in p.parts]
    return sorted(p for p in paths if p.is_file())


def name(path):
    return path.relative_to(ROOT).as_posix()


def folder_of(path):
    parts = name(path).split("/")
    return parts[0] if parts[0] == "include" else "/".join(parts[:2])


def check_licence(path):
    kinds = {".c", ".h", ".def", ".py", ".sh", ".cmake", ".s", ".pdll",
             ".proto"}
    if path.suffix not in kinds and path.name != "CMakeLists.txt":
        return []
    head = path.read_text(errors="replace").split("\n", 3)[:3]
    if any(SPDX in line for line in head):
        return []
    return [f"{name(path)}: no '{SPDX}' in its first lines"]


def check_arrows(path):
    folder = folder_of(path)
    if path.suffix not in {".c", ".h"} or folder not in ARROWS:
        return []
    breaches = []
    for included in INCLUDE.findall(path.read_text()):
        target = included.split("/")[0]
        if target in FOLDERS and target not in ARROWS[folder]:
            breaches.append(f"{name(path)}: {folder} must not include "
                            f"{included}")
        foreign = target == "mlir-c" or included.endswith("pb-c.h")
        if foreign and not folder.startswith("src/"):
            breaches.append(f"{name(path)}: only src/ may include {included}")
    return breaches


def check_guards(paths):
    """Every header has a guard, and no two have the same."""
    breaches, owners = [], {}
    for path in paths:
        if path.suffix != ".h" or folder_of(path) not in ARROWS:
            continue
        guard = re.search(r"^#ifndef (IBX_\w+_H)\n#define \1$",
                          path.read_text(), re.M)
        if not guard:
            breaches.append(f"{name(path)}: no guard IBX_..._H")
        elif guard[1] in owners:
            breaches.append(f"{name(path)}: its guard {guard[1]} is also that "
                            f"of {owners[guard[1]]}")
        else:
            owners[guard[1]] = name(path)
    return breaches


def check_alone(path, compiler, language, include_path):
    """A header includes what it names."""
    command = [compiler, "-x", language, "-fsyntax-only", "-Wall", "-Wextra",
               "-Wundef", "-Werror",
               "-std=c17" if language == "c" else "-std=c++17",
               "-D_DEFAULT_SOURCE", *include_path, "-"]
    source = f'#include "{path}"\n'
    done = subprocess.run(command, input=source, capture_output=True, text=True,
                          check=False)
    if done.returncode == 0:
        return []
    first = next((line for line in done.stderr.splitlines() if "error" in line),
                 done.stderr[:200])
    return [f"{name(path)}: does not compile alone as {language}: {first}"]


def check_layout(path, program):
    if path.suffix not in {".c", ".h"}:
        return []
    done = subprocess.run([program, "--dry-run", str(path)],
                          capture_output=True, text=True, check=False)
    lines = re.findall(r":(\d+):\d+: warning", done.stderr)
    if not lines:
        return []
    return [f"{name(path)}:{lines[0]}: {len(lines)} places that clang-format "
            f"would lay out otherwise"]


def headers(paths, options):
    """Public headers as C and C++, private ones as C."""
    private = ["-I", str(ROOT / "src"), "-I", str(ROOT / "runtime"),
               "-isystem", f"{options.llvm}/include"]
    if options.generated:
        private += ["-isystem", options.generated]
    public = ["-I", str(ROOT / "include")]
    jobs = []
    for path in paths:
        folder = folder_of(path)
        if path.suffix != ".h" or folder not in ARROWS:
            continue
        if not options.generated and folder == "src/frontend":
            continue  # needs onnx.pb-c.h
        if folder == "include":
            jobs.append((path, options.cc, "c", public))
            if shutil.which(options.cxx):
                jobs.append((path, options.cxx, "c++", public))
        else:
            jobs.append((path, options.cc, "c", public + private))
    return jobs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--clang-format", default="clang-format-22")
    parser.add_argument("--llvm", default="/usr/lib/llvm-22")
    parser.add_argument("--generated", help="folder of onnx.pb-c.h")
    options = parser.parse_args()

    paths = tracked()
    breaches = check_guards(paths)
    for path in paths:
        breaches += check_licence(path)
        breaches += check_arrows(path)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda job: check_alone(*job),
                              headers(paths, options)):
            breaches += found
        if shutil.which(options.clang_format):
            for found in pool.map(
                    lambda path: check_layout(path, options.clang_format),
                    paths):
                breaches += found
        else:
            print(f"layout not checked: {options.clang_format} is absent")
    print("\n".join(breaches) or f"{len(paths)} files keep the rules")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
