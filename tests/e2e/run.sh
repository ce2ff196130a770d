#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh VENV SCRIPT ARGUMENTS...: a script of this folder in the Python
# environment of the tests. Says so and counts as skipped (77) where there is
# none.

set -euo pipefail

python=$1/bin/python
if [[ ! -x $python ]]; then
  echo "SKIPPED: $python is absent; run tests/support/setup_venv.sh"
  exit 77
fi
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/$2" "${@:3}"
