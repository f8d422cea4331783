// Checkpoints, the signed heads of a log (C2SP tlog-checkpoint).
//
//   body = origin "\n" size "\n" base64(root) "\n" *( extension "\n" )
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"
#include "merkle/note.h"

namespace fieldprint {

struct Checkpoint {
  std::string origin;
  std::uint64_t size = 0;
  Digest256 root{};
  std::vector<std::string> extensions;  // lines; we write none
  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

// Errors: checkpoint_invalid (also: size 0 with a root other than empty_root()).
Result<Checkpoint> checkpoint_parse(std::string_view body);
std::string checkpoint_print(const Checkpoint& checkpoint);  // the body

struct VerifiedCheckpoint {
  Checkpoint checkpoint;
  Note note;                                      // as read, with all signatures
  std::vector<VerifiedSignature> log_signatures;  // at least one
  std::vector<VerifiedSignature> cosignatures;    // of the given cosigners; may be empty

  // The latest cosignature time, for freshness bounds; none without a cosignature.
  std::optional<std::uint64_t> latest_time() const;
};

// Reads a signed checkpoint of `origin` that at least one log key has signed. Cosigners are
// counted by the caller (Policy). A key may stand in one list only.
// Errors: those of note_parse, note_verify and checkpoint_parse; checkpoint_origin (another
// log's), checkpoint_unsigned (cosigned, but not signed by the log).
Result<VerifiedCheckpoint> checkpoint_open(std::string_view bytes, std::string_view origin,
                                           std::span<const VerifierKey> log_keys,
                                           std::span<const VerifierKey> cosigners);

}  // namespace fieldprint
