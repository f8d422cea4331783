// Which keys of a set signed an envelope. Internal to src/provenance.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/dsse.h"

namespace fieldprint {

// The envelope of a payload of this type. Errors: dsse_*, envelope_type (another payload type).
Result<DsseEnvelope> read_envelope(std::string_view text, std::size_t max_bytes,
                                   const char* payload_type);

// Distinct keys of `keys` whose signature holds, in their order; signatures by others count
// nothing. Errors: signature_duplicate (one key signed twice: whoever made this meant it to
// count twice).
Result<std::vector<VerifierKey>> valid_signers(const DsseEnvelope& envelope,
                                               std::span<const VerifierKey> keys);

// How many of `names` are among the signers' names.
std::size_t count_signers(std::span<const VerifierKey> signers, std::span<const std::string> names);

// "2 of 3 needed signatures hold (ada, bob)".
std::string signers_text(std::span<const VerifierKey> signers, std::size_t held,
                         std::size_t needed);

}  // namespace fieldprint
