#include "supervisor/watched.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/check.h"

namespace fieldprint {

WatchedSequence::WatchedSequence(SupervisionStart start, FingerprintChain chain)
    : start_(std::move(start)), chain_(std::move(chain)) {
  now_.detector = start_.detector;
  now_.scores_offset = -std::int64_t{start_.detector.segments};
  checkpoints_.push_back(now_);
}

// The place of one more token, seen or missing, is behind us.
void WatchedSequence::advance() {
  const std::uint64_t next = chain_.next_token();
  if (next % kSegmentTokens == 0) judge(next - kSegmentTokens, next);
  if (next % kCheckpointTokens == 0) checkpoints_.push_back(now_);
}

void WatchedSequence::gap(std::uint64_t count) {
  gaps_ += count;
  for (; count > 0; --count) {
    chain_.skip(1);
    advance();
  }
  emit_segments();
}

void WatchedSequence::state(std::int32_t token, std::span<const float> final,
                            std::span<const float> layer) {
  const auto record = start_.model->fingerprinter().fingerprint(final);
  if (record) {
    chain_.add(token, *record);
  } else {
    invalid_.push_back(chain_.next_token());
    ++gaps_;
    chain_.skip(1);
  }
  if (measures()) start_.model->coherence()->step(now_.pooled, layer);
  // The chain's segments keep to the judged ones, so no verdict is ahead of its evidence.
  if (chain_.next_token() % kSegmentTokens == 0) chain_.flush();
  emit_segments();
  advance();
}

void WatchedSequence::judge(std::uint64_t first, std::uint64_t end) {
  SegmentReading reading;
  reading.generation = generation();
  reading.first_token = first;
  reading.end_token = end;
  reading.change_token = first;
  if (measures()) judge_angle(reading);
  const auto bad = std::ranges::lower_bound(invalid_, first);
  if (bad != invalid_.end()) {
    reading.cause = BreachCause::kStateInvalid;
    reading.change_token = *bad;
  }
  if (reading.cause == BreachCause::kNone) reading.change_token = 0;
  timeline_.push_back(reading);
  if (reading.cause != BreachCause::kNone) {
    outgoing_.emplace_back(SupervisedBreach{start_.binding.response_id, reading, chain_.head()});
  }
  outgoing_.emplace_back(SegmentDone{reading});
}

void WatchedSequence::judge_angle(SegmentReading& reading) {
  const CoherenceReading angle = start_.model->coherence()->read(now_.pooled);
  const bool news = std::exchange(now_.judged_tokens, now_.pooled.tokens) != now_.pooled.tokens;
  if (!angle.ready || !news) return;
  const CoherenceJudge& judge = *start_.model->recipe().judge;
  reading.measured = !std::isnan(angle.angle);
  reading.angle = reading.measured ? angle.angle : 0;
  if (reading.measured) reading.direction = start_.model->coherence()->direction(now_.pooled);
  reading.score = score_of(judge.map, angle.angle);
  scored_.resize(now_.scores);
  scored_.push_back(reading.first_token);
  ++now_.scores;
  const DetectorReading alarm =
      detector_step(start_.model->detector(), now_.detector, reading.score);
  reading.evidence = alarm.evidence;
  if (!reading.measured) {
    reading.cause = BreachCause::kNoDirection;
  } else if (alarm.alarm) {
    reading.cause = BreachCause::kDetector;
  } else if (reading.angle >= judge.limit) {
    reading.cause = BreachCause::kLimit;
  }
  if (alarm.alarm) {
    const std::int64_t at = std::int64_t{alarm.change} + now_.scores_offset;
    reading.change_token = at < 0 ? 0 : scored_[static_cast<std::size_t>(at)];
    // An alarm is told once: the detector begins anew, unless a rollback takes it back.
    now_.detector = DetectorState{};
    now_.scores_offset = static_cast<std::int64_t>(now_.scores);
  }
}

void WatchedSequence::rollback(const RollbackRecord& record) {
  const auto kept = static_cast<std::size_t>(record.to_token / kCheckpointTokens);
  FP_CHECK(record.to_token <= chain_.next_token() && kept < checkpoints_.size());
  chain_.rollback(record.to_token);
  emit_segments();
  checkpoints_.resize(kept + 1);
  now_ = checkpoints_.back();
  std::erase_if(invalid_, [&](std::uint64_t at) { return at >= record.to_token; });
  rollbacks_.push_back(record);
  outgoing_.emplace_back(record);
}

void WatchedSequence::end() {
  chain_.flush();
  emit_segments();
  const std::uint64_t next = chain_.next_token();
  const std::uint64_t open = next % kSegmentTokens;
  // After a stop in the middle of a block there is nothing to judge: no state of it was kept.
  const bool stopped = !rollbacks_.empty() && rollbacks_.back().to_token == next &&
                       rollbacks_.back().change == RollbackChange::kStop;
  if (open != 0 && !stopped) judge(next - open, next);
  outgoing_.emplace_back(EndReached{generation(), next});
}

void WatchedSequence::close() {
  chain_.flush();
  emit_segments();
}

void WatchedSequence::emit_segments() {
  for (Segment& segment : chain_.take_complete()) {
    outgoing_.emplace_back(segment);
    segments_.push_back(std::move(segment));
  }
}

std::shared_ptr<const SupervisionReport> WatchedSequence::report() const {
  auto report = std::make_shared<SupervisionReport>();
  report->state = SupervisionState::kComplete;
  report->binding = start_.binding;
  report->chain_head = chain_.head();
  report->segments = segments_;
  report->timeline = timeline_;
  report->gaps = gaps_;
  report->unlogged = unlogged_;
  report->coherence = measures();
  report->detector = now_.detector;
  report->rollbacks = rollbacks_;
  return report;
}

}  // namespace fieldprint
