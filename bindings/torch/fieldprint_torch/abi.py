"""The C ABI of src/attention/cuda/capi.h through ctypes. Needs no torch.

The structures mirror the header; load() compares their sizes with the library's own, so that
a library of another version is refused instead of called.
"""
import ctypes
import os
import pathlib

FILE = "libfieldprint_attention.so"
VARIABLE = "FIELDPRINT_ATTENTION_LIBRARY"

_pointer = ctypes.c_void_p
_i32 = ctypes.c_int32


class Shape(ctypes.Structure):
    _fields_ = [("head_dim", _i32), ("q_heads", _i32), ("kv_heads", _i32), ("page_rows", _i32)]


class Pool(ctypes.Structure):
    _fields_ = [("k_map", ctypes.c_uint64 * 16), ("v_map", ctypes.c_uint64 * 16),
                ("k_tile_map", ctypes.c_uint64 * 16), ("v_tile_map", ctypes.c_uint64 * 16),
                ("k", _pointer), ("v", _pointer), ("shape", Shape), ("pages", _i32)]


class Limits(ctypes.Structure):
    _fields_ = [("max_batch", _i32), ("max_total_pages", _i32)]


class Workspace(ctypes.Structure):
    _fields_ = [("data", _pointer), ("bytes", ctypes.c_size_t), ("limits", Limits)]


class Tables(ctypes.Structure):
    _fields_ = [("pages", _pointer), ("page_counts", _pointer), ("page_stride", _i32),
                ("batch", _i32), ("anchor_ids", _pointer), ("anchor_pages", _pointer),
                ("anchor_page_counts", _pointer), ("anchor_stride", _i32), ("anchors", _i32),
                ("cuts", _pointer)]


class DecodeArgs(ctypes.Structure):
    _fields_ = [("q", _pointer), ("scale", ctypes.c_float), ("beta", _pointer),
                ("modes", _pointer), ("gamma", _pointer), ("psi", _pointer), ("o", _pointer),
                ("lse_context", _pointer), ("lse_anchor", _pointer), ("lse_joint", _pointer),
                ("mass", _pointer)]


class Queries(ctypes.Structure):
    _fields_ = [("starts", _pointer), ("first_positions", _pointer),
                ("page_positions", _pointer), ("anchor_positions", _pointer), ("tokens", _i32)]


class PrefillArgs(ctypes.Structure):
    _fields_ = [("base", DecodeArgs), ("rows", _i32), ("window", _i32)]


ROWS_LAST, ROWS_ALL = 0, 1
_MIRRORS = {"fp_attn_shape": Shape, "fp_attn_pool": Pool, "fp_attn_limits": Limits,
            "fp_attn_workspace": Workspace, "fp_attn_tables": Tables,
            "fp_attn_decode_args": DecodeArgs, "fp_attn_queries": Queries,
            "fp_attn_prefill_args": PrefillArgs}


class LibraryError(RuntimeError):
    """The shared library is not there or not of this version."""


def _find():
    named = os.environ.get(VARIABLE)
    if named:
        return pathlib.Path(named)
    here = pathlib.Path(__file__).resolve().parent
    places = [here / FILE]
    if len(here.parents) > 2:  # a checkout
        places.append(here.parents[2] / "build" / "cuda" / "src" / "attention" / "cuda" / FILE)
    for place in places:
        if place.exists():
            return place
    raise LibraryError(f"{FILE} not found in " + ", ".join(str(p.parent) for p in places) +
                       f"; build it (bindings/torch/README.md) or set {VARIABLE}")


def _declare(library):
    library.fp_abi_struct_bytes.restype = ctypes.c_size_t
    library.fp_abi_struct_bytes.argtypes = [ctypes.c_char_p]
    library.fp_attn_status_name.restype = ctypes.c_char_p
    library.fp_attn_status_name.argtypes = [ctypes.c_int]
    library.fp_attn_workspace_bytes.restype = ctypes.c_size_t
    library.fp_attn_workspace_bytes.argtypes = [_pointer, _pointer]
    library.fp_attn_make_pool.argtypes = [_pointer, _pointer, _pointer, _i32, _pointer]
    library.fp_attn_plan.argtypes = [_pointer] * 4
    library.fp_attn_decode.argtypes = [_pointer] * 5
    library.fp_attn_prefill_workspace_bytes.restype = ctypes.c_size_t
    library.fp_attn_prefill_workspace_bytes.argtypes = [_pointer, _pointer]
    library.fp_attn_prefill_plan.argtypes = [_pointer] * 5
    library.fp_attn_prefill.argtypes = [_pointer] * 6


def load(path=None):
    """The library, with its functions declared. Raises LibraryError."""
    path = pathlib.Path(path) if path else _find()
    try:
        library = ctypes.CDLL(str(path))
        _declare(library)
    except (OSError, AttributeError) as error:
        raise LibraryError(f"cannot use {path}: {error}") from error
    for name, mirror in _MIRRORS.items():
        theirs = library.fp_abi_struct_bytes(name.encode())
        if theirs != ctypes.sizeof(mirror):
            raise LibraryError(f"{path} is of another version: {name} has {theirs} bytes there, "
                               f"{ctypes.sizeof(mirror)} here; build both from one checkout")
    return library
