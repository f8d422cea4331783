// A request inside the engine (Job) and each of its choices (Sequence).
//
// Thread rule: the engine's thread, except Job::events.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "engine/event_channel.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/supervised.h"
#include "engine/text_stream.h"
#include "engine/token_history.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace fieldprint {

using EngineTime = std::chrono::steady_clock::time_point;

inline constexpr std::uint64_t kMaxChoices = 16;

struct Job {
  GenerationRequest request;
  std::shared_ptr<EventChannel> events;
  std::uint64_t number = 0;        // order of arrival, from 1
  std::uint64_t seed = 0;          // of choice 0
  std::int32_t prompt_tokens = 0;  // anchor not counted
  std::int32_t max_tokens = 0;     // per choice, >= 1
  bool anchored = false;
  std::shared_ptr<const SupervisionModel> supervision;  // null: not asked for
  Digest256 model_digest{};                             // for fingerprint chains
  std::uint64_t anchor_number = 0;                      // which front it was prepared for
  bool admitted = false;                                // has left the queue once
  bool ended = false;                                   // its terminal event has been pushed
  std::int32_t open_choices = 0;                        // not yet done
  UsageReport usage;
  std::array<double, kKvClasses> mass{};  // sum over the tokens of finished choices
  EngineTime admitted_at;
  std::optional<EngineTime> first_token_at;
};

struct Sequence {
  Sequence(std::shared_ptr<Job> job_in, std::int32_t choice_in, BlockPool& pool);
  // The state of a choice that has computed the same prompt.
  Sequence(const Sequence& first, std::int32_t choice_in);

  std::uint64_t age() const {
    return job->number * kMaxChoices + static_cast<std::uint64_t>(choice);
  }
  // Choices that this sequence will become when its prompt is computed.
  std::int32_t slots() const { return waiting_choices; }
  // Begins again with another prompt and without output; gives up no pages.
  void restart(const std::vector<TokenSpan>& prompt);
  // A supervisor follows it.
  bool followed() const { return supervised && !supervised->detached; }
  // Neither computes nor may be let in: a slow consumer, or supervision has the word.
  bool paused() const { return !job->events->has_room() || (supervised && supervised->idle()); }
  std::int32_t computed() const { return table.length() - table_begin; }
  std::int32_t remaining() const { return history.size() - computed(); }

  std::shared_ptr<Job> job;
  std::int32_t choice = 0;
  std::int32_t waiting_choices = 1;  // that it becomes when its prompt is computed
  std::int32_t prompt_size = 0;      // of `history`
  std::int32_t generated = 0;
  std::vector<TokenId> output;  // the generated tokens
  bool done = false;
  TokenHistory history;
  Sampler sampler;
  TextStream text;
  BlockTable table;
  std::int32_t table_begin = 0;  // position of history[0]: the anchor's length
  PrefixChain chain;
  std::array<double, kKvClasses> mass{};   // attention mass, sum over `output`
  std::unique_ptr<Supervised> supervised;  // null: it is not
};

}  // namespace fieldprint
