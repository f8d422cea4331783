#include "crypto/ed25519.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "codec/hex.h"

namespace fieldprint {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct Vector {
  const char *seed, *key, *message, *signature;
};

// RFC 8032 section 7.1, TEST 1, 2, 3 and SHA(abc).
constexpr Vector kVectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
     "b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
     "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
     "c6594a7c15e9716ed28dc027beceea1ec40a"},
    {"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
     "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3fe"
     "ebbd454d4423643ce80e2a9ac94fa54ca49f",
     "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431"
     "e0303dca179c138ac17ad9bef1177331a704"}};

Ed25519PublicKey key_of(const char* hex) {
  const Bytes bytes = *hex_decode(hex);
  Ed25519PublicKey key{};
  std::copy(bytes.begin(), bytes.end(), key.begin());
  return key;
}

TEST(Ed25519, Rfc8032Vectors) {
  for (const Vector& vector : kVectors) {
    const auto secret = Ed25519SecretKey::from_seed(*hex_decode(vector.seed));
    ASSERT_TRUE(secret);
    EXPECT_EQ(hex_encode(secret->public_key()), vector.key);
    const Bytes message = *hex_decode(vector.message);
    EXPECT_EQ(hex_encode(secret->sign(message)), vector.signature);
    EXPECT_TRUE(ed25519_verify(key_of(vector.key), message, *hex_decode(vector.signature)));
    EXPECT_EQ(hex_encode(secret->seed().span()), vector.seed);
  }
}

TEST(Ed25519, RefusesEveryFlippedBit) {
  const Vector& vector = kVectors[1];
  const Ed25519PublicKey key = key_of(vector.key);
  const Bytes message = *hex_decode(vector.message);
  Bytes signature = *hex_decode(vector.signature);
  for (std::size_t bit = 0; bit < signature.size() * 8; ++bit) {
    signature[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(ed25519_verify(key, message, signature)) << bit;
    signature[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
  }
  EXPECT_TRUE(ed25519_verify(key, message, signature));
  signature.push_back(0);
  EXPECT_FALSE(ed25519_verify(key, message, signature));
  EXPECT_FALSE(ed25519_verify(key, message, std::span(signature).first(63)));
  EXPECT_FALSE(ed25519_verify(key, message, {}));
}

// S + L is the same scalar in another spelling (RFC 8032 section 5.1.7 asks for S < L).
TEST(Ed25519, RefusesTheOtherSpellingOfAScalar) {
  Bytes signature = *hex_decode(kVectors[1].signature);
  Bytes order = *hex_decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  unsigned carry = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    carry += signature[32 + i] + order[i];
    signature[32 + i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  ASSERT_EQ(carry, 0U);
  EXPECT_FALSE(
      ed25519_verify(key_of(kVectors[1].key), *hex_decode(kVectors[1].message), signature));
}

// With a key of order 1, (R = identity, S = 0) would sign everything.
TEST(Ed25519, RefusesKeysOfSmallOrder) {
  const Ed25519PublicKey identity = {1};
  std::array<std::uint8_t, 64> signature = {1};
  EXPECT_FALSE(ed25519_verify(identity, "anything", signature));
}

TEST(Ed25519, GeneratedKeysDifferAndWork) {
  const Ed25519SecretKey a = Ed25519SecretKey::generate(), b = Ed25519SecretKey::generate();
  EXPECT_NE(a.public_key(), b.public_key());
  EXPECT_TRUE(ed25519_verify(a.public_key(), "text", a.sign("text")));
  EXPECT_FALSE(ed25519_verify(b.public_key(), "text", a.sign("text")));
  EXPECT_FALSE(ed25519_verify(a.public_key(), "test", a.sign("text")));
}

TEST(Ed25519, SeedsHave32Bytes) {
  EXPECT_EQ(Ed25519SecretKey::from_seed(Bytes(31)).error().code, "ed25519_seed_invalid");
  EXPECT_EQ(Ed25519SecretKey::from_seed(Bytes(64)).error().code, "ed25519_seed_invalid");
}

}  // namespace
}  // namespace fieldprint
