#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# models.sh IMBREX ROUND_TRIP WORK MODEL.onnx...: compiles each model for each
# target and sends the programs through round_trip. A model that is not there is
# left out; without any the test counts as skipped.

set -euo pipefail
imbrex=$1 round_trip=$2 work=$3
shift 3
rm -rf "$work"
mkdir -p "$work"

programs=()
for model in "$@"; do
  [[ -f $model ]] || continue
  name=$(basename "$(dirname "$model")")
  dims=()
  if [[ -f $(dirname "$model")/meta.json ]]; then
    mapfile -t dims < <(python3 -c 'import json, sys
for name, value in json.load(open(sys.argv[1]))["dims"].items():
    print(f"--dim\n{name}={value}")' "$(dirname "$model")/meta.json")
  fi
  for target in ibx2 ibx3 ibx4; do
    program=$work/$name-$target.ibx
    "$imbrex" compile "$model" --target "$target" "${dims[@]}" \
      -o "$program" >/dev/null 2>&1
    programs+=("$program")
  done
done
if [[ ${#programs[@]} -eq 0 ]]; then
  echo "none of the models is there: $*"
  exit 77
fi
"$round_trip" "${programs[@]}"
rm -rf "$work"
