#!/usr/bin/env python3
"""anchor calibrate from outside, on the small model and a part of the default dialogues.

usage: calibrate_test.py PROGRAM MODEL.gguf
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.dom.minidom

PROGRAM, MODEL = sys.argv[1:3]
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
failures = []


def check(what, holds, *seen):
    if not holds:
        failures.append(what)
        print(f"FAILED: {what}", *seen, file=sys.stderr)


def run(home, *args):
    env = dict(os.environ, FIELDPRINT_STATE_DIR=str(home / "state"))
    return subprocess.run([PROGRAM, *map(str, args)], env=env, capture_output=True, text=True,
                          timeout=500)


def some_dialogues(path, healthy, breaking):
    lines = (ROOT / "examples/dialogues/default.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"healthy"' in line][:healthy]
    kept += [line for line in lines if '"breaking"' in line][:breaking]
    path.write_text("\n".join(kept) + "\n")


def main():
    if not pathlib.Path(MODEL).exists():
        return 77
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        few, some = home / "few.jsonl", home / "some.jsonl"
        some_dialogues(few, 20, 2)
        some_dialogues(some, 26, 4)
        check("init", run(home, "anchor", "init").returncode == 0)
        text = ROOT / "examples/anchors/keeper.txt"
        compiled = run(home, "anchor", "compile", "-m", MODEL, "--text", text)
        check("compile", compiled.returncode == 0, compiled)
        folder = home / "state/trust/anchors/keeper"
        before = (folder / "anchor.json").read_bytes()
        refused = run(home, "anchor", "calibrate", "keeper", "-m", MODEL, "--dialogues", few)
        check("too few dialogues", refused.returncode == 2 and "dialogues_too_few" in
              refused.stderr, refused)
        check("a failed calibration leaves the anchor alone",
              (folder / "anchor.json").read_bytes() == before)

        calibrate = ["anchor", "calibrate", "keeper", "-m", MODEL, "--dialogues", some, "--json"]
        done = run(home, *calibrate, "--plot", home / "k.svg")
        check("calibrate", done.returncode == 0, done)
        report = json.loads(done.stdout)
        recipe = (folder / "supervision.json").read_bytes()
        anchor = json.loads((folder / "anchor.json").read_bytes())
        check("the anchor names its recipe", anchor["supervision"] == {
            "digest": "sha256:" + hashlib.sha256(recipe).hexdigest(), "size": len(recipe)}, anchor)
        check("its digest is what is told", report["supervision"] == anchor["supervision"]["digest"]
              and report["digest"] == "sha256:" +
              hashlib.sha256((folder / "anchor.json").read_bytes()).hexdigest())
        check("text and rows stay", json.loads(before)["rows"] == anchor["rows"])
        judge = json.loads(recipe)["judge"]
        n = report["limit"]["n"]
        check("few segments promise little", report["healthy"]["segments"] == n == judge["segments"]
              and abs(judge["limit_alpha"] / 1e9 - 1 / (n + 1)) < 1e-9, report["limit"])
        check("other identities are told apart", report["other_identity"]["auc"] > 0.7, report)
        check("plot", xml.dom.minidom.parse(str(home / "k.svg")).documentElement.tagName == "svg")
        again = run(home, *calibrate)
        check("the same again", json.loads(again.stdout)["digest"] == report["digest"], again)

        check("sign", run(home, "anchor", "sign", "keeper").returncode == 0)
        signed = run(home, "anchor", "calibrate", "keeper", "-m", MODEL)
        check("a signed anchor is refused", signed.returncode == 2 and "anchor_signed" in
              signed.stderr and "--force" in signed.stderr, signed)
        check("promote", run(home, "anchor", "promote", "keeper").returncode == 0)
        seen = run(home, "anchor", "inspect", "keeper")
        check("inspect", seen.returncode == 0 and "supervision ok" in seen.stdout, seen)
        answer = run(home, "complete", "-m", MODEL, "--anchor", "keeper", "-n", "8", "Hello")
        check("served", answer.returncode == 0 and answer.stdout, answer)
    print("FAILED" if failures else "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
