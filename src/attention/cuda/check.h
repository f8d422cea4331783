// Refuses bad arguments by name, before anything is launched. Host code, no CUDA calls.
#pragma once

#include <cstdint>

#include "attention/cuda/capi.h"

namespace fieldprint::cuda {

fp_attn_status check_shape(const fp_attn_shape* shape);
fp_attn_status check_pool(const fp_attn_shape* shape, const void* k, const void* v,
                          std::int32_t pages);
fp_attn_status check_tables(const fp_attn_shape& shape, const fp_attn_tables* tables);
fp_attn_status check_workspace(const fp_attn_shape& shape, const fp_attn_tables& tables,
                               const fp_attn_workspace* workspace);
fp_attn_status check_decode_args(const fp_attn_tables& tables, const fp_attn_decode_args* args);

}  // namespace fieldprint::cuda
