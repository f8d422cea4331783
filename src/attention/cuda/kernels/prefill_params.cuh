// What the prefill kernels share: limits, the device-side plan and kernel arguments.
//
// Vocabulary, beside that of params.cuh
//   packed row  one (query, head of the KV head's group) pair of a sequence: query * group + head
//   item        128 packed rows (64 where head_dim is 256) of one sequence and KV head, against
//               all rows they may see
//   tile        128 row slots at an absolute place of the anchor or of a segment. An item takes
//               the anchor's tiles, then the segments'; in joint mode the anchor's come after
//               the first segment's
//   ticket      number of an item; items of long sequences come first, of one sequence by KV
//               head, of one KV head from the last queries to the first
#pragma once

#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

inline constexpr int kTileSlots = 128;
inline constexpr int kTileSlabs = kTileSlots / kSlabRows;
// Two computing warpgroups of 64 packed rows and one that loads.
inline constexpr int kPrefillGroups = 2;
inline constexpr int kPrefillComputeThreads = kPrefillGroups * 128;
inline constexpr int kPrefillThreads = kPrefillComputeThreads + 128;
// At head_dim 256 the registers hold half a row of outputs: both computing warpgroups work the
// same 64 rows and take half of the columns each. One tile buffer is all that fits then.
template <int kDim>
struct PrefillShape {
  static constexpr bool kHalves = kDim > 128;
  static constexpr int kItemRows = kHalves ? 64 : 128;
  static constexpr int kColumns = kHalves ? kDim / 2 : kDim;  // of outputs, per warpgroup
  static constexpr int kTileBuffers = kHalves ? 1 : 2;        // of K, and of V
};
// One CTA per multiprocessor; the workspace has room for so many.
inline constexpr int kMaxPrefillCtas = 160;

// Written by the planner. A launch's last CTA sets ticket and finished back to 0.
struct PrefillHeader {
  std::uint32_t status;  // PlanStatusBits
  std::int32_t ranks;    // sequences with queries
  std::int32_t tickets;
  std::uint32_t ticket;
  std::uint32_t finished;
};

// Position of anchor rows where none is given.
inline constexpr std::int32_t kBeforeAllQueries = -(1 << 30);

// A sequence with queries, by rank: most pages first.
struct PrefillSequence {
  std::int32_t sequence;
  std::int32_t q_start;  // row of q of its first query
  std::int32_t queries;
  std::int32_t first_pos;
  std::int32_t pages;
  std::int32_t anchor;  // -1 = none
  std::int32_t anchor_pages;
  std::int32_t cuts[2];  // pages
};

// Device pointers into the caller's workspace.
struct PrefillPlanView {
  PrefillHeader* header;
  std::int32_t* ends;          // [ranks] tickets up to and including the rank's
  PrefillSequence* sequences;  // [ranks]
  // [CTA][head_dim / 8][kPrefillComputeThreads][4]: an item's anchor output while its context
  // is read.
  float* anchor_o;
};

// The queries of a step, ragged.
struct QueryView {
  const std::int32_t* starts;            // [batch + 1] rows of q
  const std::int32_t* first_positions;   // [batch]
  const std::int32_t* page_positions;    // [batch][page_stride], of each page's first row
  const std::int32_t* anchor_positions;  // [anchors][anchor_stride]; nullptr = before all queries
  std::int32_t tokens;                   // rows of q
};

struct PrefillPlannerArgs {
  TableView table;
  ShapeView shape;
  QueryView queries;
  PrefillPlanView plan;
  std::int32_t item_rows;
};

struct PrefillArgs {
  TableView table;
  ShapeView shape;
  QueryView queries;
  PrefillPlanView plan;
  std::uint32_t group_magic;  // query_of_row()
  const void* q;              // bf16 [tokens][q_heads][head_dim]
  const float* beta;          // [anchors][kv_heads][512], natural log; nullptr = 0
  float scale_log2;           // softmax scale * log2(e)
  float inv_scale;            // 1 / softmax scale
  PolicyView policy;
  void* o;             // bf16 [tokens][q_heads][head_dim]
  float* lse_context;  // [tokens or batch][q_heads]; any of the next four may be nullptr
  float* lse_anchor;
  float* lse_joint;
  float* mass;            // [tokens or batch][q_heads][8]
  std::int32_t all_rows;  // statistics of every query, or of each sequence's last one
  std::int32_t window;    // 0 = none
};

}  // namespace fieldprint::cuda
