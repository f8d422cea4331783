#include "app/calibrate/replay.h"

#include <algorithm>

#include "core/check.h"
#include "engine/token_history.h"
#include "kv/block_table.h"

namespace fieldprint::app {

// One text under way.
struct Replayer::Job {
  Job(const ReplayText& text, BlockPool& pool, const PinnedAnchor& anchor)
      : history(text.prompt, text.anchored ? FirstToken::kFollowsSink : FirstToken::kIsSink),
        table(pool),
        answer(text.answer),
        anchored(text.anchored) {
    prompt_tokens = history.size();
    for (const TokenId token : text.answer) history.append(token, KvClass::kOutput);
    if (!anchored) return;
    table.adopt(std::span(&anchor.sink(), 1));
    table.cut_leaf();
    table.skip_to(anchor.length());
    begin = anchor.length();
  }
  std::int32_t computed() const { return table.length() - begin; }
  // Rows that nobody asks for: the whole prompt but its last token.
  std::int32_t head() const { return prompt_tokens - 1; }
  // The last token of an answer is never fed: no token is sampled from its state here.
  std::int32_t total() const { return history.size() - 1; }

  TokenHistory history;
  BlockTable table;
  std::span<const TokenId> answer;
  bool anchored;
  std::int32_t begin = 0;  // position of the first token
  std::int32_t prompt_tokens = 0;
  std::vector<RowSlot> slots;  // of the step under way
  ReplayStates states;
};

namespace {

// Part-filled pages that one text may leave: one for each change of class.
std::size_t pages_of(const ReplayText& text) {
  return token_count(text) / kPageRows + text.prompt.size() + 3;
}

}  // namespace

std::size_t token_count(const ReplayText& text) {
  std::size_t tokens = text.answer.size();
  for (const TokenSpan& span : text.prompt) tokens += span.tokens.size();
  return tokens;
}

Result<std::unique_ptr<Replayer>> Replayer::create(std::unique_ptr<Runner> runner,
                                                   const AnchorArtifact& anchor) {
  std::unique_ptr<Replayer> made(new Replayer(std::move(runner)));
  FP_ASSIGN(made->anchor_, PinnedAnchor::load(anchor, {}, *made->runner_, made->pool_));
  return made;
}

Result<std::vector<ReplayStates>> Replayer::states(std::span<const ReplayText> texts,
                                                   std::int32_t layer,
                                                   const std::function<void(std::size_t)>& done) {
  std::vector<ReplayStates> out;
  for (std::size_t at = 0; at < texts.size();) {
    std::vector<Job> jobs;
    std::size_t tokens = 0;
    auto pages = static_cast<std::size_t>(pool_.available());
    while (at < texts.size() && (jobs.empty() || pages_of(texts[at]) <= pages) &&
           tokens < static_cast<std::size_t>(runner_->max_step_tokens())) {
      FP_CHECK(!texts[at].answer.empty() && token_count(texts[at]) > texts[at].answer.size());
      jobs.emplace_back(texts[at], pool_, *anchor_);
      pages -= std::min(pages, pages_of(texts[at]));
      tokens += token_count(texts[at]);
      ++at;
    }
    FP_TRY(run(jobs, layer));
    for (Job& job : jobs) out.push_back(std::move(job.states));
    if (done) done(at);
  }
  return out;
}

// Every job's next piece in one step, until all are done.
Status Replayer::run(std::span<Job> jobs, std::int32_t layer) {
  while (true) {
    std::vector<SequenceStep> steps;
    std::vector<Job*> asked;
    std::int32_t room = runner_->max_step_tokens();
    for (Job& job : jobs) {
      const std::int32_t from = job.computed();
      const bool answering = from >= job.head();
      const std::int32_t end = answering ? job.total() : job.head();
      const std::int32_t count = std::min(end - from, room);
      if (count <= 0) continue;
      room -= count;
      FP_ASSIGN(AppendedRows rows, job.table.commit(job.history.runs(from, count)));
      FP_CHECK(!rows.copy);  // no page is shared but the anchor's, which is full
      job.slots = std::move(rows.slots);
      SequenceStep step;
      step.tokens = job.history.tokens().subspan(static_cast<std::size_t>(from),
                                                 static_cast<std::size_t>(count));
      step.slots = job.slots;
      step.plan.first_query_pos = job.begin + from;
      step.plan.pages = job.table.page_entries();
      step.plan.leaves = job.table.leaves();
      if (job.anchored) {
        step.plan.leaves_before_anchor = 1;
        step.plan.anchor = anchor_->view();
      }
      if (answering) {
        step.logits = LogitsWanted::kAll;
        step.tap = TapWanted::kFinalAndLayer;
        step.tap_layer = layer;
        asked.insert(asked.end(), static_cast<std::size_t>(count), &job);
      }
      steps.push_back(step);
    }
    if (steps.empty()) return {};
    FP_ASSIGN(const StepOutput output, runner_->forward(steps));
    const auto hidden = static_cast<std::size_t>(output.hidden_size);
    for (std::size_t row = 0; row < asked.size(); ++row) {
      const auto final = output.tap_final.subspan(row * hidden, hidden);
      const auto middle = output.tap_layer.subspan(row * hidden, hidden);
      ReplayStates& states = asked[row]->states;
      states.final.insert(states.final.end(), final.begin(), final.end());
      states.layer.insert(states.layer.end(), middle.begin(), middle.end());
    }
  }
}

}  // namespace fieldprint::app
