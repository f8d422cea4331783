// Appending, waiting, reading. The threads are in ledger_threads.cc.
#include "ledger/ledger_impl.h"

#include <algorithm>

#include "core/check.h"
#include "merkle/tlog_proof.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> no_witnesses() {
  return fail(ErrorKind::kInvalid, "ledger_no_witnesses",
              "this ledger was opened without a witness policy; nothing is ever witnessed");
}

}  // namespace

std::size_t Ticket::count() const { return state_->hashes.size(); }
const std::vector<Digest256>& Ticket::leaf_hashes() const { return state_->hashes; }

Result<std::uint64_t> Ledger::commit(const Entry& entry, Durability state,
                                     std::chrono::milliseconds timeout) {
  FP_ASSIGN(const Ticket ticket, append(entry));
  return wait(ticket, state, timeout);
}

Result<Ticket> LedgerImpl::append(std::span<const Entry> entries) {
  FP_CHECK(!entries.empty());
  Queued queued;
  Ticket ticket;
  ticket.state_ = std::make_shared<Ticket::State>();
  queued.ticket = ticket.state_;
  queued.leaves.reserve(entries.size());
  for (const Entry& entry : entries) {
    NewLeaf leaf;
    leaf.kind = entry.kind;
    leaf.subject = entry.subject;
    if (entry.time_ms == 0) {
      Entry stamped = entry;
      stamped.time_ms = env_.now_ms();
      FP_ASSIGN(leaf.bytes, print_entry(stamped));
    } else {
      FP_ASSIGN(leaf.bytes, print_entry(entry));
    }
    ticket.state_->hashes.push_back(leaf_hash(leaf.bytes));
    queued.bytes += leaf.bytes.size() + leaf.subject.size() + sizeof(NewLeaf);
    queued.leaves.push_back(std::move(leaf));
  }
  const std::lock_guard lock(mutex_);
  if (closing_)
    return fail(ErrorKind::kUnavailable, "ledger_closed", dir_ + ": the ledger is closing");
  if (queued_entries_ + entries.size() > options_.max_queued_entries ||
      queued_bytes_ + queued.bytes > options_.max_queued_bytes)
    return fail(ErrorKind::kUnavailable, "ledger_overloaded",
                dir_ + ": " + std::to_string(queued_entries_) +
                    " entries wait for the disk; try again in a moment");
  queued_entries_ += entries.size();
  queued_bytes_ += queued.bytes;
  queue_.push_back(std::move(queued));
  commit_wake_.notify_one();
  return ticket;
}

bool LedgerImpl::reached(const Ticket::State& ticket, Durability state) const {
  if (!ticket.first) return false;
  const std::uint64_t end = *ticket.first + ticket.hashes.size();
  switch (state) {
    case Durability::kAcknowledged:
    case Durability::kDurable:
      return true;
    case Durability::kIntegrated:
      return end <= newest_.size;
    case Durability::kWitnessed:
      return end <= witnessed_.size;
  }
  FP_UNREACHABLE();
}

Result<std::uint64_t> LedgerImpl::wait(const Ticket& ticket, Durability state,
                                       std::chrono::milliseconds timeout) {
  FP_CHECK(state != Durability::kAcknowledged);  // append() gave that already
  if (state == Durability::kWitnessed && options_.witnesses == nullptr) return no_witnesses();
  const Ticket::State& waiting = *ticket.state_;
  std::unique_lock lock(mutex_);
  const std::uint64_t integrate_failures = integrate_failures_;
  const std::uint64_t witness_failures = witness_failures_;
  const auto stuck = [&] {
    if (!waiting.first || state == Durability::kDurable) return false;
    return integrate_failures_ != integrate_failures ||
           (state == Durability::kWitnessed && witness_failures_ != witness_failures);
  };
  changed_.wait_for(lock, timeout, [&] {
    return waiting.error.has_value() || reached(waiting, state) || stuck();
  });
  if (waiting.error) return tl::unexpected(*waiting.error);
  if (reached(waiting, state)) return *waiting.first;
  if (stuck() && integrate_error_) return tl::unexpected(*integrate_error_);
  if (stuck() && witness_error_) return tl::unexpected(*witness_error_);
  return fail(ErrorKind::kUnavailable, "ledger_timeout",
              dir_ + ": the entry did not get there within " + std::to_string(timeout.count()) +
                  " ms; ask again");
}

Result<SignedCheckpoint> LedgerImpl::open_text(const std::string& text) {
  const LedgerTrust& trust = reader_->trust();
  return open_checkpoint(text, trust.origin, trust.log_keys, trust.cosigners);
}

Result<SignedCheckpoint> LedgerImpl::checkpoint() {
  PublishedState state;
  {
    const std::lock_guard lock(query_mutex_);
    FP_ASSIGN(state, query_db_->published());
  }
  const std::lock_guard lock(mutex_);
  if (state.checkpoint != newest_.text && state.size >= newest_.size) {
    FP_ASSIGN(const SignedCheckpoint read, open_text(state.checkpoint));
    if (read.size > newest_.size || read.time_s >= newest_.time_s) note_progress(read);
  }
  return newest_;
}

Result<SignedCheckpoint> LedgerImpl::witnessed_checkpoint() {
  if (options_.witnesses == nullptr) return no_witnesses();
  const std::lock_guard lock(mutex_);
  if (witnessed_.text.empty())
    return fail(ErrorKind::kUnavailable, "ledger_not_witnessed",
                dir_ + ": the witness policy has not been met yet");
  return witnessed_;
}

Result<SignedCheckpoint> LedgerImpl::refresh_checkpoint() {
  FP_ASSIGN(const SignedCheckpoint fresh, integrator_->refresh());
  const std::lock_guard lock(mutex_);
  if (fresh.size >= newest_.size) note_progress(fresh);
  return fresh;
}

Result<std::uint64_t> LedgerImpl::durable_size() {
  const std::lock_guard lock(query_mutex_);
  return query_db_->next_index();
}

Result<std::string> LedgerImpl::read_leaf(std::uint64_t index) {
  std::uint64_t tree_size = 0;
  {
    const std::lock_guard lock(query_mutex_);
    FP_ASSIGN(std::optional<std::string> leaf, query_db_->pending_leaf(index));
    if (leaf) return std::move(*leaf);
    FP_ASSIGN(tree_size, query_db_->tree_size());
  }
  return reader_->leaf(index, tree_size);
}

Result<Entry> LedgerImpl::read(std::uint64_t index) {
  FP_ASSIGN(const std::string leaf, read_leaf(index));
  return parse_entry(leaf);
}

Result<InclusionProof> LedgerImpl::prove(std::uint64_t index) {
  SignedCheckpoint under;
  {
    const std::lock_guard lock(mutex_);
    under = index < witnessed_.size ? witnessed_ : newest_;
  }
  if (index >= under.size) {  // another process may have integrated it
    FP_ASSIGN(under, checkpoint());
  }
  if (index >= under.size) {
    FP_ASSIGN(const std::uint64_t durable, durable_size());
    if (index < durable)
      return fail(ErrorKind::kUnavailable, "ledger_not_integrated",
                  dir_ + ": entry " + std::to_string(index) +
                      " is durable, but no checkpoint covers it yet; try again in a moment");
  }
  return reader_->prove(index, under);
}

Result<std::string> LedgerImpl::prove_text(std::uint64_t index) {
  FP_ASSIGN(const InclusionProof proof, prove(index));
  TlogProof text;
  text.index = proof.index;
  text.hashes = proof.hashes;
  text.checkpoint = proof.checkpoint.text;
  return tlog_proof_print(text);
}

Result<std::vector<Digest256>> LedgerImpl::prove_consistency(std::uint64_t old_size,
                                                             std::uint64_t new_size) {
  return reader_->prove_consistency(old_size, new_size);
}

Result<std::vector<FoundEntry>> LedgerImpl::list(EntryKind kind, std::string_view subject,
                                                 std::uint64_t before, std::size_t limit) {
  FP_CHECK(is_indexed(kind));
  std::vector<std::uint64_t> indices;
  {
    const std::lock_guard lock(query_mutex_);
    FP_ASSIGN(indices, query_db_->find(kind, subject, before, limit));
  }
  std::vector<FoundEntry> found;
  for (const std::uint64_t index : indices) {
    FP_ASSIGN(Entry entry, read(index));
    if (entry.kind != kind || (!subject.empty() && entry.subject != subject))
      return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                  "ledger.db: the index names entry " + std::to_string(index) +
                      " for what it is not; run 'ledger fsck'");
    found.push_back({index, std::move(entry)});
  }
  return found;
}

Result<std::optional<FoundEntry>> LedgerImpl::find(EntryKind kind, std::string_view subject) {
  FP_CHECK(!subject.empty());
  FP_ASSIGN(std::vector<FoundEntry> found, list(kind, subject, kNoIndexLimit, 1));
  if (found.empty()) return std::nullopt;
  return std::move(found.front());
}

Result<std::optional<std::uint64_t>> LedgerImpl::find_leaf(const Digest256& wanted) {
  FP_ASSIGN(const SignedCheckpoint head, checkpoint());
  return reader_->find_leaf(wanted, head.size);
}

}  // namespace fieldprint
