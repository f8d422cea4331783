// ledger.db: what the sequencer must remember. Internal to src/ledger.
//
//   sequencer  next_index: leaves that have an index, for ever
//   pending    leaves not yet in a full entry bundle, in the encoding of entry bundles
//   tree       size and right edge of the tree whose tiles are on disk; moves by
//              compare-and-swap, and is committed before its root is signed
//   published  newest signed checkpoint; newest one under the witness policy
//   entry_index  kind, subject -> index
//   witness    the size each witness is known to hold
//
// A connection: one thread at a time. Several connections, also of other processes, may be open.
// Errors: those of store/sqlite.h, ledger_corrupt.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ledger/checkpoint_file.h"
#include "ledger/entry.h"
#include "ledger/tree_edge.h"
#include "store/env.h"
#include "store/sqlite.h"

namespace fieldprint {

// A leaf on its way into the log.
struct NewLeaf {
  EntryKind kind = EntryKind::kGenesis;
  std::string subject;
  std::string bytes;
};

struct PublishedState {
  std::uint64_t size = 0;
  std::int64_t time_s = 0;
  std::string checkpoint;  // empty: nothing was signed yet
  std::uint64_t witnessed_size = 0;
  std::string witnessed;  // empty: none
};

struct LedgerIdentity {
  std::string origin;
  std::string log_key;       // vkey
  std::string cosigner_key;  // vkey
  friend bool operator==(const LedgerIdentity&, const LedgerIdentity&) = default;
};

class LedgerDb {
 public:
  static Result<LedgerDb> open(Env& env, const std::string& path, DatabaseMode mode,
                               std::chrono::milliseconds busy_timeout);

  // Tables and identity, if there are none, with `genesis` as leaf 0. All or nothing.
  Status initialize(const LedgerIdentity& identity, const NewLeaf& genesis);
  // Errors: ledger_missing (no tables), ledger_version (made by a later version).
  Result<LedgerIdentity> identity();

  // Gives the leaves the next indices and makes them durable. The first index.
  Result<std::uint64_t> append(std::span<const NewLeaf> leaves);
  Result<std::uint64_t> next_index();

  // Leaves from `first` on, at least one if there are any, at most about max_bytes of them.
  // Errors: ledger_corrupt (a gap).
  Result<std::vector<std::string>> pending(std::uint64_t first, std::size_t max_bytes);
  // One leaf, if it is still there.
  Result<std::optional<std::string>> pending_leaf(std::uint64_t index);

  Result<std::uint64_t> tree_size();
  Result<TreeEdge> tree();
  // Moves the tree from old_size to `edge` and drops the leaves that full bundles hold. False:
  // another process was first, nothing was changed.
  Result<bool> advance_tree(std::uint64_t old_size, const TreeEdge& edge);

  Result<PublishedState> published();
  Database& database() { return database_; }
  // Within the caller's transaction.
  Status set_published(const PublishedState& state);

  // Newest first, below `before`.
  Result<std::vector<std::uint64_t>> find(EntryKind kind, std::string_view subject,
                                          std::uint64_t before, std::size_t limit);
  Result<std::uint64_t> witness_size(std::string_view key);
  Status set_witness_size(std::string_view key, std::uint64_t size);

  struct PendingRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
  };
  Result<std::vector<PendingRange>> pending_ranges();
  // Whether the index lists this entry.
  Result<bool> indexed(EntryKind kind, std::string_view subject, std::uint64_t index);
  // Rows of the index for leaves below `end`.
  Result<std::uint64_t> index_rows(std::uint64_t end);

 private:
  explicit LedgerDb(Database database) : database_(std::move(database)) {}
  Status insert_leaves(std::span<const NewLeaf> leaves, std::uint64_t first);
  Result<std::uint64_t> one_integer(const char* sql);

  Database database_;
};

}  // namespace fieldprint
