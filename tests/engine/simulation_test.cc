// Random traffic against the core, replayable: a failure prints its seed, and
// FIELDPRINT_SIM_SEED=<seed> runs just that one. FIELDPRINT_SIM_COUNT=<n> runs n seeds
// from there (from 1 without FIELDPRINT_SIM_SEED).
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

class Simulation {
 public:
  explicit Simulation(unsigned seed) : rng_(seed), options_(make_options()), harness_(options_) {
    harness_.runner().before_forward = [this](std::span<const SequenceStep>) -> Status {
      if (faults_ && chance(150)) return fail(ErrorKind::kInternal, "device_lost", "fake");
      return {};
    };
    baseline_ = harness_.core().stats().pages_used;
  }

  void run() {
    for (int i = 0; i < 400 && !::testing::Test::HasFatalFailure(); ++i) {
      if (chance(4)) submit();
      if (chance(25)) cancel_one();
      if (chance(12)) toggle_reader();
      if (chance(300)) revoke();
      harness_.step();
      audit();
    }
    for (const auto& client : harness_.clients()) client->reads = true;
    for (const auto& client : harness_.clients()) client->drain_events();
    harness_.run();
    check_end();
  }

 private:
  bool chance(unsigned one_in) { return rng_() % one_in == 0; }
  std::int32_t range(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(rng_() % static_cast<unsigned>(high - low + 1));
  }

  HarnessOptions make_options() {
    HarnessOptions options;
    options.pages = range(24, 120);
    options.max_step_tokens = range(16, 128);
    options.engine.max_sequences = range(4, 16);
    options.engine.prefill_chunk = range(1, 128);
    options.engine.mixed_prefill_chunk = range(1, 64);
    options.engine.prefix_cache = !chance(4);
    options.engine.event_queue = range(1, 8);
    faults_ = chance(3);
    if (chance(2)) {
      for (std::int32_t i = range(2, 40); i > 0; --i) options.anchor.push_back(range(0, 59));
    }
    options.engine.context_length = range(60, 300);
    const auto room = (options.pages - 5) * kPageRows;
    options.engine.context_length = std::min(options.engine.context_length, room);
    return options;
  }

  void submit() {
    GenerationRequest request;
    request.id = std::to_string(harness_.clients().size());
    const KvClass classes[] = {KvClass::kSystem, KvClass::kUser, KvClass::kTool, KvClass::kMemory,
                               KvClass::kOutput};
    for (int spans = range(1, 4); spans > 0; --spans) {
      TokenSpan span;
      span.cls = classes[range(0, 4)];
      // Few distinct beginnings, so that prefixes are often shared.
      const TokenId start = range(0, 2);
      for (std::int32_t i = range(0, 40); i > 0; --i) span.tokens.push_back((start + i * 7) % 60);
      request.prompt.push_back(span);
    }
    request.max_tokens = chance(8) ? -1 : range(1, 60);
    request.choices = chance(4) ? range(2, 4) : 1;
    request.use_anchor = !chance(4);
    if (chance(10)) {
      request.use_anchor = false;
      request.override_grant = OverrideGrant{"sha256:" + request.id};
    }
    request.ignore_eos = chance(2);
    request.cache_salt = chance(3) ? "b" : "";
    request.sampling.seed = rng_();
    if (chance(3)) request.sampling.temperature = 0.0F;
    if (chance(3)) request.sampling.repetition_penalty = 1.3F;
    if (chance(3)) request.sampling.top_k = range(1, 20);
    if (chance(4)) request.stop = {"ab", "e"};
    if (chance(6)) request.deadline = harness_.now() + std::chrono::milliseconds(range(1, 80));
    const auto job = harness_.core().prepare(request);
    if (!job) {
      EXPECT_TRUE(job.error().code == "context_length_exceeded" ||
                  job.error().code == "kv_exhausted" || job.error().code == "invalid_prompt" ||
                  (job.error().code == "anchor_revoked" && revoked_))
          << job.error().code;
      return;
    }
    harness_.submit(std::move(request));
  }

  void cancel_one() {
    if (harness_.clients().empty()) return;
    Client& client = *harness_.clients()[rng_() % harness_.clients().size()];
    client.job->events->cancel();
    cancelled_.insert(&client);
  }

  void toggle_reader() {
    if (harness_.clients().empty()) return;
    Client& client = *harness_.clients()[rng_() % harness_.clients().size()];
    client.reads = !client.reads;
  }

  void revoke() {
    const std::string digest = harness_.core().door().front().digest;
    if (digest.empty()) return;
    const auto policy = chance(2) ? RevocationPolicy::kEnd : RevocationPolicy::kReanchor;
    AnchorFactory replacement;
    if (chance(2)) {
      options_.anchor.clear();
      for (std::int32_t i = range(2, 40); i > 0; --i) options_.anchor.push_back(range(0, 59));
      replacement = [tokens = options_.anchor, digest](BlockPool& pool, Runner& runner) {
        auto anchor = fake_anchor(tokens)(pool, runner);
        if (anchor) anchor->seed = anchor->digest = digest + "'";
        return anchor;
      };
    }
    harness_.core().revoke(digest, policy, replacement);
    revoked_ = true;
    baseline_ = harness_.core().door().front().pages;
    for (const auto& client : harness_.clients()) {
      before_revocation_.insert(client.get());
    }
  }

  void audit() {
    const Status status = harness_.core().check_integrity();
    ASSERT_TRUE(status) << status.error().message;
    const EngineStats stats = harness_.core().stats();
    ASSERT_LE(stats.running, options_.engine.max_sequences);
    ASSERT_LE(stats.pages_used, options_.pages);
  }

  void check_end() {
    ASSERT_TRUE(harness_.core().idle());
    EXPECT_EQ(harness_.core().stats().pages_used, baseline_);
    for (const auto& client : harness_.clients()) {
      const Outcome& outcome = client->outcome;
      ASSERT_EQ(outcome.terminal_events, 1) << "request " << client->job->request.id;
      if (!outcome.error && client->job->request.use_anchor &&
          before_revocation_.contains(client.get())) {
        continue;  // two fronts in one answer: revocation_test.cc has the oracle for those
      }
      if (!outcome.error) {
        expect_as_oracle(*client, options_.anchor, harness_.core().options().context_length);
        continue;
      }
      const std::string& code = outcome.error->code;
      const bool explained =
          (code == "cancelled" && cancelled_.contains(client.get())) ||
          (code == "deadline_exceeded" && client->job->request.deadline) ||
          (code == "device_lost" && faults_) ||
          (code == "anchor_revoked" && before_revocation_.contains(client.get())) ||
          code == "kv_exhausted";
      EXPECT_TRUE(explained) << code;
    }
  }

  std::mt19937 rng_;
  bool faults_ = false;
  HarnessOptions options_;
  Harness harness_;
  std::int32_t baseline_ = 0;
  std::set<const Client*> cancelled_;
  std::set<const Client*> before_revocation_;
  bool revoked_ = false;
};

TEST(EngineSimulation, RandomTrafficEndsEveryRequestOnceAndLeavesNoPage) {
  const char* seed_text = std::getenv("FIELDPRINT_SIM_SEED");
  const char* count_text = std::getenv("FIELDPRINT_SIM_COUNT");
  const auto number = [](const char* text) {
    return static_cast<unsigned>(std::strtoul(text, nullptr, 10));
  };
  const unsigned first = seed_text != nullptr ? number(seed_text) : 1;
  const unsigned count = count_text != nullptr ? number(count_text) : seed_text != nullptr ? 1 : 60;
  for (unsigned seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("replay with FIELDPRINT_SIM_SEED=" + std::to_string(seed));
    Simulation(seed).run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace fieldprint::testing
