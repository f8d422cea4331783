#include "merkle/proof_builder.h"

#include <algorithm>
#include <bit>
#include <string>

#include "core/check.h"
#include "merkle/compact_range.h"

namespace fieldprint {
namespace {

struct Leaves {
  std::uint64_t begin, count;
};

// The largest power of two below n, where RFC 6962 splits n leaves; n >= 2.
std::uint64_t split_of(std::uint64_t n) { return std::bit_floor(n - 1); }

// The subtrees whose hashes are the proof, leaf's sibling first. The RFC's recursion as a
// loop from the root down.
std::vector<Leaves> inclusion_path(std::uint64_t index, std::uint64_t size) {
  std::vector<Leaves> path;
  Leaves tree{0, size};
  while (tree.count > 1) {
    const std::uint64_t k = split_of(tree.count);
    const Leaves left{tree.begin, k};
    const Leaves right{tree.begin + k, tree.count - k};
    const bool go_left = index < right.begin;
    path.push_back(go_left ? right : left);
    tree = go_left ? left : right;
  }
  std::reverse(path.begin(), path.end());
  return path;
}

std::vector<Leaves> consistency_path(std::uint64_t old_size, std::uint64_t new_size) {
  std::vector<Leaves> path;
  if (old_size == 0 || old_size == new_size) return path;
  Leaves tree{0, new_size};
  // Down the old tree's right edge, until a subtree is whole in both trees.
  while (tree.begin + tree.count != old_size) {
    const std::uint64_t k = split_of(tree.count);
    const Leaves left{tree.begin, k};
    const Leaves right{tree.begin + k, tree.count - k};
    const bool go_left = old_size <= right.begin;
    path.push_back(go_left ? right : left);
    tree = go_left ? left : right;
  }
  if (tree.begin != 0) path.push_back(tree);  // else the verifier holds it: the old root
  std::reverse(path.begin(), path.end());
  return path;
}

std::vector<NodeId> nodes_of(std::span<const Leaves> path) {
  std::vector<NodeId> ids;
  for (const Leaves& part : path) {
    const std::vector<NodeId> nodes = range_nodes(part.begin, part.count);
    ids.insert(ids.end(), nodes.begin(), nodes.end());
  }
  return ids;
}

Result<std::vector<Digest256>> hashes_of(std::span<const Leaves> path, NodeReader& reader) {
  std::vector<Digest256> hashes;
  if (path.empty()) return hashes;
  const std::vector<NodeId> ids = nodes_of(path);
  FP_ASSIGN(const std::vector<Digest256> nodes, reader.read_nodes(ids));
  FP_CHECK(nodes.size() == ids.size());
  std::span<const Digest256> rest = nodes;
  for (const Leaves& part : path) {
    const auto used = static_cast<std::size_t>(std::popcount(part.count));
    hashes.push_back(fold_nodes(rest.first(used)));
    rest = rest.subspan(used);
  }
  return hashes;
}

tl::unexpected<Error> beyond(std::uint64_t what, std::uint64_t size) {
  return fail(ErrorKind::kInvalid, "merkle_index",
              std::to_string(what) + " lies beyond a tree of " + std::to_string(size) + " leaves");
}

}  // namespace

std::vector<NodeId> inclusion_nodes(std::uint64_t index, std::uint64_t size) {
  return nodes_of(inclusion_path(index, size));
}

std::vector<NodeId> consistency_nodes(std::uint64_t old_size, std::uint64_t new_size) {
  return nodes_of(consistency_path(old_size, new_size));
}

Result<std::vector<Digest256>> make_inclusion_proof(std::uint64_t index, std::uint64_t size,
                                                    NodeReader& reader) {
  if (size > kMaxTreeSize || index >= size) return beyond(index, size);
  return hashes_of(inclusion_path(index, size), reader);
}

Result<std::vector<Digest256>> make_consistency_proof(std::uint64_t old_size,
                                                      std::uint64_t new_size, NodeReader& reader) {
  if (new_size > kMaxTreeSize || old_size > new_size) return beyond(old_size, new_size);
  return hashes_of(consistency_path(old_size, new_size), reader);
}

Result<Digest256> tree_root(std::uint64_t size, NodeReader& reader) {
  if (size > kMaxTreeSize) return beyond(size, kMaxTreeSize);
  if (size == 0) return empty_root();
  const Leaves all{0, size};
  FP_ASSIGN(const std::vector<Digest256> root, hashes_of(std::span(&all, 1), reader));
  return root.front();
}

}  // namespace fieldprint
