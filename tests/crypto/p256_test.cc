#include "crypto/p256.h"

#include <gtest/gtest.h>

#include "codec/base64.h"
#include "codec/hex.h"
#include "crypto/dsse.h"

namespace fieldprint {
namespace {

using Bytes = std::vector<std::uint8_t>;

// The key and signature of DSSE protocol.md, "Test Vectors", as SPKI PEM and DER.
constexpr const char* kDsseKey =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ805D3eqNZywjCI19lInBJOp7YMr\n"
    "CrzAH3CVTAOQ0jgMeCvVTiaRJaRPRDOv8UMs6U4SvKc6pnrIDOoSYI3fdA==\n"
    "-----END PUBLIC KEY-----\n";
constexpr const char* kDsseSignature =
    "3044022003726ab101ad56c2763b6c6aac8e487275e2a79193a09dc5f859d9f8ef3c4a3b"
    "022051eab0c06a369b64a7222537d4887a893dc200ae21060074d57825235b624864";
// Keys of other kinds: valid PEM, not for us.
constexpr const char* kP384Pem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAErhe+xXAVwUVK1ajOeFcHMapu3kGKAaW3\n"
    "tNQcsLS/J5oObVZoujv257/WSOj3+teOz1+xCWBZAbSwzI3kXRKB34+qAITNcRIz\n"
    "IS05zr6pZjuows3jyznd+Co+TW09kZDt\n"
    "-----END PUBLIC KEY-----\n";
constexpr const char* kEd25519Pem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "-----END PUBLIC KEY-----\n";

TEST(P256, VerifiesTheDsseVector) {
  const auto key = P256PublicKey::from_pem(kDsseKey);
  ASSERT_TRUE(key) << key.error().message;
  const std::string message = dsse_pae("http://example.com/HelloWorld", "hello world");
  EXPECT_TRUE(key->verify(message, *hex_decode(kDsseSignature)));
  EXPECT_FALSE(key->verify(message + " ", *hex_decode(kDsseSignature)));
  EXPECT_EQ(key->pem(), kDsseKey);
}

TEST(P256, SignsWhatItVerifiesThroughEveryForm) {
  const P256SecretKey secret = P256SecretKey::generate();
  const auto reread = P256SecretKey::from_pem(secret.pem().view());
  ASSERT_TRUE(reread) << reread.error().message;
  EXPECT_TRUE(secret.pem().view().starts_with("-----BEGIN PRIVATE KEY-----\n"));
  EXPECT_EQ(secret.pem().view().find("-----BEGIN EC"), std::string_view::npos);
  const auto by_pem = P256PublicKey::from_pem(secret.public_key().pem());
  const auto by_der = P256PublicKey::from_der(secret.public_key().der());
  ASSERT_TRUE(by_pem && by_der);
  const Bytes signature = reread->sign("message");
  EXPECT_TRUE(by_pem->verify("message", signature));
  EXPECT_TRUE(by_der->verify("message", signature));
  EXPECT_FALSE(P256SecretKey::generate().public_key().verify("message", signature));
}

TEST(P256, RefusesEveryFlippedBitAndLooseDer) {
  const auto key = P256PublicKey::from_pem(kDsseKey);
  const std::string message = dsse_pae("http://example.com/HelloWorld", "hello world");
  Bytes signature = *hex_decode(kDsseSignature);
  for (std::size_t bit = 0; bit < signature.size() * 8; ++bit) {
    signature[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(key->verify(message, signature)) << bit;
    signature[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
  }
  Bytes longer = signature;
  longer.push_back(0);
  EXPECT_FALSE(key->verify(message, longer));
  EXPECT_FALSE(key->verify(message, std::span(signature).first(40)));
  EXPECT_FALSE(key->verify(message, {}));
}

TEST(P256, RefusesOtherKeys) {
  const std::string pem = kDsseKey;
  const auto code = [](std::string_view text) {
    const auto key = P256PublicKey::from_pem(text);
    return key ? std::string("accepted") : key.error().code;
  };
  EXPECT_EQ(code(""), "p256_key_invalid");
  EXPECT_EQ(code("hello"), "p256_key_invalid");
  EXPECT_EQ(code(kEd25519Pem), "p256_key_invalid");
  EXPECT_EQ(code(kP384Pem), "p256_key_invalid");
  EXPECT_EQ(code(pem + pem), "p256_key_invalid");
  EXPECT_EQ(code("text before\n" + pem), "p256_key_invalid");
  EXPECT_EQ(code(std::string(9000, 'x')), "p256_key_too_large");
  std::string off_curve = pem;
  off_curve[off_curve.find("fdA==") - 1] ^= 1;
  EXPECT_EQ(code(off_curve), "p256_key_invalid");
  EXPECT_EQ(P256SecretKey::from_pem(pem).error().code, "p256_key_invalid");
  Bytes der = P256PublicKey::from_pem(pem)->der();
  der.push_back(0);
  EXPECT_EQ(P256PublicKey::from_der(der).error().code, "p256_key_invalid");
}

// PKCS#8 carries the public key too; one that is not the secret's own is a trap.
TEST(P256, SecretAndPublicHalfMustFit) {
  const SecretBytes pem = P256SecretKey::generate().pem();
  std::string text(pem.view());
  const std::size_t begin = text.find('\n') + 1, end = text.find("\n-----END");
  std::string body = text.substr(begin, end - begin);
  std::erase(body, '\n');
  Bytes der = *base64_decode(body);
  constexpr std::size_t kLastOfSecret = 36 + 31;
  der.at(kLastOfSecret) ^= 1;
  text = "-----BEGIN PRIVATE KEY-----\n";
  const std::string changed = base64_encode(der);
  for (std::size_t i = 0; i < changed.size(); i += 64) text += changed.substr(i, 64) + "\n";
  text += "-----END PRIVATE KEY-----\n";
  EXPECT_EQ(P256SecretKey::from_pem(text).error().code, "p256_key_invalid");
}

TEST(P256, EncryptedKeysAreNamed) {
  const char* pem =
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
      "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgCCwK5TKzGcwICCAAw\n"
      "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFNE0k8nV4htxjLbnrW5smgEgZBC\n"
      "/3zbPcrm7ftxGeSN4j11Ag0vaJ2u6HOIPtFnkQABkxLLvzrZVarhcSZTfCM0msyu\n"
      "Y3z0viUujVYDq2dh42z0EPY/mYKY8bBUdpGMzUpyjs0ygGiZlFKMvSHtwkiGJeNN\n"
      "r2NtSORZZWoQmHk0k+uIPBHhGMZXaEstxCnn4W28t3QwwzzLQLFN9XJKQPrroeA=\n"
      "-----END ENCRYPTED PRIVATE KEY-----\n";
  const auto key = P256SecretKey::from_pem(pem);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, "p256_key_encrypted");
}

}  // namespace
}  // namespace fieldprint
