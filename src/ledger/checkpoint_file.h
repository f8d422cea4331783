// A checkpoint as the ledger hands it around: the signed note and what it says.
#pragma once

#include <cstdint>
#include <string>

#include "crypto/sha256.h"

namespace fieldprint {

struct SignedCheckpoint {
  std::string text;  // the whole note, all signature lines
  std::string origin;
  std::uint64_t size = 0;
  Digest256 root{};
  std::int64_t time_s = 0;  // Unix time of the log's own cosignature
};

}  // namespace fieldprint
