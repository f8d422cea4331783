#!/usr/bin/env python3
"""The public `openai` client against a running server: what users will do first.

usage: openai_client.py fake PROGRAM            (tests/e2e/fake_server)
       openai_client.py model PROGRAM MODEL     (fieldprint serve; exit 77 without the model)
       openai_client.py url http://host:port    (a server that runs already)

Only properties that hold for any model are checked, so one list serves both.
"""
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

try:
    import openai
except ImportError:
    print("skipped: the openai package is not installed")
    sys.exit(77)

FAILURES = []
START_SECONDS = 240


def check(name, condition, detail=""):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        FAILURES.append(name)
        print(f"  {detail!r}")


def refused(name, call, kind, status, code, param=None):
    """The call must raise `kind` with this status, code and param."""
    try:
        call()
    except kind as error:
        body = error.body or {}
        seen = (error.status_code, body.get("code"), body.get("param"))
        check(name, seen == (status, code, param), seen)
        check(name + ": request id", bool(error.request_id))
        return
    except openai.OpenAIError as error:
        check(name, False, error)
        return
    check(name, False, "no error")


# --- the server ----------------------------------------------------------------------------------
class FakeServer:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "--anchor", "--pace", "2"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = "http://127.0.0.1:" + self.process.stdout.readline().split()[1]

    def stop(self):
        self.process.stdin.close()
        check("fake server ends cleanly", self.process.wait(30) == 0)


class ModelServer:
    def __init__(self, program, model):
        self.home = tempfile.TemporaryDirectory()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FIELDPRINT_", "XDG_"))}
        env["HOME"] = self.home.name
        self.lines = []
        self.process = subprocess.Popen(
            [program, "serve", "-m", model, "--port", "0", "--ops-port", "0"],
            stderr=subprocess.PIPE, text=True, env=env, cwd=self.home.name)
        threading.Thread(target=self._collect, daemon=True).start()
        self.url = self._address()

    def _collect(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def _address(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            for line in list(self.lines):
                found = re.search(r"http://[0-9.]+:\d+(?= \(API\))", line)
                if found:
                    return found.group()
            time.sleep(0.05)
        sys.exit("the server did not start:\n" + "".join(self.lines))

    def stop(self):
        self.process.terminate()
        check("server ends cleanly", self.process.wait(60) == 0, self.lines[-5:])


# --- checks --------------------------------------------------------------------------------------
HELLO = [{"role": "user", "content": "Say hello in a few words."}]


def check_models(client):
    models = client.models.list().data
    check("models: one at least", len(models) >= 1)
    name = models[0].id
    check("models: retrieve", client.models.retrieve(name).id == name)
    check("models: context length", models[0].max_model_len > 0)
    return name


def check_whole(client, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, max_tokens=8, temperature=0, seed=1)
    answer = raw.parse()
    check("chat: request id header", bool(raw.headers.get("x-request-id")))
    check("chat: object and id",
          answer.object == "chat.completion" and answer.id.startswith("chatcmpl-"))
    check("chat: role", answer.choices[0].message.role == "assistant")
    check("chat: content", bool(answer.choices[0].message.content), answer)
    check("chat: finish reason", answer.choices[0].finish_reason in ("stop", "length"))
    check("chat: created is now", abs(answer.created - time.time()) < 60)
    check("chat: fingerprint", answer.system_fingerprint.startswith("fieldprint-"))
    usage = answer.usage
    check("chat: usage adds up", usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
          and usage.completion_tokens <= 8 and usage.prompt_tokens > 0, usage)
    check("chat: cached tokens", usage.prompt_tokens_details.cached_tokens >= 0)
    block = answer.fieldprint
    check("chat: fieldprint block", {"anchor", "attention_mass", "cached_tokens", "profile",
                                     "seeds", "ignored_fields"} <= set(block), block)
    check("chat: masses sum to one", math.isclose(sum(block["attention_mass"].values()), 1,
                                                  abs_tol=1e-3), block)
    check("chat: seed reported", block["seeds"] == [1], block)
    again = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8,
                                           temperature=0, seed=1)
    check("chat: greedy repeats itself",
          again.choices[0].message.content == answer.choices[0].message.content)
    return answer.choices[0].message.content


def check_stream(client, model, whole):
    chunks = list(client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=8, temperature=0, seed=1, stream=True,
        stream_options={"include_usage": True}))
    check("stream: first chunk has the role", chunks[0].choices[0].delta.role == "assistant")
    check("stream: one id", len({c.id for c in chunks}) == 1)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check("stream: same text as the whole answer", text == whole, (text, whole))
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    check("stream: reason only at the end",
          reasons[-1] in ("stop", "length") and not any(reasons[:-1]), reasons)
    check("stream: usage chunk is last and empty",
          chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0)
    check("stream: usage null before", all(c.usage is None for c in chunks[:-1]))
    check("stream: fieldprint on the finish chunk", bool(chunks[-2].fieldprint["profile"]))
    plain = list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=2,
                                                stream=True))
    check("stream: no usage unless asked", all(c.usage is None for c in plain))


def check_rollbacks(client, model):
    """A client that asks for rollbacks reassembles the answer that others get whole."""
    asked = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0, "seed": 1}
    optimistic = {"fieldprint": {"release": "optimistic"}}
    try:
        whole = client.chat.completions.create(**asked, extra_body=optimistic)
    except openai.BadRequestError as error:  # no anchor, or one that was not calibrated
        body = error.body or {}
        check("release: refused by name", (body.get("code"), body.get("param")) ==
              ("supervision_unavailable", "fieldprint.release"), body)
        return
    text, rollbacks = "", []
    for chunk in client.chat.completions.create(**asked, extra_body=optimistic, stream=True):
        rollback = (getattr(chunk, "fieldprint", None) or {}).get("rollback")
        if rollback:
            check("rollback: a chunk that adds nothing", chunk.choices == [], chunk)
            text = text[:rollback["from_index"]]
            rollbacks.append(rollback)
        for choice in chunk.choices:
            text += choice.delta.content or ""
    check("rollback: the stream gives the whole answer's text",
          text == whole.choices[0].message.content, (text, whole))
    stated = whole.fieldprint["supervision"][0]["rollbacks"]
    check("rollback: one event for each that is stated", len(rollbacks) == len(stated),
          (rollbacks, stated))
    plain = list(client.chat.completions.create(**asked, stream=True))
    check("rollback: none in a stream that did not ask",
          not any("rollback" in (getattr(c, "fieldprint", None) or {}) for c in plain), plain)
    check("rollback: and the same text", "".join(
        c.choices[0].delta.content or "" for c in plain if c.choices) == text, plain)


def check_sampling(client, model, whole):
    def texts(**options):
        answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8,
                                                **options)
        return [choice.message.content for choice in answer.choices]

    warm = {"temperature": 1.5}
    check("seed: same seed, same text", texts(seed=7, **warm) == texts(seed=7, **warm))
    many = {tuple(texts(seed=seed, **warm)) for seed in range(6)}
    check("seed: other seeds, other texts", len(many) > 1, many)
    three = texts(seed=7, n=3, **warm)
    check("n: three choices", len(three) == 3)
    check("n: choice i has seed + i", three[1] == texts(seed=8, **warm)[0], three)
    words = whole.split()
    stop = words[1] if len(words) > 1 else whole[1:]
    cut = client.chat.completions.create(model=model, messages=HELLO, max_tokens=8, temperature=0,
                                         stop=[stop, "\x00never"])
    check("stop: text ends before the stop string",
          cut.choices[0].message.content == whole[:whole.index(stop)],
          (cut.choices[0].message.content, stop))
    check("stop: reason", cut.choices[0].finish_reason == "stop")
    long = client.chat.completions.create(model=model, messages=HELLO, max_completion_tokens=3,
                                          extra_body={"ignore_eos": True})
    check("length: reason and count", long.choices[0].finish_reason == "length"
          and long.usage.completion_tokens == 3, long)
    check("ignored fields are listed",
          client.chat.completions.create(
              model=model, messages=HELLO, max_tokens=1, store=True,
              extra_body={"novelty": 1}).fieldprint["ignored_fields"] == ["novelty", "store"])


def check_logprobs(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=4,
                                            temperature=0, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    check("logprobs: one for each token", len(tokens) == answer.usage.completion_tokens, tokens)
    text = b"".join(bytes(token.bytes) for token in tokens).decode()
    check("logprobs: bytes spell the answer",
          text.startswith(answer.choices[0].message.content), text)
    for token in tokens:
        tops = [top.logprob for top in token.top_logprobs]
        if len(tops) != 3 or tops != sorted(tops, reverse=True) or token.logprob > 0:
            check("logprobs: three, best first", False, token)
            return
    check("logprobs: three, best first", True)
    check("logprobs: greedy takes the best", tokens[0].token == tokens[0].top_logprobs[0].token)
    pieces = [c.choices[0].logprobs.content for c in client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=4, temperature=0, logprobs=True, stream=True)
        if c.choices and c.choices[0].logprobs]
    check("logprobs: streamed too",
          [t.token for piece in pieces for t in piece] == [t.token for t in tokens])


def check_completions(client, model):
    answer = client.completions.create(model=model, prompt="Once upon a time", max_tokens=6,
                                       temperature=0, logprobs=2)
    check("completions: object and id",
          answer.object == "text_completion" and answer.id.startswith("cmpl-"))
    choice = answer.choices[0]
    check("completions: text", bool(choice.text))
    check("completions: logprob arrays are parallel",
          len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
          == len(choice.logprobs.text_offset) == answer.usage.completion_tokens, choice.logprobs)
    streamed = "".join(c.choices[0].text for c in client.completions.create(
        model=model, prompt="Once upon a time", max_tokens=6, temperature=0, stream=True))
    check("completions: streamed text is the same", streamed == choice.text)
    check("completions: default length", client.completions.create(
        model=model, prompt="1 2 3", extra_body={"ignore_eos": True}).usage.completion_tokens == 16)
    tokens = client.completions.create(model=model, prompt=[65, 66, 67], max_tokens=1)
    check("completions: token ids count as given", tokens.usage.prompt_tokens == 3, tokens.usage)


def check_errors(client, model):
    create = client.chat.completions.create
    bad = openai.BadRequestError
    refused("error: unknown model", lambda: create(model="nope", messages=HELLO),
            openai.NotFoundError, 404, "model_not_found", "model")
    refused("error: temperature", lambda: create(model=model, messages=HELLO, temperature=3),
            bad, 400, "invalid_value", "temperature")
    refused("error: no messages", lambda: create(model=model, messages=[]),
            bad, 400, "invalid_value", "messages")
    refused("error: tools", lambda: create(
        model=model, messages=HELLO,
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        bad, 400, "unsupported", "tools")
    refused("error: response_format", lambda: create(
        model=model, messages=HELLO, response_format={"type": "json_object"}),
        bad, 400, "unsupported", "response_format")
    refused("error: image", lambda: create(model=model, messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]),
        bad, 400, "unsupported", "messages[0].content[0].type")
    room = client.models.retrieve(model).max_model_len
    refused("error: context length", lambda: create(
        model=model, messages=[{"role": "user", "content": "many words " * room}]),
        bad, 400, "context_length_exceeded", "messages")
    refused("error: logit_bias outside the vocabulary",
            lambda: create(model=model, messages=HELLO, logit_bias={"99999999": 1}),
            bad, 400, "invalid_logit_bias", "logit_bias")
    refused("error: echo", lambda: client.completions.create(model=model, prompt="a", echo=True),
            bad, 400, "unsupported", "echo")


def check_cancel(client, model, url):
    before = metric(url, "fieldprint_http_cancelled_total")
    stream = client.chat.completions.create(model=model, messages=HELLO, max_tokens=400,
                                            stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()

    def freed():
        return (metric(url, "fieldprint_http_cancelled_total") == before + 1
                and metric(url, "fieldprint_requests_running") == 0)

    end = time.monotonic() + 60
    while time.monotonic() < end and not freed():
        time.sleep(0.1)
    check("cancel: a closed stream frees its place", freed())


def metric(url, name):
    text = urllib.request.urlopen(url + "/metrics").read().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else -1.0


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def check_tokenize(url):
    tokens = post(url, "/tokenize", {"prompt": "Hello world", "add_special_tokens": False})
    check("tokenize: count", tokens["count"] == len(tokens["tokens"]) > 0, tokens)
    back = post(url, "/detokenize", {"tokens": tokens["tokens"]})
    check("detokenize: round trip", back["prompt"] == "Hello world", back)


def run(url):
    # No retries: an error must show, not be repaired by trying again.
    client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0, timeout=120)
    model = check_models(client)
    whole = check_whole(client, model)
    check_stream(client, model, whole)
    check_rollbacks(client, model)
    check_sampling(client, model, whole)
    check_logprobs(client, model)
    check_completions(client, model)
    check_errors(client, model)
    check_cancel(client, model, url)
    check_tokenize(url)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    kind, target = sys.argv[1:3]
    if kind == "url":
        run(target)
    elif kind == "fake":
        server = FakeServer(target)
        run(server.url)
        server.stop()
    elif kind == "model":
        model = pathlib.Path(sys.argv[3]).resolve()
        if not model.exists():
            print(f"skipped: {model.name} was not fetched")
            sys.exit(77)
        server = ModelServer(str(pathlib.Path(target).resolve()), str(model))
        run(server.url)
        server.stop()
    else:
        sys.exit(__doc__)
    print(f"{len(FAILURES)} failures")
    sys.exit(1 if FAILURES else 0)


main()
