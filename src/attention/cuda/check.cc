#include "attention/cuda/check.h"

#include <cmath>
#include <cstdint>
#include <initializer_list>

#include "attention/cuda/workspace.h"

namespace fieldprint::cuda {
namespace {

bool aligned(const void* p, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

bool all_aligned(std::initializer_list<const void*> pointers, std::uintptr_t bytes) {
  for (const void* p : pointers) {
    if (!aligned(p, bytes)) return false;
  }
  return true;
}

}  // namespace

fp_attn_status check_shape(const fp_attn_shape* shape) {
  if (shape == nullptr) return FP_ATTN_NULL_POINTER;
  if (shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256) {
    return FP_ATTN_UNSUPPORTED_HEAD_DIM;
  }
  if (shape->page_rows != 16 && shape->page_rows != 32 && shape->page_rows != 64) {
    return FP_ATTN_UNSUPPORTED_PAGE_SIZE;
  }
  if (shape->kv_heads <= 0 || shape->q_heads <= 0 || shape->q_heads > 4096) {
    return FP_ATTN_BAD_SHAPE;
  }
  if (shape->q_heads % shape->kv_heads != 0 || shape->q_heads / shape->kv_heads > kMaxGroup) {
    return FP_ATTN_UNSUPPORTED_GROUP;
  }
  return FP_ATTN_OK;
}

fp_attn_status check_pool(const fp_attn_shape* shape, const void* k, const void* v,
                          std::int32_t pages) {
  const fp_attn_status status = check_shape(shape);
  if (status != FP_ATTN_OK) return status;
  if (k == nullptr || v == nullptr) return FP_ATTN_NULL_POINTER;
  if (!all_aligned({k, v}, 16)) return FP_ATTN_MISALIGNED_POINTER;
  constexpr std::int64_t kMaxLines = std::int64_t{1} << 31;
  constexpr std::int32_t kMaxPages = 1 << 23;  // page ids have 23 bits
  if (pages <= 0 || pages > kMaxPages) return FP_ATTN_BAD_SHAPE;
  // Coordinates of the copy engine are 32-bit and count lines of 64 elements.
  const std::int64_t lines = std::int64_t{shape->page_rows} * (shape->head_dim / 64);
  if (std::int64_t{pages} * shape->kv_heads * lines >= kMaxLines) {
    return FP_ATTN_BAD_SHAPE;
  }
  return FP_ATTN_OK;
}

fp_attn_status check_tables(const fp_attn_shape& shape, const fp_attn_tables* tables) {
  if (tables == nullptr || tables->pages == nullptr || tables->page_counts == nullptr) {
    return FP_ATTN_NULL_POINTER;
  }
  if (tables->batch <= 0 || tables->page_stride <= 0) return FP_ATTN_BAD_SHAPE;
  if (tables->batch > kMaxBatch) return FP_ATTN_BATCH_TOO_LARGE;
  if (!all_aligned({tables->pages, tables->page_counts, tables->anchor_ids, tables->anchor_pages,
                    tables->anchor_page_counts, tables->cuts},
                   4)) {
    return FP_ATTN_MISALIGNED_POINTER;
  }
  if (tables->anchor_ids == nullptr) return FP_ATTN_OK;
  if (tables->anchor_pages == nullptr || tables->anchor_page_counts == nullptr) {
    return FP_ATTN_NULL_POINTER;
  }
  if (tables->anchors <= 0 || tables->anchor_stride <= 0) return FP_ATTN_BAD_SHAPE;
  if (tables->anchor_stride > kMaxAnchorSlots / shape.page_rows) {
    return FP_ATTN_TOO_MANY_ANCHOR_ROWS;
  }
  return FP_ATTN_OK;
}

fp_attn_status check_window(const fp_attn_tables& tables, const fp_attn_window* window) {
  if (window == nullptr || window->page_positions == nullptr) return FP_ATTN_NULL_POINTER;
  if (tables.anchor_ids != nullptr && window->anchor_positions == nullptr) {
    return FP_ATTN_NULL_POINTER;
  }
  if (!all_aligned({window->page_positions, window->anchor_positions}, 4)) {
    return FP_ATTN_MISALIGNED_POINTER;
  }
  return window->rows < 1 ? FP_ATTN_BAD_WINDOW : FP_ATTN_OK;
}

fp_attn_status check_workspace(const fp_attn_tables& tables, const fp_attn_workspace* workspace,
                               WorkspaceBytes bytes_needed, const fp_attn_shape& shape) {
  if (workspace == nullptr || workspace->data == nullptr) return FP_ATTN_NULL_POINTER;
  if (!aligned(workspace->data, 256)) return FP_ATTN_MISALIGNED_POINTER;
  if (workspace->limits.max_batch <= 0 || workspace->limits.max_total_pages < 0) {
    return FP_ATTN_BAD_SHAPE;
  }
  if (workspace->limits.max_batch > kMaxBatch || tables.batch > workspace->limits.max_batch) {
    return FP_ATTN_BATCH_TOO_LARGE;
  }
  if (workspace->bytes < bytes_needed(&shape, &workspace->limits)) {
    return FP_ATTN_WORKSPACE_TOO_SMALL;
  }
  return FP_ATTN_OK;
}

fp_attn_status check_decode_args(const fp_attn_tables& tables, const fp_attn_decode_args* args) {
  if (args == nullptr || args->q == nullptr || args->o == nullptr) return FP_ATTN_NULL_POINTER;
  if (!all_aligned({args->q, args->o}, 16)) return FP_ATTN_MISALIGNED_POINTER;
  if (!all_aligned({args->beta, args->gamma, args->psi, args->lse_context, args->lse_anchor,
                    args->lse_joint, args->mass},
                   4)) {
    return FP_ATTN_MISALIGNED_POINTER;
  }
  if (!std::isfinite(args->scale) || args->scale <= 0.0F) return FP_ATTN_BAD_SCALE;
  const bool modes = tables.anchor_ids != nullptr && args->modes != nullptr;
  if (modes && (args->gamma == nullptr || args->psi == nullptr)) return FP_ATTN_NULL_POINTER;
  return FP_ATTN_OK;
}

fp_attn_status check_queries(const fp_attn_shape& shape, const fp_attn_queries* queries) {
  if (queries == nullptr || queries->starts == nullptr || queries->first_positions == nullptr ||
      queries->page_positions == nullptr) {
    return FP_ATTN_NULL_POINTER;
  }
  if (!all_aligned({queries->starts, queries->first_positions, queries->page_positions,
                    queries->anchor_positions},
                   4)) {
    return FP_ATTN_MISALIGNED_POINTER;
  }
  // Items are counted in 32 bits, one per query and query head at most; the kernel divides
  // (query, head of the group) pairs exactly below 2^29.
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (queries->tokens < 0 || queries->tokens >= 1 << 26 ||
      std::int64_t{queries->tokens} * shape.q_heads >= kMost) {
    return FP_ATTN_BAD_SHAPE;
  }
  return FP_ATTN_OK;
}

fp_attn_status check_prefill_args(const fp_attn_tables& tables, const fp_attn_queries& queries,
                                  const fp_attn_prefill_args* args) {
  if (args == nullptr) return FP_ATTN_NULL_POINTER;
  if (args->window < 0) return FP_ATTN_BAD_WINDOW;
  if (args->window > 0 && tables.anchor_ids != nullptr && queries.anchor_positions == nullptr) {
    return FP_ATTN_NULL_POINTER;
  }
  if (args->rows != FP_ATTN_ROWS_LAST && args->rows != FP_ATTN_ROWS_ALL) return FP_ATTN_BAD_ROWS;
  return check_decode_args(tables, &args->base);
}

}  // namespace fieldprint::cuda

const char* fp_attn_status_name(fp_attn_status status) {
  switch (status) {
    case FP_ATTN_OK:
      return "ok";
    case FP_ATTN_UNSUPPORTED_HEAD_DIM:
      return "unsupported_head_dim";
    case FP_ATTN_UNSUPPORTED_PAGE_SIZE:
      return "unsupported_page_size";
    case FP_ATTN_UNSUPPORTED_GROUP:
      return "unsupported_group";
    case FP_ATTN_BATCH_TOO_LARGE:
      return "batch_too_large";
    case FP_ATTN_TOO_MANY_ANCHOR_ROWS:
      return "too_many_anchor_rows";
    case FP_ATTN_MISALIGNED_POINTER:
      return "misaligned_pointer";
    case FP_ATTN_NULL_POINTER:
      return "null_pointer";
    case FP_ATTN_BAD_SHAPE:
      return "bad_shape";
    case FP_ATTN_WORKSPACE_TOO_SMALL:
      return "workspace_too_small";
    case FP_ATTN_BAD_SCALE:
      return "bad_scale";
    case FP_ATTN_NO_DEVICE:
      return "no_device";
    case FP_ATTN_UNSUPPORTED_DEVICE:
      return "unsupported_device";
    case FP_ATTN_CUDA_ERROR:
      return "cuda_error";
    case FP_ATTN_BAD_ROWS:
      return "bad_rows";
    case FP_ATTN_BAD_WINDOW:
      return "bad_window";
  }
  return "unknown_status";
}

size_t fp_attn_workspace_bytes(const fp_attn_shape* shape, const fp_attn_limits* limits) {
  if (fieldprint::cuda::check_shape(shape) != FP_ATTN_OK || limits == nullptr) return 0;
  if (limits->max_batch <= 0 || limits->max_total_pages < 0) return 0;
  return fieldprint::cuda::cut_workspace(*shape, *limits, nullptr).bytes;
}

size_t fp_attn_prefill_workspace_bytes(const fp_attn_shape* shape, const fp_attn_limits* limits) {
  if (fieldprint::cuda::check_shape(shape) != FP_ATTN_OK || limits == nullptr) return 0;
  if (limits->max_batch <= 0) return 0;
  return fieldprint::cuda::cut_prefill_workspace(*shape, *limits, nullptr).bytes;
}
