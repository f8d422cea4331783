// A copy of a ledger that stands for itself: checkpoint, tiles, entries, public keys. Anybody
// checks it with verify_ledger(), or with any C2SP client, without the database.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "ledger/ledger_reader.h"

namespace fieldprint {

struct ExportSummary {
  SignedCheckpoint checkpoint;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

// Copies what belongs to the present checkpoint into the new folder `out` and makes it durable.
// The checkpoint is written last: a folder that was cut off has none. Errors: export_exists,
// those of LedgerReader and Env.
Result<ExportSummary> export_ledger(Env& env, LedgerReader& reader, const std::string& out);

}  // namespace fieldprint
