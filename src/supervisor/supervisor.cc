// The engine's side of supervision: numbers, rings and mailboxes; the work is in worker.cc.
#include "supervisor/supervisor.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "supervisor/worker.h"

namespace fieldprint {
namespace {

constexpr std::int32_t kMaxWorkers = 16;
constexpr std::size_t kMaxRingSlots = std::size_t{1} << 20;

struct Source {
  TapSource tap;
  std::size_t worker = 0;
  std::uint64_t next = 0;  // place of the next state
  bool measures = false;   // states come with a layer's
  bool stopped = false;    // rolled back into the middle of a block: no state may follow
  std::shared_ptr<StallFlag> stalled;
};

class SupervisorImpl : public Supervisor {
 public:
  SupervisorImpl(const SupervisorOptions& options, SegmentSink* sink, std::function<void()> wake)
      : options_(options), live_(static_cast<std::size_t>(options.workers), 0) {
    outbox_.wake = std::move(wake);
    for (std::int32_t i = 0; i < options.workers; ++i) {
      workers_.push_back(std::make_unique<SupervisionWorker>(options, sink, outbox_));
    }
  }

  Result<std::uint64_t> open(SupervisionStart start) override;
  std::size_t room(std::uint64_t sequence) const override;
  std::size_t ring_of(std::uint64_t sequence) const override { return source_of(sequence).worker; }
  PushResult push(std::uint64_t sequence, const TapState& state) override;
  PushResult push_rollback(std::uint64_t sequence, const RollbackRecord& record) override;
  PushResult push_end(std::uint64_t sequence) override;
  void abandon(std::uint64_t sequence) override;
  std::vector<SupervisionVerdict> take_verdicts() override;
  SupervisorMetrics metrics() const override;

 private:
  const Source& source_of(std::uint64_t sequence) const {
    const auto found = sources_.find(sequence);
    FP_CHECK(found != sources_.end());
    return found->second;
  }
  Source& source_of(std::uint64_t sequence) {
    return const_cast<Source&>(std::as_const(*this).source_of(sequence));
  }

  const SupervisorOptions options_;
  SupervisionWorker::Outbox outbox_;  // before the workers, who write into it
  std::vector<std::unique_ptr<SupervisionWorker>> workers_;
  std::vector<std::size_t> live_;  // sequences of each worker
  std::unordered_map<std::uint64_t, Source> sources_;
  std::uint64_t last_sequence_ = 0;
  std::atomic<std::uint64_t> gaps_{0};
};

Result<std::uint64_t> SupervisorImpl::open(SupervisionStart start) {
  FP_CHECK(start.model != nullptr);
  FP_CHECK(start.model->recipe().fingerprint.hidden == options_.hidden);
  Source source;
  source.measures = start.coherence && start.model->coherence() != nullptr;
  FP_CHECK(options_.layer_states || !source.measures);
  FP_ASSIGN(FingerprintChain chain, FingerprintChain::create(start.binding));
  source.worker = static_cast<std::size_t>(std::ranges::min_element(live_) - live_.begin());
  source.tap.sequence = ++last_sequence_;
  source.tap.policy = start.policy;
  source.stalled = std::make_shared<StallFlag>(false);
  WorkerOrder order;
  order.sequence = source.tap.sequence;
  order.stalled = source.stalled;
  order.watch = std::make_unique<WatchedSequence>(std::move(start), std::move(chain));
  workers_[source.worker]->put(std::move(order));
  ++live_[source.worker];
  sources_.emplace(source.tap.sequence, std::move(source));
  return last_sequence_;
}

std::size_t SupervisorImpl::room(std::uint64_t sequence) const {
  const Source& source = source_of(sequence);
  if (source.stalled->load(std::memory_order_acquire)) return 0;
  return workers_[source.worker]->ring().room();
}

PushResult SupervisorImpl::push(std::uint64_t sequence, const TapState& state) {
  Source& source = source_of(sequence);
  FP_CHECK(state.position == source.next && !source.stopped);
  FP_CHECK(!source.measures || !state.layer.empty());
  if (source.stalled->load(std::memory_order_acquire)) return PushResult::kPause;
  const PushResult result = workers_[source.worker]->ring().push(source.tap, state);
  if (result != PushResult::kPause) ++source.next;
  if (result == PushResult::kGap) gaps_.fetch_add(1, std::memory_order_relaxed);
  return result;
}

PushResult SupervisorImpl::push_rollback(std::uint64_t sequence, const RollbackRecord& record) {
  Source& source = source_of(sequence);
  const bool at_checkpoint = record.to_token % kCheckpointTokens == 0;
  FP_CHECK(record.to_token <= source.next);
  FP_CHECK(at_checkpoint || record.change == RollbackChange::kStop);
  const PushResult result = workers_[source.worker]->ring().push_rollback(source.tap, record);
  if (result != PushResult::kTaken) return result;
  source.next = record.to_token;
  source.stopped = !at_checkpoint;
  return result;
}

PushResult SupervisorImpl::push_end(std::uint64_t sequence) {
  Source& source = source_of(sequence);
  return workers_[source.worker]->ring().push_end(source.tap);
}

void SupervisorImpl::abandon(std::uint64_t sequence) {
  const auto found = sources_.find(sequence);
  if (found == sources_.end()) return;
  Source& source = found->second;
  SupervisionWorker& worker = *workers_[source.worker];
  WorkerOrder order;
  order.sequence = sequence;
  order.after_record = worker.ring().pushed();
  order.gap = source.tap.untold_gap;
  worker.put(std::move(order));
  worker.ring().poke();
  --live_[source.worker];
  sources_.erase(found);
}

std::vector<SupervisionVerdict> SupervisorImpl::take_verdicts() {
  if (outbox_.verdicts.empty()) return {};
  std::vector<SupervisionVerdict> verdicts = outbox_.verdicts.take();
  std::erase_if(verdicts, [this](const SupervisionVerdict& verdict) {
    return !sources_.contains(verdict.sequence);
  });
  return verdicts;
}

SupervisorMetrics SupervisorImpl::metrics() const {
  SupervisorMetrics total;
  for (const auto& worker : workers_) worker->add_metrics(total);
  total.gaps = gaps_.load(std::memory_order_relaxed);
  return total;
}

}  // namespace

Result<std::unique_ptr<Supervisor>> Supervisor::create(const SupervisorOptions& options,
                                                       SegmentSink* sink,
                                                       std::function<void()> wake) {
  const auto invalid = [](const std::string& what) {
    return fail(ErrorKind::kInvalid, "invalid_options", "supervisor: " + what);
  };
  if (options.workers < 1 || options.workers > kMaxWorkers) return invalid("1 to 16 workers");
  if (options.ring_slots < 1 || options.ring_slots > kMaxRingSlots) {
    return invalid("1 to 1048576 states in a ring");
  }
  if (options.hidden < kFingerprintMinHidden || options.hidden > kFingerprintMaxHidden) {
    return invalid("a model's states have 64 to 131072 elements");
  }
  FP_CHECK(wake != nullptr);
  return std::make_unique<SupervisorImpl>(options, sink, std::move(wake));
}

}  // namespace fieldprint
