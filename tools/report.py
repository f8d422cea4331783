#!/usr/bin/env python3
"""Gathers what the benchmarks left under build/bench into build/report.md, and prints it."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench_cpu  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parts = [f"# Measured at {bench_cpu.commit()}\n"]
    cpu = ROOT / "build/bench/cpu.json"
    if cpu.exists():
        parts += ["## CPU: make bench-cpu\n", bench_cpu.table(json.loads(cpu.read_text())), ""]
    for page in sorted((ROOT / "build/bench").glob("*.md")):
        parts += [page.read_text(), ""]
    if len(parts) == 1:
        print("report: nothing was measured yet; run make bench-cpu or make bench-gpu first",
              file=sys.stderr)
        return 1
    text = "\n".join(parts)
    (ROOT / "build/report.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
