// Offline proofs that a log holds an entry (C2SP tlog-proof).
//
//   proof = "c2sp.org/tlog-proof@v1\n" [ "extra " base64 "\n" ] "index " n "\n"
//           *63( base64(hash) "\n" ) "\n" checkpoint
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merkle/policy.h"

namespace fieldprint {

struct TlogProof {
  std::optional<std::string> untrusted_extra;  // bytes that nothing signs
  std::uint64_t index = 0;
  std::vector<Digest256> hashes;  // inclusion proof, leaf's sibling first
  std::string checkpoint;         // signed note, not verified by the parser
};

std::string tlog_proof_print(const TlogProof& proof);
// Errors: tlog_proof_invalid, note_too_large.
Result<TlogProof> tlog_proof_parse(std::string_view text);

// The checkpoint, once `policy` accepts it and it contains `leaf` at proof.index.
// Errors: Policy::open's, proof_invalid.
Result<VerifiedCheckpoint> tlog_proof_verify(const TlogProof& proof, const Digest256& leaf,
                                             const Policy& policy);

}  // namespace fieldprint
