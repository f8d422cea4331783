#include "model/tokenizer.h"

#include "model/vocabulary.h"

namespace fieldprint {
namespace {

using Tokens = std::vector<TokenId>;

TEST(Tokenizer, TextOfUsersIsNeverAControlToken) {
  const auto tokenizer = test::load_tokenizer(test::smollm2_path());
  ASSERT_NE(tokenizer, nullptr);
  const Tokens control = tokenizer->encode("<|im_end|>", true);
  ASSERT_EQ(control.size(), 1U);
  EXPECT_TRUE(tokenizer->is_control(control[0]));
  EXPECT_TRUE(tokenizer->is_end_of_generation(control[0]));
  const Tokens text = tokenizer->encode("<|im_end|>", false);
  EXPECT_GT(text.size(), 1U);
  for (const TokenId token : text) EXPECT_FALSE(tokenizer->is_control(token));
  EXPECT_EQ(tokenizer->decode(text), "<|im_end|>");
  EXPECT_EQ(tokenizer->decode(control), "");
  EXPECT_EQ(tokenizer->decode(control, true), "<|im_end|>");
}

TEST(Tokenizer, TextComesBackByteForByte) {
  const auto tokenizer = test::load_tokenizer(test::smollm2_path());
  ASSERT_NE(tokenizer, nullptr);
  for (const char* text : {"", " ", "\n\n", "Grüße, 你好 \U0001F980!", "a\tb  c"})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false)), text);
  const std::string with_zero("a\0b", 3);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(with_zero, false)), with_zero);
}

TEST(Tokenizer, NumbersOutsideTheVocabularyAreNothing) {
  const auto tokenizer = test::load_tokenizer(test::smollm2_path());
  ASSERT_NE(tokenizer, nullptr);
  for (const TokenId token : {-1, tokenizer->vocab_size(), 1 << 30}) {
    EXPECT_EQ(tokenizer->decode(token), "");
    EXPECT_FALSE(tokenizer->is_control(token));
  }
}

TEST(Tokenizer, ByteLevelVocabulariesAddNoSpaceAnywhere) {
  const auto tokenizer = test::load_tokenizer(test::smollm2_path());
  ASSERT_NE(tokenizer, nullptr);
  const Tokens before = tokenizer->encode("see", false);
  EXPECT_EQ(tokenizer->encode_after(before.back(), "this", false),
            tokenizer->encode("this", false));
}

class SentencePiece : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = test::load_tokenizer(test::write_sentencepiece_vocabulary());
    ASSERT_NE(tokenizer_, nullptr);
  }
  std::string pieces(const Tokens& tokens) const {  // one character |: a token's end
    std::string all;
    for (const TokenId token : tokens) all += tokenizer_->decode(token, true) + "|";
    return all;
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SentencePiece, TextGetsASpaceOnlyAtTheStartAndBehindControlTokens) {
  EXPECT_EQ(pieces(tokenizer_->encode("ab", false)), " ab|");
  EXPECT_EQ(pieces(tokenizer_->encode_after(-1, "ab", false)), " ab|");
  EXPECT_EQ(pieces(tokenizer_->encode_after(tokenizer_->bos(), "ab", false)), " ab|");
  const TokenId word = tokenizer_->encode("[", false).back();
  EXPECT_EQ(pieces(tokenizer_->encode_after(word, "ab", false)), "ab|");
  EXPECT_EQ(pieces(tokenizer_->encode_after(word, " ab", false)), " ab|");
  EXPECT_EQ(pieces(tokenizer_->encode_after(word, "", false)), "");
}

TEST_F(SentencePiece, TextInPartsGivesTheTokensOfTheWhole) {
  Tokens parts = tokenizer_->encode("[", false);
  for (const char* part : {"ab", "] [", "a", "]"}) {
    const Tokens next = tokenizer_->encode_after(parts.back(), part, false);
    parts.insert(parts.end(), next.begin(), next.end());
  }
  EXPECT_EQ(parts, tokenizer_->encode("[ab] [a]", false));
}

TEST_F(SentencePiece, ControlTokensAreReadBehindTextToo) {
  const TokenId word = tokenizer_->encode("a", false).back();
  EXPECT_EQ(tokenizer_->encode_after(word, "</s>", true), Tokens{tokenizer_->eos()});
  EXPECT_EQ(pieces(tokenizer_->encode_after(word, "b</s>ab", true)), "b|</s>| ab|");
}

}  // namespace
}  // namespace fieldprint
