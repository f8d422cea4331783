#include "supervisor/chain.h"

#include <fstream>
#include <sstream>

#include "codec/hex.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

std::span<const std::uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Tokens 0..31, a gap of three, tokens 35..39: the chain of the format page.
std::vector<Segment> vector_chain() {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  auto chain = must(FingerprintChain::create(vector_binding()));
  for (int t = 0; t < 40; ++t) {
    if (t == 32) chain.skip(3);
    if (t >= 32 && t < 35) continue;
    chain.add(t, must(fingerprinter.fingerprint(vector_state(t))));
  }
  chain.flush();
  return chain.take_complete();
}

TEST(ChainTest, GivesTheVectorsOfTheFormatPage) {
  std::ifstream in(FP_SOURCE_DIR "/docs/formats/fingerprint.md");
  std::stringstream page;
  page << in.rdbuf();
  const auto segments = vector_chain();
  ASSERT_EQ(segments.size(), 2U);
  const std::string lines[] = {
      "genesis: " + hex_encode(chain_genesis(vector_binding())),
      "head after segment 0: " + hex_encode(segments[0].digest),
      "segment 1: " + hex_encode(as_bytes(print_segments(std::span(segments).last(1))))};
  for (const std::string& line : lines) {
    EXPECT_NE(page.str().find(line + "\n"), std::string::npos) << line;
  }
}

TEST(ChainTest, IsReadBackWhole) {
  const auto segments = vector_chain();
  const std::string stored = print_segments(segments);
  const auto again = must(parse_segments(as_bytes(stored)));
  EXPECT_EQ(print_segments(again), stored);
  EXPECT_TRUE(check_chain(vector_binding(), again));
  EXPECT_TRUE(must(parse_segments({})).empty());
}

TEST(ChainTest, EveryFlippedBitAndEveryCutIsNoticed) {
  const std::string stored = print_segments(vector_chain());
  for (std::size_t bit = 0; bit < stored.size() * 8; ++bit) {
    std::string bad = stored;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    const auto parsed = parse_segments(as_bytes(bad));
    EXPECT_FALSE(parsed && check_chain(vector_binding(), *parsed)) << "bit " << bit;
  }
  const std::size_t first_size = print_segments(std::vector{vector_chain()[0]}).size();
  for (std::size_t size = 1; size < stored.size(); ++size) {
    const auto parsed = parse_segments(as_bytes(stored.substr(0, size)));
    EXPECT_EQ(parsed.has_value(), size == first_size) << size;
  }
}

TEST(ChainTest, IsBoundToAllThatItBelongsTo) {
  const auto segments = vector_chain();
  ChainBinding other = vector_binding();
  other.response_id = "resp_2";
  EXPECT_FALSE(check_chain(other, segments));
  for (auto member : {&ChainBinding::model_digest, &ChainBinding::recipe_digest,
                      &ChainBinding::anchor_digest, &ChainBinding::salt}) {
    other = vector_binding();
    (other.*member)[31] ^= 1;
    const Status checked = check_chain(other, segments);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, "fingerprint_chain_broken");
  }
  other = vector_binding();
  other.numeric_profile = "invariant/tesu";
  EXPECT_FALSE(check_chain(other, segments));
}

TEST(ChainTest, MissingSwappedAndForeignSegmentsBreakIt) {
  const auto segments = vector_chain();
  EXPECT_TRUE(check_chain(vector_binding(), std::span(segments).first(1)));  // a prefix is valid
  EXPECT_FALSE(check_chain(vector_binding(), std::span(segments).last(1)));
  EXPECT_FALSE(check_chain(vector_binding(), std::vector{segments[1], segments[0]}));
  EXPECT_FALSE(check_chain(vector_binding(), std::vector{segments[0], segments[0]}));
}

TEST(ChainTest, RollbackStartsAGenerationAndKeepsWhatWasDropped) {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  auto chain = must(FingerprintChain::create(vector_binding()));
  for (int t = 0; t < 40; ++t) chain.add(t, must(fingerprinter.fingerprint(vector_state(t))));
  chain.rollback(16);
  EXPECT_EQ(chain.next_token(), 16U);
  for (int t = 16; t < 20; ++t) chain.add(t, must(fingerprinter.fingerprint(vector_state(t))));
  chain.skip(2);
  chain.flush();
  const auto segments = chain.take_complete();
  ASSERT_EQ(segments.size(), 4U);
  EXPECT_EQ(segments[1].generation, 0U);
  EXPECT_EQ(segments[2].generation, 1U);
  EXPECT_EQ(segments[2].first_token, 16U);
  EXPECT_EQ(segments[3].records.size(), 0U);
  EXPECT_EQ(segments[3].gap_before, 2U);
  EXPECT_EQ(segments[3].first_token, 22U);
  EXPECT_TRUE(check_chain(vector_binding(), segments));
  EXPECT_EQ(print_segments(must(parse_segments(as_bytes(print_segments(segments))))),
            print_segments(segments));
  EXPECT_EQ(chain.head(), segments[3].digest);
}

// A prover can give any segment a fitting digest; places that do not follow are refused all the
// same.
TEST(ChainTest, PlacesAndGenerationsMustFollow) {
  const auto honest = vector_chain();
  const auto accepts = [&](auto change) {
    std::vector<Segment> forged = honest;
    change(forged[1]);
    const std::string stored = print_segments(std::span(forged).last(1));
    const std::string body = stored.substr(0, stored.size() - 32);
    forged[1].digest = Sha256().update("fieldprint/fingerprint-segment/v1\n").update(body).finish();
    return check_chain(vector_binding(), forged).has_value();
  };
  EXPECT_TRUE(accepts([](Segment&) {}));
  EXPECT_TRUE(accepts([](Segment& s) { s.first_token = 36, s.gap_before = 4; }));
  EXPECT_FALSE(accepts([](Segment& s) { s.first_token = 36; }));
  EXPECT_FALSE(accepts([](Segment& s) { s.gap_before = 2; }));
  EXPECT_FALSE(accepts([](Segment& s) { s.index = 2; }));
  EXPECT_FALSE(accepts([](Segment& s) { s.first_token = 2, s.gap_before = 3; }));
  const auto restart = [](std::uint64_t first) {
    return [first](Segment& s) { s.generation = 1, s.gap_before = 0, s.first_token = first; };
  };
  EXPECT_TRUE(accepts(restart(20)));
  EXPECT_TRUE(accepts(restart(32)));
  EXPECT_FALSE(accepts(restart(33)));  // a rollback cannot jump forward
}

TEST(ChainTest, RefusesBindingsWithoutNames) {
  ChainBinding binding = vector_binding();
  binding.response_id.clear();
  EXPECT_EQ(FingerprintChain::create(binding).error().code, "fingerprint_binding_invalid");
  binding = vector_binding();
  binding.numeric_profile.assign(513, 'x');
  EXPECT_EQ(FingerprintChain::create(binding).error().code, "fingerprint_binding_invalid");
}

}  // namespace
}  // namespace fieldprint::test
