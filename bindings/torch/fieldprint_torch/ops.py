"""torch.ops.fieldprint: PagedFieldprintAttention on Hopper GPUs.

paged_attention is decode, one query per sequence; paged_prefill takes any number of them. The
operators are functional: they allocate outputs and workspace (through torch's caching
allocator), plan and attend on the current stream, and never wait for the device, so they may be
captured in a CUDA graph. README.md describes the arguments.
"""
import ctypes
import functools

import torch

from fieldprint_torch import abi

_ANCHORS = ("Tensor? anchor_ids=None, Tensor? anchor_table=None, Tensor? anchor_counts=None, "
            "Tensor? beta=None, Tensor? modes=None, Tensor? gamma=None, Tensor? psi=None")
_RESULTS = ("(Tensor out, Tensor lse_context, Tensor lse_anchor, Tensor lse_joint, Tensor mass, "
            "Tensor status)")
_DECODE = ("paged_attention(Tensor q, Tensor k_pages, Tensor v_pages, Tensor page_table, "
           f"Tensor page_counts, float scale, {_ANCHORS}) -> {_RESULTS}")
_PREFILL = ("paged_prefill(Tensor q, Tensor k_pages, Tensor v_pages, Tensor page_table, "
            "Tensor page_counts, Tensor page_positions, Tensor query_starts, "
            f"Tensor first_positions, float scale, {_ANCHORS}, Tensor? anchor_positions=None, "
            f"Tensor? cuts=None, int window=0, bool all_rows=False) -> {_RESULTS}")
ANCHOR_SLOTS = 512
CLASSES = 8
STATUS_BITS = {1: "bad_page_count", 2: "bad_anchor", 4: "too_many_pages", 8: "bad_page_id",
               16: "bad_queries", 32: "bad_cuts"}

_definitions = torch.library.Library("fieldprint", "DEF")
_definitions.define(_DECODE)
_definitions.define(_PREFILL)


@functools.lru_cache(maxsize=None)
def library():
    """The shared library, found at first use."""
    return abi.load()


def _refuse(condition, message):
    if condition:
        raise ValueError("fieldprint: " + message)


def _check_tensor(name, tensor, dtype, shape, device):
    """shape: sizes, None where any will do."""
    _refuse(tensor.device != device, f"{name} is on {tensor.device}, q on {device}")
    _refuse(tensor.dtype != dtype, f"{name} has dtype {tensor.dtype}, must be {dtype}")
    wanted = "[" + ", ".join("*" if size is None else str(size) for size in shape) + "]"
    fits = tensor.dim() == len(shape) and all(
        want is None or size == want for size, want in zip(tensor.shape, shape))
    _refuse(not fits, f"{name} has shape {list(tensor.shape)}, must be {wanted}")
    _refuse(not tensor.is_contiguous(), f"{name} is not contiguous")


def _check_anchors(heads, kv_heads, batch, device, anchors):
    ids, table, counts, beta, modes, gamma, psi = anchors
    if ids is None:
        given = [name for name, tensor in zip(
            ("anchor_table", "anchor_counts", "beta", "modes", "gamma", "psi"), anchors[1:])
            if tensor is not None]
        _refuse(given, f"{', '.join(given)} given without anchor_ids")
        return
    _refuse(table is None or counts is None, "anchor_ids needs anchor_table and anchor_counts")
    _check_tensor("anchor_ids", ids, torch.int32, (batch,), device)
    _check_tensor("anchor_table", table, torch.int32, (None, None), device)
    count = table.shape[0]
    _check_tensor("anchor_counts", counts, torch.int32, (count,), device)
    if beta is not None:
        _check_tensor("beta", beta, torch.float32, (count, kv_heads, ANCHOR_SLOTS), device)
    if modes is None:
        _refuse(gamma is not None or psi is not None, "gamma and psi need modes")
        return
    _refuse(gamma is None or psi is None, "modes needs gamma and psi")
    _check_tensor("modes", modes, torch.uint8, (count,), device)
    _check_tensor("gamma", gamma, torch.float32, (count, heads), device)
    _check_tensor("psi", psi, torch.float32, (count,), device)


def _check(q, k_pages, v_pages, page_table, page_counts, *anchors):
    device = q.device
    _check_tensor("q", q, torch.bfloat16, (None, None, None), device)
    _, heads, dim = q.shape
    _check_tensor("k_pages", k_pages, torch.bfloat16, (None, None, None, dim), device)
    _check_tensor("v_pages", v_pages, torch.bfloat16, tuple(k_pages.shape), device)
    _check_tensor("page_table", page_table, torch.int32, (None, None), device)
    batch = page_table.shape[0]
    _check_tensor("page_counts", page_counts, torch.int32, (batch,), device)
    _check_anchors(heads, k_pages.shape[1], batch, device, anchors)


def _check_prefill(page_table, page_positions, query_starts, first_positions, anchor_table,
                   anchor_positions, cuts):
    device, batch = page_table.device, page_table.shape[0]
    _check_tensor("page_positions", page_positions, torch.int32, tuple(page_table.shape), device)
    _check_tensor("query_starts", query_starts, torch.int32, (batch + 1,), device)
    _check_tensor("first_positions", first_positions, torch.int32, (batch,), device)
    if anchor_positions is not None:
        _refuse(anchor_table is None, "anchor_positions given without anchor_table")
        _check_tensor("anchor_positions", anchor_positions, torch.int32,
                      tuple(anchor_table.shape), device)
    if cuts is not None:
        _check_tensor("cuts", cuts, torch.int32, (batch, 2), device)


def _call(name, *arguments):
    status = getattr(library(), name)(*arguments)
    if status != 0:
        why = library().fp_attn_status_name(status).decode()
        raise ValueError(f"fieldprint: {name} refused: {why}")


def _outputs(q, lines):
    """lines: of the statistics."""
    heads = q.shape[1]
    lse = [q.new_empty((lines, heads), dtype=torch.float32) for _ in range(3)]
    return (torch.empty_like(q), *lse, q.new_empty((lines, heads, CLASSES), dtype=torch.float32))


def _address(tensor):
    return None if tensor is None else tensor.data_ptr()


class _Step:
    """What every call hands over, with its memory. Inside torch.cuda.device(q.device)."""

    def __init__(self, workspace_bytes, q, k_pages, v_pages, page_table, page_counts, scale, lines,
                 ids, table, counts, beta, modes, gamma, psi, cuts=None):
        _, heads, dim = q.shape
        pages, kv_heads, rows, _ = k_pages.shape
        batch, width = page_table.shape
        self.shape = abi.Shape(dim, heads, kv_heads, rows)
        self.pool = abi.Pool()
        ref = ctypes.byref
        _call("fp_attn_make_pool", ref(self.shape), k_pages.data_ptr(), v_pages.data_ptr(), pages,
              ref(self.pool))
        limits = abi.Limits(batch, batch * width)
        size = workspace_bytes(ref(self.shape), ref(limits))
        self.memory = q.new_empty((max(size, 256),), dtype=torch.uint8)
        self.workspace = abi.Workspace(self.memory.data_ptr(), size, limits)
        anchors = (0, 0) if ids is None else (table.shape[1], table.shape[0])
        self.tables = abi.Tables(page_table.data_ptr(), page_counts.data_ptr(), width, batch,
                                 _address(ids), _address(table), _address(counts), *anchors,
                                 _address(cuts))
        self.outputs = _outputs(q, lines)
        self.args = abi.DecodeArgs(q.data_ptr(), scale, _address(beta), _address(modes),
                                   _address(gamma), _address(psi),
                                   *(t.data_ptr() for t in self.outputs))
        self.stream = torch.cuda.current_stream().cuda_stream

    def results(self):
        return (*self.outputs, self.memory[:4].view(torch.int32).clone())


@torch.library.impl(_definitions, "paged_attention", "CUDA")
def _paged_attention(q, k_pages, v_pages, page_table, page_counts, scale, anchor_ids=None,
                     anchor_table=None, anchor_counts=None, beta=None, modes=None, gamma=None,
                     psi=None):
    anchors = (anchor_ids, anchor_table, anchor_counts, beta, modes, gamma, psi)
    _check(q, k_pages, v_pages, page_table, page_counts, *anchors)
    batch = page_table.shape[0]
    _refuse(q.shape[0] != batch, f"page_table has {batch} rows, q has {q.shape[0]}")
    ref = ctypes.byref
    with torch.cuda.device(q.device):
        step = _Step(library().fp_attn_workspace_bytes, q, k_pages, v_pages, page_table,
                     page_counts, scale, batch, *anchors)
        _call("fp_attn_plan", ref(step.shape), ref(step.tables), ref(step.workspace), step.stream)
        _call("fp_attn_decode", ref(step.pool), ref(step.tables), ref(step.workspace),
              ref(step.args), step.stream)
        return step.results()


@torch.library.impl(_definitions, "paged_prefill", "CUDA")
def _paged_prefill(q, k_pages, v_pages, page_table, page_counts, page_positions, query_starts,
                   first_positions, scale, anchor_ids=None, anchor_table=None, anchor_counts=None,
                   beta=None, modes=None, gamma=None, psi=None, anchor_positions=None, cuts=None,
                   window=0, all_rows=False):
    anchors = (anchor_ids, anchor_table, anchor_counts, beta, modes, gamma, psi)
    _check(q, k_pages, v_pages, page_table, page_counts, *anchors)
    _check_prefill(page_table, page_positions, query_starts, first_positions, anchor_table,
                   anchor_positions, cuts)
    lines = q.shape[0] if all_rows else page_table.shape[0]
    ref = ctypes.byref
    with torch.cuda.device(q.device):
        step = _Step(library().fp_attn_prefill_workspace_bytes, q, k_pages, v_pages, page_table,
                     page_counts, scale, lines, *anchors, cuts)
        queries = abi.Queries(query_starts.data_ptr(), first_positions.data_ptr(),
                              page_positions.data_ptr(), _address(anchor_positions), q.shape[0])
        args = abi.PrefillArgs(step.args, abi.ROWS_ALL if all_rows else abi.ROWS_LAST, window)
        _call("fp_attn_prefill_plan", ref(step.shape), ref(step.tables), ref(queries),
              ref(step.workspace), step.stream)
        _call("fp_attn_prefill", ref(step.pool), ref(step.tables), ref(queries),
              ref(step.workspace), ref(args), step.stream)
        return step.results()


@torch.library.impl(_definitions, "paged_attention", "CPU")
@torch.library.impl(_definitions, "paged_prefill", "CPU")
def _no_cpu(q, *_args, **_kwargs):
    raise ValueError(f"fieldprint: q is on {q.device}, must be on a Hopper GPU")


def _fake(q, lines):
    torch._check(q.dim() == 3, lambda: "q must be [rows, q_heads, head_dim]")
    torch._check(q.dtype == torch.bfloat16, lambda: f"q has dtype {q.dtype}, must be bfloat16")
    return (*_outputs(q, lines), q.new_empty((1,), dtype=torch.int32))


@torch.library.register_fake("fieldprint::paged_attention", lib=_definitions)
def _fake_attention(q, *_args, **_kwargs):
    return _fake(q, q.shape[0])


@torch.library.register_fake("fieldprint::paged_prefill", lib=_definitions)
def _fake_prefill(q, k_pages, v_pages, page_table, *_args, all_rows=False, **_kwargs):
    return _fake(q, q.shape[0] if all_rows else page_table.shape[0])


def pack_entries(pages, classes, rows):
    """Page-table entries from page ids, classes (0..7) and rows (1..64); ints or tensors."""
    packed = torch.as_tensor(pages, dtype=torch.int64) << 9
    packed = packed | torch.as_tensor(classes, dtype=torch.int64, device=packed.device) << 6
    packed = packed | (torch.as_tensor(rows, dtype=torch.int64, device=packed.device) - 1)
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)


def status_names(status):
    """What the device found wrong with the tables; waits for the device."""
    bits = int(status.item())
    return [name for bit, name in STATUS_BITS.items() if bits & bit]
