#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds, makes the test models and runs every test.
# Ends with ctest's summary and its exit code. Cheap to run again.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tests/support/install_deps.sh
tests/support/setup_venv.sh build/venv &
venv=$!
cmake --preset release
cmake --build --preset release -j2
wait "$venv"
build/venv/bin/python tests/support/make_models.py build/models
ctest --preset release -j2 "$@"
