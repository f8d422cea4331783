// Ed25519 signatures (RFC 8032, pure, no context) through libsodium.
//
// Verification is the strict form: non-canonical points and scalars and keys of small order
// are refused, so that a signature has one spelling and a key no twin.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"
#include "crypto/secret.h"

namespace fieldprint {

inline constexpr std::size_t kEd25519SeedBytes = 32;
using Ed25519PublicKey = std::array<std::uint8_t, 32>;
using Ed25519Signature = std::array<std::uint8_t, 64>;

class Ed25519SecretKey {
 public:
  static Ed25519SecretKey generate();
  // Errors: ed25519_seed_invalid (not 32 bytes).
  static Result<Ed25519SecretKey> from_seed(std::span<const std::uint8_t> seed);

  const Ed25519PublicKey& public_key() const { return public_key_; }
  Ed25519Signature sign(std::span<const std::uint8_t> message) const;
  Ed25519Signature sign(std::string_view message) const;
  SecretBytes seed() const;  // 32 bytes

 private:
  explicit Ed25519SecretKey(std::span<const std::uint8_t> seed);

  SecretBytes secret_;  // libsodium's 64-byte form: seed, public key
  Ed25519PublicKey public_key_{};
};

bool ed25519_verify(const Ed25519PublicKey& key, std::span<const std::uint8_t> message,
                    std::span<const std::uint8_t> signature);
bool ed25519_verify(const Ed25519PublicKey& key, std::string_view message,
                    std::span<const std::uint8_t> signature);

}  // namespace fieldprint
