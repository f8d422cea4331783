// Draws one token from one row of logits.
//
// Order of operations (the one vLLM documents; docs/engine.md has the reasons):
//   1. log-probabilities are those of the raw model distribution, before 2 to 5
//   2. logit_bias is added
//   3. repetition penalty (prompt and output), then frequency and presence (output)
//   4. temperature 0: the largest logit, smallest id among equals; done
//   5. temperature, then min-p, then top-k, then top-p renormalised over what is left
//   6. one draw by inversion, candidates in order of rank (in order of id without top-k
//      and top-p, or when top-p keeps more than 256)
// The draw at step t is uniform_at(seed, t): it depends on nothing else, so batch
// mates, preemption and chunking cannot change it.
//
// Cost: greedy without penalties is one pass. top-k keeps at most 2k candidates; top-p
// looks at the best 256, and where they do not hold the mass selects the nucleus in
// linear time. Nothing sorts the vocabulary.
//
// Thread rule: one thread per Sampler.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "engine/logits.h"
#include "engine/request.h"

namespace fieldprint {

struct SampledToken {
  TokenId token = 0;
  float logprob = 0.0F;        // natural log, raw distribution; set if logprobs >= 0
  std::vector<Candidate> top;  // logprobs of the n best, best first
};

class Sampler {
 public:
  // params must have passed validate(). prompt: for the repetition penalty; not kept.
  Sampler(SamplingParams params, std::uint64_t seed, std::span<const TokenId> prompt);

  // The same state (prompt and output seen) with another seed, for another choice.
  Sampler fork(std::uint64_t seed) const;

  // The token at output position `step`. Does not count it as seen: accept() does.
  // Errors: logits_not_finite (NaN or infinity in the row, or made by the penalties).
  Result<SampledToken> sample(std::span<const float> logits, std::uint64_t step);

  // Counts a token of the output for the penalties.
  void accept(TokenId token);
  // Takes back what accept() counted.
  void retract(TokenId token);

  // For output that is generated again: another seed, a lower temperature, or a token that may
  // not be drawn at one step.
  void reseed(std::uint64_t seed) { seed_ = seed; }
  void cool(float factor) { params_.temperature *= factor; }
  void forbid(std::uint64_t step, TokenId token) { forbidden_.emplace_back(step, token); }

  std::uint64_t seed() const { return seed_; }

 private:
  bool adjusts_logits(std::uint64_t step) const;
  void adjust(std::span<float> logits, std::uint64_t step) const;
  TokenId draw(std::span<const float> logits, const LogitMax& max, double uniform);
  double weight(const Candidate& c, const LogitMax& max) const;
  std::optional<TokenId> draw_ranked(const LogitMax& max, double total, double uniform);
  TokenId draw_by_id(const LogitMax& max, double total, double uniform) const;
  void fill_logprobs(std::span<const float> logits, const LogitMax& max, SampledToken& out);

  SamplingParams params_;
  std::uint64_t seed_;
  std::unordered_set<TokenId> prompt_;  // filled for a repetition penalty only
  std::unordered_map<TokenId, std::int32_t> output_count_;
  std::vector<std::pair<std::uint64_t, TokenId>> forbidden_;  // step, token; a few at most
  std::vector<float> adjusted_;                               // scratch, [vocab]
  std::vector<float> weights_;                                // scratch
  std::vector<Candidate> candidates_;                         // scratch
};

}  // namespace fieldprint
