"""Importing this registers torch.ops.fieldprint.{paged_attention,paged_prefill} (see ops.py)."""
from fieldprint_torch.ops import pack_entries, status_names

__all__ = ["pack_entries", "status_names"]
