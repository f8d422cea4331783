#include "merkle/witness_protocol.h"

#include <gtest/gtest.h>

#include "merkle/keys.h"
#include "merkle/note.h"

namespace fieldprint {
namespace {

constexpr const char* kHash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";

std::string code(const std::string& body) {
  const auto request = parse_add_checkpoint(body);
  return request ? "accepted" : request.error().code;
}

TEST(AddCheckpoint, ReadsAndPrints) {
  const std::string body =
      "old 20852014\n" + std::string(kHash) + kHash + "\n" + signed_checkpoint();
  const auto request = parse_add_checkpoint(body);
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->old_size, 20852014U);
  EXPECT_EQ(request->proof.size(), 2U);
  EXPECT_EQ(request->checkpoint, signed_checkpoint());
  EXPECT_EQ(print_add_checkpoint(*request), body);
  EXPECT_EQ(parse_add_checkpoint("old 0\n\n" + signed_checkpoint())->old_size, 0U);
}

TEST(AddCheckpoint, Refused) {
  const std::string hash = kHash, rest = "\n" + signed_checkpoint();
  for (const std::string& body :
       {std::string(), std::string("old 1"), "old 01\n" + rest, "old\n" + rest, "old  1\n" + rest,
        "old -1\n" + rest, "Old 1\n" + rest, "old 1\n" + hash,
        ("old 1\n" + hash).append("x\n").append(rest), "old 1\n" + hash.substr(1) + rest,
        std::string("old 1\n\n"), "old 9223372036854775808\n" + rest, "old 1 \n" + rest,
        "old 1\r\n" + rest}) {
    EXPECT_EQ(code(body), "witness_request_invalid") << body;
  }
  std::string many = "old 1\n";
  for (int i = 0; i < 63; ++i) many += hash;
  EXPECT_EQ(code(many + rest), "accepted");
  EXPECT_EQ(code(many + hash + rest), "witness_request_invalid");
  EXPECT_EQ(code(std::string(kMaxNoteBytes + 1, 'x')), "note_too_large");
}

TEST(TlogSize, ReadsAndPrints) {
  EXPECT_EQ(print_tlog_size(0), "0\n");
  EXPECT_EQ(*parse_tlog_size("20852014\n"), 20852014U);
  for (const char* body : {"", "\n", "1", "01\n", "1\n\n", "1\n2\n", " 1\n", "x\n"}) {
    EXPECT_EQ(parse_tlog_size(body).error().code, "witness_response_invalid") << body;
  }
}

}  // namespace
}  // namespace fieldprint
