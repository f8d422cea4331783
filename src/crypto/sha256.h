// SHA-256 (FIPS 180-4) through OpenSSL's EVP interface.
//
// The algorithm object is fetched once per process. Thread rule: an object belongs to
// one thread at a time; the free functions may be called from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace fieldprint {

using Digest256 = std::array<std::uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& update(std::span<const std::uint8_t> bytes);
  Sha256& update(std::string_view bytes);
  // Fixed-width little-endian integers, so that a hash never depends on the machine.
  Sha256& update_u32(std::uint32_t value);
  Sha256& update_u64(std::uint64_t value);
  // Digest of all bytes so far; the object then starts over, empty.
  Digest256 finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest256 sha256(std::span<const std::uint8_t> bytes);
Digest256 sha256(std::string_view bytes);

// "sha256:<64 hex digits>", the form that artifacts and receipts carry.
std::string digest_string(const Digest256& digest);
// The digest that such a text names; nullopt for any other text.
std::optional<Digest256> parse_digest(std::string_view text);

// Called with bytes hashed so far and the file's size; return false to stop.
using HashProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// Digest of a regular file, read in 1 MiB pieces. Errors: io_open, io_read,
// io_not_a_file, cancelled (the callback said stop).
Result<Digest256> sha256_file(const std::string& path, const HashProgress& progress = {});

}  // namespace fieldprint
