// Attention test cases shared by every device, with a seeded generator.
//
// A case says what a sequence looks like; make_world() lays one or several cases of
// equal shape out in one page pool. Values depend on the case's seed and on the
// logical row only: neither on the physical page ids (permuted by the world's seed)
// nor on the other sequences, so a test may compare bits across worlds.
// Every unused row and page holds NaN. K, V and Q are exactly representable in bf16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "attention/bf16.h"
#include "attention/plan.h"
#include "attention/reference.h"

namespace fieldprint::testing {

// A run of context rows of one class. Each run starts a new page, so the page
// before it may be partially filled.
struct Segment {
  KvClass cls;
  int rows;
};

enum class BetaKind { kNone, kZero, kRandom, kSomeAbsent, kAllAbsent };

struct AttentionCase {
  std::string name;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 64;
  std::vector<Segment> context;  // includes the queries' own rows, at the end
  int query_count = 1;           // the last rows of context
  int anchor_rows = 0;           // positions follow the sink's (or start at 0 without one)
  // The first segment is the sink: a leaf of its own, merged before the anchor's.
  bool sink_leaf = false;
  AnchorMode mode = AnchorMode::kJoint;
  BetaKind beta = BetaKind::kRandom;
  float psi = 0.3F;
  int window = 0;
  float q_scale = 1.0F;  // > 1: peaked softmax
  std::uint64_t seed = 1;
};

inline constexpr int kCaseLayers = 2;  // beta and gamma exist for both; tests use layer 1
inline constexpr int kCaseLayer = 1;

// Logical contents of one sequence and its page tables.
struct CaseSequence {
  AttentionCase spec;
  std::vector<PageEntry> pages, anchor_pages;
  std::vector<Leaf> leaves, anchor_leaves;
  std::vector<float> beta;   // [kCaseLayers * kv_heads][beta_stride]
  std::vector<float> gamma;  // [kCaseLayers * heads]
  SequencePlan plan;         // views into the vectors above
};

// kv(page, row, kv_head) -> head_dim floats.
struct AttentionWorld {
  AttentionShape shape;
  int window = 0;
  int page_count = 0;
  int tokens = 0;
  std::vector<float> k, v;  // [page_count][kPageRows][kv_heads][head_dim]
  std::vector<float> q;     // [tokens][heads * head_dim]
  std::vector<std::unique_ptr<CaseSequence>> sequences;

  std::size_t row_offset(PageId page, int row, int kv_head) const {
    return ((static_cast<std::size_t>(page) * kPageRows + row) * shape.kv_heads + kv_head) *
           shape.head_dim;
  }
  std::vector<SequencePlan> plans() const {
    std::vector<SequencePlan> result;
    for (const auto& sequence : sequences) result.push_back(sequence->plan);
    return result;
  }
  ReferenceArgs reference_args(ReferenceRounding rounding = ReferenceRounding::kExact) const {
    ReferenceArgs args;
    args.shape = shape;
    args.layer = kCaseLayer;
    args.window = window;
    args.q = q;
    args.rounding = rounding;
    const auto fetch = [this](const std::vector<float>& from) -> ReferenceRow {
      return [this, &from](PageId page, int row, int kv_head, std::span<double> out) {
        const std::size_t at = row_offset(page, row, kv_head);
        for (std::size_t d = 0; d < out.size(); ++d) out[d] = double{from[at + d]};
      };
    };
    args.k_row = fetch(k);
    args.v_row = fetch(v);
    return args;
  }
};

namespace cases_internal {

// Box-Muller over a fixed engine: std::normal_distribution differs between libraries.
inline float normal(std::mt19937_64& rng) {
  const double u = (static_cast<double>(rng() >> 11) + 1.0) * 0x1.0p-53;
  const double w = static_cast<double>(rng() >> 11) * 0x1.0p-53;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * w));
}

inline void append_rows(std::vector<PageEntry>& pages, KvClass cls, int rows, int first_pos) {
  for (int row = 0; row < rows; row += kPageRows) {
    pages.push_back({kNoPage, cls, static_cast<std::uint8_t>(std::min(kPageRows, rows - row)),
                     first_pos + row});
  }
}

inline void append_leaves(std::vector<Leaf>& leaves, int first_page, int end_page) {
  for (int page = first_page; page < end_page; page += kLeafPages) {
    leaves.push_back({page, std::min(kLeafPages, end_page - page)});
  }
}

// Page tables without physical ids.
inline void lay_out(CaseSequence& s) {
  const AttentionCase& spec = s.spec;
  int pos = 0;
  for (std::size_t i = 0; i < spec.context.size(); ++i) {
    // The anchor's rows take the positions after the sink, or the first ones.
    if (i == (spec.sink_leaf ? 1U : 0U)) {
      append_rows(s.anchor_pages, KvClass::kAnchor, spec.anchor_rows, pos);
      pos += spec.anchor_rows;
    }
    append_rows(s.pages, spec.context[i].cls, spec.context[i].rows, pos);
    pos += spec.context[i].rows;
    if (i == 0 && spec.sink_leaf) append_leaves(s.leaves, 0, static_cast<int>(s.pages.size()));
  }
  s.plan.leaves_before_anchor = spec.sink_leaf ? static_cast<int>(s.leaves.size()) : 0;
  const int first = s.leaves.empty() ? 0 : s.leaves.back().first_page + s.leaves.back().page_count;
  append_leaves(s.leaves, first, static_cast<int>(s.pages.size()));
  append_leaves(s.anchor_leaves, 0, static_cast<int>(s.anchor_pages.size()));
  s.plan.query_count = spec.query_count;
  s.plan.first_query_pos = pos - spec.query_count;
}

inline void fill_anchor(CaseSequence& s, std::mt19937_64& rng) {
  const AttentionCase& spec = s.spec;
  AnchorView& anchor = s.plan.anchor;
  anchor.mode = spec.mode;
  anchor.psi = spec.psi;
  anchor.beta_stride = static_cast<int>(s.anchor_pages.size()) * kPageRows;
  s.beta.assign(static_cast<std::size_t>(kCaseLayers * spec.kv_heads * anchor.beta_stride), 0.0F);
  for (float& beta : s.beta) {
    const float value = 0.5F * normal(rng);
    const bool absent =
        spec.beta == BetaKind::kAllAbsent || (spec.beta == BetaKind::kSomeAbsent && rng() % 3 == 0);
    if (spec.beta != BetaKind::kZero) beta = value;
    if (absent) beta = -std::numeric_limits<float>::infinity();
  }
  for (int i = 0; i < kCaseLayers * spec.heads; ++i) {
    s.gamma.push_back(static_cast<float>(rng() % 1000) / 999.0F);
  }
  anchor.beta = spec.beta == BetaKind::kNone || s.beta.empty() ? nullptr : s.beta.data();
  anchor.gamma = s.gamma.data();
}

inline void fill_rows(AttentionWorld& world, std::vector<PageEntry>& pages, std::vector<int>& ids,
                      std::mt19937_64& rng) {
  for (PageEntry& page : pages) {
    page.page = ids.back();
    ids.pop_back();
    const std::size_t at = world.row_offset(page.page, 0, 0);
    const auto count =
        static_cast<std::size_t>(page.rows * world.shape.kv_heads * world.shape.head_dim);
    for (std::size_t i = 0; i < count; ++i) {
      world.k[at + i] = round_to_bf16(normal(rng));
      world.v[at + i] = round_to_bf16(normal(rng));
    }
  }
}

}  // namespace cases_internal

// Lays the cases out as sequences of one step, in order. Shape and window are those
// of the first case; the others must agree.
inline AttentionWorld make_world(std::span<const AttentionCase> specs, std::uint64_t seed = 7) {
  AttentionWorld world;
  const AttentionCase& first = specs.front();
  world.shape = {first.heads, first.kv_heads, first.head_dim,
                 1.0F / std::sqrt(static_cast<float>(first.head_dim))};
  world.window = first.window;
  int used = 0;
  for (const AttentionCase& spec : specs) {
    world.sequences.push_back(std::make_unique<CaseSequence>());
    world.sequences.back()->spec = spec;
    cases_internal::lay_out(*world.sequences.back());
    used += static_cast<int>(world.sequences.back()->pages.size() +
                             world.sequences.back()->anchor_pages.size());
  }
  world.page_count = used + 5;  // some pages nobody uses
  std::vector<int> ids(static_cast<std::size_t>(world.page_count));
  std::iota(ids.begin(), ids.end(), 0);
  std::mt19937_64 page_rng(seed);
  for (std::size_t i = ids.size() - 1; i > 0; --i) std::swap(ids[i], ids[page_rng() % (i + 1)]);
  const float poison = std::numeric_limits<float>::quiet_NaN();
  world.k.assign(world.row_offset(world.page_count, 0, 0), poison);
  world.v = world.k;
  for (auto& sequence : world.sequences) {
    CaseSequence& s = *sequence;
    std::mt19937_64 rng(s.spec.seed);
    cases_internal::fill_anchor(s, rng);
    cases_internal::fill_rows(world, s.anchor_pages, ids, rng);
    cases_internal::fill_rows(world, s.pages, ids, rng);
    s.plan.first_query = world.tokens;
    s.plan.pages = s.pages;
    s.plan.leaves = s.leaves;
    s.plan.anchor.pages = s.anchor_pages;
    s.plan.anchor.leaves = s.anchor_leaves;
    world.tokens += s.spec.query_count;
    const int q_count = s.spec.query_count * world.shape.heads * world.shape.head_dim;
    for (int i = 0; i < q_count; ++i) {
      world.q.push_back(round_to_bf16(s.spec.q_scale * cases_internal::normal(rng)));
    }
  }
  return world;
}

inline AttentionWorld make_world(const AttentionCase& spec, std::uint64_t seed = 7) {
  return make_world(std::span(&spec, 1), seed);
}

// A plain context of `length` rows: a system prompt, then the user.
inline std::vector<Segment> plain_context(int length) {
  if (length < 8) return {{KvClass::kUser, length}};
  return {{KvClass::kSystem, length / 3}, {KvClass::kUser, length - length / 3}};
}

// A chat: sink, system, then short turns that leave partially filled pages.
inline std::vector<Segment> chat_context(int length) {
  constexpr KvClass kTurns[] = {KvClass::kUser, KvClass::kOutput, KvClass::kTool, KvClass::kMemory};
  std::vector<Segment> segments = {{KvClass::kSink, 1}};
  int left = length - 1;
  for (int turn = 0; left > 0; ++turn) {
    const int rows = std::min(left, turn == 0 ? 33 : 5 + 11 * (turn % 5));
    segments.push_back({turn == 0 ? KvClass::kSystem : kTurns[turn % 4], rows});
    left -= rows;
  }
  return segments;
}

// The list every device must pass. Names are unique and stable.
std::vector<AttentionCase> attention_cases();

namespace cases_internal {

inline void add_lengths(std::vector<AttentionCase>& out) {
  for (const int length : {1, 15, 16, 17, 511, 512, 513, 1500}) {
    AttentionCase c;
    c.name = "decode_length_" + std::to_string(length);
    c.context = plain_context(length);
    out.push_back(c);
    c.name = "chat_length_" + std::to_string(length);
    c.context = chat_context(length);
    c.sink_leaf = true;
    c.anchor_rows = 37;
    out.push_back(c);
    if (length == 1) continue;
    c.name = "prefill_all_length_" + std::to_string(length);
    c.query_count = std::min(length, 40);
    out.push_back(c);
  }
}

inline void add_shapes(std::vector<AttentionCase>& out) {
  for (const int head_dim : {64, 80, 128, 256}) {
    for (const int group : {1, 2, 3, 4, 7, 8}) {
      AttentionCase c;
      c.kv_heads = group == 3 ? 3 : (head_dim == 256 ? 1 : 2);
      c.heads = group * c.kv_heads;
      c.head_dim = head_dim;
      c.context = chat_context(150);
      c.sink_leaf = true;
      c.anchor_rows = 20;
      c.name = "decode_dim_" + std::to_string(head_dim) + "_group_" + std::to_string(group);
      out.push_back(c);
      c.query_count = 21;
      c.name = "prefill_dim_" + std::to_string(head_dim) + "_group_" + std::to_string(group);
      out.push_back(c);
    }
  }
}

inline void add_anchors(std::vector<AttentionCase>& out) {
  constexpr const char* kModeNames[] = {"joint", "gated", "floored"};
  for (const int rows : {0, 1, 16, 37, 200, 512}) {
    for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
      AttentionCase c;
      c.heads = 6;
      c.context = chat_context(530);
      c.sink_leaf = true;
      c.anchor_rows = rows;
      c.mode = mode;
      c.name = std::string(kModeNames[static_cast<int>(mode)]) + "_anchor_" + std::to_string(rows);
      c.query_count = rows == 37 ? 9 : 1;
      out.push_back(c);
    }
  }
}

inline void add_special(std::vector<AttentionCase>& out) {
  AttentionCase base;
  base.context = chat_context(700);
  base.sink_leaf = true;
  base.anchor_rows = 37;
  const auto add = [&](const char* name, auto change) {
    AttentionCase c = base;
    c.name = name;
    change(c);
    out.push_back(c);
  };
  add("window_decode", [](AttentionCase& c) { c.window = 100; });
  add("window_prefill", [](AttentionCase& c) { c.window = 100, c.query_count = 130; });
  add("window_one", [](AttentionCase& c) { c.window = 1, c.query_count = 3; });
  add("window_of_a_leaf", [](AttentionCase& c) { c.window = 512, c.query_count = 20; });
  add("window_hides_anchor_gated",
      [](AttentionCase& c) { c.window = 600, c.query_count = 90, c.mode = AnchorMode::kGated; });
  add("beta_none", [](AttentionCase& c) { c.beta = BetaKind::kNone; });
  add("beta_zero", [](AttentionCase& c) { c.beta = BetaKind::kZero; });
  add("beta_some_absent", [](AttentionCase& c) { c.beta = BetaKind::kSomeAbsent; });
  add("beta_all_absent", [](AttentionCase& c) { c.beta = BetaKind::kAllAbsent; });
  add("beta_all_absent_gated",
      [](AttentionCase& c) { c.beta = BetaKind::kAllAbsent, c.mode = AnchorMode::kGated; });
  add("floored_cap", [](AttentionCase& c) { c.mode = AnchorMode::kFloored, c.psi = 0.99F; });
  add("floored_off", [](AttentionCase& c) { c.mode = AnchorMode::kFloored, c.psi = 0.0F; });
  add("peaked", [](AttentionCase& c) { c.q_scale = 12.0F, c.query_count = 5; });
  add("flat", [](AttentionCase& c) { c.q_scale = 0.01F; });
  add("no_sink_leaf", [](AttentionCase& c) { c.sink_leaf = false, c.query_count = 17; });
  add("prefill_from_empty", [](AttentionCase& c) {
    c.context = chat_context(70), c.query_count = 70, c.sink_leaf = false, c.anchor_rows = 0;
  });
  // Queries inside the anchor's positions: they see a part of it only.
  add("prefill_over_sink",
      [](AttentionCase& c) { c.context = chat_context(70), c.query_count = 37 + 70; });
  add("prefill_two_leaves", [](AttentionCase& c) { c.query_count = 600; });
}

}  // namespace cases_internal

inline std::vector<AttentionCase> attention_cases() {
  std::vector<AttentionCase> out;
  cases_internal::add_lengths(out);
  cases_internal::add_shapes(out);
  cases_internal::add_anchors(out);
  cases_internal::add_special(out);
  for (std::size_t i = 0; i < out.size(); ++i) out[i].seed = 1000 + i;
  return out;
}

}  // namespace fieldprint::testing
