// Reads leaf after leaf of a ledger's folder and compares all tiles with them. Internal to
// src/ledger.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ledger/ledger_reader.h"
#include "ledger/ledger_verify.h"
#include "ledger/tree_edge.h"

namespace fieldprint {

class TreeWalk {
 public:
  // Called for each leaf that could be read and parsed.
  using EntrySink = std::function<Status(std::uint64_t index, const Entry& entry)>;

  TreeWalk(Env& env, std::string dir) : source_(env, std::move(dir)) {}

  // Walks the first `size` leaves; records the roots of the sizes in `wanted_roots`. Findings
  // go into `report`. False: a stretch of leaves is lost, with its hashes; nothing behind it
  // can be checked.
  Result<bool> walk(std::uint64_t size, std::map<std::uint64_t, Digest256>& wanted_roots,
                    const EntrySink& sink, LedgerReport& report);

  const TreeEdge& edge() const { return edge_; }

 private:
  bool walk_bundle(std::uint64_t bundle, int width, const EntrySink& sink, LedgerReport& report,
                   std::vector<Digest256>& hashes);
  void compare_tile(const TileId& id, std::span<const Digest256> hashes, LedgerReport& report);

  FileTileSource source_;
  TreeEdge edge_;
};

void add_finding(LedgerReport& report, LedgerFinding finding);

}  // namespace fieldprint
