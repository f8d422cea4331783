#!/usr/bin/env python3
"""The ledger commands and a witness from outside. usage: ledger_test.py PROGRAM

Standard library only. Each check prints its name; the exit code is 1 if one failed.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
FAILURES = []


def run(*args):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FIELDPRINT_", "XDG_"))}
    clean["HOME"] = str(HOME)
    return subprocess.run([PROGRAM, *map(str, args)], env=clean, text=True, capture_output=True,
                          timeout=60, cwd=HOME)


def check(name, condition, done=None):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        FAILURES.append(name)
        if done is not None:
            print(f"  exit {done.returncode}\n  out {done.stdout!r}\n  err {done.stderr!r}")


def check_error(name, done, exit_code, code):
    lines = done.stderr.strip().splitlines()
    check(name, done.returncode == exit_code and lines
          and lines[-1].startswith(f"fieldprint: {code}: "), done)


def make_keys():
    for kind, name in (("log", "log.test/l"), ("cosigner", "log.test/l"),
                       ("witness", "w.test/w")):
        done = run("keygen", kind, "--name", name, "-o", f"{kind}.key")
        check(f"keygen {kind}", done.returncode == 0, done)


def life_of_a_ledger():
    check_error("init without keys", run("ledger", "init", "log"), 2, "missing_argument")
    done = run("ledger", "init", "log", "--log-key", "log.key", "--cosigner-key", "cosigner.key")
    check("init", done.returncode == 0, done)
    again = run("ledger", "init", "log", "--log-key", "log.key", "--cosigner-key", "cosigner.key")
    check_error("init again", again, 2, "ledger_exists")
    swapped = run("ledger", "init", "x", "--log-key", "cosigner.key", "--cosigner-key", "log.key")
    check_error("init with keys swapped", swapped, 2, "ledger_keys_invalid")

    done = run("ledger", "show", "log")
    cells = done.stdout.rstrip("\n").split("\t")
    check("show is tab-separated", cells[0] == "0" and cells[2:] == ["genesis", "log.test/l"], done)
    entry = json.loads(run("ledger", "show", "log", "--index", "0", "--json").stdout)
    check("show one", entry["kind"] == "genesis" and entry["body"]["origin"] == "log.test/l")
    listed = json.loads(run("ledger", "show", "log", "--kind", "receipt", "--json").stdout)
    check("show by kind", listed["entries"] == [] and listed["checkpoint"]["size"] == 1)
    check_error("show an unknown kind", run("ledger", "show", "log", "--kind", "x"), 2,
                "entry_kind_unknown")
    check_error("show beyond the end", run("ledger", "show", "log", "--index", "1"), 2,
                "ledger_index")
    check_error("show nothing", run("ledger", "show", "none"), 2, "ledger_missing")

    done = run("ledger", "prove", "0", "log")
    checkpoint = (HOME / "log/checkpoint").read_text()
    check("prove", done.stdout.startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
          and done.stdout.endswith(checkpoint), done)
    check_error("prove a word", run("ledger", "prove", "first", "log"), 2, "option_value")
    check_error("prove beyond the end", run("ledger", "prove", "1", "log"), 2, "ledger_index")


def checking():
    for command in ("verify", "fsck"):
        done = run("ledger", command, "log", "--json")
        report = json.loads(done.stdout)
        check(command, done.returncode == 0 and report["good"] and report["entries"] == 1, done)
    done = run("ledger", "export", "out", "log")
    check("export", done.returncode == 0, done)
    check_error("export again", run("ledger", "export", "out", "log"), 2, "export_exists")
    done = run("ledger", "verify", "out", "--log-policy", "log/log.policy", "--checkpoint",
               "log/checkpoint", "--json")
    check("verify the export", json.loads(done.stdout)["good"], done)
    check_error("fsck needs the database", run("ledger", "fsck", "out"), 2, "ledger_missing")

    bundle = HOME / "out/tile/entries/000.p/1"
    bundle.write_bytes(bundle.read_bytes().replace(b"genesis", b"genesiz"))
    done = run("ledger", "verify", "out", "--json")
    codes = [finding["code"] for finding in json.loads(done.stdout)["findings"]]
    check("verify names the damage", done.returncode == 2 and "leaf_mismatch" in codes
          and "entry_invalid" in codes, done)
    policy = (HOME / "log/log.policy").read_text().replace("log.test/l+", "log.test/m+")
    (HOME / "wrong.policy").write_text(policy)
    done = run("ledger", "verify", "log", "--log-policy", "wrong.policy")
    check("verify under other keys", done.returncode == 2, done)


def post(url, body):
    request = urllib.request.Request(url, data=body.encode(), method="POST",
                                     headers={"Content-Type": "text/plain"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def witness():
    check_error("witness without a key", run("witness"), 2, "missing_argument")
    check_error("witness with a log key",
                run("witness", "w", "--witness-key", "log.key", "--log-policy", "log/log.policy"),
                2, "witness_key_invalid")
    check_error("listen nowhere",
                run("witness", "w", "--witness-key", "witness.key", "--log-policy",
                    "log/log.policy", "--listen", "8090"), 2, "option_value")
    process = subprocess.Popen(
        [PROGRAM, "witness", "w", "--witness-key", "witness.key", "--log-policy", "log/log.policy",
         "--listen", "127.0.0.1:0"], cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={"HOME": str(HOME)})
    try:
        url = ""
        for line in process.stdout:
            if line.startswith("url"):
                url = line.split()[1]
            if line.startswith("log "):
                break
        checkpoint = (HOME / "log/checkpoint").read_text()
        status, body = post(url + "/add-checkpoint", "old 0\n\n" + checkpoint)
        check("a witness cosigns", status == 200 and body.startswith("\u2014 w.test/w "))
        status, body = post(url + "/add-checkpoint", "old 0\n\n" + checkpoint)
        check("and remembers", (status, body) == (409, "1\n"))
        check("and refuses nonsense", post(url + "/add-checkpoint", "x")[0] == 400)
    finally:
        process.terminate()
        check("and stops when told", process.wait(timeout=20) == 0)


def main():
    make_keys()
    life_of_a_ledger()
    checking()
    witness()
    if FAILURES:
        print(f"{len(FAILURES)} failed: {', '.join(FAILURES)}")
    return 1 if FAILURES else 0


with tempfile.TemporaryDirectory() as folder:
    HOME = pathlib.Path(folder)
    sys.exit(main())
