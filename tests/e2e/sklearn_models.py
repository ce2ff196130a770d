#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models of scikit-learn, exported by skl2onnx, against ONNX Runtime.

    sklearn_models.py --imbrex PROGRAM --work FOLDER

Classifiers, regressors, preparation and texts, fitted on the data sets that
come with scikit-learn, as the converter exports them when nobody asks for
anything. Labels may be texts; those run on the host. Then vector machines of
random numbers, with probabilities and without."""

import argparse
import sys
import warnings

import numpy as np
from onnx.helper import make_attribute

from host_cases import fresh, run_cases, write_case

SKIPPED = 77
MACHINES = 24  # of random numbers


def f32(values):
    return np.asarray(values, dtype=np.float32)


def tables():
    """name: model, rows to run it on; numbers in, so f32."""
    from sklearn import (cluster, datasets, decomposition, ensemble, impute,
                         linear_model, naive_bayes, neighbors, neural_network,
                         pipeline, preprocessing, svm, tree)
    x, y = datasets.load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    b, c = datasets.load_breast_cancer(return_X_y=True)
    d, t = datasets.load_diabetes(return_X_y=True)
    x, b, d = f32(x), f32(b), f32(d)
    even = f32((b - b.mean(0)) / b.std(0))
    gaps = x.copy()
    gaps[::7, 1] = np.nan
    made = {"random_state": 0}
    few = {"random_state": 0, "n_estimators": 8}
    rows = {
        "tree": (tree.DecisionTreeClassifier(**made), x, y),
        "tree_of_texts": (tree.DecisionTreeClassifier(**made), x, names),
        "forest": (ensemble.RandomForestClassifier(**few), x, names),
        "forest_of_two": (ensemble.RandomForestClassifier(**few), b, c),
        "boosting": (ensemble.GradientBoostingClassifier(**few), x, y),
        "boosting_of_two": (ensemble.GradientBoostingClassifier(**few), b, c),
        "forest_regressor": (ensemble.RandomForestRegressor(**few), d, t),
        "boosting_regressor": (ensemble.GradientBoostingRegressor(**few), d,
                               t),
        "tree_of_two_targets": (tree.DecisionTreeRegressor(**made), d,
                                np.stack([t, -t], 1)),
        "logistic": (linear_model.LogisticRegression(max_iter=500), x, names),
        "logistic_of_two": (linear_model.LogisticRegression(max_iter=5000), b,
                            c),
        "descent": (linear_model.SGDClassifier(**made), x, y),
        "vectors": (svm.LinearSVC(**made), x, y),
        "kernels": (svm.SVC(**made), x, names),
        "kernels_of_two": (svm.SVC(kernel="poly", **made), x[:100], y[:100]),
        "kernels_probable": (svm.SVC(probability=True, **made), x, names),
        "kernels_probable_of_two": (svm.SVC(kernel="linear", probability=True,
                                            **made), even, c),
        "kernel_regressor": (svm.SVR(), d, t),
        "one_class": (svm.OneClassSVM(), x, None),
        "linear": (linear_model.LinearRegression(), d, t),
        "ridge": (linear_model.Ridge(), d, np.stack([t, 2 * t], 1)),
        "standard": (preprocessing.StandardScaler(), x, None),
        "least_and_most": (preprocessing.MinMaxScaler(), x, None),
        "robust": (preprocessing.RobustScaler(), x, None),
        "norm_1": (preprocessing.Normalizer("l1"), x, None),
        "norm_2": (preprocessing.Normalizer("l2"), x, None),
        "norm_max": (preprocessing.Normalizer("max"), x, None),
        "threshold": (preprocessing.Binarizer(threshold=2.0), x, None),
        "powers": (preprocessing.PolynomialFeatures(2), x, None),
        "imputer": (impute.SimpleImputer(), gaps, None),
        "steps": (pipeline.make_pipeline(preprocessing.StandardScaler(),
                                         decomposition.PCA(2),
                                         linear_model.LogisticRegression()),
                  x, names),
        "neighbours": (neighbors.KNeighborsClassifier(3), x, y),
        "bayes": (naive_bayes.GaussianNB(), x, y),
        "network": (neural_network.MLPClassifier(max_iter=50, **made), x, y),
        "clusters": (cluster.KMeans(3, n_init=3, **made), x, None),
    }
    return {name: (model.fit(data, target), data[::23])
            for name, (model, data, target) in rows.items()}


def text_rows():
    """name: model, texts to run it on."""
    from sklearn import feature_extraction, preprocessing
    pairs = np.array([["a", "x"], ["b", "y"], ["c", "x"], ["a", "z"]],
                     dtype=object)
    lines = np.array(["the cat sat", "a dog ran fast", "the Dog sat",
                      "cat and dog"], dtype=object)
    vectorizer = feature_extraction.text.TfidfVectorizer
    rows = {
        "one_hot": (preprocessing.OneHotEncoder(handle_unknown="ignore"),
                    pairs),
        "ordinal": (preprocessing.OrdinalEncoder(), pairs),
        "label": (preprocessing.LabelEncoder(), pairs[:, 0]),
        "words": (feature_extraction.text.CountVectorizer(), lines),
        "weighted_words": (vectorizer(), lines),
        "pairs_of_words": (vectorizer(ngram_range=(1, 2)), lines),
        "characters": (vectorizer(analyzer="char"), lines),
    }
    return {name: (model.fit(data), data)
            for name, (model, data) in rows.items()}


def vector_machine(rng, probable):
    """A machine of random numbers: model and rows."""
    from onnx import TensorProto, helper
    classes, features = int(rng.integers(2, 6)), int(rng.integers(1, 5))
    sizes = [int(n) for n in rng.integers(1, 4, classes)]
    pairs, rows = classes * (classes - 1) // 2, int(rng.integers(1, 8))

    def numbers(count):
        return [float(n) for n in rng.standard_normal(count)]

    attrs = {"classlabels_ints": list(range(3, 3 + classes)),
             "coefficients": numbers((classes - 1) * sum(sizes)),
             "kernel_params": [0.3, 0.5, 2.0], "rho": numbers(pairs),
             "kernel_type": str(rng.choice(["RBF", "LINEAR", "POLY",
                                            "SIGMOID"])),
             "post_transform": str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC"])),
             "support_vectors": numbers(sum(sizes) * features),
             "vectors_per_class": sizes}
    if probable:
        attrs["prob_a"] = [-abs(n) for n in numbers(pairs)]
        attrs["prob_b"] = numbers(pairs)
    node = helper.make_node("SVMClassifier", ["x"], ["label", "scores"],
                            domain="ai.onnx.ml", **attrs)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "machine", [info("x", TensorProto.FLOAT, [rows, features])],
        [info("label", TensorProto.INT64, None),
         info("scores", TensorProto.FLOAT, None)])
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 16),
                                            helper.make_opsetid("ai.onnx.ml",
                                                                1)])
    return model, f32(rng.standard_normal((rows, features)) * 2)


def export_table(model, data):
    """As it is exported when nobody asks for anything."""
    from skl2onnx import to_onnx
    return to_onnx(model, data)


def export_texts(model, data):
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import StringTensorType
    shape = [None, *data.shape[1:]]
    made = convert_sklearn(model, initial_types=[("x",
                                                  StringTensorType(shape))])
    dim = made.graph.input[0].type.tensor_type.shape.dim[0]
    dim.dim_param = "rows"
    for node in made.graph.node:
        if node.op_type == "StringNormalizer":
            # ONNX Runtime wants a locale that is installed.
            kept = [a for a in node.attribute if a.name != "locale"]
            del node.attribute[:]
            node.attribute.extend(kept + [make_attribute("locale", "C")])
    return made


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    try:
        import skl2onnx  # noqa: F401
    except ImportError:
        print("SKIPPED: skl2onnx is absent; run tests/support/setup_venv.sh")
        return SKIPPED
    warnings.simplefilter("ignore")
    fresh(args.work)
    for name, (model, data) in tables().items():
        made = export_table(model, data)
        write_case(f"{args.work}/{name}", made,
                   {made.graph.input[0].name: data})
    for name, (model, data) in text_rows().items():
        write_case(f"{args.work}/{name}", export_texts(model, data),
                   {"x": data})
    rng = np.random.default_rng(7)
    for index in range(MACHINES):
        made, data = vector_machine(rng, index % 4 != 0)
        write_case(f"{args.work}/machine_{index}", made, {"x": data})
    return run_cases(args.imbrex, args.work)


if __name__ == "__main__":
    sys.exit(main())
