"""FlashInfer's paged decode on the cases of decode_bench.cu, timed the same way.

Prints one JSON line per (case, variant), like attention_cuda_decode_bench. Needs torch and
flashinfer (0.6.3 is the version docs/performance.md quotes). plan() runs outside the
timed region, run() is replayed from a CUDA graph over rotating pools.
"""
import json
import statistics
import sys

import torch
import flashinfer

Q_HEADS, KV_HEADS, DIM, PAGE = 32, 8, 128, 16
CASES = [
    ("B1_N4k", 1, 4096), ("B1_N8k", 1, 8192), ("B1_N32k", 1, 32768), ("B1_N128k", 1, 131072),
    ("B16_N4k", 16, 4096), ("B16_N8k", 16, 8192), ("B16_N32k", 16, 32768),
    ("B64_N4k", 64, 4096), ("B64_N16k", 64, 16384), ("B256_N4k", 256, 4096),
    ("B256_N8k", 256, 8192),
]


def graph_us(launch, count):
    launch(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(count):
            launch(i)
    times = []
    for _ in range(9):
        start = torch.cuda.Event(enable_timing=True)
        stop = torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(1000.0 * start.elapsed_time(stop) / count)
    return statistics.median(times[2:])


def run_case(name, batch, length, workspace, out):
    pages_each = length // PAGE
    pages = batch * pages_each
    bytes_each = 4 * pages * PAGE * KV_HEADS * DIM
    replicas = min(40, (600 << 20) // bytes_each + 1)
    # Uniform values, as in decode_bench.cu; filled in parts to bound temporary memory.
    pools = []
    for _ in range(replicas):
        pair = []
        for _ in range(2):
            pool = torch.empty(pages, KV_HEADS, PAGE, DIM, dtype=torch.bfloat16, device="cuda")
            pool.uniform_(-1, 1)
            pair.append(pool)
        pools.append(tuple(pair))
    q = torch.empty(batch, Q_HEADS, DIM, dtype=torch.bfloat16, device="cuda").uniform_(-1, 1)
    indptr = torch.arange(0, pages + 1, pages_each, dtype=torch.int32, device="cuda")
    indices = torch.randperm(pages, device="cuda").to(torch.int32)
    last = torch.full((batch,), PAGE, dtype=torch.int32, device="cuda")
    # Tensor cores with the FA2-style kernel, which splits KV (the FA3 one does not and is
    # several times slower at decode); and the CUDA-core kernel. Reports take the faster.
    for variant, tensor_cores in (("flashinfer_fa2", True), ("flashinfer_cc", False)):
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "HND", use_tensor_cores=tensor_cores,
            backend="fa2" if tensor_cores else "auto")
        wrapper.plan(indptr, indices, last, Q_HEADS, KV_HEADS, DIM, PAGE,
                     q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
        o = torch.empty_like(q)
        count = max(replicas, 4 if batch * length > 200000 else 40)
        us = graph_us(lambda i: wrapper.run(q, pools[i % replicas], out=o), count)
        line = {"case": name, "variant": variant, "us": round(us, 3), "kv_bytes": bytes_each}
        print(json.dumps(line), file=out, flush=True)
        print(f"{name} {variant} {us:.1f} us {bytes_each / us * 1e-6:.2f} TB/s", flush=True)


def main():
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    with open(sys.argv[1], "a", encoding="utf-8") as out:
        print(f"flashinfer {flashinfer.__version__}, torch {torch.__version__}", flush=True)
        workspace = torch.empty(512 << 20, dtype=torch.uint8, device="cuda")
        for name, batch, length in CASES:
            if only in name:
                run_case(name, batch, length, workspace, out)
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
