// A checkpoint as the ledger hands it around: the signed note and what it says.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "crypto/sha256.h"
#include "merkle/note.h"

namespace fieldprint {

struct SignedCheckpoint {
  std::string text;  // the whole note, all signature lines
  std::string origin;
  std::uint64_t size = 0;
  Digest256 root{};
  std::int64_t time_s = 0;  // Unix time of the newest cosignature; 0 without one
};

// Reads a note that the log's key has signed. Cosignatures of `cosigners` must hold; those of
// others are ignored. Errors: those of checkpoint_open (merkle/checkpoint.h).
Result<SignedCheckpoint> open_checkpoint(std::string_view text, std::string_view origin,
                                         std::span<const VerifierKey> log_keys,
                                         std::span<const VerifierKey> cosigners);

// Signs a tree head with the log's key, and with the cosigner's key and the time. `others`:
// signatures over the same body by witnesses, kept behind ours.
SignedCheckpoint sign_checkpoint(std::string_view origin, std::uint64_t size, const Digest256& root,
                                 const SignerKey& log, const SignerKey& cosigner,
                                 std::int64_t time_s, std::span<const NoteSignature> others);

}  // namespace fieldprint
