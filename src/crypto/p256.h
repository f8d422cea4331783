// ECDSA over NIST P-256 with SHA-256 (FIPS 186-4), through OpenSSL 3.
//
// Forms: private keys PKCS#8 PEM, public keys SubjectPublicKeyInfo PEM (RFC 5958, RFC 5280),
// signatures DER (RFC 3279 section 2.2.3). Anchors are signed with it because the public
// `model_signing` tool knows no Ed25519. Thread rule: const use from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/secret.h"

namespace fieldprint {

class P256PublicKey {
 public:
  // Exactly one PEM block. Errors: p256_key_invalid (not PEM, another kind of key, another
  // curve, a point off the curve), p256_key_too_large.
  static Result<P256PublicKey> from_pem(std::string_view pem);
  static Result<P256PublicKey> from_der(std::span<const std::uint8_t> spki);

  std::string pem() const;                // "-----BEGIN PUBLIC KEY-----\n..."
  std::vector<std::uint8_t> der() const;  // SubjectPublicKeyInfo, uncompressed point
  bool verify(std::span<const std::uint8_t> message,
              std::span<const std::uint8_t> der_signature) const;
  bool verify(std::string_view message, std::span<const std::uint8_t> der_signature) const;

 private:
  friend class P256SecretKey;
  explicit P256PublicKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;  // EVP_PKEY
};

class P256SecretKey {
 public:
  static P256SecretKey generate();
  // Unencrypted PKCS#8 (or SEC 1) PEM. Errors: p256_key_invalid, p256_key_encrypted,
  // p256_key_too_large.
  static Result<P256SecretKey> from_pem(std::string_view pem);

  SecretBytes pem() const;  // PKCS#8, unencrypted
  P256PublicKey public_key() const;
  std::vector<std::uint8_t> sign(std::span<const std::uint8_t> message) const;  // DER
  std::vector<std::uint8_t> sign(std::string_view message) const;

 private:
  explicit P256SecretKey(std::shared_ptr<void> key) : key_(std::move(key)) {}
  std::shared_ptr<void> key_;  // EVP_PKEY
};

}  // namespace fieldprint
