#!/usr/bin/env bash
# Runs every fuzz target for SECONDS through ctest: fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
FIELDPRINT_FUZZ_SECONDS=${1:?usage: tools/fuzz.sh SECONDS} exec ctest --test-dir build/fuzz \
  -R '^fuzz\.' --output-on-failure --timeout $(($1 + 120)) -j "${FIELDPRINT_JOBS:-$(nproc)}"
