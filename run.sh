#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# ./run.sh              compiles the network of examples/digits, runs it on the
#                       simulated accelerator, shows what it read and how long
#                       that took
# ./run.sh MODEL.onnx [OPTION...]
#                       the same for your model; options go to `imbrex compile`
#
# Installs and builds what is missing first. Progress goes to standard error.

set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
imbrex=$here/build/release/bin/imbrex
digits=$here/build/release/examples/digits

build() (
  cd "$here"
  tests/support/install_deps.sh
  cmake --preset release >&2
  cmake --build --preset release -j2 --target imbrex_driver example_models >&2
)

# Draws an 8 x 8 tensor in protocol buffer text, two characters a pixel.
draw() {
  awk '
    /float_data/ { inside = 1 }
    inside {
      gsub(/[^0-9.e+-]+/, " ")
      for (i = 1; i <= NF; i++) if ($i ~ /[0-9]/) pixels[n++] = $i
    }
    END {
      shades = " .:-=+*#%@"
      for (i = 0; i < 64; i++) {
        c = substr(shades, int(pixels[i] * 9 + 0.5) + 1, 1)
        row = row c c
        if (i % 8 == 7) { print "      " row; row = "" }
      }
    }' "$1"
}

# Prints index and probability of the largest of the float32 scores in a .npy
# file.
best() {
  local header
  header=$(od -An -tu2 -j8 -N2 "$1" | tr -d ' ')
  od -An -v -tf4 -w4 -j $((10 + header)) "$1" | awk '
    { score[NR - 1] = $1; if (NR == 1 || $1 > score[top]) top = NR - 1 }
    END {
      for (i = 0; i < NR; i++) sum += exp(score[i] - score[top])
      printf "%d (probability %.3f)\n", top, 1 / sum
    }'
}

show_digits() {
  "$imbrex" compile "$digits/digits.onnx" -o "$scratch/digits.ibx"
  for sample in "$here"/examples/digits/digit_*.pb.txt; do
    name=$(basename "$sample" .pb.txt)
    "$imbrex" run "$scratch/digits.ibx" --input "image=$digits/$name.pb" \
      --output-dir "$scratch/$name" >"$scratch/$name.log"
    echo "A handwritten digit (8 x 8 pixels):"
    echo
    draw "$sample"
    echo
    echo "The simulated accelerator reads it as $(best "$scratch/$name/scores.npy")"
    echo
  done
  "$imbrex" bench "$scratch/digits.ibx" --timeline
}

show_model() {
  "$imbrex" compile "$@" -o "$scratch/model.ibx"
  "$imbrex" run "$scratch/model.ibx"
  "$imbrex" bench "$scratch/model.ibx" --timeline
}

build
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if (($#)); then
  show_model "$@"
else
  show_digits
fi
