# SPDX-License-Identifier: Apache-2.0
"""The other end of model_server: models go out, what became of them comes in."""

import dataclasses
import select
import struct
import subprocess
import tempfile
import time

import numpy as np

COMPILE, RUN, EVALUATE = range(3)
TARGETS = ("ibx2", "ibx3", "ibx4")
SECONDS = 120  # a model that takes longer hangs


# NumPy keeps no sign above the bits that count, a program does.
STORED = {"int2": np.dtype(np.int8), "int4": np.dtype(np.int8)}


def stored(array):
    """The bytes of an input; each text ends with a zero byte."""
    array = getattr(array, "scores", array)  # of maps
    if array.dtype == object:
        return b"".join(t.encode() + b"\0" for t in array.reshape(-1))
    return np.ascontiguousarray(array).astype(
        STORED.get(str(array.dtype), array.dtype), copy=False).tobytes()


class Crash(Exception):
    """The process ended, or did not answer in time."""


@dataclasses.dataclass
class Diagnostic:
    severity: int
    code: str
    node: str
    op: str
    message: str


@dataclasses.dataclass
class Reply:
    status: int
    message: str
    diagnostics: list
    outputs: list

    @property
    def reason(self):
        """Code and message of the first error."""
        for d in self.diagnostics:
            if d.severity == 0:
                return f"{d.code}: {d.node} ({d.op}): {d.message}"
        return self.message


class Server:
    """Starts the program when there is work, and anew when it has ended."""

    def __init__(self, program):
        self.program, self.process, self.errors = program, None, None

    def ask(self, what, model, arrays=(), target=1, level=2, seed=0):
        if self.process is None:
            self.errors = tempfile.TemporaryFile()
            self.process = subprocess.Popen(
                [self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self.errors)
        self.deadline = time.monotonic() + SECONDS
        parts = [struct.pack("<IIII", what, target, level, seed),
                 struct.pack("<Q", len(model)), model,
                 struct.pack("<I", len(arrays))]
        for array in arrays:
            data = stored(array)
            parts += [struct.pack("<Q", len(data)), data]
        try:
            self.process.stdin.write(b"".join(parts))
            self.process.stdin.flush()
            return self.read_reply()
        except (BrokenPipeError, EOFError) as error:
            raise Crash(self.end()) from error

    def end(self):
        """Ends the process. Returns how it ended and what it said."""
        if self.process is None:
            return ""
        late = time.monotonic() > self.deadline
        if late:
            self.process.kill()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        code = self.process.wait()
        self.process.stdout.close()
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()
        self.errors.close()
        self.process = None
        return f"{'hangs' if late else f'exit {code}'}: {text[:3000]}"

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            left = self.deadline - time.monotonic()
            if not select.select([self.process.stdout], [], [],
                                 max(left, 0))[0]:
                raise EOFError
            piece = self.process.stdout.raw.read(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def number(self, form="<I"):
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def data(self):
        return self.read(self.number("<Q"))

    def text(self):
        return self.data().decode(errors="replace")

    def output(self):
        from onnx import helper

        dtype, rank = self.number(), self.number()
        shape = [self.number("<Q") for _ in range(rank)]
        data = self.data()
        kind = helper.tensor_dtype_to_np_dtype(dtype)
        if kind == object:
            texts = [t.decode(errors="surrogateescape")
                     for t in data.split(b"\0")[:-1]]
            return np.array(texts, object).reshape(shape)
        held = STORED.get(str(kind), kind)
        array = np.frombuffer(data, held).astype(kind)
        return array.reshape(shape)

    def read_reply(self):
        status, message = self.number(), self.text()
        found = [Diagnostic(self.number(), *(self.text() for _ in range(4)))
                 for _ in range(self.number())]
        return Reply(status, message, found,
                     [self.output() for _ in range(self.number())])
