#include "attention/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/bf16.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr double kNegInf = -std::numeric_limits<double>::infinity();

// All rows of one side (context or anchor) for one KV head, dense.
struct Side {
  std::vector<double> k;  // [rows][head_dim]
  std::vector<double> v;
  std::vector<double> beta;
  std::vector<std::int32_t> pos;
  std::vector<KvClass> cls;
};

// One side's softmax for one query.
struct Softmax {
  double lse = kNegInf;
  std::vector<double> o;
  double share[kKvClasses] = {};  // sums to 1 unless empty
};

double rounded(double x, ReferenceRounding rounding) {
  return rounding == ReferenceRounding::kExact ? x : double{round_to_bf16(static_cast<float>(x))};
}

Side gather(std::span<const PageEntry> pages, const float* beta, int kv_head,
            const ReferenceArgs& args) {
  Side side;
  const auto dim = static_cast<std::size_t>(args.shape.head_dim);
  for (std::size_t p = 0; p < pages.size(); ++p) {
    for (int row = 0; row < pages[p].rows; ++row) {
      const std::size_t at = side.pos.size() * dim;
      side.k.resize(at + dim);
      side.v.resize(at + dim);
      args.k_row(pages[p].page, row, kv_head, std::span(side.k).subspan(at, dim));
      args.v_row(pages[p].page, row, kv_head, std::span(side.v).subspan(at, dim));
      side.beta.push_back(beta == nullptr ? 0.0 : double{beta[p * kPageRows + row]});
      side.pos.push_back(pages[p].first_pos + row);
      side.cls.push_back(pages[p].cls);
    }
  }
  return side;
}

bool visible(std::int32_t pos, std::int32_t query_pos, int window) {
  return pos <= query_pos && (window == 0 || pos > query_pos - window);
}

Softmax attend(const Side& side, const float* q, std::int32_t query_pos,
               const ReferenceArgs& args) {
  const auto dim = static_cast<std::size_t>(args.shape.head_dim);
  Softmax result;
  result.o.assign(dim, 0.0);
  std::vector<double> score(side.pos.size(), kNegInf);
  double top = kNegInf;
  for (std::size_t i = 0; i < score.size(); ++i) {
    if (!visible(side.pos[i], query_pos, args.window)) continue;
    double dot = 0.0;
    for (std::size_t d = 0; d < dim; ++d) dot += double{q[d]} * side.k[i * dim + d];
    score[i] = rounded(double{args.shape.scale} * dot + side.beta[i], args.rounding);
    top = std::max(top, score[i]);
  }
  if (top == kNegInf) return result;
  double sum = 0.0;
  for (const double s : score) sum += std::exp(s - top);
  for (std::size_t i = 0; i < score.size(); ++i) {
    const double share = std::exp(score[i] - top) / sum;
    if (share == 0.0) continue;
    result.share[static_cast<int>(side.cls[i])] += share;
    const double p = rounded(share, args.rounding);
    for (std::size_t d = 0; d < dim; ++d) result.o[d] += p * side.v[i * dim + d];
  }
  result.lse = top + std::log(sum);
  return result;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

}  // namespace

double log_add_exp(double a, double b) {
  const double top = std::max(a, b);
  return top == kNegInf ? top : top + std::log(std::exp(a - top) + std::exp(b - top));
}

double anchor_weight(AnchorMode mode, double lse_context, double lse_anchor, double gamma,
                     double psi) {
  if (lse_anchor == kNegInf) return 0.0;
  if (lse_context == kNegInf) return 1.0;
  const double natural = lse_anchor - lse_context;  // logit of the natural weight
  switch (mode) {
    case AnchorMode::kJoint:
      return sigmoid(natural);
    case AnchorMode::kGated:
      return gamma;
    case AnchorMode::kFloored: {
      if (psi <= 0.0) return sigmoid(natural);
      const double lift = std::log(psi / (1.0 - psi)) - natural;
      return sigmoid(natural + std::clamp(lift, 0.0, double{kFlooredBiasCap}));
    }
  }
  FP_UNREACHABLE();
}

ReferenceOutput reference_attention(const SequencePlan& plan, const ReferenceArgs& args) {
  const AttentionShape& shape = args.shape;
  const int group = shape.heads / shape.kv_heads;
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  const auto pairs = static_cast<std::size_t>(plan.query_count * shape.heads);
  ReferenceOutput out;
  out.o.resize(pairs * dim);
  out.lse_context.resize(pairs);
  out.lse_anchor.resize(pairs);
  out.lse_joint.resize(pairs);
  out.mass.resize(pairs * kKvClasses);
  for (int g = 0; g < shape.kv_heads; ++g) {
    const AnchorView& anchor = plan.anchor;
    const float* beta =
        anchor.beta == nullptr
            ? nullptr
            : anchor.beta + std::ptrdiff_t{args.layer * shape.kv_heads + g} * anchor.beta_stride;
    const Side context_rows = gather(plan.pages, nullptr, g, args);
    const Side anchor_rows = gather(anchor.pages, beta, g, args);
    for (int t = 0; t < plan.query_count; ++t) {
      for (int h = g * group; h < (g + 1) * group; ++h) {
        const auto at = static_cast<std::size_t>(t * shape.heads + h);
        const std::size_t q_row = static_cast<std::size_t>(plan.first_query + t) * shape.heads + h;
        const float* q = args.q.data() + q_row * dim;
        const Softmax ctx = attend(context_rows, q, plan.first_query_pos + t, args);
        const Softmax anc = attend(anchor_rows, q, plan.first_query_pos + t, args);
        const double gamma =
            anchor.gamma == nullptr ? 0.0 : double{anchor.gamma[args.layer * shape.heads + h]};
        const double w = anchor_weight(anchor.mode, ctx.lse, anc.lse, gamma, double{anchor.psi});
        out.lse_context[at] = ctx.lse;
        out.lse_anchor[at] = anc.lse;
        out.lse_joint[at] = log_add_exp(ctx.lse, anc.lse);
        for (std::size_t d = 0; d < dim; ++d) {
          out.o[at * dim + d] = rounded(w * anc.o[d] + (1.0 - w) * ctx.o[d], args.rounding);
        }
        for (int c = 0; c < kKvClasses; ++c) {
          out.mass[at * kKvClasses + c] = w * anc.share[c] + (1.0 - w) * ctx.share[c];
        }
      }
    }
  }
  return out;
}

}  // namespace fieldprint
