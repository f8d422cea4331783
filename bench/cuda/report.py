#!/usr/bin/env python3
"""Turns the lines of the CUDA benchmarks and their peers into results and tables.

usage: report.py LINES.jsonl... [--device NAME --commit ID]   (for lines from elsewhere)

Lines with kv_bytes are decode's (decode_bench.cu, flashinfer_bench.py), lines with flop are
prefill's (prefill_bench.cu, prefill_peers.py), lines with tflops are ceilings. Appends to
bench/results/attention-{decode,prefill}-<device>.jsonl one line per (case, comparison):
{what, case, value, unit, baseline, baseline_value, ratio, device, date, commit}, where
ratio > 1 means better than the baseline. Writes the tables to build/bench/gpu.md.
"""
import argparse
import datetime
import json
import pathlib
import re
import subprocess

ANCHORED = ("joint", "gated", "gated_128", "joint_all_rows")
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
    """Lines that have `key`, as {case: {variant: line}}, cases in order."""
    found = {"kv_bytes": {}, "flop": {}, "tflops": {}}
    for path in paths:
        for text in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            for key, cases in found.items():
                if key in line:
                    cases.setdefault(line["case"], {})[line["variant"]] = line
    return found


def fastest(lines, prefix):
    found = [line["us"] for variant, line in lines.items() if variant.startswith(prefix)]
    return min(found) if found else None


def decode_tables(cases, stamp):
    rows = ["| case | read only | plain | with 512 anchor rows and mass | of read | cost "
            "| FlashInfer | plain vs it | with anchors vs it |",
            "|---|---|---|---|---|---|---|---|---|"]
    results = []
    for case, lines in cases.items():
        size = next(iter(lines.values()))["kv_bytes"]

        def rate(us, size=size):
            return size / us * 1e-6
        read_us, peer_us = fastest(lines, "stream"), fastest(lines, "flashinfer")
        full_us, plain_us = lines["anchors_mass"]["us"], lines["plain"]["us"]
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
    return rows, results


def prefill_tables(cases, gemm, stamp):
    limit = gemm["tflops"] if gemm else None
    rows = ["| case | plain | of GEMM | cuDNN | FlashInfer FA3 | plain vs best of them "
            "| 512 anchor rows, joint | gated | 128 rows, gated | all rows' statistics |",
            "|---|---|---|---|---|---|---|---|---|---|"]
    results = []
    for case, lines in cases.items():
        if "plain" not in lines:
            continue
        flop = lines["plain"]["flop"]

        def rate(us, flop=flop):
            return flop / us * 1e-6
        plain = lines["plain"]["us"]

        def add(what, us, baseline, baseline_us, case=case, rate=rate):
            results.append({"what": what, "case": case, "value": round(rate(us), 1),
                            "unit": "TFLOP/s", "baseline": baseline,
                            "baseline_value": round(rate(baseline_us), 1),
                            "ratio": round(baseline_us / us, 4), **stamp})
        peers = {name: lines[name]["us"] for name in ("cudnn", "flashinfer") if name in lines}
        for name, us in peers.items():
            add("prefill_plain", plain, name, us)
        for variant in ANCHORED:
            add(f"prefill_{variant}", lines[variant]["us"], "prefill_plain", plain)

        def cell(us, rate=rate):
            return f"{us:.0f} us, {rate(us):.0f}" if us else "-"
        best = f"{min(peers.values()) / plain:.2f}x" if peers else "-"
        share = f"{100 * rate(plain) / limit:.0f} %" if limit else "-"
        costs = " | ".join(f"{cell(lines[v]['us'])} ({100 * (lines[v]['us'] / plain - 1):+.1f} %)"
                           for v in ANCHORED)
        rows.append(f"| {case} | {cell(plain)} | {share} | {cell(peers.get('cudnn'))} "
                    f"| {cell(peers.get('flashinfer'))} | {best} | {costs} |")
    return rows, results


def formula_tables(cases, stamp):
    """The seed's formula as it is written, against the gated kernel."""
    rows = ["| rows | as written | extra memory | gated kernel | extra memory | faster |",
            "|---|---|---|---|---|---|"]
    results = []
    for case, lines in cases.items():
        if "gated" not in lines or not case.startswith("N"):
            continue
        ours, written = lines["gated"], lines.get("naive")
        text = f"{ours['us'] / 1000:.2f} ms | {ours['extra_bytes'] / 2**30:.3f} GiB"
        if not written:
            rows.append(f"| {case[1:]} | out of memory | - | {text} | - |")
            continue
        ratio = written["us"] / ours["us"]
        rows.append(f"| {case[1:]} | {written['us'] / 1000:.2f} ms "
                    f"| {written['extra_bytes'] / 2**30:.2f} GiB | {text} | {ratio:.1f}x |")
        results.append({"what": "prefill_gated", "case": case, "value": ours["us"], "unit": "us",
                        "baseline": "formula_as_written", "baseline_value": written["us"],
                        "ratio": round(ratio, 3), "extra_bytes": ours["extra_bytes"],
                        "baseline_extra_bytes": written["extra_bytes"], **stamp})
    return rows, results


def append(name, slug, results):
    out = ROOT / "bench/results" / f"attention-{name}-{slug}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in results)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines", nargs="+")
    parser.add_argument("--device")
    parser.add_argument("--commit")
    options = parser.parse_args()
    device = options.device or device_name()
    found = read(options.lines)
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower().replace("nvidia", "")).strip("-")
    stamp = {"device": device, "date": datetime.date.today().isoformat(),
             "commit": options.commit or commit()}
    where = f"on {device}, {stamp['date']}, {stamp['commit']}"
    text = []
    if found["kv_bytes"]:
        rows, results = decode_tables(found["kv_bytes"], stamp)
        append("decode", slug, results)
        text += [f"## Decode attention {where}\n", *rows, ""]
    if found["flop"]:
        gemm = found["tflops"].get("gemm8k", {}).get("cublas")
        rows, results = prefill_tables(found["flop"], gemm, stamp)
        limit = f" (GEMM limit {gemm['tflops']:.0f} TFLOP/s)" if gemm else ""
        text += [f"## Prefill attention {where}{limit}; TFLOP/s\n", *rows, ""]
        rows, more = formula_tables(found["flop"], stamp)
        append("prefill", slug, results + more)
        text += [f"## The formula as it is written {where}\n", *rows, ""]
    page = ROOT / "build/bench/gpu.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
