#!/usr/bin/env python3
"""Turns the lines of attention_cuda_kv_bench into results and a table.

usage: kv_report.py LINES.jsonl [--device NAME --commit ID]   (for lines from elsewhere)

Appends to bench/results/kv-cache-<device>.jsonl one line per case: {what, case, value, unit,
baseline, baseline_value, ratio, device, date, commit}, plus microseconds `us`. The baseline is
what a copy (append, page copy) or a read (scrub) of the same bytes takes in the same run. Cases
that are too small to be about bandwidth have no baseline; their microseconds count.
"""
import argparse
import datetime
import json
import pathlib
import re

import report

BASELINES = {"memcpy": "cudaMemcpy, same bytes", "read": "read only, same bytes"}


def rate(entry):
    return entry["bytes"] / entry["us"] * 1e-6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines")
    parser.add_argument("--device")
    parser.add_argument("--commit")
    options = parser.parse_args()
    device = options.device or report.device_name()
    stamp = {"device": device, "date": datetime.date.today().isoformat(),
             "commit": options.commit or report.commit()}
    cases = {}
    for line in pathlib.Path(options.lines).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        cases.setdefault(entry["case"], {})[entry["variant"]] = entry
    results = []
    rows = ["| case | time | rate | same bytes, copied or read | ratio |",
            "|---|---:|---:|---:|---:|"]
    for case, variants in cases.items():
        ours = variants.pop("ours")
        line = {"what": "kv_cache", "case": case, "value": round(rate(ours), 3), "unit": "TB/s",
                "us": ours["us"]}
        peer = ["-", "-"]
        for variant, entry in variants.items():
            ratio = entry["us"] / ours["us"]
            line |= {"baseline": BASELINES[variant], "baseline_value": round(rate(entry), 3),
                     "ratio": round(ratio, 4)}
            peer = [f"{entry['us']:.1f} us, {rate(entry):.2f} TB/s", f"{100 * ratio:.0f} %"]
        results.append({**line, **stamp})
        rows.append(f"| {case} | {ours['us']:.1f} us | {rate(ours):.2f} TB/s | "
                    + " | ".join(peer) + " |")
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("nvidia", "")).strip("-")
    out = report.ROOT / "bench/results" / f"kv-cache-{slug}.jsonl"
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)
    print(f"## KV cache kernels on {device}, {stamp['date']}, {stamp['commit']}\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
