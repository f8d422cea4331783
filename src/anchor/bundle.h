// model.sig: the OMS v1.0 signature of an anchor's folder, a Sigstore bundle with a DSSE
// envelope made by a P-256 key. `model_signing verify key` accepts ours, and ours its.
// docs/formats/anchor.md has the grammar.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anchor/manifest.h"
#include "core/error.h"
#include "crypto/p256.h"
#include "provenance/trust_root.h"

namespace fieldprint {

inline constexpr const char* kBundleName = "model.sig";
inline constexpr std::size_t kBundleMaxBytes = std::size_t{256} << 10;

// A bundle that was read and not verified.
struct UnverifiedBundle {
  std::string payload_type;
  std::string payload;
  std::vector<std::uint8_t> signature;  // ECDSA, DER
  std::string key_hint;  // SHA-256 of the public key's PEM in hex; empty if none. A hint
};

// Fuzz entry point. Errors: bundle_corrupt, bundle_too_large, bundle_type (another media type,
// or signed in a way without a key: certificate or keyless).
Result<UnverifiedBundle> parse_bundle(std::string_view text);

struct VerifiedBundle {
  Manifest manifest;
  std::string key_name;       // of the anchor key that signed
  std::string bundle_digest;  // "sha256:<hex>" of the file
};

// Errors: those of parse_bundle and parse_manifest; anchor_key_unknown (made by a key that is
// not in `keys`), anchor_signature_invalid.
Result<VerifiedBundle> verify_bundle(std::string_view text, std::span<const AnchorKey> keys);

// Errors: those of print_manifest.
Result<std::string> sign_bundle(const Manifest& manifest, const P256SecretKey& key);

}  // namespace fieldprint
