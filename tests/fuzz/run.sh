#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz/run.sh [COUNT [SEED [FIRST]]]
#
# The long form of the tests `fuzz.program` and `fuzz.asm`: COUNT (1000000)
# mutated program files, from mutant FIRST (0) of SEED (1) on, and a tenth of
# that in assembly texts, built with the address and undefined behaviour
# sanitizers, on all processors. Each part tells its range and its counts as it
# ends. A part that fails, or takes an hour, stops the job; --verbose then finds
# the mutant. A job that was interrupted goes on from a later FIRST.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
count=${1:-1000000} seed=${2:-1} first=${3:-0}
part=25000 # each runs the whole corpus first
build=build/fuzz
shopt -s nullglob
files=(examples/kernels/*.s)

cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DIMBREX_SANITIZE=address,undefined -DIMBREX_BUILD_COMPILER=OFF >/dev/null
cmake --build "$build" --target program_mutate asm_mutate >/dev/null

# run_part PROGRAM FIRST COUNT
run_part() {
  local report
  if ! report=$(timeout 3600 "$build/bin/$1" --seed "$seed" --first "$2" \
                --count "$3" "${files[@]}" 2>&1); then
    printf '%s\n' "$report" | tail -n 60
    echo "failed: $build/bin/$1 --seed $seed --first $2 --count $3" \
         "--verbose ${files[*]}"
    return 255 # xargs stops
  fi
  printf '%s %s: %s; %s\n' "$1" "$(grep '^seed' <<<"$report")" \
    "$(tail -n 1 <<<"$report")" "$(grep '^mutants' <<<"$report")"
}
export -f run_part
export build seed
# Arrays are not exported.
export kernels="${files[*]}"

parts() { # PROGRAM COUNT
  local at end=$((first + $2)) size
  for ((at = first; at < end; at += part)); do
    size=$((end - at < part ? end - at : part))
    echo "$1 $at $size"
  done
}
{
  parts asm_mutate $((count / 10))
  parts program_mutate "$count"
} | xargs -P "$(nproc)" -L 1 bash -c 'read -ra files <<<"$kernels"; run_part "$@"' _
echo "all $count programs and $((count / 10)) texts of seed $seed passed"
