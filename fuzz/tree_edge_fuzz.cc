// The stored edge of the tree: bytes that read belong to one size and print to themselves.
// First eight bytes: the size, little-endian.
#include <algorithm>
#include <span>

#include "core/check.h"
#include "fuzz/input.h"
#include "ledger/tree_edge.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  std::uint64_t leaves = 0;
  for (int i = 0; i < 8; ++i) leaves |= std::uint64_t{data[i]} << (8 * i);
  leaves >>= 1;  // below 2^63
  const std::span<const std::uint8_t> bytes(data + 8, size - 8);
  const auto edge = fieldprint::TreeEdge::parse(leaves, bytes);
  if (!edge) return 0;
  FP_CHECK(edge->size() == leaves);
  const auto again = edge->serialize();
  FP_CHECK(again.size() == bytes.size());
  FP_CHECK(std::equal(again.begin(), again.end(), bytes.begin()));
  (void)edge->root();
  return 0;
}
