#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the build and the tests need on Debian 12. Does nothing, and
# asks for nothing, when every package is there.

set -euo pipefail

packages=(
  # build
  gcc g++ cmake ninja-build pkg-config
  libmlir-22-dev mlir-22-tools llvm-22-dev
  libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
  libffi-dev libxxhash-dev libjansson-dev
  # calls of the host: regular expressions, images; each is optional
  libpcre2-dev libjpeg-dev libpng-dev libtiff-dev libwebp-dev libopenjp2-7-dev
  # tests
  llvm-22-tools clang-22 clang-format-22 clang-tidy-22 libcmocka-dev
  python3 python3-venv locales
)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

echo "install_deps: installing ${missing[*]}" >&2
root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install_deps: need root or sudo to install these packages" >&2
    exit 4
  fi
  root=(sudo)
fi
apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
"${apt[@]}" update >/dev/null
"${apt[@]}" install --no-install-recommends "${missing[@]}" >&2
