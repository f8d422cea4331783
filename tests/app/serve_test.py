#!/usr/bin/env python3
"""fieldprint serve as a process: start, signals, draining, clients that leave.

usage: serve_test.py PROGRAM MODEL.gguf   (exit 77: the model is not there, so ctest skips)
"""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
MODEL = pathlib.Path(sys.argv[2])
if "FIELDPRINT_MODELS_DIR" in os.environ:
    MODEL = pathlib.Path(os.environ["FIELDPRINT_MODELS_DIR"]) / MODEL.name
FAILURES = []
WAIT = 240  # seconds until something that must come counts as lost


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        FAILURES.append(name)
        print(f"  {detail!r}")


def until(condition):
    """Polls; false if it did not come true in time."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


class Serving:
    """A server on free ports; its stderr is collected while it runs."""

    def __init__(self, *args):
        self.lines = []
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FIELDPRINT_", "XDG_"))}
        env["HOME"] = HOME
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "-m", MODEL, "--port", "0", "--ops-port", "0", *args],
            stderr=subprocess.PIPE, text=True, env=env, cwd=HOME)
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()

    def _collect(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def log(self):
        return "\n".join(self.lines)

    def wait_ready(self):
        until(lambda: self.log().count("listening   http") == 2 or self.process.poll() is not None)
        ports = re.findall(r"listening   http://[^:]*:(\d+)", self.log())
        self.port, self.ops_port = map(int, ports)

    def request(self, method, path, body=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=WAIT)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def chat(self, **fields):
        body = {"model": MODEL.stem, "messages": [{"role": "user", "content": "Count to fifty."}],
                "temperature": 0, **fields}
        return self.request("POST", "/v1/chat/completions", body)

    def metric(self, name):
        text = self.request("GET", "/metrics", port=self.ops_port).read().decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def exit_code(self):
        try:
            code = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            return None
        self.reader.join(5)
        return code


def answers_and_banner():
    with Serving() as server:
        server.wait_ready()
        log = server.log()
        check("banner", all(f"\n{word}" in "\n" + log for word in
                            ("fieldprint ", "model ", "weights ", "digest ", "device ", "kv cache ",
                             "concurrency ", "anchor      none")), log)
        answer = json.loads(server.chat(max_tokens=4).read())
        check("answer", answer["usage"]["completion_tokens"] == 4, answer)
        with Serving("--port", str(server.port)) as second:
            check("a taken port is named", second.exit_code() == 1
                  and "fieldprint: address_in_use: " in second.log(), second.log())
        server.process.send_signal(signal.SIGTERM)
        check("idle server leaves on SIGTERM", server.exit_code() == 0, server.log())


def other_names():
    with Serving("--model-alias", "one", "--model-alias", "a/two", "--vllm-metrics") as server:
        server.wait_ready()
        models = json.loads(server.request("GET", "/v1/models").read())["data"]
        check("all aliases are listed", [card["id"] for card in models] == ["one", "a/two"], models)
        answer = json.loads(server.chat(model="a/two", max_tokens=1).read())
        check("each alias is accepted", answer.get("model") == "a/two", answer)
        check("the file's name is none of them",
              server.chat(model=MODEL.stem, max_tokens=1).status == 404)
        tokens = r'vllm:generation_tokens_total\{model_name="one"\}'
        check("vLLM's metric names", until(lambda: server.metric(tokens) == 1))


def drains():
    with Serving("--drain-timeout", "200") as server:
        server.wait_ready()
        stream = server.chat(max_tokens=60, stream=True)
        first = stream.readline()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.request("GET", "/readyz", port=server.ops_port).status == 503)
        refused = server.chat(max_tokens=1)
        check("a draining server refuses new work", refused.status == 503
              and refused.getheader("Retry-After") is not None, refused.read())
        rest = stream.read().decode()
        check("a running answer finishes", first.startswith(b"data: ")
              and rest.rstrip().endswith("data: [DONE]") and '"finish_reason":"' in rest,
              rest[-300:] + server.log())
        check("a drained server leaves with 0", server.exit_code() == 0, server.log())


def second_signal():
    with Serving() as server:
        server.wait_ready()
        stream = server.chat(max_tokens=2000, stream=True)
        stream.readline()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.request("GET", "/readyz", port=server.ops_port).status == 503)
        server.process.send_signal(signal.SIGINT)
        check("a second signal leaves at once with 130", server.exit_code() == 130, server.log())


def drain_timeout():
    with Serving("--drain-timeout", "0.2") as server:
        server.wait_ready()
        stream = server.chat(max_tokens=4000, stream=True)
        stream.readline()
        server.process.send_signal(signal.SIGTERM)
        check("the drain timeout cuts off", server.exit_code() == 0 and "cut off" in server.log(),
              server.log())


def client_that_leaves():
    with Serving("--no-prefix-cache") as server:
        server.wait_ready()
        before = server.metric("fieldprint_kv_pages_used")
        stream = server.chat(max_tokens=4000, stream=True)
        stream.readline()
        check("a running answer holds pages",
              until(lambda: server.metric("fieldprint_kv_pages_used") > before))
        stream.close()
        check("a client that leaves frees its pages",
              until(lambda: server.metric("fieldprint_kv_pages_used") == before
                    and server.metric("fieldprint_requests_running") == 0))


if not MODEL.is_file():
    print(f"{MODEL} is not there: skipped")
    sys.exit(77)
MODEL = MODEL.resolve()
with tempfile.TemporaryDirectory() as home:
    HOME = home
    for part in (answers_and_banner, other_names, drains, second_signal, drain_timeout,
                 client_that_leaves):
        part()
print(f"{len(FAILURES)} failures: {FAILURES}" if FAILURES else "all good")
sys.exit(1 if FAILURES else 0)
