// The append-only log of everything that has authority over the assistant: a folder in the
// C2SP tlog-tiles layout that any C2SP verifier accepts, with SQLite for what is not yet a
// tile. docs/formats/ledger.md describes the folder, docs/ledger.md how it works.
//
//   <dir>/checkpoint                 newest signed tree head
//   <dir>/checkpoint.witnessed       newest one whose witness policy is met (if there is a policy)
//   <dir>/log.policy                 public keys of the log (C2SP tlog-policy)
//   <dir>/tile/<L>/<N>[.p/<W>]       Merkle tree hashes
//   <dir>/tile/entries/<N>[.p/<W>]   leaves
//   <dir>/ledger.db                  sequencer state, leaves not yet in a full bundle, index
//
// A leaf passes four states, each with its own promise (Durability). append() returns at the
// first; wait() blocks until one of the others. Several processes may hold one folder open and
// append at once: an index is given out in an SQLite transaction, and the tree head moves by
// compare-and-swap and is on disk before it is signed.
//
// Thread rule: a Ledger may be used from any thread. It runs two threads of its own.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "crypto/sha256.h"
#include "ledger/checkpoint_file.h"
#include "ledger/entry.h"
#include "ledger/ledger_reader.h"
#include "store/env.h"

namespace fieldprint {

class WitnessClient;

enum class Durability : std::uint8_t {
  kAcknowledged,  // in this process's memory: lost if the process dies
  kDurable,       // has its index for ever, on disk: survives a power cut
  kIntegrated,    // covered by a signed checkpoint: an inclusion proof exists
  kWitnessed,     // ... by a checkpoint that satisfies the witness policy
};

// Both keys belong to the log's operator; their name is the log's origin.
struct LedgerKeys {
  SignerKey log;       // kEd25519: signs the checkpoint
  SignerKey cosigner;  // kCosignature: signs it together with the time
};

// How a background step may be made to wait, and what it may hold.
struct LedgerOptions {
  Env* env = &Env::real();                    // not owned; outlives the ledger
  std::size_t max_queued_entries = 1U << 17;  // acknowledged, not yet durable
  std::size_t max_queued_bytes = 64U << 20;
  // Signs the newest head again, with a new time, when the last time is older: keeps the
  // checkpoint fresh on a quiet log. 0: never.
  std::chrono::milliseconds refresh_interval{60'000};
  std::chrono::milliseconds retry_interval{500};   // after a failed integration
  std::chrono::milliseconds busy_timeout{10'000};  // waiting for another process's transaction
  std::size_t cached_tiles = 1024;                 // 16 KiB each
  // Collects cosignatures after each new checkpoint; null: no witness policy, and nothing is
  // ever kWitnessed. ledger/witness_client.h makes one.
  std::shared_ptr<WitnessClient> witnesses;
};

// Receipt for entries handed to append(): `count` neighbours in the log.
class Ticket {
 public:
  std::size_t count() const;
  const std::vector<Digest256>& leaf_hashes() const;  // of the entries, in order

 private:
  friend class LedgerImpl;
  struct State;
  std::shared_ptr<State> state_;
};

struct FoundEntry {
  std::uint64_t index = 0;  // durable; integrated if below checkpoint()->size
  Entry entry;
};

class Ledger {
 public:
  // Makes the folder with its first leaf, `genesis`, and signs it. Errors: ledger_exists,
  // ledger_keys_invalid (types, or names that differ), and those of Env and SQLite.
  static Status create(const std::string& dir, const LedgerKeys& keys,
                       const LedgerOptions& options = {});
  // Opens an existing ledger and finishes what a crash interrupted. Errors: ledger_missing,
  // ledger_keys_mismatch (not the keys of its genesis), ledger_rolled_back (the database is
  // older than the published checkpoint), ledger_corrupt.
  static Result<std::unique_ptr<Ledger>> open(const std::string& dir, LedgerKeys keys,
                                              const LedgerOptions& options = {});
  virtual ~Ledger() = default;  // makes durable what was acknowledged, stops its threads

  // Takes entries into the queue, all or none; they will be neighbours in the log.
  // time_ms == 0 is filled in. Errors: entry_invalid, entry_too_large, ledger_overloaded (the
  // queue is full: wait and try again), ledger_closed.
  virtual Result<Ticket> append(std::span<const Entry> entries) = 0;
  Result<Ticket> append(const Entry& entry) { return append({&entry, 1}); }

  // Blocks until all entries of the ticket reached `state`; the index of the first one.
  // Errors: ledger_timeout (not yet; may be asked again), ledger_no_witnesses (no policy), and
  // what kept it from the state. disk_full, disk_read_only, database_*: with
  // kDurable asked, the entries are not in the log and were dropped; with a later state asked
  // after kDurable they are safe and integration is tried again.
  virtual Result<std::uint64_t> wait(const Ticket& ticket, Durability state,
                                     std::chrono::milliseconds timeout) = 0;
  // append and wait in one.
  Result<std::uint64_t> commit(const Entry& entry, Durability state,
                               std::chrono::milliseconds timeout);

  // The strongest state that entries of this ledger reach: kWitnessed with a witness policy,
  // else kIntegrated. What to wait for before a verifier is told of an entry.
  virtual Durability strongest() const = 0;

  // Newest signed tree head. Never goes back.
  virtual Result<SignedCheckpoint> checkpoint() = 0;
  // Newest one under the witness policy. Errors: ledger_no_witnesses, ledger_not_witnessed.
  virtual Result<SignedCheckpoint> witnessed_checkpoint() = 0;
  // Signs the newest head with the present time, whatever refresh_interval says.
  virtual Result<SignedCheckpoint> refresh_checkpoint() = 0;

  // A durable entry, integrated or not. Errors: ledger_index (beyond the end), ledger_corrupt.
  virtual Result<Entry> read(std::uint64_t index) = 0;
  virtual Result<std::string> read_leaf(std::uint64_t index) = 0;

  // Proof that the leaf at `index` is under the newest checkpoint (the newest witnessed one if
  // there is a policy and it covers the index). Errors: ledger_index, ledger_not_integrated,
  // ledger_corrupt.
  virtual Result<InclusionProof> prove(std::uint64_t index) = 0;
  // The same as c2sp.org/tlog-proof@v1 text.
  virtual Result<std::string> prove_text(std::uint64_t index) = 0;
  // RFC 6962 proof from old_size to new_size <= checkpoint()->size.
  virtual Result<std::vector<Digest256>> prove_consistency(std::uint64_t old_size,
                                                           std::uint64_t new_size) = 0;

  // Newest durable entry of a kind about a subject. Not for segments (is_indexed).
  virtual Result<std::optional<FoundEntry>> find(EntryKind kind, std::string_view subject) = 0;
  // Entries of a kind, newest first, below index `before`; an empty subject means any.
  virtual Result<std::vector<FoundEntry>> list(EntryKind kind, std::string_view subject,
                                               std::uint64_t before, std::size_t limit) = 0;
  // Index of an integrated leaf by its leaf hash; reads the level-0 tiles from the end.
  virtual Result<std::optional<std::uint64_t>> find_leaf(const Digest256& leaf_hash) = 0;

  // Durable entries, of all processes.
  virtual Result<std::uint64_t> durable_size() = 0;
  virtual const std::string& origin() const = 0;
  virtual const std::string& dir() const = 0;
  // Reads the published files only; safe to share with HTTP threads.
  virtual LedgerReader& reader() = 0;
};

inline constexpr std::uint64_t kNoIndexLimit = ~std::uint64_t{0};

}  // namespace fieldprint
