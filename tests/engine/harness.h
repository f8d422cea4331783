// Drives an EngineCore over a FakeRunner with a virtual clock, and knows what each
// request must answer.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_core.h"
#include "engine/fake_runner.h"
#include "engine/fake_supervisor.h"

namespace fieldprint::testing {

struct ChoiceResult {
  std::string text;
  std::vector<TokenLogprob> logprobs;
  bool done = false;
  FinishReason reason = FinishReason::kStop;
  std::uint64_t seed = 0;
  std::shared_ptr<const SupervisionReport> supervision;
  std::vector<TokenId> tokens;
  int retractions = 0;  // RollbackEvents
};

// Everything that came out of one request.
struct Outcome {
  std::map<std::int32_t, ChoiceResult> choices;
  std::optional<UsageReport> usage;
  std::optional<Error> error;
  int terminal_events = 0;
  int events = 0;

  bool ended() const { return terminal_events > 0; }
  void add(const GenerationEvent& event);
};

// A request with a job in the core and the events seen so far.
struct Client {
  std::shared_ptr<Job> job;
  Outcome outcome;
  bool reads = true;  // false: a slow consumer
  void drain_events();
};

struct HarnessOptions {
  std::int32_t pages = 256;
  std::int32_t max_step_tokens = 512;
  EngineOptions engine;
  std::vector<TokenId> anchor;  // empty: none
  bool supervised = false;      // with a FakeSupervisor, and a recipe for the anchor
};

class Harness {
 public:
  explicit Harness(const HarnessOptions& options);

  // Fails the test if the engine refuses.
  Client& submit(GenerationRequest request);
  // One step, one virtual millisecond, then every reading client reads.
  StepOutcome step();
  // Steps until nothing can be computed; fails after `most` steps.
  void run(int most = 20000);

  EngineCore& core() { return *core_; }
  FakeRunner& runner() { return *runner_; }
  FakeSupervisor& supervisor() { return *supervisor_; }
  EngineTime now() const { return now_; }
  std::vector<std::unique_ptr<Client>>& clients() { return clients_; }

 private:
  EngineTime now_{};
  FakeRunner* runner_;
  FakeSupervisor* supervisor_ = nullptr;
  std::unique_ptr<EngineCore> core_;
  std::vector<std::unique_ptr<Client>> clients_;
};

// A prompt of `count` user tokens drawn from `seed`, none of them special.
GenerationRequest make_request(std::int32_t count, unsigned seed, std::int32_t max_tokens);

// Puts `tokens` in front of every context: row 0 as sink, the others as anchor rows.
AnchorFactory fake_anchor(std::vector<TokenId> tokens,
                          std::shared_ptr<const SupervisionModel> supervision = nullptr);

// What choice `choice` must be, from the oracle: no pages, no batching.
ChoiceResult expected_choice(const GenerationRequest& request, std::uint64_t seed,
                             std::int32_t choice, const std::vector<TokenId>& anchor = {},
                             std::int32_t context_length = 1 << 20);

// Compares every choice with the oracle and checks the one terminal event.
void expect_as_oracle(const Client& client, const std::vector<TokenId>& anchor = {},
                      std::int32_t context_length = 1 << 20);

}  // namespace fieldprint::testing
