# SPDX-License-Identifier: Apache-2.0
"""Refusals of valid graphs that are documented limits."""

import re

LIMITS = {
    "operands larger than SBUF": r"SBUF",
    "extents that the data decide": r"depends? on the data|data decide",
    "Unique of rows of more than 64": r"rows without elements, or of more",
    "f64": r"of f64, which no engine computes",
}


def reason(text):
    """The limit that a refusal names, or None."""
    for name, pattern in LIMITS.items():
        if re.search(pattern, text):
            return name
    return None
