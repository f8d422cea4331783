#include "engine/token_history.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace fieldprint {

TokenHistory::TokenHistory(const std::vector<TokenSpan>& prompt, FirstToken first) {
  for (const TokenSpan& span : prompt) {
    for (const TokenId token : span.tokens) {
      const bool sink = first == FirstToken::kIsSink && tokens_.empty();
      append(token, sink ? KvClass::kSink : span.cls);
    }
  }
}

void TokenHistory::append(TokenId token, KvClass cls) {
  tokens_.push_back(token);
  if (runs_.empty() || runs_.back().cls != cls) runs_.push_back({cls, 0});
  ++runs_.back().tokens;
}

void TokenHistory::truncate(std::int32_t size) {
  FP_CHECK(size >= 0 && size <= this->size());
  std::int32_t dropped = this->size() - size;
  tokens_.resize(static_cast<std::size_t>(size));
  while (dropped > 0) {
    const std::int32_t part = std::min(dropped, runs_.back().tokens);
    dropped -= part;
    if ((runs_.back().tokens -= part) == 0) runs_.pop_back();
  }
}

void TokenHistory::stand_alone(std::span<const TokenId> opening) {
  const std::vector<TokenId> tokens = std::exchange(tokens_, {});
  const std::vector<AppendRun> runs = std::exchange(runs_, {});
  const auto add = [this](TokenId token, KvClass cls) {
    append(token, tokens_.empty() ? KvClass::kSink : cls);
  };
  for (const TokenId token : opening) add(token, KvClass::kSystem);
  std::size_t next = 0;
  for (const AppendRun& run : runs) {
    FP_CHECK(run.cls != KvClass::kSink);
    for (std::int32_t i = 0; i < run.tokens; ++i) add(tokens[next++], run.cls);
  }
}

std::vector<AppendRun> TokenHistory::runs(std::int32_t begin, std::int32_t count) const {
  FP_CHECK(begin >= 0 && count >= 0 && begin + count <= size());
  std::vector<AppendRun> out;
  std::int32_t run_begin = 0;
  for (const AppendRun& run : runs_) {
    const std::int32_t run_end = run_begin + run.tokens;
    const std::int32_t from = std::max(begin, run_begin);
    const std::int32_t to = std::min(begin + count, run_end);
    if (from < to) out.push_back({run.cls, to - from});
    run_begin = run_end;
  }
  return out;
}

std::vector<PrefixSpan> TokenHistory::spans() const {
  std::vector<PrefixSpan> out;
  std::size_t begin = 0;
  for (const AppendRun& run : runs_) {
    const auto count = static_cast<std::size_t>(run.tokens);
    out.push_back({run.cls, std::span(tokens_).subspan(begin, count)});
    begin += count;
  }
  return out;
}

}  // namespace fieldprint
