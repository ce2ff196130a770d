# SPDX-License-Identifier: Apache-2.0
"""Folders of cases that `imbrex test` runs and compares."""

import json
import subprocess
import sys


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
