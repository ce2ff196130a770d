# SPDX-License-Identifier: Apache-2.0
"""Refusals of valid graphs that are documented limits."""

import re

LIMITS = {
    "operands larger than SBUF": r"SBUF",
    "f64": r"of f64, which no engine computes",
}


def reason(text):
    """The limit that a refusal names, or None."""
    for name, pattern in LIMITS.items():
        if re.search(pattern, text):
            return name
    return None
