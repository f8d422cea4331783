#!/usr/bin/env python3
"""A trust folder from nothing, a server behind a promoted anchor, and what can be proved of it:
receipts, re-execution, an override, a revocation while somebody is being answered.

usage: receipts.py PROGRAM MODEL      (exit 77 without the model)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PROGRAM, MODEL = sys.argv[1], sys.argv[2]
PATIENCE = 240  # seconds; ends a broken test, no assertion depends on it
FAILURES = []


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        FAILURES.append(name)
        print(f"  {detail!r}")


def run(*arguments, code=0):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode != code:
        check(f"{arguments[:2]} exits {code}", False, (done.returncode, done.stdout, done.stderr))
    return done.stdout


class Server:
    def __init__(self, *flags):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "-m", MODEL, "--port", "0", "--ops-port", "0", "--kv-tokens", "6144",
             "--context-length", "2048", "--numeric-profile", "invariant", *flags],
            stderr=subprocess.PIPE, text=True)
        self.port, self.banner = None, ""
        ready = threading.Event()

        def read():
            for line in self.process.stderr:
                self.banner += line
                if line.startswith("listening") and "(API)" in line:
                    self.port = int(line.split(":")[-1].split()[0])
                if line.startswith("receipts"):
                    ready.set()
            ready.set()
        threading.Thread(target=read, daemon=True).start()
        ready.wait(PATIENCE)
        check("the server starts", self.port is not None, self.banner)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def call(self, path, body=None):
        """(status, headers, text)"""
        request = urllib.request.Request(self.url(path), body,
                                         {"Content-Type": "application/json"} if body else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def chat(self, body):
        return self.call("/v1/chat/completions", json.dumps(body).encode())

    def receipt(self, name):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            status, _, text = self.call("/v1/fieldprint/receipts/" + name)
            if status != 200 or json.loads(text)["state"] in ("integrated", "witnessed"):
                return text
            time.sleep(0.1)
        return "{}"

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def code_of(text):
    return json.loads(text).get("error", {}).get("code")


def outcomes(text):
    return {check["name"]: check["outcome"] for check in json.loads(text)["checks"]}


def ask(text, **fields):
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "seed": 7, **fields}


def receipts(server, work):
    body = json.dumps(ask("Who are you?", n=2, temperature=0.8)).encode()
    status, headers, text = server.call("/v1/chat/completions", body)
    check("an answer", status == 200, text)
    block = json.loads(text)["fieldprint"]
    check("behind the promoted anchor", block["anchor"]["trust"] == "promoted", block)
    check("the header names the receipt", headers["Fieldprint-Receipt"] == block["receipt"]["id"])
    (work / "request.json").write_bytes(body)
    (work / "response.json").write_text(text)
    (work / "receipt.json").write_text(server.receipt(block["receipt"]["id"]))
    files = ["--request", f"{work}/request.json", "--response", f"{work}/response.json"]
    root = pathlib.Path(os.environ["FIELDPRINT_STATE_DIR"]) / "trust" / "root.json"
    offline = run("verify", f"{work}/receipt.json", "--trust-root", str(root), *files, "--json")
    held = [n for n in ("signature", "leaf", "inclusion", "time", "request", "response")
            if outcomes(offline)[n] == "holds"]
    check("it holds offline, with the root alone", len(held) == 6, offline)
    again = run("verify", f"{work}/receipt.json", *files, "--json", "--reexecute", "-m", MODEL,
                "--anchor", "ada")
    check("the promotion is in the ledger", outcomes(again)["promotion"] == "holds", again)
    check("the tokens come out again", outcomes(again)["reexecution"] == "holds", again)
    (work / "other.json").write_text(json.dumps(ask("Who am I?")))
    other = run("verify", f"{work}/receipt.json", "--request", f"{work}/other.json", "--json",
                code=2)
    check("another request does not", outcomes(other)["request"] == "fails", other)
    check("a foreign root refuses it", "receipt_signature" in foreign(work), "")


def foreign(work):
    """Verifies under a trust root made for another log."""
    run("anchor", "init", "--trust-dir", f"{work}/foreign")
    done = subprocess.run([PROGRAM, "verify", f"{work}/receipt.json", "--trust-root",
                           f"{work}/foreign/root.json"], capture_output=True, text=True)
    return done.stderr if done.returncode == 2 else ""


def overrides(server, work):
    run("anchor", "override", "ada", "--envelope", f"{work}/leave.json", "--reason", "test")
    envelope = json.loads((work / "leave.json").read_text())
    request = ask("Say hi.", fieldprint={"override": envelope})
    status, headers, text = server.chat(request)
    block = json.loads(text).get("fieldprint", {})
    check("an override is served", status == 200 and block["override"], text)
    check("with no anchor mass at all", block["attention_mass"]["anchor"] == 0, block)
    check("and nothing from the cache", block["cached_tokens"] == 0, block)
    leaf = json.loads(server.receipt(headers["Fieldprint-Receipt"]))["leaf"]
    check("the receipt names it", "override_digest" in leaf, leaf)
    status, _, text = server.chat(request)
    check("once only", (status, code_of(text)) == (403, "override_replayed"), text)
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    _, _, text = server.chat(ask("Say hi.", fieldprint={"override": envelope}))
    check("and not with a bad signature", code_of(text) == "threshold_not_met", text)


def revocation(server):
    story = ask("Tell a long story.", stream=True, max_tokens=1900, ignore_eos=True)
    stream = urllib.request.urlopen(urllib.request.Request(
        server.url("/v1/chat/completions"), json.dumps(story).encode(),
        {"Content-Type": "application/json"}), timeout=PATIENCE)
    while b'"content"' not in stream.readline():
        pass
    run("anchor", "revoke", "ada", "--reason", "test")  # another process, the same ledger
    rest = stream.read().decode()
    check("the conversation ends with a name", '"code":"anchor_revoked"' in rest, rest[-300:])
    status, _, text = server.chat(ask("Who are you?"))
    check("new ones are refused", (status, code_of(text)) == (403, "anchor_revoked"), text)
    end = time.monotonic() + PATIENCE  # listed when all is overwritten
    while True:
        report = json.loads(server.call("/v1/fieldprint/anchors")[2])
        if report["endings"] or time.monotonic() > end:
            break
        time.sleep(0.05)
    check("the report says so", report["refusing"] and report["front"] is None, report)
    ending = report["endings"][0]
    check("rows and cached prefixes went", ending["rows_overwritten"] and ending["anchor_pages"] > 0
          and ending["prefix_pages"] > 0 and ending["ended"] == 1, ending)
    done = subprocess.run([PROGRAM, "serve", "-m", MODEL, "--anchor", "ada", "--port", "0",
                           "--ops-port", "0"], capture_output=True, text=True, timeout=PATIENCE)
    check("nor does it start again", done.returncode == 2 and "anchor_revoked" in done.stderr,
          done.stderr[-300:])


def main():
    if not os.path.exists(MODEL):
        print("skipped: no model")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        os.environ["FIELDPRINT_STATE_DIR"] = str(work / "state")
        (work / "ada.txt").write_text("You are Ada, the keeper of a lighthouse. Be brief.\n")
        run("anchor", "init")
        run("anchor", "compile", "-m", MODEL, "--text", str(work / "ada.txt"),
            "--numeric-profile", "invariant")
        run("anchor", "sign")
        run("anchor", "promote")
        server = Server("--anchor", "ada")
        try:
            check("the banner says that receipts are on", "receipts    on" in server.banner)
            receipts(server, work)
            overrides(server, work)
            revocation(server)
        finally:
            server.stop()
    print(f"{len(FAILURES)} failures")
    sys.exit(1 if FAILURES else 0)


if __name__ == "__main__":
    main()
