// Refuses bad arguments of kv_capi.h by name, before anything is launched. Host code, no
// CUDA calls.
#pragma once

#include <cstdint>

#include "attention/cuda/kv_capi.h"

namespace fieldprint::cuda {

fp_kv_status check_kv_shape(const fp_attn_shape* shape);
fp_kv_status check_cache(const fp_kv_cache* cache);
fp_kv_status check_append(const fp_kv_cache* cache, std::int32_t layer,
                          const fp_attn_tables* tables, const fp_kv_tokens* tokens,
                          const fp_kv_rope* rope, const fp_kv_append_args* args);
fp_kv_status check_copies(const fp_kv_cache* cache, const fp_kv_page_pair* pairs,
                          const std::int32_t* count, std::int32_t max_pairs,
                          const std::uint32_t* status);
fp_kv_status check_scrub(const fp_kv_cache* cache, const fp_kv_scrub* scrub);

}  // namespace fieldprint::cuda
