#!/usr/bin/env python3
"""The anchor commands from outside: from nothing to a promoted anchor, and what is refused.

usage: trust_test.py FIELDPRINT ANCHOR_FOLDER. Needs no model: it signs and promotes the anchor of
docs/formats/anchor.md.
"""
import base64
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

PROGRAM, TINY = sys.argv[1], pathlib.Path(sys.argv[2])
HOME = pathlib.Path(tempfile.mkdtemp())
TRUST = HOME / "state" / "trust"
ENVIRONMENT = {**{k: v for k, v in os.environ.items() if not k.startswith("FIELDPRINT_")},
               "HOME": str(HOME), "FIELDPRINT_STATE_DIR": str(HOME / "state")}
FAILED = []


class Answer:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __str__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


def run(*args):
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=60,
                          env=ENVIRONMENT, cwd=HOME)
    return Answer(done.returncode, done.stdout, done.stderr)


def check(name, good, detail=""):
    print(f"{'ok' if good else 'FAILED'}  {name}{'' if good else f': {detail}'}")
    if not good:
        FAILED.append(name)


def check_error(name, answer, code, also=""):
    check(name, answer.code == 2 and answer.err.startswith(f"fieldprint: {code}: ")
          and also in answer.err and answer.err.count("\n") == 1, answer)


def status():
    return json.loads(run("anchor", "status", "--json").out)


def standing(name):
    return {a["name"]: a["standing"] for a in status()["anchors"]}.get(name)


def add_anchor(name, text=None, called=None):
    """A copy of the tiny anchor; with a text, another one of that name."""
    folder = TRUST / "anchors" / name
    shutil.copytree(TINY, folder)
    if text is None:
        return folder
    (folder / "text").write_text(text)
    document = json.loads((folder / "anchor.json").read_text())
    document["name"] = called or name
    document["text"] = {"digest": "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
                        "size": len(text)}
    (folder / "anchor.json").write_text(json.dumps(document, sort_keys=True,
                                                   separators=(",", ":")))
    return folder


def from_nothing():
    check_error("no trust root yet", run("anchor", "status"), "trust_missing", "anchor init")
    check_error("and nothing to serve by", run("run", "--anchor", "tiny"), "trust_missing",
                "--insecure-anchors")
    made = run("anchor", "init")
    check("init", made.code == 0 and "authority.key" in made.out and "Back up" in made.out, made)
    check("init never overwrites", run("anchor", "init").err.startswith("fieldprint: trust_exists"))
    for name in ("log.key", "cosigner.key", "authority.key", "anchor.pem"):
        mode = stat.S_IMODE((TRUST / "keys" / name).stat().st_mode)
        check(f"{name} is 0600", mode == 0o600, oct(mode))
    secrets = [(TRUST / "keys" / n).read_text().strip()[-20:]
               for n in ("log.key", "cosigner.key", "authority.key")]
    check("no secret is shown", not any(s in made.out + made.err for s in secrets))
    check_error("no anchor yet", run("anchor", "sign"), "anchor_missing")


def one_person():
    add_anchor("tiny")
    check("unsigned", standing("tiny") == "anchor_unsigned", standing("tiny"))
    check_error("promote before sign", run("anchor", "promote"), "anchor_unsigned")
    signed = run("anchor", "sign")
    check("sign without flags", signed.code == 0, signed)
    check("not promoted", standing("tiny") == "anchor_not_promoted", standing("tiny"))
    check("inspect says no", run("anchor", "inspect").code == 2)
    promoted = run("anchor", "promote", "--reason", "first")
    check("promote without a name", promoted.code == 0 and "by owner" in promoted.out, promoted)
    check("promoted", standing("tiny") == "promoted", standing("tiny"))
    inspected = run("anchor", "inspect", "tiny", "--json")
    check("inspect", inspected.code == 0
          and all(c["code"] == "ok" for c in json.loads(inspected.out)["checks"]), inspected)
    check_error("an old time bound", run("anchor", "promote", "tiny", "--days", "0"),
                "option_value")
    narrow = run("anchor", "inspect", "tiny", "--tenant", "somebody-else")
    check("another tenant", narrow.code == 2 and "promotion_scope" in narrow.out, narrow)


def attacks():
    folder = TRUST / "anchors" / "tiny"
    rows = folder / "rows.safetensors"
    good = rows.read_bytes()
    rows.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    check("a flipped bit", standing("tiny") == "anchor_digest_mismatch", standing("tiny"))
    rows.write_bytes(good)
    (folder / "notes").write_text("")
    check("a file more", standing("tiny") == "anchor_unexpected_file", standing("tiny"))
    (folder / "notes").unlink()
    rows.unlink()
    outside = HOME / "rows"
    outside.write_bytes(good)
    rows.symlink_to(outside)
    check("a link", standing("tiny") == "anchor_symlink", standing("tiny"))
    rows.unlink()
    rows.write_bytes(good)
    check_error("a name that leaves the folder", run("anchor", "sign", ".."),
                "anchor_name_invalid")
    check("good again", standing("tiny") == "promoted", standing("tiny"))
    # The whole ledger as it was before the newest entry.
    kept = HOME / "old-ledger"
    shutil.copytree(TRUST / "ledger", kept)
    other = add_anchor("other", "I am Bob.\n")
    check("another anchor", run("anchor", "sign").code == 0
          and run("anchor", "promote", "other").code == 0 and other.exists())
    newer = HOME / "new-ledger"
    (TRUST / "ledger").rename(newer)
    shutil.copytree(kept, TRUST / "ledger")
    check_error("a ledger that was put back", run("anchor", "status"), "ledger_rolled_back")
    shutil.rmtree(TRUST / "ledger")
    newer.rename(TRUST / "ledger")
    check("and forth", standing("other") == "promoted", standing("other"))
    stale = run("anchor", "inspect", "other", "--max-checkpoint-age", "1")
    check("age bound is read", "at most 1 s old" in stale.out or "checkpoint_stale" in stale.out,
          stale)


def replacement():
    add_anchor("tiny-2", "I am Ada, revised.\n", called="tiny")
    check("a newer one of that name", run("anchor", "sign", "tiny-2").code == 0
          and run("anchor", "promote", "tiny-2").code == 0)
    check("the old one is superseded", standing("tiny") == "anchor_superseded", standing("tiny"))
    check("until it is promoted again", run("anchor", "promote", "tiny").code == 0
          and standing("tiny") == "promoted" and standing("tiny-2") == "anchor_superseded")


def revocation():
    revoked = run("anchor", "revoke", "other", "--promotion-only")
    check("withdraw a promotion", revoked.code == 0, revoked)
    check("withdrawn", standing("other") == "promotion_revoked", standing("other"))
    check("promoted again", run("anchor", "promote", "other").code == 0
          and standing("other") == "promoted", standing("other"))
    revoked = run("anchor", "revoke", "other", "--reason", "wrong name")
    check("revoke", revoked.code == 0 and "every tenant" in revoked.out, revoked)
    check("revoked", standing("other") == "anchor_revoked", standing("other"))
    size = status()["ledger_size"]
    check_error("it does not come back", run("anchor", "promote", "other"), "anchor_revoked")
    check("and no entry is made in vain", status()["ledger_size"] == size)


def several_people():
    """From one key to two of three, then a promotion by two, passed on in a file."""
    for name in ("bob", "eve"):
        folder = HOME / name
        folder.mkdir()
        # Another trust folder's authority key serves as another person's key.
        made = subprocess.run([PROGRAM, "anchor", "init", "--trust-dir", str(folder)],
                              capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
        check(f"{name} has a key", made.returncode == 0, made.stderr)
        if name == "bob":
            check_error("a name that is taken",
                        run("anchor", "rotate", "--add-authority",
                            folder / "keys" / "authority.pub"), "root_key_duplicate")
    answer = run("anchor", "rotate", "--new-authority", "second", "--new-authority-typo", "x")
    check("unknown flag", answer.code == 2)
    check_error("nothing to do", run("anchor", "rotate"), "missing_argument")
    check_error("too high a threshold", run("anchor", "rotate", "--threshold", "root=9"),
                "root_role_invalid")
    answer = run("anchor", "rotate", "--new-authority", "second", "--threshold", "promotion=2",
                 "--threshold", "revocation=2")
    check("share the power", answer.code == 0 and "version 2" in answer.out, answer)
    check("what one signed is not enough now", standing("tiny") == "promotion_keys_retired",
          standing("tiny"))
    second = TRUST / "keys" / "authority-second.key"
    away = HOME / "second.key"
    second.rename(away)
    check_error("one of two", run("anchor", "promote", "tiny"), "threshold_not_met", "--envelope")
    envelope = HOME / "tiny.promotion"
    first = run("anchor", "promote", "tiny", "--envelope", envelope)
    check("one signs", first.code == 0 and "1 of 2" in first.out, first)
    twice = run("anchor", "promote", "tiny", "--envelope", envelope)
    check("twice is once", twice.code == 0 and "1 of 2" in twice.out, twice)
    document = json.loads(envelope.read_text())
    document["signatures"] *= 2
    forged = HOME / "forged"
    forged.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    check("a copy is none", "1 of 2" in run("anchor", "promote", "tiny", "--envelope", forged).out)
    strange = run("anchor", "promote", "tiny", "--envelope", envelope, "--key",
                  HOME / "bob" / "keys" / "log.key")
    check_error("a key without the role", strange, "authority_key_foreign")
    check_error("another anchor's envelope",
                run("anchor", "revoke", "tiny", "--envelope", envelope), "envelope_subject")
    both = run("anchor", "promote", "tiny", "--envelope", envelope, "--key", away)
    check("the other signs", both.code == 0 and "owner, second" in both.out, both)
    check("promoted by two", standing("tiny") == "promoted", standing("tiny"))
    payload = json.loads(base64.b64decode(json.loads(envelope.read_text())["payload"]))
    check("an in-toto statement", payload["_type"] == "https://in-toto.io/Statement/v1"
          and payload["predicateType"] == "https://fieldprint/promotion/v1")
    check("its place in the line", payload["predicate"]["sequence"] == 4
          and payload["predicate"]["previous"].startswith("sha256:"))


def override():
    leave = HOME / "leave.json"
    made = run("anchor", "override", "tiny", "--envelope", leave, "--minutes", "5", "--session",
               "s-1")
    check("override", made.code == 0 and leave.exists(), made)
    payload = json.loads(base64.b64decode(json.loads(leave.read_text())["payload"]))
    predicate = payload["predicate"]
    check("short-lived, for one session", predicate["not_after"] - predicate["not_before"] == 300
          and predicate["request"]["session"] == "s-1" and len(predicate["nonce"]) == 32)
    check_error("override needs a place to go", run("anchor", "override", "tiny"),
                "missing_argument")


def other_keys():
    answer = run("anchor", "rotate", "--new-anchor-key")
    check("a new anchor key", answer.code == 0 and "version 3" in answer.out, answer)
    check("old signatures are not known now", standing("tiny") == "anchor_key_unknown",
          standing("tiny"))
    check("signed again", run("anchor", "sign", "tiny").code == 0
          and standing("tiny") == "promoted", standing("tiny"))
    check("three roots are kept", sorted(p.name for p in (TRUST / "roots").iterdir()) ==
          ["1.json", "2.json"])
    (TRUST / "roots" / "1.json").rename(HOME / "1.json")
    check_error("a root that is missing", run("anchor", "status"), "trust_incomplete")
    (HOME / "1.json").rename(TRUST / "roots" / "1.json")
    differs = run("anchor", "diff", "tiny", "other")
    check("diff", differs.code == 3 and "- I am Ada." in differs.out and "+ I am Bob." in
          differs.out, differs)
    check("diff of the same", run("anchor", "diff", "tiny", "tiny").code == 0)
    key = TRUST / "keys" / "authority.key"
    key.chmod(0o644)
    answer = run("anchor", "promote", "tiny")
    check("a key that others can read", answer.code == 2
          and answer.err.startswith("fieldprint: key_file_permissions"), answer)
    key.chmod(0o600)


try:
    for part in (from_nothing, one_person, attacks, replacement, revocation, several_people,
                 override, other_keys):
        part()
finally:
    shutil.rmtree(HOME)
sys.exit(1 if FAILED else 0)
