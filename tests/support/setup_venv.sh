#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the virtual environment of the tests. Usage: setup_venv.sh [FOLDER],
# default build/venv. A second run with unchanged requirements does nothing.

set -euo pipefail

support=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$support/../.." && pwd)
venv=${1:-$root/build/venv}
requirements=$support/requirements.txt
stamp=$venv/requirements.sha256
wanted=$(sha256sum <"$requirements")

if [[ -f $stamp && $(<"$stamp") == "$wanted" && -x $venv/bin/python ]]; then
  exit 0
fi

echo "setup_venv: installing the test packages into $venv" >&2
rm -f "$stamp"
[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install "$(grep -m1 '^torch==' "$requirements")"
"${pip[@]}" install -r "$requirements"
echo "$wanted" >"$stamp"
