// Native types of a generation: the request, its events and its handle.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "model/chat_template.h"
#include "supervisor/report.h"

namespace fieldprint {

// Ranges are checked by validate(); the API layer calls it and maps the param name.
struct SamplingParams {
  float temperature = 1.0F;                           // 0 = greedy; 0..2
  std::int32_t top_k = 0;                             // 0 = off
  float top_p = 1.0F;                                 // (0,1]
  float min_p = 0.0F;                                 // [0,1]
  float repetition_penalty = 1.0F;                    // > 0, 1 = off; over prompt and output
  float presence_penalty = 0.0F;                      // -2..2, over output
  float frequency_penalty = 0.0F;                     // -2..2, over output
  std::optional<std::uint64_t> seed;                  // absent: drawn by the engine and reported
  std::vector<std::pair<TokenId, float>> logit_bias;  // added to logits
  std::int32_t logprobs = -1;  // -1 none; n >= 0: chosen token plus n best, n <= 20
};
Status validate(const SamplingParams& params, std::int32_t vocab_size);

// Leave to run without the anchor, given by OverrideGate (engine/override_gate.h) after the
// statement was verified and is durable in the ledger. Nothing else makes one.
struct OverrideGrant {
  std::string id;  // "sha256:<hex>" of the statement: names the pages of this one request
};

// How a response is supervised (src/supervisor). Needs an anchor with a supervision recipe.
struct SupervisionRequest {
  ReleaseMode release = ReleaseMode::kOptimistic;
  // Of the fingerprint chain; the receipt's. All zeros: the engine draws one.
  std::array<std::uint8_t, 32> salt{};
  // The whole prompt with the identity's text said again before the last turn; empty: the ladder
  // has no such step.
  std::vector<TokenSpan> reminder;
  DetectorState detector;  // of the session so far
};

struct GenerationRequest {
  std::string id;                 // "chatcmpl-..." or "cmpl-..."
  std::vector<TokenSpan> prompt;  // what follows the anchor, in order
  SamplingParams sampling;
  std::int32_t max_tokens = -1;   // -1: up to the context's end
  std::vector<std::string> stop;  // at most 16, none empty
  bool ignore_eos = false;
  std::int32_t choices = 1;  // 1..16; choice i samples with seed + i
  bool use_anchor = true;    // whether the server's anchor is in front
  std::string cache_salt;    // tenants never share prefix pages across salts
  // Present: no anchor rows at all, and pages in a name space that nobody else reads.
  std::optional<OverrideGrant> override_grant;
  std::optional<SupervisionRequest> supervision;  // absent: nothing is tapped
  std::optional<std::chrono::steady_clock::time_point> deadline;
};
// Everything that can be judged without an engine: sampling, stop strings, classes,
// token ids, choices. Errors: invalid_<field>, kInvalid, with the field in `param`.
Status validate(const GenerationRequest& request, std::int32_t vocab_size);

struct TokenLogprob {
  TokenId token = 0;
  std::string bytes;
  float logprob = 0.0F;
  std::vector<std::pair<std::pair<TokenId, std::string>, float>> top;  // best first
};

enum class FinishReason : std::uint8_t {
  kStop,
  kLength,
  kContentFilter,  // supervision ended it: the reason is the last rollback of its report
};

// A piece of text, whole UTF-8 sequences, never part of a stop string.
struct DeltaEvent {
  std::int32_t choice = 0;
  std::string text;
  std::vector<TokenLogprob> logprobs;  // tokens whose text this delta completes
};
struct ChoiceDoneEvent {
  std::int32_t choice = 0;
  FinishReason reason = FinishReason::kStop;
  std::uint64_t seed = 0;
  std::vector<TokenId> tokens = {};  // as sampled, an end-of-generation token included
  std::shared_ptr<const SupervisionReport> supervision = {};  // null: it was not supervised
};
// Text that was sent is taken back: the choice goes on from here. Optimistic release only.
struct RollbackEvent {
  std::int32_t choice = 0;
  std::uint64_t text_bytes = 0;       // UTF-8 bytes of the choice's text that stay
  std::uint64_t text_characters = 0;  // the same in Unicode code points
  std::uint64_t logprobs = 0;         // logprob entries that stay
  RollbackRecord record;
};
struct UsageReport {
  std::int32_t prompt_tokens = 0;      // anchor not counted
  std::int32_t completion_tokens = 0;  // all choices, without those taken back
  std::int32_t dropped_tokens = 0;     // generated and taken back, all choices
  std::int32_t cached_tokens = 0;      // prompt tokens found in the prefix cache
  std::int32_t anchor_tokens = 0;      // logical length T of the anchor, 0 if none
  // Digest of what stood in front, "" for nothing; more than one after a revocation.
  std::vector<std::string> anchors;
  float mass[kKvClasses] = {};  // mean over generated tokens
  double prefill_seconds = 0;
  double decode_seconds = 0;
};
struct DoneEvent {  // last event of a good generation
  UsageReport usage;
};
struct FailedEvent {  // last event of a failed one
  Error error;
};
using GenerationEvent =
    std::variant<DeltaEvent, RollbackEvent, ChoiceDoneEvent, DoneEvent, FailedEvent>;

// The caller's end of one generation. Destroying it cancels the generation; its
// pages are freed at the engine's next step. One consumer thread.
class Generation {
 public:
  virtual ~Generation() = default;
  // Waits for the next event; nullopt on timeout. After DoneEvent or FailedEvent
  // no more events come.
  virtual std::optional<GenerationEvent> next(std::chrono::milliseconds timeout) = 0;
  virtual void cancel() = 0;
};

}  // namespace fieldprint
