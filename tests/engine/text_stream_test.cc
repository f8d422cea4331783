#include "engine/text_stream.h"

#include <gtest/gtest.h>
// gtest comes first: rapidcheck's adapter needs its types.
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "codec/utf8.h"

namespace fieldprint {
namespace {

using Pieces = std::vector<std::string>;

struct Streamed {
  Pieces deltas;
  std::string text;
  bool stopped = false;
  std::vector<TokenId> logprob_tokens;
};

// Streams `tokens`; token i carries a logprob entry with id i.
Streamed stream(const Pieces& tokens, std::vector<std::string> stops) {
  Streamed out;
  TextStream stream(std::move(stops));
  const auto take = [&](const TextPiece& piece) {
    out.deltas.push_back(piece.text);
    out.text += piece.text;
    out.stopped = piece.stopped;
    for (const TokenLogprob& entry : piece.logprobs) out.logprob_tokens.push_back(entry.token);
  };
  for (std::size_t i = 0; i < tokens.size() && !out.stopped; ++i) {
    TokenLogprob entry;
    entry.token = static_cast<TokenId>(i);
    take(stream.push(tokens[i], entry));
  }
  if (!out.stopped) take(stream.finish());
  return out;
}

TEST(TextStream, PassesPlainTextThroughAtOnce) {
  const Streamed out = stream({"Hello", ",", " world"}, {});
  EXPECT_EQ(out.deltas, (Pieces{"Hello", ",", " world", ""}));
  EXPECT_EQ(out.logprob_tokens, (std::vector<TokenId>{0, 1, 2}));
}

TEST(TextStream, HoldsAnIncompleteSequenceAndItsLogprobs) {
  TextStream stream({});
  TokenLogprob entry;
  entry.token = 7;
  TextPiece piece = stream.push("a\xE2\x82", entry);
  EXPECT_EQ(piece.text, "a");
  EXPECT_TRUE(piece.logprobs.empty());
  piece = stream.push("\xAC!", std::nullopt);
  EXPECT_EQ(piece.text, "\xE2\x82\xAC!");
  ASSERT_EQ(piece.logprobs.size(), 1U);
  EXPECT_EQ(piece.logprobs[0].token, 7);
}

TEST(TextStream, ReplacesOnlyWhatCannotBeCompleted) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(stream({"\x80"}, {}).deltas, (Pieces{r, ""}));
  EXPECT_EQ(stream({"\xE2\x82", "x"}, {}).deltas, (Pieces{"", r + "x", ""}));
  EXPECT_EQ(stream({"\xE2\x82"}, {}).deltas, (Pieces{"", r}));
  EXPECT_EQ(stream({"\xED\xA0\x80"}, {}).text, r + r + r);  // a surrogate
  EXPECT_EQ(stream({"\xC0\xAF"}, {}).text, r + r);          // overlong
  EXPECT_EQ(stream({"\xF4\x90\x80\x80"}, {}).text, r + r + r + r);
  EXPECT_EQ(stream({"\xF0\x9F", "\x98", "\x80"}, {}).deltas,
            (Pieces{"", "", "\xF0\x9F\x98\x80", ""}));
}

TEST(TextStream, RemovesAStopStringSplitOverTokens) {
  const Streamed out = stream({"abc", "\n", "Us", "er", ": hi"}, {"\nUser:"});
  EXPECT_EQ(out.deltas, (Pieces{"abc", "", "", "", ""}));
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.logprob_tokens, (std::vector<TokenId>{0}));
}

TEST(TextStream, ReleasesAFalseStart) {
  const Streamed out = stream({"a\nUs", "e", "d"}, {"\nUser:"});
  EXPECT_EQ(out.deltas, (Pieces{"a", "", "\nUsed", ""}));
  EXPECT_FALSE(out.stopped);
  EXPECT_EQ(out.logprob_tokens, (std::vector<TokenId>{0, 1, 2}));
}

TEST(TextStream, ReleasesAnUnfinishedStopStringAtTheEnd) {
  const Streamed out = stream({"a\nUs"}, {"\nUser:"});
  EXPECT_EQ(out.deltas, (Pieces{"a", "\nUs"}));
}

TEST(TextStream, OverlappingStartsAreFound) {
  EXPECT_EQ(stream({"a", "a", "a", "b"}, {"aab"}).text, "a");
  EXPECT_EQ(stream({"aabaabaaa"}, {"aabaaa"}).text, "aab");
}

TEST(TextStream, TheFirstCompleteStopWinsAndTheLongestOfThose) {
  EXPECT_EQ(stream({"xabcd"}, {"abcd", "bc"}).text, "xa");
  EXPECT_EQ(stream({"xabc"}, {"bc", "abc"}).text, "x");
}

TEST(TextStream, StopStringsMayBeMultibyteAndSplitInsideACharacter) {
  const Streamed out = stream({"ok\xE3", "\x80", "\x82z"}, {"\xE3\x80\x82"});
  EXPECT_EQ(out.text, "ok");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.logprob_tokens, (std::vector<TokenId>{0}));
}

TEST(TextStream, ATokenWithoutBytesKeepsItsLogprob) {
  const Streamed out = stream({"a", "", "b"}, {});
  EXPECT_EQ(out.logprob_tokens, (std::vector<TokenId>{0, 1, 2}));
}

// What the whole text gives, decided without streaming.
std::string reference(const std::string& bytes, const std::vector<std::string>& stops) {
  std::string text;
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    text += step.state == Utf8State::kComplete ? std::string(rest.substr(0, step.size))
                                               : std::string("\xEF\xBF\xBD");
    rest.remove_prefix(step.size);
  }
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

// Few letters, so that stop strings and broken sequences are frequent.
rc::Gen<std::string> bytes_gen(int most) {
  return rc::gen::resize(most, rc::gen::container<std::string>(
                                   rc::gen::element('a', 'b', '\xE2', '\x82', '\xAC', '\xC3')));
}

RC_GTEST_PROP(TextStreamProperty, CutsDoNotMatterAndDeltasAreWhole, ()) {
  const auto tokens = *rc::gen::container<Pieces>(bytes_gen(6));
  const auto stops =
      *rc::gen::resize(3, rc::gen::container<std::vector<std::string>>(rc::gen::element(
                              std::string("ab"), std::string("b\xE2\x82\xAC"), std::string("aa"),
                              std::string("abab"), std::string("\xE2\x82\xAC"))));
  std::string bytes;
  for (const std::string& token : tokens) bytes += token;
  const Streamed out = stream(tokens, stops);
  RC_ASSERT(out.text == reference(bytes, stops));
  for (const std::string& delta : out.deltas) RC_ASSERT(utf8_valid(delta));
  for (std::size_t i = 0; i < out.logprob_tokens.size(); ++i) {
    RC_ASSERT(out.logprob_tokens[i] == static_cast<TokenId>(i));
  }
  if (!out.stopped) RC_ASSERT(out.logprob_tokens.size() == tokens.size());
}

}  // namespace
}  // namespace fieldprint
