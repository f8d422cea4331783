// Entries of supervision: records come back with the salt only, numbers never leave their range.
#include "supervisor/segment_entry.h"

#include <fstream>
#include <limits>
#include <set>
#include <sstream>

#include "codec/base64.h"
#include "codec/hex.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

// The chain of docs/formats/fingerprint.md.
std::vector<Segment> page_chain() {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  auto chain = must(FingerprintChain::create(vector_binding()));
  for (int t = 0; t < 40; ++t) {
    if (t == 32) chain.skip(3);
    if (t >= 32 && t < 35) continue;
    chain.add(t, must(fingerprinter.fingerprint(vector_state(t))));
  }
  chain.rollback(16);
  chain.skip(2);  // a segment that only states a gap
  chain.flush();
  return chain.take_complete();
}

Entry through_the_log(Entry entry) {
  entry.time_ms = 1'800'000'000'000;
  return must(parse_entry(must(print_entry(entry))));
}

TEST(SegmentEntryTest, IsReadBackWithTheSalt) {
  const ChainBinding binding = vector_binding();
  Digest256 head = chain_genesis(binding);
  std::vector<Segment> read;
  for (const Segment& segment : page_chain()) {
    const Entry entry = through_the_log(segment_entry(binding, segment));
    read.push_back(must(read_segment_entry(entry, binding, head)));
    head = segment.digest;
  }
  EXPECT_EQ(read.size(), 3U);
  EXPECT_TRUE(check_chain(binding, read).has_value());
  EXPECT_EQ(print_segments(read), print_segments(page_chain()));
}

TEST(SegmentEntryTest, TheMaskIsThatOfTheFormatPage) {
  const Entry entry = segment_entry(vector_binding(), page_chain()[1]);
  const auto masked = must(base64_decode(*entry.body.at("fingerprints").string()));
  std::ifstream in(FP_SOURCE_DIR "/docs/formats/fingerprint.md");
  std::stringstream page;
  page << in.rdbuf();
  EXPECT_NE(page.str().find("masked records of segment 1: " + hex_encode(masked) + "\n"),
            std::string::npos);
}

TEST(SegmentEntryTest, AnotherSaltPlaceOrResponseDoesNotOpenIt) {
  const ChainBinding binding = vector_binding();
  const auto chain = page_chain();
  const Entry entry = through_the_log(segment_entry(binding, chain[1]));
  const auto refused = [&](const Entry& read, const ChainBinding& with, const Digest256& previous) {
    const auto result = read_segment_entry(read, with, previous);
    EXPECT_EQ(result ? "" : result.error().code, "segment_entry_invalid");
  };
  EXPECT_TRUE(read_segment_entry(entry, binding, chain[0].digest).has_value());
  ChainBinding other = binding;
  other.salt[31] ^= 1;
  refused(entry, other, chain[0].digest);
  other = binding;
  other.response_id = "resp_2";
  refused(entry, other, chain[0].digest);
  refused(entry, binding, chain_genesis(binding));
  Entry moved = entry;
  moved.subject = "resp_2";
  refused(moved, other, chain[0].digest);
  for (const char* field : {"index", "first_token", "gap", "generation", "tokens"}) {
    Entry changed = entry;
    changed.body.insert_or_assign(field, *entry.body.at(field).integer() + 1);
    refused(changed, binding, chain[0].digest);
    changed.body.erase(field);
    refused(changed, binding, chain[0].digest);
  }
}

// Equal records under one salt: what a leaf shows must not say that they are equal.
TEST(SegmentEntryTest, NoTwoSegmentsShareAKeystream) {
  std::set<std::string> blocks;
  std::size_t count = 0;
  for (const char* id : {"resp_1/0", "resp_1/1"}) {
    for (const std::uint32_t index : {0U, 1U}) {
      ChainBinding binding = vector_binding();
      binding.response_id = id;
      std::vector<std::uint8_t> zeros(kSegmentTokens * kFingerprintBytes, 0);
      mask_records(binding, index, zeros);
      for (std::size_t at = 0; at < zeros.size(); at += 32, ++count) {
        blocks.insert(hex_encode(std::span(zeros).subspan(at, 32)));
      }
    }
  }
  EXPECT_EQ(blocks.size(), count);
}

TEST(SegmentEntryTest, ABreachSaysWhatAndWhere) {
  SupervisedBreach breach;
  breach.response_id = "resp_1/0";
  breach.reading.first_token = 64;
  breach.reading.end_token = 96;
  breach.reading.change_token = 32;
  breach.reading.measured = true;
  breach.reading.angle = 1.25;
  breach.reading.score = 0.75;
  breach.reading.evidence = 1e150;
  breach.reading.cause = BreachCause::kDetector;
  const Entry entry = through_the_log(breach_entry(breach));
  EXPECT_EQ(*entry.body.at("detector").string(), "detector");
  EXPECT_EQ(*entry.body.at("token").integer(), 96);
  EXPECT_EQ(*entry.body.at("change_token").integer(), 32);
  EXPECT_EQ(*entry.body.at("angle_urad").integer(), 1'250'000);
  EXPECT_EQ(*entry.body.at("score_ppm").integer(), 750'000);
  EXPECT_EQ(*entry.body.at("evidence_milli").integer(), kJsonIntegerMax);
  breach.reading.measured = false;
  breach.reading.evidence = std::numeric_limits<double>::quiet_NaN();
  const Entry none = through_the_log(breach_entry(breach));
  EXPECT_FALSE(none.body.contains("angle_urad"));
  EXPECT_EQ(*none.body.at("evidence_milli").integer(), 0);
}

TEST(SegmentEntryTest, ARollbackSaysWhyHowFarAndWithWhichMass) {
  RollbackRecord record;
  record.from_token = 96;
  record.to_token = 32;
  record.released_tokens = 5;
  record.change = RollbackChange::kQuarantine;
  record.cause = BreachCause::kLimit;
  record.angle = 2.5;
  record.quarantined = KvClass::kTool;
  record.mass[static_cast<std::size_t>(KvClass::kTool)] = 0.25F;
  record.mass[static_cast<std::size_t>(KvClass::kUser)] = std::numeric_limits<float>::quiet_NaN();
  record.mass[static_cast<std::size_t>(KvClass::kReserved)] = 0.5F;
  const Entry entry = through_the_log(rollback_entry("resp_1/0", record));
  EXPECT_EQ(*entry.body.at("change").string(), "quarantine");
  EXPECT_EQ(*entry.body.at("cause").string(), "limit");
  EXPECT_EQ(*entry.body.at("quarantined").string(), "tool");
  EXPECT_EQ(*entry.body.at("mass_tool_ppm").integer(), 250'000);
  EXPECT_FALSE(entry.body.contains("mass_user_ppm"));
  EXPECT_EQ(*entry.body.at("released_tokens").integer(), 5);
  record.change = RollbackChange::kReseed;
  EXPECT_FALSE(rollback_entry("resp_1/0", record).body.contains("quarantined"));
}

}  // namespace
}  // namespace fieldprint::test
