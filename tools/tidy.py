#!/usr/bin/env python3
"""House rules that a compiler does not check. `tools/tidy.py [ROOT]`, exit code 1 on findings.

Each finding is `path:line: rule: message`. tests/tidy/tidy_test.py shows for every rule one
source that breaks it and one that does not. What compilers and clang-tidy know better is left
to them.
"""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_lexer  # noqa: E402

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
BLOB_BYTES_MAX = 256 * 1024

CODE_FOLDERS = ("src", "app", "include", "tests", "bench", "fuzz")
CPP = {".cc", ".h", ".cu", ".cuh"}
TEXT = CPP | {".py", ".sh", ".cmake", ".md", ".txt", ".json", ".toml", ".yml", ".case", ""}
WRAPPED = CPP | {".py", ".sh", ".cmake"}

# Headers of a third party may be included only where its adapter lives.
ADAPTERS = [
    (r"httplib\.h", ("src/http/", "tests/http/", "tests/app/", "tests/e2e/")),
    (r"sqlite3\.h", ("src/store/",)),
    (r"(sodium\.h|openssl/.*)", ("src/crypto/", "tests/crypto/")),
    (r"(ggml[-\w]*\.h|gguf\.h|llama\.h)",
     ("src/model/", "src/runner/", "tests/model/", "tests/runner/", "bench/")),
    (r"CLI/.*|CLI11\.hpp|toml\+\+/.*", ("app/", "tests/app/", "fuzz/")),
]

# Calls with a better spelling here.
BANNED = [
    (r"(?<![\w.>:])assert\s*\(", "assert", "use FP_CHECK: it stays on in release builds"),
    (r"\bstd::endl\b", "std::endl", "use '\\n': endl flushes"),
    (r"\b(?:sprintf|strcpy|strcat|gets)\s*\(", "unbounded write", "use fmt or std::string"),
    (r"\b(?:atoi|atol|atof)\s*\(", "atoi", "use std::from_chars: atoi hides errors"),
    (r"(?<![\w.>:])s?rand\s*\(", "rand", "use the engine's counter RNG or <random> with a seed"),
    (r"\busing\s+namespace\s+std\b", "using namespace std", "name what is used"),
    (r"\bstd::regex\b", "std::regex", "recursion on outside input overflows the stack"),
]

# Names that must not appear in any tracked file. Put together here so that this file passes.
FORBIDDEN = [
    "py" "pi.org", "python" "hosted.org", "deb.debian" ".org", "security.debian" ".org",
    "registry.npm" "js.org", "proxy.go" "lang.org", "crates" ".io",
]
MACHINE_PATH = re.compile(r"(?<![\w./$}<-])/(?:wo" r"rk|home/\w+|tmp/w)(?=/|\b)")


class Tree:
    """The files under a root: those git knows or would add, or all of them without git."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.files = sorted(self._list())
        self._text = {}

    def _list(self):
        if (self.root / ".git").exists():
            out = subprocess.run(
                ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others",
                 "--exclude-standard"], check=True, capture_output=True).stdout
            names = [n for n in out.decode().split("\0") if n]
            return [n for n in names if (self.root / n).is_file()]
        return [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]

    def text(self, name):
        if name not in self._text:
            self._text[name] = (self.root / name).read_text(encoding="utf-8", errors="replace")
        return self._text[name]

    def bytes(self, name):
        return (self.root / name).stat().st_size

    def code(self, suffixes=CPP):
        return [f for f in self.files
                if f.split("/")[0] in CODE_FOLDERS and pathlib.Path(f).suffix in suffixes]


def is_text(name):
    return pathlib.Path(name).suffix in TEXT


def check_sizes(tree):
    for name in tree.files:
        if tree.bytes(name) > BLOB_BYTES_MAX:
            yield name, 1, "blob", f"{tree.bytes(name)} bytes, at most {BLOB_BYTES_MAX}"
        if pathlib.Path(name).suffix not in WRAPPED:
            continue
        lines = tree.text(name).splitlines()
        if len(lines) > FILE_LINES_MAX:
            yield name, len(lines), "file-length", f"{len(lines)} lines, at most {FILE_LINES_MAX}"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS_MAX:
                yield name, number, "line-length", f"{len(line)} columns, at most {COLUMNS_MAX}"


def check_functions(tree):
    for name in tree.code():
        for first, last in cpp_lexer.functions(cpp_lexer.blank(tree.text(name))):
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield (name, first, "function-length",
                       f"{last - first + 1} lines, at most {FUNCTION_LINES_MAX}")


def check_words(tree):
    leftover = re.compile(r"\bFIX" r"ME\b|\bXX" r"X\b|\bTO" r"DO\b(?!\(#\d+\))")
    for name in filter(is_text, tree.files):
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            if leftover.search(line):
                yield name, number, "leftover", "finish it, or name the issue: TO" "DO(#12)"
            for word in FORBIDDEN:
                if word in line:
                    yield name, number, "forbidden-word", f"'{word}' is not to be named"
            if match := MACHINE_PATH.search(line):
                yield name, number, "machine-path", f"'{match[0]}' exists on one machine only"


def check_banned(tree):
    for name in tree.code():
        if name.startswith("bench/"):  # reads its author's arguments only
            continue
        for number, line in enumerate(cpp_lexer.blank(tree.text(name)).splitlines(), 1):
            for pattern, what, instead in BANNED:
                if re.search(pattern, line):
                    yield name, number, "banned", f"{what}: {instead}"


def includes(text):
    """(line, spelling, is_quoted) of every #include."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line):
            yield number, match[2], match[1] == '"'


def layers(tree):
    """Module order of src/CMakeLists.txt; empty when the tree has none."""
    if "src/CMakeLists.txt" not in tree.files:
        return []
    match = re.search(r"foreach\s*\(\s*module\s+([^)]*)\)", tree.text("src/CMakeLists.txt"))
    return match[1].split() if match else []


def check_layers(tree):
    order = layers(tree)
    rank = {module: i for i, module in enumerate(order)}
    for name in tree.code():
        parts = name.split("/")
        inside = parts[0] == "src" and len(parts) > 2
        if inside and parts[1] not in rank:
            yield name, 1, "layer", f"module {parts[1]} is not in the list of src/CMakeLists.txt"
            continue
        for number, path, quoted in includes(tree.text(name)):
            target = path.split("/")[0]
            if inside and quoted and rank.get(target, -1) > rank[parts[1]]:
                yield name, number, "layer", f"{parts[1]} is below {target} and may not use it"
            for pattern, homes in ADAPTERS:
                if re.fullmatch(pattern, path) and not name.startswith(homes):
                    yield name, number, "adapter", f"<{path}> is included only in {homes[0]}"


def check_headers(tree):
    """No header that nothing includes; a guard in each but x_impl.h, compiled once per ISA."""
    included = set()
    for name in tree.code():
        folder = pathlib.PurePosixPath(name).parent
        for _, path, quoted in includes(tree.text(name)):
            included.add(path)
            if quoted:
                included.add(str(folder / path))
    for name in tree.code({".h", ".cuh"}):
        if name.startswith("include/"):
            continue
        short = name.split("/", 1)[1]
        if short not in included and name not in included:
            yield name, 1, "dead-header", "nothing includes it"
        if "#pragma once" not in tree.text(name) and not name.endswith("_impl.h"):
            yield name, 1, "guard", "#pragma once is missing"


def check_targets(tree):
    """Every .cc and .cu is named in a CMake file: relative to it, or from CMAKE_SOURCE_DIR."""
    named = []
    for name in tree.files:
        if name.endswith((".cmake", "CMakeLists.txt")):
            folder = str(pathlib.PurePosixPath(name).parent)
            text = re.sub(r"#.*", "", tree.text(name))
            for token in re.findall(r"[\w./${}-]+\.(?:cc|cu)\b", text):
                token = token.replace("${CMAKE_CURRENT_SOURCE_DIR}/", "")
                if token.startswith("${CMAKE_SOURCE_DIR}/"):
                    path = token[len("${CMAKE_SOURCE_DIR}/"):]
                else:
                    path = token if folder == "." else f"{folder}/{token}"
                pieces = re.split(r"\$\{\w+\}", path)  # a loop variable stands for anything
                named.append(re.compile("[^/]*".join(map(re.escape, pieces))))
    for name in tree.code({".cc", ".cu"}):
        if not any(pattern.fullmatch(name) for pattern in named):
            yield name, 1, "no-target", "no CMakeLists.txt names this file"


CHECKS = [check_sizes, check_functions, check_words, check_banned, check_layers, check_headers,
          check_targets]


def findings(root):
    tree = Tree(root)
    return sorted({f"{path}:{line}: {rule}: {message}" for check in CHECKS
                   for path, line, rule, message in check(tree)})


def main(argv):
    found = findings(argv[1] if len(argv) > 1 else pathlib.Path(__file__).parent.parent)
    for finding in found:
        print(finding)
    if found:
        print(f"tidy: {len(found)} finding(s)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
