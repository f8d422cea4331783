// From the supervisor's workers to the ledger: a bounded queue and a thread that appends.
//
//   worker --segment(), breach(), rollback()--> queue --thread, batches--> Ledger::append, durable
//
// Nobody waits for the disk. Without room an entry of an optimistic sequence is kLost (counted
// here and in the response's report) and one of a strict sequence kLater. An eighth of the queue
// takes no optimistic segments, so that those cannot pause strict sequences, nor push out
// breaches and rollbacks. What was taken is kept in its order until it is durable, however long
// the ledger is down, full or overloaded: the same batch is tried again every `retry`. Entries
// in the ledger are therefore a prefix of what was taken: no rollback without the breach that was
// taken before it.
//
// Thread rule: everything may be called from any thread. The ledger must outlive the log, and the
// log the supervisor that uses it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ledger/ledger.h"
#include "supervisor/supervisor.h"

namespace fieldprint {

struct SegmentLogOptions {
  std::size_t max_entries = 8192;  // taken, not yet durable; 8 or more
  std::size_t batch = 256;         // entries of one append
  // An append costs a disk flush, so a batch may fill for this long. Nobody waits for it.
  std::chrono::milliseconds gather{100};
  std::chrono::milliseconds retry{500};
  // How long the destructor tries on with a ledger that does not take entries.
  std::chrono::milliseconds patience_at_end{5'000};
};

struct SegmentLogMetrics {
  std::uint64_t taken = 0;
  std::uint64_t durable = 0;
  std::uint64_t lost = 0;      // kLost: no room, or not what an entry can hold
  std::uint64_t delayed = 0;   // answers kLater
  std::uint64_t failures = 0;  // attempts of a batch that failed
  std::uint64_t queued = 0;    // now, the batch under way included
  bool failing = false;        // the last attempt failed
};

class SegmentLog : public SegmentSink {
 public:
  explicit SegmentLog(Ledger& ledger, const SegmentLogOptions& options = {});
  // Makes durable what was taken; what the ledger did not take within patience_at_end is logged
  // as an error with its number.
  ~SegmentLog() override;
  SegmentLog(const SegmentLog&) = delete;
  SegmentLog& operator=(const SegmentLog&) = delete;

  Taken segment(const ChainBinding& binding, const Segment& segment,
                OverflowPolicy policy) override;
  Taken breach(const SupervisedBreach& breach, OverflowPolicy policy) override;
  Taken rollback(const std::string& response_id, const RollbackRecord& record,
                 OverflowPolicy policy) override;

  // Waits until everything taken before is durable. Errors: ledger_timeout.
  Status flush(std::chrono::milliseconds timeout);
  SegmentLogMetrics metrics() const;

 private:
  std::optional<Taken> refusal(EntryKind kind, OverflowPolicy policy);  // caller holds mutex_
  template <typename MakeEntry>
  Taken take(EntryKind kind, OverflowPolicy policy, const MakeEntry& make);

  void run();
  std::vector<Entry> next_batch();
  bool write(const std::vector<Entry>& batch);
  bool pause_after(const Error& error);
  bool out_of_patience() const;  // caller holds mutex_

  Ledger& ledger_;
  const SegmentLogOptions options_;

  mutable std::mutex mutex_;  // guards what follows; never held while the ledger is called
  std::condition_variable wake_;
  std::condition_variable durable_;
  std::deque<Entry> queue_;
  std::size_t in_batch_ = 0;
  bool closing_ = false;
  std::chrono::steady_clock::time_point closing_since_;
  SegmentLogMetrics metrics_;

  std::thread thread_;
};

}  // namespace fieldprint
