#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check.sh VENV ARGUMENTS...: compare.py in fp32 and bf16.
# Counts as skipped (77) where the Python environment is absent.

set -euo pipefail

python=$1/bin/python
if [[ ! -x $python ]]; then
  echo "SKIPPED: $python is absent; run tests/support/setup_venv.sh"
  exit 77
fi
here=$(dirname "${BASH_SOURCE[0]}")
"$python" "$here/compare.py" "${@:2}"
"$python" "$here/compare.py" "${@:2}" --bf16
