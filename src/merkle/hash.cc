#include "merkle/hash.h"

#include <algorithm>
#include <array>

namespace fieldprint {
namespace {

constexpr std::array<std::uint8_t, 1> kLeafPrefix = {0x00};
constexpr std::uint8_t kNodePrefix = 0x01;

// One context per thread: making one costs as much as hashing a node.
Sha256& hasher() {
  thread_local Sha256 hash;
  return hash;
}

}  // namespace

Digest256 leaf_hash(std::span<const std::uint8_t> entry) {
  return hasher().update(kLeafPrefix).update(entry).finish();
}

Digest256 leaf_hash(std::string_view entry) {
  return hasher().update(kLeafPrefix).update(entry).finish();
}

Digest256 node_hash(const Digest256& left, const Digest256& right) {
  std::array<std::uint8_t, 65> bytes;
  bytes[0] = kNodePrefix;
  std::copy(left.begin(), left.end(), bytes.begin() + 1);
  std::copy(right.begin(), right.end(), bytes.begin() + 33);
  return hasher().update(bytes).finish();
}

Digest256 empty_root() { return hasher().finish(); }

}  // namespace fieldprint
