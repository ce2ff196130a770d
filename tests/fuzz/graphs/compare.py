# SPDX-License-Identifier: Apache-2.0
"""When an output is right: the one place that says so.

Integers, booleans and shapes are equal. NaN stands where NaN is expected, and
infinities are equal. What is below the smallest normal number may be 0.
Floating numbers may differ by a few units in the last place of their type, of
the element and, since sums cancel, by less of the largest element; and by what
noise on the way to them makes of them, see reference.py.
"""

import numpy as np

from .build import FLOATS, SMALL_FLOATS, Value, arrays_of

# Of the element, and of the largest element of the tensor.
TOLERANCE = {"f32": (2e-5, 4e-6), "f64": (2e-5, 4e-6), "f16": (3e-3, 1e-3),
             "bf16": (2.5e-2, 8e-3), "f8e4m3fn": (0.13, 0.01),
             "f8e5m2": (0.26, 0.02), "f8e4m3fnuz": (0.13, 0.01),
             "f8e5m2fnuz": (0.26, 0.02), "f8e8m0": (0, 0),
             "f6e2m3fn": (0.13, 0.02), "f6e3m2fn": (0.26, 0.02),
             "f4e2m1fn": (0, 0)}
TIMES_NOISE = 6
# Results below may be flushed to 0; those of f16 are computed in f32.
SMALLEST = dict.fromkeys(("f32", "f64", "bf16"), 2.0 ** -126)


def allowed(value):
    """The difference that each element may have."""
    wide = value.array.astype(np.float64)
    with np.errstate(all="ignore"):
        noise = np.zeros(wide.shape)
        for array in value.noisy:
            noise = np.fmax(noise, np.abs(array.astype(np.float64) - wide))
        noise = np.where(np.isfinite(noise), noise, 0)
        size = np.where(np.isfinite(wide), np.abs(wide), 0)
    common = np.median(noise) if noise.size else 0
    own, largest = TOLERANCE[value.dtype]
    return own * size + largest * size.max(initial=0) + \
        SMALLEST.get(value.dtype, 0) + \
        TIMES_NOISE * np.maximum(noise, common)


def tensors(values):
    """The same values, but the tensors of a sequence, or of maps, instead."""
    found = []
    for v in values:
        if v.is_tensor:
            found.append(v)
            continue
        chains = [arrays_of(c) for c in v.noisy]
        found += [Value(f"{v.name}[{i}]", a, [c[i] for c in chains], v.kind)
                  for i, a in enumerate(arrays_of(v.array))]
    return found


def difference(value, got):
    """"" where `got` is right, else what is wrong with it."""
    want = value.array
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"is {got.dtype}{list(got.shape)}, not " \
               f"{want.dtype}{list(want.shape)}"
    have, wide = got.reshape(-1), want.reshape(-1)
    wrong = have != wide
    if value.dtype in FLOATS + SMALL_FLOATS:
        have, wide = have.astype(np.float64), wide.astype(np.float64)
        odd = ~np.isfinite(wide)
        both_nan = np.isnan(have) & np.isnan(wide)
        with np.errstate(all="ignore"):
            near = np.abs(have - wide) <= allowed(value).reshape(-1)
        wrong = np.where(odd, (have != wide) & ~both_nan, ~near)
    if not wrong.any():
        return ""
    first = int(np.argmax(wrong))
    at = [int(i) for i in np.unravel_index(first, want.shape)]
    return f"{int(wrong.sum())} of {want.size} elements are wrong, the first " \
           f"at {at}: {got[tuple(at)]} instead of {want[tuple(at)]}"


def gross(want, got):
    """The same where nothing is known of noise: only what is far off counts."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"is {got.dtype}{list(got.shape)}, not " \
               f"{want.dtype}{list(want.shape)}"
    if got.dtype == object:
        return "" if np.array_equal(want, got) else "has other texts"
    have, wide = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(wide) & np.isfinite(have)
    size = np.abs(wide[finite]).max(initial=0)
    with np.errstate(all="ignore"):
        far = np.abs(have - wide)[finite] > 0.05 * size + 1e-5
    if far.sum() <= 0.1 * want.size:
        return ""
    return f"has {int(far.sum())} of {want.size} elements far off"
