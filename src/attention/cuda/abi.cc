// The sizes that bindings in other languages compare with their own mirrors of the structs.
#include <cstring>

#include "attention/cuda/kv_capi.h"

size_t fp_abi_struct_bytes(const char* name) {
  if (name == nullptr) return 0;
  const struct {
    const char* name;
    size_t bytes;
  } known[] = {
      {"fp_attn_shape", sizeof(fp_attn_shape)},
      {"fp_attn_pool", sizeof(fp_attn_pool)},
      {"fp_attn_limits", sizeof(fp_attn_limits)},
      {"fp_attn_workspace", sizeof(fp_attn_workspace)},
      {"fp_attn_tables", sizeof(fp_attn_tables)},
      {"fp_attn_window", sizeof(fp_attn_window)},
      {"fp_attn_decode_args", sizeof(fp_attn_decode_args)},
      {"fp_attn_queries", sizeof(fp_attn_queries)},
      {"fp_attn_prefill_args", sizeof(fp_attn_prefill_args)},
      {"fp_kv_cache", sizeof(fp_kv_cache)},
      {"fp_kv_rope_spec", sizeof(fp_kv_rope_spec)},
      {"fp_kv_rope", sizeof(fp_kv_rope)},
      {"fp_kv_tokens", sizeof(fp_kv_tokens)},
      {"fp_kv_append_args", sizeof(fp_kv_append_args)},
      {"fp_kv_scrub", sizeof(fp_kv_scrub)},
      {"fp_kv_scrub_state", sizeof(fp_kv_scrub_state)},
      {"fp_kv_scrub_report", sizeof(fp_kv_scrub_report)},
  };
  for (const auto& entry : known) {
    if (std::strcmp(entry.name, name) == 0) return entry.bytes;
  }
  return 0;
}
