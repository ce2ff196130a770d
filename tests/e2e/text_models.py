#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Operators on texts against ONNX Runtime.

    text_models.py --imbrex PROGRAM --work FOLDER

Each case is a small model with fixed inputs: what moves texts, what makes
numbers of them and the other way round, and models that go back and forth
between host and device."""

import argparse
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from host_cases import fresh, run_cases, write_case

TEXT, F32, F64, I64, BOOL = (TensorProto.STRING, TensorProto.FLOAT,
                             TensorProto.DOUBLE, TensorProto.INT64,
                             TensorProto.BOOL)
ML = "ai.onnx.ml"
node = helper.make_node
WORDS = np.array([["one", "zwei", "três", "4"], ["", "é", "a b", "x"],
                  ["one", "", "7", "Ω"]], dtype=object)


def longs(*values):
    return np.array(values, dtype=np.int64)


def texts(*values):
    return np.array(values, dtype=object)


def branch(name):
    return helper.make_graph(
        [node("Concat", ["x", name], ["out"], axis=0)], "branch", [],
        [helper.make_tensor_value_info("out", TEXT, None)])


# name: nodes, inputs, outputs with their types, constants
CASES = {
    "transpose": ([node("Transpose", ["x"], ["y"])], {"x": WORDS},
                  {"y": TEXT}, {}),
    "reshape": ([node("Reshape", ["x", "s"], ["y"])], {"x": WORDS},
                {"y": TEXT}, {"s": longs(2, -1)}),
    "flatten": ([node("Flatten", ["x"], ["y"], axis=0)], {"x": WORDS},
                {"y": TEXT}, {}),
    "gather": ([node("Gather", ["x", "i"], ["y"], axis=1)],
               {"x": WORDS, "i": longs(3, -1, 0)}, {"y": TEXT}, {}),
    "gather_computed": ([node("Add", ["i", "i"], ["j"]),
                         node("Gather", ["x", "j"], ["y"], axis=1)],
                        {"x": WORDS, "i": longs(1, 0, 0)}, {"y": TEXT}, {}),
    "concat": ([node("Concat", ["x", "k", "x"], ["y"], axis=0)], {"x": WORDS},
               {"y": TEXT}, {"k": WORDS[:1]}),
    "slice": ([node("Slice", ["x", "a", "b", "c", "d"], ["y"])], {"x": WORDS},
              {"y": TEXT}, {"a": longs(2, 3), "b": longs(-9, -9),
                            "c": longs(0, 1), "d": longs(-1, -2)}),
    "split": ([node("Split", ["x", "s"], ["y", "z"], axis=1)], {"x": WORDS},
              {"y": TEXT, "z": TEXT}, {"s": longs(1, 3)}),
    "tile": ([node("Tile", ["x", "r"], ["y"])], {"x": WORDS}, {"y": TEXT},
             {"r": longs(2, 1)}),
    "expand": ([node("Expand", ["x", "r"], ["y"])], {"x": WORDS[:, :1]},
               {"y": TEXT}, {"r": longs(2, 3, 4)}),
    "where": ([node("Where", ["c", "x", "k"], ["y"])],
              {"c": WORDS == "one", "x": WORDS}, {"y": TEXT},
              {"k": WORDS[1:2]}),
    "squeeze": ([node("Unsqueeze", ["x", "a"], ["u"]),
                 node("Squeeze", ["u", "a"], ["y"])], {"x": WORDS},
                {"y": TEXT, "u": TEXT}, {"a": longs(1)}),
    "gather_nd": ([node("GatherND", ["x", "i"], ["y"])], {"x": WORDS},
                  {"y": TEXT}, {"i": np.array([[0, 1], [2, 3]])}),
    "gather_elements": ([node("GatherElements", ["x", "i"], ["y"], axis=1)],
                        {"x": WORDS, "i": np.array([[0, 1], [2, 3], [3, 3]])},
                        {"y": TEXT}, {}),
    "scatter_elements": ([node("ScatterElements", ["x", "i", "u"], ["y"],
                               axis=1)],
                         {"x": WORDS, "u": WORDS[:, :2]}, {"y": TEXT},
                         {"i": np.array([[0, 1], [2, 3], [3, 1]])}),
    "identity": ([node("Identity", ["x"], ["y"])], {"x": WORDS}, {"y": TEXT},
                 {}),
    "equal": ([node("Equal", ["x", "k"], ["e"]),
               node("Cast", ["e"], ["f"], to=F32),
               node("ReduceSum", ["f"], ["y"], keepdims=0)], {"x": WORDS},
              {"y": F32, "e": BOOL}, {"k": WORDS[:1]}),
    "shape": ([node("Shape", ["x"], ["y"]), node("Size", ["x"], ["z"])],
              {"x": WORDS}, {"y": I64, "z": I64}, {}),
    "constant": ([node("Constant", [], ["k"], value_strings=["a", "b", "c",
                                                             "d"]),
                  node("Where", ["c", "x", "k"], ["y"])],
                 {"c": WORDS == "one", "x": WORDS}, {"y": TEXT}, {}),
    "constant_output": ([node("Constant", [], ["k"], value_string="hello"),
                         node("Relu", ["x"], ["z"])],
                        {"x": np.float32([1, -1])}, {"k": TEXT, "z": F32}, {}),
    "to_texts": ([node("Cast", ["x"], ["y"], to=TEXT)],
                 {"x": np.float32([1, 1.5, -2.25, 1e10, 1e-7, np.nan, np.inf,
                                   -np.inf, 0.1, 123456.7])}, {"y": TEXT}, {}),
    "integers_to_texts": ([node("Cast", ["x"], ["y"], to=TEXT)],
                          {"x": longs(1, -5, 2**60)}, {"y": TEXT}, {}),
    "bools_to_texts": ([node("Cast", ["x"], ["y"], to=TEXT)],
                       {"x": np.array([True, False])}, {"y": TEXT}, {}),
    "from_texts": ([node("Cast", ["x"], ["y"], to=F32),
                    node("Cast", ["x"], ["z"], to=I64),
                    node("Cast", ["x"], ["w"], to=F64)],
                   {"x": texts("1", "-2", "+30", "007")},
                   {"y": F32, "z": I64, "w": F64}, {}),
    "from_special_texts": ([node("Cast", ["x"], ["y"], to=F32)],
                           {"x": texts("1e3", "-INF", "nan", "inf", "+INF",
                                       "0.25")}, {"y": F32}, {}),
    "branches": ([node("If", ["c"], ["y"], then_branch=branch("x"),
                       else_branch=branch("z"))],
                 {"x": WORDS, "z": WORDS[:1]}, {"y": TEXT},
                 {"c": np.array(False)}),
    "sequence": ([node("SequenceConstruct", ["x", "z"], ["s"]),
                  node("SequenceInsert", ["s", "z", "one"], ["t"]),
                  node("SequenceErase", ["t", "none"], ["u"]),
                  node("SequenceAt", ["u", "one"], ["y"]),
                  node("ConcatFromSequence", ["t"], ["w"], axis=1),
                  node("SequenceLength", ["t"], ["n"])],
                 {"x": WORDS, "z": WORDS[::-1]},
                 {"y": TEXT, "w": TEXT, "n": I64},
                 {"one": np.array(1), "none": np.array(0)}),
    "sequence_split": ([node("SplitToSequence", ["x", "n"], ["s"], axis=1),
                        node("SequenceAt", ["s", "one"], ["y"]),
                        node("ConcatFromSequence", ["s"], ["w"], axis=0),
                        node("SplitToSequence", ["x"], ["t"], keepdims=0),
                        node("ConcatFromSequence", ["t"], ["v"], axis=1,
                             new_axis=1)],
                       {"x": WORDS}, {"y": TEXT, "w": TEXT, "v": TEXT},
                       {"one": np.array(1), "n": longs(2, 2)}),
    "sequence_map": ([node("SequenceEmpty", [], ["e"], dtype=TEXT),
                      node("SequenceInsert", ["e", "x"], ["a"]),
                      node("SequenceInsert", ["a", "z"], ["b"]),
                      node("SequenceMap", ["b"], ["s"], body=helper.make_graph(
                          [node("StringConcat", ["i", "i"], ["o"])], "body",
                          [helper.make_tensor_value_info("i", TEXT, None)],
                          [helper.make_tensor_value_info("o", TEXT, None)])),
                      node("ConcatFromSequence", ["s"], ["y"], axis=0)],
                     {"x": WORDS, "z": WORDS[:1]}, {"y": TEXT}, {}),
    "sequence_of_one": ([node("SequenceConstruct", ["f", "x"], ["s"]),
                         node("SequenceAt", ["s", "i"], ["y"])],
                        {"x": np.float32([1, 2]), "f": np.float32([3, 4, 5]),
                         "i": np.array(-1)}, {"y": F32}, {}),
    "branch_of_run": ([node("If", ["c"], ["y"], then_branch=branch("x"),
                            else_branch=branch("z"))],
                      {"x": WORDS, "z": WORDS[::-1],
                       "c": np.array(False)}, {"y": TEXT}, {}),
    "sequence_at_run": ([node("SequenceConstruct", ["x", "z"], ["s"]),
                         node("SequenceAt", ["s", "i"], ["y"])],
                        {"x": WORDS, "z": WORDS[::-1], "i": np.array(1)},
                        {"y": TEXT}, {}),
    "back_and_forth": ([node("Cast", ["x"], ["f"], to=F32),
                        node("Relu", ["f"], ["r"]),
                        node("Cast", ["r"], ["s"], to=TEXT),
                        node("Concat", ["s", "x"], ["t"], axis=0),
                        node("Cast", ["t"], ["u"], to=F32),
                        node("Add", ["u", "u"], ["y"])],
                       {"x": texts("1", "-2", "3")}, {"y": F32, "t": TEXT},
                       {}),
    "empty": ([node("Concat", ["x", "z"], ["y"], axis=0),
               node("StringConcat", ["x", "x"], ["w"])],
              {"x": WORDS[:0], "z": WORDS}, {"y": TEXT, "w": TEXT}, {}),
    "scalar": ([node("StringConcat", ["x", "k"], ["y"])],
               {"x": np.array("abc", dtype=object)}, {"y": TEXT},
               {"k": np.array("!", dtype=object)}),
    "features": ([node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain=ML)],
                 {"x": WORDS, "i": longs(2, 0)}, {"y": TEXT}, {}),
    "categories": ([node("CategoryMapper", ["x"], ["y"], domain=ML,
                         cats_strings=["a", "b"], cats_int64s=[7, 9],
                         default_int64=-3),
                    node("CategoryMapper", ["n"], ["z"], domain=ML,
                         cats_strings=["a", "b"], cats_int64s=[7, 9],
                         default_string="none")],
                   {"x": texts("b", "q", "a"), "n": longs(9, 1, 7)},
                   {"y": I64, "z": TEXT}, {}),
    "labels_of_floats": ([node("LabelEncoder", ["x"], ["y"], domain=ML,
                               keys_floats=[1.0, float("nan"), 2.0],
                               values_floats=[10.0, 20.0, 30.0],
                               default_float=-1.0)],
                         {"x": np.float32([[1, 2], [np.nan, 5]])}, {"y": F32},
                         {}),
    "labels_of_integers": ([node("LabelEncoder", ["x"], ["y"], domain=ML,
                                 keys_int64s=[1, 2**40, 3],
                                 values_int64s=[5, 6, 7], default_int64=0)],
                           {"x": longs(2**40, 3, 2**40 + 1)}, {"y": I64}, {}),
    "labels_that_are_large": ([node("LabelEncoder", ["x"], ["y"], domain=ML,
                                    keys_floats=[1.0, 2.0],
                                    values_int64s=[5, 6],
                                    default_int64=2**33)],
                              {"x": np.float32([2, 1, 0])}, {"y": I64}, {}),
    "pattern": ([node("RegexFullMatch", ["x"], ["y"],
                      pattern=r"(\d{2,3})-(\w+)")],
                {"x": texts("12-ab", "1-a", "123-x y")}, {"y": BOOL}, {}),
    "parts": ([node("StringSplit", ["x"], ["y", "n"], delimiter=","),
               node("Cast", ["n"], ["f"], to=F32),
               node("ReduceMax", ["f"], ["m"], keepdims=0)],
              {"x": texts("a,b", "c", "")}, {"y": TEXT, "m": F32}, {}),
}


def type_of(value):
    if value.dtype == object:
        return TEXT
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def make_model(nodes, inputs, outputs, constants):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "texts",
        [info(name, type_of(x), x.shape) for name, x in inputs.items()],
        [info(name, dtype, None) for name, dtype in outputs.items()],
        [numpy_helper.from_array(x, name) for name, x in constants.items()])
    return helper.make_model(
        graph, ir_version=9,
        opset_imports=[helper.make_opsetid("", 20),
                       helper.make_opsetid(ML, 4)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--imbrex", required=True)
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    fresh(args.work)
    for name, (nodes, inputs, outputs, constants) in CASES.items():
        model = make_model(nodes, inputs, outputs, constants)
        write_case(f"{args.work}/{name}", model, inputs)
    return run_cases(args.imbrex, args.work)


if __name__ == "__main__":
    sys.exit(main())
