// Reading a whole ledger and saying what is wrong with it. Nothing here changes a file.
//
// Thread rule: pure functions over an Env; from any thread. Others may append meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "ledger/checkpoint_file.h"
#include "ledger/entry.h"
#include "ledger/trust.h"
#include "store/env.h"

namespace fieldprint {

// One damage. Codes: bundle_missing, bundle_invalid, leaf_mismatch, entry_invalid, tile_missing,
// tile_mismatch, root_mismatch, and from fsck database_corrupt, database_keys,
// database_behind, database_tree, pending_gap, pending_mismatch, index_missing, index_extra,
// published_invalid, stray_file.
struct LedgerFinding {
  std::string code;
  std::string where;  // path below the folder, or "entry 12"
  std::string message;
  bool harmless = false;  // costs room only: stray_file
};

inline constexpr std::size_t kMaxFindings = 1000;  // a further one is not recorded

struct LedgerReport {
  SignedCheckpoint checkpoint;
  std::uint64_t entries = 0;                 // read and checked
  std::map<EntryKind, std::uint64_t> kinds;  // how many of each
  std::vector<LedgerFinding> findings;
  bool good() const;  // nothing but harmless findings
};

// Checks the signatures of the checkpoint, every leaf against every tile, and the root: all
// that an outsider with the folder and the public keys can check. `earlier`: checkpoints of
// this log that somebody kept; each must be a prefix. Errors: those of
// LedgerReader::checkpoint; checkpoint_invalid, note_* for `earlier`.
Result<LedgerReport> verify_ledger(Env& env, const std::string& dir, const LedgerTrust& trust,
                                   const std::vector<std::string>& earlier = {});

// The same, and the database: its structure, its tree against the tiles, leaves not yet in
// tiles, the index. Errors: as verify_ledger; ledger_missing (no ledger.db).
Result<LedgerReport> fsck_ledger(Env& env, const std::string& dir, const LedgerTrust& trust);

}  // namespace fieldprint
