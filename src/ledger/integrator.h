// Turns durable leaves into tiles, moves the tree head, signs it. Internal to src/ledger.
//
// Order, and why a crash anywhere is harmless:
//   1. tile files, synced: their content follows from leaves that have their index for ever, so
//      two processes, or a second attempt, write the same bytes
//   2. the new head into ledger.db by compare-and-swap, committed: from here on this is the
//      one tree of this size
//   3. the signature over the committed head, the file `checkpoint`, the signed text into
//      ledger.db, in one transaction, so that an older checkpoint never replaces a newer file
//
// Thread rule: from any thread; calls wait for each other.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "ledger/ledger.h"
#include "ledger/ledger_db.h"

namespace fieldprint {

class Integrator {
 public:
  // keys: not owned.
  Integrator(Env& env, std::string dir, const LedgerKeys& keys, LedgerDb db);

  struct Progress {
    std::uint64_t durable_size = 0;  // as seen before the round
    SignedCheckpoint checkpoint;     // newest signed
    bool behind = false;             // more is waiting; call again
  };
  // Integrates up to some 16 MiB of leaves and signs. Also finishes what an earlier process left
  // half done.
  Result<Progress> round();
  // Signs the present head with the present time.
  Result<SignedCheckpoint> refresh();
  // Adds witness signatures over the body of `checkpoint`, and marks it as witnessed if `quorum`.
  enum class Quorum : std::uint8_t { kMet, kNotMet };
  Status add_cosignatures(const SignedCheckpoint& checkpoint,
                          const std::vector<NoteSignature>& cosignatures, Quorum quorum);

 private:
  enum class Renew : std::uint8_t { kIfGrown, kAlways };
  Status integrate(std::uint64_t durable_size);
  Status write_growth(std::uint64_t old_size, const std::vector<std::string>& leaves,
                      TreeEdge& edge);
  Status write_bundles(DurableWriter& writer, std::uint64_t first,
                       const std::vector<std::string>& leaves);
  Status write_partial_tiles(DurableWriter& writer, std::uint64_t old_size, const TreeEdge& edge);
  void remove_outgrown(std::uint64_t old_size, std::uint64_t new_size);
  Result<SignedCheckpoint> publish(Renew renew);
  Result<SignedCheckpoint> read_own(std::string_view text) const;

  Env& env_;
  const std::string dir_;
  const LedgerKeys& keys_;
  std::mutex mutex_;  // guards what follows
  LedgerDb db_;
  TreeEdge edge_;  // the head, as last read or written
};

}  // namespace fieldprint
