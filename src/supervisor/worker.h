// One worker: a ring, a thread, and the sequences that are its.
//
// It never waits for anything but records. Where the sink has no room for an entry of a strict
// sequence, that sequence's entries and verdicts queue up behind it (its `stalled` flag keeps more
// states from coming) while the others go on.
//
// Cost: a thread that is woken for every token costs the engine a system call each. The worker
// looks every kNap by itself while it has sequences, is woken by ends and rollback marks, and
// sleeps deeply, woken by the next state, when nothing has come for kNapsBeforeSleep naps.
//
// Internal to src/supervisor. Thread rule: put(), ring()'s producer side: engine's thread;
// add_metrics(): any.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "supervisor/mailbox.h"
#include "supervisor/ring.h"
#include "supervisor/supervisor.h"
#include "supervisor/watched.h"

namespace fieldprint {

using StallFlag = std::atomic<bool>;

// What the engine's side tells a worker beside the ring.
struct WorkerOrder {
  std::uint64_t sequence = 0;
  std::unique_ptr<WatchedSequence> watch;  // null: the sequence is given up
  std::shared_ptr<StallFlag> stalled;
  std::uint64_t after_record = 0;  // given up: when this many records have been read
  std::uint64_t gap = 0;           // given up: states lost that no record told of
};

class SupervisionWorker {
 public:
  struct Outbox {
    Mailbox<SupervisionVerdict> verdicts;
    std::function<void()> wake;
  };
  SupervisionWorker(const SupervisorOptions& options, SegmentSink* sink, Outbox& outbox);
  ~SupervisionWorker();  // reads what is in the ring, hands segments under way to the sink
  SupervisionWorker(const SupervisionWorker&) = delete;
  SupervisionWorker& operator=(const SupervisionWorker&) = delete;

  TapRing& ring() { return ring_; }
  const TapRing& ring() const { return ring_; }
  void put(WorkerOrder order) { orders_.put(std::move(order)); }
  void add_metrics(SupervisorMetrics& total) const;

 private:
  struct Watch {
    std::unique_ptr<WatchedSequence> sequence;
    std::shared_ptr<StallFlag> stalled;
    std::deque<Outgoing> backlog;  // not empty only while the sink has no room (strict)
    bool given_up = false;
    std::int64_t last_pushed_ns = 0;
  };

  void run();
  bool take_records();
  void take_record(const TapRecord& record);
  void take_orders();
  void finish_given_up();
  void carry_away(std::uint64_t id, Watch& watch);
  bool deliver(std::uint64_t id, Watch& watch, const Outgoing& out);
  void count(const Watch& watch, const Outgoing& out);
  bool offer_backlogs();
  void abandon_rest();
  std::int64_t lose_backlog(Watch& watch);
  void give_verdict(std::uint64_t id, const Watch& watch, SupervisionVerdict verdict);

  TapRing ring_;
  SegmentSink* const sink_;
  Outbox& outbox_;
  Mailbox<WorkerOrder> orders_;
  std::unordered_map<std::uint64_t, Watch> watches_;
  std::vector<WorkerOrder> given_up_;  // records before them are still in the ring
  std::size_t stalled_watches_ = 0;
  bool wake_due_ = false;

  std::atomic<std::uint64_t> tokens_{0};
  std::atomic<std::uint64_t> segments_{0};
  std::atomic<std::uint64_t> breaches_{0};
  std::atomic<std::uint64_t> rollbacks_{0};
  std::atomic<std::uint64_t> unlogged_{0};
  std::atomic<std::uint64_t> angles_{0};
  std::atomic<double> angle_sum_{0};
  std::atomic<double> lag_seconds_{0};

  std::thread thread_;
};

}  // namespace fieldprint
