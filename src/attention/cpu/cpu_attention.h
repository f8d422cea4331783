// PagedFieldprintAttention on the CPU. docs/attention.md has the mathematics, the
// leaf rule and the list of what is guaranteed bitwise.
//
// Use, per step:
//   prepare(plans)                          one thread
//   for each layer: run(args, t, T)         by threads t = 0..T-1 at the same time
//   finish(mass)                            one thread
// run() has no barrier inside: threads take work by ticket and the last thread to
// finish a part of a query merges it, so a call may return before another thread's
// call for the same layer has. The caller separates layers, and the last layer
// from finish(), by a barrier of its own (ggml puts one after every graph node).
//
// Bits of O, log-sum-exps and mass depend on the query's own rows, plan and ISA
// only: not on other queries or sequences of the step, threads, or page ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "attention/cpu/isa.h"
#include "attention/cpu/kv_layout.h"
#include "attention/plan.h"
#include "attention/reference.h"
#include "core/error.h"

namespace fieldprint {

struct CpuAttentionOptions {
  AttentionShape shape;  // head_dim a multiple of 16, at most 512; heads <= 32 per KV head
  int layers = 0;
  int max_threads = 1;
  KvDtype kv_dtype = KvDtype::kBf16;
  std::optional<CpuIsa> isa;  // nothing: the fastest available
};

// One layer's inputs and outputs; views must stay valid until every thread's run()
// has returned. Rows are tokens of the whole step, as SequencePlan::first_query counts.
struct CpuLayerArgs {
  int layer = 0;
  KvLayerView kv;
  int window = 0;            // 0 = full attention
  const float* q = nullptr;  // [tokens][heads * head_dim], RoPE applied, not scaled
  float* out = nullptr;      // [tokens][heads * head_dim]
  // Optional outputs, nullptr = not wanted. Natural logarithms; -inf when empty.
  float* lse_context = nullptr;  // [tokens][heads]
  float* lse_anchor = nullptr;   // [tokens][heads]
  float* lse_joint = nullptr;    // [tokens][heads], without gamma or the floor's lift
  float* mass = nullptr;         // [tokens][heads][kKvClasses]
};

class CpuAttention {
 public:
  // Errors: attention_shape_unsupported, attention_isa_unavailable.
  static Result<std::unique_ptr<CpuAttention>> create(const CpuAttentionOptions& options);
  ~CpuAttention();

  // Builds the step's work list for up to `threads` threads. Keeps the views in
  // `plans` (pages, leaves, beta, gamma) until the last run() of the step; the array
  // of plans itself is copied. Allocates only when a step is larger than any before.
  // Malformed plans are bugs (FP_CHECK). Error: attention_scratch (out of memory).
  Status prepare(std::span<const SequencePlan> plans, int threads);

  // Each layer at most once per prepare(). All `threads` threads must call, with the
  // same args; threads is at most max_threads.
  void run(const CpuLayerArgs& args, int thread, int threads);

  // Mean over heads and over the layers run since prepare() of each sequence's last
  // query's mass: [sequences][kKvClasses] in plan order. Rows sum to 1 (0 if the query
  // saw no row). Summed in a fixed order, so deterministic.
  void finish(std::span<float> mass) const;

  CpuIsa isa() const;

 private:
  struct Impl;
  explicit CpuAttention(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fieldprint
