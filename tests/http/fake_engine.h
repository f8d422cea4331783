// An engine without a model, for tests of the HTTP layer: answers a prompt with
// words drawn from the seed, and can be told to stall, fail or refuse.
//
// Thread rule: as Engine; the knobs may be turned between requests from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "http/text_service.h"

namespace fieldprint::testing_http {

// One byte is one token; 256 is BOS, 257 end of text, 258 and 259 open a turn: 259 the
// assistant's, which 257 closes.
class FakeText final : public TextService {
 public:
  explicit FakeText(bool has_template = true) : has_template_(has_template) {}
  std::vector<TokenId> encode(std::string_view text, bool parse_special) const override;
  std::string decode(std::span<const TokenId> tokens, bool render_special) const override;
  std::int32_t vocab_size() const override { return 300; }
  bool is_end_of_generation(TokenId token) const override { return token == 257; }
  TokenId bos() const override { return 256; }
  bool adds_bos() const override { return true; }
  Result<std::vector<TokenSpan>> render(std::span<const ChatMessage> messages,
                                        const ChatRender& options) const override;

 private:
  bool has_template_;
};

class FakeEngine final : public Engine {
 public:
  // What the next generations do.
  struct Behaviour {
    std::int32_t words = 4;             // natural length of an answer
    std::string text = {};              // the answer itself, instead of drawn words
    int stall_after = -1;               // deltas before it waits for release()
    int fail_after = -1;                // deltas before it fails with `failure`
    std::optional<Error> failure = {};  // with fail_after < 0: submit() returns it
    std::chrono::milliseconds pace{0};  // between deltas
    bool says_end = false;              // the last token is 257, which has no text
    // Supervised requests: breaches of each choice, each with two words to be dropped after the
    // first `keep` of the answer's; and whether the last one ends it.
    std::int32_t breaches = 0;
    std::size_t keep = 1;
    bool filtered = false;
    std::uint64_t gap = 0;  // tokens without a record
  };
  void set(Behaviour behaviour);
  void set_anchor(std::string digest);  // what stands in front, for usage.anchors
  // What can be supervised, and the model that reports are about.
  void set_supervision(SupervisionInfo info, std::string model_digest = {});
  void release();  // lets stalled generations go on

  Result<std::unique_ptr<Generation>> submit(GenerationRequest request) override;
  Result<RevocationOutcome> revoke(const RevokeAnchor& command) override;
  AnchorState anchor_state() const override;
  SupervisionInfo supervision() const override;
  EngineStats stats() const override;
  const EngineOptions& options() const override { return options_; }
  const ModelConfig& config() const override { return config_; }
  std::string device_name() const override { return "fake"; }
  std::string numeric_profile() const override { return "fake/exact"; }
  bool drain(std::chrono::milliseconds timeout) override;

  FakeEngine();
  GenerationRequest last_request() const;
  std::vector<std::string> revoked() const;
  RevokeAnchor last_revocation() const;  // of what stood in front
  int submitted() const { return submitted_; }
  int cancelled() const { return cancelled_; }
  int running() const { return running_; }

 private:
  friend class FakeGeneration;

  EngineOptions options_;
  ModelConfig config_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Behaviour behaviour_;
  GenerationRequest last_;
  std::vector<std::string> revoked_;
  std::string anchor_;
  std::string model_;
  SupervisionInfo supervision_;
  RevokeAnchor last_revocation_;
  std::uint64_t releases_ = 0;
  bool draining_ = false;
  bool cut_ = false;  // drain timed out: generations fail
  std::atomic<int> submitted_{0};
  std::atomic<int> cancelled_{0};
  std::atomic<int> running_{0};
  std::atomic<std::uint64_t> generated_{0};
};

}  // namespace fieldprint::testing_http
