#include "engine/sequence.h"

#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

std::vector<TokenId> flatten(const std::vector<TokenSpan>& prompt) {
  std::vector<TokenId> tokens;
  for (const TokenSpan& span : prompt) {
    tokens.insert(tokens.end(), span.tokens.begin(), span.tokens.end());
  }
  return tokens;
}

}  // namespace

Sequence::Sequence(std::shared_ptr<Job> job_in, std::int32_t choice_in, BlockPool& pool)
    : job(std::move(job_in)),
      choice(choice_in),
      waiting_choices(job->request.choices),
      history(job->request.prompt, job->anchored ? FirstToken::kFollowsSink : FirstToken::kIsSink),
      sampler(job->request.sampling, job->seed, flatten(job->request.prompt)),
      text(job->request.stop),
      table(pool) {
  prompt_size = history.size();
}

Sequence::Sequence(const Sequence& first, std::int32_t choice_in)
    : job(first.job),
      choice(choice_in),
      prompt_size(first.prompt_size),
      history(first.history),
      sampler(first.sampler.fork(first.job->seed + static_cast<std::uint64_t>(choice_in))),
      text(first.job->request.stop),
      table(first.table.fork()),
      table_begin(first.table_begin),
      chain(first.chain) {
  FP_CHECK(first.choice == 0 && first.generated == 0 && choice_in > 0);
}

void Sequence::restart(const std::vector<TokenSpan>& prompt) {
  history = TokenHistory(prompt, job->anchored ? FirstToken::kFollowsSink : FirstToken::kIsSink);
  prompt_size = history.size();
  sampler = Sampler(job->request.sampling, sampler.seed(), flatten(prompt));
  output.clear();
  generated = 0;
  mass = {};
}

}  // namespace fieldprint
