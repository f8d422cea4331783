#include "runner/cpu/graph.h"

#include <ggml-cpu.h>
#include <ggml.h>

#include "core/check.h"

namespace fieldprint {
namespace {
constexpr std::size_t kTensorsPerLayer = 32;
}

StepGraph::StepGraph(CpuContext& context, NumericProfile profile, std::int32_t tokens,
                     std::int32_t outputs, const GraphBuffers& buffers)
    : context_(context), profile_(profile), tokens_(tokens), outputs_(outputs) {
  FP_CHECK(tokens > 0 && outputs >= 0 && outputs <= tokens);
  const std::size_t tensors =
      kTensorsPerLayer * static_cast<std::size_t>(context.config.layers) + 32;
  ggml_ = ggml_init({ggml_tensor_overhead() * tensors + ggml_graph_overhead_custom(tensors, false),
                     nullptr, /*no_alloc=*/true});
  FP_CHECK(ggml_ != nullptr);
  graph_ = ggml_new_graph_custom(ggml_, tensors, /*grads=*/false);
  build(buffers);
}

StepGraph::~StepGraph() { ggml_free(ggml_); }

template <typename Op>
ggml_tensor* StepGraph::custom(void (*fun)(ggml_tensor*, int, int, void*), Op op,
                               ggml_tensor* after, float* data, std::int64_t width,
                               std::int64_t rows) {
  auto kept = std::make_shared<Op>(op);
  ops_.push_back(kept);
  ggml_tensor* node = ggml_custom_4d(ggml_, GGML_TYPE_F32, width, rows, 1, 1, &after, 1, fun,
                                     GGML_N_TASKS_MAX, kept.get());
  node->data = data;
  return node;
}

// out = weight * x. In the invariant profile each token is a product of its own
// (a batch of one-column matrices): ggml then uses the same dot product for every
// batch size instead of tiles that sum in another order.
ggml_tensor* StepGraph::product(ggml_tensor* weight, ggml_tensor* x, float* out, Rounding rounded) {
  const std::int64_t rows = x->ne[1];
  if (const panels::PackedMatrix* packed = context_.weights->packed(weight)) {
    if (rounded == Rounding::kNone) {
      const auto* values = static_cast<const float*>(x->data);
      x = custom(quantise_op, QuantiseOp{&context_, values, x->ne[0], rows}, x,
                 context_.act.quantised.scale, 1, 1);
    }
    return custom(packed_product_op, PackedProductOp{&context_, packed, rows, out}, x, out,
                  packed->rows, rows);
  }
  if (profile_ == NumericProfile::kInvariant && rows > 1) {
    x = ggml_reshape_3d(ggml_, x, x->ne[0], 1, rows);
  }
  ggml_tensor* y = ggml_mul_mat(ggml_, weight, x);
  y->data = out;
  if (y->ne[1] != rows) y = ggml_reshape_2d(ggml_, y, y->ne[0], rows);
  return y;
}

// What the op whose output only `weight` multiplies should leave; null: several weights do.
Rounding StepGraph::rounding_for(const ggml_tensor* weight) const {
  const bool packed = weight != nullptr && context_.weights->packed(weight) != nullptr;
  return packed ? Rounding::kEightBits : Rounding::kNone;
}

ggml_tensor* StepGraph::embed(const std::int32_t* ids) {
  ggml_tensor* tokens = ggml_new_tensor_1d(ggml_, GGML_TYPE_I32, tokens_);
  tokens->data = const_cast<std::int32_t*>(ids);
  ggml_tensor* rows = nullptr;
  if (const panels::PackedMatrix* packed = context_.weights->packed(context_.weights->embedding)) {
    rows = custom(embed_op, EmbedOp{&context_, packed, ids}, tokens, context_.act.residual,
                  context_.config.hidden, tokens_);
  } else {
    rows = ggml_get_rows(ggml_, context_.weights->embedding, tokens);
    rows->data = context_.act.residual;
  }
  if (context_.config.embedding_scale == 1.0F) return rows;
  return custom(scale_op, ScaleOp{&context_}, rows, context_.act.residual, context_.config.hidden,
                tokens_);
}

// Products for q, k and v, then rotation and KV append.
ggml_tensor* StepGraph::attention_inputs(int layer, ggml_tensor* normed) {
  const ModelConfig& config = context_.config;
  const CpuLayerWeights& w = context_.weights->layers[static_cast<std::size_t>(layer)];
  const std::int64_t q_size = std::int64_t{config.heads} * config.head_dim;
  const std::int64_t kv_size = std::int64_t{config.kv_heads} * config.head_dim;
  float* out = context_.act.q_raw;
  ggml_tensor* last = nullptr;
  if (w.qkv != nullptr) {
    last = product(w.qkv, normed, out, rounding_for(w.qkv));
  } else {
    ggml_build_forward_expand(graph_, product(w.q, normed, out, Rounding::kNone));
    ggml_build_forward_expand(graph_,
                              product(w.k, normed, out + tokens_ * q_size, Rounding::kNone));
    last = product(w.v, normed, out + tokens_ * (q_size + kv_size), Rounding::kNone);
  }
  return custom(rope_append_op, RopeAppendOp{&context_, layer}, last, context_.act.q, q_size,
                tokens_);
}

ggml_tensor* StepGraph::feed_forward(int layer, ggml_tensor* normed, std::int32_t rows) {
  const CpuLayerWeights& w = context_.weights->layers[static_cast<std::size_t>(layer)];
  const std::int64_t ffn = context_.config.ffn;
  float* out = context_.act.gate_up;
  ggml_tensor* last = nullptr;
  if (w.gate_up != nullptr) {
    last = product(w.gate_up, normed, out, rounding_for(w.gate_up));
  } else {
    ggml_build_forward_expand(graph_, product(w.gate, normed, out, Rounding::kNone));
    last = product(w.up, normed, out + rows * ffn, Rounding::kNone);
  }
  const Rounding rounding = rounding_for(w.down);
  ggml_tensor* gated = custom(gate_op, GateOp{&context_, rows, w.gate_up != nullptr, rounding},
                              last, context_.act.gated, ffn, rows);
  return product(w.down, gated, context_.act.branch, rounding);
}

void StepGraph::build(const GraphBuffers& buffers) {
  const ModelConfig& config = context_.config;
  const Activations& act = context_.act;
  const std::int64_t width = std::int64_t{config.heads} * config.head_dim;
  std::int32_t rows = tokens_;
  const float* branch = nullptr;  // what the next norm adds to the residual
  const float* post_norm = nullptr;
  ggml_tensor* x = embed(buffers.token_ids);

  for (int layer = 0; layer < config.layers; ++layer) {
    const CpuLayerWeights& w = context_.weights->layers[static_cast<std::size_t>(layer)];
    const bool last = layer + 1 == config.layers;
    x = custom(norm_op,
               NormOp{&context_, w.attn_norm, branch, post_norm, act.normed, rows,
                      rounding_for(w.qkv), layer - 1},
               x, act.normed, config.hidden, rows);
    x = attention_inputs(layer, x);
    if (last && outputs_ == 0) break;
    x = custom(attention_op, AttentionOp{&context_, layer}, x, act.attended, width, rows);
    if (last && outputs_ < tokens_) {
      rows = outputs_;
      x = custom(gather_op, GatherOp{&context_}, x, act.q, width, rows);
    }
    x = product(w.attn_out, x, act.branch, Rounding::kNone);
    x = custom(norm_op,
               NormOp{&context_, w.ffn_norm, act.branch, w.attn_post_norm, act.normed, rows,
                      rounding_for(w.gate_up)},
               x, act.normed, config.hidden, rows);
    x = feed_forward(layer, x, rows);
    branch = act.branch;
    post_norm = w.ffn_post_norm;
  }
  if (outputs_ > 0) {
    const Rounding rounding = rounding_for(context_.weights->output);
    x = custom(norm_op,
               NormOp{&context_, context_.weights->output_norm, branch, post_norm, buffers.hidden,
                      rows, rounding, config.layers - 1},
               x, buffers.hidden, config.hidden, rows);
    x = product(context_.weights->output, x, buffers.logits, rounding);
  }
  ggml_build_forward_expand(graph_, x);
}

Status StepGraph::compute(ggml_threadpool* pool, int threads, std::vector<std::byte>& work) {
  ggml_cplan plan = ggml_graph_plan(graph_, threads, pool);
  if (work.size() < plan.work_size) work.resize(plan.work_size);
  plan.work_data = reinterpret_cast<std::uint8_t*>(work.data());
  if (ggml_graph_compute(graph_, &plan) != GGML_STATUS_SUCCESS) {
    return fail(ErrorKind::kInternal, "ggml_failed", "ggml could not compute the step");
  }
  return {};
}

}  // namespace fieldprint
