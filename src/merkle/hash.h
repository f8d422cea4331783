// Merkle tree hashes of RFC 6962 section 2.1 with SHA-256.
//
// The prefixes keep leaves and nodes apart, so that no node can be passed off as an entry.
// Thread rule: from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "crypto/sha256.h"

namespace fieldprint {

// Tree sizes and indices stay below 2^63: Go's tlog counts in int64.
inline constexpr std::uint64_t kMaxTreeSize = (std::uint64_t{1} << 63) - 1;

Digest256 leaf_hash(std::string_view entry);  // SHA-256(0x00 || entry)
Digest256 leaf_hash(std::span<const std::uint8_t> entry);
Digest256 node_hash(const Digest256& left, const Digest256& right);  // SHA-256(0x01 || l || r)
Digest256 empty_root();                                              // SHA-256("")

// A perfect subtree: leaves [index << level, (index + 1) << level).
struct NodeId {
  int level = 0;
  std::uint64_t index = 0;
  friend bool operator==(const NodeId&, const NodeId&) = default;
};

}  // namespace fieldprint
