#include "supervisor/segment_log.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "supervisor/segment_entry.h"

namespace fieldprint {
namespace {

constexpr std::chrono::milliseconds kDurableSlice{1000};  // then the patience is looked at

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

SegmentLog::SegmentLog(Ledger& ledger, const SegmentLogOptions& options)
    : ledger_(ledger), options_(options) {
  FP_CHECK(options.max_entries >= 8 && options.batch > 0);
  thread_ = std::thread([this] { run(); });
}

SegmentLog::~SegmentLog() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    closing_since_ = std::chrono::steady_clock::now();
  }
  wake_.notify_all();
  thread_.join();
  if (queue_.empty() && in_batch_ == 0) return;
  log_error("the ledger did not take everything before the end; segments are missing in it",
            {{"entries", static_cast<std::int64_t>(queue_.size() + in_batch_)}});
}

std::optional<SegmentSink::Taken> SegmentLog::refusal(EntryKind kind, OverflowPolicy policy) {
  const bool optional = policy == OverflowPolicy::kOptimistic && kind == EntryKind::kSegment;
  const std::size_t limit = options_.max_entries - (optional ? options_.max_entries / 8 : 0);
  if (queue_.size() + in_batch_ < limit) return std::nullopt;
  if (policy == OverflowPolicy::kStrict) {
    ++metrics_.delayed;
    return Taken::kLater;
  }
  ++metrics_.lost;
  return Taken::kLost;
}

template <typename MakeEntry>
SegmentSink::Taken SegmentLog::take(EntryKind kind, OverflowPolicy policy, const MakeEntry& make) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto refused = refusal(kind, policy)) return *refused;
  }
  Entry entry = make();
  entry.time_ms = now_ms();
  // Checked at the door: one bad entry would hold up the whole batch for ever.
  const bool sound = is_name(entry.subject, kMaxSubjectBytes) && check_body(kind, entry.body);
  const std::lock_guard lock(mutex_);
  if (!sound) {
    ++metrics_.lost;
    log_error("a response's id or profile does not fit a ledger entry; it is not logged");
    return Taken::kLost;
  }
  if (const auto refused = refusal(kind, policy)) return *refused;
  queue_.push_back(std::move(entry));
  ++metrics_.taken;
  if (queue_.size() == 1 || queue_.size() == options_.batch) wake_.notify_one();
  return Taken::kTaken;
}

SegmentSink::Taken SegmentLog::segment(const ChainBinding& binding, const Segment& segment,
                                       OverflowPolicy policy) {
  return take(EntryKind::kSegment, policy, [&] { return segment_entry(binding, segment); });
}

SegmentSink::Taken SegmentLog::breach(const SupervisedBreach& breach, OverflowPolicy policy) {
  return take(EntryKind::kBreach, policy, [&] { return breach_entry(breach); });
}

SegmentSink::Taken SegmentLog::rollback(const std::string& response_id,
                                        const RollbackRecord& record, OverflowPolicy policy) {
  return take(EntryKind::kRollback, policy, [&] { return rollback_entry(response_id, record); });
}

Status SegmentLog::flush(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const std::uint64_t due = metrics_.taken;
  if (durable_.wait_for(lock, timeout, [&] { return metrics_.durable >= due; })) return {};
  return fail(ErrorKind::kUnavailable, "ledger_timeout",
              std::to_string(due - metrics_.durable) +
                  " entries of supervised responses are not durable yet; ask again");
}

SegmentLogMetrics SegmentLog::metrics() const {
  const std::lock_guard lock(mutex_);
  SegmentLogMetrics now = metrics_;
  now.queued = queue_.size() + in_batch_;
  return now;
}

void SegmentLog::run() {
  for (;;) {
    const std::vector<Entry> batch = next_batch();
    if (batch.empty() || !write(batch)) return;
    const std::lock_guard lock(mutex_);
    metrics_.durable += std::exchange(in_batch_, 0);
    if (std::exchange(metrics_.failing, false)) log_info("the ledger takes segments again");
    durable_.notify_all();
  }
}

// Empty: the log is closing and has written everything.
std::vector<Entry> SegmentLog::next_batch() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return closing_ || !queue_.empty(); });
  wake_.wait_for(lock, options_.gather,
                 [&] { return closing_ || queue_.size() >= options_.batch; });
  const std::size_t count = std::min(queue_.size(), options_.batch);
  std::vector<Entry> batch;
  batch.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  in_batch_ = count;
  return batch;
}

// Until the batch is durable; false when the patience at the end is over.
bool SegmentLog::write(const std::vector<Entry>& batch) {
  for (;;) {
    const Result<Ticket> ticket = ledger_.append(batch);
    if (!ticket) {
      if (!pause_after(ticket.error())) return false;
      continue;
    }
    Result<std::uint64_t> index = ledger_.wait(*ticket, Durability::kDurable, kDurableSlice);
    while (!index && index.error().code == "ledger_timeout") {
      {
        const std::lock_guard lock(mutex_);
        if (out_of_patience()) return false;
      }
      index = ledger_.wait(*ticket, Durability::kDurable, kDurableSlice);
    }
    if (index) return true;
    // The ledger dropped the batch (disk full, read-only, database in trouble): once more.
    if (!pause_after(index.error())) return false;
  }
}

bool SegmentLog::pause_after(const Error& error) {
  std::unique_lock lock(mutex_);
  ++metrics_.failures;
  if (!std::exchange(metrics_.failing, true)) {
    log_warn("the ledger does not take segments; trying on",
             {{"code", error.code}, {"reason", error.message}});
  }
  if (out_of_patience()) return false;
  wake_.wait_for(lock, options_.retry, [&] { return out_of_patience(); });
  return true;
}

bool SegmentLog::out_of_patience() const {
  return closing_ && std::chrono::steady_clock::now() - closing_since_ >= options_.patience_at_end;
}

}  // namespace fieldprint
