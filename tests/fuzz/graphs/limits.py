# SPDX-License-Identifier: Apache-2.0
"""Refusals of valid graphs that are documented limits."""

import re

LIMITS = {
    "operands larger than SBUF": r"SBUF",
    "extents that the data decide": r"depends? on the data|data decide|"
                                    r"only the run tells",
    "Unique of rows of more than 64": r"rows without elements, or of more",
    "BitwiseNot of u64": r"the other bits of u64",
    "operations without a derivative": r"the derivative of the operation",
    "sums of a group of channels that pass 2^24":
        r"conv of i32, the array multiplies floats",
    "long recurrences": r"needs more than \d+ buffers",
    "what com.microsoft needs as a constant":
        r"\((MatMulNBits|MatMulBnb4|MatMulBlockQuantized\w+|QMoE|"
        r"GatherBlockQuantized|GroupQueryAttention)\): the input '.*' is computed while the model "
        r"runs",
    "f64": r"of f64, which no engine computes",
}


# Behind these an extent is known as the most that it can be: whether two of
# them are equal, the data tell alone.
OPEN = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}


def reason(text, ops):
    """The limit that a refusal names, or None. `ops`: operators of the graph."""
    if OPEN & set(ops) and "IBX3009" in text:
        return "extents that the data decide"
    for name, pattern in LIMITS.items():
        if re.search(pattern, text):
            return name
    return None
