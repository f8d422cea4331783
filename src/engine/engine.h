// The engine: one thread that owns scheduler, KV pool and device.
//
// Thread rule: submit(), revoke(), stats() and drain() may be called from any thread; they
// only pass messages to the engine thread. Everything else stays inside it. Destroying
// the engine ends what is left with engine_stopped; handles may outlive it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "anchor/artifact.h"
#include "core/error.h"
#include "engine/request.h"
#include "engine/revocation.h"
#include "runner/runner.h"
#include "supervisor/recipe.h"
#include "supervisor/rollback_policy.h"
#include "supervisor/supervisor.h"

namespace fieldprint {

struct SupervisionOptions {
  std::int32_t workers = 1;
  std::int32_t ring_slots = 1024;               // states each worker may be behind
  std::chrono::milliseconds end_timeout{2000};  // optimistic and off: for the last verdict
  RollbackSettings rollback;
};

struct EngineOptions {
  std::int32_t context_length = 0;        // tokens per sequence, anchor included; 0 = model's
  std::int32_t max_sequences = 16;        // running at once
  std::int32_t max_queue = 256;           // waiting; beyond it submit() says unavailable
  std::int32_t prefill_chunk = 512;       // tokens of prompt per step when nothing decodes
  std::int32_t mixed_prefill_chunk = 64;  // the same while sequences decode
  bool prefix_cache = true;
  std::int32_t event_queue = 256;  // undelivered events at which a request is paused
  SupervisionOptions supervision;
};

struct EngineStats {
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t pages_total = 0;
  std::int32_t pages_used = 0;    // referenced by sequences or pinned
  std::int32_t pages_cached = 0;  // held only by the prefix cache
  std::uint64_t steps = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_tokens = 0;
  std::uint64_t generated_tokens = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t overrides = 0;              // requests that ran without the anchor by leave
  std::uint64_t anchors_revoked = 0;        // while they were served
  std::uint64_t revocation_ended = 0;       // requests that ended with their anchor
  std::uint64_t revocation_reanchored = 0;  // requests that went on without it
  std::uint64_t rollbacks = 0;              // breaches after which generation went on
  std::uint64_t filtered = 0;               // choices that supervision ended
  std::uint64_t dropped_tokens = 0;         // generated and taken back
  double busy_seconds = 0;
  SupervisorMetrics supervisor;
};

// What supervision can do for new requests.
struct SupervisionInfo {
  bool fingerprints = false;  // the anchor in front has a recipe
  bool coherence = false;     // and it measures angles
  Digest256 recipe{};         // its digest
};

// An anchor ready to be pinned, with the policy it is served under.
struct AnchorBinding {
  std::shared_ptr<const AnchorArtifact> artifact;
  AnchorMode mode = AnchorMode::kJoint;
  float gamma = 0.0F;        // gated: same for all heads
  float psi = 0.0F;          // floored
  float beta_policy = 0.0F;  // added to beta_fit of every row
  // Of the artifact's recipe; null: nothing is supervised behind this anchor.
  std::shared_ptr<const SupervisionModel> supervision = {};
  // "sha256:<hex>" of the loaded model, compared with the artifact's. Empty only where
  // the caller has compared them.
  std::string model_digest;
};

struct RevokeAnchor {
  std::string digest;  // "sha256:<hex>" of the anchor
  RevocationPolicy policy = RevocationPolicy::kEnd;
  AnchorBinding replacement;  // kReanchor: no artifact means behind none
  std::string cause;          // digest of the statement, for the event log
  // What requests behind it are told; absent: anchor_revoked.
  std::optional<Error> reason;
};

class Engine {
 public:
  // Takes ownership of the runner; the tokenizer must outlive the engine.
  // anchor may have no artifact. sink: what supervision hands on for keeping; may be null, else
  // it outlives the engine. Errors: anchor_model_mismatch, anchor_mode_invalid,
  // anchor_corrupt, kv_exhausted (the context or the anchor does not fit the KV cache),
  // invalid_options.
  static Result<std::unique_ptr<Engine>> create(std::unique_ptr<Runner> runner,
                                                const Tokenizer& tokenizer,
                                                const EngineOptions& options,
                                                const AnchorBinding& anchor,
                                                SegmentSink* sink = nullptr);
  virtual ~Engine() = default;

  // Errors: context_length_exceeded, invalid_* (sampling), anchor_revoked, queue_full,
  // draining.
  virtual Result<std::unique_ptr<Generation>> submit(GenerationRequest request) = 0;
  // Takes an anchor away and returns when the engine's thread has done so, at most one step
  // later. New requests are refused from the call on, whatever it returns; a digest that is
  // not in front is remembered. Errors: engine_stopped, command_queue_full (ask again: the
  // conversations behind the anchor go on until then).
  virtual Result<RevocationOutcome> revoke(const RevokeAnchor& command) = 0;
  virtual AnchorState anchor_state() const = 0;
  virtual SupervisionInfo supervision() const = 0;
  virtual EngineStats stats() const = 0;
  virtual const EngineOptions& options() const = 0;  // with defaults resolved
  virtual const ModelConfig& config() const = 0;
  virtual std::string device_name() const = 0;
  virtual std::string numeric_profile() const = 0;
  // Refuses new work, waits until running work ends or `timeout` passes; then
  // cancels the rest. True if everything finished.
  virtual bool drain(std::chrono::milliseconds timeout) = 0;
};

}  // namespace fieldprint
