# SPDX-License-Identifier: Apache-2.0
"""Writes .npy files by hand: write_npy.py OUT VERSION HEADER VALUE..."""

import struct
import sys

out, version, header, *values = sys.argv[1:]
text = header.encode()
text += b" " * (-(len(text) + 11) % 16) + b"\n"
size = struct.pack("<H" if version == "1" else "<I", len(text))
with open(out, "wb") as file:
    file.write(b"\x93NUMPY" + bytes([int(version), 0]) + size + text)
    for value in values:
        file.write(struct.pack("<f", float(value)))
