#!/usr/bin/env bash
# Compiles and calibrates the example anchor for a model, and measures drift behind it.
# Leaves build/bench/drift.md for `make report` and appends to bench/results/.
#
# usage: bench/drift/run.sh MODEL.gguf [SEEDS]
set -euo pipefail
model=$1 seeds=${2:-2}
cd "$(dirname "$0")/../.."
program=build/release/app/fieldprint
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export FIELDPRINT_STATE_DIR=$folder/state
device=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1 | tr -cs 'A-Za-z0-9\n' '-' |
  tr 'A-Z' 'a-z' | sed 's/-*$//')
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
mkdir -p build/bench
"$program" anchor compile --model "$model" --text examples/anchors/keeper.txt -o "$folder/keeper"
"$program" anchor calibrate "$folder/keeper" --model "$model" --plot build/bench/calibration.svg |
  tee "$folder/calibration.txt"
build/release/bench/drift/drift_bench "$model" "$folder/keeper" bench/drift/healthy.jsonl "$seeds" \
  "$commit" 2> >(tee "$folder/table.txt" >&2) > "$folder/lines.jsonl"
cat "$folder/lines.jsonl" >> "bench/results/drift-$device.jsonl"
{
  echo "## Drift: make bench-drift"
  echo
  echo '```'
  cat "$folder/calibration.txt" "$folder/table.txt"
  echo '```'
} > build/bench/drift.md
