#include "merkle/proof.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "codec/hex.h"
#include "merkle/proof_builder.h"
#include "merkle/trees.h"

namespace fieldprint {
namespace {

using Hashes = std::vector<Digest256>;

MemoryTree tree_of(std::size_t size) {
  MemoryTree tree;
  for (const std::string& leaf : numbered_leaves(size)) tree.append(leaf);
  return tree;
}

Digest256 leaf(std::uint64_t index) { return leaf_hash("leaf " + std::to_string(index)); }

std::vector<std::string> hex_of(const Hashes& hashes) {
  std::vector<std::string> out;
  for (const Digest256& hash : hashes) out.push_back(hex_encode(hash));
  return out;
}

// RFC 6962 section 2.1.3: the paths of the seven-leaf tree d0..d6, in the names used there.
TEST(Proof, TheTreeOfTheRfc) {
  MemoryTree tree;
  std::vector<Digest256> d;
  for (const std::string& entry : numbered_leaves(7)) {
    tree.append(entry);
    d.push_back(leaf_hash(entry));
  }
  const Digest256 g = node_hash(d[0], d[1]), h = node_hash(d[2], d[3]), i = node_hash(d[4], d[5]);
  const Digest256 j = d[6], k = node_hash(g, h), l = node_hash(i, j);
  EXPECT_EQ(*make_inclusion_proof(0, 7, tree), (Hashes{d[1], h, l}));
  EXPECT_EQ(*make_inclusion_proof(3, 7, tree), (Hashes{d[2], g, l}));
  EXPECT_EQ(*make_inclusion_proof(4, 7, tree), (Hashes{d[5], j, k}));
  EXPECT_EQ(*make_inclusion_proof(6, 7, tree), (Hashes{i, k}));
  EXPECT_EQ(*make_consistency_proof(3, 7, tree), (Hashes{d[2], d[3], g, l}));
  EXPECT_EQ(*make_consistency_proof(4, 7, tree), (Hashes{l}));
  EXPECT_EQ(*make_consistency_proof(6, 7, tree), (Hashes{i, j, k}));
}

// The size-1-to-8 proof over the CT test leaves, as other implementations publish it.
TEST(Proof, KnownConsistencyProof) {
  MemoryTree tree;
  for (const std::string& entry : ct_leaves()) tree.append(entry);
  EXPECT_EQ(hex_of(*make_consistency_proof(1, 8, tree)),
            (std::vector<std::string>{
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}));
}

TEST(Proof, InclusionForAllSizesEqualsTheDefinition) {
  MemoryTree tree = tree_of(70);
  const std::vector<std::string> leaves = numbered_leaves(70);
  for (std::uint64_t size = 1; size <= 70; ++size) {
    for (std::uint64_t index = 0; index < size; ++index) {
      const auto proof = make_inclusion_proof(index, size, tree);
      ASSERT_TRUE(proof) << proof.error().message;
      ASSERT_EQ(*proof, slow_path(index, std::span(leaves).first(size)));
      ASSERT_TRUE(check_inclusion(index, size, leaf(index), *proof, tree.root(size)));
    }
  }
}

TEST(Proof, ConsistencyForAllSizesEqualsTheDefinition) {
  MemoryTree tree = tree_of(70);
  const std::vector<std::string> leaves = numbered_leaves(70);
  for (std::uint64_t size = 0; size <= 70; ++size) {
    for (std::uint64_t old = 0; old <= size; ++old) {
      const auto proof = make_consistency_proof(old, size, tree);
      ASSERT_TRUE(proof) << proof.error().message;
      if (old > 0) {
        ASSERT_EQ(*proof, slow_consistency(old, std::span(leaves).first(size)));
      }
      ASSERT_TRUE(check_consistency(old, size, *proof, tree.root(old), tree.root(size)));
    }
  }
}

// Whatever is wrong must be refused: a flipped bit, a hash less, a hash more, another index or
// size, another root.
TEST(Proof, EveryFlippedBitOfAnInclusionProofIsRefused) {
  MemoryTree tree = tree_of(13);
  for (std::uint64_t size = 1; size <= 13; ++size) {
    for (std::uint64_t index = 0; index < size; ++index) {
      Hashes proof = *make_inclusion_proof(index, size, tree);
      const Digest256 root = tree.root(size);
      for (Digest256& hash : proof) {
        for (std::size_t bit = 0; bit < 256; ++bit) {
          hash[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
          ASSERT_FALSE(check_inclusion(index, size, leaf(index), proof, root));
          hash[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        }
      }
      Hashes longer = proof;
      longer.push_back(root);
      EXPECT_FALSE(check_inclusion(index, size, leaf(index), longer, root));
      longer.insert(longer.begin(), leaf(index));
      EXPECT_FALSE(check_inclusion(index, size, leaf(index), longer, root));
      if (!proof.empty()) {
        EXPECT_FALSE(check_inclusion(index, size, leaf(index),
                                     std::span(proof).first(proof.size() - 1), root));
        EXPECT_FALSE(check_inclusion(index, size, leaf(index), std::span(proof).subspan(1), root));
        EXPECT_FALSE(check_inclusion(index, size, leaf(index + 1), proof, root));
      }
      EXPECT_FALSE(check_inclusion(size, size, leaf(index), proof, root));
    }
  }
}

TEST(Proof, EveryFlippedBitOfAConsistencyProofIsRefused) {
  MemoryTree tree = tree_of(13);
  for (std::uint64_t size = 1; size <= 13; ++size) {
    for (std::uint64_t old = 1; old <= size; ++old) {
      Hashes proof = *make_consistency_proof(old, size, tree);
      const Digest256 old_root = tree.root(old), root = tree.root(size);
      for (Digest256& hash : proof) {
        for (std::size_t bit = 0; bit < 256; ++bit) {
          hash[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
          ASSERT_FALSE(check_consistency(old, size, proof, old_root, root));
          hash[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        }
      }
      Hashes longer = proof;
      longer.push_back(root);
      EXPECT_FALSE(check_consistency(old, size, longer, old_root, root));
      if (!proof.empty()) {
        const auto shorter = std::span(proof).first(proof.size() - 1);
        EXPECT_FALSE(check_consistency(old, size, shorter, old_root, root));
      }
      if (old == size) continue;
      EXPECT_FALSE(check_consistency(old, size, proof, root, root));
      EXPECT_FALSE(check_consistency(old, size, proof, old_root, old_root));
      EXPECT_FALSE(check_consistency(size, old, proof, root, old_root));
      EXPECT_FALSE(check_consistency(old, size, {}, old_root, root));
    }
  }
}

TEST(Proof, EmptyTreesAndImpossibleSizes) {
  EXPECT_TRUE(check_consistency(0, 0, {}, empty_root(), empty_root()));
  EXPECT_TRUE(check_consistency(0, 5, {}, empty_root(), leaf(1)));
  EXPECT_FALSE(check_consistency(0, 5, {}, leaf(0), leaf(1)));
  EXPECT_FALSE(check_consistency(0, 0, {}, leaf(0), leaf(0)));
  EXPECT_FALSE(check_consistency(0, 5, Hashes{leaf(0)}, empty_root(), leaf(1)));
  EXPECT_FALSE(check_inclusion(0, 0, leaf(0), {}, leaf(0)));
  EXPECT_FALSE(check_inclusion(0, kMaxTreeSize + 1, leaf(0), Hashes(63), leaf(0)));
  EXPECT_FALSE(check_consistency(1, kMaxTreeSize + 1, Hashes(63), leaf(0), leaf(0)));
  EXPECT_FALSE(check_inclusion(7, kMaxTreeSize, leaf(0), Hashes(64), leaf(0)));
  MemoryTree tree = tree_of(3);
  EXPECT_EQ(make_inclusion_proof(3, 3, tree).error().code, "merkle_index");
  EXPECT_EQ(make_consistency_proof(4, 3, tree).error().code, "merkle_index");
  EXPECT_EQ(*tree_root(0, tree), empty_root());
  EXPECT_EQ(*tree_root(3, tree), tree.root(3));
  EXPECT_EQ(make_inclusion_proof(0, 9, tree).error().code, "no_node");
}

// Without any tree: from an index and a size, any hashes of the right number lead somewhere,
// and to nothing else.
RC_GTEST_PROP(Proof, HugeTreesWalkWithoutEnd, ()) {
  const auto size = *rc::gen::inRange<std::uint64_t>(1, kMaxTreeSize);
  const auto index = *rc::gen::inRange<std::uint64_t>(0, size);
  const std::size_t wanted = [&] {
    std::size_t count = 0;
    std::uint64_t begin = 0;
    for (std::uint64_t n = size; n > 1; ++count) {
      const std::uint64_t k = std::bit_floor(n - 1);
      begin + k <= index ? (begin += k, n -= k) : n = k;
    }
    return count;
  }();
  RC_ASSERT(inclusion_nodes(index, size).size() >= wanted);
  for (std::size_t count = 0; count <= 64; ++count) {
    const Hashes hashes(count, leaf(1));
    RC_ASSERT(inclusion_root(index, size, leaf(0), hashes).has_value() == (count == wanted));
  }
}

}  // namespace
}  // namespace fieldprint
