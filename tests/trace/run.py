#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traces, read back and held against the programs that were traced.

    run.py --imbrex PROGRAM [--digits MODEL] [--models DIR] [CASE...]

Cases are kernels of examples/kernels, models that were compiled, and programs
that this script writes. properties.py tells what each trace must have.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

from program import Program
from properties import (DMA_TRACKS, ENGINE_TRACKS, PS, QUEUE_TRACKS, Trace,
                        check_arrows, check_bench, check_counters, check_dmas,
                        check_instructions, check_overlaps, cut_ns, level)

ROOT = Path(__file__).resolve().parents[2]


class Runner:
    def __init__(self, imbrex, folder):
        self.imbrex, self.folder = imbrex, Path(folder)

    def run(self, *arguments, code=0):
        done = subprocess.run([self.imbrex, *map(str, arguments)],
                              capture_output=True)
        assert done.returncode == code, \
            f"{arguments}: exit code {done.returncode}: {done.stderr.decode()}"
        return done

    def assemble(self, source, *defines):
        program = self.folder / "case.ibx"
        self.run("asm", source, "-o", program,
                 *(word for define in defines for word in ("-D", define)))
        return program

    def assemble_text(self, text):
        source = self.folder / "case.s"
        source.write_bytes(text)
        return self.assemble(source)

    def trace(self, program, *arguments):
        path = self.folder / "case.json"
        done = self.run("trace", program, "-o", path, *arguments)
        return Trace(path.read_bytes()), done.stderr.decode()

    def check(self, path, entry=None):
        pick = ("--entry", entry) if entry else ()
        trace, messages = self.trace(path, *pick)
        assert messages == "", messages
        program = Program(self.imbrex, path, entry)
        bench = json.loads(self.run("bench", path, "--json", *pick).stdout)
        seen = check_instructions(trace, program, True)
        check_overlaps(trace)
        check_dmas(trace, seen)
        check_arrows(trace, True)
        check_counters(trace, program)
        check_bench(trace, bench)
        return trace


def kernel(name, *defines):
    def case(runner):
        program = runner.assemble(ROOT / "examples" / "kernels" / name, *defines)
        trace = runner.check(program)
        assert trace.processes == {ENGINE_TRACKS: "engines",
                                   QUEUE_TRACKS: "DMA queues",
                                   DMA_TRACKS: "DMA engines"}
        for engine in ("tensor", "tensor load", "sync"):
            assert engine in trace.tracks.values(), engine
        assert any(node.args["node"].startswith(name[:-2])
                   for node in trace.slices[ENGINE_TRACKS])
    return case


def sweep(runner):
    program = runner.assemble(ROOT / "examples" / "kernels" / "dma_sweep.s")
    for size in (32, 2048, 32768):
        runner.check(program, f"bytes_{size}")


def model(path, *options):
    def case(runner):
        program = runner.folder / "model.ibx"
        runner.run("compile", path, "-o", program, *options)
        trace = runner.check(program)
        # The model itself gives the same trace as its program.
        again, _ = runner.trace(path, *options)
        assert trace.events == again.events
    return case


HOSTILE = [b'quote " backslash \\ slash / </script>', b"\x01\x1f\t\n\r\x7f",
           b"\xff\xfe", b"\xed\xa0\x80 surrogate", b"\xc0\xaf overlong",
           b"\xe2\x82", b"cut \xf0\x9f\x98", b"\xf4\x90\x80\x80 too far",
           "\u00e9 \u65e5\u672c \U0001f600".encode(), b"", b"a,b:{}[]" * 200]


def quoted(name):
    escaped = b"".join(b"\\x%02x" % c if c < 0x20 or c == 0x7f
                       else b"\\" + bytes([c]) if c in b'"\\'
                       else bytes([c]) for c in name)
    return b'"' + escaped + b'"'


def hostile(runner):
    """Names of any bytes give JSON, and stay what they are where they can."""
    lines = [b".model " + quoted(HOSTILE[2]), b".entry main",
             b".buffer " + quoted(HOSTILE[1]) + b" sbuf bytes=64",
             b".buffer " + quoted(HOSTILE[3]) + b" sbuf bytes=64"]
    lines += [b".node " + quoted(name) + b" " + quoted(HOSTILE[i - 1])
              for i, name in enumerate(HOSTILE)]
    lines.append(b".engine vector")
    for i in range(len(HOSTILE)):
        lines += [b".at %d" % i, b"memset %0:f32 p=128 size(16)"]
    lines += [b".at none", b"memset %1:f32 p=128 size(16)"]
    trace = runner.check(runner.assemble_text(b"\n".join(lines) + b"\n"))
    nodes = {one.args.get("node") for one in trace.slices[ENGINE_TRACKS]}
    assert "\u00e9 \u65e5\u672c \U0001f600" in nodes and "\ufffd\ufffd" in nodes
    assert trace.other["model"] == "\ufffd\ufffd"


def empty(runner):
    trace = runner.check(runner.assemble_text(b".entry main\n"))
    assert not trace.tracks and trace.other["total_us"] == 0


# Four row groups at a time, DMAs in flight beside each other in one queue and
# out of order over two, a wait for part of a signal, signals of several engines
# to one semaphore, registers that shorten loops, buffers that share addresses.
MIXED = b"""
.entry main
.buffer x hbm input bytes=4194304
.input t f32[1048576] in x
.buffer w sbuf bytes=4096 offset=0
.buffer v sbuf bytes=4096 offset=2048
.buffer u sbuf bytes=65536 offset=8192
.buffer acc psum bytes=2048 offset=2048
.buffer sum psum bytes=2048 offset=6144
.engine gpsimd
memset w:f32 p=128 size(1024) signal s0+2
memset v[2048]:f32 p=128 size(512) signal s1+1
.engine tensor
semaphore wait s0>=1
semaphore wait s0>=1
loop r0 count=3
load_stationary w:f32 size(32) p=32 columns=32
multiply_moving acc:f32, w:f32 size(64) p=32 columns=32 group_end
load_stationary w@32:f32 size(32) p=32 columns=32
multiply_moving acc@32:f32, w@32:f32 size(64) p=32 columns=32 group_end
load_stationary w@64:f32 size(32) p=32 columns=32
multiply_moving acc@64:f32, w@64:f32 size(64) p=32 columns=32 group_end
loop_end
.engine sync
dma_copy u:f32 pstep(1, 0), x:f32 size(128, 4096) signal s2+16
dma_copy u[16384]:f32 pstep(1, 0), x:f32 size(128, 16) queue=3 signal s3+16
dma_copy u[24576]:f32 pstep(1, 0), x:f32 size(128, 64) signal s2+16
.engine scalar
dma_copy u[32768]:f32 pstep(1, 0), x:f32 size(128, 8) queue=3 signal s3+16
register_move r9 count=2
loop r1 r9 count=5
semaphore
loop_end
semaphore wait s3>=32
semaphore wait s2>=32
.engine vector
memset sum:f32 p=128 size(16) wait s1>=1
"""


def mixed(runner):
    trace = runner.check(runner.assemble_text(MIXED))
    names = set(trace.tracks.values())
    assert {"tensor", "tensor (2)", "tensor load", "queue 0", "queue 0 (2)",
            "queue 3", "queue 3 (2)", "DMA engine 15"} <= names, names


def rounding(runner):
    """Issues of 600 ns, back to back, at times that doubles do not hold."""
    lines = [b".entry main", b".input x f32[1]",
             b".buffer u sbuf bytes=2048", b".engine sync"]
    lines += [b"dma_copy u[%d]:f32, x:f32 size(1) dge=hardware queue=%d"
              % (i * 4, i % 16) for i in range(440)]
    text = b"\n".join(lines) + b"\n"
    trace = runner.check(runner.assemble_text(text))
    starts = [one.start for one in trace.slices[ENGINE_TRACKS]]
    assert starts == [i * 600000 for i in range(440)]
    assert any(cut_ns(Decimal(start) / PS) != start // 1000
               for start in starts), "nothing to round"


def window(runner):
    """A part of a run is a part of its trace."""
    source = ROOT / "examples" / "kernels" / "matmul_1_naive.s"
    program = runner.assemble(source, "M=128", "N=1024", "K=3072")
    whole = runner.check(program)
    every = whole.slices[ENGINE_TRACKS]
    begin = every[len(every) // 3].start
    after = [one for one in every if one.start >= begin]
    part, messages = runner.trace(program, "--from", str(Decimal(begin) / PS),
                                  "--limit", 50)
    assert f"holds 50 of {len(every)} instructions" in messages, messages
    shown = part.slices[ENGINE_TRACKS]
    assert [(s.start, s.args) for s in shown] == \
        [(s.start, s.args) for s in after[:50]]
    seen = check_instructions(part, Program(runner.imbrex, program), False)
    check_overlaps(part)
    check_dmas(part, seen)
    check_arrows(part, False)
    assert part.arrows
    end = after[50].start
    for name, points in part.counters.items():
        assert points[0][0] == begin
        for time, value in points:
            assert begin <= time <= end, f"{name} outside of the window"
            assert value == level(whole.counters[name], time), name
    late, _ = runner.trace(program, "--from", 1000000)
    assert not late.tracks and not late.arrows


def mutate(text, random):
    """One number of one instruction becomes another."""
    lines = text.split(b"\n")
    places = [(i, match) for i, line in enumerate(lines)
              if line.startswith(b"  ")
              for match in re.finditer(rb"(?<![\w%.])\d+|(?<=[+=])\d+", line)]
    i, match = random.choice(places)
    old = int(match[0])
    new = random.choice([0, 1, 2, 3, 16, 64, 128, old + 1, old - 1, old * 2])
    lines[i] = lines[i][:match.start()] + b"%d" % new + lines[i][match.end():]
    return b"\n".join(lines)


def mutated(runner):
    """Damaged programs are refused without a file, or traced as they are."""
    random = Random(1)
    source = ROOT / "examples" / "kernels" / "matmul_1_naive.s"
    originals = [runner.assemble_text(MIXED).read_bytes(),
                 runner.assemble(source, "M=128", "N=1024",
                                 "K=3072").read_bytes()]
    path, results = runner.folder / "mutated.json", Counter()
    for number in range(120):
        program = runner.folder / "original.ibx"
        program.write_bytes(originals[number % 2])
        text = runner.run("dump", "--asm", program).stdout
        (runner.folder / "mutated.s").write_bytes(mutate(text, random))
        program = runner.folder / "mutated.ibx"
        assembled = subprocess.run(
            [runner.imbrex, "asm", runner.folder / "mutated.s", "-o", program],
            capture_output=True)
        if assembled.returncode != 0:
            results["not assembled"] += 1
            continue
        done = subprocess.run([runner.imbrex, "trace", program, "-o", path],
                              capture_output=True)
        assert done.returncode in (0, 1), f"exit code {done.returncode}"
        assert (done.returncode == 0) == path.exists()
        results[done.returncode] += 1
        if done.returncode == 0:
            path.unlink()
            runner.check(program)
    assert results[0] > 10 and results[1] > 10, dict(results)


def peak_kib(arguments):
    child = subprocess.Popen([str(word) for word in arguments],
                             stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{arguments}: {child.returncode}"
    return usage.ru_maxrss


def long_run(runner):
    """A run takes no more memory than its proof, also where a signaller runs
    ahead of what waits."""
    program = runner.assemble_text(
        b".entry main\n.engine scalar\nloop r0 count=600000\n"
        b"semaphore signal s1+1\nloop_end\n"
        b".engine vector\nloop r0 count=600000\n"
        b"semaphore wait s1>=1\nsemaphore\nsemaphore\nloop_end\n")
    path = runner.folder / "long.json"
    proof = peak_kib([runner.imbrex, "prove", program])
    for begin in (0, 80000):
        peak = peak_kib([runner.imbrex, "trace", program, "-o", path,
                         "--limit", 100, "--from", begin])
        assert peak < proof + 8192, f"{peak} KiB, the proof {proof} KiB"
        assert len(Trace(path.read_bytes()).slices[ENGINE_TRACKS]) == 100


def refusals(runner):
    """What cannot be traced leaves no file."""
    path = runner.folder / "none.json"
    program = runner.assemble_text(b".entry main\n.engine sync\n"
                                   b"semaphore wait s0>=1\n")
    runner.run("trace", program, "-o", path, code=1)
    program = runner.assemble_text(b".entry main\n")
    runner.run("trace", program, "-o", path, "--entry", "none", code=4)
    runner.run("trace", program, code=2)
    runner.run("trace", program, "-o", path, "--from=-1", code=2)
    runner.run("trace", program, "-o", runner.folder / "absent" / "x", code=4)
    runner.run("trace", program, "-o", "/dev/full", code=4)
    assert not list(runner.folder.glob("none.json*"))
    runner.run("trace", program, "-o", path)
    assert runner.run("trace", program, "-o", "-").stdout == path.read_bytes()


def all_cases(digits, models):
    cases = {
        "naive": kernel("matmul_1_naive.s", "M=128", "N=1024", "K=3072"),
        "hoist": kernel("matmul_2_hoist.s", "M=512", "N=1024", "K=3072"),
        "block_mn": kernel("matmul_3_block_mn.s", "M=512", "N=2048", "K=1536"),
        "block_mnk": kernel("matmul_4_block_mnk.s", "M=2048", "N=1024",
                            "K=4096"),
        "sweep": sweep, "hostile": hostile, "empty": empty, "mixed": mixed,
        "rounding": rounding, "window": window,
        "long_run": long_run, "mutated": mutated,
        "refusals": refusals,
    }
    if digits:
        for target in ("ibx2", "ibx3", "ibx4"):
            cases[f"digits_{target}"] = model(digits, "--target", target)
    compiled = Path(models or "") / "bert4" / "model.onnx"
    if models and compiled.exists():
        cases["bert4"] = model(compiled, "--auto-cast", "all")
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--digits", help="examples/digits/digits.onnx")
    parser.add_argument("--models", help="folder of the test models")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    cases = all_cases(options.digits, options.models)
    failed = 0
    for name in options.cases or cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                cases[name](Runner(options.imbrex, folder))
                print(f"{name}: passed")
            except AssertionError as error:
                print(f"{name}: FAILED: {error}")
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
