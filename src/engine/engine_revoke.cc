// EngineCore: an anchor is taken away while it is served.
#include <algorithm>
#include <set>
#include <utility>

#include "core/check.h"
#include "engine/engine_core.h"

namespace fieldprint {

RevocationOutcome EngineCore::revoke(const std::string& digest, RevocationPolicy policy,
                                     const AnchorFactory& replacement, const Error& reason) {
  FP_CHECK(!digest.empty());
  door_.revoke(digest, reason);
  RevocationOutcome outcome;
  if (!anchor_ || anchor_->digest != digest) return outcome;
  outcome.was_in_front = true;
  ++stats_.anchors_revoked;
  const Error told = door_.check(digest).error();

  std::set<Job*> jobs;
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      if (sequence->job->anchored && !sequence->job->ended) jobs.insert(sequence->job.get());
    }
  }
  if (policy == RevocationPolicy::kEnd) {
    for (Job* job : jobs) fail_job(*job, told);
    outcome.ended = static_cast<std::int32_t>(jobs.size());
    jobs.clear();
    remove_ended();
  }
  outcome.ended += detach_supervised(told);
  requeue_anchored();  // those that go on give their pages back first: no table names the rows
  remove_anchor(outcome);
  if (policy == RevocationPolicy::kReanchor && replacement) {
    const Status placed = place_anchor(replacement);
    if (!placed) outcome.not_replaced = placed.error().code;
  }
  if (anchor_) outcome.replacement = anchor_->digest;
  publish_front();
  for (Job* job : jobs) {
    if (job->ended) continue;  // with its supervision
    // The stated wish was to go on behind the replacement, not behind nothing.
    if (!outcome.not_replaced.empty() || !reanchor(*job)) {
      fail_job(*job, told);
      ++outcome.ended;
    } else {
      ++outcome.reanchored;
    }
  }
  remove_ended();
  stats_.revocation_ended += static_cast<std::uint64_t>(outcome.ended);
  stats_.revocation_reanchored += static_cast<std::uint64_t>(outcome.reanchored);
  refused_age_ = 0;
  audited_ = false;
  return outcome;
}

void EngineCore::requeue_anchored() {
  std::vector<Sequence*> anchored;
  for (const auto& sequence : running_) {
    if (sequence->job->anchored) anchored.push_back(sequence.get());
  }
  for (Sequence* sequence : anchored) requeue(*sequence);
}

void EngineCore::remove_anchor(RevocationOutcome& outcome) {
  outcome.prefix_pages = index_.drop_family(anchor_->digest);
  outcome.anchor_pages = static_cast<std::int32_t>(anchor_->view.pages.size()) + 1;
  const Status scrubbed = scrub_rows(*anchor_, *runner_);
  if (!scrubbed) outcome.scrub = scrubbed.error().code;
  anchor_.reset();
}

Status EngineCore::place_anchor(const AnchorFactory& factory) {
  FP_CHECK(!anchor_);
  const std::int32_t used = pool_.used_count();
  FP_ASSIGN(AnchorInFront anchor, factory(pool_, *runner_));
  FP_CHECK(anchor.length >= 1 && anchor.sink.cls == KvClass::kSink && !anchor.digest.empty());
  FP_TRY(door_.check(anchor.digest));
  anchor_pages_ = pool_.used_count() - used;
  anchor_ = std::move(anchor);
  return {};
}

void EngineCore::publish_front() {
  AnchorDoor::Front front;
  front.number = ++anchor_number_;
  if (anchor_) {
    front.length = anchor_->length;
    front.pages = anchor_pages_;
    front.digest = anchor_->digest;
    front.supervision = anchor_->supervision;
    front.model_digest = anchor_->model_digest;
  }
  door_.open(std::move(front));
}

// Puts a job whose sequences wait behind what is in front now. False: it does not fit there.
bool EngineCore::reanchor(Job& job) {
  job.anchored = anchor_.has_value();
  job.usage.anchor_tokens = anchor_ ? anchor_->length : 0;
  job.usage.anchors.push_back(anchor_ ? anchor_->digest : std::string());
  const std::int32_t in_front =
      anchor_ ? anchor_->length : static_cast<std::int32_t>(bare_opening_.size());
  const std::int32_t room = options_.context_length - in_front - job.prompt_tokens;
  std::int32_t generated = 0;
  for (const auto& sequence : waiting_) {
    if (sequence->job.get() != &job) continue;
    generated = std::max(generated, sequence->generated);
    if (!anchor_) sequence->history.stand_alone(bare_opening_);
  }
  job.max_tokens = room;
  if (job.request.max_tokens > 0) job.max_tokens = std::min(room, job.request.max_tokens);
  return generated < job.max_tokens;
}

}  // namespace fieldprint
