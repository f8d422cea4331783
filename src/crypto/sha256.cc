#include "crypto/sha256.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "codec/hex.h"
#include "core/check.h"

namespace fieldprint {
namespace {

// Fetching an algorithm walks the provider list under a lock; once is enough.
const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  FP_CHECK(algorithm != nullptr);
  return algorithm;
}

constexpr std::size_t kFilePiece = std::size_t{1} << 20;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() { FP_CHECK(evp != nullptr); }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void start() { FP_CHECK(EVP_DigestInit_ex2(evp, sha256_algorithm(), nullptr) == 1); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) { context_->start(); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::update(std::span<const std::uint8_t> bytes) {
  FP_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::update(std::string_view bytes) {
  FP_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::update_u32(std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  return update(bytes);
}

Sha256& Sha256::update_u64(std::uint64_t value) {
  std::array<std::uint8_t, 8> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  return update(bytes);
}

Digest256 Sha256::finish() {
  Digest256 digest;
  unsigned int size = 0;
  FP_CHECK(EVP_DigestFinal_ex(context_->evp, digest.data(), &size) == 1);
  FP_CHECK(size == digest.size());
  context_->start();
  return digest;
}

Digest256 sha256(std::span<const std::uint8_t> bytes) { return Sha256().update(bytes).finish(); }
Digest256 sha256(std::string_view bytes) { return Sha256().update(bytes).finish(); }

std::string digest_string(const Digest256& digest) { return "sha256:" + hex_encode(digest); }

std::optional<Digest256> parse_digest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  Digest256 digest{};
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + 2 * digest.size()) {
    return std::nullopt;
  }
  const auto bytes = hex_decode(text.substr(kPrefix.size()));
  if (!bytes) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), digest.begin());
  return digest;
}

Result<Digest256> sha256_file(const std::string& path, const HashProgress& progress) {
  std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return fail(errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo, "io_open",
                "cannot open " + path + ": " + std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(::fileno(file.get()), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kInvalid, "io_not_a_file", path + " is not a regular file");
  }
  const auto total = static_cast<std::uint64_t>(info.st_size);
  std::vector<std::uint8_t> piece(kFilePiece);
  Sha256 hash;
  std::uint64_t done = 0;
  while (true) {
    const std::size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    hash.update(std::span(piece.data(), got));
    done += got;
    if (got < piece.size()) break;
    if (progress && !progress(done, total)) {
      return fail(ErrorKind::kCancelled, "cancelled", "hashing of " + path + " was stopped");
    }
  }
  if (std::ferror(file.get()) != 0) {
    return fail(ErrorKind::kIo, "io_read", "cannot read " + path + ": " + std::strerror(errno));
  }
  if (progress && !progress(done, total)) {
    return fail(ErrorKind::kCancelled, "cancelled", "hashing of " + path + " was stopped");
  }
  return hash.finish();
}

}  // namespace fieldprint
