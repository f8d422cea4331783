// The tokens of one sequence after the anchor, with the class of each: prompt first,
// then what was generated. What a preempted sequence is rebuilt from.
//
// Thread rule: one thread per object.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"
#include "model/chat_template.h"

namespace fieldprint {

enum class FirstToken : std::uint8_t {
  kIsSink,       // position 0 of the context: class sink, a page of its own
  kFollowsSink,  // an anchor's sink page is in front
};

class TokenHistory {
 public:
  TokenHistory(const std::vector<TokenSpan>& prompt, FirstToken first);

  void append(TokenId token, KvClass cls);
  // Forgets the tokens from `size` on.
  void truncate(std::int32_t size);
  // What followed a sink begins the context itself from now on: `opening` comes before it,
  // and the first token becomes the sink. Once, on a history made with kFollowsSink.
  void stand_alone(std::span<const TokenId> opening);

  std::int32_t size() const { return static_cast<std::int32_t>(tokens_.size()); }
  std::span<const TokenId> tokens() const { return tokens_; }
  // Classes of tokens begin..begin+count-1 as runs, for BlockTable.
  std::vector<AppendRun> runs(std::int32_t begin, std::int32_t count) const;
  // All tokens as spans, for PrefixIndex. Valid until the next append().
  std::vector<PrefixSpan> spans() const;

 private:
  std::vector<TokenId> tokens_;
  std::vector<AppendRun> runs_;  // neighbours differ in class
};

}  // namespace fieldprint
