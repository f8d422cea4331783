// A runner without a model, for engine tests.
//
// Its KV memory is real: a row stores (token, position) where slots say, and logits are
// a hash of the history *read back through the page table*, anchor rows included. So a
// wrong page, a missed copy, a stale cached row or a wrong class changes the output.
// fake_logits() of the plain history is the oracle.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/token_decoder.h"
#include "runner/runner.h"

namespace fieldprint::testing {

inline constexpr std::int32_t kFakeVocab = 64;
inline constexpr TokenId kFakeEnd = 63;

struct FakeToken {
  TokenId token = 0;
  std::int32_t pos = 0;
  KvClass cls = KvClass::kUser;
};

// [kFakeVocab], a pure function of the history.
std::vector<float> fake_logits(std::span<const FakeToken> history);
// [kFakeHidden], another one: what a tap hands out. A layer's state is its negative.
inline constexpr std::int32_t kFakeHidden = 64;
std::vector<float> fake_state(std::span<const FakeToken> history);

class FakeRunner final : public Runner {
 public:
  FakeRunner(std::int32_t pages, std::int32_t max_step_tokens);

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override;
  Status copy_page(PageId from, PageId to) override;
  Result<PageRows> read_page(int layer, PageId page, int rows) override;
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override;
  const ModelConfig& config() const override { return config_; }
  std::int32_t page_count() const override { return pages_; }
  std::int32_t max_step_tokens() const override { return max_step_tokens_; }
  std::string device_name() const override { return "fake"; }
  std::string numeric_profile() const override { return "fake"; }

  // Called at the start of each forward with the steps; an error makes it fail.
  std::function<Status(std::span<const SequenceStep>)> before_forward;
  // May change the logits of a sequence after they are computed.
  std::function<void(std::span<const FakeToken> history, std::span<float> logits)> after_logits;

  std::int64_t tokens_computed() const { return tokens_computed_; }
  std::int64_t copies() const { return copies_; }

 private:
  struct Row {
    TokenId token = -1;
    std::int32_t pos = -1;
  };
  Row& row(PageId page, std::int32_t index);
  void tap(const SequenceStep& step, std::span<const FakeToken> history);
  void write_rows(const SequenceStep& step);
  std::vector<FakeToken> read_history(const SequencePlan& plan);

  ModelConfig config_;
  std::int32_t pages_;
  std::int32_t max_step_tokens_;
  std::vector<Row> rows_;
  std::vector<float> logits_;
  std::vector<float> mass_;
  std::vector<float> tap_final_;
  std::vector<float> tap_layer_;
  std::int64_t tokens_computed_ = 0;
  std::int64_t copies_ = 0;
};

// Token t is the letter 'a' + t%26, except: 60 and 61 are the halves of U+00E9, 62 has
// no text, 63 ends the generation.
class FakeDecoder final : public TokenDecoder {
 public:
  std::string text(TokenId token) const override;
  std::string label(TokenId token) const override;
  bool is_end_of_generation(TokenId token) const override { return token == kFakeEnd; }
};

}  // namespace fieldprint::testing
