"""cuDNN, FlashInfer and the seed's unfused formula on the cases of prefill_bench.cu.

usage: prefill_peers.py OUT.jsonl [gemm] [cudnn] [flashinfer] [naive]

Prints one JSON line per (case, variant), like attention_cuda_prefill_bench, timed the same way.
gemm: the rate of an 8192^3 bf16 matrix product, a line of its own. cudnn: torch's cuDNN
backend, contiguous K and V. flashinfer: its FA3 paged prefill (0.6.3 is the version
docs/performance.md quotes); plan() is outside the timing. naive: the formula as it is written,
O = (1-g) softmax(QK^T/sqrt d) V + g softmax(QA^T/sqrt d) V_A, in bf16 matrix products and
softmaxes; extra_bytes is what torch allocates beside q, K, V and o.
"""
import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

Q_HEADS, KV_HEADS, DIM, PAGE, ANCHOR = 32, 8, 128, 16, 512
CASES = [(f"N{n}k", 1, n * 1024, n * 1024) for n in (1, 2, 4, 8, 16, 32, 64, 128)]
CASES += [("B16_N2k", 16, 2048, 2048), ("chunk2k_over128k", 1, 130 * 1024, 2048)]


def flop(batch, length, queries):
    pairs = queries * (length - queries) + queries * (queries + 1) / 2
    return 4.0 * DIM * Q_HEADS * batch * pairs


def graph_us(launch, count):
    launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            launch()
    return replay_us(graph.replay, count)


def replay_us(replay, count, repeats=9, skip=2):
    times = []
    for _ in range(repeats):
        start = torch.cuda.Event(enable_timing=True)
        stop = torch.cuda.Event(enable_timing=True)
        start.record()
        replay()
        stop.record()
        stop.synchronize()
        times.append(1000.0 * start.elapsed_time(stop) / count)
    return statistics.median(times[skip:])


def uniform(*shape):
    return torch.empty(*shape, dtype=torch.bfloat16, device="cuda").uniform_(-1, 1)


def launches(case):
    return max(1, min(50, int(1.5e13 / flop(*case[1:]))))


def cudnn(case):
    _, batch, length, queries = case
    q = uniform(batch, Q_HEADS, queries, DIM)
    k = uniform(batch, KV_HEADS, length, DIM)
    v = uniform(batch, KV_HEADS, length, DIM)
    # A chunk's mask is not to be had from it: the whole square, 0.8 % more work.
    causal = queries == length

    def launch():
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    return graph_us(launch, launches(case)), 0


def flashinfer_fa3(case):
    import flashinfer
    _, batch, length, queries = case
    pages = batch * length // PAGE
    pool = tuple(uniform(pages, KV_HEADS, PAGE, DIM) for _ in range(2))
    q = uniform(batch * queries, Q_HEADS, DIM)
    o = torch.empty_like(q)

    def ints(values):
        return values.to(dtype=torch.int32, device="cuda")
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(
        torch.empty(256 << 20, dtype=torch.uint8, device="cuda"), "HND", backend="fa3")
    wrapper.plan(ints(torch.arange(batch + 1) * queries),
                 ints(torch.arange(batch + 1) * (length // PAGE)), ints(torch.randperm(pages)),
                 ints(torch.full((batch,), PAGE)), Q_HEADS, KV_HEADS, DIM, PAGE, causal=True,
                 q_data_type=torch.bfloat16, kv_data_type=torch.bfloat16)
    return graph_us(lambda: wrapper.run(q, pool, out=o), launches(case)), 0


def naive(case):
    _, batch, length, queries = case
    if batch != 1 or queries != length:
        return None
    gate, scale = 0.3, DIM ** -0.5
    q = uniform(Q_HEADS, length, DIM)
    k, v, ka, va = (uniform(KV_HEADS, rows, DIM) for rows in (length, length, ANCHOR, ANCHOR))
    o = torch.empty_like(q)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()

    def side(keys, values, causal):
        repeat = Q_HEADS // KV_HEADS
        scores = torch.matmul(q, keys.repeat_interleave(repeat, 0).transpose(1, 2)) * scale
        if causal:
            rows = torch.arange(length, device="cuda")
            scores.masked_fill_(rows[None, :] > rows[:, None], float("-inf"))
        weights = torch.softmax(scores, -1)
        del scores
        return torch.matmul(weights, values.repeat_interleave(repeat, 0))

    def launch():
        o.copy_((1 - gate) * side(k, v, True) + gate * side(ka, va, False))
    for _ in range(2):
        launch()
    us = replay_us(launch, 1, repeats=5, skip=1)
    return us, torch.cuda.max_memory_allocated() - before


def gemm(out):
    a, b = uniform(8192, 8192), uniform(8192, 8192)
    us = graph_us(lambda: torch.matmul(a, b), 30)
    tflops = 2 * 8192 ** 3 / us * 1e-6
    print(json.dumps({"case": "gemm8k", "variant": "cublas", "us": us, "tflops": tflops}), file=out)
    print(f"bf16 matrix product: {tflops:.0f} TFLOP/s", flush=True)


VARIANTS = {"cudnn": cudnn, "flashinfer": flashinfer_fa3, "naive": naive}


def main():
    wanted = sys.argv[2:] or ["gemm", *VARIANTS]
    with open(sys.argv[1], "a", encoding="utf-8") as out:
        print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}", flush=True)
        if "gemm" in wanted:
            gemm(out)
        for case in CASES:
            for variant in [name for name in wanted if name != "gemm"]:
                try:
                    result = VARIANTS[variant](case)
                except (RuntimeError, ImportError) as error:
                    print(f"{case[0]} {variant}: {str(error).splitlines()[0]}", flush=True)
                    result = None
                torch.cuda.empty_cache()
                if result is None:
                    continue
                us, extra = result
                line = {"case": case[0], "variant": variant, "us": round(us, 3),
                        "flop": flop(*case[1:]), "extra_bytes": extra}
                print(json.dumps(line), file=out, flush=True)
                print(f"{case[0]} {variant} {us:.1f} us {line['flop'] / us * 1e-6:.0f} TFLOP/s, "
                      f"{extra / 2**30:.2f} GiB extra", flush=True)


if __name__ == "__main__":
    main()
