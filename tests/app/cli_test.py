#!/usr/bin/env python3
"""The fieldprint program from outside: exit codes, error lines, output of each command.

usage: cli_test.py PROGRAM MODEL.gguf   (exit 77: the model is not there, so ctest skips)
Standard library only. Each check prints its name; the first failures are listed at the end.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
MODEL = pathlib.Path(sys.argv[2])
if "FIELDPRINT_MODELS_DIR" in os.environ:
    MODEL = pathlib.Path(os.environ["FIELDPRINT_MODELS_DIR"]) / MODEL.name
SOURCE = pathlib.Path(__file__).resolve().parents[2]
KEEPER = SOURCE / "examples/anchors/keeper.txt"
FAILURES = []


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr


def run(*args, stdin="", env=None):
    """Runs the program in a world of its own: empty home, no FIELDPRINT_ variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("FIELDPRINT_", "XDG_"))}
    clean.update({"HOME": str(HOME), **(env or {})})
    done = subprocess.run([PROGRAM, *map(str, args)], input=stdin, env=clean, text=True,
                          capture_output=True, timeout=100, cwd=HOME)
    return Result(done)


def check(name, condition, result=None):
    print(("ok   " if condition else "FAIL ") + name, flush=True)
    if not condition:
        FAILURES.append(name)
        if result is not None:
            print(f"  exit {result.code}\n  out {result.out[-2000:]!r}")
            print(f"  err {result.err[-2000:]!r}")


def check_error(name, result, exit_code, code, text=""):
    """One line on stderr with the code; nothing on stdout."""
    line = result.err.strip().splitlines()[-1] if result.err.strip() else ""
    good = (result.code == exit_code and line.startswith(f"fieldprint: {code}: ")
            and text in line and result.out == "")
    check(name, good, result)


def usage_errors():
    check_error("unknown flag", run("serve", "--prot", "1"), 2, "unknown_flag", "--port")
    check_error("unknown command", run("sevre"), 2, "unknown_command", "serve")
    check_error("bad value", run("serve", "--port", "x"), 2, "option_value", "--port")
    check_error("bad environment", run("serve", env={"FIELDPRINT_PORT": "x"}), 2, "option_value",
                "FIELDPRINT_PORT")
    check_error("missing config", run("serve", "--config", "none.toml"), 2, "config_missing")
    check_error("no model", run("tokenize", "x"), 2, "model_missing", "-m")
    help_page = run("help", "serve")
    check("help", help_page.code == 0 and "--port" in help_page.out
          and "examples:" in help_page.out, help_page)
    check("help of a part", "anchor show" in run("help", "anchor").out)
    version = run("version", "--json")
    check("version", {"version", "commit", "ggml", "isa"} <= json.loads(version.out).keys())
    full = pathlib.Path("/dev/full")
    if full.exists():
        with full.open("w") as sink:
            done = subprocess.run([PROGRAM, "help"], stdout=sink, stderr=subprocess.PIPE, text=True,
                                  timeout=60, check=False)
        check("a full disk is an error", done.returncode == 1 and "io_write" in done.stderr)


def configuration():
    config = HOME / ".config/fieldprint/fieldprint.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[server]\nport = 1111\nops_port = 2222\n[engine]\nthreads = 1\n")
    page = run("serve", "--port", "3333", "--print-config", env={"FIELDPRINT_THREADS": "2"})
    values = tomllib.loads(page.out)
    check("print-config is TOML", values["server"]["port"] == 3333
          and values["server"]["ops_port"] == 2222 and values["engine"]["threads"] == 2, page)
    check("print-config names origins", f"# {config}:3" in page.out
          and "# FIELDPRINT_THREADS" in page.out and "# --port" in page.out
          and "# default" in page.out, page)
    config.write_text("[server]\nprot = 1\n")
    check_error("config typo", run("serve"), 2, "config_unknown_key", "server.port")
    config.unlink()
    check_error("serve beyond loopback needs a key",
                run("serve", "-m", MODEL, "--host", "0.0.0.0", "--port", "0", "--ops-port", "0"),
                2, "bind_needs_api_key")


LENGTH_5 = b"\x05" + bytes(7)  # GGUF strings start with their length


def bad_models():
    data = MODEL.read_bytes()
    cases = {
        "magic.gguf": (b"GGML" + data[4:4096], "gguf_bad_magic"),
        "empty.gguf": (b"", "gguf_bad_magic"),
        "cut_header.gguf": (data[:1000], "gguf_truncated"),
        "cut_data.gguf": (data[:len(data) // 2], "gguf_truncated"),
        "tensor.gguf": (data.replace(b"blk.7.attn_q.weight", b"blk.7.attn_X.weight", 1),
                        "model_tensor_missing"),
        "architecture.gguf": (data.replace(LENGTH_5 + b"llama", LENGTH_5 + b"mamba", 1),
                              "model_unsupported"),
    }
    for name, (content, code) in cases.items():
        path = HOME / name
        path.write_bytes(content)
        result = run("complete", "-m", path, "x")
        check_error(f"bad model {name}", result, 2, code, name)
        path.unlink()
    check_error("model that is a folder", run("complete", "-m", HOME, "x"), 2, "model_missing")
    check_error("model that is not there", run("complete", "-m", "nope.gguf", "x"), 2,
                "model_missing", "nope.gguf")


def text_commands():
    lines = run("tokenize", "-m", MODEL, "Hello there <|im_end|>").out.splitlines()
    check("tokenize", lines[0].endswith("\tHello") and all("\t" in line for line in lines)
          and "2" not in [line.split("\t")[0] for line in lines])
    special = json.loads(run("tokenize", "-m", MODEL, "--json", "--special", "<|im_end|>").out)
    check("tokenize special", special["count"] == 1 and special["pieces"] == ["<|im_end|>"])
    check("tokenize stdin", run("tokenize", "-m", MODEL, "--count", stdin="").out == "0\n")
    listing = json.loads(run("models", "--models-dir", MODEL.parent, "--json").out)
    ours = [m for m in listing["models"] if pathlib.Path(m["path"]).name == MODEL.name]
    check("models", len(ours) == 1 and ours[0]["architecture"] == "llama"
          and ours[0]["chat_template"] and ours[0]["error"] is None)


def complete():
    greedy = ("--temperature", "0", "--repetition-penalty", "1", "-n", "8")
    first = run("complete", "-m", MODEL, "--raw", *greedy, "The capital of France is")
    check("complete raw", first.code == 0 and "Paris" in first.out, first)
    again = run("complete", "-m", MODEL, "--raw", *greedy, stdin="The capital of France is")
    check("complete from stdin is the same", again.out == first.out, again)
    answer = run("complete", "-m", MODEL, "--json", *greedy, "Say hello.")
    value = json.loads(answer.out)
    mass = value["attention_mass"]
    check("complete json", value["usage"]["completion_tokens"] <= 8
          and value["model_digest"].startswith("sha256:") and value["anchor_digest"] is None
          and abs(sum(mass.values()) - 1) < 1e-3 and "anchor" not in mass, answer)
    seeded = ("--temperature", "1", "--seed", "5", "-n", "12")
    check("a seed repeats", run("complete", "-m", MODEL, *seeded, "Tell me a story.").out
          == run("complete", "-m", MODEL, *seeded, "Tell me a story.").out)
    long = run("complete", "-m", MODEL, "-c", "64", *greedy, "word " * 200)
    check_error("context that does not fit", long, 2, "context_length_exceeded")


def anchors():
    folder = HOME / "keeper"
    compiled = run("anchor", "compile", "-m", MODEL, "--text", KEEPER, "-o", folder, "--json")
    made = json.loads(compiled.out)
    check("anchor compile", compiled.code == 0 and made["name"] == "keeper"
          and 100 < made["tokens"] < 250, compiled)
    shown = json.loads(run("anchor", "show", folder, "--json").out)
    check("anchor show", shown["digest"] == made["digest"] and shown["signed"] is False
          and shown["text"] == KEEPER.read_text() and shown["recipe"]["wrap"] == "system")
    listed = run("anchor", "list", HOME)
    check("anchor list", "keeper" in listed.out, listed)
    check_error("anchor compile never overwrites",
                run("anchor", "compile", "-m", MODEL, "--text", KEEPER, "-o", folder), 2,
                "anchor_exists")
    check_error("anchor show without folder", run("anchor", "show"), 2, "missing_argument")
    check_error("anchor that is not there", run("anchor", "show", HOME / "no"), 2, "anchor_missing")
    check_error("unsigned anchor is refused", run("complete", "-m", MODEL, "--anchor", folder, "x"),
                2, "trust_missing", "--insecure-anchors")
    for mode in ("joint", "gated", "floored"):
        answer = run("complete", "-m", MODEL, "--anchor", folder, "--insecure-anchors",
                     "--anchor-mode", mode, "-n", "6", "--temperature", "0", "--json",
                     "Who are you?")
        value = json.loads(answer.out or "{}")
        check(f"anchored answer, {mode}", answer.code == 0
              and value["anchor_digest"] == made["digest"]
              and value["anchor_trust"] == "insecure" and "UNSIGNED" in answer.err
              and value["usage"]["anchor_tokens"] == made["tokens"]
              and value["attention_mass"]["anchor"] > 0.01, answer)
    rows = folder / "rows.safetensors"
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    check_error("changed anchor is refused", run("complete", "-m", MODEL, "--anchor", folder,
                                                 "--insecure-anchors", "x"), 2,
                "anchor_digest_mismatch")


def chat():
    script = "What is your name?\n/mass\n/stats\n/save talk.jsonl\n/quit\nnever\n"
    args = ("run", "-m", MODEL, "--anchor-text", KEEPER, "--insecure-anchors", "-n", "12",
            "--temperature", "0")
    first = run(*args, stdin=script)
    check("chat script", first.code == 0 and "anchor" in first.out and "KV pages" in first.out
          and "\x1b[" not in first.out, first)
    check("chat banner", "UNSIGNED (development)" in first.err and "compiled now" in first.err,
          first)
    saved = [json.loads(line) for line in (HOME / "talk.jsonl").read_text().splitlines()]
    check("chat save", [m["role"] for m in saved] == ["user", "assistant"]
          and saved[0]["content"] == "What is your name?")
    second = run(*args, stdin=script)
    check("the anchor is compiled once", "compiled now" not in second.err
          and second.out.splitlines()[0] == first.out.splitlines()[0], second)
    check_error("chat command typo", run(*args, stdin="/hlep\n"), 2, "unknown_chat_command",
                "/help")


def bench():
    result = run("bench", "-m", MODEL, "-p", "16", "-n", "4", "-d", "0,16", "-r", "2", "-np", "1,2",
                 "-o", "jsonl")
    rows = [json.loads(line) for line in result.out.splitlines()]
    check("bench", result.code == 0 and len(rows) == 6 and all(r["avg_ts"] > 0 for r in rows)
          and [r["n_depth"] for r in rows] == [0, 0, 0, 16, 16, 16], result)
    table = run("bench", "-m", MODEL, "-p", "8", "-n", "2", "-r", "1")
    check("bench table", "pp8" in table.out and "tg2" in table.out and "GB/s" in table.out, table)


if not MODEL.is_file():
    print(f"{MODEL} is not there: skipped")
    sys.exit(77)
MODEL = MODEL.resolve()
with tempfile.TemporaryDirectory() as home:
    HOME = pathlib.Path(home)
    for part in (usage_errors, configuration, bad_models, text_commands, complete, anchors, chat,
                 bench):
        part()
print(f"{len(FAILURES)} failures: {FAILURES}" if FAILURES else "all good")
sys.exit(1 if FAILURES else 0)
