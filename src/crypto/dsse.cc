#include "crypto/dsse.h"

#include <algorithm>

#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxValues = 1024;
constexpr std::size_t kMaxTypeBytes = 1024;
constexpr std::size_t kMaxKeyId = 1024;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "dsse_invalid", "DSSE envelope: " + what);
}

Result<std::string> text_field(const CanonicalValue& object, const char* name,
                               std::size_t max_bytes) {
  const CanonicalValue* value = member(&object, name);
  if (value == nullptr || value->string() == nullptr) {
    return invalid(std::string("field '") + name + "' is missing or no text");
  }
  if (value->string()->size() > max_bytes) {
    return invalid(std::string("field '") + name + "' is too long");
  }
  return *value->string();
}

Result<std::vector<std::uint8_t>> bytes_field(const CanonicalValue& object, const char* name,
                                              std::size_t max_text) {
  FP_ASSIGN(const std::string text, text_field(object, name, max_text));
  auto bytes = base64_decode_any(text);
  if (!bytes) return invalid(std::string("field '") + name + "': " + bytes.error().message);
  return bytes;
}

Result<DsseSignature> signature_of(const CanonicalValue& value, const DsseLimits& limits) {
  if (value.object() == nullptr) return invalid("a signature is not an object");
  DsseSignature signature;
  FP_ASSIGN(signature.signature, bytes_field(value, "sig", limits.max_bytes));
  if (signature.signature.empty()) return invalid("a signature is empty");
  if (member(&value, "keyid") != nullptr) {
    FP_ASSIGN(signature.keyid, text_field(value, "keyid", kMaxKeyId));
  }
  return signature;
}

// Keys whose bytes have not come before.
std::vector<const VerifierKey*> distinct(std::span<const VerifierKey> keys) {
  std::vector<const VerifierKey*> out;
  for (const VerifierKey& key : keys) {
    const bool seen = std::any_of(out.begin(), out.end(), [&](const VerifierKey* other) {
      return other->key() == key.key();
    });
    if (!seen) out.push_back(&key);
  }
  return out;
}

}  // namespace

std::string dsse_pae(std::string_view payload_type, std::string_view payload) {
  std::string pae = "DSSEv1 " + std::to_string(payload_type.size()) + " ";
  pae.append(payload_type).append(" ").append(std::to_string(payload.size())).append(" ");
  return pae.append(payload);
}

Result<DsseEnvelope> dsse_parse(std::string_view json, const DsseLimits& limits) {
  if (json.size() > limits.max_bytes) {
    return fail(ErrorKind::kTooLarge, "dsse_too_large",
                "DSSE envelope: more than " + std::to_string(limits.max_bytes) + " bytes");
  }
  FP_ASSIGN(const CanonicalValue root, json_parse(json, {limits.max_bytes, kMaxValues, kMaxDepth}));
  if (root.object() == nullptr) return invalid("is not a JSON object");
  DsseEnvelope envelope;
  FP_ASSIGN(envelope.payload_type, text_field(root, "payloadType", kMaxTypeBytes));
  FP_ASSIGN(const auto payload, bytes_field(root, "payload", limits.max_bytes));
  envelope.untrusted_payload.assign(payload.begin(), payload.end());
  const CanonicalValue* signatures = member(&root, "signatures");
  if (signatures == nullptr || signatures->array() == nullptr || signatures->array()->empty()) {
    return invalid("has no signatures");
  }
  if (signatures->array()->size() > limits.max_signatures) {
    return invalid("has more than " + std::to_string(limits.max_signatures) + " signatures");
  }
  for (const CanonicalValue& value : *signatures->array()) {
    FP_ASSIGN(DsseSignature signature, signature_of(value, limits));
    envelope.signatures.push_back(std::move(signature));
  }
  return envelope;
}

std::string dsse_print(const DsseEnvelope& envelope) {
  CanonicalValue::Array signatures;
  for (const DsseSignature& signature : envelope.signatures) {
    CanonicalValue::Object object{{"sig", base64_encode(signature.signature)}};
    if (!signature.keyid.empty()) object.emplace("keyid", signature.keyid);
    signatures.emplace_back(std::move(object));
  }
  const Result<std::string> printed =
      canonical_print(CanonicalValue::Object{{"payload", base64_encode(envelope.untrusted_payload)},
                                             {"payloadType", envelope.payload_type},
                                             {"signatures", std::move(signatures)}});
  FP_CHECK(printed.has_value());  // text came through a parser or from a key name
  return *printed;
}

DsseEnvelope dsse_sign(std::string_view payload_type, std::string_view payload,
                       const SignerKey& key) {
  DsseEnvelope envelope;
  envelope.payload_type = payload_type;
  envelope.untrusted_payload = payload;
  dsse_add_signature(envelope, key);
  return envelope;
}

void dsse_add_signature(DsseEnvelope& envelope, const SignerKey& key) {
  const Ed25519Signature signature =
      key.sign(dsse_pae(envelope.payload_type, envelope.untrusted_payload));
  envelope.signatures.push_back({key.verifier().id_text(), {signature.begin(), signature.end()}});
}

Result<DsseVerified> dsse_verify(const DsseEnvelope& envelope, std::string_view payload_type,
                                 std::span<const VerifierKey> keys, std::size_t threshold) {
  const std::vector<const VerifierKey*> known = distinct(keys);
  if (threshold == 0 || threshold > known.size()) {
    return fail(ErrorKind::kInvalid, "dsse_threshold_invalid",
                "a threshold of " + std::to_string(threshold) + " cannot hold with " +
                    std::to_string(known.size()) + " distinct keys");
  }
  if (envelope.payload_type != payload_type) {
    return fail(ErrorKind::kForbidden, "dsse_type",
                "DSSE envelope: the payload is not of type " + std::string(payload_type));
  }
  const std::string pae = dsse_pae(envelope.payload_type, envelope.untrusted_payload);
  DsseVerified verified;
  for (const VerifierKey* key : known) {
    const bool signed_it = std::any_of(
        envelope.signatures.begin(), envelope.signatures.end(),
        [&](const DsseSignature& s) { return ed25519_verify(key->key(), pae, s.signature); });
    if (signed_it) verified.signers.push_back(*key);
  }
  if (verified.signers.size() < threshold) {
    return fail(ErrorKind::kForbidden, "dsse_threshold",
                "DSSE envelope: " + std::to_string(verified.signers.size()) + " of the " +
                    std::to_string(known.size()) + " trusted keys signed it, " +
                    std::to_string(threshold) + " must");
  }
  verified.payload = envelope.untrusted_payload;
  return verified;
}

}  // namespace fieldprint
