#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the promises of the README and prints them as Markdown tables.

    report.py --imbrex PROGRAM --models FOLDER [--only MODEL,...] [--quick]
              [--json FILE] [--update FILE]

One table of promises with their verdicts, one of every model, one of the
hand-written kernels. Figures are for ibx3. --quick takes fewer random orders
and measures no wall time against ONNX Runtime. --update writes the tables into
a file, between <!-- report --> and <!-- end of report -->. Exits with 1 when a
promise is not kept.
"""

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from run_models import MODES, command, is_quantised, run_one  # noqa: E402

TARGETS = ("ibx2", "ibx3", "ibx4")
PARTITIONS = 128
RATIO_LIMITS = {"resnet18": 3.0, "bert_base": 2.0}
WALL_LIMITS = {"resnet18": 10.0, "bert_base": 10.0}
MIB = 1 << 20
MUTATIONS = 100
SLOW = {"bert_base", "resnet18", "mobilenetv2", "ultraface"}

# Published times and tensor engine shares of the four versions of the fp32
# matrix product 4096 x 8192 x 8192, in the order of examples/kernels/.
KERNELS = {
    "matmul_1_naive": (39.89, None),
    "matmul_2_hoist": (28.20, 99.85),
    "matmul_3_block_mn": (28.41, 99.52),
    "matmul_4_block_mnk": (28.30, 99.50),
}
# Bytes a partition: published share of the rate at 32 KiB, in per cent.
SWEEP = {32: 1.4, 64: 2.6, 128: 5.0, 256: 10.3, 512: 20.6, 1024: 42.0,
         2048: 81.0, 4096: 96.6, 8192: 98.3, 16384: 99.0}


class Failed(Exception):
    """A command that should have worked did not."""


# The kernel starts a process' peak memory at that of the process that made it,
# so a small one in between makes the command and measures it.
LAUNCHER = """
import json, os, sys, time
start = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as out:
    json.dump([os.waitstatus_to_exitcode(status), time.monotonic() - start,
               usage.ru_maxrss], out)
"""


def run(line, **options):
    """Runs a command; returns its output, wall seconds and peak KiB."""
    with tempfile.NamedTemporaryFile() as figures:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, figures.name,
             *map(str, line)], capture_output=True, check=False, **options)
        code, seconds, kib = json.load(figures)
    if code:
        raise Failed(f"{' '.join(map(str, line[:3]))}: exit {code}: "
                     f"{done.stderr.decode(errors='replace').strip()[-400:]}")
    return done.stdout, seconds, kib


class Report:
    """Collects verdicts; a promise is kept when none of its parts fails."""

    def __init__(self):
        self.rows = {}
        self.mutations = {}
        self.lines = []

    def print(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def add(self, promise, kept, text):
        self.rows.setdefault(promise, []).append((bool(kept), text))

    def kept(self):
        return all(good for parts in self.rows.values() for good, _ in parts)

    def show(self):
        self.print("| promise | measured | kept |\n|---|---|---|")
        for promise, parts in self.rows.items():
            bad = [text for good, text in parts if not good]
            shown = bad or [text for _, text in parts]
            if len(shown) > 4:
                shown = shown[:3] + [f"and {len(shown) - 3} more"]
            text = "; ".join(shown).replace("|", "/").replace("\n", " ")
            self.print(f"| {promise} | {text} | {'NO' if bad else 'yes'} |")

    def update(self, path):
        """Puts the tables into a file in place of the last ones."""
        head, rest = path.read_text().split("<!-- report -->", 1)
        tail = rest.split("<!-- end of report -->", 1)[1]
        tables = "\n".join(self.lines).strip()
        path.write_text(f"{head}<!-- report -->\n\n{tables}\n\n"
                        f"<!-- end of report -->{tail}")


# --- one model ----------------------------------------------------------------


def sbuf_bytes(target="ibx3"):
    """Usable scratchpad of a target, from the machine's table."""
    text = (ROOT / "include" / "imbrex" / "machine.def").read_text()
    row = re.search(r"IBX_FACT\(sbuf_bytes,\s*\"[^\"]*\",([^D]*)D", text)[1]
    return int(row.split(",")[TARGETS.index(target)]) * PARTITIONS


def fits(folder, weight_bytes):
    """True when weights and the largest pair of neighbouring activations, at
    two bytes an element, fit in the scratchpad together."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(
        onnx.load(folder / "model.onnx")).graph
    size = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        size[value.name] = 2 * int(np.prod([max(d.dim_value, 1) for d in dims]))
    largest = max(sum(size.get(v, 0) for v in {*n.input, *n.output})
                  for n in graph.node)
    return weight_bytes + largest <= sbuf_bytes()


def runtime_seconds(folder, meta):
    """Median time of one run of ONNX Runtime on the CPU."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    feed = {row["name"]: np.load(folder / row["file"])
            for row in meta["inputs"]}
    times = []
    for _ in range(7):
        start = time.monotonic()
        session.run(None, feed)
        times.append(time.monotonic() - start)
    return statistics.median(times[1:])


def output_digest(imbrex, program, folder, meta, device):
    """Digest of all output bytes of one run on a device."""
    with tempfile.TemporaryDirectory() as scratch:
        line = [imbrex, "run", program, "--device", device,
                "--output-dir", scratch]
        for row in meta["inputs"]:
            line += ["--input", f"{row['name']}={folder / row['file']}"]
        run(line)
        digest = hashlib.sha256()
        for path in sorted(Path(scratch).iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


def made_locale(scratch):
    """An environment whose decimal point is a comma, if one can be made."""
    folder = Path(scratch) / "locale"
    folder.mkdir()
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"],
        capture_output=True, check=False)
    if made.returncode > 1:  # 1 is a warning
        return {}
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.UTF-8"}


class Model:
    """Everything that is measured of one model."""

    def __init__(self, options, report, name):
        self.options, self.report, self.name = options, report, name
        self.imbrex = options.imbrex
        self.folder = options.models / name
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.quantised = is_quantised(self.folder)
        self.row = {"model": name}

    def compile(self, out, target="ibx3", mode="bf16", **options):
        cast = MODES["fp32" if self.quantised else mode]
        line = command(self.imbrex, "compile", self.folder, self.meta,
                       [*cast, "--target", target, "-o", out])
        return run(line, **options)

    def measure(self, scratch):
        self.outputs()
        self.compiler(scratch)
        self.determinism(scratch)
        self.orders(scratch)
        self.bench(scratch)
        self.mutations(scratch)

    def outputs(self):
        for mode in ("fp32",) if self.quantised else MODES:
            promise = ("outputs, int8 QDQ: within one step" if self.quantised
                       else f"outputs, {mode}: " + (
                           "error at most 1e-4 of the range" if mode == "fp32"
                           else "2-norm error at most 0.03"))
            for target in TARGETS:
                try:
                    rows = run_one(self.imbrex, self.folder, self.meta, target,
                                   mode)
                except (OSError, RuntimeError, ValueError) as error:
                    self.report.add(promise, False,
                                    f"{self.name} {target}: {error}")
                    continue
                worst = max(error for _, error, _ in rows)
                good = all(error <= limit for _, error, limit in rows)
                self.report.add(promise, good,
                                f"{self.name} {target} {worst:.1e}")
                if target == "ibx3":
                    self.row[f"error_{mode}"] = worst

    def compiler(self, scratch):
        size = (self.folder / "model.onnx").stat().st_size
        limit = 2.5 * size + 150 * MIB
        # Whatever else the machine does only adds time: the best of three.
        runs = [self.compile(scratch / "a.ibx") for _ in range(3)]
        seconds, kib = min(r[1] for r in runs), max(r[2] for r in runs)
        self.row |= {"compile_s": seconds, "compile_mib": kib / 1024}
        self.report.add("compile: at most 3 s", seconds <= 3,
                        f"{self.name} {seconds:.2f} s")
        self.report.add("compile: at most 2.5 x file + 150 MiB",
                        kib * 1024 <= limit, f"{self.name} {kib / 1024:.0f} of "
                        f"{limit / MIB:.0f} MiB")
        for target in TARGETS:
            for mode in ("fp32",) if self.quantised else MODES:
                out = scratch / "proved.ibx"
                self.compile(out, target, mode)
                try:
                    run([self.imbrex, "prove", out])
                    good = True
                except Failed:
                    good = False
                self.report.add("prove accepts every program", good,
                                f"{self.name} {target} {mode}")

    def determinism(self, scratch):
        elsewhere = scratch / "elsewhere"
        elsewhere.mkdir()
        environment = os.environ | {"OMP_NUM_THREADS": "1",
                                    "OPENBLAS_NUM_THREADS": "1"}
        environment |= made_locale(scratch)
        os.symlink(self.folder / "model.onnx", elsewhere / "model.onnx")
        line = command(self.imbrex.resolve(), "compile", self.folder, self.meta,
                       [*MODES["fp32" if self.quantised else "bf16"],
                        "-o", "b.ibx"])
        line[2] = "model.onnx"
        run(["taskset", "1", *line], cwd=elsewhere, env=environment)
        same = ((scratch / "a.ibx").read_bytes()
                == (elsewhere / "b.ibx").read_bytes())
        self.report.add("two compiles: the same bytes", same, self.name)

    def orders(self, scratch):
        program = scratch / "a.ibx"
        digest = lambda uri: output_digest(self.imbrex, program, self.folder,
                                           self.meta, uri)
        want = digest("sim:")
        seeds = 3 if self.options.quick else 20
        bad = [seed for seed in range(seeds)
               if digest(f"sim:?order=random&seed={seed}") != want]
        self.report.add("random and adversarial orders: the same bytes",
                        not bad, f"{self.name}, {seeds} seeds"
                        + (f", differs with {bad}" if bad else ""))
        self.report.add("random and adversarial orders: the same bytes",
                        digest("sim:?order=adversarial") == want,
                        f"{self.name} adversarial")

    def mutations(self, scratch):
        """Counts what becomes of seeded damage; large models take fewer."""
        tool = self.imbrex.with_name("imbrex-mutate")
        quick = self.options.quick or self.name in SLOW
        done = subprocess.run(
            [tool, scratch / "a.ibx", "--count", "5" if quick else "20",
             "--samples", "2" if quick else "25",
             "--orders", "3" if self.options.quick else "20"],
            capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise Failed(f"imbrex-mutate: {done.stderr.strip()[-300:]}")
        for kind, counts in json.loads(done.stdout).items():
            if kind == "first_bug":
                continue
            total = self.report.mutations.setdefault(kind, {})
            for key, value in counts.items():
                total[key] = total.get(key, 0) + value

    def bench(self, scratch):
        extra = [] if self.options.quick else ["--wall"]
        text, _, _ = run([self.imbrex, "bench", scratch / "a.ibx", "--json",
                          *extra])
        bench = json.loads(text)
        moved = bench["hbm_read_bytes"] + bench["hbm_write_bytes"]
        over = moved / bench["hbm_min_bytes"]
        limit = 1.1 if fits(self.folder, bench["weight_bytes"]) else 1.5
        self.row |= {key: bench[key] for key in (
            "simulated_us", "bound_us", "bound_by", "ratio", "engine_ratio",
            "program_bytes", "launch_us")}
        self.row |= {"hbm_over_min": over, "engines": bench["engines"]}
        self.report.add("HBM bytes, bf16: at most 1.1 of the minimum where all "
                        "fits in SBUF, else 1.5", over <= limit,
                        f"{self.name} {over:.3f} of {limit}")
        if not self.quantised:
            calls = bench["host_segments"] + bench["gpsimd_calls"]
            self.report.add("float networks: no host segment, no library call",
                            not calls, f"{self.name} "
                            f"{[c['op'] for c in calls] or 'none'}")
        if self.name in RATIO_LIMITS:
            most = RATIO_LIMITS[self.name]
            self.report.add("simulated time over bound, bf16",
                            bench["ratio"] <= most,
                            f"{self.name} {bench['ratio']:.2f} of {most}")
        if not self.options.quick:
            ratio = bench["wall_us"] / 1e6 / runtime_seconds(self.folder,
                                                             self.meta)
            self.row["wall_over_ort"] = ratio
            if self.name in WALL_LIMITS:
                most = WALL_LIMITS[self.name]
                self.report.add("simulator wall time over ONNX Runtime's",
                                ratio <= most, f"{self.name} {ratio:.1f} of "
                                f"{most:.0f}")


# --- damage -------------------------------------------------------------------


def mutations(report, whole):
    """The verdict on all mutations; a part of the models need not make 100."""
    for kind, counts in report.mutations.items():
        tried = sum(counts.values()) - counts["impossible"]
        good = counts["accepted_different"] == 0 and (
            not whole or tried >= MUTATIONS)
        report.add("prove rejects damage, or it makes no difference", good,
                   f"{kind}: {counts['rejected']} of {tried} rejected, "
                   f"{counts['accepted_equal']} harmless in every order, "
                   f"{counts['accepted_untried']} not tried, "
                   f"{counts['accepted_different']} missed")


def bad_input(options, report):
    """Models and programs that must be refused, counted."""
    script = ROOT / "tests" / "bad_input" / "run.py"
    text, _, _ = run([sys.executable, script, "--imbrex", options.imbrex,
                      "--protoc", "protoc"])
    last = text.decode().strip().splitlines()[-1]
    count = int(re.search(r"\d+", last)[0])
    report.add("bad input: at least 40 cases refused, no crash, no file",
               count >= 40, last)


# --- kernels in assembly ------------------------------------------------------


def assemble_and_bench(imbrex, source, scratch, *options):
    program = scratch / (source.stem + ".ibx")
    run([imbrex, "asm", source, "-o", program])
    text, _, _ = run([imbrex, "bench", program, "--json", *options])
    return json.loads(text)


def kernels(options, report, scratch):
    """The published kernels and the DMA sweep; returns table rows."""
    folder = ROOT / "examples" / "kernels"
    rows = []
    for name, (published_ms, tensor_share) in KERNELS.items():
        bench = assemble_and_bench(options.imbrex, folder / f"{name}.s", scratch)
        time_us = bench["simulated_us"]
        share = {engine: 100 * busy / time_us
                 for engine, busy in bench["engines"].items()}
        off = 100 * (time_us / 1000 / published_ms - 1)
        report.add("kernels: time within 3 % of the published", abs(off) <= 3,
                   f"{name} {time_us / 1000:.2f} ms ({off:+.1f} %)")
        if tensor_share:
            report.add("kernels: tensor engine busy within 3 points",
                       abs(share["tensor"] - tensor_share) <= 3,
                       f"{name} {share['tensor']:.1f} for {tensor_share} %")
        rows.append([name, f"{time_us / 1000:.2f}", f"{published_ms:.2f}",
                     f"{share['tensor']:.1f}", str(tensor_share or "-"),
                     f"{share['dma']:.1f}",
                     f"{(bench['hbm_read_bytes'] + bench['hbm_write_bytes']) / 1e9:.2f}"])

    sweep = folder / "dma_sweep.s"
    full = assemble_and_bench(options.imbrex, sweep, scratch,
                              "--entry", "bytes_32768")["simulated_us"] / 32768
    for size, published in SWEEP.items():
        bench = assemble_and_bench(options.imbrex, sweep, scratch,
                                   "--entry", f"bytes_{size}")
        share = 100 * full / (bench["simulated_us"] / size)
        report.add("DMA sweep: within 10 % of the ten published points",
                   abs(share / published - 1) <= 0.1,
                   f"{size} B {share:.1f} for {published} %")
    return rows


# --- tables -------------------------------------------------------------------


def table(report, head, rows):
    report.print("\n| " + " | ".join(head) + " |")
    report.print("|" + "---|" * len(head))
    for row in rows:
        report.print("| " + " | ".join(row) + " |")


def model_table(report, rows):
    def figure(row, key, text):
        return format(row[key], text) if key in row else "-"

    columns = [("simulated us", "simulated_us", ".1f"),
               ("bound us", "bound_us", ".1f"), ("bound by", "bound_by", "s"),
               ("ratio", "ratio", ".2f"), ("engine ratio", "engine_ratio", ".2f"),
               ("HBM / min", "hbm_over_min", ".3f"),
               ("fp32 error", "error_fp32", ".1e"),
               ("bf16 error", "error_bf16", ".1e"),
               ("compile s", "compile_s", ".2f"), ("MiB", "compile_mib", ".0f"),
               ("sim wall / ORT", "wall_over_ort", ".1f")]
    table(report, ["model"] + [title for title, _, _ in columns],
          [[row["model"]] + [figure(row, key, text) for _, key, text in columns]
           for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", help="comma-separated models, or 'kernels'")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--update", type=Path, help="write the tables there")
    options = parser.parse_args()
    options.imbrex = options.imbrex.resolve()
    options.models = options.models.resolve()
    made = sorted(p.parent.name for p in options.models.glob("*/meta.json"))
    names = options.only.split(",") if options.only else made + ["kernels"]

    report, rows, kernel_rows = Report(), [], []
    for name in names:
        print(f"report: {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                if name == "kernels":
                    kernel_rows = kernels(options, report, Path(scratch))
                    continue
                model = Model(options, report, name)
                rows.append(model.row)
                model.measure(Path(scratch))
            except (Failed, OSError, KeyError, ValueError) as error:
                report.add("every measurement can be made", False,
                           f"{name}: {error}")
    try:
        mutations(report, whole=not options.only)
        if not options.only:
            bad_input(options, report)
    except (Failed, OSError, TypeError) as error:
        report.add("every measurement can be made", False, str(error))
    report.show()
    model_table(report, rows)
    if kernel_rows:
        table(report, ["kernel", "ms", "published", "tensor %", "published", "DMA %",
               "GB moved"], kernel_rows)
    if options.json:
        options.json.write_text(json.dumps(
            {"models": rows, "promises": report.rows}, indent=1) + "\n")
    if options.update:
        report.update(options.update)
    return 0 if report.kept() else 1


if __name__ == "__main__":
    sys.exit(main())
