#!/usr/bin/env python3
"""clang-format and clang-tidy over the project's C++ files.

usage: lint.py [--format] [--fix] [--jobs N] [FILE...]
  --format  only the formatting check (seconds)
  --fix     rewrite badly formatted files instead of reporting them

clang-tidy takes 5 to 30 s a file, so a clean verdict is kept under .cache/lint, keyed by the
bytes of the file, of every header of the project, and of .clang-tidy.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tidy  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"


def check_format(files, fix):
    mode = ["-i"] if fix else ["--dry-run", "-Werror"]
    run = subprocess.run(["clang-format-14", *mode, *files], cwd=ROOT)
    if run.returncode:
        print("lint: run tools/lint.py --format --fix", file=sys.stderr)
    return run.returncode == 0


def compiled(files):
    """Those of `files` that the release build compiles, so that clang-tidy knows their flags."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    known = {str(pathlib.Path(c["directory"], c["file"]).resolve()) for c in commands}
    return [f for f in files if f.endswith(".cc") and str(ROOT / f) in known]


def key_of(file, common):
    return hashlib.sha256(common + (ROOT / file).read_bytes()).hexdigest()


def lint_one(file):
    run = subprocess.run(
        ["clang-tidy-14", "-p", str(BUILD), "--quiet", "--extra-arg=-Wno-unknown-warning-option",
         file], cwd=ROOT, capture_output=True, text=True)
    return file, run.returncode == 0, run.stdout


def check_tidy(files, tree, jobs):
    cache = ROOT / ".cache/lint"
    cache.mkdir(parents=True, exist_ok=True)
    common = b"".join((ROOT / f).read_bytes() for f in [".clang-tidy", *tree.code({".h"})])
    keys = {f: key_of(f, common) for f in files}
    todo = [f for f in files if not (cache / keys[f]).exists()]
    print(f"lint: clang-tidy on {len(todo)} of {len(files)} files", flush=True)
    clean = True
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for file, ok, output in pool.map(lint_one, todo):
            if ok:
                (cache / keys[file]).touch()
            else:
                clean = False
                print(output, end="", flush=True)
    return clean


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--fix", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    tree = tidy.Tree(ROOT)
    files = args.files or tree.code()
    ok = check_format(files, args.fix)
    if not args.format:
        ok = check_tidy(compiled(files), tree, args.jobs) and ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
