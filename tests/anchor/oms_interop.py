#!/usr/bin/env python3
"""Anchors' signatures against the public model_signing tool, both ways.

usage: oms_interop.py OMS_TOOL ANCHOR_FOLDER. Runs in the tools' virtual environment; exit code
77 (skipped) where model_signing is not installed there.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import model_signing
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    print(f"skipped: {error}; tools/setup.sh test installs it")
    sys.exit(77)

TOOL, TINY = sys.argv[1], pathlib.Path(sys.argv[2])
FAILED = []


def check(name, good, detail=""):
    print(f"{'ok' if good else 'FAILED'}  {name}{'' if good else f': {detail}'}")
    if not good:
        FAILED.append(name)


def make_key(folder, name, curve):
    key = ec.generate_private_key(curve)
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                         serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return secret, public


def ours(action, anchor, key):
    run = subprocess.run([TOOL, action, anchor, key], capture_output=True, text=True, timeout=60)
    return run.stdout.strip()


def theirs_signs(anchor, secret, **hashing):
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=secret)
    settings = model_signing.hashing.Config().set_ignored_paths(
        paths=[anchor / "model.sig"], ignore_git_paths=True)
    if hashing:
        settings.use_file_serialization(**hashing)
    config.set_hashing_config(settings).sign(anchor, anchor / "model.sig")


def theirs_verifies(anchor, public):
    """None, or what it says against it."""
    try:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(
            anchor, anchor / "model.sig")
        return None
    except Exception as error:  # its errors have no common type
        return f"{type(error).__name__}: {error}"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def our_signature(root, secret, public, other):
    anchor = root / "ours"
    shutil.copytree(TINY, anchor)
    check("we sign", ours("sign", anchor, secret) == "ok")
    check("the tool accepts ours", theirs_verifies(anchor, public) is None,
          theirs_verifies(anchor, public))
    check("under another key it does not", theirs_verifies(anchor, other) is not None)
    for name in ("anchor.json", "text", "rows.safetensors"):
        flip(anchor / name, -1)
        check(f"it refuses a changed {name}", theirs_verifies(anchor, public) is not None)
        check(f"so do we, {name}", ours("verify", anchor, public) != "ok")
        flip(anchor / name, -1)
    (anchor / "extra").write_text("x")
    check("it refuses a file more", theirs_verifies(anchor, public) is not None)
    check("so do we", ours("verify", anchor, public) == "anchor_unexpected_file")
    (anchor / "extra").unlink()
    moved = root / "renamed"
    anchor.rename(moved)
    check("the folder's name does not count", theirs_verifies(moved, public) is None)
    # The command that people use.
    run = subprocess.run([pathlib.Path(sys.executable).parent / "model_signing", "verify", "key",
                          moved, "--signature", moved / "model.sig", "--public_key", public],
                         capture_output=True, text=True, timeout=120)
    check("model_signing verify key", run.returncode == 0, run.stdout + run.stderr)


def their_signature(root, secret, public, other):
    anchor = root / "theirs"
    shutil.copytree(TINY, anchor)
    theirs_signs(anchor, secret)
    check("we accept the tool's", ours("verify", anchor, public) == "ok",
          ours("verify", anchor, public))
    check("not under another key", ours("verify", anchor, other) == "anchor_key_unknown")
    flip(anchor / "rows.safetensors", -1)
    check("we refuse changed rows", ours("verify", anchor, public) == "anchor_digest_mismatch")
    flip(anchor / "rows.safetensors", -1)
    theirs_signs(anchor, secret, hashing_algorithm="blake2")
    check("another hash is named", ours("verify", anchor, public) == "manifest_type_unknown")
    # A signature that leaves out the rows is a good one for the tool and none for us.
    settings = model_signing.hashing.Config().set_ignored_paths(
        paths=[anchor / "model.sig", anchor / "rows.safetensors"])
    model_signing.signing.Config().use_elliptic_key_signer(private_key=secret).set_hashing_config(
        settings).sign(anchor, anchor / "model.sig")
    check("the tool accepts what covers less", theirs_verifies(anchor, public) is None,
          theirs_verifies(anchor, public))
    check("we do not", ours("verify", anchor, public) == "anchor_manifest_mismatch")


def main():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        secret, public = make_key(root, "one", ec.SECP256R1())
        _, other = make_key(root, "two", ec.SECP256R1())
        _, p384 = make_key(root, "three", ec.SECP384R1())
        our_signature(root, secret, public, other)
        their_signature(root, secret, public, other)
        check("another curve is refused", ours("verify", root / "theirs", p384) ==
              "p256_key_invalid")
    sys.exit(1 if FAILED else 0)


main()
