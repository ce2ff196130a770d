# SPDX-License-Identifier: Apache-2.0
"""Rules for ai.onnx.ml: attributes hold the whole model, the operand is rows of
features."""

import numpy as np
import onnx

from .build import DTYPES, FLOATS, WORDS, OneMap
from .rules import rule
from .rules_host import encode_texts, one_hot_texts

AFTER = [None, "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]


def numbers(g, count, low=-2, high=2):
    return np.round(low + (high - low) * g.rng.random(count),
                    3).astype(np.float32).tolist()


def rows(g, form, most=40, limit=50):
    return g.some(form.dtype(g), rank=2, least=1, low=-limit, high=limit,
                  where=lambda v: v.shape[1] <= most and v.shape[0] <= 400)


def labels(g, count):
    return [int(i) for i in g.rng.permutation(20)[:count] - 5]


def labelled(g, name, count):
    """The attribute with the labels, which are numbers or texts."""
    if g.chance(0.25):
        return {"classlabels_strings": WORDS[:count]}
    return {name: labels(g, count)}


@rule("Scaler")
def scaler(g, op, form):
    x = rows(g, form)
    counts = [g.choice([1, x.shape[1]]) for _ in range(2)]
    return g.one(op, x, domain=form.domain, offset=numbers(g, counts[0]),
                 scale=numbers(g, counts[1]))


@rule("Normalizer")
def normalizer(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, most_rank=2, least=1)
    g.need(np.abs(x.array.astype(np.float64)).sum(axis=-1).min() > 0.05)
    g.need(x.within(-2 ** 15, 2 ** 15))  # ONNX Runtime squares integers as such
    return g.one(op, x, domain=form.domain,
                 norm=g.choice([None, "MAX", "L1", "L2"]))


@rule("Imputer")
def imputer(g, op, form):
    x = rows(g, form)
    whole = x.dtype in ("i32", "i64")
    count = g.choice([1, x.shape[1]])
    # The machine compares f64 as fp32.
    at_hand = x.dtype != "f64" and g.chance(0.6)
    old = g.choice(x.array.reshape(-1).tolist()) if at_hand else 7
    if whole:
        g.need(x.dtype == "i64")  # nobody computes the others
        return g.one(op, x, domain=form.domain, imputed_value_int64s=[
            g.integer(-9, 9) for _ in range(count)],
            replaced_value_int64=int(old))
    if g.chance(0.3):
        old = float("nan")
        at = g.rng.random(x.shape) < 0.2
        x = g.add(np.where(at, np.nan, x.array).astype(x.array.dtype))
        x.private = True
    return g.one(op, x, domain=form.domain, replaced_value_float=float(old),
                 imputed_value_floats=numbers(g, count))


@rule("FeatureVectorizer")
def feature_vectorizer(g, op, form):
    x = rows(g, form)
    parts = [x] + [g.some(x.dtype, shape=[x.shape[0], g.integer(1, 6)])
                   for _ in range(g.integer(0, 2))]
    return g.one(op, *parts, domain=form.domain,
                 inputdimensions=[p.shape[1] if g.chance(0.8) else
                                  g.integer(1, 8) for p in parts])


@rule("OneHotEncoder")
def one_hot_encoder(g, op, form):
    kind = form.dtype(g)
    if kind == "text":
        return one_hot_texts(g, op, form)
    x = g.fresh(kind, g.shape(g.integer(1, 2), most=300, least=1), -3, 4)
    if x.dtype in FLOATS:
        x = g.add(np.round(x.array))
    return g.one(op, x, domain=form.domain, zeros=g.choice([None, 1]),
                 cats_int64s=[int(c) for c in g.rng.permutation(8) - 3])


@rule("LabelEncoder")
def label_encoder(g, op, form):
    if form.since < 2 or g.chance(0.3):
        g.need(form.since >= 2)
        return encode_texts(g, op, form)
    kind = form.dtype(g, ("f32", "i64"))
    to = g.choice(["f32", "i64"])
    keys = [int(k) for k in g.rng.permutation(12)[:g.integer(1, 9)] - 4]
    values = [g.integer(-30, 30) for _ in keys]
    x = g.fresh(kind, g.shape(g.integer(0, 3), most=600), -5, 8)
    if kind == "f32":
        x = g.add(np.round(x.array).astype(np.float32))
    words = {"f32": "float", "i64": "int64"}
    default = g.integer(-9, 9)
    if form.since >= 4 and g.chance(0.6):
        def tensor(items, dtype, shape=(-1,)):
            return onnx.numpy_helper.from_array(
                np.array(items, DTYPES[dtype]).reshape(shape))
        return g.one(op, x, domain=form.domain,
                     keys_tensor=tensor(keys, kind),
                     values_tensor=tensor(values, to),
                     default_tensor=tensor([default], to))
    number = float if to == "f32" else int
    return g.one(op, x, domain=form.domain, **{
        f"keys_{words[kind]}s": [float(k) if kind == "f32" else k
                                 for k in keys],
        f"values_{words[to]}s": [number(v) for v in values],
        f"default_{words[to]}": number(default)})


# --- sums of products --------------------------------------------------------


@rule("LinearRegressor")
def linear_regressor(g, op, form):
    x = rows(g, form)
    targets = g.choice([1, 1, 2, 5])
    return g.one(op, x, domain=form.domain, targets=g.choice(
        [targets, targets if targets > 1 else None]),
        coefficients=numbers(g, targets * x.shape[1]),
        intercepts=numbers(g, targets) if g.chance(0.7) else None)


@rule("LinearClassifier")
def linear_classifier(g, op, form):
    x = rows(g, form, 12, 9)
    classes = g.choice([2, 3, 4])
    lines = 1 if classes == 2 and g.chance(0.4) else classes
    return g.node(op, [x], 2, domain=form.domain,
                  coefficients=numbers(g, lines * x.shape[1], -0.5, 0.5),
                  intercepts=numbers(g, lines),
                  **labelled(g, "classlabels_ints", classes),
                  post_transform=g.choice(AFTER),
                  multi_class=g.choice([None, 0, 1]))[1]


def kernel(g, features):
    name = g.choice(["LINEAR", "POLY", "RBF", "SIGMOID"])
    gamma = float(np.float32(g.choice([0.1, 0.5]) / features))
    params = [gamma, g.choice([0.0, 0.5]), float(g.choice([1, 2, 3]))]
    return {"kernel_type": name, "kernel_params": params}


@rule("SVMRegressor")
def svm_regressor(g, op, form):
    x = rows(g, form, 12)
    attrs = kernel(g, x.shape[1])
    count = g.choice([1, 2, 5])
    if g.chance(0.2):  # weights, no vectors
        attrs["kernel_type"] = "LINEAR"
        attrs["coefficients"] = numbers(g, x.shape[1])
    else:
        attrs.update(n_supports=count, coefficients=numbers(g, count),
                     support_vectors=numbers(g, count * x.shape[1]))
    return g.one(op, x, domain=form.domain, rho=numbers(g, 1),
                 one_class=g.choice([None, None, 1]), **attrs)


@rule("SVMClassifier")
def svm_classifier(g, op, form):
    x = rows(g, form, 8)
    classes = g.choice([2, 3])
    pairs = classes * (classes - 1) // 2
    counts = [g.integer(1, 3) for _ in range(classes)]
    count = sum(counts)
    probable = {n: numbers(g, pairs) for n in ("prob_a", "prob_b")} \
        if g.chance(0.4) else {}
    return g.node(op, [x], 2, domain=form.domain,
                  **labelled(g, "classlabels_ints", classes),
                  vectors_per_class=counts,
                  coefficients=numbers(g, count * (classes - 1)),
                  support_vectors=numbers(g, count * x.shape[1]),
                  rho=numbers(g, pairs), **probable,
                  post_transform=g.choice(AFTER[:2]),
                  **kernel(g, x.shape[1]))[1]


@rule("ZipMap")
def zip_map(g, op, form):
    x = g.some(form.dtype(g), least_rank=1, most_rank=2, least=1,
               where=lambda v: v.shape[-1] <= 8)
    return g.one(op, x, domain=form.domain,
                 **labelled(g, "classlabels_int64s", x.shape[-1]))


@rule("DictVectorizer", "CastMap")
def from_map(g, op, form):
    g.need(g.outer is None)
    count = g.integer(1, 6)
    numbers_ = g.rng.integers(-9, 9, [1, count]).astype(np.float32)
    x = g.add(OneMap(numbers_, onnx.TensorProto.INT64), "input")
    if op == "DictVectorizer":
        return g.one(op, x, domain=form.domain,
                     int64_vocabulary=labels(g, count))
    return g.one(op, x, domain=form.domain, map_form="SPARSE", max_map=count,
                 cast_to=g.choice(["TO_FLOAT", "TO_INT64"]))


# --- trees -------------------------------------------------------------------


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ",
         "BRANCH_NEQ"]


def perhaps_missing(g, x):
    """x, or a copy in which some numbers are missing."""
    if x.dtype not in FLOATS or g.chance(0.75):
        return x
    at = g.rng.random(x.shape) < 0.2
    x = g.add(np.where(at, np.nan, x.array).astype(x.array.dtype))
    x.private = True
    return x


class Trees:
    """Nodes in columns, and the leaves with them."""

    def __init__(self, g, features):
        self.g, self.features, self.leaves = g, features, []
        self.columns = {n: [] for n in (
            "treeids", "nodeids", "featureids", "modes", "values",
            "truenodeids", "falsenodeids", "missing_value_tracks_true")}
        # Those of a kind are computed together.
        self.modes = g.choice([MODES[:1], MODES[:1], MODES[:4], MODES])
        for tree in range(g.choice([1, 2, 5, 12])):
            self.count = 0
            self.add(tree, g.integer(0, 4))

    def add(self, tree, depth):
        g, at = self.g, self.count
        self.count += 1
        leaf = depth == 0 or g.chance(0.2)
        row = {"treeids": tree, "nodeids": at, "truenodeids": 0,
               "featureids": 0 if leaf else g.integer(0, self.features - 1),
               "modes": "LEAF" if leaf else g.choice(self.modes),
               "values": 0.0 if leaf else g.choice([-1.0, 0.0, 0.25, 0.5, 1.0,
                                                    2.0]),
               "falsenodeids": 0,
               "missing_value_tracks_true": 0 if leaf else g.integer(0, 1)}
        for name, column in self.columns.items():
            column.append(row[name])
        place = len(self.columns["modes"]) - 1
        if leaf:
            self.leaves.append((tree, at))
            return at
        self.columns["truenodeids"][place] = self.add(tree, depth - 1)
        self.columns["falsenodeids"][place] = self.add(tree, depth - 1)
        return at

    def attrs(self, votes, ids, count, few=False):
        """`ids`: of `count` targets or classes. Each leaf votes for all, or,
        where `few`, for some. What then becomes of a target without a vote is
        told for sums without a base alone."""
        g, found = self.g, {f"nodes_{n}": c for n, c in self.columns.items()}
        if g.chance(0.4):
            del found["nodes_missing_value_tracks_true"]
        rows_ = [(t, n, i) for t, n in self.leaves for i in range(count)
                 if not few or i == (t + n) % count or g.chance(0.3)]
        found.update({f"{votes}_treeids": [r[0] for r in rows_],
                      f"{votes}_nodeids": [r[1] for r in rows_],
                      ids: [r[2] for r in rows_],
                      f"{votes}_weights": numbers(g, len(rows_))})
        if not few and g.chance(0.4):
            found["base_values"] = numbers(g, count)
        return found


@rule("TreeEnsembleRegressor")
def tree_regressor(g, op, form):
    x = perhaps_missing(g, rows(g, form))
    targets = g.choice([1, 1, 2, 3])
    how = g.choice([None, "SUM", "AVERAGE", "MIN", "MAX"])
    attrs = Trees(g, x.shape[1]).attrs("target", "target_ids", targets,
                                       how in (None, "SUM") and g.chance(0.5))
    return g.one(op, x, domain=form.domain, n_targets=targets,
                 aggregate_function=how, **attrs)


@rule("TreeEnsembleClassifier")
def tree_classifier(g, op, form):
    x = rows(g, form)
    classes = g.choice([2, 3, 4])
    voted = 1 if classes == 2 and g.chance(0.4) else classes
    if voted != 2:  # ONNX Runtime does not judge these, the others know no NaN
        x = perhaps_missing(g, x)
    attrs = Trees(g, x.shape[1]).attrs("class", "class_ids", voted)
    return g.node(op, [x], 2, domain=form.domain,
                  post_transform=g.choice(AFTER), **attrs,
                  **labelled(g, "classlabels_int64s", classes))[1]


@rule("TreeEnsemble")
def tree_ensemble(g, op, form):
    x = perhaps_missing(g, rows(g, form))
    targets = g.choice([1, 1, 2])
    kind = x.array.dtype
    inner, leaves, roots, members = [], [], [], []
    most = g.choice([5, 6])  # the last mode asks for members of a set

    def grow(depth):
        """The place of a new node and whether it is a leaf."""
        if depth == 0 or g.chance(0.2):
            leaves.append((g.integer(0, targets - 1), *numbers(g, 1)))
            return len(leaves) - 1, 1
        row = {"featureids": g.integer(0, x.shape[1] - 1),
               "modes": g.integer(0, most), "splits": g.choice([-1, 0, 0.5, 1]),
               "missing_value_tracks_true": g.integer(0, 1)}
        inner.append(row)
        if row["modes"] == 6:
            members.extend([*g.rng.integers(-3, 4, g.integer(1, 3)), np.nan])
        place = len(inner) - 1
        row["truenodeids"], row["trueleafs"] = grow(depth - 1)
        row["falsenodeids"], row["falseleafs"] = grow(depth - 1)
        return place, 0

    for _ in range(g.choice([1, 2, 5])):
        place, is_leaf = grow(g.integer(1, 4))
        if is_leaf:  # a tree starts at a node
            inner.append({"featureids": 0, "modes": 0, "splits": 0,
                          "truenodeids": place, "trueleafs": 1,
                          "falsenodeids": place, "falseleafs": 1,
                          "missing_value_tracks_true": 0})
            place = len(inner) - 1
        roots.append(place)

    def column(name):
        return [row[name] for row in inner]

    def tensor(items, dtype):
        return onnx.numpy_helper.from_array(np.array(items, dtype))

    return g.one(op, x, domain=form.domain, n_targets=targets,
                 aggregate_function=g.choice([None, 0, 1, 2, 3]),
                 tree_roots=roots, nodes_modes=tensor(column("modes"),
                                                      np.uint8),
                 nodes_splits=tensor(column("splits"), kind),
                 leaf_targetids=[t for t, _ in leaves],
                 leaf_weights=tensor([w for _, w in leaves], kind),
                 membership_values=tensor(members, kind) if members else None,
                 **{f"nodes_{n}": column(n) for n in (
                     "featureids", "truenodeids", "trueleafs", "falsenodeids",
                     "falseleafs", "missing_value_tracks_true")})
