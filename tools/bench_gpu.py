#!/usr/bin/env python3
"""Fieldprint on an NVIDIA GPU, beside llama.cpp where a build of it for that GPU is named.

usage: bench_gpu.py MODEL [--program FIELDPRINT] [--llama DIR] [--repetitions N] [--commit HASH]

MODEL: a GGUF file; bench/engine/random_model writes one in the shape of an 8B llama. DIR holds
llama-bench and llama-batched-bench built with CUDA from the sources that tools/setup.sh builds.
Prints a table and appends JSON lines to bench/results/engine-<device>.jsonl. Without --llama the
baseline is what the GPU was seen to read, for decode steps, and the lines say so.
"""
import argparse
import datetime
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARALLEL, PROMPT = 64, 1024


def lines(command):
    """The JSON objects that `command` prints, one a line."""
    print("bench-gpu:", " ".join(map(str, command)), file=sys.stderr, flush=True)
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{command[0]} failed ({run.returncode}):\n{run.stderr[-2000:]}")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def name_of(row):
    parallel = row.get("n_parallel", 1)
    what = (f"prompt of {row['n_prompt']}" if row["n_prompt"]
            else f"decode {row['n_gen']}" + (f" x {parallel} sequences" if parallel > 1 else ""))
    greedy = ", greedy on the GPU" if row.get("greedy") else ""
    return f"{what} at depth {row['n_depth']}{greedy}"


def ours(program, model, repetitions):
    common = [program, "bench", "-m", model, "--device", "cuda", "-b", 2048, "-r", repetitions,
              "-o", "jsonl"]
    rows = lines(common + ["-p", 2048, "-n", 128, "-d", "0,4096,32768"])
    several = ["-p", 0, "-n", 64, "-d", PROMPT]
    rows += lines(common + several + ["--parallel", f"2,4,8,16,32,{PARALLEL}"])
    rows += lines(common + several + ["--parallel", PARALLEL, "--greedy"])
    return rows


def llama(folder, model, repetitions):
    """tokens/s by the names of name_of()."""
    common = ["-m", model, "-ngl", 99, "-b", 2048, "-ub", 2048]
    single = lines([folder / "llama-bench", *common, "-fa", 1, "-p", 2048, "-n", 128,
                    "-d", "0,4096,32768", "-r", repetitions, "-o", "jsonl"])
    speeds = {name_of(row): row["avg_ts"] for row in single}
    batched = lines([folder / "llama-batched-bench", *common, "-fa", "on",
                     "-c", PARALLEL * (PROMPT + 64) + 256, "-npp", PROMPT, "-ntg", 64,
                     "-npl", PARALLEL, "--output-format", "jsonl"])
    name = f"decode 64 x {PARALLEL} sequences at depth {PROMPT}"
    speeds[name] = speeds[name + ", greedy on the GPU"] = batched[-1]["speed_tg"]
    return speeds


def rounded(value):
    return value and round(value, 1)


def result(row, peers, commit):
    name = name_of(row)
    line = {"what": "engine", "case": f"{pathlib.Path(row['model_filename']).stem}: {name}",
            "value": round(row["avg_ts"], 2), "unit": "tokens/s"}
    if name in peers:
        line |= {"baseline": "llama.cpp, same ggml sources",
                 "baseline_value": round(peers[name], 2),
                 "ratio": round(row["avg_ts"] / peers[name], 3)}
    elif row.get("read_share"):
        line |= {"baseline": "weights and KV at the GPU's read limit",
                 "baseline_value": round(row["avg_ts"] / row["read_share"], 2),
                 "ratio": round(row["read_share"], 3)}
    latency = row.get("itl_ms") or row.get("ttft_ms")
    line |= {"gb_per_s": rounded(row["avg_gbs"]),
             "read_limit_gb_per_s": rounded(row["read_limit_gbs"]),
             "itl_ms" if "itl_ms" in row else "ttft_ms": {k: round(v, 3)
                                                           for k, v in latency.items()},
             "profile": row["numeric_profile"], "device": row["device"].removeprefix("cuda: "),
             "date": datetime.date.today().isoformat(), "commit": commit}
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--program", default=ROOT / "build/cuda/app/fieldprint")
    parser.add_argument("--llama", type=pathlib.Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--commit", help="instead of the one the program was built from")
    args = parser.parse_args()
    rows = ours(args.program, args.model, args.repetitions)
    peers = llama(args.llama, args.model, args.repetitions) if args.llama else {}
    results = [result(row, peers, args.commit or row["build_commit"]) for row in rows]
    for line in results:
        ratio = f"{line['ratio']:.2f} of {line['baseline']}" if "ratio" in line else ""
        print(f"{line['case']:<60} {line['value']:>10.1f} tokens/s  {ratio}")
    short = results[0]["device"].split()[1].lower()
    with open(ROOT / f"bench/results/engine-{short}.jsonl", "a", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
