// Refuses bad arguments by name, before anything is launched. Host code, no CUDA calls.
#pragma once

#include <cstdint>

#include "attention/cuda/capi.h"

namespace fieldprint::cuda {

fp_attn_status check_shape(const fp_attn_shape* shape);
fp_attn_status check_pool(const fp_attn_shape* shape, const void* k, const void* v,
                          std::int32_t pages);
fp_attn_status check_tables(const fp_attn_shape& shape, const fp_attn_tables* tables);
fp_attn_status check_window(const fp_attn_tables& tables, const fp_attn_window* window);
// bytes_needed: fp_attn_workspace_bytes or fp_attn_prefill_workspace_bytes.
using WorkspaceBytes = size_t (*)(const fp_attn_shape*, const fp_attn_limits*);
fp_attn_status check_workspace(const fp_attn_tables& tables, const fp_attn_workspace* workspace,
                               WorkspaceBytes bytes_needed, const fp_attn_shape& shape);
fp_attn_status check_decode_args(const fp_attn_tables& tables, const fp_attn_decode_args* args);
fp_attn_status check_queries(const fp_attn_shape& shape, const fp_attn_queries* queries);
fp_attn_status check_prefill_args(const fp_attn_tables& tables, const fp_attn_queries& queries,
                                  const fp_attn_prefill_args* args);

}  // namespace fieldprint::cuda
