#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random ONNX graphs, compiled, run on the simulator and compared.

    random_graphs.py --imbrex PROGRAM --server PROGRAM --work FOLDER
                     [--seed FIRST] [--count N] [--twins N] [--only NAMES]
                     [--models FOLDER]

Each seed is one graph of the operators in `imbrex ops`, with the numbers that
others compute for it (graphs/reference.py). What is wrong is made smaller,
stored below the work folder and told with its seed. --twins breaks the model of
each seed in one place: it must be refused with the node named, or be right
nevertheless. --models has it break the models below a folder instead, one
after the other, of which onnx_suite.py leaves one for each operator. A valid
graph that is refused counts, unless its reason stands in graphs/limits.py.
--only takes names of operators, domains and patterns, with commas.
"""

import argparse
import collections
import multiprocessing
import re
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

warnings.filterwarnings("ignore")
from graphs import compare, limits, server, twins, verdict  # noqa: E402
from graphs.make import Table, make_graph  # noqa: E402
from graphs.reduce import make_part, reduce  # noqa: E402

OK = 0


def ways(seed, infinite=False):
    """How a graph is compiled and run: targets, levels, orders differ. The
    array of ibx2 multiplies what it transposes: inputs must be finite there."""
    rng = np.random.default_rng([seed, 1])
    return {"target": int(rng.choice([1, 1, 1, 1 if infinite else 0, 2])),
            "level": int(rng.choice([2, 2, 2, 1, 0])),
            "seed": int(rng.choice([0, 0, 7 + seed % 1000]))}


class Finding:
    """What is wrong with a part: `kind` is mismatch, crash or refused."""

    def __init__(self, kind, text):
        self.kind, self.text = kind, text

    def same(self, other):
        if other is None or other.kind != self.kind:
            return False
        return self.kind != "refused" or \
            self.text.split()[0] == other.text.split()[0]


def judge_reply(reply, outputs):
    if reply.status != OK:
        return Finding("refused", reply.reason)
    outputs = compare.tensors(outputs)
    if len(reply.outputs) != len(outputs):
        return Finding("mismatch", f"{len(reply.outputs)} outputs")
    for value, got in zip(outputs, reply.outputs):
        text = compare.difference(value, got)
        if text:
            return Finding("mismatch", f"{value.name}: {text}")
    return None


class Run:
    def __init__(self, options):
        self.table = Table(options.imbrex)
        self.server = server.Server(options.server)
        self.others = verdict.Others()
        self.work, self.options = options.work, options
        self.models = sorted(options.models.rglob("*.onnx")) \
            if options.models else []
        self.counts = collections.Counter()
        self.groups = collections.Counter()

    def check(self, part, seed, what=server.RUN):
        """The finding of a part, or None."""
        try:
            reply = self.server.ask(
                what, part.model().SerializeToString(),
                [v.array for v in part.inputs()],
                **ways(seed, part.graph.infinite))
        except server.Crash as crash:
            return Finding("crash", str(crash))
        return judge_reply(reply, part.outputs)

    def graph(self, seed):
        g, outputs = make_graph(seed, self.table, self.options.only)
        ops = [n.op for n in g.nodes]
        self.judged = g.judge.counts
        finding = self.check(make_part(g, outputs, []), seed)
        if finding is None:
            self.counts["pass"] += 1
        elif finding.kind == "refused" and limits.reason(finding.text, ops):
            self.counts["refused, a limit"] += 1
            self.groups[f"limit: {limits.reason(finding.text, ops)}"] += 1
        else:
            self.counts[finding.kind] += 1
            part = reduce(g, outputs, lambda p: finding.same(
                self.check(p, seed)))
            self.tell(seed, part, self.check(part, seed) or finding)

    def tell(self, seed, part, finding):
        ops = " ".join(n.op for n in part.graph.nodes)
        kernels = ""
        if finding.kind == "mismatch":
            other = self.check(part, seed, server.EVALUATE)
            kernels = " (reference kernels: " + \
                (f"also: {other.text})" if other else "right)")
        shape = re.sub(r"\d+", "N", finding.text)[:150] \
            if finding.kind == "refused" else ""
        self.groups[f"{finding.kind}: {ops} {shape}"] += 1
        how = " ".join(f"{k}={v}" for k, v in
                       ways(seed, part.graph.infinite).items())
        text = f"seed {seed} ({how}): {finding.kind}: {ops}: " \
               f"{finding.text}{kernels}"
        print(text, flush=True)
        folder = self.work / str(seed)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(part.model().SerializeToString())
        (folder / "finding").write_text(
            f"{text}\n{self.repeat(seed, '--count 1')}")
        for kind, values in (("input", part.inputs()),
                             ("output", part.outputs)):
            for i, value in enumerate(values):
                if value.is_tensor:
                    np.save(folder / f"{kind}_{i}.npy", value.array)

    def twin(self, seed):
        """A broken twin of the graph of the seed, or of a model of a folder."""
        model, arrays = self.whole(seed)
        rng = np.random.default_rng([seed, 2])
        try:
            data, what = twins.broken(rng, model)
        except (AttributeError, IndexError, TypeError, ValueError):
            # No proto holds it, or the first break left nothing to break.
            self.counts["no twin"] += 1
            return
        try:
            reply = self.server.ask(server.COMPILE, data, **ways(seed))
        except server.Crash as crash:
            self.tell_twin(seed, data, "crash", f"{what}: {crash}")
            return
        if reply.status != OK:
            self.refused_twin(seed, data, what, reply)
            return
        text = self.run_twin(data, arrays, seed)
        if text:
            self.tell_twin(seed, data, "mismatch", f"{what}: {text}")
        else:
            self.counts["compiled twin"] += 1

    def whole(self, seed):
        """The model that is broken, and its inputs by name."""
        if self.options.models is None:
            g, outputs = make_graph(seed, self.table, self.options.only)
            part = make_part(g, outputs, [])
            return part.model(), {v.name: v.array for v in part.inputs()}
        path = self.models[seed % len(self.models)]
        model = onnx.load(path)
        arrays = {}
        for i, value in enumerate(model.graph.input):
            data = path.parent / "test_data_set_0" / f"input_{i}.pb"
            if data.exists() and value.type.HasField("tensor_type"):
                arrays[value.name] = numpy_helper.to_array(
                    onnx.TensorProto.FromString(data.read_bytes()))
        return model, arrays

    def refused_twin(self, seed, data, what, reply):
        """Every refusal has a code, and names what is wrong."""
        named = [d for d in reply.diagnostics
                 if d.severity == 0 and (d.node or re.search(r"'.+'|opset|name",
                                                             d.message))]
        if reply.diagnostics and named or reply.message.startswith("node "):
            self.counts["refused twin"] += 1
        else:
            self.tell_twin(seed, data, "unnamed", f"{what}: {reply.reason}")

    def run_twin(self, data, arrays, seed):
        """What is wrong with what a twin computes, or None."""
        feeds = verdict.feeds(data, arrays)
        if feeds is None:
            return None
        arrays = list(feeds.values())
        try:
            got = self.server.ask(server.RUN, data, arrays, **ways(seed))
            own = self.server.ask(server.EVALUATE, data, arrays)
        except server.Crash as crash:
            return f"crash: {crash}"
        want = self.others.ask(verdict.runtime, data, feeds)
        if got.status != OK:
            return None if own.status != OK else f"runs not: {got.message}"
        judge, text = "the reference kernels", ""
        if want is None:
            text = self.far_off(data, got.outputs, own.outputs, bounds=True)
        else:
            judge, text = "ONNX Runtime", self.far_off(data, got.outputs, want)
            other = self.others.ask(verdict.reference, data, feeds) \
                if text else None
            if other is not None and \
                    not self.far_off(data, got.outputs, other):
                judge, text = "the onnx package alone", None
        self.groups[f"compiled twins judged by {judge}"] += 1
        return text

    @staticmethod
    def far_off(data, got, want, bounds=False):
        """What is wrong with outputs, or None. `bounds`: where the data decide
        an extent, the kernels know the most that it may be."""
        for i, (a, b) in enumerate(zip(got, want)):
            if bounds and a.shape != b.shape and a.ndim == b.ndim and \
                    all(x <= y for x, y in zip(a.shape, b.shape)):
                continue
            text = compare.gross(b, a)
            same = a.shape == b.shape and a.dtype == b.dtype
            if text and not (same and verdict.is_open(data, b)):
                return f"output {i} {text}"
        return None

    def tell_twin(self, seed, data, kind, text):
        self.counts[kind] += 1
        print(f"twin {seed}: {kind}: {text}", flush=True)
        folder = self.work / f"twin_{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)
        (folder / "finding").write_text(
            f"{kind}: {text}\n"
            f"{self.repeat(seed, '--count 0 --twins 1' + self.folder)}")

    @property
    def folder(self):
        return f" --models {self.options.models}" if self.models else ""

    def repeat(self, seed, what):
        return f"repeat: {Path(__file__).name} --imbrex " \
               f"{self.options.imbrex} --server {self.options.server} " \
               f"--work {self.work} --seed {seed} {what}" + (
                   f" --only {','.join(sorted(self.options.only))}\n"
                   if self.options.only else "\n")

    def end(self):
        """What the server says as it ends counts: it may have leaked."""
        text = self.server.end()
        if text not in ("", "exit 0: "):
            self.counts["crash"] += 1
            print(f"crash: {text}", flush=True)


def work(options, jobs, found, pipe):
    """Does the jobs, and sends what was found so far after each."""
    run = Run(options)
    run.counts, run.groups = found
    for kind, seed in jobs:
        getattr(run, kind)(seed)
        if (seed - options.seed + 1) % 1000 == 0:
            print(f"{seed - options.seed + 1} {kind}s: {dict(run.counts)}",
                  flush=True)
        pipe.send(found)
    run.end()
    pipe.send(found)


def run_all(options, jobs):
    """Does all jobs in a process of its own. ONNX Runtime may end it, at a
    graph that it should refuse: then another goes on with the next one."""
    fork = multiprocessing.get_context("fork")
    found = collections.Counter(), collections.Counter()
    at = 0
    while True:
        mine, other = fork.Pipe(duplex=False)
        worker = fork.Process(target=work,
                              args=(options, jobs[at:], found, other))
        worker.start()
        other.close()
        try:
            while True:
                found = mine.recv()
                at += 1
        except EOFError:
            worker.join()
        if at > len(jobs):
            return found
        if worker.exitcode > 0 or at == len(jobs):
            sys.exit(f"the worker ends with {worker.exitcode}")
        kind, seed = jobs[at]
        print(f"{kind} {seed}: ONNX Runtime ends the process", flush=True)
        found[0]["ended by ONNX Runtime"] += 1
        at += 1


def report(options, found, seconds):
    counts, groups = found
    print(f"{sum(counts.values())} graphs in {seconds:.0f} s: " +
          ", ".join(f"{n} {k}" for k, n in counts.most_common()))
    for group, count in groups.most_common(60):
        print(f"{count:6} {group}")
    print("operators without a rule: " +
          " ".join(Table(options.imbrex).without_rule()))
    bad = [k for k in counts
           if k in ("mismatch", "crash", "refused", "unnamed")]
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--twins", type=int, default=0)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--only", type=lambda s: set(s.split(",")))
    options = parser.parse_args()
    start = time.monotonic()
    jobs = [("graph", options.seed + i) for i in range(options.count)] + \
        [("twin", options.seed + i) for i in range(options.twins)]
    found = run_all(options, jobs)
    return report(options, found, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
