#include "provenance/signatures.h"

#include <algorithm>

namespace fieldprint {

Result<DsseEnvelope> read_envelope(std::string_view text, std::size_t max_bytes,
                                   const char* payload_type) {
  FP_ASSIGN(DsseEnvelope envelope, dsse_parse(text, {.max_bytes = max_bytes}));
  if (envelope.payload_type != payload_type) {
    return fail(ErrorKind::kInvalid, "envelope_type",
                "the envelope holds '" + envelope.payload_type.substr(0, 128) + "', not '" +
                    payload_type + "'");
  }
  return envelope;
}

Result<std::vector<VerifierKey>> valid_signers(const DsseEnvelope& envelope,
                                               std::span<const VerifierKey> keys) {
  const std::string signed_text = dsse_pae(envelope.payload_type, envelope.untrusted_payload);
  std::vector<VerifierKey> signers;
  for (const VerifierKey& key : keys) {
    const auto held = std::ranges::count_if(envelope.signatures, [&](const DsseSignature& s) {
      return ed25519_verify(key.key(), signed_text, s.signature);
    });
    if (held > 1) {
      return fail(ErrorKind::kForbidden, "signature_duplicate",
                  "key " + key.id_text() + " signed " + std::to_string(held) +
                      " times; each key counts once, so the envelope is refused");
    }
    if (held == 1) signers.push_back(key);
  }
  return signers;
}

std::size_t count_signers(std::span<const VerifierKey> signers,
                          std::span<const std::string> names) {
  return static_cast<std::size_t>(std::ranges::count_if(signers, [&](const VerifierKey& key) {
    return std::ranges::find(names, key.name()) != names.end();
  }));
}

std::string signers_text(std::span<const VerifierKey> signers, std::size_t held,
                         std::size_t needed) {
  std::string text =
      std::to_string(held) + " of " + std::to_string(needed) + " needed signatures hold";
  std::string names;
  for (const VerifierKey& key : signers) names += (names.empty() ? "" : ", ") + key.name();
  return names.empty() ? text : text + " (valid signers: " + names + ")";
}

}  // namespace fieldprint
