#!/usr/bin/env bash
# Runs one libFuzzer program: fuzz-one.sh PROGRAM SEEDS [DICTIONARY]
# FIELDPRINT_FUZZ_SECONDS (5) bounds the time. New inputs are kept beside the program, in
# <program>.corpus; an input that fails goes to <program>.crash-* and belongs in SEEDS once fixed.
set -euo pipefail
program=$1 seeds=$2 dictionary=${3:-}
grown=$program.corpus
mkdir -p "$grown"
exec "$program" "$grown" "$seeds" ${dictionary:+-dict="$dictionary"} \
  -max_total_time="${FIELDPRINT_FUZZ_SECONDS:-5}" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
  -artifact_prefix="$program.crash-" -verbosity=0
