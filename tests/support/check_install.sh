#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# check_install.sh CMAKE BUILD CC: installs a build into a folder of its own,
# then makes a program against the installed libraries in the three ways that
# users do: pkg-config, pkg-config --static, and the CMake package.

set -euo pipefail

cmake=$1 build=$2 cc=$3
stage=$build/install-check
rm -rf "$stage"
mkdir -p "$stage/user"
"$cmake" --install "$build" --prefix "$stage/prefix" >"$stage/install.log"
export PKG_CONFIG_PATH=$stage/prefix/lib/pkgconfig
export LD_LIBRARY_PATH=$stage/prefix/lib

cat >"$stage/user/user.c" <<'C'
#include <imbrex/imbrex.h>
#include <stdio.h>
int main(void) { return puts(ibx_status_name(IBX_OK)) < 0; }
C
cat >"$stage/user/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.25)
project(user C)
find_package(imbrex REQUIRED)
add_executable(user user.c)
target_link_libraries(user imbrex::imbrex_runtime)
add_executable(user_compiler user.c)
target_link_libraries(user_compiler imbrex::imbrex)
C

for package in imbrex_runtime imbrex; do
  # The flags are words to split.
  # shellcheck disable=SC2046
  "$cc" "$stage/user/user.c" -o "$stage/user/shared-$package" \
    $(pkg-config --cflags --libs "$package")
  "$stage/user/shared-$package"
done
# shellcheck disable=SC2046
"$cc" "$stage/user/user.c" -o "$stage/user/static" \
  $(pkg-config --cflags imbrex_runtime) "$stage/prefix/lib/libimbrex_runtime.a" \
  $(pkg-config --static --libs imbrex_runtime | sed 's/-limbrex_runtime//g')
"$stage/user/static"

"$cmake" -S "$stage/user" -B "$stage/user/build" -G Ninja \
  -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$stage/prefix" \
  >"$stage/configure.log"
"$cmake" --build "$stage/user/build" >"$stage/build.log"
"$stage/user/build/user"
"$stage/user/build/user_compiler"
"$stage/prefix/bin/imbrex" version
echo "install: every way to link works"
