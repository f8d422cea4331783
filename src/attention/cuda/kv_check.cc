#include "attention/cuda/kv_check.h"

#include <cmath>
#include <cstring>
#include <initializer_list>

#include "attention/cuda/kernels/page_hash.h"

namespace fieldprint::cuda {
namespace {

constexpr std::int32_t kMaxPages = 1 << 23;  // page ids have 23 bits
constexpr std::int32_t kMaxHeads = 4096;
constexpr std::int64_t kInt32Range = std::int64_t{1} << 31;

fp_kv_status first_error(std::initializer_list<fp_kv_status> statuses) {
  for (const fp_kv_status status : statuses) {
    if (status != FP_KV_OK) return status;
  }
  return FP_KV_OK;
}

fp_kv_status check_pointers(std::initializer_list<const void*> pointers, std::uintptr_t bytes) {
  for (const void* p : pointers) {
    if (p == nullptr) return FP_KV_NULL_POINTER;
  }
  for (const void* p : pointers) {
    if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0) return FP_KV_MISALIGNED_POINTER;
  }
  return FP_KV_OK;
}

fp_kv_status check_context_tables(const fp_attn_tables* tables) {
  if (tables == nullptr) return FP_KV_NULL_POINTER;
  if (tables->batch <= 0 || tables->page_stride <= 0) return FP_KV_BAD_SHAPE;
  return check_pointers({tables->pages, tables->page_counts}, 4);
}

fp_kv_status check_rope(const fp_kv_rope* rope, std::int32_t head_dim) {
  if (rope == nullptr) return FP_KV_NULL_POINTER;
  const bool known = rope->style == FP_KV_ROPE_ADJACENT || rope->style == FP_KV_ROPE_HALVES;
  const bool fits = rope->dims >= 0 && rope->dims <= head_dim && rope->dims % 16 == 0;
  return known && fits ? FP_KV_OK : FP_KV_BAD_ROPE;
}

fp_kv_status check_stride(std::int64_t stride, std::int32_t heads, const fp_attn_shape& shape) {
  const std::int64_t least = std::int64_t{heads} * shape.head_dim;
  return stride >= least && stride % 8 == 0 ? FP_KV_OK : FP_KV_BAD_STRIDE;
}

fp_kv_status check_rows(const fp_attn_shape& shape, const fp_kv_append_args* args) {
  if (args == nullptr) return FP_KV_NULL_POINTER;
  const fp_kv_status status = first_error({
      check_pointers({args->k, args->v}, 16),
      check_pointers({args->status}, 4),
      check_stride(args->k_stride, shape.kv_heads, shape),
      check_stride(args->v_stride, shape.kv_heads, shape),
  });
  if (status != FP_KV_OK || args->q == nullptr) return status;
  if (shape.q_heads <= 0 || shape.q_heads > kMaxHeads) return FP_KV_BAD_SHAPE;
  return first_error({check_pointers({args->q, args->q_out}, 16),
                      check_stride(args->q_stride, shape.q_heads, shape),
                      check_stride(args->q_out_stride, shape.q_heads, shape)});
}

bool positive(float x) { return std::isfinite(x) && x > 0.0F; }

}  // namespace

fp_kv_status check_kv_shape(const fp_attn_shape* shape) {
  if (shape == nullptr) return FP_KV_NULL_POINTER;
  if (shape->head_dim != 64 && shape->head_dim != 128 && shape->head_dim != 256) {
    return FP_KV_UNSUPPORTED_HEAD_DIM;
  }
  if (shape->page_rows != 16 && shape->page_rows != 32 && shape->page_rows != 64) {
    return FP_KV_UNSUPPORTED_PAGE_SIZE;
  }
  return shape->kv_heads > 0 && shape->kv_heads <= kMaxHeads ? FP_KV_OK : FP_KV_BAD_SHAPE;
}

fp_kv_status check_cache(const fp_kv_cache* cache) {
  if (cache == nullptr) return FP_KV_NULL_POINTER;
  fp_kv_status status = check_kv_shape(&cache->shape);
  if (status != FP_KV_OK) return status;
  if (cache->layers <= 0 || cache->layers > FP_KV_MAX_LAYERS) return FP_KV_BAD_LAYER;
  if (cache->pages <= 0 || cache->pages > kMaxPages) return FP_KV_BAD_SHAPE;
  for (std::int32_t i = 0; i < cache->layers && status == FP_KV_OK; ++i) {
    status = check_pointers({cache->k[i], cache->v[i]}, 16);
  }
  return status;
}

fp_kv_status check_append(const fp_kv_cache* cache, std::int32_t layer,
                          const fp_attn_tables* tables, const fp_kv_tokens* tokens,
                          const fp_kv_rope* rope, const fp_kv_append_args* args) {
  const fp_kv_status status = check_cache(cache);
  if (status != FP_KV_OK) return status;
  if (layer < 0 || layer >= cache->layers) return FP_KV_BAD_LAYER;
  if (tokens == nullptr) return FP_KV_NULL_POINTER;
  if (tokens->tokens < 0) return FP_KV_BAD_SHAPE;
  return first_error({check_context_tables(tables),
                      check_pointers({tokens->sequences, tokens->slots, tokens->positions}, 4),
                      check_pointers({tokens->classes}, 1), check_rope(rope, cache->shape.head_dim),
                      check_rows(cache->shape, args)});
}

fp_kv_status check_copies(const fp_kv_cache* cache, const fp_kv_page_pair* pairs,
                          const std::int32_t* count, std::int32_t max_pairs,
                          const std::uint32_t* status) {
  if (max_pairs <= 0 || max_pairs > FP_KV_MAX_COPIES) return FP_KV_BAD_SHAPE;
  return first_error(
      {check_cache(cache), check_pointers({pairs}, 8), check_pointers({count, status}, 4)});
}

fp_kv_status check_scrub(const fp_kv_cache* cache, const fp_kv_scrub* scrub) {
  const fp_kv_status status = check_cache(cache);
  if (status != FP_KV_OK) return status;
  if (scrub == nullptr) return FP_KV_NULL_POINTER;
  if (scrub->max_pins <= 0 || std::int64_t{scrub->max_pins} * cache->layers >= kInt32Range) {
    return FP_KV_BAD_SHAPE;
  }
  return first_error({check_pointers({scrub->entries, scrub->count}, 4),
                      check_pointers({scrub->digests, scrub->state, scrub->report}, 8)});
}

}  // namespace fieldprint::cuda

const char* fp_kv_status_name(fp_kv_status status) {
  switch (status) {
    case FP_KV_OK:
      return "ok";
    case FP_KV_UNSUPPORTED_HEAD_DIM:
      return "unsupported_head_dim";
    case FP_KV_UNSUPPORTED_PAGE_SIZE:
      return "unsupported_page_size";
    case FP_KV_BAD_SHAPE:
      return "bad_shape";
    case FP_KV_BAD_LAYER:
      return "bad_layer";
    case FP_KV_BAD_ROPE:
      return "bad_rope";
    case FP_KV_BAD_STRIDE:
      return "bad_stride";
    case FP_KV_MISALIGNED_POINTER:
      return "misaligned_pointer";
    case FP_KV_NULL_POINTER:
      return "null_pointer";
    case FP_KV_NO_DEVICE:
      return "no_device";
    case FP_KV_UNSUPPORTED_DEVICE:
      return "unsupported_device";
    case FP_KV_CUDA_ERROR:
      return "cuda_error";
  }
  return "unknown_status";
}

fp_kv_status fp_kv_make_rope(const fp_kv_rope_spec* spec, fp_kv_rope* rope) {
  using fieldprint::cuda::positive;
  if (spec == nullptr || rope == nullptr) return FP_KV_NULL_POINTER;
  const bool known = spec->style == FP_KV_ROPE_ADJACENT || spec->style == FP_KV_ROPE_HALVES;
  if (!known || spec->dims < 0 || spec->dims > 2 * FP_KV_MAX_ROPE_PAIRS || spec->dims % 16 != 0 ||
      !positive(spec->base) || !positive(spec->scale)) {
    return FP_KV_BAD_ROPE;
  }
  constexpr double kTurn = 6.283185307179586;
  fp_kv_rope made{};
  made.style = spec->style;
  made.dims = spec->dims;
  for (int i = 0; i < spec->dims / 2; ++i) {
    const float factor = spec->factors == nullptr ? 1.0F : spec->factors[i];
    if (!positive(factor)) return FP_KV_BAD_ROPE;
    const double power = std::pow(double{spec->base}, -2.0 * i / spec->dims);
    made.turns[i] = power * double{spec->scale} / double{factor} / kTurn;
  }
  *rope = made;
  return FP_KV_OK;
}

uint64_t fp_kv_hash_page(const fp_attn_shape* shape, int32_t rows, const void* k, const void* v) {
  if (fieldprint::cuda::check_kv_shape(shape) != FP_KV_OK || rows <= 0 || rows > shape->page_rows ||
      k == nullptr || v == nullptr) {
    return 0;
  }
  const int words_per_row = shape->head_dim / 4;
  const auto block = static_cast<std::uint32_t>(shape->kv_heads * shape->page_rows * words_per_row);
  std::uint64_t hash = 0;
  for (std::uint32_t place = 0; place < block; ++place) {
    const auto row = place / static_cast<std::uint32_t>(words_per_row) %
                     static_cast<std::uint32_t>(shape->page_rows);
    if (row >= static_cast<std::uint32_t>(rows)) continue;
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(k) + std::size_t{8} * place, sizeof(word));
    hash += fieldprint::cuda::mix_word(word, place);
    std::memcpy(&word, static_cast<const char*>(v) + std::size_t{8} * place, sizeof(word));
    hash += fieldprint::cuda::mix_word(word, place + block);
  }
  return hash;
}
