#!/bin/bash
# tools/bench-supervisor.sh MODEL [THREADS [ROUNDS [GENERATE]]]: what supervision costs, as a table
# and as JSON lines appended to bench/results/ (to be committed from quiet machines).
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:?usage: bench-supervisor.sh MODEL [THREADS [ROUNDS [GENERATE]]]}
threads=${2:-$(nproc)}
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
device="${cpu:-unknown CPU}, $threads threads"
slug=$(tr '[:upper:]' '[:lower:]' <<< "$device" | sed 's/[^a-z0-9]\{1,\}/-/g; s/-$//')
results=bench/results/supervisor-$slug.jsonl
mkdir -p build/bench
folder=$(mktemp -d build/bench/supervisor.XXXXXX)
trap 'rm -rf "$folder"' EXIT
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
build/release/bench/supervisor/supervisor_bench "$model" "$folder/ledger" "$commit" "$device" \
  "$threads" "${@:3}" > "$folder/lines.jsonl"
cat "$folder/lines.jsonl" >> "$results"
echo "appended to $results" >&2
