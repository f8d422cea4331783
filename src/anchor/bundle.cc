#include "anchor/bundle.h"

#include <algorithm>

#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "codec/hex.h"
#include "crypto/dsse.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr const char* kMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr std::size_t kMaxValues = 2048;
constexpr int kMaxDepth = 12;
constexpr std::size_t kShown = 128;

tl::unexpected<Error> corrupt(const std::string& what) {
  return fail(ErrorKind::kCorrupt, "bundle_corrupt", "model.sig: " + what);
}
tl::unexpected<Error> unsupported(const std::string& what) {
  return fail(ErrorKind::kUnsupported, "bundle_type", "model.sig: " + what);
}

std::string key_hint(std::string_view pem) { return hex_encode(sha256(pem)); }

Status read_envelope(const CanonicalValue* envelope, UnverifiedBundle& bundle) {
  const std::string* const type = text_member(envelope, "payloadType");
  const std::string* const payload = text_member(envelope, "payload");
  const CanonicalValue* const list = member(envelope, "signatures");
  if (type == nullptr || payload == nullptr || list == nullptr || list->array() == nullptr) {
    return unsupported("it holds no DSSE envelope");
  }
  if (list->array()->size() != 1) return corrupt("it has not exactly one signature");
  const std::string* const signature = text_member(&list->array()->front(), "sig");
  if (signature == nullptr) return corrupt("its signature is missing");
  const auto payload_bytes = base64_decode_any(*payload);
  const auto signature_bytes = base64_decode_any(*signature);
  if (!payload_bytes || !signature_bytes) return corrupt("payload or signature is not base64");
  bundle.payload_type = *type;
  bundle.payload.assign(payload_bytes->begin(), payload_bytes->end());
  bundle.signature = *signature_bytes;
  return {};
}

}  // namespace

Result<UnverifiedBundle> parse_bundle(std::string_view text) {
  const Result<CanonicalValue> root = json_parse(text, {.max_bytes = kBundleMaxBytes,
                                                        .max_values = kMaxValues,
                                                        .max_depth = kMaxDepth,
                                                        .literals = JsonLiterals::kKeep});
  if (!root && root.error().code == "json_too_large") {
    return fail(ErrorKind::kTooLarge, "bundle_too_large", "model.sig: " + root.error().message);
  }
  if (!root) return corrupt(root.error().message);
  const std::string* const media_type = text_member(&*root, "mediaType");
  if (media_type == nullptr || *media_type != kMediaType) {
    return unsupported("its media type is '" +
                       (media_type == nullptr ? "(none)" : media_type->substr(0, kShown)) +
                       "', not '" + kMediaType + "'");
  }
  const CanonicalValue* const key = member(member(&*root, "verificationMaterial"), "publicKey");
  if (key == nullptr) return unsupported("it was not made with a bare key");
  UnverifiedBundle bundle;
  if (const std::string* const hint = text_member(key, "hint")) bundle.key_hint = *hint;
  FP_TRY(read_envelope(member(&*root, "dsseEnvelope"), bundle));
  return bundle;
}

Result<VerifiedBundle> verify_bundle(std::string_view text, std::span<const AnchorKey> keys) {
  FP_ASSIGN(const UnverifiedBundle bundle, parse_bundle(text));
  if (bundle.payload_type != kInTotoPayloadType) {
    return unsupported("it signs '" + bundle.payload_type.substr(0, kShown) + "'");
  }
  const std::string signed_text = dsse_pae(bundle.payload_type, bundle.payload);
  bool tried = false;
  for (const AnchorKey& candidate : keys) {
    if (!bundle.key_hint.empty() && bundle.key_hint != key_hint(candidate.pem)) continue;
    tried = true;
    FP_ASSIGN(const P256PublicKey key, P256PublicKey::from_pem(candidate.pem));
    if (!key.verify(signed_text, bundle.signature)) continue;
    VerifiedBundle verified;
    FP_ASSIGN(verified.manifest, parse_manifest(bundle.payload));
    verified.key_name = candidate.name;
    verified.bundle_digest = digest_string(sha256(text));
    return verified;
  }
  if (!tried) {
    return fail(ErrorKind::kForbidden, "anchor_key_unknown",
                "model.sig was made by key " + bundle.key_hint.substr(0, 16) +
                    "..., which is no anchor key of the trust root");
  }
  return fail(ErrorKind::kForbidden, "anchor_signature_invalid",
              "model.sig: the signature does not hold under the trust root's anchor keys");
}

Result<std::string> sign_bundle(const Manifest& manifest, const P256SecretKey& key) {
  FP_ASSIGN(const std::string payload, print_manifest(manifest));
  const std::vector<std::uint8_t> signature = key.sign(dsse_pae(kInTotoPayloadType, payload));
  using Object = CanonicalValue::Object;
  using Array = CanonicalValue::Array;
  const CanonicalValue bundle(Object{
      {"mediaType", kMediaType},
      {"verificationMaterial",
       Object{{"publicKey", Object{{"hint", key_hint(key.public_key().pem())}}},
              {"tlogEntries", Array{}}}},
      {"dsseEnvelope",
       Object{{"payload", base64_encode(payload)},
              {"payloadType", std::string(kInTotoPayloadType)},
              {"signatures",
               Array{Object{{"keyid", ""}, {"sig", base64_encode(std::span(signature))}}}}}},
  });
  return canonical_print(bundle);
}

}  // namespace fieldprint
