#include "crypto/p256.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstring>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMaxKeyBytes = 8192;

struct OpenSslFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
using Bio = std::unique_ptr<BIO, OpenSslFree>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, OpenSslFree>;

EVP_PKEY* raw(const std::shared_ptr<void>& key) { return static_cast<EVP_PKEY*>(key.get()); }

std::shared_ptr<void> own(EVP_PKEY* key) {
  return {key, [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); }};
}

std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// OpenSSL keeps a queue of errors per thread; leave none behind for the next caller.
tl::unexpected<Error> invalid(const char* what) {
  ERR_clear_error();
  return fail(ErrorKind::kInvalid, "p256_key_invalid", what);
}

Status check_size(std::size_t size) {
  if (size <= kMaxKeyBytes) return {};
  return fail(ErrorKind::kTooLarge, "p256_key_too_large", "a P-256 key has at most 8192 bytes");
}

// Takes the key, and gives it back when it is a whole, valid P-256 key.
enum class Part { kPublic, kPrivate };
Result<std::shared_ptr<void>> accept(EVP_PKEY* loaded, Part part) {
  if (loaded == nullptr) return invalid("this is no PEM of a P-256 key");
  std::shared_ptr<void> key = own(loaded);
  char group[64] = {};
  std::size_t size = 0;
  if (EVP_PKEY_is_a(loaded, "EC") != 1 ||
      EVP_PKEY_get_group_name(loaded, group, sizeof group, &size) != 1 ||
      std::string_view(group, size) != "prime256v1") {
    return invalid("the key is of another kind; a P-256 key (prime256v1) is needed");
  }
  const std::unique_ptr<EVP_PKEY_CTX, OpenSslFree> context(
      EVP_PKEY_CTX_new_from_pkey(nullptr, loaded, nullptr));
  FP_CHECK(context != nullptr);
  const int good = part == Part::kPublic ? EVP_PKEY_public_check(context.get())
                                         : EVP_PKEY_pairwise_check(context.get());
  if (good != 1) return invalid("the P-256 key is not consistent with itself");
  // One point, one spelling: der() and pem() must not depend on how the key came in.
  EVP_PKEY_set_utf8_string_param(loaded, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                 "uncompressed");
  return key;
}

Bio read_bio(std::string_view text) {
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  FP_CHECK(bio != nullptr);
  return bio;
}

// PEM readers skip what stands around the block; we do not.
bool one_block(std::string_view pem) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  while (!pem.empty() && (pem.back() == '\n' || pem.back() == '\r')) pem.remove_suffix(1);
  return pem.starts_with(kBegin) && pem.ends_with("-----") &&
         pem.find(kBegin, 1) == std::string_view::npos;
}

int refuse_passphrase(char* /*buffer*/, int /*size*/, int /*write*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::string_view written(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<P256PublicKey> P256PublicKey::from_pem(std::string_view pem) {
  FP_TRY(check_size(pem.size()));
  if (!one_block(pem)) return invalid("a public key file holds exactly one PEM block");
  const Bio bio = read_bio(pem);
  FP_ASSIGN(std::shared_ptr<void> key,
            accept(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr), Part::kPublic));
  return P256PublicKey(std::move(key));
}

Result<P256PublicKey> P256PublicKey::from_der(std::span<const std::uint8_t> spki) {
  FP_TRY(check_size(spki.size()));
  const unsigned char* at = spki.data();
  EVP_PKEY* loaded = d2i_PUBKEY(nullptr, &at, static_cast<long>(spki.size()));
  FP_ASSIGN(std::shared_ptr<void> key, accept(loaded, Part::kPublic));
  if (at != spki.data() + spki.size()) return invalid("bytes stand behind the public key");
  return P256PublicKey(std::move(key));
}

std::string P256PublicKey::pem() const {
  const Bio bio(BIO_new(BIO_s_mem()));
  FP_CHECK(bio != nullptr && PEM_write_bio_PUBKEY(bio.get(), raw(key_)) == 1);
  return std::string(written(bio.get()));
}

std::vector<std::uint8_t> P256PublicKey::der() const {
  unsigned char* data = nullptr;
  const int size = i2d_PUBKEY(raw(key_), &data);
  FP_CHECK(size > 0);
  std::vector<std::uint8_t> bytes(data, data + size);
  OPENSSL_free(data);
  return bytes;
}

bool P256PublicKey::verify(std::span<const std::uint8_t> message,
                           std::span<const std::uint8_t> der_signature) const {
  const DigestContext context(EVP_MD_CTX_new());
  FP_CHECK(context != nullptr);
  FP_CHECK(EVP_DigestVerifyInit_ex(context.get(), nullptr, "SHA256", nullptr, nullptr, raw(key_),
                                   nullptr) == 1);
  const bool good = EVP_DigestVerify(context.get(), der_signature.data(), der_signature.size(),
                                     message.data(), message.size()) == 1;
  if (!good) ERR_clear_error();
  return good;
}

bool P256PublicKey::verify(std::string_view message,
                           std::span<const std::uint8_t> der_signature) const {
  return verify(bytes_of(message), der_signature);
}

P256SecretKey P256SecretKey::generate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  FP_CHECK(key != nullptr);
  return P256SecretKey(own(key));
}

Result<P256SecretKey> P256SecretKey::from_pem(std::string_view pem) {
  FP_TRY(check_size(pem.size()));
  if (!one_block(pem)) return invalid("a private key file holds exactly one PEM block");
  const Bio bio = read_bio(pem);
  bool asked = false;
  EVP_PKEY* loaded = PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_passphrase, &asked);
  if (asked) {
    EVP_PKEY_free(loaded);
    ERR_clear_error();
    return fail(ErrorKind::kInvalid, "p256_key_encrypted",
                "the P-256 key is encrypted; write it without a passphrase, with mode 0600");
  }
  FP_ASSIGN(std::shared_ptr<void> key, accept(loaded, Part::kPrivate));
  return P256SecretKey(std::move(key));
}

SecretBytes P256SecretKey::pem() const {
  const Bio bio(BIO_new(BIO_s_secmem()));  // wiped when freed
  FP_CHECK(bio != nullptr);
  FP_CHECK(PEM_write_bio_PKCS8PrivateKey(bio.get(), raw(key_), nullptr, nullptr, 0, nullptr,
                                         nullptr) == 1);
  return SecretBytes::copy_of(written(bio.get()));
}

P256PublicKey P256SecretKey::public_key() const {
  // The public half alone, so that it can outlive and outshare the secret.
  unsigned char* data = nullptr;
  const int size = i2d_PUBKEY(raw(key_), &data);
  FP_CHECK(size > 0);
  Result<P256PublicKey> key =
      P256PublicKey::from_der(std::span(data, static_cast<std::size_t>(size)));
  OPENSSL_free(data);
  FP_CHECK(key.has_value());
  return std::move(*key);
}

std::vector<std::uint8_t> P256SecretKey::sign(std::span<const std::uint8_t> message) const {
  const DigestContext context(EVP_MD_CTX_new());
  FP_CHECK(context != nullptr);
  FP_CHECK(EVP_DigestSignInit_ex(context.get(), nullptr, "SHA256", nullptr, nullptr, raw(key_),
                                 nullptr) == 1);
  std::size_t size = 0;
  FP_CHECK(EVP_DigestSign(context.get(), nullptr, &size, message.data(), message.size()) == 1);
  std::vector<std::uint8_t> signature(size);
  FP_CHECK(EVP_DigestSign(context.get(), signature.data(), &size, message.data(), message.size()) ==
           1);
  signature.resize(size);
  return signature;
}

std::vector<std::uint8_t> P256SecretKey::sign(std::string_view message) const {
  return sign(bytes_of(message));
}

}  // namespace fieldprint
