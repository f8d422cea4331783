#!/usr/bin/env python3
"""torch.ops.fieldprint.paged_attention against plain torch in float64.

Runs where torch, a Hopper GPU and libfieldprint_attention.so are; elsewhere it says what is
missing, tests only that the library fits the Python mirrors of its structs, and exits with 77.
"""
import math
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "fieldprint_torch")]

import abi  # noqa: E402  (alone: the package needs torch)

try:
    import torch
except ImportError:
    torch = None

if torch is not None:
    import fieldprint_torch


def library_missing():
    try:
        abi.load()
    except abi.LibraryError as error:
        return str(error)
    return ""


def missing():
    """Why the operator cannot run here; empty if it can."""
    if torch is None:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if torch.cuda.get_device_capability() != (9, 0):
        return f"needs a Hopper GPU, this is {torch.cuda.get_device_name()}"
    return library_missing()


WHY = missing()
JOINT, GATED, FLOORED = 0, 1, 2


class Case:
    """Random pages; sequences of random lengths whose pages have random classes and rows."""

    def __init__(self, heads, kv_heads, dim, page_rows, lengths, anchors=(), seed=0):
        """anchors: (rows, mode) each; sequence i uses anchor i % (count + 1), the last is none."""
        rng = torch.Generator(device="cuda").manual_seed(seed)
        self.pages = sum(length // page_rows + 3 for length in lengths) + 40
        kwargs = {"generator": rng, "device": "cuda", "dtype": torch.bfloat16}
        self.q = torch.randn(len(lengths), heads, dim, **kwargs)
        # Rows past an entry's count are NaN: they may not matter.
        self.k = torch.full((self.pages, kv_heads, page_rows, dim), math.nan, device="cuda",
                            dtype=torch.bfloat16)
        self.v = self.k.clone()
        self.free = torch.randperm(self.pages, generator=torch.Generator().manual_seed(seed))
        self.free = self.free.tolist()
        self.page_rows, self.kwargs = page_rows, kwargs
        self.scale = dim ** -0.5
        contexts = [self.place(length, 0) for length in lengths]
        self.table, self.counts = self.rectangular(contexts)
        self.contexts = contexts
        self.anchors = [self.place(rows, 1) for rows, _ in anchors]
        self.optional = {}
        self.ids = [-1] * len(lengths)
        if anchors:
            self.add_anchors(anchors, heads, kv_heads, rng)

    def place(self, length, cls):
        """[(page, class, rows)]; anchors (cls 1) fill their pages, contexts have gaps."""
        placed = []
        while length > 0:
            rows = min(length, self.page_rows if cls else self.page_rows - len(placed) % 2)
            page = self.free.pop()
            for pool in (self.k, self.v):
                pool[page, :, :rows] = torch.randn(pool[page, :, :rows].shape, **self.kwargs)
            placed.append((page, cls or 2 + len(placed) % 5, rows))
            length -= rows
        return placed

    @staticmethod
    def rectangular(lists):
        width = max(1, max(map(len, lists)))
        table = torch.full((len(lists), width), -1, dtype=torch.int32)
        for i, entries in enumerate(lists):
            for j, entry in enumerate(entries):
                table[i, j] = fieldprint_torch.pack_entries(*entry)
        counts = torch.tensor([len(entries) for entries in lists], dtype=torch.int32)
        return table.cuda(), counts.cuda()

    def add_anchors(self, anchors, heads, kv_heads, rng):
        count = len(anchors)
        self.ids = [i % (count + 1) if i % (count + 1) < count else -1
                    for i in range(len(self.ids))]
        table, counts = self.rectangular(self.anchors)
        self.optional = {
            "anchor_ids": torch.tensor(self.ids, dtype=torch.int32, device="cuda"),
            "anchor_table": table, "anchor_counts": counts,
            "beta": torch.randn(count, kv_heads, 512, generator=rng, device="cuda"),
            "modes": torch.tensor([mode for _, mode in anchors], dtype=torch.uint8,
                                  device="cuda"),
            "gamma": torch.rand(count, heads, generator=rng, device="cuda"),
            "psi": torch.full((count,), 0.3, device="cuda")}

    def run(self):
        return torch.ops.fieldprint.paged_attention(
            self.q, self.k, self.v, self.table, self.counts, self.scale, **self.optional)

    def rows(self, pool, placed):
        """[kv_heads, rows, dim] in float64, and the rows' classes."""
        if not placed:
            return pool.new_zeros((pool.shape[1], 0, pool.shape[3]), dtype=torch.float64), []
        parts = [pool[page, :, :rows] for page, _, rows in placed]
        classes = [cls for _, cls, rows in placed for _ in range(rows)]
        return torch.cat(parts, 1).double(), classes

    def side(self, i, head, placed, beta):
        """(log-sum-exp, output, mass by class) of one side for one head."""
        group = head // (self.q.shape[1] // self.k.shape[1])
        k, classes = self.rows(self.k, placed)
        v, _ = self.rows(self.v, placed)
        scores = self.scale * (k[group] @ self.q[i, head].double())
        if beta is not None:
            scores = scores + beta[group, :len(classes)].double()
        mass = torch.zeros(8, dtype=torch.float64, device="cuda")
        if not classes:
            return -math.inf, v.new_zeros(v.shape[2]), mass
        weights = torch.softmax(scores, 0)
        mass.index_add_(0, torch.tensor(classes, device="cuda"), weights)
        return torch.logsumexp(scores, 0).item(), weights @ v[group], mass

    def weight(self, i, head, lse_context, lse_anchor):
        """The anchor side's weight (docs/attention.md)."""
        if lse_anchor == -math.inf or lse_context == -math.inf:
            return 0.0 if lse_anchor == -math.inf else 1.0
        anchor = self.ids[i]
        mode = self.optional["modes"][anchor].item()
        if mode == GATED:
            return self.optional["gamma"][anchor, head].item()
        logit = lse_anchor - lse_context
        if mode == FLOORED:
            psi = self.optional["psi"][anchor].item()
            logit += min(max(math.log(psi / (1 - psi)) - logit, 0.0), math.log(5.0))
        return 1 / (1 + math.exp(-logit))

    def expected(self, i, head):
        anchor = self.ids[i]
        placed = self.anchors[anchor] if anchor >= 0 else []
        beta = self.optional["beta"][anchor] if anchor >= 0 else None
        lse_c, out_c, mass_c = self.side(i, head, self.contexts[i], None)
        lse_a, out_a, mass_a = self.side(i, head, placed, beta)
        w = self.weight(i, head, lse_c, lse_a)
        lses = torch.tensor([lse_c, lse_a], dtype=torch.float64)
        return (w * out_a + (1 - w) * out_c, lse_c, lse_a, torch.logsumexp(lses, 0).item(),
                w * mass_a + (1 - w) * mass_c)


class Library(unittest.TestCase):
    def test_fits(self):
        why = library_missing()
        if "not found" in why:
            self.skipTest(why)
        self.assertEqual(why, "")

    def test_another_version_is_refused(self):
        if library_missing():
            self.skipTest(library_missing())

        class Longer(abi.Tables):
            _fields_ = [("added", abi.ctypes.c_int32)]

        real = abi._MIRRORS["fp_attn_tables"]
        abi._MIRRORS["fp_attn_tables"] = Longer
        try:
            with self.assertRaisesRegex(abi.LibraryError, "of another version: fp_attn_tables"):
                abi.load()
        finally:
            abi._MIRRORS["fp_attn_tables"] = real


@unittest.skipIf(WHY, WHY)
class PagedAttention(unittest.TestCase):
    def check(self, case):
        out, lse_context, lse_anchor, lse_joint, mass, status = case.run()
        self.assertEqual(fieldprint_torch.status_names(status), [])
        for i in range(case.q.shape[0]):
            for head in {0, 1, case.q.shape[1] - 1}:
                o, context, anchor, joint, masses = case.expected(i, head)
                error = (out[i, head].double() - o).norm() / max(o.norm().item(), 1e-6)
                self.assertLess(error.item(), 6e-3)
                for got, want in ((lse_context, context), (lse_anchor, anchor),
                                  (lse_joint, joint)):
                    value = got[i, head].item()
                    self.assertTrue(value == want or abs(value - want) < 2e-4, (value, want))
                self.assertLess((mass[i, head].double() - masses).abs().max().item(), 1e-4)

    def test_context_only(self):
        self.check(Case(32, 8, 128, 16, [1, 100, 1500, 0]))
        self.check(Case(9, 3, 64, 64, [77, 513, 2000]))
        self.check(Case(8, 1, 128, 32, [300]))

    def test_anchors_in_every_mode(self):
        anchors = [(512, JOINT), (100, GATED), (7, FLOORED)]
        self.check(Case(32, 8, 128, 16, [1000, 40, 600, 600, 0, 3], anchors))
        self.check(Case(14, 2, 64, 32, [100, 900, 31, 200], anchors, seed=1))

    def test_compiled_is_equal(self):
        case = Case(32, 8, 128, 16, [700, 90], [(64, JOINT)])

        def step(q):
            out = torch.ops.fieldprint.paged_attention(
                q, case.k, case.v, case.table, case.counts, case.scale, **case.optional)
            return out[0] + 1, out[4].sum(-1)

        compiled = torch.compile(step, fullgraph=True)
        for ours, theirs in zip(compiled(case.q), step(case.q)):
            self.assertTrue(torch.equal(ours, theirs))

    def test_in_a_cuda_graph(self):
        case = Case(32, 8, 128, 16, [700, 90], [(64, GATED)])
        eager = case.run()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            case.run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = case.run()
        graph.replay()
        torch.cuda.synchronize()
        for ours, theirs in zip(captured, eager):
            self.assertTrue(torch.equal(ours, theirs))

    def test_passes_opcheck(self):
        case = Case(8, 2, 64, 16, [50], [(20, JOINT)])
        torch.library.opcheck(
            torch.ops.fieldprint.paged_attention.default,
            (case.q, case.k, case.v, case.table, case.counts, case.scale), case.optional,
            test_utils=("test_schema", "test_faketensor"))

    def test_refusals(self):
        case = Case(8, 2, 64, 16, [50])
        good = {"q": case.q, "k": case.k, "v": case.v, "table": case.table,
                "counts": case.counts, "scale": case.scale, "more": {}}

        def expect(text, **changes):
            a = {**good, **changes}
            with self.assertRaisesRegex(ValueError, text):
                torch.ops.fieldprint.paged_attention(a["q"], a["k"], a["v"], a["table"],
                                                     a["counts"], a["scale"], **a["more"])
        expect("q has dtype torch.float32", q=case.q.float())
        expect(r"q has shape \[1, 8\]", q=case.q[:, :, 0].contiguous())
        expect("q is not contiguous", q=case.q.transpose(0, 1).expand(8, 1, 64).transpose(0, 1)
               .as_strided((1, 8, 64), (512, 1, 8)))
        expect("k_pages has shape", k=case.k[..., :32].contiguous())
        expect("v_pages has shape", v=case.v[1:].contiguous())
        expect("page_table has dtype torch.int64", table=case.table.long())
        expect(r"page_counts has shape \[2\]", counts=case.counts.repeat(2))
        expect("page_counts is on cpu", counts=case.counts.cpu())
        expect("bad_scale", scale=-1.0)
        expect("unsupported_group", q=case.q[:, :7].contiguous())
        expect("beta given without anchor_ids", more={"beta": case.q})
        expect("anchor_ids needs", more={"anchor_ids": case.counts})
        expect("must be on a Hopper GPU", q=case.q.cpu(), k=case.k.cpu(), v=case.v.cpu(),
               table=case.table.cpu(), counts=case.counts.cpu())

    def test_bad_tables_are_loud(self):
        case = Case(8, 2, 64, 16, [50])
        case.counts += 100
        *outputs, status = case.run()
        self.assertEqual(fieldprint_torch.status_names(status), ["bad_page_count"])
        for output in outputs:
            self.assertTrue(output.isnan().all().item())


if __name__ == "__main__":
    if WHY:
        print(f"SKIPPED, attention was not tested: {WHY}", file=sys.stderr)
    result = unittest.main(verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if WHY else 0)
