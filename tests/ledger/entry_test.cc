// Leaves and the tree's edge: what is written is read back, and nothing else is accepted.
#include "ledger/entry.h"

#include <gtest/gtest.h>
// After gtest:
#include <rapidcheck/gtest.h>

#include "codec/hex.h"
#include "ledger/ledger_fixture.h"
#include "ledger/tree_edge.h"
#include "merkle/compact_range.h"

namespace fieldprint {
namespace {

using testing::receipt_entry;
using testing::why;

// docs/formats/ledger.md prints this leaf.
TEST(Entry, LeafOfTheFormatPage) {
  Entry entry = receipt_entry(0);
  entry.subject = "rcpt-1";
  const std::string leaf = print_entry(entry).value();
  EXPECT_EQ(leaf, R"({"body":{"receipt_digest":)"
                  R"("sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"},)"
                  R"("kind":"receipt","subject":"rcpt-1","time_ms":1800000000000,"v":1})");
  EXPECT_EQ(leaf.size(), 167U);
  EXPECT_EQ(hex_encode(leaf_hash(leaf)),
            "14ce9de0aca4d49ca2aa543b71bd7c8ea51fcba258ea89addc97d90c57693bbc");
}

TEST(Entry, KindsHaveOneNameEach) {
  for (const EntryKind kind : kEntryKinds) EXPECT_EQ(parse_kind(kind_name(kind)).value(), kind);
  EXPECT_EQ(parse_kind("Genesis").error().code, "entry_kind_unknown");
}

TEST(Entry, RefusesWhatTheTableDoesNotName) {
  const auto code = [](auto change) {
    Entry entry = receipt_entry(1);
    change(entry);
    const auto printed = print_entry(entry);
    return printed ? "accepted" : printed.error().code + " " + printed.error().param;
  };
  EXPECT_EQ(code([](Entry&) {}), "accepted");
  EXPECT_EQ(code([](Entry& e) { e.subject.clear(); }), "entry_invalid subject");
  EXPECT_EQ(code([](Entry& e) { e.subject = "two words"; }), "entry_invalid subject");
  EXPECT_EQ(code([](Entry& e) { e.subject.assign(256, 'x'); }), "entry_invalid subject");
  EXPECT_EQ(code([](Entry& e) { e.time_ms = -1; }), "entry_invalid time_ms");
  EXPECT_EQ(code([](Entry& e) { e.body.clear(); }), "entry_invalid receipt_digest");
  EXPECT_EQ(code([](Entry& e) { e.body.emplace("name", "Ada Lovelace"); }), "entry_invalid name");
  EXPECT_EQ(code([](Entry& e) { e.body.insert_or_assign("receipt_digest", "sha256:12"); }),
            "entry_invalid receipt_digest");
  EXPECT_EQ(code([](Entry& e) { e.body.emplace("policy_epoch", std::int64_t{-1}); }),
            "entry_invalid policy_epoch");
  EXPECT_EQ(code([](Entry& e) { e.body.emplace("policy_epoch", "1"); }),
            "entry_invalid policy_epoch");
}

TEST(Entry, ALeafFitsALengthOfTwoBytes) {
  Entry entry;
  entry.kind = EntryKind::kPromotion;
  entry.subject = testing::digest_of(1);
  entry.time_ms = 1;
  entry.body.emplace("envelope", "");
  EXPECT_EQ(print_entry(entry).error().code, "entry_invalid");
  entry.body.insert_or_assign("envelope", "x");
  const std::size_t frame = print_entry(entry)->size() - 1;
  entry.body.insert_or_assign("envelope", std::string(kMaxLeafBytes - frame, 'x'));
  const auto largest = print_entry(entry);
  ASSERT_TRUE(largest) << why(largest);
  EXPECT_EQ(largest->size(), kMaxLeafBytes);
  EXPECT_TRUE(parse_entry(*largest));
  entry.body.insert_or_assign("envelope", std::string(kMaxLeafBytes - frame + 1, 'x'));
  EXPECT_EQ(print_entry(entry).error().code, "entry_too_large");
}

TEST(Entry, EveryOtherSpellingIsRefused) {
  const std::string leaf = *print_entry(receipt_entry(3));
  for (const std::string& other :
       {leaf + " ", " " + leaf, leaf + leaf, leaf.substr(1), "[" + leaf + "]", std::string("{}"),
        std::string("null"), std::string(), "{\"a\":1," + leaf.substr(1)})
    EXPECT_FALSE(parse_entry(other)) << other;
  std::string version = leaf;
  version.replace(version.rfind("\"v\":1"), 5, "\"v\":2");
  EXPECT_EQ(parse_entry(version).error().code, "entry_invalid");
}

RC_GTEST_PROP(EntryProperty, ReadsBackWhatItPrints, (std::uint64_t number, bool segment)) {
  const Entry entry = segment ? testing::segment_entry(number % 1'000'000'007)
                              : receipt_entry(number % 1'000'000'007);
  const std::string leaf = *print_entry(entry);
  const auto read = parse_entry(leaf);
  RC_ASSERT(read.has_value());
  RC_ASSERT(read->kind == entry.kind);
  RC_ASSERT(read->subject == entry.subject);
  RC_ASSERT(read->time_ms == entry.time_ms);
  RC_ASSERT(*print_entry(*read) == leaf);
}

RC_GTEST_PROP(EntryProperty, AChangedByteIsNeverReadAsTheSameEntry,
              (std::uint32_t at, std::uint8_t bit)) {
  const std::string leaf = *print_entry(receipt_entry(5));
  std::string changed = leaf;
  changed[at % leaf.size()] = static_cast<char>(changed[at % leaf.size()] ^ (1 << bit % 8));
  const auto read = parse_entry(changed);
  if (read) RC_ASSERT(*print_entry(*read) == changed);
}

// The edge is a second way to the roots that CompactRange computes.
RC_GTEST_PROP(TreeEdgeProperty, HasTheRootsOfTheTree, ()) {
  const auto size = *rc::gen::inRange<std::uint64_t>(0, 70'000);
  TreeEdge edge;
  CompactRange range;
  std::map<int, std::uint64_t> tiles;
  for (std::uint64_t i = 0; i < size; ++i) {
    const Digest256 leaf = leaf_hash(std::to_string(i));
    range.append(leaf);
    RC_ASSERT(edge.append(leaf,
                          [&](const TileId& id, std::span<const Digest256> hashes) -> Status {
                            RC_ASSERT(hashes.size() == 256U);
                            RC_ASSERT(id.index == tiles[id.level]);
                            ++tiles[id.level];
                            return {};
                          })
                  .has_value());
  }
  RC_ASSERT(edge.root() == range.root());
  RC_ASSERT(tiles[0] == size / 256);
  RC_ASSERT(tiles[1] == size / 65'536);
  const auto again = TreeEdge::parse(size, edge.serialize());
  RC_ASSERT(again.has_value());
  RC_ASSERT(again->root() == edge.root());
  RC_ASSERT(!TreeEdge::parse(size + 1, edge.serialize()).has_value());
}

TEST(TreeEdge, RefusesBytesThatDoNotFit) {
  TreeEdge edge;
  for (int i = 0; i < 300; ++i)
    ASSERT_TRUE(edge.append(leaf_hash("x"), [](const TileId&, auto) { return Status{}; }));
  std::vector<std::uint8_t> bytes = edge.serialize();
  EXPECT_TRUE(TreeEdge::parse(300, bytes));
  bytes.push_back(0);
  EXPECT_EQ(TreeEdge::parse(300, bytes).error().code, "ledger_corrupt");
  bytes.resize(10);
  EXPECT_EQ(TreeEdge::parse(300, bytes).error().code, "ledger_corrupt");
  EXPECT_EQ(TreeEdge::parse(300, {}).error().code, "ledger_corrupt");
}

}  // namespace
}  // namespace fieldprint
