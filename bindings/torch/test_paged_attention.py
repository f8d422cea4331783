#!/usr/bin/env python3
"""torch.ops.fieldprint against plain torch in float64, and prefill against torch's SDPA.

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


@unittest.skipIf(WHY, WHY)
class PagedPrefill(unittest.TestCase):
    """Prompts and chunks; pages without gaps, so that torch's attention can be the judge."""

    def make(self, heads, kv_heads, dim, page_rows, prompts, seed=0):
        """prompts: (length, queries) each, the last ones. Keyword arguments of the operator, and
        (q, k, v) of each prompt, contiguous."""
        rng = torch.Generator(device="cuda").manual_seed(seed)
        kwargs = {"generator": rng, "device": "cuda", "dtype": torch.bfloat16}
        counts = [-(-length // page_rows) for length, _ in prompts]
        pages = sum(counts) + 3
        k = torch.full((pages, kv_heads, page_rows, dim), math.nan, device="cuda",
                       dtype=torch.bfloat16)
        v = k.clone()
        free = torch.randperm(pages, generator=torch.Generator().manual_seed(seed)).tolist()
        table = torch.full((len(prompts), max(counts)), -1, dtype=torch.int32)
        positions = torch.full_like(table, -1)
        dense, starts = [], [0]
        for i, (length, queries) in enumerate(prompts):
            sides = [torch.randn(kv_heads, length, dim, **kwargs) for _ in range(2)]
            for j in range(counts[i]):
                page, first = free.pop(), j * page_rows
                rows = min(page_rows, length - first)
                for pool, side in zip((k, v), sides):
                    pool[page, :, :rows] = side[:, first:first + rows]
                table[i, j] = fieldprint_torch.pack_entries(page, 3, rows)
                positions[i, j] = first
            dense.append((torch.randn(queries, heads, dim, **kwargs), *sides))
            starts.append(starts[-1] + queries)

        def ints(values):
            return torch.as_tensor(values, dtype=torch.int32, device="cuda")
        arguments = {
            "q": torch.cat([q for q, _, _ in dense]), "k_pages": k, "v_pages": v,
            "page_table": table.cuda(), "page_counts": ints(counts),
            "page_positions": positions.cuda(), "query_starts": ints(starts),
            "first_positions": ints([length - queries for length, queries in prompts]),
            "scale": dim ** -0.5}
        return arguments, dense

    @staticmethod
    def sdpa(q, k, v, window=0):
        """torch's attention of the last queries, in float64: [queries, heads, dim]."""
        queries, length = q.shape[0], k.shape[1]
        at = torch.arange(length - queries, length, device="cuda")[:, None]
        x = torch.arange(length, device="cuda")[None, :]
        mask = (x <= at) & ((x > at - window) if window else (x <= at))
        out = torch.nn.functional.scaled_dot_product_attention(
            q.transpose(0, 1).double(), k.double(), v.double(), attn_mask=mask, enable_gqa=True)
        return out.transpose(0, 1)

    def check(self, arguments, dense, **more):
        out, lse, _, _, mass, status = torch.ops.fieldprint.paged_prefill(**arguments, **more)
        self.assertEqual(fieldprint_torch.status_names(status), [])
        starts = arguments["query_starts"].tolist()
        for i, (q, k, v) in enumerate(dense):
            want = self.sdpa(q, k, v, more.get("window", 0))
            got = out[starts[i]:starts[i + 1]].double()
            self.assertLess(((got - want).norm() / want.norm()).item(), 6e-3)
        self.assertLess((mass[..., 3] - 1).abs().max().item(), 1e-5)
        self.assertEqual(lse.shape[0], mass.shape[0])

    def test_prompts_and_chunks_against_sdpa(self):
        self.check(*self.make(32, 8, 128, 16, [(700, 700), (1, 1), (2000, 300)]))
        self.check(*self.make(9, 3, 64, 64, [(513, 513), (300, 7)]), all_rows=True)
        self.check(*self.make(4, 1, 256, 32, [(600, 600), (90, 20)]))

    def test_window_against_sdpa(self):
        self.check(*self.make(8, 2, 128, 16, [(900, 900), (50, 50)]), window=100)
        self.check(*self.make(4, 1, 256, 16, [(1100, 400)]), window=512)

    def test_last_row_equals_decode(self):
        arguments, dense = self.make(8, 2, 128, 16, [(500, 1), (77, 1)])
        prefill = torch.ops.fieldprint.paged_prefill(**arguments)
        for name in ("page_positions", "query_starts", "first_positions"):
            del arguments[name]
        decode = torch.ops.fieldprint.paged_attention(**arguments)
        self.assertLess((prefill[0] - decode[0]).abs().max().item(), 0.02)
        self.assertLess((prefill[1] - decode[1]).abs().max().item(), 2e-4)

    def test_exact_anchor_is_a_cached_prefix(self):
        arguments, _ = self.make(8, 2, 128, 16, [(400, 100)])
        prefix = 8  # pages
        arguments["cuts"] = torch.tensor([[0, prefix]], dtype=torch.int32, device="cuda")
        plain = torch.ops.fieldprint.paged_prefill(**arguments)
        table, positions = arguments["page_table"], arguments["page_positions"]

        def ints(*values):
            return torch.tensor(values, dtype=torch.int32, device="cuda")
        anchored = torch.ops.fieldprint.paged_prefill(**{
            **arguments, "cuts": None, "page_table": table[:, prefix:].contiguous(),
            "page_positions": positions[:, prefix:].contiguous(),
            "page_counts": arguments["page_counts"] - prefix, "anchor_ids": ints(0),
            "anchor_table": table[:, :prefix].contiguous(), "anchor_counts": ints(prefix),
            "anchor_positions": positions[:, :prefix].contiguous()})
        self.assertTrue(torch.equal(plain[0], anchored[0]))
        self.assertTrue(torch.equal(plain[3], anchored[3]))

    def test_passes_opcheck(self):
        arguments, _ = self.make(8, 2, 64, 16, [(50, 20)])
        torch.library.opcheck(torch.ops.fieldprint.paged_prefill.default, (), arguments,
                              test_utils=("test_schema", "test_faketensor"))

    def test_refusals(self):
        arguments, _ = self.make(8, 2, 64, 16, [(50, 20)])

        def expect(text, **changes):
            with self.assertRaisesRegex(ValueError, text):
                torch.ops.fieldprint.paged_prefill(**{**arguments, **changes})
        expect(r"query_starts has shape \[1\]", query_starts=arguments["page_counts"])
        expect("page_positions has dtype torch.int64",
               page_positions=arguments["page_positions"].long())
        expect(r"cuts has shape", cuts=arguments["page_counts"])
        expect("anchor_positions given without", anchor_positions=arguments["page_positions"])
        expect("bad_window", window=-1)


if __name__ == "__main__":
    if WHY:
        print(f"SKIPPED, attention was not tested: {WHY}", file=sys.stderr)
    result = unittest.main(verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if WHY else 0)
