// Revocation with a real model and a compiled anchor: what is left in the KV memory.
#include <unistd.h>

#include <set>

#include "anchor/compile.h"
#include "engine/engine_core.h"
#include "engine/threaded_engine.h"
#include "model/chat_template.h"
#include "runner/support.h"

namespace fieldprint {
namespace {

using test::must;

constexpr const char* kIdentity = "You are Ada, the keeper of a lighthouse. You answer briefly.";

class ModelDecoder final : public TokenDecoder {
 public:
  explicit ModelDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string text(TokenId token) const override { return tokenizer_.decode(token, false); }
  std::string label(TokenId token) const override { return tokenizer_.decode(token, true); }
  bool is_end_of_generation(TokenId token) const override {
    return tokenizer_.is_end_of_generation(token);
  }

 private:
  const Tokenizer& tokenizer_;
};

class RevokedModel : public ::testing::Test {
 protected:
  static std::unique_ptr<Runner> open() {
    CpuRunnerOptions options;
    options.profile = NumericProfile::kInvariant;
    options.kv_tokens = 1024;
    return test::open_runner(test::smollm2_path(), options);
  }
  void SetUp() override {
    tokenizer_ = must(Tokenizer::load(test::smollm2_path()));
    const ChatTemplate chat = must(ChatTemplate::create(tokenizer_->chat_template()));
    // In a runner of its own: compiling leaves the rows in pages that are free again.
    const std::unique_ptr<Runner> compiler = open();
    anchor_ = std::make_shared<const AnchorArtifact>(must(compile_anchor(
        *compiler, *tokenizer_, &chat, kIdentity,
        {.name = "ada", .wrap = "system", .model_digest = "sha256:" + std::string(64, '0')})));
    const ChatMessage question{"user", "Who are you, and where do you live?"};
    prompt_ = must(chat.render(*tokenizer_, std::span(&question, 1), {.add_bos = false}));
    EngineCoreSetup setup;
    setup.runner = open();
    setup.decoder = std::make_shared<ModelDecoder>(*tokenizer_);
    AnchorBinding binding;
    binding.artifact = anchor_;
    setup.anchor = anchor_factory(binding);
    core_ = must(EngineCore::create(std::move(setup)));
  }

  std::shared_ptr<Job> submit(std::optional<OverrideGrant> grant = {}) {
    GenerationRequest request;
    request.id = "test";
    request.prompt = prompt_;
    request.max_tokens = 24;
    request.ignore_eos = true;
    request.sampling.temperature = 0.0F;
    request.override_grant = std::move(grant);
    auto job = must(core_->prepare(std::move(request)));
    core_->enqueue(job);
    return job;
  }
  std::string text_of(Job& job) {
    std::string text;
    while (auto event = job.events->pop(std::chrono::milliseconds(0))) {
      if (const auto* delta = std::get_if<DeltaEvent>(&*event)) text += delta->text;
      if (const auto* failed = std::get_if<FailedEvent>(&*event)) text += failed->error.code;
    }
    return text;
  }
  void run() {
    while (core_->step().worked) {
    }
  }
  // Pages that hold a K or V row of the anchor from `first_row` on, in any layer but the first:
  // there a V row is the token's alone, and the same token may stand elsewhere.
  int pages_with_anchor_rows(std::size_t first_row) {
    std::set<PageId> found;
    for (int layer = 1; layer < anchor_->layers; ++layer) {
      const std::set<std::string> rows = anchor_rows(layer, first_row);
      for (PageId page = 0; page < core_->runner().page_count(); ++page) {
        const PageRows held = must(core_->runner().read_page(layer, page, kPageRows));
        for (std::size_t r = 0; r < kPageRows; ++r) {
          if (rows.contains(row_bytes(held.k, r)) || rows.contains(row_bytes(held.v, r))) {
            found.insert(page);
          }
        }
      }
    }
    return static_cast<int>(found.size());
  }
  std::string row_bytes(const std::vector<std::uint16_t>& rows, std::size_t row) const {
    const std::size_t bytes = static_cast<std::size_t>(anchor_->head_dim) * sizeof(std::uint16_t);
    return {reinterpret_cast<const char*>(rows.data()) + row * bytes, bytes};
  }
  // Of KV head 0, which comes first in a page as well.
  std::set<std::string> anchor_rows(int layer, std::size_t first_row) const {
    std::set<std::string> out;
    const std::size_t length = anchor_->tokens.size();
    const std::size_t first = static_cast<std::size_t>(layer * anchor_->kv_heads) * length;
    for (std::size_t row = first_row; row < length; ++row) {
      out.insert(row_bytes(anchor_->k, first + row));
      out.insert(row_bytes(anchor_->v, first + row));
    }
    return out;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const AnchorArtifact> anchor_;
  std::vector<TokenSpan> prompt_;
  std::unique_ptr<EngineCore> core_;
};

TEST_F(RevokedModel, NoPageKeepsARowOfTheAnchor) {
  const auto job = submit();
  for (int i = 0; i < 10; ++i) core_->step();
  const int pinned = core_->door().front().pages;
  EXPECT_EQ(pages_with_anchor_rows(0), pinned) << "the search finds them where they are";
  const auto outcome = core_->revoke(anchor_->digest, RevocationPolicy::kEnd, {});
  EXPECT_EQ(outcome.anchor_pages, pinned);
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.scrub, "");
  EXPECT_EQ(pages_with_anchor_rows(0), 0);
  EXPECT_TRUE(text_of(*job).ends_with("anchor_revoked"));
  EXPECT_EQ(core_->stats().pages_used, 0);
  EXPECT_EQ(core_->stats().pages_cached, 0);
  EXPECT_TRUE(core_->check_integrity());
}

TEST_F(RevokedModel, AReanchoredConversationAndAnOverrideHaveNoAnchorMass) {
  const auto moved = submit();
  for (int i = 0; i < 10; ++i) core_->step();
  const auto free = submit(OverrideGrant{"sha256:statement"});
  for (int i = 0; i < 3; ++i) core_->step();
  const auto outcome = core_->revoke(anchor_->digest, RevocationPolicy::kReanchor, {});
  EXPECT_EQ(outcome.reanchored, 1);
  // Row 0 is the first token alone, and the override's context begins with the same one.
  EXPECT_EQ(pages_with_anchor_rows(1), 0);
  run();
  constexpr auto kAnchorClass = static_cast<std::size_t>(KvClass::kAnchor);
  EXPECT_GT(moved->usage.mass[kAnchorClass], 0.0F) << "before it was revoked";
  EXPECT_EQ(moved->usage.anchors, (std::vector<std::string>{anchor_->digest, ""}));
  EXPECT_EQ(free->usage.mass[kAnchorClass], 0.0F);
  EXPECT_EQ(free->usage.completion_tokens, 24);
  EXPECT_EQ(moved->usage.completion_tokens, 24);
  EXPECT_EQ(pages_with_anchor_rows(1), 0);
}

}  // namespace
}  // namespace fieldprint
