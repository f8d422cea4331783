// The threads of a ledger: commit (acknowledged -> durable), integrate (-> integrated),
// witness (-> witnessed).
#include <algorithm>

#include "core/log.h"
#include "ledger/ledger_impl.h"

namespace fieldprint {
namespace {

// One transaction: large enough to make a sync cheap, small enough to answer soon.
constexpr std::size_t kBatchEntries = 16'384;
constexpr std::size_t kBatchBytes = std::size_t{16} << 20;

}  // namespace

LedgerImpl::Batch LedgerImpl::take_batch() {
  Batch batch;
  std::size_t bytes = 0;
  while (!queue_.empty() && batch.leaves.size() < kBatchEntries && bytes < kBatchBytes) {
    Queued& next = queue_.front();
    bytes += next.bytes;
    queued_bytes_ -= next.bytes;
    queued_entries_ -= next.leaves.size();
    batch.tickets.push_back(std::move(next.ticket));
    std::move(next.leaves.begin(), next.leaves.end(), std::back_inserter(batch.leaves));
    queue_.pop_front();
  }
  return batch;
}

void LedgerImpl::commit_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    commit_wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (queue_.empty()) break;  // closing, and nothing is left
    const Batch batch = take_batch();
    lock.unlock();
    const Result<std::uint64_t> first = commit_db_->append(batch.leaves);
    lock.lock();
    std::uint64_t next = first.value_or(0);
    for (const std::shared_ptr<Ticket::State>& ticket : batch.tickets) {
      if (first) {
        ticket->first = next;
        next += ticket->hashes.size();
      } else {
        ticket->error = first.error();
      }
    }
    if (!first)
      log_error("ledger entries were dropped",
                {{"code", first.error().code}, {"entries", std::int64_t(batch.leaves.size())}});
    integrate_asked_ = true;
    integrate_wake_.notify_one();
    changed_.notify_all();
  }
  committed_all_ = true;
  integrate_wake_.notify_one();
}

void LedgerImpl::note_progress(const SignedCheckpoint& checkpoint) {
  const bool changed = checkpoint.text != newest_.text;
  newest_ = checkpoint;
  if (!changed) return;
  witness_wake_.notify_one();
  changed_.notify_all();
}

void LedgerImpl::integrate_loop() {
  const bool refreshes = options_.refresh_interval.count() > 0;
  const auto idle = refreshes ? options_.refresh_interval : std::chrono::hours(24);
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    const auto pause = integrate_error_ ? options_.retry_interval : idle;
    integrate_wake_.wait_for(lock, pause, [this] { return integrate_asked_ || committed_all_; });
    integrate_asked_ = false;
    last = committed_all_;  // one more round for what was committed while closing
    const std::int64_t signed_ms = newest_.time_s * 1000;
    lock.unlock();
    Result<Integrator::Progress> progress = integrator_->round();
    const bool stale = refreshes && env_.now_ms() - signed_ms >= options_.refresh_interval.count();
    if (progress && stale && !last && progress->checkpoint.time_s * 1000 <= signed_ms) {
      const Result<SignedCheckpoint> fresh = integrator_->refresh();
      if (fresh)
        progress->checkpoint = *fresh;
      else
        progress = tl::unexpected(fresh.error());
    }
    lock.lock();
    if (progress) {
      if (progress->behind) integrate_asked_ = true;
      integrate_error_.reset();
      if (progress->checkpoint.size >= newest_.size) note_progress(progress->checkpoint);
    } else {
      integrate_error_ = progress.error();
      ++integrate_failures_;
      changed_.notify_all();
      log_error("the ledger cannot integrate; entries stay durable, it tries again",
                {{"code", integrate_error_->code}, {"message", integrate_error_->message}});
    }
  }
}

namespace {

class DbWitnessSizes : public WitnessSizes {
 public:
  explicit DbWitnessSizes(LedgerDb& db) : db_(db) {}
  Result<std::uint64_t> size(const std::string& vkey) override { return db_.witness_size(vkey); }
  Status set_size(const std::string& vkey, std::uint64_t size) override {
    return db_.set_witness_size(vkey, size);
  }

 private:
  LedgerDb& db_;
};

}  // namespace

Status LedgerImpl::witness_once(const SignedCheckpoint& checkpoint) {
  DbWitnessSizes sizes(*witness_db_);
  const auto prove = [this](std::uint64_t old_size, std::uint64_t new_size) {
    return reader_->prove_consistency(old_size, new_size);
  };
  FP_ASSIGN(const WitnessOutcome outcome, options_.witnesses->collect(checkpoint, prove, sizes));
  for (const std::string& failure : outcome.failures)
    log_warn("no cosignature from a witness", {{"witness", failure}});
  const auto quorum = outcome.quorum_met ? Integrator::Quorum::kMet : Integrator::Quorum::kNotMet;
  FP_TRY(integrator_->add_cosignatures(checkpoint, outcome.cosignatures, quorum));
  if (!outcome.quorum_met)
    return fail(ErrorKind::kUnavailable, "ledger_not_witnessed",
                dir_ + ": too few witnesses cosigned" +
                    (outcome.failures.empty() ? "" : "; " + outcome.failures.front()));
  PublishedState state;
  FP_ASSIGN(state, witness_db_->published());
  FP_ASSIGN(SignedCheckpoint witnessed, open_text(state.witnessed));
  const std::lock_guard lock(mutex_);
  if (witnessed.size >= witnessed_.size) witnessed_ = std::move(witnessed);
  return {};
}

void LedgerImpl::witness_loop() {
  std::unique_lock lock(mutex_);
  // Head and time of the last attempt; not the text, which cosignatures change.
  std::pair<std::uint64_t, std::int64_t> asked{};
  const auto present = [this] { return std::pair(newest_.size, newest_.time_s); };
  while (!closing_) {
    const auto pause = witness_error_ ? options_.retry_interval : std::chrono::hours(24);
    const bool fresh =
        witness_wake_.wait_for(lock, pause, [&] { return closing_ || present() != asked; });
    if (closing_) return;
    if (!fresh && !witness_error_) continue;
    const SignedCheckpoint checkpoint = newest_;
    asked = present();
    lock.unlock();
    const Status done = witness_once(checkpoint);
    lock.lock();
    witness_error_ = done ? std::nullopt : std::optional<Error>(done.error());
    if (!done) ++witness_failures_;
    changed_.notify_all();
  }
}

}  // namespace fieldprint
