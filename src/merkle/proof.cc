#include "merkle/proof.h"

#include <bit>

namespace fieldprint {
namespace {

tl::unexpected<Error> invalid(const char* what) {
  return fail(ErrorKind::kForbidden, "proof_invalid", what);
}

// A node on the way from a leaf to the root: its index on its level, and that of the level's
// last node. Where both agree, the node is the last one and may skip levels.
struct Walk {
  std::uint64_t node, last;

  bool sibling_is_left() const { return (node & 1) != 0 || node == last; }
  void up() {
    node >>= 1;
    last >>= 1;
  }
  // A last node without a right sibling is promoted until it has a left one.
  void promote() {
    while ((node & 1) == 0 && node != 0) up();
  }
};

}  // namespace

Result<Digest256> inclusion_root(std::uint64_t index, std::uint64_t size, const Digest256& leaf,
                                 std::span<const Digest256> proof) {
  if (size > kMaxTreeSize || index >= size) return invalid("inclusion: index beyond the tree");
  Walk walk{index, size - 1};
  Digest256 hash = leaf;
  for (const Digest256& sibling : proof) {
    if (walk.last == 0) return invalid("inclusion proof has too many hashes");
    if (walk.sibling_is_left()) {
      hash = node_hash(sibling, hash);
      walk.promote();
    } else {
      hash = node_hash(hash, sibling);
    }
    walk.up();
  }
  if (walk.last != 0) return invalid("inclusion proof has too few hashes");
  return hash;
}

Status check_inclusion(std::uint64_t index, std::uint64_t size, const Digest256& leaf,
                       std::span<const Digest256> proof, const Digest256& root) {
  FP_ASSIGN(const Digest256 reached, inclusion_root(index, size, leaf, proof));
  if (reached != root) return invalid("inclusion proof leads to another root hash");
  return {};
}

Status check_consistency(std::uint64_t old_size, std::uint64_t new_size,
                         std::span<const Digest256> proof, const Digest256& old_root,
                         const Digest256& new_root) {
  if (new_size > kMaxTreeSize || old_size > new_size) {
    return invalid("consistency: the old tree is larger than the new one");
  }
  if (old_size == 0 || old_size == new_size) {
    if (!proof.empty()) return invalid("consistency proof has too many hashes");
    const Digest256 expected = old_size == 0 ? empty_root() : new_root;
    if (old_root != expected) return invalid("consistency: root hashes of one size differ");
    if (new_size == 0 && new_root != expected) return invalid("consistency: root of an empty tree");
    return {};
  }
  // An old tree that is one perfect subtree is its own first hash.
  const bool perfect = std::has_single_bit(old_size);
  if (!perfect && proof.empty()) return invalid("consistency proof has too few hashes");
  Digest256 old_hash = perfect ? old_root : proof.front();
  Digest256 new_hash = old_hash;
  if (!perfect) proof = proof.subspan(1);
  Walk walk{old_size - 1, new_size - 1};
  while ((walk.node & 1) != 0) walk.up();
  for (const Digest256& sibling : proof) {
    if (walk.last == 0) return invalid("consistency proof has too many hashes");
    if (walk.sibling_is_left()) {
      old_hash = node_hash(sibling, old_hash);
      new_hash = node_hash(sibling, new_hash);
      walk.promote();
    } else {
      new_hash = node_hash(new_hash, sibling);
    }
    walk.up();
  }
  if (walk.last != 0) return invalid("consistency proof has too few hashes");
  if (old_hash != old_root) return invalid("consistency proof leads to another old root hash");
  if (new_hash != new_root) return invalid("consistency proof leads to another new root hash");
  return {};
}

}  // namespace fieldprint
