#include "merkle/policy.h"

#include <gtest/gtest.h>

#include "codec/base64.h"
#include "merkle/keys.h"

namespace fieldprint {
namespace {

std::string code(const std::string& text) {
  const auto policy = Policy::parse(text);
  return policy ? "accepted" : policy.error().code;
}

// Six witnesses w1..w6 with keys of their own.
class PolicyFile : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    keys_ = new std::vector<SignerKey>;
    for (int i = 1; i <= 6; ++i) {
      keys_->push_back(new_key("witness.example/" + std::to_string(i), NoteKeyType::kCosignature));
    }
  }
  static void TearDownTestSuite() { delete keys_; }

  // "witness w1 <vkey>\n" for each number given.
  static std::string witness(std::initializer_list<int> numbers) {
    std::string text;
    for (const int n : numbers) text += "witness w" + std::to_string(n) + " " + key(n) + "\n";
    return text;
  }
  static std::string key(int n) { return signer(n).verifier().print(); }
  static const SignerKey& signer(int n) { return (*keys_)[static_cast<std::size_t>(n - 1)]; }

  static std::vector<VerifiedSignature> cosigned(std::initializer_list<int> numbers) {
    std::vector<VerifiedSignature> signatures;
    for (const int n : numbers) signatures.push_back({signer(n).verifier(), 1, 0});
    return signatures;
  }

  static std::vector<SignerKey>* keys_;
};
std::vector<SignerKey>* PolicyFile::keys_ = nullptr;

TEST_F(PolicyFile, TheExampleOfTheSpecification) {
  const std::string text = std::string("log ") + kLogVkey + "\n\n" + witness({1, 2, 3}) +
                           "group X-witnesses 2 w1 w2 w3\n\n" + witness({4, 5, 6}) +
                           "group Y-witnesses any w4 w5 w6\n\n"
                           "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n";
  const auto policy = Policy::parse(text);
  ASSERT_TRUE(policy) << policy.error().message;
  EXPECT_EQ(policy->logs().size(), 1U);
  EXPECT_EQ(policy->witnesses().size(), 6U);
  EXPECT_TRUE(policy->quorum_met(cosigned({1, 3, 5})));
  EXPECT_TRUE(policy->quorum_met(cosigned({1, 2, 3, 4, 5, 6})));
  EXPECT_FALSE(policy->quorum_met(cosigned({1, 3})));
  EXPECT_FALSE(policy->quorum_met(cosigned({1, 4, 5, 6})));
  EXPECT_FALSE(policy->quorum_met(cosigned({1, 1, 1, 4})));
  EXPECT_FALSE(policy->quorum_met({}));
  const SignerKey stranger = new_key("witness.example/9", NoteKeyType::kCosignature);
  std::vector<VerifiedSignature> two = cosigned({1, 4});
  two.push_back({stranger.verifier(), 1, 0});
  EXPECT_FALSE(policy->quorum_met(two));
}

TEST_F(PolicyFile, LooseFormsThatAreLegal) {
  EXPECT_EQ(code("quorum none\n"), "accepted");
  EXPECT_EQ(code("\n# note \xC3\xA4\n \t # more\n\twitness \t w1  " + key(1) +
                 "   https://w1.example/  \n\n  quorum\tw1 \n"),
            "accepted");
  EXPECT_EQ(code("witness K\x80 " + key(1) + "\nquorum K\x80\n"), "accepted");
  EXPECT_EQ(code("witness all " + key(1) + "\nwitness any " + key(2) +
                 "\ngroup group 2 all any\nquorum group\n"),
            "accepted");
  EXPECT_EQ(code("quorum none\n" + witness({1})), "accepted");
  const auto after = Policy::parse(witness({1}) + "quorum w1\n" + witness({2}));
  ASSERT_TRUE(after);
  EXPECT_TRUE(after->quorum_met(cosigned({1})));
  EXPECT_FALSE(after->quorum_met(cosigned({2})));
  const auto none = Policy::parse("quorum none\n" + witness({2}));
  EXPECT_TRUE(none->quorum_met({}));
  EXPECT_EQ(Policy::parse("log " + std::string(kLogVkey) + " https://l.example/\nquorum none\n")
                ->logs()[0]
                .url,
            "https://l.example/");
}

TEST_F(PolicyFile, Refused) {
  const std::string log = std::string("log ") + kLogVkey + "\n";
  for (const std::string& text :
       {std::string(),
        std::string("\n"),
        witness({1}),
        std::string("quorum none"),
        std::string("quorum\n"),
        std::string("quorum none none\n"),
        std::string("quorum w1\n"),
        "quorum w1\n" + witness({1}),
        witness({1}) + "quorum w1\nquorum w1\n",
        std::string("quibble w1\nquorum none\n"),
        std::string("LOG x\nquorum none\n"),
        std::string("log\nquorum none\n"),
        log + log + "quorum none\n",
        witness({1}) + "witness w2 " + key(1) + "\nquorum none\n",
        witness({1}) + "witness w1 " + key(2) + "\nquorum none\n",
        std::string("witness w1\nquorum none\n"),
        "witness none " + key(1) + "\nquorum none\n",
        std::string("witness w1 ") + kLogVkey + "\nquorum none\n",
        "witness w1 " + key(1) + " https://w1.example/ # comment\nquorum w1\n",
        witness({1}) + "group g 1\nquorum none\n",
        witness({1}) + "group g 0 w1\nquorum none\n",
        witness({1}) + "group g 2 w1\nquorum none\n",
        witness({1}) + "group g -1 w1\nquorum none\n",
        witness({1}) + "group g 01 w1\nquorum none\n",
        witness({1}) + "group g some w1\nquorum none\n",
        witness({1}) + "group g any w2\nquorum none\n",
        witness({1}) + "group g any none\nquorum none\n",
        witness({1}) + "group g any g\nquorum none\n",
        witness({1}) + "group w1 any w1\nquorum none\n",
        witness({1}) + "group none any w1\nquorum none\n",
        "group g any w1\n" + witness({1}) + "quorum g\n",
        witness({1}) + "group g all w1 w1\nquorum g\n",
        witness({1, 2}) + "group g any w1 w2\ngroup h any w1\nquorum g\n",
        std::string("quorum none\r\n"),
        std::string("quorum none\n\x01\n"),
        std::string("quorum none\n# \x7F\n")}) {
    EXPECT_EQ(code(text), "policy_invalid") << text;
  }
  EXPECT_EQ(code("log garbage\nquorum none\n"), "vkey_invalid");
  EXPECT_EQ(code("# " + std::string(70000, 'x') + "\nquorum none\n"), "policy_too_large");
  std::vector<std::uint8_t> ml_dsa(1313, 1);
  ml_dsa[0] = 0x06;
  EXPECT_EQ(code("witness w a+00000000+" + base64_encode(ml_dsa) + "\nquorum none\n"),
            "vkey_unsupported");
}

TEST_F(PolicyFile, ErrorsNameTheLine) {
  EXPECT_NE(Policy::parse("# one\n\nquibble\n").error().message.find("line 3"), std::string::npos);
  EXPECT_NE(Policy::parse("\nlog x\n").error().message.find("line 2"), std::string::npos);
}

TEST_F(PolicyFile, OpensCheckpoints) {
  const std::string log = std::string("log ") + kLogVkey + "\n";
  const std::string w = std::string("witness w ") + kWitnessVkey + "\nquorum w\n";
  const auto open = [](const std::string& policy, const std::string& checkpoint) {
    const auto opened = Policy::parse(policy)->open(checkpoint);
    return opened ? "accepted" : opened.error().code;
  };
  EXPECT_EQ(open(log + w, cosigned_checkpoint()), "accepted");
  EXPECT_EQ(open(log + w, signed_checkpoint()), "policy_quorum");
  EXPECT_EQ(open(w, cosigned_checkpoint()), "policy_no_log");
  EXPECT_EQ(open(log + w, "example.com/other" + cosigned_checkpoint().substr(15)), "policy_no_log");
  EXPECT_EQ(open(log + w, std::string(kBody) + "\n" + kWitnessLine), "checkpoint_unsigned");
  std::string broken = cosigned_checkpoint();
  broken[broken.size() - 10] ^= 1;
  EXPECT_NE(open(log + w, broken), "accepted");
  EXPECT_EQ(open(log + "quorum none\n", signed_checkpoint()), "accepted");
}

TEST_F(PolicyFile, ThirtyTwoOfEachAndManyMore) {
  std::string text, members;
  for (int i = 0; i < 256; ++i) {
    const std::string n = std::to_string(i);
    const SignerKey log = new_key("l" + n, NoteKeyType::kEd25519);
    const SignerKey witness = new_key("w" + n, NoteKeyType::kCosignature);
    text.append("log ").append(log.verifier().print());
    text.append("\nwitness w").append(n).append(" ").append(witness.verifier().print());
    text.append("\ngroup g").append(n).append(" 1 w").append(n).append("\n");
    members.append(" g").append(n);
  }
  EXPECT_EQ(code(text + "quorum g7\n"), "accepted");
  EXPECT_EQ(code(text + "group all all" + members + "\nquorum all\n"), "policy_invalid");
}

}  // namespace
}  // namespace fieldprint
