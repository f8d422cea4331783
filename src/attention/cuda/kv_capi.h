/* C ABI of the KV cache's own kernels on CUDA (Hopper, sm_90a): append with rotary
 * positions (RoPE), page copy, and the scrub that watches pinned anchor pages.
 *
 * All pointers inside structs are device pointers unless said otherwise; the caller owns
 * them. Nothing here allocates or synchronises. Every call checks its arguments before it
 * launches anything and names what it refuses; what only the device can see goes into a
 * status word or a report. All calls that launch may be captured in a CUDA graph: counts,
 * tables and tokens are read on the device.
 *
 * Layout: per layer a K and a V pool, bf16, [page][kv_head][row][head_dim]; page-table
 * entries as in attention/cuda/capi.h. head_dim is 64, 128 or 256, pages have 16, 32 or 64
 * rows. fp_attn_shape.q_heads matters to fp_kv_append alone.
 *
 * Thread rule: reentrant; calls that share pages, a status word or a scrub belong to one
 * stream at a time.
 */
#pragma once

#include "attention/cuda/capi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stable values. */
typedef enum fp_kv_status {
  FP_KV_OK = 0,
  FP_KV_UNSUPPORTED_HEAD_DIM = 1,  /* not 64, 128 or 256 */
  FP_KV_UNSUPPORTED_PAGE_SIZE = 2, /* not 16, 32 or 64 */
  FP_KV_BAD_SHAPE = 3,             /* a negative or zero size, or one past a limit named below */
  FP_KV_BAD_LAYER = 4,             /* layers not in 1..128, or a layer the cache lacks */
  FP_KV_BAD_ROPE = 5,              /* dims, base, scale or a factor, see fp_kv_rope_spec */
  FP_KV_BAD_STRIDE = 6,            /* shorter than a token's rows, or not a multiple of 8 */
  FP_KV_MISALIGNED_POINTER = 7,    /* rows: 16 bytes; digests, pairs: 8; the rest: 4 */
  FP_KV_NULL_POINTER = 8,
  FP_KV_NO_DEVICE = 9,           /* no CUDA driver or device */
  FP_KV_UNSUPPORTED_DEVICE = 10, /* not compute capability 9.0 */
  FP_KV_CUDA_ERROR = 11          /* the runtime refused; see cudaGetLastError */
} fp_kv_status;

/* Stable snake_case name, e.g. "bad_rope". */
const char* fp_kv_status_name(fp_kv_status status);

enum { FP_KV_MAX_LAYERS = 128, FP_KV_MAX_ROPE_PAIRS = 128 };

/* All layers' pools. A host object; copy freely. A page id names the same page in each. */
typedef struct fp_kv_cache {
  void* k[FP_KV_MAX_LAYERS];
  void* v[FP_KV_MAX_LAYERS];
  fp_attn_shape shape;
  int32_t layers;
  int32_t pages; /* per pool, at most 2^23 */
} fp_kv_cache;

/* Bits that kernels add to a status word. The caller zeroes it. */
enum {
  FP_KV_BAD_SEQUENCE = 1, /* append: not a row of the page table */
  FP_KV_BAD_SLOT = 2,     /* append: past the sequence's pages, or past its page's rows */
  FP_KV_BAD_PAGE_ID = 4,  /* append, copy: a page the pool lacks */
  FP_KV_BAD_CLASS = 8,    /* append: the page-table entry has another class */
  FP_KV_BAD_POSITION = 16,
  FP_KV_BAD_COUNT = 32,     /* copy: negative or above max_pairs; nothing was copied */
  FP_KV_CHAINED_COPIES = 64 /* copy: a target is another pair's source or target */
};

/* ---- append ---- */

enum {
  FP_KV_ROPE_ADJACENT = 0, /* pairs (2i, 2i+1): llama */
  FP_KV_ROPE_HALVES = 1    /* pairs (i, i + dims/2): qwen, gemma */
};

/* Pair i turns by position * base^(-2i/dims) * scale / factors[i] radians; elements from
 * dims on stay as they are. */
typedef struct fp_kv_rope_spec {
  int32_t style;
  int32_t dims;         /* a multiple of 16, 0 (no rotation) .. 256 */
  float base;           /* finite and positive, as scale and factors */
  float scale;          /* linear scaling: 1 = none */
  const float* factors; /* host, [dims/2]; NULL = 1 */
} fp_kv_rope_spec;

/* Host object. turns[i]: full turns of pair i per position, in double. */
typedef struct fp_kv_rope {
  double turns[FP_KV_MAX_ROPE_PAIRS];
  int32_t style;
  int32_t dims;
} fp_kv_rope;

fp_kv_status fp_kv_make_rope(const fp_kv_rope_spec* spec, fp_kv_rope* rope);

/* New tokens, in any order. No two may share a slot. */
typedef struct fp_kv_tokens {
  const int32_t* sequences; /* [tokens] row of the page table; -1 = padding, left alone */
  const int32_t* slots;     /* [tokens] index in that row * page_rows + row in the page */
  const int32_t* positions; /* [tokens] for RoPE, not negative */
  const uint8_t* classes;   /* [tokens] the class that the slot's entry must have */
  int32_t tokens;           /* length of the arrays; 0 does nothing */
} fp_kv_tokens;

/* One layer's rows, bf16. Strides are in elements from token to token, so that q, k and v
 * may lie in one matrix. */
typedef struct fp_kv_append_args {
  const void* k; /* [tokens][kv_heads][head_dim] */
  const void* v;
  const void* q; /* [tokens][q_heads][head_dim]; NULL = no queries */
  void* q_out;   /* may be q */
  int64_t k_stride;
  int64_t v_stride;
  int64_t q_stride;
  int64_t q_out_stride;
  uint32_t* status; /* FP_KV_BAD_... bits */
} fp_kv_append_args;

/* Turns K and q, rounds to bf16, and writes K and V into their pages and q to q_out, in
 * one launch. Of `tables` only the context's fields are read; an entry's row count already
 * includes the new row. A token that the device finds wrong is not written, and its q_out
 * becomes NaN. */
fp_kv_status fp_kv_append(const fp_kv_cache* cache, int32_t layer, const fp_attn_tables* tables,
                          const fp_kv_tokens* tokens, const fp_kv_rope* rope,
                          const fp_kv_append_args* args, void* stream);

/* ---- page copy ---- */

typedef struct fp_kv_page_pair {
  int32_t from;
  int32_t to;
} fp_kv_page_pair;

enum { FP_KV_MAX_COPIES = 4096 };

/* Copies page `from` to page `to` in every layer, all rows, for pairs[0 .. *count), in one
 * launch and in no order: where a target is also a source, or twice a target, its content is
 * undefined and the status word says so (split such lists). max_pairs: at most
 * FP_KV_MAX_COPIES; more than needed costs a microsecond or two. */
fp_kv_status fp_kv_copy_pages(const fp_kv_cache* cache, const fp_kv_page_pair* pairs,
                              const int32_t* count, int32_t max_pairs, uint32_t* status,
                              void* stream);

/* ---- scrub of pinned pages ---- */

/* What a pinned page holds is hashed when it is pinned, and again, some pages per step,
 * while it is in use. The hash of a page in one layer, over its valid rows of K and V:
 *   H = sum over 64-bit words of mix(word, place)   mod 2^64
 * (kernels/page_hash.h). mix is a bijection of the word for each place, so any damage within
 * one word changes H with certainty; damage to several words, swapped rows included, is
 * missed with probability near 2^-64. It finds faults. It is no defence against someone who
 * chooses the bytes: that is the artifact's SHA-256, which stays the authority. */
#define FP_KV_NO_PIN 0xFFFFFFFFU /* an empty place in `entries` */

enum { FP_KV_SCRUB_DAMAGED = 1, FP_KV_SCRUB_BAD_TABLE = 2 };

/* The scrub's progress; device memory, zeroed by the caller. */
typedef struct fp_kv_scrub_state {
  uint32_t cursor; /* next unit: pin * layers + layer */
  uint32_t finished;
  uint32_t claimed;  /* whether the report is taken */
  uint32_t failures; /* damaged units found, each time they are found */
  uint64_t checked;  /* units checked */
} fp_kv_scrub_state;

/* The first finding; device memory or mapped page-locked host memory, zeroed by the caller.
 * The host polls `failed` whenever it likes; the other fields are valid once it is set. Set
 * the state's `claimed` and this back to 0 to hear of the next finding. */
typedef struct fp_kv_scrub_report {
  uint32_t failed; /* 0, FP_KV_SCRUB_DAMAGED or FP_KV_SCRUB_BAD_TABLE (a page id or count) */
  int32_t pin;     /* index in `entries` */
  int32_t page;    /* page id there */
  int32_t layer;
  uint64_t expected;
  uint64_t found;
  uint64_t checked; /* fp_kv_scrub_state.checked after the last step: a sign of life */
} fp_kv_scrub_report;

typedef struct fp_kv_scrub {
  const uint32_t* entries; /* [max_pins] page-table entries of pinned pages, or FP_KV_NO_PIN */
  const int32_t* count;    /* places of `entries` in use */
  uint64_t* digests;       /* [max_pins][layers] */
  fp_kv_scrub_state* state;
  fp_kv_scrub_report* report;
  int32_t max_pins; /* times layers: below 2^31 */
} fp_kv_scrub;

/* Computes the digests of entries[first .. first + count) from what the pages hold now. */
fp_kv_status fp_kv_scrub_pin(const fp_kv_cache* cache, const fp_kv_scrub* scrub, int32_t first,
                             int32_t count, void* stream);

/* Checks the next `units` (a page in one layer each; at most 65535), going round. */
fp_kv_status fp_kv_scrub_step(const fp_kv_cache* cache, const fp_kv_scrub* scrub, int32_t units,
                              void* stream);

/* The same digest of a page that lies in host memory: k and v as in the pool,
 * [kv_head][row][head_dim], of which `rows` per head are valid. For digests that come from
 * the checked artifact and not from device memory. 0 if the shape or `rows` is refused. */
uint64_t fp_kv_hash_page(const fp_attn_shape* shape, int32_t rows, const void* k, const void* v);

/* sizeof of a struct of this ABI by its name, e.g. "fp_attn_pool"; 0 for an unknown one. For
 * bindings, which refuse a library that does not match them. */
size_t fp_abi_struct_bytes(const char* name);

#ifdef __cplusplus
}
#endif
