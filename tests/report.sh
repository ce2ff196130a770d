#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Measures what Imbrex promises and prints it as tables: tests/report.sh
# [--only MODEL,...] [--quick] [--json FILE]. Needs what ./test.sh makes.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/tests/support/install_deps.sh"
"$root/tests/support/setup_venv.sh" "$root/build/venv"
(cd "$root" && cmake --preset release && cmake --build --preset release -j2) >&2
"$root/build/venv/bin/python" "$root/tests/support/make_models.py" \
  "$root/build/models"
exec "$root/build/venv/bin/python" "$root/tests/report.py" \
  --imbrex "$root/build/release/bin/imbrex" --models "$root/build/models" "$@"
