# SPDX-License-Identifier: Apache-2.0
"""What must hold of a trace, beside the program that was traced.

- Every executed instruction (the disassembly with its loops expanded) stands
  once, in order, with its text and its node, and every DMA and piece once.
- Slices of one track do not overlap, also not where times are cut to the
  nanoseconds that Perfetto keeps.
- The arrows into a wait bring what it waits for, from instructions that signal
  that semaphore, none more than it signals, and lie in the slices they join.
- Counters stay within the machine, follow from the slices, and end at zero.
- Times and counts are those of `imbrex bench`.
"""

import bisect
import json
from collections import Counter, defaultdict
from decimal import Decimal

from program import ENGINES, execute

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
