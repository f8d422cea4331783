#include "engine/threaded_engine.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/log.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMaxRevocations = 16;  // waiting; each is done within a step

class ChannelGeneration final : public Generation {
 public:
  explicit ChannelGeneration(std::shared_ptr<EventChannel> channel)
      : channel_(std::move(channel)) {}
  ~ChannelGeneration() override { channel_->cancel(); }
  std::optional<GenerationEvent> next(std::chrono::milliseconds timeout) override {
    return channel_->pop(timeout);
  }
  void cancel() override { channel_->cancel(); }

 private:
  const std::shared_ptr<EventChannel> channel_;
};

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(std::unique_ptr<EngineCore> core, std::shared_ptr<Waker> waker)
      : core_(std::move(core)),
        waker_(std::move(waker)),
        options_(core_->options()),
        config_(core_->runner().config()),
        device_name_(core_->runner().device_name()),
        numeric_profile_(core_->runner().numeric_profile()),
        published_(core_->stats()) {
    thread_ = std::thread([this] { loop(); });
  }

  ~ThreadedEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      draining_ = true;
    }
    waker_->notify();
    thread_.join();
  }

  Result<std::unique_ptr<Generation>> submit(GenerationRequest request) override {
    FP_ASSIGN(std::shared_ptr<Job> job, core_->prepare(std::move(request)));
    std::shared_ptr<EventChannel> channel = job->events;
    {
      const std::lock_guard lock(mutex_);
      if (draining_) {
        return fail(ErrorKind::kUnavailable, "draining",
                    "the server is shutting down and takes no new work; try another one");
      }
      const std::uint64_t waiting = submitted_ - core_->left_queue();
      if (waiting >= static_cast<std::uint64_t>(options_.max_queue)) {
        return fail(ErrorKind::kUnavailable, "queue_full",
                    std::to_string(options_.max_queue) +
                        " requests are waiting already; try again in a moment");
      }
      ++submitted_;
      inbox_.push_back(std::move(job));
    }
    waker_->notify();
    return std::make_unique<ChannelGeneration>(std::move(channel));
  }

  Result<RevocationOutcome> revoke(const RevokeAnchor& command) override;
  AnchorState anchor_state() const override { return core_->door().state(); }

  SupervisionInfo supervision() const override {
    SupervisionInfo info;
    const auto model = core_->door().front().supervision;
    if (!model) return info;
    info.fingerprints = true;
    info.coherence = model->coherence() != nullptr;
    info.recipe = model->digest();
    return info;
  }

  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    EngineStats stats = published_;
    stats.waiting += static_cast<std::int32_t>(inbox_.size());
    return stats;
  }

  bool drain(std::chrono::milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    draining_ = true;
    const auto empty = [this] { return idle_ && inbox_.empty(); };
    const bool finished = idle_changed_.wait_for(lock, timeout, empty);
    if (finished) return true;
    cancel_all_ = true;
    waker_->notify();
    idle_changed_.wait(lock, empty);
    return false;
  }

  const EngineOptions& options() const override { return options_; }
  const ModelConfig& config() const override { return config_; }
  std::string device_name() const override { return device_name_; }
  std::string numeric_profile() const override { return numeric_profile_; }

 private:
  struct PendingRevocation {
    RevokeAnchor command;
    std::promise<RevocationOutcome> done;
  };

  void loop();
  void run_revocations(std::vector<PendingRevocation> pending);
  // Moves submitted jobs into the core; false when the thread should end.
  bool take_commands();
  void publish();

  // The engine's thread only, except the const parts that prepare() reads.
  std::unique_ptr<EngineCore> core_;
  const std::shared_ptr<Waker> waker_;
  const EngineOptions options_;
  const ModelConfig config_;
  const std::string device_name_;
  const std::string numeric_profile_;

  mutable std::mutex mutex_;
  std::condition_variable idle_changed_;
  std::vector<std::shared_ptr<Job>> inbox_;     // bounded by max_queue
  std::vector<PendingRevocation> revocations_;  // bounded by kMaxRevocations
  std::uint64_t submitted_ = 0;
  bool idle_ = true;
  bool draining_ = false;
  bool cancel_all_ = false;
  bool stopping_ = false;
  EngineStats published_;
  std::thread thread_;
};

Result<RevocationOutcome> ThreadedEngine::revoke(const RevokeAnchor& command) {
  // Refused from here on, even if the queue is full.
  core_->door().revoke(command.digest,
                       command.reason.value_or(anchor_revoked_error(command.digest)));
  std::future<RevocationOutcome> done;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      return fail(ErrorKind::kUnavailable, "engine_stopped", "the engine was shut down");
    }
    if (revocations_.size() >= kMaxRevocations) {
      return fail(ErrorKind::kUnavailable, "command_queue_full",
                  "too many revocations are waiting for the engine; new requests for this anchor "
                  "are refused already, ask again to end its conversations");
    }
    revocations_.push_back({command, {}});
    done = revocations_.back().done.get_future();
  }
  waker_->notify();
  return done.get();
}

void ThreadedEngine::run_revocations(std::vector<PendingRevocation> pending) {
  for (PendingRevocation& item : pending) {
    const RevokeAnchor& command = item.command;
    const RevocationOutcome outcome =
        core_->revoke(command.digest, command.policy, anchor_factory(command.replacement),
                      command.reason.value_or(anchor_revoked_error(command.digest)));
    log_warn("anchor revoked", {{"digest", command.digest},
                                {"cause", command.cause},
                                {"policy", std::string(revocation_policy_name(command.policy))},
                                {"was_in_front", outcome.was_in_front},
                                {"ended", std::int64_t{outcome.ended}},
                                {"reanchored", std::int64_t{outcome.reanchored}},
                                {"anchor_pages", std::int64_t{outcome.anchor_pages}},
                                {"prefix_pages", std::int64_t{outcome.prefix_pages}},
                                {"replacement", outcome.replacement}});
    if (!outcome.scrub.empty()) {
      log_error("revoked rows were not overwritten", {{"code", outcome.scrub}});
    }
    if (!outcome.not_replaced.empty()) {
      log_error("no replacement for the anchor", {{"code", outcome.not_replaced}});
    }
    item.done.set_value(outcome);
  }
}

bool ThreadedEngine::take_commands() {
  std::vector<std::shared_ptr<Job>> jobs;
  std::vector<PendingRevocation> revocations;
  bool cancel_all = false;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(inbox_);
    revocations.swap(revocations_);
    cancel_all = std::exchange(cancel_all_, false);
    stopping = stopping_;
    if (!jobs.empty()) idle_ = false;
  }
  for (std::shared_ptr<Job>& job : jobs) core_->enqueue(std::move(job));
  run_revocations(std::move(revocations));  // after the jobs: it must meet them all
  if (stopping) {
    core_->fail_all({ErrorKind::kUnavailable, "engine_stopped", "the engine was shut down", {}});
  } else if (cancel_all) {
    core_->fail_all({ErrorKind::kUnavailable,
                     "draining",
                     "the server shut down before the answer was complete",
                     {}});
  }
  return !stopping;
}

void ThreadedEngine::publish() {
  {
    const std::lock_guard lock(mutex_);
    published_ = core_->stats();
    idle_ = core_->idle();
  }
  idle_changed_.notify_all();
}

void ThreadedEngine::loop() {
  while (take_commands()) {
    const StepOutcome outcome = core_->step();
    publish();
    if (!outcome.worked) waker_->wait(outcome.wake_at);
  }
  publish();
}

}  // namespace

Result<std::unique_ptr<Engine>> start_engine(EngineCoreSetup setup, SegmentSink* sink) {
  FP_CHECK(setup.waker == nullptr && setup.supervisor == nullptr && setup.runner != nullptr);
  auto waker = std::make_shared<Waker>();
  setup.waker = waker;
  if (setup.anchor) {
    SupervisorOptions options;
    options.workers = setup.options.supervision.workers;
    options.ring_slots = static_cast<std::size_t>(setup.options.supervision.ring_slots);
    options.hidden = setup.runner->config().hidden;
    options.layer_states = true;
    FP_ASSIGN(setup.supervisor, Supervisor::create(options, sink, [waker] { waker->notify(); }));
  }
  FP_ASSIGN(std::unique_ptr<EngineCore> core, EngineCore::create(std::move(setup)));
  return std::make_unique<ThreadedEngine>(std::move(core), std::move(waker));
}

}  // namespace fieldprint
