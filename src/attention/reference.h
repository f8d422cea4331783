// PagedFieldprintAttention in obvious fp64 code: the answer every kernel is
// tested against. Slow on purpose: no leaves, no tiles, no tricks.
//
// Per query q of head h (KV head g = h / (heads / kv_heads)), with rows visible by
// the position rule of SequencePlan:
//   s_i = scale * q.k_i                    context rows,  L_c = logsumexp(s)
//   a_j = scale * q.k_j + beta_j           anchor rows,   L_a = logsumexp(a)
//   O   = w O_a + (1 - w) O_c, the two softmax outputs
//   joint    w = sigmoid(L_a - L_c), i.e. one softmax over both
//   gated    w = gamma[layer][h]
//   floored  w = sigmoid(L_a - L_c + b), b = clamp(logit(psi) - (L_a - L_c), 0, kFlooredBiasCap)
// A side without visible rows has weight 0, whatever the mode; with both sides
// empty O = 0 and every mass is 0. The log-sum-exp of nothing is -infinity.
// mass[c] = w * (share of class c in the anchor softmax) + (1 - w) * (share in context's).
//
// Thread rule: pure function of its arguments.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "attention/plan.h"

namespace fieldprint {

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;  // divides heads
  int head_dim = 0;
  float scale = 0.0F;  // usually 1/sqrt(head_dim)
};

// Fetches one row of one KV head as head_dim doubles.
using ReferenceRow = std::function<void(PageId page, int row, int kv_head, std::span<double> out)>;

// What a plain bf16 implementation would lose: rounds scores, probabilities and
// outputs to bf16. It gives the error scale for the tests' adaptive tolerance
// (the rule of FlashAttention's own tests), never an expected value.
enum class ReferenceRounding { kExact, kNaiveBf16 };

struct ReferenceArgs {
  AttentionShape shape;
  int layer = 0;   // selects beta and gamma
  int window = 0;  // 0 = full attention
  // Rows of all sequences, [tokens][heads * head_dim]; the plan's first_query selects.
  std::span<const float> q;
  ReferenceRow k_row;
  ReferenceRow v_row;
  ReferenceRounding rounding = ReferenceRounding::kExact;
};

// All of one sequence: index 0 is the plan's first query.
struct ReferenceOutput {
  std::vector<double> o;            // [query_count][heads][head_dim]
  std::vector<double> lse_context;  // [query_count][heads], natural log
  std::vector<double> lse_anchor;   // [query_count][heads]
  std::vector<double> lse_joint;    // [query_count][heads], log(e^L_c + e^L_a) in every mode
  std::vector<double> mass;         // [query_count][heads][kKvClasses]
};

ReferenceOutput reference_attention(const SequencePlan& plan, const ReferenceArgs& args);

// Weight of the anchor side (the w above). Shared with the kernels, so that the
// rules for empty sides and the cap exist once. gamma is used by kGated, psi by kFloored.
double anchor_weight(AnchorMode mode, double lse_context, double lse_anchor, double gamma,
                     double psi);

// log(e^a + e^b), -infinity when both are.
double log_add_exp(double a, double b);

}  // namespace fieldprint
