#include "engine/fake_runner.h"

#include <algorithm>

#include "core/check.h"

namespace fieldprint::testing {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

namespace {

std::uint64_t hash_of(std::span<const FakeToken> history) {
  std::uint64_t state = 1;
  for (const FakeToken& t : history) {
    state = mix(state * 31 + static_cast<std::uint64_t>(t.token) * 8191 +
                static_cast<std::uint64_t>(t.pos) * 131 + static_cast<std::uint64_t>(t.cls));
  }
  return state;
}

}  // namespace

std::vector<float> fake_state(std::span<const FakeToken> history) {
  const std::uint64_t state = hash_of(history);
  std::vector<float> out(kFakeHidden);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(mix(state + i * 7919) % 2001) / 1000.0F - 1.0F;
  }
  return out;
}

std::vector<float> fake_logits(std::span<const FakeToken> history) {
  const std::uint64_t state = hash_of(history);
  std::vector<float> logits(kFakeVocab);
  for (std::size_t v = 0; v < logits.size(); ++v) {
    logits[v] = static_cast<float>(mix(state + v * 977) % 8000) / 1000.0F;
  }
  logits[kFakeEnd] -= 3.0F;  // so that generations have some length
  return logits;
}

FakeRunner::FakeRunner(std::int32_t pages, std::int32_t max_step_tokens)
    : pages_(pages), max_step_tokens_(max_step_tokens) {
  config_.architecture = "fake";
  config_.layers = 1;
  config_.heads = 1;
  config_.kv_heads = 1;
  config_.head_dim = 2;
  config_.hidden = kFakeHidden;
  config_.vocab = kFakeVocab;
  config_.context_train = 1 << 20;
  rows_.resize(static_cast<std::size_t>(pages) * kPageRows);
}

FakeRunner::Row& FakeRunner::row(PageId page, std::int32_t index) {
  FP_CHECK(page >= 0 && page < pages_ && index >= 0 && index < kPageRows);
  return rows_[static_cast<std::size_t>(page * kPageRows + index)];
}

void FakeRunner::write_rows(const SequenceStep& step) {
  FP_CHECK(!step.tokens.empty() && step.tokens.size() == step.slots.size());
  for (std::size_t i = 0; i < step.tokens.size(); ++i) {
    const RowSlot slot = step.slots[i];
    row(slot.page, slot.row) = {step.tokens[i],
                                step.plan.first_query_pos + static_cast<std::int32_t>(i)};
  }
}

// Context and anchor rows in order of position; checks the layout rules on the way.
std::vector<FakeToken> FakeRunner::read_history(const SequencePlan& plan) {
  std::vector<FakeToken> history;
  const auto read = [&](std::span<const PageEntry> pages, std::span<const Leaf> leaves) {
    std::int32_t next_page = 0;
    for (const Leaf& leaf : leaves) {
      FP_CHECK(leaf.first_page == next_page && leaf.page_count >= 1);
      next_page += leaf.page_count;
    }
    FP_CHECK(next_page == static_cast<std::int32_t>(pages.size()));
    for (const PageEntry& entry : pages) {
      FP_CHECK(entry.rows >= 1 && entry.rows <= kPageRows);
      for (std::int32_t r = 0; r < entry.rows; ++r) {
        const Row& stored = row(entry.page, r);
        FP_CHECK(stored.pos == entry.first_pos + r);
        history.push_back({stored.token, stored.pos, entry.cls});
      }
    }
  };
  read(plan.pages, plan.leaves);
  if (!plan.anchor.pages.empty()) {
    FP_CHECK(plan.leaves_before_anchor == 1 && plan.leaves[0].page_count == 1);
    read(plan.anchor.pages, plan.anchor.leaves);
  }
  std::ranges::sort(history, {}, &FakeToken::pos);
  for (std::size_t i = 0; i < history.size(); ++i) {
    FP_CHECK(history[i].pos == static_cast<std::int32_t>(i));
  }
  return history;
}

Result<StepOutput> FakeRunner::forward(std::span<const SequenceStep> steps) {
  FP_CHECK(!steps.empty());
  if (before_forward) FP_TRY(before_forward(steps));
  std::int64_t total = 0;
  for (const SequenceStep& step : steps) {
    write_rows(step);
    total += static_cast<std::int64_t>(step.tokens.size());
  }
  FP_CHECK(total <= max_step_tokens_);
  tokens_computed_ += total;
  logits_.clear();
  tap_final_.clear();
  tap_layer_.clear();
  mass_.clear();
  for (const SequenceStep& step : steps) {
    const std::vector<FakeToken> history = read_history(step.plan);
    FP_CHECK(step.plan.first_query_pos + static_cast<std::int32_t>(step.tokens.size()) ==
             static_cast<std::int32_t>(history.size()));
    float counts[kKvClasses] = {};
    for (const FakeToken& t : history) counts[static_cast<std::size_t>(t.cls)] += 1.0F;
    for (const float count : counts) mass_.push_back(count / static_cast<float>(history.size()));
    if (step.logits == LogitsWanted::kNone) continue;
    std::vector<float> logits = fake_logits(history);
    if (after_logits) after_logits(history, logits);
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    tap(step, history);
  }
  StepOutput output;
  output.vocab_size = kFakeVocab;
  output.logits = logits_;
  output.mass = mass_;
  output.hidden_size = kFakeHidden;
  output.tap_final = tap_final_;
  output.tap_layer = tap_layer_;
  return output;
}

void FakeRunner::tap(const SequenceStep& step, std::span<const FakeToken> history) {
  if (step.tap == TapWanted::kNone) return;
  const std::vector<float> state = fake_state(history);
  tap_final_.insert(tap_final_.end(), state.begin(), state.end());
  if (step.tap == TapWanted::kFinal) return;
  for (const float x : state) tap_layer_.push_back(-x);
}

Status FakeRunner::copy_page(PageId from, PageId to) {
  for (std::int32_t r = 0; r < kPageRows; ++r) row(to, r) = row(from, r);
  ++copies_;
  return {};
}

Result<PageRows> FakeRunner::read_page(int layer, PageId page, int rows) {
  FP_CHECK(layer == 0);
  PageRows out;
  for (std::int32_t r = 0; r < rows; ++r) {
    out.k.push_back(static_cast<std::uint16_t>(row(page, r).token));
    out.k.push_back(static_cast<std::uint16_t>(row(page, r).pos));
  }
  out.v.assign(out.k.size(), 0);
  return out;
}

Status FakeRunner::write_page(int layer, PageId page, int rows, const PageRows& data) {
  FP_CHECK(layer == 0 && data.k.size() == static_cast<std::size_t>(rows) * 2);
  for (std::int32_t r = 0; r < rows; ++r) {
    const auto i = static_cast<std::size_t>(r) * 2;
    row(page, r) = {data.k[i], data.k[i + 1]};
  }
  return {};
}

std::string FakeDecoder::text(TokenId token) const {
  if (token == 60) return "\xC3";
  if (token == 61) return "\xA9";
  if (token >= 62) return "";
  return std::string(1, static_cast<char>('a' + token % 26));
}

std::string FakeDecoder::label(TokenId token) const {
  return token >= 62 ? "<" + std::to_string(token) + ">" : text(token);
}

}  // namespace fieldprint::testing
