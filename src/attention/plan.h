// The attention plan: what the engine hands a kernel, on any device.
//
// Mathematics: docs/attention.md (joint, gated, floored; log-sum-exps; class mass).
// Everything here is a plain view; the caller owns all memory and keeps it alive
// and unchanged until the kernel call returns. No thread rule beyond that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fieldprint {

// Rows in a KV page. One AVX-512 register of fp32 scores.
inline constexpr int kPageRows = 16;
// Row slots in a leaf, the unit of reduction. Fixed, so that bits never depend
// on batch size or thread count.
inline constexpr int kLeafRows = 512;
inline constexpr int kLeafPages = kLeafRows / kPageRows;

// Provenance class of a KV page (design vocabulary). Ids are stored in page
// tables, receipts and metrics: never renumber.
enum class KvClass : std::uint8_t {
  kSink = 0,
  kAnchor = 1,
  kSystem = 2,
  kUser = 3,
  kTool = 4,
  kMemory = 5,
  kOutput = 6,
  kReserved = 7,
};
inline constexpr int kKvClasses = 8;
const char* kv_class_name(KvClass cls);

using PageId = std::int32_t;
inline constexpr PageId kNoPage = -1;

// One page of a sequence. Rows 0..rows-1 are valid; the tail may hold anything,
// NaN included. first_pos is the logical position of row 0; rows are consecutive.
struct PageEntry {
  PageId page = kNoPage;
  KvClass cls = KvClass::kUser;
  std::uint8_t rows = 0;  // 1..kPageRows
  std::int32_t first_pos = 0;
};

// A run of pages reduced as one unit: pages[first_page .. first_page+page_count).
struct Leaf {
  std::int32_t first_page = 0;
  std::int32_t page_count = 0;  // 1..kLeafPages
};

// Where one new KV row goes.
struct RowSlot {
  PageId page = kNoPage;
  std::int32_t row = 0;  // 0..kPageRows-1
};

enum class AnchorMode : std::uint8_t {
  kJoint = 0,    // one softmax over anchor and context rows
  kGated = 1,    // O = g O_anchor + (1-g) O_context, g per head
  kFloored = 2,  // joint, lifted where the anchor's natural weight fell under psi
};
const char* anchor_mode_name(AnchorMode mode);  // "joint", "gated", "floored"

// Anchor rows of one sequence, pinned pages shared by all sequences that use it.
// beta is the per-row logit bias, one array per layer:
//   beta[(layer * kv_heads + kv_head) * beta_stride + row_slot]
// with row_slot = page index * kPageRows + row. A row with beta -inf is absent.
struct AnchorView {
  std::span<const PageEntry> pages;
  std::span<const Leaf> leaves;
  const float* beta = nullptr;  // nullptr means 0 everywhere
  std::int32_t beta_stride = 0;
  AnchorMode mode = AnchorMode::kJoint;
  const float* gamma = nullptr;  // [layers * heads], used by kGated, each in [0,1]
  float psi = 0.0F;              // used by kFloored, in [0,1)
};

// One sequence's share of a step: `query_count` new tokens at consecutive
// positions from first_query_pos. Their K and V are already in the pages.
// A query at position p attends to every context row with position <= p (and
// > p - window on sliding-window layers) and, by the same rule, to anchor rows.
struct SequencePlan {
  std::int32_t first_query = 0;  // row of the first query in q and in the outputs
  std::int32_t query_count = 0;
  std::int32_t first_query_pos = 0;
  std::span<const PageEntry> pages;       // context pages, ascending positions
  std::span<const Leaf> leaves;           // covers `pages`, ascending, no gaps
  std::int32_t leaves_before_anchor = 0;  // context leaves (the sink) merged before the anchor's
  AnchorView anchor;                      // empty pages: no anchor
};

// Floored mode never adds more than this to the anchor's logits (ln 5).
inline constexpr float kFlooredBiasCap = 1.6094379F;

// Packed page-table entry for device kernels: page 23 bits | class 3 | rows-1 6.
constexpr std::uint32_t pack_page_entry(const PageEntry& entry) {
  return (static_cast<std::uint32_t>(entry.page) << 9) |
         (static_cast<std::uint32_t>(entry.cls) << 6) | static_cast<std::uint32_t>(entry.rows - 1);
}

}  // namespace fieldprint
