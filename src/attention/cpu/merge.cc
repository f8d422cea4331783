#include "attention/cpu/merge.h"

#include <cmath>
#include <limits>

#include "attention/reference.h"

namespace fieldprint {
namespace {

constexpr float kEmpty = -std::numeric_limits<float>::infinity();
constexpr double kLn2 = 0.693147180559945309;

double natural_lse(const AttentionState& s, int r) {
  if (s.m[r] == kEmpty) return -std::numeric_limits<double>::infinity();
  return double{s.m[r]} * kLn2 + std::log(double{s.l[r]});
}

// out = sum over the given side of weight * o / l. Adding +0 turns a -0, whose sign
// would depend on how many invisible rows were summed, into +0.
void add_side(const AttentionState& s, int r, int head_dim, double weight, bool first, float* out) {
  const bool empty = s.m[r] == kEmpty;
  const float factor = empty ? 0.0F : static_cast<float>(weight / double{s.l[r]});
  const float* o = s.o + std::ptrdiff_t{r} * head_dim;
  for (int d = 0; d < head_dim; ++d) {
    const float x = empty ? 0.0F : o[d] * factor;
    out[d] = (first ? 0.0F : out[d]) + x;
  }
}

void add_mass(const AttentionState& s, int r, double weight, float* mass) {
  if (s.m[r] == kEmpty) return;
  const float* cls = s.cls + std::ptrdiff_t{r} * kKvClasses;
  double total = 0.0;
  for (int c = 0; c < kKvClasses; ++c) total += double{cls[c]};
  for (int c = 0; c < kKvClasses; ++c)
    mass[c] += static_cast<float>(weight * double{cls[c]} / total);
}

}  // namespace

void fold_leaf(const KernelTable& kernel, int head_dim, const AttentionState& part, bool is_anchor,
               const TileTotals& totals) {
  if (totals.joint) kernel.fold(totals.rows, head_dim, part, totals.flat);
  kernel.fold(totals.rows, head_dim, part, is_anchor ? totals.anchor : totals.context);
}

RowResult RowWriter::write(int r, double gamma, float* out) const {
  RowResult result{};
  result.lse_context = natural_lse(totals.context, r);
  result.lse_anchor = natural_lse(totals.anchor, r);
  if (totals.joint) {
    result.lse_joint = natural_lse(totals.flat, r);
    add_side(totals.flat, r, head_dim, 1.0, true, out);
    add_mass(totals.flat, r, 1.0, result.mass);
    return result;
  }
  result.lse_joint = log_add_exp(result.lse_context, result.lse_anchor);
  const double w = anchor_weight(anchor->mode, result.lse_context, result.lse_anchor, gamma,
                                 double{anchor->psi});
  add_side(totals.context, r, head_dim, 1.0 - w, true, out);
  add_side(totals.anchor, r, head_dim, w, false, out);
  add_mass(totals.context, r, 1.0 - w, result.mass);
  add_mass(totals.anchor, r, w, result.mass);
  return result;
}

}  // namespace fieldprint
