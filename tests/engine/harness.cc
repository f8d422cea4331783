#include "engine/harness.h"

#include <random>
#include <type_traits>

#include "core/check.h"

namespace fieldprint::testing {

void Outcome::add(const GenerationEvent& event) {
  ++events;
  EXPECT_EQ(terminal_events, 0) << "an event after the last one";
  if (const auto* delta = std::get_if<DeltaEvent>(&event)) {
    ChoiceResult& choice = choices[delta->choice];
    EXPECT_FALSE(choice.done) << "text after the choice was done";
    choice.text += delta->text;
    choice.logprobs.insert(choice.logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
  } else if (const auto* back = std::get_if<RollbackEvent>(&event)) {
    ChoiceResult& choice = choices[back->choice];
    EXPECT_FALSE(choice.done);
    EXPECT_LT(back->text_bytes, choice.text.size());
    choice.text.resize(back->text_bytes);
    EXPECT_LE(back->logprobs, choice.logprobs.size());
    choice.logprobs.resize(back->logprobs);
    ++choice.retractions;
  } else if (const auto* done = std::get_if<ChoiceDoneEvent>(&event)) {
    ChoiceResult& choice = choices[done->choice];
    EXPECT_FALSE(choice.done);
    choice.done = true;
    choice.reason = done->reason;
    choice.seed = done->seed;
    choice.supervision = done->supervision;
    choice.tokens = done->tokens;
  } else if (const auto* all = std::get_if<DoneEvent>(&event)) {
    usage = all->usage;
    ++terminal_events;
  } else {
    error = std::get<FailedEvent>(event).error;
    ++terminal_events;
  }
}

void Client::drain_events() {
  while (auto event = job->events->pop(std::chrono::milliseconds(0))) outcome.add(*event);
}

Harness::Harness(const HarnessOptions& options) {
  auto runner = std::make_unique<FakeRunner>(options.pages, options.max_step_tokens);
  runner_ = runner.get();
  EngineCoreSetup setup;
  setup.runner = std::move(runner);
  setup.decoder = std::make_shared<FakeDecoder>();
  setup.options = options.engine;
  std::shared_ptr<const SupervisionModel> model;
  if (options.supervised) {
    model = fake_supervision_model(kFakeHidden);
    auto supervisor = std::make_unique<FakeSupervisor>();
    supervisor_ = supervisor.get();
    setup.supervisor = std::move(supervisor);
  }
  if (!options.anchor.empty()) setup.anchor = fake_anchor(options.anchor, model);
  setup.clock = [this] { return now_; };
  setup.seed_base = 5;
  auto core = EngineCore::create(std::move(setup));
  FP_CHECK(core.has_value());
  core_ = std::move(*core);
}

Client& Harness::submit(GenerationRequest request) {
  auto job = core_->prepare(std::move(request));
  if (!job) ADD_FAILURE() << job.error().code << ": " << job.error().message;
  FP_CHECK(job.has_value());
  clients_.push_back(std::make_unique<Client>());
  clients_.back()->job = *job;
  core_->enqueue(*job);
  return *clients_.back();
}

StepOutcome Harness::step() {
  const StepOutcome outcome = core_->step();
  now_ += std::chrono::milliseconds(1);
  for (const auto& client : clients_) {
    if (client->reads) client->drain_events();
  }
  return outcome;
}

void Harness::run(int most) {
  for (int i = 0; i < most; ++i) {
    if (!step().worked) return;
  }
  FAIL() << "still busy after " << most << " steps";
}

GenerationRequest make_request(std::int32_t count, unsigned seed, std::int32_t max_tokens) {
  std::mt19937 rng(seed);
  GenerationRequest request;
  request.id = "test-" + std::to_string(seed);
  request.prompt = {{{}, KvClass::kUser}};
  for (std::int32_t i = 0; i < count; ++i) {
    request.prompt[0].tokens.push_back(static_cast<TokenId>(rng() % 60));
  }
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

namespace {

struct FakeAnchorRows {
  explicit FakeAnchorRows(BlockPool& pool_in) : pool(&pool_in) {}
  FakeAnchorRows(const FakeAnchorRows&) = delete;
  FakeAnchorRows& operator=(const FakeAnchorRows&) = delete;
  ~FakeAnchorRows() {
    for (const PageEntry& entry : pages) pool->unpin(entry.page);
    if (sink != kNoPage) pool->unpin(sink);
  }
  BlockPool* pool;
  PageId sink = kNoPage;
  std::vector<PageEntry> pages;
  std::vector<Leaf> leaves;
};

Result<PageEntry> pin_rows(BlockPool& pool, Runner& runner, std::span<const TokenId> tokens,
                           std::int32_t first_pos, KvClass cls) {
  FP_ASSIGN(const std::vector<PageId> page, pool.allocate(1));
  PageRows rows;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    rows.k.push_back(static_cast<std::uint16_t>(tokens[i]));
    rows.k.push_back(static_cast<std::uint16_t>(first_pos + static_cast<std::int32_t>(i)));
  }
  rows.v.assign(rows.k.size(), 0);
  FP_TRY(runner.write_page(0, page[0], static_cast<int>(tokens.size()), rows));
  pool.pin(page[0]);
  pool.release(page[0]);
  return PageEntry{page[0], cls, static_cast<std::uint8_t>(tokens.size()), first_pos};
}

}  // namespace

AnchorFactory fake_anchor(std::vector<TokenId> tokens,
                          std::shared_ptr<const SupervisionModel> supervision) {
  return [tokens, supervision](BlockPool& pool, Runner& runner) -> Result<AnchorInFront> {
    AnchorInFront anchor;
    anchor.length = static_cast<std::int32_t>(tokens.size());
    auto rows = std::make_shared<FakeAnchorRows>(pool);
    FP_ASSIGN(anchor.sink, pin_rows(pool, runner, std::span(tokens).first(1), 0, KvClass::kSink));
    rows->sink = anchor.sink.page;
    for (std::size_t i = 1; i < tokens.size(); i += kPageRows) {
      const auto part =
          std::span(tokens).subspan(i, std::min<std::size_t>(kPageRows, tokens.size() - i));
      FP_ASSIGN(const PageEntry page,
                pin_rows(pool, runner, part, static_cast<std::int32_t>(i), KvClass::kAnchor));
      rows->pages.push_back(page);
    }
    rows->leaves.push_back({0, static_cast<std::int32_t>(rows->pages.size())});
    anchor.view.pages = rows->pages;
    anchor.view.leaves = rows->leaves;
    anchor.digest = "fake-anchor";
    anchor.seed = "fake-anchor";
    anchor.owner = rows;
    anchor.supervision = supervision;
    return anchor;
  };
}

ChoiceResult expected_choice(const GenerationRequest& request, std::uint64_t seed,
                             std::int32_t choice, const std::vector<TokenId>& anchor,
                             std::int32_t context_length) {
  std::vector<FakeToken> history;
  const auto add = [&](TokenId token, KvClass cls) {
    const auto pos = static_cast<std::int32_t>(history.size());
    history.push_back({token, pos, pos == 0 ? KvClass::kSink : cls});
  };
  if (request.use_anchor) {
    for (const TokenId token : anchor) add(token, KvClass::kAnchor);
  }
  std::vector<TokenId> prompt;
  for (const TokenSpan& span : request.prompt) {
    for (const TokenId token : span.tokens) {
      add(token, span.cls);
      prompt.push_back(token);
    }
  }
  const FakeDecoder decoder;
  ChoiceResult out;
  out.done = true;
  out.seed = seed + static_cast<std::uint64_t>(choice);
  Sampler sampler(request.sampling, out.seed, prompt);
  TextStream stream(request.stop);
  std::int32_t limit = context_length - static_cast<std::int32_t>(history.size());
  if (request.max_tokens > 0) limit = std::min(limit, request.max_tokens);
  for (std::int32_t step = 0;; ++step) {
    if (step == limit) {
      out.reason = FinishReason::kLength;
      break;
    }
    const auto sampled = sampler.sample(fake_logits(history), static_cast<std::uint64_t>(step));
    FP_CHECK(sampled.has_value());
    sampler.accept(sampled->token);
    if (sampled->token == kFakeEnd && !request.ignore_eos) break;
    const TextPiece piece = stream.push(decoder.text(sampled->token), std::nullopt);
    out.text += piece.text;
    if (piece.stopped) return out;
    add(sampled->token, KvClass::kOutput);
  }
  out.text += stream.finish().text;
  return out;
}

void expect_as_oracle(const Client& client, const std::vector<TokenId>& anchor,
                      std::int32_t context_length) {
  const Outcome& outcome = client.outcome;
  ASSERT_EQ(outcome.terminal_events, 1) << client.job->request.id;
  ASSERT_FALSE(outcome.error) << outcome.error->code << ": " << outcome.error->message;
  ASSERT_EQ(outcome.choices.size(), static_cast<std::size_t>(client.job->request.choices));
  for (const auto& [index, choice] : outcome.choices) {
    const ChoiceResult expected =
        expected_choice(client.job->request, client.job->seed, index, anchor, context_length);
    EXPECT_EQ(choice.text, expected.text) << client.job->request.id << " choice " << index;
    EXPECT_EQ(choice.reason, expected.reason) << client.job->request.id;
    EXPECT_EQ(choice.seed, expected.seed);
    EXPECT_TRUE(choice.done);
  }
}

}  // namespace fieldprint::testing
