#include "crypto/ed25519.h"

#include <sodium.h>

#include "core/check.h"
#include "crypto/sodium_init.h"

namespace fieldprint {
namespace {

static_assert(crypto_sign_SEEDBYTES == kEd25519SeedBytes);
static_assert(crypto_sign_PUBLICKEYBYTES == std::tuple_size_v<Ed25519PublicKey>);
static_assert(crypto_sign_BYTES == std::tuple_size_v<Ed25519Signature>);

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

Ed25519SecretKey::Ed25519SecretKey(std::span<const std::uint8_t> seed)
    : secret_(crypto_sign_SECRETKEYBYTES) {
  ensure_sodium();
  FP_CHECK(crypto_sign_seed_keypair(public_key_.data(), secret_.data(), seed.data()) == 0);
}

Ed25519SecretKey Ed25519SecretKey::generate() {
  SecretBytes seed(kEd25519SeedBytes);
  random_bytes(seed.span());
  return Ed25519SecretKey(seed.span());
}

Result<Ed25519SecretKey> Ed25519SecretKey::from_seed(std::span<const std::uint8_t> seed) {
  if (seed.size() != kEd25519SeedBytes) {
    return fail(ErrorKind::kInvalid, "ed25519_seed_invalid", "an Ed25519 seed has 32 bytes");
  }
  return Ed25519SecretKey(seed);
}

Ed25519Signature Ed25519SecretKey::sign(std::span<const std::uint8_t> message) const {
  FP_CHECK(secret_.size() == crypto_sign_SECRETKEYBYTES);  // not moved from
  Ed25519Signature signature;
  FP_CHECK(crypto_sign_detached(signature.data(), nullptr, message.data(), message.size(),
                                secret_.data()) == 0);
  return signature;
}

Ed25519Signature Ed25519SecretKey::sign(std::string_view message) const {
  return sign(bytes_of(message));
}

SecretBytes Ed25519SecretKey::seed() const {
  return SecretBytes::copy_of(secret_.span().first(kEd25519SeedBytes));
}

bool ed25519_verify(const Ed25519PublicKey& key, std::span<const std::uint8_t> message,
                    std::span<const std::uint8_t> signature) {
  ensure_sodium();
  return signature.size() == crypto_sign_BYTES &&
         crypto_sign_verify_detached(signature.data(), message.data(), message.size(),
                                     key.data()) == 0;
}

bool ed25519_verify(const Ed25519PublicKey& key, std::string_view message,
                    std::span<const std::uint8_t> signature) {
  return ed25519_verify(key, bytes_of(message), signature);
}

}  // namespace fieldprint
