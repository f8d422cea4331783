#!/usr/bin/env bash
# Runs every suite of every build tree in one ctest call, so that one closing line speaks for all.
#
# build/all/CTestTestfile.cmake only points at the trees; names carry a prefix (asan., tsan.,
# fuzz.) where the same suite runs in more than one of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p build/all
: >build/all/CTestTestfile.cmake
for tree in release dev tsan fuzz; do
  [[ -e build/$tree/CTestTestfile.cmake ]] || { echo "build/$tree is missing" >&2; exit 1; }
  echo "subdirs(\"$PWD/build/$tree\")" >>build/all/CTestTestfile.cmake
done
exec ctest --test-dir build/all --output-on-failure --no-tests=error \
  -j "${FIELDPRINT_JOBS:-$(nproc)}" "$@"
