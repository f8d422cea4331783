// DSSE envelopes (secure-systems-lab/dsse v1.0.2): JSON text that carries a payload, its type
// and signatures over PAE(type, payload).
//
// A payload is worth nothing before its signatures hold: read it with dsse_verify(), which
// hands it out only then. `keyid` is a hint for people, never an input to a decision.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"

namespace fieldprint {

inline constexpr std::string_view kInTotoPayloadType = "application/vnd.in-toto+json";

struct DsseLimits {
  std::size_t max_bytes = std::size_t{1} << 20;  // of the envelope's text
  std::size_t max_signatures = 64;
};

struct DsseSignature {
  std::string keyid;
  std::vector<std::uint8_t> signature;
};

struct DsseEnvelope {
  std::string payload_type;
  std::string untrusted_payload;  // bytes; nobody has vouched for them yet
  std::vector<DsseSignature> signatures;
};

// "DSSEv1 <len> <type> <len> <payload>", lengths in bytes: what is signed.
std::string dsse_pae(std::string_view payload_type, std::string_view payload);

// Reads the envelope only. Fields it does not know are skipped, as the specification asks:
// nothing outside payload and payloadType is signed. Both base64 alphabets are read.
// Errors: dsse_invalid, dsse_too_large, json_invalid, json_too_large.
Result<DsseEnvelope> dsse_parse(std::string_view json, const DsseLimits& limits = {});

// Canonical JSON (codec/canonical_json.h) with standard base64.
std::string dsse_print(const DsseEnvelope& envelope);

// An envelope with one signature, and one more signature for an envelope. The keyid is
// VerifierKey::id_text().
DsseEnvelope dsse_sign(std::string_view payload_type, std::string_view payload,
                       const SignerKey& key);
void dsse_add_signature(DsseEnvelope& envelope, const SignerKey& key);

struct DsseVerified {
  std::string payload;
  std::vector<VerifierKey> signers;  // distinct keys whose signature holds, in order of `keys`
};

// Accepts when at least `threshold` >= 1 distinct keys of `keys` signed. Keys are distinct by
// their 32 bytes: one key under two names counts once. A signature that fits no key counts
// nothing. Errors: dsse_type (another payloadType), dsse_threshold (names how many held),
// dsse_threshold_invalid (0, or more than there are distinct keys: nobody could meet it).
Result<DsseVerified> dsse_verify(const DsseEnvelope& envelope, std::string_view payload_type,
                                 std::span<const VerifierKey> keys, std::size_t threshold);

}  // namespace fieldprint
