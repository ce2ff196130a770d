# SPDX-License-Identifier: Apache-2.0
"""What a program must leave in its trace, from its disassembly alone: the
instructions that each engine executes, loops expanded, and the buffers that
they touch."""

import re
import subprocess

ENGINES = ["tensor", "vector", "scalar", "gpsimd", "sync"]
STRING = rb'"((?:[^"\\]|\\.)*)"'


def unquote(text):
    """The bytes of a quoted name."""
    def one(match):
        code = match[1]
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" else code
    return re.sub(rb"\\(x[0-9a-f]{2}|.)", one, text, flags=re.S)


def as_json_text(name):
    """Each byte that is no UTF-8 becomes U+FFFD."""
    out, at = "", 0
    while at < len(name):
        try:
            return out + name[at:].decode()
        except UnicodeDecodeError as error:
            bad = at + error.start
            out += name[at:bad].decode() + "\ufffd" * (error.end - error.start)
            at += error.end
    return out


class Insn:
    """One line of an engine's stream."""

    def __init__(self, text, node):
        self.text = text
        self.node = node  # (name, op) or None
        self.name = text.split()[0]
        self.is_dma = self.name.startswith("dma_")
        wait = re.search(r" wait s(\d+)>=(\d+)", text)
        signal = re.search(r" signal s(\d+)\+(\d+)", text)
        queue = re.search(r" queue=(\d+)", text)
        self.wait = (int(wait[1]), int(wait[2])) if wait else None
        self.signal = (int(signal[1]), int(signal[2])) if signal else None
        self.queue = int(queue[1]) if queue else 0

    def buffers(self, buffers):
        """Numbers of the buffers among the operands."""
        flat = re.sub(r"\([^)]*\)|\[[^]]*\]", "", self.text)
        words = re.split(r"[ ,]+", flat)[1:]
        names = [re.match(r"[%\w]+", word) for word in words]
        found = [buffers.get(name[0]) for name in names if name]
        return {number for number in found if number is not None}


def trips(insn, registers):
    count = int(re.search(r"count=(\d+)", insn.text)[1])
    limit = re.match(r"loop r\d+ r(\d+)", insn.text)
    return min(count, registers[int(limit[1])]) if limit else count


def execute(stream):
    """Numbers of the executed instructions, in order."""
    order, frames, registers, at = [], [], {}, 0
    while at < len(stream):
        insn = stream[at]
        order.append(at)
        if insn.name == "register_move":
            register, value = re.match(r"register_move r(\d+) count=(\d+)",
                                       insn.text).groups()
            registers[int(register)] = int(value)
        elif insn.name == "loop":
            frames.append([at, trips(insn, registers)])
        elif insn.name == "loop_end":
            frames[-1][1] -= 1
            if frames[-1][1] > 0:
                at = frames[-1][0]
            else:
                frames.pop()
        at += 1
    return order


class Program:
    """An entry of `imbrex dump --asm`."""

    def __init__(self, imbrex, path, entry=None):
        dump = subprocess.run([imbrex, "dump", "--asm", path],
                              capture_output=True, check=True).stdout
        self.streams = {engine: [] for engine in ENGINES}
        self.places = []  # (space, offset, bytes)
        self.buffers = {}  # name or %number -> number
        self.nodes, entries = [], 0
        is_wanted = True
        for line in dump.split(b"\n"):
            if line.startswith(b".entry "):
                name = unquote(re.match(rb".entry " + STRING, line)[1])
                is_wanted = name == entry.encode() if entry else entries == 0
                entries += 1
            elif is_wanted:
                self.read(line)

    def read(self, line):
        node = re.match(rb"\.node " + STRING + b" " + STRING + b"$", line, re.S)
        buffer = re.match(rb"\.buffer " + STRING + rb" (\w+)", line, re.S)
        if node:
            self.nodes.append(tuple(as_json_text(unquote(t))
                                    for t in node.groups()))
        elif buffer:
            number = len(self.places)
            name = unquote(buffer[1]).decode(errors="replace")
            numbers = [int(re.search(rb" %s=(\d+)" % key, line)[1])
                       for key in (b"offset", b"bytes")]
            self.places.append((buffer[2].decode(), *numbers))
            self.buffers[f"%{number}"] = self.buffers[name] = number
        elif line.startswith(b".engine "):
            self.stream = self.streams[line.split()[1].decode()]
        elif line.startswith(b".at "):
            at = line.split()[1]
            self.at = None if at == b"none" else self.nodes[int(at)]
        elif line.startswith(b"  "):
            self.stream.append(Insn(line.decode().strip(), self.at))
