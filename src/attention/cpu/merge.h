// From folded leaf states to outputs: which totals a tile keeps, and the last step
// (weights of the two sides, division, log-sum-exps, class mass).
#pragma once

#include "attention/cpu/kernel.h"
#include "attention/plan.h"

namespace fieldprint {

// Running totals of a tile. joint: `flat` carries O and classes over all leaves,
// context and anchor only m and l. Otherwise context and anchor carry everything
// and `flat` is unused.
struct TileTotals {
  int rows = 0;
  bool joint = true;
  AttentionState flat, context, anchor;
};

// Folds one leaf's states in. Leaves must come in merge order.
void fold_leaf(const KernelTable& kernel, int head_dim, const AttentionState& part, bool is_anchor,
               const TileTotals& totals);

struct RowResult {
  double lse_context, lse_anchor, lse_joint;  // natural logarithms
  float mass[kKvClasses];
};

struct RowWriter {
  int head_dim;
  const TileTotals& totals;
  const AnchorView* anchor;

  // Row r's output [head_dim] and statistics; gamma is its head's (gated mode).
  RowResult write(int r, double gamma, float* out) const;
};

}  // namespace fieldprint
