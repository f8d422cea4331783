#!/bin/bash
# The CUDA attention kernels beside their ceilings and peers, in one run on one GPU.
#
# usage: bench/cuda/run.sh [DIR_OF_THE_BENCHMARK_PROGRAMS]
# Appends to bench/results/{attention-decode,attention-prefill,kv-cache}-<device>.jsonl and writes
# build/bench/gpu.md; FIELDPRINT_BENCH_LINES=dir keeps the measured lines there. cuDNN and the
# formula as written need torch, FlashInfer needs flashinfer; what cannot be imported is named
# and its columns stay empty.
set -euo pipefail
cd "$(dirname "$0")/../.."
programs=${1:-build/cuda/bench/cuda}
if [[ -n ${FIELDPRINT_BENCH_LINES:-} ]]; then
  work=$FIELDPRINT_BENCH_LINES
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi

peers=()
if python3 -c 'import torch' 2> "$work/why"; then
  peers+=(gemm cudnn naive)
else
  echo "bench-gpu: cuDNN and the unfused formula not measured: $(tail -n 1 "$work/why")" >&2
fi
if python3 -c 'import flashinfer' 2> "$work/why"; then
  peers+=(flashinfer)
else
  echo "bench-gpu: FlashInfer not measured: $(tail -n 1 "$work/why")" >&2
fi

"$programs/attention_cuda_decode_bench" --out "$work/decode.jsonl"
if [[ " ${peers[*]-} " == *" flashinfer "* ]]; then
  python3 bench/cuda/flashinfer_bench.py "$work/decode_peer.jsonl"
fi
"$programs/attention_cuda_prefill_bench" --out "$work/prefill.jsonl"
if [[ ${#peers[@]} -gt 0 ]]; then
  python3 bench/cuda/prefill_peers.py "$work/prefill_peers.jsonl" "${peers[@]}"
fi
python3 bench/cuda/report.py "$work"/*.jsonl
"$programs/attention_cuda_kv_bench" --out "$work/kv.lines"
python3 bench/cuda/kv_report.py "$work/kv.lines" | tee -a build/bench/gpu.md
