#include "crypto/note_key.h"

#include <gtest/gtest.h>

#include "codec/base64.h"
#include "codec/hex.h"
#include "crypto/key_file.h"

namespace fieldprint {
namespace {

// The keys of RFC 8032 TEST 1 and 2 under two names; texts and ids were computed by an
// independent program (Go's crypto/ed25519 and sumdb/note).
constexpr const char* kLogVkey =
    "example.com/log+cc714670+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
constexpr const char* kLogSecret =
    "PRIVATE+KEY+example.com/log+cc714670+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
constexpr const char* kWitnessVkey =
    "witness.example.com/w1+e8498172+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM";
constexpr const char* kWitnessSecret =
    "PRIVATE+KEY+witness.example.com/w1+e8498172+BEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7";

TEST(NoteKey, KnownKeysReadAndPrint) {
  const auto log = VerifierKey::parse(kLogVkey);
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->name(), "example.com/log");
  EXPECT_EQ(log->type(), NoteKeyType::kEd25519);
  EXPECT_EQ(log->id(), 0xcc714670U);
  EXPECT_EQ(log->print(), kLogVkey);
  EXPECT_EQ(log->id_text(), "example.com/log+cc714670");
  const auto signer = SignerKey::parse(std::string(kLogSecret) + "\n");
  ASSERT_TRUE(signer) << signer.error().message;
  EXPECT_EQ(signer->verifier(), *log);
  EXPECT_EQ(signer->print().view(), kLogSecret);
  const auto witness = SignerKey::parse(kWitnessSecret);
  ASSERT_TRUE(witness) << witness.error().message;
  EXPECT_EQ(witness->verifier().print(), kWitnessVkey);
  EXPECT_EQ(witness->verifier().type(), NoteKeyType::kCosignature);
}

// Keys that others have published: a witness of the public network, and Go's own test key.
TEST(NoteKey, KeysOfOthers) {
  const std::pair<const char*, NoteKeyType> keys[] = {
      {"remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
       NoteKeyType::kCosignature},
      {"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
       NoteKeyType::kEd25519}};
  for (const auto& [text, type] : keys) {
    const auto key = VerifierKey::parse(text);
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_EQ(key->type(), type);
    EXPECT_EQ(key->print(), text);
  }
}

TEST(NoteKey, NoPieceAndNoChangeOfAPublicKeyIsAKey) {
  const std::string vkey = kLogVkey;
  for (std::size_t begin = 0; begin <= vkey.size(); ++begin) {
    for (std::size_t end = begin; end <= vkey.size(); ++end) {
      if (begin == 0 && end == vkey.size()) continue;
      EXPECT_FALSE(VerifierKey::parse(vkey.substr(begin, end - begin)));
    }
  }
  for (std::size_t i = 0; i < vkey.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = vkey;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      EXPECT_FALSE(VerifierKey::parse(changed)) << changed;
    }
  }
}

TEST(NoteKey, NoChangeOfASecretKeyIsAKeyAndErrorsDoNotQuoteIt) {
  const std::string text = kLogSecret;
  const std::string seed = text.substr(text.rfind('+') + 1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const int bit : {0, 5}) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      const auto key = SignerKey::parse(changed);
      ASSERT_FALSE(key) << i;
      EXPECT_EQ(key.error().message.find(seed.substr(4, 12)), std::string::npos);
    }
  }
  EXPECT_EQ(SignerKey::parse(kLogVkey).error().code, "signer_key_invalid");
  EXPECT_EQ(SignerKey::parse(text + "\n\n").error().code, "signer_key_invalid");
}

TEST(NoteKey, UnknownTypesAreNamed) {
  std::vector<std::uint8_t> material(1313, 7);
  material[0] = 0x06;  // ML-DSA-44 cosigner
  EXPECT_EQ(VerifierKey::parse("a+00000000+" + base64_encode(material)).error().code,
            "vkey_unsupported");
  material.resize(33);
  material[0] = 0x02;
  EXPECT_EQ(VerifierKey::parse("a+00000000+" + base64_encode(material)).error().code,
            "vkey_unsupported");
  material[0] = 0x01;
  EXPECT_EQ(VerifierKey::parse("a+00000000+" + base64_encode(material)).error().code,
            "vkey_invalid");
}

TEST(NoteKey, Names) {
  for (const char* good : {"a", "example.com/log", "sch\xC3\xB6n", "k\xE2\x80\x94k"}) {
    EXPECT_TRUE(check_key_name(good)) << good;
  }
  for (const char* bad : {"", " ", "a b", "a+b", "a\tb", "a\nb", "\xFF", "a\x7f", "a\xC2\xA0z",
                          "a\xE2\x80\xA8z", "\xE3\x80\x80", "a\xC2\x85", "\xE1\x9A\x80"}) {
    const Status status = check_key_name(bad);
    ASSERT_FALSE(status) << bad;
    EXPECT_EQ(status.error().code, "key_name_invalid");
  }
  EXPECT_TRUE(check_key_name(std::string(255, 'n')));
  EXPECT_FALSE(check_key_name(std::string(256, 'n')));
}

TEST(NoteKey, GeneratesAndLoads) {
  const auto key = SignerKey::generate("authority.example/anna", NoteKeyType::kEd25519);
  ASSERT_TRUE(key);
  EXPECT_TRUE(ed25519_verify(key->verifier().key(), "text", key->sign("text")));
  const std::string path = ::testing::TempDir() + "note_key_test.key";
  std::remove(path.c_str());
  ASSERT_TRUE(write_secret_key_file(path, key->print().view()));
  const auto loaded = SignerKey::load(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->verifier(), key->verifier());
  EXPECT_EQ(load_verifier_key(path).error().code, "vkey_invalid");
  std::remove(path.c_str());
  EXPECT_EQ(SignerKey::generate("no space", NoteKeyType::kEd25519).error().code,
            "key_name_invalid");
}

}  // namespace
}  // namespace fieldprint
