#include "engine/fake_supervisor.h"

#include "core/check.h"

namespace fieldprint::testing {
namespace {

CoherenceRecipe fake_coherence(std::int32_t hidden) {
  CoherenceRecipe recipe;
  recipe.layer = 0;
  recipe.hidden = hidden;
  recipe.dims = kCoherenceMinDims;
  recipe.half_life = 16;
  recipe.min_tokens = 1;
  recipe.samples = 64;
  const auto width = static_cast<std::size_t>(hidden);
  recipe.mean.assign(width, 0.0F);
  recipe.matrix.assign(static_cast<std::size_t>(kCoherenceMinDims) * width, 0.0F);
  for (std::size_t i = 0; i < kCoherenceMinDims; ++i) recipe.matrix[i * width + i] = 1.0F;
  recipe.reference.assign(kCoherenceMinDims, 0.0F);
  recipe.reference[0] = 1.0F;
  return recipe;
}

}  // namespace

std::shared_ptr<const SupervisionModel> fake_supervision_model(std::int32_t hidden) {
  SupervisionRecipe recipe;
  auto fingerprint = make_fingerprint_recipe(hidden, {}, 1 << 12);
  FP_CHECK(fingerprint.has_value());
  recipe.fingerprint = *fingerprint;
  recipe.coherence = fake_coherence(hidden);
  CoherenceJudge judge;
  judge.map = {1.0, 2.0};
  judge.mean_bound = 0.1;
  judge.alpha = 1e-3;
  judge.limit = 3.0;
  judge.limit_alpha = 1e-3;
  judge.sessions = 8;
  judge.segments = 1000;
  recipe.judge = judge;
  auto model = SupervisionModel::create(std::move(recipe), hidden, 1);
  FP_CHECK(model.has_value());
  return *model;
}

const SeenSequence* FakeSupervisor::find(const std::string& chain) const {
  for (const auto& [number, sequence] : sequences_) {
    if (sequence.start.binding.response_id == chain) return &sequence;
  }
  return nullptr;
}

Result<std::uint64_t> FakeSupervisor::open(SupervisionStart start) {
  const std::uint64_t number = sequences_.size() + 1;
  sequences_[number].start = std::move(start);
  return number;
}

PushResult FakeSupervisor::push(std::uint64_t number, const TapState& state) {
  SeenSequence& sequence = sequences_.at(number);
  FP_CHECK(!sequence.abandoned && state.position == sequence.next_position);
  const bool strict = sequence.start.policy == OverflowPolicy::kStrict;
  if (room_left == 0 && strict) return PushResult::kPause;
  ++sequence.next_position;
  if (room_left == 0) {
    ++sequence.gaps;
    return PushResult::kGap;
  }
  --room_left;
  sequence.tokens.push_back({state.position,
                             state.token,
                             {state.final.begin(), state.final.end()},
                             {state.layer.begin(), state.layer.end()}});
  if (sequence.next_position - sequence.segment_start == kSegmentTokens) {
    close_segment(number, sequence);
  }
  return PushResult::kTaken;
}

PushResult FakeSupervisor::push_rollback(std::uint64_t number, const RollbackRecord& record) {
  SeenSequence& sequence = sequences_.at(number);
  FP_CHECK(!sequence.abandoned && record.to_token % kCheckpointTokens == 0);
  FP_CHECK(record.to_token < record.from_token);
  if (room_left == 0) return PushResult::kPause;
  --room_left;
  std::erase_if(sequence.tokens,
                [&](const SeenToken& token) { return token.position >= record.to_token; });
  sequence.marks.push_back(record);
  ++sequence.generation;
  sequence.segment_start = record.to_token;
  sequence.next_position = record.to_token;
  return PushResult::kTaken;
}

PushResult FakeSupervisor::push_end(std::uint64_t number) {
  SeenSequence& sequence = sequences_.at(number);
  FP_CHECK(!sequence.abandoned);
  if (room_left == 0) return PushResult::kPause;
  --room_left;
  ++sequence.ends;
  if (sequence.next_position > sequence.segment_start) close_segment(number, sequence);
  SupervisionReport report;
  report.state = SupervisionState::kComplete;
  report.binding = sequence.start.binding;
  report.timeline = sequence.timeline;
  report.gaps = sequence.gaps;
  SupervisionVerdict verdict;
  verdict.kind = SupervisionVerdict::Kind::kEnd;
  verdict.sequence = number;
  verdict.reading.generation = sequence.generation;
  verdict.report = std::make_shared<const SupervisionReport>(std::move(report));
  say(std::move(verdict));
  return PushResult::kTaken;
}

void FakeSupervisor::close_segment(std::uint64_t number, SeenSequence& sequence) {
  SegmentReading reading;
  reading.generation = sequence.generation;
  reading.first_token = sequence.segment_start;
  reading.end_token = sequence.next_position;
  reading.change_token = sequence.segment_start;
  if (judge) judge(sequence, reading);
  sequence.segment_start = sequence.next_position;
  sequence.timeline.push_back(reading);
  SupervisionVerdict verdict;
  verdict.sequence = number;
  verdict.reading = reading;
  say(std::move(verdict));
}

void FakeSupervisor::say(SupervisionVerdict verdict) {
  // In order for each sequence: none before the one that was said last.
  int calls = delay();
  for (const Due& due : due_) {
    if (due.verdict.sequence == verdict.sequence) calls = std::max(calls, due.calls);
  }
  due_.push_back({calls, std::move(verdict)});
}

std::vector<SupervisionVerdict> FakeSupervisor::take_verdicts() {
  std::vector<SupervisionVerdict> ready;
  if (silent) return ready;
  std::deque<Due> later;
  for (Due& due : due_) {
    if (due.calls-- > 0) {
      later.push_back(std::move(due));
    } else if (!sequences_.at(due.verdict.sequence).abandoned) {
      ready.push_back(std::move(due.verdict));
    }
  }
  due_ = std::move(later);
  return ready;
}

}  // namespace fieldprint::testing
