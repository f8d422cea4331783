// The ledger behind ledger.h: a queue, a thread that makes it durable, one that integrates, and
// with a witness policy one that collects cosignatures. Internal to src/ledger.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ledger/integrator.h"
#include "ledger/ledger.h"
#include "ledger/ledger_db.h"
#include "ledger/witness_client.h"

namespace fieldprint {

struct Ticket::State {
  std::vector<Digest256> hashes;
  // Guarded by LedgerImpl::mutex_.
  std::optional<std::uint64_t> first;  // set when durable
  std::optional<Error> error;          // set when dropped
};

class LedgerImpl : public Ledger {
 public:
  LedgerImpl(std::string dir, LedgerKeys keys, const LedgerOptions& options);
  ~LedgerImpl() override;
  // Connections, checks against the published files, threads. Once, before anything else.
  Status start();

  Result<Ticket> append(std::span<const Entry> entries) override;
  Result<std::uint64_t> wait(const Ticket& ticket, Durability state,
                             std::chrono::milliseconds timeout) override;
  Durability strongest() const override {
    return options_.witnesses == nullptr ? Durability::kIntegrated : Durability::kWitnessed;
  }
  Result<SignedCheckpoint> checkpoint() override;
  Result<SignedCheckpoint> witnessed_checkpoint() override;
  Result<SignedCheckpoint> refresh_checkpoint() override;
  Result<Entry> read(std::uint64_t index) override;
  Result<std::string> read_leaf(std::uint64_t index) override;
  Result<InclusionProof> prove(std::uint64_t index) override;
  Result<std::string> prove_text(std::uint64_t index) override;
  Result<std::vector<Digest256>> prove_consistency(std::uint64_t old_size,
                                                   std::uint64_t new_size) override;
  Result<std::optional<FoundEntry>> find(EntryKind kind, std::string_view subject) override;
  Result<std::vector<FoundEntry>> list(EntryKind kind, std::string_view subject,
                                       std::uint64_t before, std::size_t limit) override;
  Result<std::optional<std::uint64_t>> find_leaf(const Digest256& leaf_hash) override;
  Result<std::uint64_t> durable_size() override;
  const std::string& origin() const override { return keys_.log.name(); }
  const std::string& dir() const override { return dir_; }
  LedgerReader& reader() override { return *reader_; }

 private:
  struct Batch {
    std::vector<std::shared_ptr<Ticket::State>> tickets;
    std::vector<NewLeaf> leaves;
  };
  struct Queued {
    std::shared_ptr<Ticket::State> ticket;
    std::vector<NewLeaf> leaves;
    std::size_t bytes = 0;
  };

  Status check_published(LedgerDb& db);
  Result<SignedCheckpoint> open_text(const std::string& text);

  void commit_loop();
  Batch take_batch();  // the caller holds mutex_
  void integrate_loop();
  void note_progress(const SignedCheckpoint& checkpoint);  // the caller holds mutex_
  void witness_loop();
  Status witness_once(const SignedCheckpoint& checkpoint);
  bool reached(const Ticket::State& ticket, Durability state) const;

  const std::string dir_;
  const LedgerKeys keys_;
  const LedgerOptions options_;
  Env& env_;
  std::unique_ptr<LedgerReader> reader_;
  std::optional<LedgerDb> commit_db_;   // used by the committing thread
  std::optional<LedgerDb> witness_db_;  // used by the witnessing thread
  std::unique_ptr<Integrator> integrator_;

  std::mutex query_mutex_;  // guards query_db_
  std::optional<LedgerDb> query_db_;

  mutable std::mutex mutex_;  // guards what follows; never held during I/O
  std::condition_variable commit_wake_;
  std::condition_variable integrate_wake_;
  std::condition_variable witness_wake_;
  std::condition_variable changed_;
  std::deque<Queued> queue_;
  std::size_t queued_entries_ = 0;
  std::size_t queued_bytes_ = 0;
  bool closing_ = false;
  bool committed_all_ = false;  // after closing_: the queue is empty for good
  bool integrate_asked_ = true;
  SignedCheckpoint newest_;
  SignedCheckpoint witnessed_;  // text empty: none
  std::uint64_t integrate_failures_ = 0;
  std::optional<Error> integrate_error_;  // of the last round
  std::uint64_t witness_failures_ = 0;
  std::optional<Error> witness_error_;

  std::thread commit_thread_;
  std::thread integrate_thread_;
  std::thread witness_thread_;
};

}  // namespace fieldprint
