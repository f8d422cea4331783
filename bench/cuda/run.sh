#!/bin/bash
# Decode attention beside its ceiling and beside FlashInfer, in one run on one GPU.
#
# usage: bench/cuda/run.sh [DIR_OF_attention_cuda_decode_bench]
# Appends to bench/results/attention-decode-<device>.jsonl and writes build/bench/gpu.md.
# FlashInfer is measured when `python3 -c 'import flashinfer'` works; otherwise the run
# says so and its columns stay empty.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=${1:-build/cuda/bench/cuda}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$programs/attention_cuda_decode_bench" --out "$work/ours.jsonl"
if python3 -c 'import flashinfer' 2> "$work/why"; then
  python3 bench/cuda/flashinfer_bench.py "$work/peer.jsonl"
else
  echo "bench-gpu: FlashInfer not measured: $(tail -n 1 "$work/why")" >&2
fi
python3 bench/cuda/report.py "$work"/*.jsonl
