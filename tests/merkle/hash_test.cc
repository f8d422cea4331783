#include "merkle/hash.h"

#include <gtest/gtest.h>

#include "codec/hex.h"
#include "merkle/compact_range.h"
#include "merkle/trees.h"

namespace fieldprint {
namespace {

// Roots over the CT test leaves, sizes 0 to 8; also computed with Python's hashlib.
constexpr const char* kRoots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

TEST(MerkleHash, LeafAndNodeArePrefixed) {
  const Digest256 a = leaf_hash("a"), b = leaf_hash("b");
  EXPECT_EQ(a, sha256(std::string_view("\0a", 2)));
  std::string joined = "\x01";
  joined.append(a.begin(), a.end()).append(b.begin(), b.end());
  EXPECT_EQ(node_hash(a, b), sha256(joined));
  EXPECT_NE(node_hash(a, b), node_hash(b, a));
  EXPECT_NE(leaf_hash(joined.substr(1)), node_hash(a, b));
}

TEST(CompactRange, KnownRoots) {
  CompactRange range;
  EXPECT_EQ(hex_encode(range.root()), kRoots[0]);
  std::size_t size = 0;
  for (const std::string& leaf : ct_leaves()) {
    range.append(leaf_hash(leaf));
    EXPECT_EQ(hex_encode(range.root()), kRoots[++size]);
  }
}

TEST(CompactRange, EqualsTheDefinitionAndTellsEverySubtreeOnce) {
  const std::vector<std::string> leaves = numbered_leaves(150);
  CompactRange range;
  std::map<std::pair<int, std::uint64_t>, Digest256> told;
  for (std::size_t n = 1; n <= leaves.size(); ++n) {
    range.append(leaf_hash(leaves[n - 1]), [&](NodeId id, const Digest256& hash) {
      EXPECT_TRUE(told.emplace(std::pair(id.level, id.index), hash).second);
    });
    ASSERT_EQ(range.root(), slow_root(std::span(leaves).first(n))) << n;
  }
  for (const auto& [id, hash] : told) {
    const std::size_t width = std::size_t{1} << id.first;
    EXPECT_EQ(hash, slow_root(std::span(leaves).subspan(id.second * width, width)));
  }
  EXPECT_EQ(told.size(), 150U + 75 + 37 + 18 + 9 + 4 + 2 + 1);
}

TEST(CompactRange, GoesOnWhereItWasLeft) {
  CompactRange whole;
  for (int i = 0; i < 100; ++i) {
    auto copy = CompactRange::restore(whole.size(), whole.peaks());
    ASSERT_TRUE(copy);
    whole.append(leaf_hash(std::to_string(i)));
    copy->append(leaf_hash(std::to_string(i)));
    EXPECT_EQ(copy->root(), whole.root());
  }
  EXPECT_EQ(CompactRange::restore(3, std::vector<Digest256>(1)).error().code,
            "merkle_range_invalid");
  EXPECT_EQ(CompactRange::restore(kMaxTreeSize + 1, std::vector<Digest256>(1)).error().code,
            "merkle_range_invalid");
}

}  // namespace
}  // namespace fieldprint
