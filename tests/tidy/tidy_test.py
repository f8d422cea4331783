#!/usr/bin/env python3
"""Each rule of tools/tidy.py: a small tree that breaks it, and the same tree put right."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import cpp_lexer  # noqa: E402
import tidy  # noqa: E402

LAYERS = "foreach(module core kv engine http)\nendforeach()\n"


def found(files):
    """Findings for a tree of {path: text}, without the path's rule message tail."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [": ".join(line.split(": ")[:2]) for line in tidy.findings(folder)]


class Rules(unittest.TestCase):
    def expect(self, bad, findings, good):
        self.assertEqual(found(bad), findings)
        self.assertEqual(found(good), [])

    def test_layer_order(self):
        def tree(module, include):
            return {"src/CMakeLists.txt": LAYERS, "src/CMakeLists.txt.in": "",
                    f"src/{module}/CMakeLists.txt": "fp_module(SOURCES a.cc)\n",
                    f"src/{module}/a.cc": f'#include "core/x.h"\n#include "{include}"\n'}
        self.expect(tree("kv", "engine/y.h"), ["src/kv/a.cc:2: layer"], tree("kv", "kv/y.h"))

    def test_unlisted_module(self):
        tree = {"src/CMakeLists.txt": LAYERS, "src/odd/CMakeLists.txt": "x(a.cc)\n",
                "src/odd/a.cc": "\n"}
        self.assertEqual(found(tree), ["src/odd/a.cc:1: layer"])

    def test_adapters(self):
        def tree(folder):
            return {"src/CMakeLists.txt": LAYERS, f"src/{folder}/CMakeLists.txt": "x(a.cc)\n",
                    f"src/{folder}/a.cc": "#include <httplib.h>\n"}
        self.expect(tree("engine"), ["src/engine/a.cc:1: adapter"], tree("http"))

    def test_file_length(self):
        self.expect({"tools/a.py": "x = 1\n" * 501}, ["tools/a.py:501: file-length"],
                    {"tools/a.py": "x = 1\n" * 500})

    def test_line_length_counts_characters_not_bytes(self):
        self.expect({"tools/a.py": "#" * 101 + "\n"}, ["tools/a.py:1: line-length"],
                    {"tools/a.py": "#" + "é" * 99 + "\n"})

    def test_function_length(self):
        def tree(lines):
            body = "int f(int a) {\n" + "  a++;\n" * (lines - 2) + "}\n"
            return {"app/CMakeLists.txt": "x(a.cc)\n", "app/a.cc": "namespace n {\n" + body + "}\n"}
        self.expect(tree(71), ["app/a.cc:2: function-length"], tree(70))

    def test_leftovers(self):
        self.expect({"a.md": "x\nTO" "DO later\n"}, ["a.md:2: leftover"],
                    {"a.md": "x\nTO" "DO(#7) later\n"})
        self.assertEqual(found({"a.md": "FIX" "ME\n"}), ["a.md:1: leftover"])

    def test_no_target(self):
        tree = {"bench/CMakeLists.txt": "add_executable(b a.cc  # old.cc\n)\n", "bench/a.cc": "\n"}
        self.expect({**tree, "bench/old.cc": "\n"}, ["bench/old.cc:1: no-target"], tree)

    def test_target_of_a_folder_above_and_of_a_loop(self):
        tree = {"bench/CMakeLists.txt": "add_executable(b cpu/a.cc cpu/kernel_${isa}.cc)\n",
                "bench/cpu/a.cc": "\n", "bench/cpu/kernel_avx2.cc": "\n"}
        self.assertEqual(found(tree), [])

    def test_target_named_from_the_root(self):
        tree = {"cmake/M.cmake": "target_sources(t PRIVATE \"${CMAKE_SOURCE_DIR}/tests/a.cc\")\n",
                "tests/a.cc": "\n"}
        self.assertEqual(found(tree), [])

    def test_blob(self):
        self.expect({"big.gguf": "x" * (256 * 1024 + 1)}, ["big.gguf:1: blob"],
                    {"big.gguf": "x" * (256 * 1024)})

    def test_forbidden_words(self):
        self.expect({"a.md": "see py" "pi.org\n"}, ["a.md:1: forbidden-word"],
                    {"a.md": "see the package\n"})

    def test_machine_paths(self):
        self.expect({"a.sh": "cd /wo" "rk/main\n"}, ["a.sh:1: machine-path"],
                    {"a.sh": "cd ./wo" "rk/main /wo" "rkshop https://a.b/wo" "rk/x\n"})

    def test_dead_header(self):
        tree = {"app/a.h": "#pragma once\n", "app/CMakeLists.txt": "x(a.cc)\n"}
        self.expect({**tree, "app/a.cc": "\n"}, ["app/a.h:1: dead-header"],
                    {**tree, "app/a.cc": '#include "a.h"\n'})

    def test_guard(self):
        tree = {"app/a.cc": '#include "a.h"\n', "app/CMakeLists.txt": "x(a.cc)\n"}
        self.expect({**tree, "app/a.h": "\n"}, ["app/a.h:1: guard"],
                    {**tree, "app/a.h": "#pragma once\n"})

    def test_banned_calls_outside_comments_and_strings(self):
        def tree(text):
            return {"app/CMakeLists.txt": "x(a.cc)\n", "app/a.cc": text}
        self.expect(tree("void f() { assert(true); }\n"), ["app/a.cc:1: banned"],
                    tree('// assert(x)\nconst char* s = "assert(x)";\nvoid my_assert(int);\n'
                         "static_assert(true);\n"))


class Lexer(unittest.TestCase):
    def lines(self, text):
        return cpp_lexer.functions(cpp_lexer.blank(text))

    def test_functions_of_many_shapes(self):
        self.assertEqual(self.lines("struct S {\n  S() : a(1) {\n  }\n  int a;\n};\n"), [(2, 3)])
        self.assertEqual(self.lines("auto f() -> int {\n  return 1;\n}\n"), [(1, 3)])
        self.assertEqual(self.lines("TEST(A, B) {\n  auto g = [](int x) {\n  };\n}\n"), [(1, 4)])
        self.assertEqual(self.lines("bool operator==(A, B) {\n}\n"), [(1, 2)])
        self.assertEqual(self.lines("template <class T>\nT f(T t) {\n}\n"), [(2, 3)])

    def test_not_functions(self):
        self.assertEqual(self.lines("namespace a {\nstruct B {\n};\n}\n"), [])
        self.assertEqual(self.lines("const int k = f(1);\nconst X x = {\n 1,\n};\n"), [])
        self.assertEqual(self.lines("const T t[] = {\n {g(1)},\n};\n"), [])

    def test_braces_in_literals_and_comments_do_not_count(self):
        text = 'void f() {\n  g("}}", \'{\', R"x({{)x", 1\'000);  // }\n  /* } */\n}\n'
        self.assertEqual(self.lines(text), [(1, 4)])
        self.assertEqual(self.lines("#define X {\nvoid f() {\n}\n"), [(2, 3)])


if __name__ == "__main__":
    unittest.main()
