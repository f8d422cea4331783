#include "supervisor/worker.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace fieldprint {
namespace {

constexpr std::chrono::microseconds kNap{8000};
constexpr int kNapsBeforeSleep = 50;
constexpr std::size_t kRecordsAtOnce = 64;  // then verdicts are told of
// Sequences that were given up while the sink had no room for what is owed to it. Beyond that the
// oldest one's entries are lost, counted and logged: a stalled ledger must not fill the memory.
constexpr std::size_t kMaxOwing = 1024;

void say_lost(std::int64_t entries) {
  log_error("the ledger took no more entries; what strict responses owed it is lost",
            {{"entries", entries}});
}

}  // namespace

SupervisionWorker::SupervisionWorker(const SupervisorOptions& options, SegmentSink* sink,
                                     Outbox& outbox)
    : ring_(options.ring_slots, static_cast<std::size_t>(options.hidden),
            options.layer_states ? static_cast<std::size_t>(options.hidden) : 0),
      sink_(sink),
      outbox_(outbox),
      thread_([this] { run(); }) {}

SupervisionWorker::~SupervisionWorker() {
  ring_.close();
  thread_.join();
}

void SupervisionWorker::run() {
  int naps = 0;
  for (;;) {
    const bool closed = ring_.closed();
    take_orders();
    bool any = take_records();
    any = offer_backlogs() || any;
    finish_given_up();
    if (ring_.room_awaited()) wake_due_ = true;
    if (std::exchange(wake_due_, false)) outbox_.wake();
    if (any && ring_.poll() != nullptr) continue;
    if (closed) break;
    naps = any ? 0 : naps + 1;
    const bool deep = stalled_watches_ == 0 && (watches_.empty() || naps > kNapsBeforeSleep);
    if (deep) {
      ring_.sleep(TapRing::Sleep::kUntilAnyRecord, std::chrono::microseconds(0));
    } else {
      ring_.sleep(TapRing::Sleep::kUntilControl, kNap);
    }
  }
  abandon_rest();
}

bool SupervisionWorker::take_records() {
  std::size_t taken = 0;
  while (const TapRecord* record = taken < kRecordsAtOnce ? ring_.poll() : nullptr) {
    take_record(*record);
    ring_.release();
    ++taken;
  }
  return taken > 0;
}

void SupervisionWorker::take_record(const TapRecord& record) {
  auto found = watches_.find(record.sequence);
  if (found == watches_.end()) {
    take_orders();  // its order was there before its first record
    found = watches_.find(record.sequence);
  }
  FP_CHECK(found != watches_.end());
  Watch& watch = found->second;
  watch.last_pushed_ns = record.pushed_ns;
  if (record.gap_before > 0) watch.sequence->gap(record.gap_before);
  switch (record.kind) {
    case TapKind::kState:
      watch.sequence->state(record.token, record.final, record.layer);
      tokens_.fetch_add(1, std::memory_order_relaxed);
      break;
    case TapKind::kRollback:
      watch.sequence->rollback(record.rollback);
      break;
    case TapKind::kEnd:
      watch.sequence->end();
      break;
  }
  carry_away(record.sequence, watch);
}

void SupervisionWorker::take_orders() {
  if (orders_.empty()) return;
  for (WorkerOrder& order : orders_.take()) {
    if (order.watch == nullptr) {
      watches_.at(order.sequence).given_up = true;
      given_up_.push_back(std::move(order));
      continue;
    }
    Watch watch;
    watch.sequence = std::move(order.watch);
    watch.stalled = std::move(order.stalled);
    watches_.emplace(order.sequence, std::move(watch));
  }
}

// A sequence that was given up is forgotten when its last record has been read and the sink has
// taken what is owed to it.
void SupervisionWorker::finish_given_up() {
  std::erase_if(given_up_, [this](WorkerOrder& order) {
    if (ring_.released() < order.after_record) return false;
    Watch& watch = watches_.at(order.sequence);
    if (order.gap > 0) watch.sequence->gap(std::exchange(order.gap, 0));
    watch.sequence->close();
    carry_away(order.sequence, watch);
    if (!watch.backlog.empty()) return false;
    watches_.erase(order.sequence);
    return true;
  });
  std::int64_t lost = 0;
  while (given_up_.size() > kMaxOwing) {
    if (ring_.released() < given_up_.front().after_record) break;  // more of it will be read
    const auto found = watches_.find(given_up_.front().sequence);
    lost += lose_backlog(found->second);
    watches_.erase(found);
    given_up_.erase(given_up_.begin());
  }
  if (lost > 0) say_lost(lost);
}

// The number of entries.
std::int64_t SupervisionWorker::lose_backlog(Watch& watch) {
  std::int64_t entries = 0;
  for (const Outgoing& out : watch.backlog) {
    if (!std::holds_alternative<SegmentDone>(out) && !std::holds_alternative<EndReached>(out)) {
      ++entries;
    }
  }
  watch.backlog.clear();
  --stalled_watches_;
  unlogged_.fetch_add(static_cast<std::uint64_t>(entries), std::memory_order_relaxed);
  return entries;
}

void SupervisionWorker::carry_away(std::uint64_t id, Watch& watch) {
  for (Outgoing& out : watch.sequence->take_outgoing()) {
    count(watch, out);
    if (watch.backlog.empty() && deliver(id, watch, out)) continue;
    if (watch.backlog.empty()) {
      ++stalled_watches_;
      watch.stalled->store(true, std::memory_order_release);
    }
    watch.backlog.push_back(std::move(out));
  }
}

// Whether it is off our hands: false where the sink says kLater.
bool SupervisionWorker::deliver(std::uint64_t id, Watch& watch, const Outgoing& out) {
  using Taken = SegmentSink::Taken;
  const SupervisionStart& start = watch.sequence->start();
  Taken taken = Taken::kTaken;
  if (const auto* done = std::get_if<SegmentDone>(&out)) {
    SupervisionVerdict verdict;
    verdict.reading = done->reading;
    give_verdict(id, watch, std::move(verdict));
  } else if (const auto* end = std::get_if<EndReached>(&out)) {
    SupervisionVerdict verdict;
    verdict.kind = SupervisionVerdict::Kind::kEnd;
    verdict.reading.generation = end->generation;
    verdict.reading.end_token = end->end_token;
    verdict.report = watch.sequence->report();
    give_verdict(id, watch, std::move(verdict));
  } else if (sink_ == nullptr) {
    return true;
  } else if (const auto* segment = std::get_if<Segment>(&out)) {
    taken = sink_->segment(start.binding, *segment, start.policy);
  } else if (const auto* breach = std::get_if<SupervisedBreach>(&out)) {
    taken = sink_->breach(*breach, start.policy);
  } else if (const auto* record = std::get_if<RollbackRecord>(&out)) {
    taken = sink_->rollback(start.binding.response_id, *record, start.policy);
  }
  if (taken == Taken::kLater && start.policy == OverflowPolicy::kStrict) return false;
  if (taken != Taken::kTaken) {
    watch.sequence->note_unlogged();
    unlogged_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

void SupervisionWorker::give_verdict(std::uint64_t id, const Watch& watch,
                                     SupervisionVerdict verdict) {
  if (watch.given_up) return;
  verdict.sequence = id;
  outbox_.verdicts.put(std::move(verdict));
  lag_seconds_.store(static_cast<double>(tap_clock_ns() - watch.last_pushed_ns) * 1e-9,
                     std::memory_order_relaxed);
  wake_due_ = true;
}

void SupervisionWorker::count(const Watch& watch, const Outgoing& out) {
  const auto one_more = [](std::atomic<std::uint64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
  };
  if (std::holds_alternative<SupervisedBreach>(out)) one_more(breaches_);
  if (std::holds_alternative<RollbackRecord>(out)) one_more(rollbacks_);
  const auto* done = std::get_if<SegmentDone>(&out);
  if (done == nullptr || watch.given_up) return;
  one_more(segments_);
  if (!done->reading.measured) return;
  one_more(angles_);
  angle_sum_.fetch_add(done->reading.angle, std::memory_order_relaxed);
}

// Whether anything was taken.
bool SupervisionWorker::offer_backlogs() {
  if (stalled_watches_ == 0) return false;
  bool any = false;
  for (auto& [id, watch] : watches_) {
    if (watch.backlog.empty()) continue;
    while (!watch.backlog.empty() && deliver(id, watch, watch.backlog.front())) {
      watch.backlog.pop_front();
      any = true;
    }
    if (!watch.backlog.empty()) continue;
    --stalled_watches_;
    watch.stalled->store(false, std::memory_order_release);
    wake_due_ = true;  // the engine may have paused it
  }
  return any;
}

// The supervisor stops: what was seen goes to the sink; what that does not take now is counted.
void SupervisionWorker::abandon_rest() {
  for (auto& [id, watch] : watches_) {
    watch.given_up = true;
    watch.sequence->close();
    carry_away(id, watch);
  }
  (void)offer_backlogs();
  std::int64_t lost = 0;
  for (auto& [id, watch] : watches_) {
    if (!watch.backlog.empty()) lost += lose_backlog(watch);
  }
  if (lost > 0) say_lost(lost);
}

void SupervisionWorker::add_metrics(SupervisorMetrics& total) const {
  total.tokens += tokens_.load(std::memory_order_relaxed);
  total.segments += segments_.load(std::memory_order_relaxed);
  total.breaches += breaches_.load(std::memory_order_relaxed);
  total.rollbacks += rollbacks_.load(std::memory_order_relaxed);
  total.unlogged += unlogged_.load(std::memory_order_relaxed);
  total.angles += angles_.load(std::memory_order_relaxed);
  total.angle_sum += angle_sum_.load(std::memory_order_relaxed);
  total.lag_seconds = std::max(total.lag_seconds, lag_seconds_.load(std::memory_order_relaxed));
}

}  // namespace fieldprint
