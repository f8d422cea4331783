// Checking Merkle proofs (RFC 6962 section 2.1; algorithms of RFC 9162 sections 2.1.3.2 and
// 2.1.4.2). Making them: proof_builder.h.
#pragma once

#include <cstdint>
#include <span>

#include "core/error.h"
#include "merkle/hash.h"

namespace fieldprint {

// No tree below 2^63 leaves needs more hashes in a proof.
inline constexpr std::size_t kMaxProofHashes = 63;

// The root that `proof` (leaf's sibling first) leads to from a leaf. Errors: proof_invalid
// (index not in the tree, wrong number of hashes).
Result<Digest256> inclusion_root(std::uint64_t index, std::uint64_t size, const Digest256& leaf,
                                 std::span<const Digest256> proof);

// Errors: proof_invalid (also when it leads to another root).
Status check_inclusion(std::uint64_t index, std::uint64_t size, const Digest256& leaf,
                       std::span<const Digest256> proof, const Digest256& root);

// The tree of new_size leaves begins with the tree of old_size leaves. Equal sizes take an
// empty proof and equal roots; so does an old size of 0, whose root must be empty_root().
// Errors: proof_invalid.
Status check_consistency(std::uint64_t old_size, std::uint64_t new_size,
                         std::span<const Digest256> proof, const Digest256& old_root,
                         const Digest256& new_root);

}  // namespace fieldprint
