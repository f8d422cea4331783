// Rollback with a real model in the invariant profile: the KV rows of a sequence that was taken
// back among 16 others are, bit by bit, those of one that never generated the dropped tokens.
#include <random>

#include "engine/engine_core.h"
#include "engine/fake_supervisor.h"
#include "engine/threaded_engine.h"
#include "runner/support.h"
#include "runner/wrapped_runner.h"

namespace fieldprint {
namespace {

using test::must;

// Bytes serve as text: what is compared are tokens and rows.
class NoText final : public TokenDecoder {
 public:
  std::string text(TokenId) const override { return "."; }
  std::string label(TokenId) const override { return "."; }
  bool is_end_of_generation(TokenId) const override { return false; }
};

// All rows of one sequence, layer by layer.
using Rows = std::vector<PageRows>;

// Reads the rows of the one supervised sequence after each of its steps.
class Watcher final : public WrappedRunner {
 public:
  using WrappedRunner::WrappedRunner;

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    FP_ASSIGN(StepOutput output, inner().forward(steps));
    for (const SequenceStep& step : steps) {
      if (step.tap == TapWanted::kNone || step.logits == LogitsWanted::kNone) continue;
      last_state.assign(output.tap_final.begin(), output.tap_final.end());
      rows.clear();
      for (int layer = 0; layer < config().layers; ++layer) {
        for (const PageEntry& entry : step.plan.pages) {
          rows.push_back(must(inner().read_page(layer, entry.page, entry.rows)));
        }
      }
    }
    return output;
  }
  Rows rows;
  std::vector<float> last_state;
};

struct EngineRun {
  Watcher* watcher = nullptr;
  testing::FakeSupervisor* supervisor = nullptr;
  std::unique_ptr<EngineCore> core;
};

class RolledBackModel : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = must(load_model(test::smollm2_path()));
    const auto tokenizer = must(Tokenizer::load(test::smollm2_path()));
    text_ = tokenizer->encode(test::read_text("prose.txt"), false);
  }

  EngineRun open() {
    CpuRunnerOptions options;
    options.profile = NumericProfile::kInvariant;
    options.kv_tokens = 6144;
    auto watcher = std::make_unique<Watcher>(must(make_cpu_runner(model_, options)));
    auto supervisor = std::make_unique<testing::FakeSupervisor>();
    EngineRun run;
    run.watcher = watcher.get();
    run.supervisor = supervisor.get();
    EngineCoreSetup setup;
    setup.runner = std::move(watcher);
    setup.decoder = std::make_shared<NoText>();
    setup.options.max_sequences = 24;
    setup.options.context_length = 512;
    setup.supervisor = std::move(supervisor);
    setup.anchor = with_recipe();
    run.core = must(EngineCore::create(std::move(setup)));
    return run;
  }

  // A front that brings the recipe; the requests here go without its rows.
  static AnchorFactory with_recipe() {
    return [](BlockPool& pool, Runner& runner) -> Result<AnchorInFront> {
      AnchorInFront anchor;
      FP_ASSIGN(const std::vector<PageId> page, pool.allocate(1));
      pool.pin(page[0]);
      pool.release(page[0]);
      anchor.length = 1;
      anchor.sink = {page[0], KvClass::kSink, 1, 0};
      anchor.digest = "recipe only";
      anchor.supervision = testing::fake_supervision_model(runner.config().hidden);
      return anchor;
    };
  }

  GenerationRequest request(std::size_t begin, std::size_t count, std::int32_t max_tokens) const {
    GenerationRequest out;
    out.id = "r" + std::to_string(begin);
    out.use_anchor = false;
    out.prompt = {{{text_.begin() + static_cast<std::ptrdiff_t>(begin),
                    text_.begin() + static_cast<std::ptrdiff_t>(begin + count)},
                   KvClass::kUser}};
    out.max_tokens = max_tokens;
    out.sampling.seed = begin;
    out.sampling.repetition_penalty = 1.1F;
    return out;
  }

  static std::shared_ptr<Job> submit(EngineRun& run, GenerationRequest request) {
    auto job = must(run.core->prepare(std::move(request)));
    run.core->enqueue(job);
    return job;
  }

  static ChoiceDoneEvent finish(EngineRun& run, Job& job) {
    for (int i = 0; i < 2000; ++i) {
      run.core->step();
      while (auto event = job.events->pop(std::chrono::milliseconds(0))) {
        if (auto* done = std::get_if<ChoiceDoneEvent>(&*event)) return *done;
      }
    }
    ADD_FAILURE() << "the sequence does not end";
    return {};
  }

  // The rows of `tokens` behind the prompt when nothing was ever dropped.
  void expect_as_fed(const EngineRun& taken_back, const GenerationRequest& asked,
                     std::span<const TokenId> tokens) {
    EngineRun fed = open();
    GenerationRequest request = asked;
    request.prompt.push_back({{tokens.begin(), tokens.end() - 1}, KvClass::kOutput});
    request.max_tokens = 1;
    const auto job = submit(fed, request);
    finish(fed, *job);
    ASSERT_EQ(fed.watcher->rows.size(), taken_back.watcher->rows.size());
    for (std::size_t i = 0; i < fed.watcher->rows.size(); ++i) {
      ASSERT_EQ(fed.watcher->rows[i].k, taken_back.watcher->rows[i].k) << "page " << i;
      ASSERT_EQ(fed.watcher->rows[i].v, taken_back.watcher->rows[i].v) << "page " << i;
    }
    EXPECT_EQ(fed.watcher->last_state, taken_back.watcher->last_state);
  }

  std::shared_ptr<const Model> model_;
  std::vector<TokenId> text_;
};

TEST_F(RolledBackModel, RowsAreThoseOfARunThatNeverGeneratedWhatWasDropped) {
  std::mt19937 rng(11);
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    EngineRun run = open();
    const std::uint64_t breach_end = 32;
    const std::uint64_t change = rng() % breach_end;
    const int delay = static_cast<int>(rng() % 10);
    bool breached = false;
    run.supervisor->delay = [delay] { return delay; };
    run.supervisor->judge = [&](const testing::SeenSequence&, SegmentReading& reading) {
      if (breached || reading.end_token != breach_end) return;
      breached = true;
      reading.cause = BreachCause::kLimit;
      reading.change_token = change;
    };
    GenerationRequest asked = request(0, 40, 44);
    asked.supervision = SupervisionRequest{};
    for (std::size_t other = 0; other < 8; ++other) submit(run, request(other * 7, 30, 24));
    for (std::int32_t same = 0; same < 8; ++same) submit(run, request(0, 40, 16 + same));
    const auto job = submit(run, asked);
    const ChoiceDoneEvent done = finish(run, *job);
    ASSERT_NE(done.supervision, nullptr);
    ASSERT_EQ(done.supervision->rollbacks.size(), 1U);
    const RollbackRecord& record = done.supervision->rollbacks[0];
    EXPECT_EQ(record.change, RollbackChange::kReseed);
    EXPECT_EQ(record.to_token, change / kCheckpointTokens * kCheckpointTokens);
    ASSERT_EQ(done.tokens.size(), 44U);
    expect_as_fed(run, asked, done.tokens);
  }
}

}  // namespace
}  // namespace fieldprint
