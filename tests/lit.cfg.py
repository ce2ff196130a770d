# SPDX-License-Identifier: Apache-2.0
#
# The text tests: `lit tests/lit`, or one file of it. ctest passes the folders;
# by hand the release build is taken.

import os

import lit.formats

here = os.path.dirname(__file__)
root = os.path.dirname(here)
build = lit_config.params.get("build", os.path.join(root, "build", "release"))
llvm = lit_config.params.get("llvm", "/usr/lib/llvm-22/bin")
protoc = lit_config.params.get("protoc", "protoc")

config.name = "imbrex"
config.test_format = lit.formats.ShTest(execute_external=False)
config.test_source_root = here
config.test_exec_root = os.path.join(build, "tests")
config.suffixes = [".mlir", ".test", ".s", ".txt"]
config.excludes = ["CMakeLists.txt", "Inputs"]
config.environment["PATH"] = os.pathsep.join([llvm, os.environ["PATH"]])
for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

# %model, %tensor and %bundle read protocol buffer text and print the bytes:
#   # RUN: %model < %s > %t.onnx
# and the same file is the model, for its comments start with '#' too.
proto = os.path.join(root, "src", "frontend")
encode = f"{protoc} --proto_path={proto} onnx.proto --encode=onnx."
config.substitutions += [
    ("%imbrex", os.path.join(build, "bin", "imbrex")),
    ("%mlir_opt", os.path.join(llvm, "mlir-opt")),
    ("%model", encode + "ModelProto"),
    ("%tensor", encode + "TensorProto"),
    ("%bundle", encode + "BundleProto"),
    ("%root", root),
    ("%build", build),
]
