#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check.sh IMBREX FOLDER: the digits in FOLDER, encoded by the build, are read
# as what they are named.

set -euo pipefail

imbrex=$1 folder=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$imbrex" compile "$folder/digits.onnx" -o "$scratch/digits.ibx"
for sample in "$folder"/digit_*.pb; do
  want=$(basename "$sample" .pb)
  "$imbrex" run "$scratch/digits.ibx" --input "image=$sample" \
    --output-dir "$scratch" >"$scratch/log"
  header=$(od -An -tu2 -j8 -N2 "$scratch/scores.npy" | tr -d ' ')
  got=$(od -An -v -tf4 -w4 -j $((10 + header)) "$scratch/scores.npy" |
    awk 'NR == 1 || $1 > best { best = $1; at = NR - 1 } END { print at }')
  echo "$want is read as $got"
  [[ $want == "digit_$got" ]]
done
