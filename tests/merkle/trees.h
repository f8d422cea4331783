// Trees for tests, the slow and obvious way.
#pragma once

#include <bit>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "merkle/compact_range.h"
#include "merkle/proof_builder.h"

namespace fieldprint {

// The eight leaves that Certificate Transparency implementations test with.
inline std::vector<std::string> ct_leaves() {
  return {"", std::string(1, '\0'), "\x10", " !", "01", "@ABC", "PQRSTUVW", "`abcdefghijklmno"};
}

inline std::vector<std::string> numbered_leaves(std::size_t count) {
  std::vector<std::string> leaves;
  for (std::size_t i = 0; i < count; ++i) leaves.push_back("leaf " + std::to_string(i));
  return leaves;
}

// RFC 6962 section 2.1, word for word.
inline Digest256 slow_root(std::span<const std::string> leaves) {
  if (leaves.empty()) return empty_root();
  if (leaves.size() == 1) return leaf_hash(leaves[0]);
  const std::size_t k = std::bit_floor(leaves.size() - 1);
  return node_hash(slow_root(leaves.first(k)), slow_root(leaves.subspan(k)));
}

// RFC 6962 section 2.1.1, word for word.
inline std::vector<Digest256> slow_path(std::size_t m, std::span<const std::string> leaves) {
  if (leaves.size() <= 1) return {};
  const std::size_t k = std::bit_floor(leaves.size() - 1);
  std::vector<Digest256> path =
      m < k ? slow_path(m, leaves.first(k)) : slow_path(m - k, leaves.subspan(k));
  path.push_back(slow_root(m < k ? leaves.subspan(k) : leaves.first(k)));
  return path;
}

// RFC 6962 section 2.1.2, word for word: SUBPROOF(m, D[n], b).
inline std::vector<Digest256> slow_consistency(std::size_t m, std::span<const std::string> leaves,
                                               bool whole = true) {
  if (m == leaves.size()) {
    return whole ? std::vector<Digest256>{} : std::vector<Digest256>{slow_root(leaves)};
  }
  const std::size_t k = std::bit_floor(leaves.size() - 1);
  std::vector<Digest256> proof = m <= k ? slow_consistency(m, leaves.first(k), whole)
                                        : slow_consistency(m - k, leaves.subspan(k), false);
  proof.push_back(slow_root(m <= k ? leaves.subspan(k) : leaves.first(k)));
  return proof;
}

// Every perfect subtree of a growing tree, in memory.
class MemoryTree : public NodeReader {
 public:
  void append(std::string_view entry) {
    range_.append(leaf_hash(entry), [this](NodeId id, const Digest256& hash) {
      nodes_[{id.level, id.index}] = hash;
    });
    roots_.push_back(range_.root());
  }
  std::uint64_t size() const { return range_.size(); }
  const CompactRange& range() const { return range_; }
  Digest256 root(std::uint64_t size) const { return size == 0 ? empty_root() : roots_[size - 1]; }

  Result<std::vector<Digest256>> read_nodes(std::span<const NodeId> ids) override {
    std::vector<Digest256> out;
    for (const NodeId& id : ids) {
      const auto found = nodes_.find({id.level, id.index});
      if (found == nodes_.end()) return fail(ErrorKind::kInternal, "no_node", "no such node");
      out.push_back(found->second);
    }
    return out;
  }

 private:
  CompactRange range_;
  std::map<std::pair<int, std::uint64_t>, Digest256> nodes_;
  std::vector<Digest256> roots_;
};

}  // namespace fieldprint
