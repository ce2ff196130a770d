# SPDX-License-Identifier: Apache-2.0
"""What real models look at: pictures, lines of text, a voice, sentences.

All of it is drawn or synthesised here, without random numbers, and prepared as
the packages of the models prepare theirs. An image is uint8 [height, width, 3].
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


# --- pictures ----------------------------------------------------------------


def portrait(height, width):
    """Head and shoulders before a sky, with soft light."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(
        2, 1, 1)
    sky = np.stack([120 + 80 * y, 160 + 60 * y, 225 - 40 * y], axis=-1)
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)

    def box(cx, cy, rx, ry):
        return [(cx - rx) * width, (cy - ry) * height,
                (cx + rx) * width, (cy + ry) * height]

    draw.ellipse(box(0.5, 1.05, 0.38, 0.32), fill=(70, 90, 60))
    draw.rectangle(box(0.5, 0.70, 0.08, 0.12), fill=(205, 160, 130))
    draw.ellipse(box(0.5, 0.42, 0.20, 0.30), fill=(70, 45, 30))
    draw.ellipse(box(0.5, 0.46, 0.17, 0.25), fill=(225, 180, 150))
    for side in (-1, 1):
        draw.ellipse(box(0.5 + 0.07 * side, 0.42, 0.035, 0.018),
                     fill=(250, 250, 250))
        draw.ellipse(box(0.5 + 0.07 * side, 0.42, 0.015, 0.016),
                     fill=(40, 30, 25))
        draw.rectangle(box(0.5 + 0.07 * side, 0.38, 0.04, 0.006),
                       fill=(70, 45, 30))
    draw.polygon([(0.5 * width, 0.43 * height), (0.47 * width, 0.53 * height),
                  (0.53 * width, 0.53 * height)], fill=(205, 155, 125))
    draw.ellipse(box(0.5, 0.60, 0.06, 0.018), fill=(180, 70, 75))
    image = image.filter(ImageFilter.GaussianBlur(width / 200))
    light = 0.75 + 0.35 * (1 - np.hypot(x - 0.35, y - 0.3))[..., None]
    lit = np.asarray(image, np.float64) * light
    grain = 6 * np.sin(np.arange(height * width * 3) * 12.9898) ** 3
    return (lit + grain.reshape(lit.shape)).clip(0, 255).astype(np.uint8)


def room(height, width):
    """A room: straight edges of walls, a window, a table."""
    image = Image.new("RGB", (width, height), (210, 200, 185))
    draw = ImageDraw.Draw(image)

    def at(*points):
        return [(px * width, py * height) for px, py in points]

    draw.polygon(at((0, 1), (0.25, 0.7), (0.8, 0.7), (1, 1)), (140, 110, 85))
    draw.polygon(at((0, 0), (0.25, 0.15), (0.8, 0.15), (1, 0)), (235, 235, 230))
    draw.polygon(at((0.25, 0.15), (0.8, 0.15), (0.8, 0.7), (0.25, 0.7)),
                 (190, 185, 170))
    draw.rectangle([0.35 * width, 0.25 * height, 0.55 * width, 0.5 * height],
                   (150, 190, 230), (90, 80, 70), max(1, width // 100))
    draw.line(at((0.45, 0.25), (0.45, 0.5)), (90, 80, 70), max(1, width // 120))
    draw.polygon(at((0.3, 0.75), (0.7, 0.75), (0.78, 0.85), (0.22, 0.85)),
                 (95, 65, 45))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(width / 500)))


def text_line(text, height, width):
    """Dark text on paper, as one line that fills the height."""
    font = ImageFont.load_default(int(height * 0.7))
    image = Image.new("RGB", (width, height), (243, 240, 232))
    ImageDraw.Draw(image).text((height // 6, height // 12), text, (35, 35, 45),
                               font)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(height / 120)))


def page(lines, height, width):
    """Lines of text below each other, with margins."""
    image = Image.new("RGB", (width, height), (236, 233, 225))
    draw = ImageDraw.Draw(image)
    step = height // (len(lines) + 1)
    font = ImageFont.load_default(int(step * 0.6))
    for row, text in enumerate(lines):
        draw.text((width // 12, step // 2 + row * step), text, (30, 30, 40),
                  font)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)))


def planes(image, mean, scale):
    """NCHW from an image: (value - mean) * scale."""
    mean = np.asarray(mean, np.float32)
    scale = np.asarray(scale, np.float32)
    scaled = (image.astype(np.float32) - mean) * scale
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def pixels(image, mean, scale):
    """The same as NHWC."""
    return ((image.astype(np.float32) - np.asarray(mean, np.float32)) *
            np.float32(scale))[None]


# --- sound -------------------------------------------------------------------


def voice(rate, seconds):
    """Silence, a vowel that glides, silence: pulses of a larynx through three
    resonances."""
    count = int(rate * seconds)
    t = np.arange(count) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 1.5 * t)
    phase = np.cumsum(pitch) / rate
    pulse = np.diff(np.floor(phase), prepend=0.0)
    sound = np.zeros(count)
    for centre, width, gain in ((700, 110, 1.0), (1220, 130, 0.6),
                                (2600, 160, 0.3)):
        r = np.exp(-np.pi * width / rate)
        a1, a2 = 2 * r * np.cos(2 * np.pi * centre / rate), -r * r
        y1 = y2 = 0.0
        for i in range(count):
            y = pulse[i] + a1 * y1 + a2 * y2
            y2, y1 = y1, y
            sound[i] += gain * y
    loud = np.clip(np.minimum(t - 0.15, seconds - 0.1 - t) / 0.05, 0, 1)
    hiss = 1e-3 * np.sin(np.arange(count) ** 2 * 0.73)
    sound = 0.4 * loud * sound / np.abs(sound).max() + hiss
    return sound.astype(np.float32)


# --- language ----------------------------------------------------------------


def word_pieces(sentence, vocabulary, length):
    """Ids and mask of a sentence: words, cut greedily into pieces."""
    ids = [vocabulary["[CLS]"]]
    for word in sentence.lower().split():
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((e for e in range(len(word), start, -1)
                        if prefix + word[start:e] in vocabulary), None)
            if end is None:
                ids.append(vocabulary["[UNK]"])
                break
            ids.append(vocabulary[prefix + word[start:end]])
            start = end
    ids.append(vocabulary["[SEP]"])
    mask = [1] * len(ids) + [0] * (length - len(ids))
    ids += [0] * (length - len(ids))
    return (np.array([ids], np.int64), np.array([mask], np.int64))
