#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traces, read back and held against the program that was traced.

    run.py --imbrex PROGRAM [--digits MODEL] [--models DIR] [CASE...]

Cases are kernels of examples/kernels, models that were compiled, and programs
that this script writes. For each: `imbrex trace` must write JSON in which

- every executed instruction (the disassembly with its loops expanded) stands
  once, in order, with its text and its node, and every DMA and piece once;
- slices of one track do not overlap, also not where times are cut to the
  nanoseconds that Perfetto keeps;
- the arrows into a wait bring what it waits for, from instructions that signal
  that semaphore, none more than it signals, and lie in the slices they join;
- counters stay within the machine, follow from the slices, and end at zero;
- times and counts are those of `imbrex bench`.
"""

import argparse
import bisect
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

from program import ENGINES, Program, execute

ROOT = Path(__file__).resolve().parents[2]
ENGINE_TRACKS, QUEUE_TRACKS, DMA_TRACKS = 1, 2, 3
PS = 1000000
# Results are visible at most this much later than their slice ends.
LATENCY_PS = 2 * PS


def cut_ns(text):
    """As Perfetto reads a time."""
    return int(float(text) * 1000.0)


class Slice:
    def __init__(self, event):
        self.name, self.cat = event["name"], event["cat"]
        self.args, self.track = event["args"], (event["pid"], event["tid"])
        self.start = int(event["ts"] * PS)
        self.end = self.start + int(event["dur"] * PS)
        self.start_ns = cut_ns(event["ts"])
        self.end_ns = self.start_ns + cut_ns(event["dur"])
        self.insn = self.dma = None
        self.taken = self.brought = 0


class Trace:
    def __init__(self, text):
        document = json.loads(text, parse_float=Decimal)
        self.other = document["otherData"]
        self.events = document["traceEvents"]
        self.tracks, self.processes = {}, {}
        self.slices = defaultdict(list)  # by process, as they were written
        self.by_track = defaultdict(list)
        self.counters = defaultdict(list)
        self.arrows = defaultdict(dict)
        for event in self.events:
            self.read(event)
        for slices in self.by_track.values():
            slices.sort(key=lambda s: s.start)

    def read(self, event):
        phase = event["ph"]
        if event["name"] == "thread_name":
            self.tracks[event["pid"], event["tid"]] = event["args"]["name"]
        elif event["name"] == "process_name":
            self.processes[event["pid"]] = event["args"]["name"]
        elif phase == "X":
            one = Slice(event)
            self.slices[one.track[0]].append(one)
            self.by_track[one.track].append(one)
        elif phase == "C":
            (unit, value), = event["args"].items()
            name = f"{event['name']} {unit}"
            self.counters[name].append((int(event["ts"] * PS), value))
        elif phase in "sf":
            assert phase not in self.arrows[event["id"]], "an arrow's end twice"
            self.arrows[event["id"]][phase] = event
        else:
            assert phase == "M", f"unexpected phase {phase}"

    def find(self, event):
        """The slice at an arrow's end."""
        slices = self.by_track[event["pid"], event["tid"]]
        time = int(event["ts"] * PS)
        at = bisect.bisect_right([s.start for s in slices], time) - 1
        assert at >= 0 and slices[at].start <= time <= slices[at].end, \
            f"an arrow's end at {time} lies in no slice"
        return slices[at]


# --- what must hold -------------------------------------------------------------


def check_instructions(trace, program, is_whole):
    streams = {engine: program.streams[engine] for engine in ENGINES}
    seen = defaultdict(list)
    for one in trace.slices[ENGINE_TRACKS]:
        engine = trace.tracks[one.track].split()[0]
        seen[engine].append(one)
        one.insn = insn = streams[engine][one.args["index"]]
        assert one.name == insn.name, f"{one.name} is {insn.name}"
        assert one.args["text"] == insn.text, f"{one.args['text']}"
        node = (one.args["node"], one.args["op"]) if "node" in one.args else None
        assert node == insn.node, f"{node} is {insn.node}"
        assert one.cat == (f"{node[0]} ({node[1]})" if node else "no node")
    for engine in ENGINES:
        written = [one.args["index"] for one in seen[engine]]
        expected = execute(streams[engine])
        starts = [one.start for one in seen[engine]]
        assert starts == sorted(starts), f"{engine} is out of order"
        if is_whole:
            assert written == expected, f"{engine} executes something else"
    return seen


def check_overlaps(trace):
    for track, slices in trace.by_track.items():
        assert track in trace.tracks, f"track {track} has no name"
        for a, b in zip(slices, slices[1:]):
            assert a.end <= b.start, f"overlap on {trace.tracks[track]}"
            assert a.end_ns <= b.start_ns, f"{a.name} is cut into {b.name}"


def check_dmas(trace, seen):
    """DMAs against the instructions that issue them, pieces against DMAs."""
    issued = {(engine, one.args["dma"]): one
              for engine in ENGINES for one in seen[engine] if one.insn.is_dma}
    dmas, pieces = {}, defaultdict(list)
    for one in trace.slices[QUEUE_TRACKS]:
        dmas[one.args["issuer"], one.args["dma"]] = one
    for one in trace.slices[DMA_TRACKS]:
        pieces[one.args["issuer"], one.args["dma"]].append(one)
    assert len(dmas) == len(trace.slices[QUEUE_TRACKS]), "a DMA stands twice"
    assert dmas.keys() == issued.keys() == pieces.keys(), "DMAs differ"
    for key, dma in dmas.items():
        issue, parts = issued[key], pieces[key]
        dma.insn = issue.insn
        assert issue.start <= dma.start <= issue.end, "arrives at another time"
        words = trace.tracks[dma.track].split()
        assert words[:2] == ["queue", str(dma.insn.queue)], f"{words}"
        assert len(parts) == dma.args["pieces"]
        assert all(dma.start <= p.start and p.end <= dma.end for p in parts)
        assert all(p.args["index"] == issue.args["index"] for p in parts)
        dma.pieces = parts
        if dma.insn.signal:
            assert dma.insn.signal[1] == len(parts), "signals something else"


def check_arrows(trace, is_whole):
    order, joined = defaultdict(list), set()
    for number, ends in trace.arrows.items():
        assert ends.keys() == {"s", "f"}, f"arrow {number} has one end"
        start, finish = ends["s"], ends["f"]
        source, target = trace.find(start), trace.find(finish)
        semaphore, value = start["name"], start["args"]["value"]
        assert (id(source), id(target)) not in joined, "joined twice"
        joined.add((id(source), id(target)))
        assert start["ts"] <= finish["ts"] and value > 0
        assert (semaphore, value) == (finish["name"], finish["args"]["value"])
        assert f"s{source.insn.signal[0]}" == semaphore, "another signal"
        assert f"s{target.insn.wait[0]}" == semaphore, "another wait"
        is_dma = source.track[0] == QUEUE_TRACKS
        assert is_dma == source.insn.is_dma, "DMAs signal, not their issue"
        assert target.track[0] == ENGINE_TRACKS
        # Perfetto: the slice that is open then. Slices that end within the
        # same nanosecond are taken as they are.
        for one, event in ((source, start), (target, finish)):
            if one.end - one.start >= 4000:
                assert one.start_ns <= cut_ns(event["ts"]) < one.end_ns
        if value == source.insn.signal[1]:  # and so the end of the slice
            assert source.end - 2000 <= int(start["ts"] * PS) <= source.end
        source.taken += value
        target.brought += value
        order[semaphore].append((target.start, source.start, source.track))
    for slices in trace.slices.values():
        for one in slices:
            if one.track[0] == ENGINE_TRACKS and one.insn.wait and is_whole:
                assert one.brought == one.insn.wait[1], "a wait gets less"
            if one.taken:
                assert one.taken <= one.insn.signal[1], "a signal gives more"
    # One engine signals in its order, and its earliest signals go first.
    for semaphore, arrows in order.items():
        tracks = {track for _, _, track in arrows}
        if len(tracks) == 1 and tracks.pop()[0] == ENGINE_TRACKS:
            sources = [source for _, source, _ in sorted(arrows)]
            assert sources == sorted(sources), f"{semaphore}: not in order"


def level(changes, time):
    """The value of a step function [(time, value)] at a time."""
    at = bisect.bisect_right(changes, (time, float("inf"))) - 1
    return changes[at][1] if at >= 0 else 0


def covered(ranges):
    """Bytes in the union of [low, high)."""
    total, end = 0, 0
    for low, high in sorted(ranges):
        total += max(0, high - max(low, end))
        end = max(end, high)
    return total


def occupancy(lives, program, time):
    """SBUF bytes and PSUM banks of the buffers that live at a time."""
    live = [program.places[b] for b, (start, end) in lives.items()
            if start <= time < end]
    banks = {bank for space, offset, size in live if space == "psum"
             for bank in range(offset // 2048, (offset + size - 1) // 2048 + 1)}
    return covered([(offset, offset + size) for space, offset, size in live
                    if space == "sbuf"]), len(banks)


def check_counters(trace, program):
    for name, limit in (("SBUF bytes a partition", trace.other["sbuf_bytes"]),
                        ("PSUM banks", trace.other["psum_banks"]),
                        ("DMAs in flight", 16 * 64)):
        points = trace.counters[name]
        times = [time for time, _ in points]
        assert times == sorted(set(times)), f"{name}: out of order"
        assert all(0 <= value <= limit for _, value in points), name
        assert points[-1][1] == 0, f"{name} does not end at 0"

    changes = Counter()
    for dma in trace.slices[QUEUE_TRACKS]:
        changes[dma.start] += 1
        changes[dma.end] -= 1
    flying, expected = 0, []
    for time in sorted({0, *changes}):
        flying += changes[time]
        expected.append((time, flying))
    points = trace.counters["DMAs in flight"]
    for time, value in points:
        assert value == level(expected, time), f"{value} DMAs at {time}"
    for time, value in expected:
        assert value == level(points, time), f"{value} DMAs at {time}"

    # Buffers live from their first to their last use, a little longer where a
    # result is late.
    lives = {}
    for one in trace.slices[ENGINE_TRACKS] + trace.slices[QUEUE_TRACKS]:
        if one.insn.is_dma and one.track[0] == ENGINE_TRACKS:
            continue
        start = min(p.start for p in one.pieces) if one.insn.is_dma \
            else one.start
        for buffer in one.insn.buffers(program.buffers):
            low, high = lives.get(buffer, (start, one.end))
            lives[buffer] = min(low, start), max(high, one.end)
    late = {b: (low, high + LATENCY_PS) for b, (low, high) in lives.items()}
    names = ("SBUF bytes a partition", "PSUM banks")
    times = {time for name in names for time, _ in trace.counters[name]}
    total = int(trace.other["total_us"] * PS)
    for time in sorted(times)[:: max(1, len(times) // 400)]:
        if time >= total:
            continue
        least = occupancy(lives, program, time)
        most = occupancy(late, program, time)
        for name, low, high in zip(names, least, most):
            value = level(trace.counters[name], time)
            assert low <= value <= high, \
                f"{name} is {value} at {time}, between {low} and {high}"


def check_bench(trace, bench):
    assert f"{trace.other['total_us']:.6f}" == f"{bench['simulated_us']:.6f}"
    for key in ("instructions", "dma_count"):
        assert trace.other[key] == bench[key], key
    assert (trace.other["target"], trace.other["entry"]) == \
        (bench["target"], bench["entry"])
    total = int(trace.other["total_us"] * PS)
    ends = [one.end for one in trace.slices[QUEUE_TRACKS]]
    ends += [one.end for one in trace.slices[ENGINE_TRACKS]
             if one.args["operands"] and not one.insn.is_dma]
    assert not ends or total - LATENCY_PS <= max(ends) <= total, "another end"


# --- cases ----------------------------------------------------------------------


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
        assert trace.processes == {1: "engines", 2: "DMA queues",
                                   3: "DMA engines"}
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
