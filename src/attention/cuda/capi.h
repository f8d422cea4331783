/* C ABI of PagedFieldprintAttention on CUDA (Hopper, sm_90a).
 *
 * All pointers inside structs are device pointers unless said otherwise; the caller owns
 * them. Nothing here allocates or synchronises. Every call checks its arguments before
 * it launches anything and names what it refuses. fp_attn_plan and fp_attn_decode may be
 * captured in a CUDA graph; the plan reads lengths on the device only.
 *
 * Thread rule: a workspace belongs to one stream at a time; otherwise reentrant.
 *
 * Mathematics: attention/reference.h. K and V pools are separate, bf16, laid out
 * [page][kv_head][row][head_dim]. Page-table entries are packed as
 * page << 9 | class << 6 | (rows - 1); a page may be partially filled anywhere in a
 * sequence, and what lies in its other rows (NaN included) never matters.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Stable values. */
typedef enum fp_attn_status {
  FP_ATTN_OK = 0,
  FP_ATTN_UNSUPPORTED_HEAD_DIM = 1,  /* not 64, 128 or 256 */
  FP_ATTN_UNSUPPORTED_PAGE_SIZE = 2, /* not 16, 32 or 64 */
  FP_ATTN_UNSUPPORTED_GROUP = 3,     /* query heads per KV head: not a whole number in 1..8 */
  FP_ATTN_BATCH_TOO_LARGE = 4,       /* more than 1024 sequences, or than the workspace's limit */
  FP_ATTN_TOO_MANY_ANCHOR_ROWS = 5,  /* anchor tables wider than 512 row slots */
  FP_ATTN_MISALIGNED_POINTER = 6,    /* pools, q, o: 16 bytes; workspace: 256; the rest: 4 */
  FP_ATTN_NULL_POINTER = 7,
  FP_ATTN_BAD_SHAPE = 8, /* a negative or zero size, or a pool over 2^37 elements */
  FP_ATTN_WORKSPACE_TOO_SMALL = 9,
  FP_ATTN_BAD_SCALE = 10,          /* softmax scale not finite and positive */
  FP_ATTN_NO_DEVICE = 11,          /* no CUDA driver or device */
  FP_ATTN_UNSUPPORTED_DEVICE = 12, /* not compute capability 9.0 */
  FP_ATTN_CUDA_ERROR = 13,         /* the runtime refused; see cudaGetLastError */
  FP_ATTN_BAD_ROWS = 14,           /* fp_attn_prefill_args.rows is not an FP_ATTN_ROWS value */
  FP_ATTN_BAD_WINDOW = 15          /* a negative window, or in fp_attn_window none */
} fp_attn_status;

/* Stable snake_case name, e.g. "unsupported_head_dim". */
const char* fp_attn_status_name(fp_attn_status status);

typedef struct fp_attn_shape {
  int32_t head_dim;
  int32_t q_heads;
  int32_t kv_heads;
  int32_t page_rows;
} fp_attn_shape;

/* One layer's pool with its copy-engine descriptors. A host object; copy freely. */
typedef struct fp_attn_pool {
  uint64_t k_map[16]; /* opaque; copied to an aligned place before use */
  uint64_t v_map[16];
  uint64_t k_tile_map[16]; /* whole pages, for prefill */
  uint64_t v_tile_map[16];
  const void* k;
  const void* v;
  fp_attn_shape shape;
  int32_t pages;
} fp_attn_pool;

fp_attn_status fp_attn_make_pool(const fp_attn_shape* shape, const void* k, const void* v,
                                 int32_t pages, fp_attn_pool* pool);

/* Upper bounds that fix the workspace's size. */
typedef struct fp_attn_limits {
  int32_t max_batch;       /* sequences in a step, 1..1024 */
  int32_t max_total_pages; /* context pages of a step, summed over its sequences */
} fp_attn_limits;

size_t fp_attn_workspace_bytes(const fp_attn_shape* shape, const fp_attn_limits* limits);

typedef struct fp_attn_workspace {
  void* data; /* 256-byte aligned */
  size_t bytes;
  fp_attn_limits limits;
} fp_attn_workspace;

/* The step's page tables. In decode, sequences' query tokens come last: every row is visible,
 * but for what a window hides.
 *
 * Cuts: pages of a sequence at which the reduction starts afresh, 0 <= first <= second <=
 * page count. The anchor's rows are merged at the first. An anchor in joint mode without beta
 * gives the bits of a sequence that has its rows as pages between its two cuts, the other
 * pages being the same: an exact anchor is a cached prefix. Without cuts (0, 0) the anchor is
 * merged before the context. */
typedef struct fp_attn_tables {
  const uint32_t* pages;      /* [batch][page_stride] */
  const int32_t* page_counts; /* [batch], 0 = no context */
  int32_t page_stride;
  int32_t batch;
  const int32_t* anchor_ids;         /* [batch], -1 = none; NULL = no sequence has one */
  const uint32_t* anchor_pages;      /* [anchors][anchor_stride] */
  const int32_t* anchor_page_counts; /* [anchors] */
  int32_t anchor_stride;
  int32_t anchors;
  const int32_t* cuts; /* [batch][2]; NULL = (0, 0) */
} fp_attn_tables;

/* One layer of one step. */
typedef struct fp_attn_decode_args {
  const void* q;        /* bf16 [batch][q_heads][head_dim] */
  float scale;          /* usually 1 / sqrt(head_dim) */
  const float* beta;    /* [anchors][kv_heads][512] by row slot, -inf = absent; NULL = 0 */
  const uint8_t* modes; /* [anchors] AnchorMode; NULL = joint */
  const float* gamma;   /* [anchors][q_heads]; needed when modes is given */
  const float* psi;     /* [anchors]; needed when modes is given */
  void* o;              /* bf16 [batch][q_heads][head_dim] */
  float* lse_context;   /* [batch][q_heads], natural log, -inf when empty; NULL = not wanted */
  float* lse_anchor;
  float* lse_joint;
  float* mass; /* [batch][q_heads][8], sums to 1 (0 without rows); NULL = not wanted */
} fp_attn_decode_args;

/* Bits of the status word, the first 32 bits of the workspace: what the device found
 * wrong with a step's tables.
 * Errors of the table's shape make every output of the step NaN; a bad page id those of
 * its sequence, and perhaps others. */
enum {
  FP_ATTN_TABLE_BAD_PAGE_COUNT = 1,
  FP_ATTN_TABLE_BAD_ANCHOR = 2,
  FP_ATTN_TABLE_TOO_MANY_PAGES = 4,
  FP_ATTN_TABLE_BAD_PAGE_ID = 8,
  FP_ATTN_TABLE_BAD_QUERIES = 16, /* prefill: query starts that fall, or pass the end of q */
  FP_ATTN_TABLE_BAD_CUTS = 32     /* cuts that fall, or pass the sequence's last page */
};

/* Builds the step's work lists. `stream` is a cudaStream_t. Once per step. */
fp_attn_status fp_attn_plan(const fp_attn_shape* shape, const fp_attn_tables* tables,
                            const fp_attn_workspace* workspace, void* stream);

/* A sliding window: a query at position p sees rows at positions > p - rows, anchor rows too.
 * Positions ascend along a page table and within a page; a sequence's query is its last row. */
typedef struct fp_attn_window {
  int32_t rows;                    /* >= 1 */
  const int32_t* page_positions;   /* [batch][page_stride]: position of each page's first row */
  const int32_t* anchor_positions; /* [anchors][anchor_stride]; needed with anchors */
} fp_attn_window;

/* As fp_attn_plan, for layers with a sliding window. A model with layers of both kinds makes
 * two plans per step, in two workspaces. */
fp_attn_status fp_attn_plan_window(const fp_attn_shape* shape, const fp_attn_tables* tables,
                                   const fp_attn_window* window, const fp_attn_workspace* workspace,
                                   void* stream);

/* Attention of one layer, after fp_attn_plan or fp_attn_plan_window with the same tables and
 * workspace. */
fp_attn_status fp_attn_decode(const fp_attn_pool* pool, const fp_attn_tables* tables,
                              const fp_attn_workspace* workspace, const fp_attn_decode_args* args,
                              void* stream);

/* The queries of a prefill step: sequence i has rows starts[i]..starts[i+1]-1 of q, at
 * consecutive positions from first_positions[i]; their own K and V are in the pages already.
 * A query at position p sees the rows whose position is <= p. Positions ascend along a
 * page table and within a page. A chunk of a long prompt is a step like any other: rows
 * of earlier chunks are simply there, and bits do not depend on how a prompt was cut. */
typedef struct fp_attn_queries {
  const int32_t* starts;          /* [batch + 1]; a sequence may have no query */
  const int32_t* first_positions; /* [batch] */
  const int32_t* page_positions;  /* [batch][page_stride]: position of each page's first row */
  const int32_t*
      anchor_positions; /* [anchors][anchor_stride]; NULL = every query sees the anchor */
  int32_t tokens;       /* rows of q; starts[batch] may not exceed it */
} fp_attn_queries;

/* Which queries' log-sum-exps and masses are written. */
enum {
  FP_ATTN_ROWS_LAST = 0, /* each sequence's last one: arrays are [batch][q_heads]... */
  FP_ATTN_ROWS_ALL = 1   /* every one: arrays are [tokens][q_heads]... */
};

/* One layer of one prefill step. q and o of `base` are [tokens][q_heads][head_dim]; without
 * queries a sequence's statistics stay as they were. */
typedef struct fp_attn_prefill_args {
  fp_attn_decode_args base;
  int32_t rows; /* FP_ATTN_ROWS_LAST or FP_ATTN_ROWS_ALL */
  /* 0 = every earlier row is visible; otherwise as fp_attn_window.rows, and with anchors
   * fp_attn_queries.anchor_positions is needed. The plan does not depend on it. */
  int32_t window;
} fp_attn_prefill_args;

/* Bytes for fp_attn_workspace.data in the two calls below; 0 if the shape is refused. Only
 * max_batch matters. The status word is the workspace's first 32 bits here too. */
size_t fp_attn_prefill_workspace_bytes(const fp_attn_shape* shape, const fp_attn_limits* limits);

/* Orders the step's sequences. Once per step; lengths are read on the device only. */
fp_attn_status fp_attn_prefill_plan(const fp_attn_shape* shape, const fp_attn_tables* tables,
                                    const fp_attn_queries* queries,
                                    const fp_attn_workspace* workspace, void* stream);

/* Causal attention of one layer, after fp_attn_prefill_plan with the same arguments. */
fp_attn_status fp_attn_prefill(const fp_attn_pool* pool, const fp_attn_tables* tables,
                               const fp_attn_queries* queries, const fp_attn_workspace* workspace,
                               const fp_attn_prefill_args* args, void* stream);

/* Reads all context pages and nothing else, for measuring. engine 0: plain loads;
 * 1: the decode kernel's own loads without its arithmetic (after fp_attn_plan). */
fp_attn_status fp_attn_read_pages(const fp_attn_pool* pool, const fp_attn_tables* tables,
                                  const fp_attn_workspace* workspace, int32_t engine, void* stream);

#ifdef __cplusplus
}
#endif
