#!/usr/bin/env python3
"""Fieldprint beside llama-bench: same ggml, same model, same threads, one run.

usage: bench_cpu.py MODEL [--threads N] [--rounds N] [--quick]

Each point is measured in `--rounds` rounds (3) in which the two programs take turns, so that a
machine that slows down slows both. A figure is the median of its rounds. GB/s is what decoding
must read: all weights once per step and the KV rows of the context, at this speed. Results go to
build/bench/cpu.json, as JSON lines to bench/results/cpu-<device>.jsonl (appended, to be committed
from quiet machines) and as a table to stdout. Exit code 1 when a program fails, never for slow.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ROOT / "build/release/app/fieldprint"
LLAMA = ROOT / ".cache/llama-bench"
BATCH = 8


def lines(command):
    """The JSON objects that `command` prints, one a line."""
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{command[0]} failed ({run.returncode}):\n{run.stderr[-2000:]}")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def single(program, model, threads, depth, prompt, gen):
    """[(name, tokens/s, GB/s or None)] of one sequence, by either program's bench command."""
    ours = program == "fieldprint"
    command = [OURS, "bench"] if ours else [LLAMA / "llama-bench"]
    command += ["-m", model, "-p", prompt, "-n", gen, "-d", depth, "-t", threads, "-r", 1,
                "-o", "jsonl"]
    return [(f"prefill {r['n_prompt']} at depth {depth}" if r["n_prompt"]
             else f"decode {r['n_gen']} at depth {depth}", r["avg_ts"], r.get("avg_gbs"))
            for r in lines(command)]


def parallel(program, model, threads, prompt, gen):
    """Decode of BATCH sequences at once, aggregate tokens/s, each with `prompt` tokens behind."""
    name = f"decode {gen} x {BATCH} sequences at depth {prompt}"
    if program == "fieldprint":
        command = [OURS, "bench", "-m", model, "-p", 0, "-n", gen, "-d", prompt, "--parallel",
                   BATCH, "-t", threads, "-r", 1, "-o", "jsonl"]
        return [(name, r["avg_ts"], r.get("avg_gbs")) for r in lines(command)]
    command = [LLAMA / "llama-batched-bench", "-m", model, "-c", BATCH * (prompt + gen) + 256,
               "-b", 2048, "-ub", 512, "-t", threads, "-npp", prompt, "-ntg", gen, "-npl", BATCH,
               "--output-format", "jsonl"]
    return [(name, r["speed_tg"], None) for r in lines(command)]


def measure(model, threads, rounds, depths, prompt, gen):
    samples = {}  # name -> program -> [tokens/s]
    bandwidth = {}
    jobs = [lambda p, d=d: single(p, model, threads, d, prompt, gen) for d in depths]
    jobs.append(lambda p: parallel(p, model, threads, 128, gen))
    for number, job in enumerate(jobs, 1):
        for turn in range(rounds):
            order = ("fieldprint", "llama.cpp") if turn % 2 == 0 else ("llama.cpp", "fieldprint")
            for program in order:
                print(f"bench-cpu: point {number}/{len(jobs)}, round {turn + 1}/{rounds}, "
                      f"{program}", file=sys.stderr, flush=True)
                for name, speed, gbs in job(program):
                    samples.setdefault(name, {}).setdefault(program, []).append(speed)
                    if gbs:
                        bandwidth.setdefault(name, []).append(gbs)
    return [{"test": name,
             "fieldprint": statistics.median(by["fieldprint"]),
             "llama_cpp": statistics.median(by["llama.cpp"]),
             "samples": by,
             "gb_per_s": statistics.median(bandwidth[name]) if name in bandwidth else None}
            for name, by in samples.items()]


def table(result):
    out = [f"{result['cpu']}, {result['threads']} threads, {result['model']}; medians of "
           f"{result['rounds']} interleaved rounds", "",
           "| test | fieldprint t/s | GB/s | llama.cpp t/s | ratio | |",
           "|---|---:|---:|---:|---:|---|"]
    for point in result["points"]:
        ratio = point["fieldprint"] / point["llama_cpp"]
        gbs = f"{point['gb_per_s']:.1f}" if point["gb_per_s"] else ""
        out.append(f"| {point['test']} | {point['fieldprint']:.1f} | {gbs} | "
                   f"{point['llama_cpp']:.1f} | {ratio:.2f} | {'' if ratio >= 1 else 'behind'} |")
    return "\n".join(out)


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit():
    run = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                         capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def append_lines(result):
    """One JSON line per figure; a ratio above 1 is better than the baseline."""
    device = f"{result['cpu']}, {result['threads']} threads"
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = ROOT / f"bench/results/cpu-{slug}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    common = {"device": device, "date": datetime.date.today().isoformat(), "commit": commit()}
    with path.open("a") as out:
        for point in result["points"]:
            line = {"what": "cpu", "case": f"{result['model']}: {point['test']}",
                    "value": round(point["fieldprint"], 2), "unit": "tokens/s",
                    "baseline": "llama.cpp, same ggml",
                    "baseline_value": round(point["llama_cpp"], 2),
                    "ratio": round(point["fieldprint"] / point["llama_cpp"], 3), **common}
            if point["gb_per_s"]:
                line["gb_per_s"] = round(point["gb_per_s"], 2)
            out.write(json.dumps(line) + "\n")
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    args = parser.parse_args()
    depths, prompt, gen = ((0,), 32, 8) if args.quick else ((0, 2048, 7168), 512, 64)
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"bench-cpu: load average is {load:.1f}: other work will blur these figures",
              file=sys.stderr)
    result = {"cpu": cpu_name(), "threads": args.threads, "rounds": args.rounds,
              "model": pathlib.Path(args.model).name, "load_at_start": load,
              "points": measure(args.model, args.threads, args.rounds, depths, prompt, gen)}
    out = ROOT / "build/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    if not args.quick:
        print(f"bench-cpu: figures appended to {append_lines(result).relative_to(ROOT)}",
              file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, KeyError) as error:
        print(f"bench-cpu: {error}", file=sys.stderr)
        sys.exit(1)
