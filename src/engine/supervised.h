// What the engine keeps of a choice that is supervised: what has not reached the supervisor yet,
// what is held back from the client, and the places it can go back to.
//
// Thread rule: the engine's thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/text_stream.h"
#include "supervisor/rollback_policy.h"
#include "supervisor/supervisor.h"

namespace fieldprint {

// Sizes of a text: what a client must keep to undo the rest.
struct TextSize {
  std::uint64_t bytes = 0;
  std::uint64_t characters = 0;
  std::uint64_t logprobs = 0;

  void add(const TextPiece& piece);
  bool operator==(const TextSize&) const = default;
};

// The state after a multiple of kCheckpointTokens own tokens. Everything else follows from the
// tokens: pages by truncation, the sampler by retracting, the draw by its step number.
struct Checkpoint {
  TextStream text;
  TextSize size;  // of the text that came out of `text`
  std::array<double, kKvClasses> mass{};
};

struct HeldPiece {
  std::uint64_t end_token = 0;  // it may go when the tokens before this one have passed
  TextPiece piece;
};

// The last token has been sampled; the last verdict is awaited.
struct Ending {
  FinishReason reason = FinishReason::kStop;
  TextPiece last;
  std::chrono::steady_clock::time_point since;
};

// A state that found no room in the ring of a strict sequence.
struct WaitingState {
  std::uint64_t position = 0;
  std::int32_t token = 0;
  std::vector<float> final;
  std::vector<float> layer;
};

struct Supervised {
  std::uint64_t number = 0;  // the supervisor's
  std::shared_ptr<const SupervisionModel> model;
  ReleaseMode release = ReleaseMode::kOptimistic;
  bool coherence = true;
  // The anchor it was opened for has gone: no supervisor follows it any more.
  bool detached = false;

  // For the supervisor, in this order; the sequence is not scheduled before all is delivered.
  std::optional<RollbackRecord> mark;
  std::optional<WaitingState> state;
  bool end_unsent = false;

  std::deque<HeldPiece> held;       // strict only
  TextSize produced;                // of all text that came out of the stream
  std::uint64_t passed_tokens = 0;  // strict: judged, so their text has been sent

  std::vector<Checkpoint> checkpoints;  // [i]: at i * kCheckpointTokens
  std::vector<RollbackRecord> rollbacks;
  std::vector<KvClass> quarantined;
  std::optional<Ending> ending;
  std::shared_ptr<const SupervisionReport> report;  // the worker's, at the end

  // A stronger anchor than the served one, since a rollback. KV computed under it must not be
  // found under the served one's name.
  bool boosted = false;
  AnchorMode mode = AnchorMode::kJoint;
  float psi = 0.0F;
  std::vector<float> gamma;

  // Tokens of `generated` whose text the client has.
  std::uint64_t released(std::uint64_t generated) const {
    return release == ReleaseMode::kStrict ? passed_tokens : generated;
  }
  bool undelivered() const { return mark || state || end_unsent; }
  bool idle() const { return ending.has_value() || undelivered(); }
  // Raises the anchor by one step of the ladder, from `view` or from where it is already.
  void boost(const AnchorView& view, std::size_t gammas, const RollbackSettings& settings);
  // `view` under the raised policy.
  AnchorView anchor(const AnchorView& view) const;
};

}  // namespace fieldprint
