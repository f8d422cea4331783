#include "merkle/checkpoint.h"

#include <gtest/gtest.h>

#include "codec/hex.h"
#include "merkle/keys.h"

namespace fieldprint {
namespace {

constexpr const char* kRoot = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=";
constexpr const char* kEmptyRoot = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

std::string code(const std::string& body) {
  const auto checkpoint = checkpoint_parse(body);
  return checkpoint ? "accepted" : checkpoint.error().code;
}

std::string open_code(const std::string& bytes, std::vector<VerifierKey> logs,
                      std::vector<VerifierKey> witnesses = {}) {
  const auto opened = checkpoint_open(bytes, "example.com/log", logs, witnesses);
  return opened ? "accepted" : opened.error().code;
}

TEST(Checkpoint, ReadsAndPrints) {
  const auto checkpoint = checkpoint_parse(kBody);
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->origin, "example.com/log");
  EXPECT_EQ(checkpoint->size, 8U);
  EXPECT_EQ(hex_encode(checkpoint->root),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
  EXPECT_EQ(checkpoint_print(*checkpoint), kBody);
  const std::string extended = std::string(kBody) + "one\ntwo \n";
  EXPECT_EQ(checkpoint_parse(extended)->extensions, (std::vector<std::string>{"one", "two "}));
  EXPECT_EQ(checkpoint_print(*checkpoint_parse(extended)), extended);
  EXPECT_EQ(code(std::string("o\n0\n") + kEmptyRoot + "\n"), "accepted");
  EXPECT_EQ(code(std::string("o\n9223372036854775807\n") + kRoot + "\n"), "accepted");
}

TEST(Checkpoint, Refused) {
  const std::string root = kRoot;
  for (const std::string& body :
       {std::string("o\n"), std::string("o\n1\n"), "\n1\n" + root + "\n", "o\n01\n" + root + "\n",
        "o\n-1\n" + root + "\n", "o\n+1\n" + root + "\n", "o\n1 \n" + root + "\n",
        "o\n\n" + root + "\n", "o\n0x1\n" + root + "\n", "o\n9223372036854775808\n" + root + "\n",
        "o\n1\n" + root + " \n", "o\n1\n" + root.substr(1) + "\n", std::string("o\n1\nAAAA\n"),
        "o\n1\n" + root + "\n\n", "o\n1\n" + root + "\nx\n\n", "o\n0\n" + root + "\n"}) {
    EXPECT_EQ(code(body), "checkpoint_invalid") << body;
  }
  EXPECT_EQ(code("o\n1\n" + root), "note_invalid");
  EXPECT_EQ(code(""), "note_invalid");
}

TEST(Checkpoint, OpensWithTheLogsKeyOnly) {
  EXPECT_EQ(open_code(signed_checkpoint(), {vkey(kLogVkey)}), "accepted");
  EXPECT_EQ(open_code(signed_checkpoint(), {}), "note_unsigned");
  EXPECT_EQ(
      open_code(std::string(kBody) + "\n" + kWitnessLine, {vkey(kLogVkey)}, {vkey(kWitnessVkey)}),
      "checkpoint_unsigned");
  EXPECT_EQ(open_code("hello", {vkey(kLogVkey)}), "note_invalid");
  const VerifierKey keys[] = {vkey(kLogVkey)};
  EXPECT_EQ(checkpoint_open(signed_checkpoint(), "example.com/other", keys, {}).error().code,
            "checkpoint_origin");
  const SignerKey log = skey(kLogSecret);
  const std::string text = "no checkpoint\n";
  EXPECT_EQ(open_code(note_print({text, {note_sign(text, log)}}), {vkey(kLogVkey)}),
            "checkpoint_invalid");
}

TEST(Checkpoint, TellsLogAndCosignersApart) {
  const VerifierKey logs[] = {vkey(kLogVkey)}, witnesses[] = {vkey(kWitnessVkey)};
  const auto opened = checkpoint_open(cosigned_checkpoint(), "example.com/log", logs, witnesses);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->log_signatures.size(), 1U);
  ASSERT_EQ(opened->cosignatures.size(), 1U);
  EXPECT_EQ(opened->latest_time(), kWitnessTime);
  const auto plain = checkpoint_open(cosigned_checkpoint(), "example.com/log", logs, {});
  EXPECT_TRUE(plain->cosignatures.empty());
  EXPECT_EQ(plain->latest_time(), std::nullopt);
}

}  // namespace
}  // namespace fieldprint
