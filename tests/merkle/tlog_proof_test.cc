#include "merkle/tlog_proof.h"

#include <gtest/gtest.h>

#include "merkle/keys.h"
#include "merkle/proof_builder.h"
#include "merkle/trees.h"

namespace fieldprint {
namespace {

const std::string kFirst = "c2sp.org/tlog-proof@v1\n";
const std::string kHash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";

std::string code(const std::string& text) {
  const auto proof = tlog_proof_parse(text);
  return proof ? "accepted" : proof.error().code;
}

Policy policy_of(const std::string& text) { return *Policy::parse(text); }

TEST(TlogProof, ReadsAndPrints) {
  const std::string text = kFirst + "extra AAEC\nindex 73894\n" + kHash + kHash + "\ncheckpoint\n";
  const auto proof = tlog_proof_parse(text);
  ASSERT_TRUE(proof) << proof.error().message;
  EXPECT_EQ(proof->untrusted_extra, std::string("\0\1\2", 3));
  EXPECT_EQ(proof->index, 73894U);
  EXPECT_EQ(proof->hashes.size(), 2U);
  EXPECT_EQ(proof->checkpoint, "checkpoint\n");
  EXPECT_EQ(tlog_proof_print(*proof), text);
  const std::string small = kFirst + "index 0\n\nc\n";
  EXPECT_EQ(tlog_proof_print(*tlog_proof_parse(small)), small);
}

// docs/formats/tlog-proof.md; hashes computed with Python's hashlib.
TEST(TlogProof, KnownProof) {
  MemoryTree tree;
  for (const std::string& entry : ct_leaves()) tree.append(entry);
  const TlogProof proof{std::nullopt, 5, *make_inclusion_proof(5, 8, tree), cosigned_checkpoint()};
  EXPECT_EQ(tlog_proof_print(proof),
            kFirst + "index 5\n" + "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=\n" +
                "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=\n" +
                "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=\n\n" + cosigned_checkpoint());
}

TEST(TlogProof, Refused) {
  const std::string hash = kHash;
  for (const std::string& text :
       {std::string(), kFirst, kFirst + "index 0\n", kFirst + "index 0\n\n",
        std::string("c2sp.org/tlog-proof@v2\nindex 0\n\nc\n"), kFirst + "\nindex 0\n\nc\n",
        kFirst + "index -5\n\nc\n", kFirst + "index 05\n\nc\n", kFirst + "index\n\nc\n",
        kFirst + "index 0\nextra AAEC\n\nc\n", kFirst + "extra !!\nindex 0\n\nc\n",
        kFirst + "extra \nindex 0\n\nc\n", kFirst + "extra AAEC\nextra AAEC\nindex 0\n\nc\n",
        kFirst + "index 0\nAAAA\n\nc\n", kFirst + "index 0\n" + hash.substr(0, 40) + "\n\nc\n"}) {
    EXPECT_EQ(code(text), "tlog_proof_invalid") << text;
  }
  std::string many = kFirst + "index 0\n";
  for (int i = 0; i < 64; ++i) many += hash;
  EXPECT_EQ(code(many + "\nc\n"), "tlog_proof_invalid");
  EXPECT_EQ(code(std::string(kMaxNoteBytes + 1, 'x')), "note_too_large");
}

TEST(TlogProof, VerifiesAgainstAPolicy) {
  MemoryTree tree;
  for (const std::string& entry : ct_leaves()) tree.append(entry);
  TlogProof proof;
  proof.index = 5;
  proof.hashes = *make_inclusion_proof(5, 8, tree);
  proof.checkpoint = cosigned_checkpoint();
  const Policy open = policy_of(std::string("log ") + kLogVkey + "\nquorum none\n");
  const Policy strict =
      policy_of(std::string("log ") + kLogVkey + "\nwitness w " + kWitnessVkey + "\nquorum w\n");
  const auto read = tlog_proof_parse(tlog_proof_print(proof));
  ASSERT_TRUE(read);
  const auto verified = tlog_proof_verify(*read, leaf_hash("@ABC"), strict);
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_EQ(verified->checkpoint.size, 8U);
  EXPECT_EQ(tlog_proof_verify(*read, leaf_hash("@ABD"), strict).error().code, "proof_invalid");
  proof.index = 4;
  EXPECT_EQ(tlog_proof_verify(proof, leaf_hash("@ABC"), strict).error().code, "proof_invalid");
  proof.index = 8;
  EXPECT_EQ(tlog_proof_verify(proof, leaf_hash("@ABC"), strict).error().code, "proof_invalid");
  proof.index = 5;
  proof.checkpoint = signed_checkpoint();
  EXPECT_EQ(tlog_proof_verify(proof, leaf_hash("@ABC"), strict).error().code, "policy_quorum");
  EXPECT_TRUE(tlog_proof_verify(proof, leaf_hash("@ABC"), open));
}

}  // namespace
}  // namespace fieldprint
