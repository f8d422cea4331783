// Making Merkle proofs and roots from stored nodes (RFC 6962 sections 2.1.1 and 2.1.2).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"

namespace fieldprint {

// Where perfect subtrees come from: tiles (tile_reader.h), a table, memory.
class NodeReader {
 public:
  virtual ~NodeReader() = default;
  // One hash per id, in order. Asked once per proof, so that an implementation can fetch in
  // one go. Errors: its own.
  virtual Result<std::vector<Digest256>> read_nodes(std::span<const NodeId> ids) = 0;
};

// Errors: merkle_index (not in the tree, or the tree too large), the reader's.
Result<std::vector<Digest256>> make_inclusion_proof(std::uint64_t index, std::uint64_t size,
                                                    NodeReader& reader);

// Empty for an old size of 0 or equal sizes. Errors: merkle_index (old size above the new
// one), the reader's.
Result<std::vector<Digest256>> make_consistency_proof(std::uint64_t old_size,
                                                      std::uint64_t new_size, NodeReader& reader);

Result<Digest256> tree_root(std::uint64_t size, NodeReader& reader);

// The subtrees that each of the two proofs above reads, for prefetching.
std::vector<NodeId> inclusion_nodes(std::uint64_t index, std::uint64_t size);
std::vector<NodeId> consistency_nodes(std::uint64_t old_size, std::uint64_t new_size);

}  // namespace fieldprint
