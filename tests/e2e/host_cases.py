# SPDX-License-Identifier: Apache-2.0
"""Cases in the layout of the ONNX backend tests, with outputs of ONNX Runtime,
and `imbrex test` on them."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import numpy_helper


def as_tensor(value):
    """Maps from class to score, one for each row, are rows of scores."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = np.array([[row[key] for key in value[0]] for row in value],
                         np.float32)
    value = np.asarray(value)
    if value.dtype.kind in "US":  # ONNX knows texts as objects
        value = value.astype(object)
    return numpy_helper.from_array(value).SerializeToString()


def write_case(folder, model, feeds):
    """Writes model, inputs, and what ONNX Runtime makes of them."""
    data = Path(folder) / "test_data_set_0"
    data.mkdir(parents=True)
    content = model.SerializeToString()
    (Path(folder) / "model.onnx").write_bytes(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"])
    for i, port in enumerate(session.get_inputs()):
        (data / f"input_{i}.pb").write_bytes(as_tensor(feeds[port.name]))
    for i, value in enumerate(session.run(None, feeds)):
        (data / f"output_{i}.pb").write_bytes(as_tensor(value))


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)


def run_cases(imbrex, folder):
    """The exit code: 0 when every case passes."""
    done = subprocess.run([imbrex, "test", folder, "--atol", "1e-4"],
                          capture_output=True, text=True, check=False)
    print(done.stdout, end="")
    print(done.stderr, end="")
    lines = done.stdout.strip().splitlines()
    passed = bool(lines) and lines[-1].endswith(" 0 failed, 0 refused")
    return 0 if done.returncode == 0 and passed else 1
