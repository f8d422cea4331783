// What the decode kernels share: limits, the device-side plan and kernel arguments.
//
// Vocabulary
//   slab     16 KV rows, the unit of one matrix instruction and one bulk copy
//   chunk    128 row slots (8 slabs), what one warp reduces
//   segment  pages of a sequence between two of its cuts; there are at most three
//   leaf     512 row slots (4 chunks) at an absolute place in a segment; its result never
//            depends on other leaves or sequences. An anchor is one leaf
//   partial  unnormalised output O, reference exponent m (log2), sums l per class, of the
//            rows of a leaf or of a chunk. Who merges a leaf's four chunks, the decode CTA
//            or the merge kernel, changes no bit
//   column   one (sequence, query head) pair; 8 columns share a matrix instruction
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fieldprint::cuda {

inline constexpr int kSlabRows = 16;
inline constexpr int kChunkSlabs = 8;
inline constexpr int kChunkSlots = kSlabRows * kChunkSlabs;
inline constexpr int kWarps = 4;
inline constexpr int kLeafSlots = kChunkSlots * kWarps;
inline constexpr int kColumns = 8;
inline constexpr int kClasses = 8;
inline constexpr int kMaxAnchorSlots = 512;
inline constexpr int kMaxAnchorChunks = kMaxAnchorSlots / kChunkSlots;
inline constexpr int kMaxBatch = 1024;
inline constexpr int kMaxGroup = kColumns;
// Column groups an anchor item carries at most: its rows are loaded once for them.
inline constexpr int kAnchorColumnGroups = kWarps;

// Reference exponent of a state without rows. Finite, so that differences never give NaN.
inline constexpr float kNoReference = -1e30F;
inline constexpr float kLog2E = 1.4426950408889634F;
inline constexpr float kLn2 = 0.6931471805599453F;

enum PlanStatusBits : std::uint32_t {
  kPlanBadPageCount = 1,  // negative, or more than the page table's stride
  kPlanBadAnchor = 2,     // anchor id or anchor page count out of range
  kPlanTooManyPages = 4,  // more pages than the workspace was sized for
  kPlanBadPageId = 8,     // a page id outside the pool
  kPlanBadQueries = 16,   // query starts that fall, or pass the end of q
  kPlanBadCuts = 32,      // cuts that fall, or pass the sequence's last page
};

// Rows of a partial's statistics: reference exponent m, then the sum of each class.
inline constexpr int kStatRows = 1 + kClasses;

// Written by the planner, read by every launch of the step. A launch's last CTA sets
// ticket and finished back to 0.
struct PlanHeader {
  std::uint32_t status;
  std::int32_t leaf_items;    // entries of leaf_list
  std::int32_t anchor_items;  // entries of anchor_list
  std::uint32_t ticket;
  std::uint32_t finished;  // CTAs without further work
  std::int32_t split;      // entries of leaf_list are chunks: the step has few leaves
};

inline constexpr int kSegments = 3;

// A sequence's partials: the anchor's, then those of its leaves in order. A leaf has one; in a
// split step four places, one for each chunk. An anchor has one for each chunk, or one.
struct alignas(16) SequenceInfo {
  std::int32_t base;
  std::int32_t anchor;           // -1 = none
  std::int32_t anchor_partials;  // 0 = no visible row
  std::int32_t split;            // context leaves lie as chunks
  std::int32_t chunks[kSegments];
  std::int32_t unused;
};

// One leaf, or in a split step one chunk, of one sequence, for every KV head.
struct LeafItem {
  std::int32_t sequence;          // | kAnchorLeaf: it is the sequence's anchor
  std::int32_t first_page;        // in the sequence's page table; of an anchor leaf: the anchor
  std::int32_t pages_and_hidden;  // pages | row slots before the window << 16
  std::int32_t partial;
};
inline constexpr int kAnchorLeaf = 1 << 16;

// One chunk of one anchor, for up to kAnchorColumnGroups column groups.
struct AnchorItem {
  std::int32_t anchor;
  std::int32_t chunk_and_pages;  // chunk | pages in the chunk << 8
  std::int32_t first;            // in members
  std::int32_t sequences;
};

// A sequence that uses an anchor.
struct AnchorMember {
  std::int32_t sequence_and_hidden;  // sequence | anchor slots before its window << 16
  std::int32_t base;                 // of its partials
};
inline constexpr int kSequenceMask = 0xFFFF;

// A ticket's work, so that a CTA's first items take one load.
struct OpeningItem {
  std::int32_t kind;  // WorkKind
  std::int32_t kv_head;
  std::int32_t unused[2];
  std::int32_t item[4];  // LeafItem or AnchorItem
};
inline constexpr int kMaxOpenings = 1024;
// Most leaves x KV heads of a split step.
inline constexpr int kMaxSplitLeaves = kMaxOpenings / 4;

// Device pointers into the caller's workspace. `columns` is 4 or 8 (ShapeView).
struct PlanView {
  PlanHeader* header;
  SequenceInfo* sequences;  // [batch]
  AnchorMember* members;    // [batch] by anchor; sequences without one are absent
  LeafItem* leaf_list;
  AnchorItem* anchor_list;
  OpeningItem* openings;  // [opening_count], by ticket
  float* partial_stats;   // [partial][kv_head][kStatRows][columns]
  float* partial_o;       // [partial][kv_head][head_dim][columns]
  std::int32_t max_leaves;
  std::int32_t split_leaves;   // most leaves of a split step
  std::int32_t opening_count;  // twice the CTAs of a launch
  // Most sequences of a split step, so that its merge has few CTAs.
  std::int32_t split_batch;
};

// Page tables of one step; entries are packed as pack_page_entry() says.
struct TableView {
  const std::uint32_t* pages;       // [batch][page_stride]
  const std::int32_t* page_counts;  // [batch]
  std::int32_t page_stride;
  std::int32_t batch;
  const std::int32_t* anchor_ids;          // [batch], -1 = none; nullptr = none at all
  const std::uint32_t* anchor_pages;       // [anchors][anchor_stride]
  const std::int32_t* anchor_page_counts;  // [anchors]
  std::int32_t anchor_stride;
  std::int32_t anchors;
  const std::int32_t* cuts;  // [batch][2], pages; nullptr = none
};

// What a sliding window hides from a step's last queries.
struct WindowView {
  std::int32_t rows;                     // 0 = no window
  const std::int32_t* page_positions;    // [batch][page_stride], of each page's first row
  const std::int32_t* anchor_positions;  // [anchors][anchor_stride]
};

struct ShapeView {
  std::int32_t q_heads;
  std::int32_t kv_heads;
  std::int32_t group;    // q_heads / kv_heads
  std::int32_t columns;  // 4 or 8: group rounded up, the width of partials
  std::int32_t log2_slabs_per_page;
  std::int32_t page_count;  // pages in the pool
};

// How each anchor weighs.
struct PolicyView {
  const std::uint8_t* modes;  // [anchors] AnchorMode; nullptr = joint
  const float* gamma;         // [anchors][q_heads]
  const float* psi;           // [anchors]
};

struct PlannerArgs {
  TableView table;
  ShapeView shape;
  PlanView plan;
  WindowView window;
};

struct DecodeArgs {
  TableView table;
  ShapeView shape;
  PlanView plan;
  const void* q;      // bf16 [batch][q_heads][head_dim]
  const float* beta;  // [anchors][kv_heads][512], natural log; nullptr = 0
  float scale_log2;   // softmax scale * log2(e)
  float inv_scale;    // 1 / softmax scale
  PolicyView policy;
  void* o;             // bf16 [batch][q_heads][head_dim]
  float* lse_context;  // [batch][q_heads]; any of the next four may be nullptr
  float* lse_anchor;
  float* lse_joint;
  float* mass;  // [batch][q_heads][8]
};

}  // namespace fieldprint::cuda
