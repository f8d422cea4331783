#include "crypto/sha256.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "codec/hex.h"

namespace fieldprint {
namespace {

std::string hex_of(std::string_view text) { return hex_encode(sha256(text)); }

// FIPS 180-2 appendix B and the NIST example values.
TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(hex_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(digest_string(sha256("abc")),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, TextsOfDigestsAreReadBackAndNothingElseIs) {
  const Digest256 digest = sha256("abc");
  const std::string text = digest_string(digest);
  EXPECT_EQ(parse_digest(text), digest);
  for (const std::string& other : {std::string(), text.substr(7), text + "0", text.substr(0, 70),
                                   "SHA256:" + text.substr(7), text.substr(0, 70) + "G"}) {
    EXPECT_EQ(parse_digest(other), std::nullopt) << other;
  }
}

TEST(Sha256, PiecesEqualTheWholeAndFinishStartsOver) {
  Sha256 hash;
  hash.update("a").update("").update("bc");
  EXPECT_EQ(hash.finish(), sha256("abc"));
  EXPECT_EQ(hash.finish(), sha256(""));
}

TEST(Sha256, IntegersAreLittleEndian) {
  EXPECT_EQ(Sha256().update_u32(0x04030201U).finish(), sha256("\x01\x02\x03\x04"));
  EXPECT_EQ(Sha256().update_u64(0x0807060504030201ULL).finish(),
            sha256("\x01\x02\x03\x04\x05\x06\x07\x08"));
}

class Sha256File : public ::testing::Test {
 protected:
  std::string path_ = ::testing::TempDir() + "sha256_file_test_" +
                      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  void write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(Sha256File, HashesInPiecesAndReportsProgress) {
  const std::string bytes(2 * 1048576 + 17, 'x');
  write(bytes);
  std::uint64_t last = 0;
  int calls = 0;
  const auto digest = sha256_file(path_, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_EQ(total, bytes.size());
    last = done;
    ++calls;
    return true;
  });
  ASSERT_TRUE(digest);
  EXPECT_EQ(*digest, sha256(bytes));
  EXPECT_EQ(last, bytes.size());
  EXPECT_EQ(calls, 3);
}

TEST_F(Sha256File, EmptyFileAndStop) {
  write("");
  EXPECT_EQ(*sha256_file(path_), sha256(""));
  const auto stopped = sha256_file(path_, [](std::uint64_t, std::uint64_t) { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, "cancelled");
}

TEST_F(Sha256File, NamesWhatIsWrong) {
  EXPECT_EQ(sha256_file(path_).error().code, "io_open");
  EXPECT_EQ(sha256_file(::testing::TempDir()).error().code, "io_not_a_file");
}

}  // namespace
}  // namespace fieldprint
