# SPDX-License-Identifier: Apache-2.0
"""Rules for what the host computes: texts, images. What only moves texts has
the rules that numbers have."""

import io

import numpy as np
import PIL.Image

from .build import WORDS
from .rules import rule


def texts(g, **wanted):
    return g.some("text", **wanted)


def word_list(g, count):
    return [WORDS[i] for i in g.rng.permutation(len(WORDS))[:count]]


@rule("StringConcat")
def concat(g, op, form):
    x = texts(g)
    y = g.partner(x)
    return g.one(op, *g.choice([(x, y), (y, x)]))


@rule("StringNormalizer")
def normalizer(g, op, form):
    shape = g.choice([[g.integer(1, 9)], [1, g.integer(1, 9)]])
    return g.one(op, texts(g, shape=shape),
                 case_change_action=g.choice([None, "NONE", "LOWER", "UPPER"]),
                 is_case_sensitive=g.choice([None, 0, 1]), locale="C",
                 stopwords=word_list(g, g.integer(1, 3))
                 if g.chance(0.6) else None)


@rule("StringSplit")
def split(g, op, form):
    x = texts(g, most_rank=3, least=1)
    return g.node(op, [x], 2, delimiter=g.choice([None, "", " ", "a", "bc"]),
                  maxsplit=g.choice([None, 1, 2]))[1]


@rule("RegexFullMatch")
def match(g, op, form):
    return g.one(op, texts(g), pattern=g.choice(
        ["[a-z]+", ".*", "a.*", "(ab|x)*.?", "[^ ]+( [^ ]+)*", "\\\\d+|.*c",
         "(?i)ABC.*", "", "\\\\w{2,4}"]).replace("\\\\", "\\"))


@rule("TfIdfVectorizer")
def vectorizer(g, op, form):
    whole = form.dtype(g, ("i32", "i64")) if g.chance(0.5) else "text"
    shape = g.choice([[g.integer(1, 12)], [g.integer(1, 3), g.integer(1, 12)]])
    x = texts(g, shape=shape) if whole == "text" else \
        g.fresh(whole, shape, 0, 4)
    pool = word_list(g, 5) if whole == "text" else list(range(5))
    longest = g.integer(1, 3)
    starts, grams = [], []
    for length in range(1, longest + 1):
        starts.append(len(grams))
        seen = set()
        for _ in range(g.integer(1, 4)):
            gram = tuple(g.choice(pool) for _ in range(length))
            if gram not in seen:
                seen.add(gram)
                grams += gram
    count = sum((end - start) // (i + 1) for i, (start, end) in enumerate(
        zip(starts, starts[1:] + [len(grams)])))
    name = "pool_strings" if whole == "text" else "pool_int64s"
    return g.one(op, x, mode=g.choice(["TF", "IDF", "TFIDF"]),
                 min_gram_length=g.integer(1, longest),
                 max_gram_length=longest, max_skip_count=g.integer(0, 2),
                 ngram_counts=starts,
                 ngram_indexes=[int(i) for i in g.rng.permutation(count)],
                 weights=np.round(g.rng.random(count) + 0.5, 2).tolist()
                 if g.chance(0.5) else None, **{name: grams})


@rule("CategoryMapper")
def category_mapper(g, op, form):
    words = word_list(g, g.integer(1, 5))
    numbers = [int(i) for i in g.rng.permutation(9)[:len(words)] - 3]
    x = texts(g) if g.chance(0.5) else g.fresh("i64", g.shape(), -4, 6)
    return g.one(op, x, domain=form.domain, cats_strings=words,
                 cats_int64s=numbers,
                 default_string="none" if x.dtype == "i64" else None,
                 default_int64=-1 if x.dtype == "text" else None)


def encode_texts(g, op, form):
    """LabelEncoder from texts, or to texts."""
    words = word_list(g, g.integer(1, 5))
    numbers = [int(i) for i in g.rng.permutation(9)[:len(words)] - 3]
    if g.chance(0.5):
        return g.one(op, texts(g), domain=form.domain, keys_strings=words,
                     values_int64s=numbers, default_int64=7)
    return g.one(op, g.fresh("i64", g.shape(), -4, 6), domain=form.domain,
                 keys_int64s=numbers, values_strings=words,
                 default_string=g.choice([None, "rest"]))


def one_hot_texts(g, op, form):
    return g.one(op, texts(g, least_rank=1, most_rank=2),
                 domain=form.domain, cats_strings=word_list(g, 5), zeros=1)


def parse_texts(g, op, form):
    """Cast from texts that are numbers, or of integers to texts."""
    if g.chance(0.5):
        x = g.fresh(g.choice(["i32", "i64", "i8", "u8"]), g.shape())
        return g.one(op, x, to=8)
    numbers = g.rng.integers(-99, 99, g.shape())
    as_float = g.chance(0.6)
    x = g.add(np.asarray((numbers / 4 if as_float else numbers).astype(
        str)).astype(object))
    return g.one(op, x, to=g.choice([1, 11]) if as_float else
                 g.choice([1, 6, 7]))


@rule("Tokenizer")
def tokenizer(g, op, form):
    x = texts(g, least_rank=1, most_rank=2, least=1)
    return g.one(op, x, domain=form.domain, mark=g.choice([0, 1]),
                 mincharnum=1, pad_value="#", separators=[g.choice(
                     [" ", "a", "b"])])


# --- images ------------------------------------------------------------------


@rule("ImageDecoder")
def image_decoder(g, op, form):
    """Of formats that every build reads; they lose nothing."""
    pixels = g.rng.integers(0, 256, [g.integer(1, 9), g.integer(1, 9), 3])
    file = io.BytesIO()
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(
        file, g.choice(["BMP", "PPM"]))
    return g.one(op, g.add(np.frombuffer(file.getvalue(), np.uint8)),
                 pixel_format=g.choice([None, "RGB", "BGR", "Grayscale"]))
