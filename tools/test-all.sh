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
# The closing line once more at the very end: ctest lists skipped tests after it.
log=build/all/ctest.log status=0
ctest --test-dir build/all --output-on-failure --no-tests=error \
  -j "${FIELDPRINT_JOBS:-$(nproc)}" "$@" | tee "$log" || status=$?
echo
grep 'tests passed, .* failed out of' "$log" || true
exit "$status"
