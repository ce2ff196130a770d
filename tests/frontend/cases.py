# SPDX-License-Identifier: Apache-2.0
"""Folders of cases that `imbrex test` runs and compares, and how large things
are in them."""

import json
import subprocess
import sys

import numpy as np


class Large(np.random.Generator):
    """Where a case is made with it, some extents are `edges`."""

    def __init__(self, rng, edges):
        super().__init__(rng.bit_generator)
        self.edges = edges


def sizes(rng, count, most):
    """Extents from 1 on."""
    found = [int(n) for n in rng.integers(1, most + 1, count)]
    if isinstance(rng, Large) and count and rng.random() < 0.35:
        found[rng.integers(count)] = int(rng.choice(rng.edges))
    return found


def judge(imbrex, folders, *options):
    """What becomes of each case below the folders. Ends the process where the
    program says nothing about them."""
    done = subprocess.run([imbrex, "test", "--json", *options, *folders],
                          capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"{imbrex} exits with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["cases"]


def count_bad(cases, what):
    """Prints the cases that do not pass, and how many do."""
    bad = [case for case in cases if case["result"] != "pass"]
    for case in bad:
        print(f"{case['name']}: {case['result']}: {case['reason']}")
    print(f"{len(cases) - len(bad)} of {len(cases)} {what} agree")
    return len(bad)
