#!/usr/bin/env python3
"""Turns the lines of attention_cuda_decode_bench and flashinfer_bench.py into results and a table.

usage: report.py LINES.jsonl... [--device NAME --commit ID]   (for lines from elsewhere)

Appends to bench/results/attention-decode-<device>.jsonl one line per (case, comparison):
{what, case, value, unit, baseline, baseline_value, ratio, device, date, commit}, where
ratio > 1 means better than the baseline. Writes the table to build/bench/gpu.md.
"""
import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def device_name():
    run = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                         capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[0].strip()


def commit():
    run = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                         capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def read(paths):
    """{case: {variant: microseconds}}, {case: bytes of context K and V}, cases in order."""
    times, sizes = {}, {}
    for path in paths:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            times.setdefault(entry["case"], {})[entry["variant"]] = entry["us"]
            sizes[entry["case"]] = entry["kv_bytes"]
    return times, sizes


def fastest(times, prefix):
    found = [us for variant, us in times.items() if variant.startswith(prefix)]
    return min(found) if found else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines", nargs="+")
    parser.add_argument("--device")
    parser.add_argument("--commit")
    options = parser.parse_args()
    device = options.device or device_name()
    times, sizes = read(options.lines)
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("nvidia", "")).strip("-")
    stamp = {"device": device, "date": datetime.date.today().isoformat(),
             "commit": options.commit or commit()}
    rows = ["| case | read only | plain | with 512 anchor rows and mass | of read | cost "
            "| FlashInfer | plain vs it | with anchors vs it |",
            "|---|---|---|---|---|---|---|---|---|"]
    results = []
    for case, measured in times.items():
        def rate(us):
            return sizes[case] / us * 1e-6
        read_us = fastest(measured, "stream")
        peer_us = fastest(measured, "flashinfer")
        full_us, plain_us = measured["anchors_mass"], measured["plain"]
        pairs = [("decode_anchors_mass", full_us, "kv_stream", read_us),
                 ("decode_anchors_mass", full_us, "decode_plain", plain_us),
                 ("decode_plain", plain_us, "kv_stream", read_us)]
        if peer_us:
            pairs += [("decode_plain", plain_us, "flashinfer_0.6.3_plain", peer_us),
                      ("decode_anchors_mass", full_us, "flashinfer_0.6.3_plain", peer_us)]
        for what, us, baseline, baseline_us in pairs:
            results.append({"what": what, "case": case, "value": round(rate(us), 3), "unit": "TB/s",
                            "baseline": baseline, "baseline_value": round(rate(baseline_us), 3),
                            "ratio": round(baseline_us / us, 4), **stamp})
        peer = ["-", "-", "-"] if not peer_us else [
            f"{peer_us:.1f} us", f"{peer_us / plain_us:.2f}x", f"{peer_us / full_us:.2f}x"]
        rows.append(f"| {case} | {read_us:.1f} us, {rate(read_us):.2f} TB/s "
                    f"| {plain_us:.1f} us, {rate(plain_us):.2f} | {full_us:.1f} us, "
                    f"{rate(full_us):.2f} | {100 * read_us / full_us:.0f} % "
                    f"| {100 * (full_us / plain_us - 1):+.1f} % | " + " | ".join(peer) + " |")
    table = "\n".join([f"## Decode attention on {device}, {stamp['date']}, {stamp['commit']}\n",
                       *rows]) + "\n"
    out = ROOT / "bench/results" / f"attention-decode-{slug}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)
    page = ROOT / "build/bench/gpu.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
