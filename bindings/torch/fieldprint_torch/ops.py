"""torch.ops.fieldprint.paged_attention: PagedFieldprintAttention on Hopper GPUs.

The operator is functional: it allocates its outputs and its workspace (through torch's
caching allocator), plans and attends on the current stream, and never waits for the device,
so it may be captured in a CUDA graph. README.md describes the arguments.
"""
import ctypes
import functools

import torch

from fieldprint_torch import abi

_SCHEMA = ("paged_attention(Tensor q, Tensor k_pages, Tensor v_pages, Tensor page_table, "
           "Tensor page_counts, float scale, Tensor? anchor_ids=None, "
           "Tensor? anchor_table=None, Tensor? anchor_counts=None, Tensor? beta=None, "
           "Tensor? modes=None, Tensor? gamma=None, Tensor? psi=None) -> "
           "(Tensor out, Tensor lse_context, Tensor lse_anchor, Tensor lse_joint, Tensor mass, "
           "Tensor status)")
ANCHOR_SLOTS = 512
CLASSES = 8
STATUS_BITS = {1: "bad_page_count", 2: "bad_anchor", 4: "too_many_pages", 8: "bad_page_id",
               16: "bad_queries"}

_definitions = torch.library.Library("fieldprint", "DEF")
_definitions.define(_SCHEMA)


@functools.lru_cache(maxsize=None)
def library():
    """The shared library, found at first use."""
    return abi.load()


def _refuse(condition, message):
    if condition:
        raise ValueError("fieldprint::paged_attention: " + message)


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
    batch, heads, dim = q.shape
    _check_tensor("k_pages", k_pages, torch.bfloat16, (None, None, None, dim), device)
    _check_tensor("v_pages", v_pages, torch.bfloat16, tuple(k_pages.shape), device)
    kv_heads = k_pages.shape[1]
    _check_tensor("page_table", page_table, torch.int32, (batch, None), device)
    _check_tensor("page_counts", page_counts, torch.int32, (batch,), device)
    _check_anchors(heads, kv_heads, batch, device, anchors)


def _call(name, *arguments):
    status = getattr(library(), name)(*arguments)
    if status != 0:
        why = library().fp_attn_status_name(status).decode()
        raise ValueError(f"fieldprint::paged_attention: {name} refused: {why}")


def _outputs(q):
    batch, heads, _ = q.shape
    lse = [q.new_empty((batch, heads), dtype=torch.float32) for _ in range(3)]
    return (torch.empty_like(q), *lse, q.new_empty((batch, heads, CLASSES), dtype=torch.float32))


def _address(tensor):
    return None if tensor is None else tensor.data_ptr()


def _tables(page_table, page_counts, ids, table, counts):
    anchored = ids is not None
    return abi.Tables(page_table.data_ptr(), page_counts.data_ptr(), page_table.shape[1],
                      page_table.shape[0], _address(ids), _address(table), _address(counts),
                      table.shape[1] if anchored else 0, table.shape[0] if anchored else 0)


@torch.library.impl(_definitions, "paged_attention", "CUDA")
def _paged_attention(q, k_pages, v_pages, page_table, page_counts, scale, anchor_ids=None,
                     anchor_table=None, anchor_counts=None, beta=None, modes=None, gamma=None,
                     psi=None):
    _check(q, k_pages, v_pages, page_table, page_counts, anchor_ids, anchor_table, anchor_counts,
           beta, modes, gamma, psi)
    batch, heads, dim = q.shape
    pages, kv_heads, rows, _ = k_pages.shape
    shape = abi.Shape(dim, heads, kv_heads, rows)
    limits = abi.Limits(batch, batch * page_table.shape[1])
    ref = ctypes.byref
    with torch.cuda.device(q.device):
        pool = abi.Pool()
        _call("fp_attn_make_pool", ref(shape), k_pages.data_ptr(), v_pages.data_ptr(), pages,
              ref(pool))
        size = library().fp_attn_workspace_bytes(ref(shape), ref(limits))
        memory = q.new_empty((max(size, 256),), dtype=torch.uint8)
        workspace = abi.Workspace(memory.data_ptr(), size, limits)
        tables = _tables(page_table, page_counts, anchor_ids, anchor_table, anchor_counts)
        outputs = _outputs(q)
        args = abi.DecodeArgs(q.data_ptr(), scale, _address(beta), _address(modes),
                              _address(gamma), _address(psi), *(t.data_ptr() for t in outputs))
        stream = torch.cuda.current_stream().cuda_stream
        _call("fp_attn_plan", ref(shape), ref(tables), ref(workspace), stream)
        _call("fp_attn_decode", ref(pool), ref(tables), ref(workspace), ref(args), stream)
        status = memory[:4].view(torch.int32).clone()
    return (*outputs, status)


@torch.library.impl(_definitions, "paged_attention", "CPU")
def _no_cpu(q, *_args, **_kwargs):
    raise ValueError(f"fieldprint::paged_attention: q is on {q.device}, must be on a Hopper GPU")


@torch.library.register_fake("fieldprint::paged_attention", lib=_definitions)
def _fake(q, k_pages, v_pages, page_table, page_counts, scale, anchor_ids=None,
          anchor_table=None, anchor_counts=None, beta=None, modes=None, gamma=None, psi=None):
    torch._check(q.dim() == 3, lambda: "q must be [batch, q_heads, head_dim]")
    torch._check(q.dtype == torch.bfloat16, lambda: f"q has dtype {q.dtype}, must be bfloat16")
    return (*_outputs(q), q.new_empty((1,), dtype=torch.int32))


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
