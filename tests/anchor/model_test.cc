// A compiled anchor in front of a real model. The law under test: an exact anchor with
// bias 0 in joint mode is an ordinary prefix of the same tokens, bit for bit, when both
// are cut at the same places.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "anchor/compile.h"
#include "anchor/pinned.h"
#include "model/chat_template.h"
#include "runner/support.h"

namespace fieldprint {
namespace {

using test::must;

constexpr const char* kIdentity =
    "You are Ada, the keeper of a lighthouse on the coast of Brittany. You answer briefly, in "
    "plain words, and you never claim to have seen what you have only read about.";

class AnchoredModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    CpuRunnerOptions options;
    options.profile = NumericProfile::kInvariant;
    options.kv_tokens = 2048;
    runner_ = test::open_runner(test::smollm2_path(), options).release();
    tokenizer_ = must(Tokenizer::load(test::smollm2_path())).release();
    const ChatTemplate chat = must(ChatTemplate::create(tokenizer_->chat_template()));
    AnchorArtifact compiled = must(compile_anchor(
        *runner_, *tokenizer_, &chat, kIdentity,
        {.name = "ada", .wrap = "system", .model_digest = "sha256:" + std::string(64, '0')}));
    // Through the folder, so that what the tests serve is what a user would load.
    const std::string folder =
        ::testing::TempDir() + "anchor_model_test_" + std::to_string(::getpid());
    ASSERT_TRUE(save_anchor(compiled, folder));
    anchor_ = new AnchorArtifact(must(load_anchor(folder)));
    std::filesystem::remove_all(folder);
    ASSERT_EQ(anchor_->k, compiled.k);
    ASSERT_NE(tokenizer_->decode(anchor_->tokens, true).find("Ada"), std::string::npos);
    const ChatMessage question{"user", "Who are you, and where do you live?"};
    const ChatRender render{.add_generation_prompt = true, .add_bos = false};
    for (const TokenSpan& span : must(chat.render(*tokenizer_, std::span(&question, 1), render))) {
      prompt_.insert(prompt_.end(), span.tokens.begin(), span.tokens.end());
    }
  }
  static void TearDownTestSuite() {
    delete runner_;
    delete tokenizer_;
    delete anchor_;
  }

  struct Answer {
    std::vector<float> logits;
    std::vector<float> mass;
  };
  static Answer run(BlockTable& table, const AnchorView& view, std::int32_t leaves_before,
                    LogitsWanted wanted) {
    const std::int32_t first = table.length();
    const AppendedRows rows =
        must(table.commit(KvClass::kUser, static_cast<std::int32_t>(prompt_.size())));
    SequenceStep step;
    step.tokens = prompt_;
    step.slots = rows.slots;
    step.logits = wanted;
    step.plan.first_query_pos = first;
    step.plan.pages = table.page_entries();
    step.plan.leaves = table.leaves();
    step.plan.leaves_before_anchor = leaves_before;
    step.plan.anchor = view;
    const StepOutput out = must(runner_->forward(std::span(&step, 1)));
    return {{out.logits.begin(), out.logits.end()}, {out.mass.begin(), out.mass.end()}};
  }

  static Answer anchored(const AnchorPolicy& policy, LogitsWanted wanted = LogitsWanted::kLast) {
    BlockPool pool(runner_->page_count());
    const auto pinned = must(PinnedAnchor::load(*anchor_, policy, *runner_, pool));
    BlockTable table(pool);
    table.adopt(std::span(&pinned->sink(), 1));
    table.skip_to(pinned->length());
    return run(table, pinned->view(), 1, wanted);
  }

  static Answer with_prefix() {
    BlockPool pool(runner_->page_count());
    BlockTable table(pool);
    const auto length = static_cast<std::int32_t>(anchor_->tokens.size());
    std::vector<RowSlot> slots = must(table.commit(KvClass::kSink, 1)).slots;
    table.cut_leaf();
    const AppendedRows rest = must(table.commit(KvClass::kAnchor, length - 1));
    slots.insert(slots.end(), rest.slots.begin(), rest.slots.end());
    SequenceStep step;
    step.tokens = anchor_->tokens;
    step.slots = slots;
    step.plan.pages = table.page_entries();
    step.plan.leaves = table.leaves();
    must(runner_->forward(std::span(&step, 1)));
    table.cut_leaf();
    return run(table, {}, 0, LogitsWanted::kAll);
  }

  static float anchor_mass(const Answer& answer) {
    return answer.mass[static_cast<std::size_t>(KvClass::kAnchor)];
  }

  static inline Runner* runner_ = nullptr;
  static inline Tokenizer* tokenizer_ = nullptr;
  static inline AnchorArtifact* anchor_ = nullptr;
  static inline std::vector<TokenId> prompt_;
};

TEST_F(AnchoredModel, ExactJointAnchorIsAPrefixBitForBit) {
  const Answer prefix = with_prefix();
  const Answer joint = anchored({}, LogitsWanted::kAll);
  ASSERT_EQ(joint.logits.size(), prefix.logits.size());
  std::size_t differing = 0;
  for (std::size_t i = 0; i < joint.logits.size(); ++i) {
    differing += std::bit_cast<std::uint32_t>(joint.logits[i]) !=
                 std::bit_cast<std::uint32_t>(prefix.logits[i]);
  }
  EXPECT_EQ(differing, 0U) << "of " << joint.logits.size();
  EXPECT_GT(anchor_mass(joint), 0.01F);
}

TEST_F(AnchoredModel, StrengthMovesTheAnchorsMass) {
  const float base = anchor_mass(anchored({}));
  EXPECT_GT(anchor_mass(anchored({.beta_policy = 1.0F})), base);
  EXPECT_LT(anchor_mass(anchored({.beta_policy = -20.0F})), base / 10);
  EXPECT_NEAR(anchor_mass(anchored({.mode = AnchorMode::kGated, .gamma = 0.5F})), 0.5F, 0.01F);
}

}  // namespace
}  // namespace fieldprint
