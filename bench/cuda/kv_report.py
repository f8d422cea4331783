#!/usr/bin/env python3
"""Turns the lines of attention_cuda_kv_bench into results and a table.

usage: kv_report.py LINES.jsonl [--device NAME --commit ID]   (for lines from elsewhere)

Appends to bench/results/kv-cache-<device>.jsonl one line per case: {what, case, value, unit, us,
baseline, baseline_value, ratio, device, date, commit}. Append and page copy are compared with the
copy limit, the best rate of any cudaMemcpy in the run (it falls at some sizes), whole rounds of
the scrub with a kernel that only reads. For small cases the microseconds count.
"""
import argparse
import datetime
import json
import pathlib
import re

import report

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
    limit = max(rate(v["memcpy"]) for v in cases.values() if "memcpy" in v)
    results = []
    rows = [f"Copy limit: {limit:.2f} TB/s.", "",
            "| case | time | rate | of the limit | cudaMemcpy of as many bytes |",
            "|---|---:|---:|---:|---:|"]
    for case, variants in cases.items():
        ours = variants["ours"]
        line = {"what": "kv_cache", "case": case, "value": round(rate(ours), 3), "unit": "TB/s",
                "us": ours["us"]}
        cells = ["-", "-"]
        if "memcpy" in variants:
            line |= {"baseline": "copy_limit", "baseline_value": round(limit, 3),
                     "ratio": round(rate(ours) / limit, 4)}
            cells[1] = f"{variants['memcpy']['us']:.1f} us"
        elif "read" in variants:
            line |= {"baseline": "read_only", "baseline_value": round(rate(variants["read"]), 3),
                     "ratio": round(variants["read"]["us"] / ours["us"], 4)}
        if "ratio" in line:
            cells[0] = f"{100 * line['ratio']:.0f} %"
        results.append({**line, **stamp})
        rows.append(f"| {case} | {ours['us']:.1f} us | {rate(ours):.2f} TB/s | "
                    + " | ".join(cells) + " |")
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("nvidia", "")).strip("-")
    out = report.ROOT / "bench/results" / f"kv-cache-{slug}.jsonl"
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)
    print(f"## KV cache kernels on {device}, {stamp['date']}, {stamp['commit']}\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
