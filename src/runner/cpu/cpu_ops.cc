#include "runner/cpu/cpu_ops.h"

#include <algorithm>
#include <cstring>

namespace fieldprint {
namespace {

constexpr int kTicketsPerThread = 6;

struct Range {
  std::int64_t begin;
  std::int64_t end;
};

// Thread's contiguous share of n items.
Range share(std::int64_t n, int thread, int threads) {
  return {n * thread / threads, n * (thread + 1) / threads};
}

void rotate(const CpuContext& context, int layer, std::int64_t token, float* head) {
  const bool window = context.config.layer_has_window(layer);
  const float* cosine = context.rope->cosine(static_cast<int>(token), window);
  const float* sine = context.rope->sine(static_cast<int>(token), window);
  const auto apply = context.config.rope_style == RopeStyle::kAdjacent ? row_ops().rope_adjacent
                                                                       : row_ops().rope_halves;
  apply(head, cosine, sine, context.rope->pairs());
}

// Where q, k and v of a token lie in act.q_raw.
struct QkvRow {
  float* q;
  float* k;
  float* v;
};
QkvRow qkv_row(const CpuContext& context, int layer, std::int64_t token) {
  const std::int64_t q_size = std::int64_t{context.config.heads} * context.config.head_dim;
  const std::int64_t kv_size = std::int64_t{context.config.kv_heads} * context.config.head_dim;
  float* base = context.act.q_raw;
  if (context.weights->layers[static_cast<std::size_t>(layer)].qkv != nullptr) {
    float* row = base + token * (q_size + 2 * kv_size);
    return {row, row + q_size, row + q_size + kv_size};
  }
  const std::int64_t n = context.tokens;
  return {base + token * q_size, base + n * q_size + token * kv_size,
          base + n * (q_size + kv_size) + token * kv_size};
}

void prepare_head(const CpuContext& context, int layer, std::int64_t token, const float* norm,
                  float* head) {
  const ModelConfig& config = context.config;
  if (norm != nullptr) row_ops().rms_norm(head, norm, config.norm_eps, config.head_dim, head);
  rotate(context, layer, token, head);
}

void prepare_q(const CpuContext& context, int layer, std::int64_t token, std::int64_t head) {
  const ModelConfig& config = context.config;
  const CpuLayerWeights& w = context.weights->layers[static_cast<std::size_t>(layer)];
  const std::int64_t offset = head * config.head_dim;
  float* out = context.act.q + token * config.heads * config.head_dim + offset;
  const float* in = qkv_row(context, layer, token).q + offset;
  std::memcpy(out, in, static_cast<std::size_t>(config.head_dim) * sizeof(float));
  if (w.q_bias != nullptr) row_ops().add(out, w.q_bias + offset, config.head_dim);
  prepare_head(context, layer, token, w.q_norm, out);
}

// Blocks begin..end of a row for the packed product that follows.
void round_blocks(const CpuContext& context, const float* x, std::int64_t columns, std::int64_t row,
                  std::int64_t begin, std::int64_t end) {
  panels::quantise(x, columns, row, begin, end, context.act.quantised);
}

// By one thread, in the op before the product.
void deal_panels(CpuContext& context) { context.next_panels.store(0, std::memory_order_relaxed); }

void append_kv(const CpuContext& context, int layer, std::int64_t token) {
  const ModelConfig& config = context.config;
  const CpuLayerWeights& w = context.weights->layers[static_cast<std::size_t>(layer)];
  const QkvRow row = qkv_row(context, layer, token);
  const int kv_size = config.kv_heads * config.head_dim;
  if (w.k_bias != nullptr) row_ops().add(row.k, w.k_bias, kv_size);
  if (w.v_bias != nullptr) row_ops().add(row.v, w.v_bias, kv_size);
  for (int head = 0; head < config.kv_heads; ++head) {
    prepare_head(context, layer, token, w.k_norm, row.k + head * config.head_dim);
  }
  const RowSlot slot = context.slots[static_cast<std::size_t>(token)];
  kv_write_row(context.kv.shape(), context.kv.page(layer, slot.page), slot.row, row.k, row.v);
}

}  // namespace

// Rows of this thread's share only: other threads may not have added their branch yet.
void copy_taps(const CpuContext& context, std::int32_t layer, const Range& rows) {
  const std::int64_t hidden = context.config.hidden;
  const bool compacted = layer + 1 == context.config.layers;
  for (const LayerTap& tap : context.taps) {
    const std::int64_t row = compacted ? tap.output : tap.token;
    if (tap.layer != layer || row < rows.begin || row >= rows.end) continue;
    std::copy_n(context.act.residual + row * hidden, hidden, tap.to);
  }
}

void norm_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const NormOp*>(raw);
  const CpuContext& context = *op.context;
  const bool rounds = op.rounding == Rounding::kEightBits;
  if (rounds && thread == 0) deal_panels(*op.context);
  const int hidden = context.config.hidden;
  const float eps = context.config.norm_eps;
  const Range rows = share(op.rows, thread, threads);
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    float* residual = context.act.residual + r * hidden;
    float* out = op.out + r * hidden;
    if (op.branch != nullptr) {
      const float* added = op.branch + r * hidden;
      if (op.post_norm != nullptr) {
        row_ops().rms_norm(added, op.post_norm, eps, hidden, out);
        added = out;
      }
      row_ops().add(residual, added, hidden);
    }
    row_ops().rms_norm(residual, op.weight, eps, hidden, out);
    if (rounds) round_blocks(context, out, hidden, r, 0, hidden / panels::kBlock);
  }
  if (!context.taps.empty() && op.completed_layer >= 0) {
    copy_taps(context, op.completed_layer, rows);
  }
}

void rope_append_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const RopeAppendOp*>(raw);
  const CpuContext& context = *op.context;
  const std::int64_t heads = context.config.heads;
  const Range items = share(context.tokens * heads, thread, threads);
  for (std::int64_t i = items.begin; i < items.end; ++i) {
    prepare_q(context, op.layer, i / heads, i % heads);
  }
  // Rows of one page must not be written by two threads, so whole pages are dealt
  // out; the last thread gets the first one, having had no more q work than others.
  int dealt = threads - 1;
  for (std::int64_t token = 0; token < context.tokens; ++token) {
    const auto t = static_cast<std::size_t>(token);
    if (token > 0 && context.slots[t].page != context.slots[t - 1].page) {
      dealt = (dealt + 1) % threads;
    }
    if (dealt == thread) append_kv(context, op.layer, token);
  }
}

void attention_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const AttentionOp*>(raw);
  const CpuContext& context = *op.context;
  CpuLayerArgs args;
  args.layer = op.layer;
  args.kv = context.kv.layer(op.layer);
  args.window = context.config.layer_has_window(op.layer) ? context.config.window : 0;
  args.q = context.act.q;
  args.out = context.act.attended;
  context.attention->run(args, thread, threads);
}

void gather_op(ggml_tensor* /*dst*/, int thread, int /*threads*/, void* raw) {
  if (thread != 0) return;
  const CpuContext& context = *static_cast<const GatherOp*>(raw)->context;
  const std::int64_t hidden = context.config.hidden;
  const std::int64_t width = std::int64_t{context.config.heads} * context.config.head_dim;
  for (std::size_t i = 0; i < context.output_rows.size(); ++i) {
    const std::int64_t from = context.output_rows[i];
    const auto to = static_cast<std::int64_t>(i);  // to <= from: rows ascend
    std::copy_n(context.act.attended + from * width, width, context.act.q + to * width);
    if (from != to) {
      std::copy_n(context.act.residual + from * hidden, hidden, context.act.residual + to * hidden);
    }
  }
}

void gate_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const GateOp*>(raw);
  const CpuContext& context = *op.context;
  const std::int64_t ffn = context.config.ffn;
  const auto apply =
      context.config.activation == Activation::kSilu ? row_ops().silu_mul : row_ops().gelu_mul;
  const bool rounds = op.rounding == Rounding::kEightBits;
  if (rounds && thread == 0) deal_panels(*op.context);
  // Shares cut rows too, so that one decoding token occupies every thread; cuts at
  // whole blocks keep vector loops whole and let each thread round what it made.
  constexpr std::int64_t kCut = panels::kBlock;
  const std::int64_t blocks = (ffn + kCut - 1) / kCut;
  const Range items = share(op.rows * blocks, thread, threads);
  for (std::int64_t i = items.begin; i < items.end;) {
    const std::int64_t row = i / blocks;
    const std::int64_t stop = std::min(items.end, (row + 1) * blocks);
    const std::int64_t begin = (i - row * blocks) * kCut;
    const std::int64_t end = std::min(ffn, (stop - row * blocks) * kCut);
    const float* gate = context.act.gate_up + (op.fused ? row * 2 * ffn : row * ffn);
    const float* up = op.fused ? gate + ffn : gate + op.rows * ffn;
    float* gated = context.act.gated + row * ffn;
    apply(gate + begin, up + begin, static_cast<int>(end - begin), gated + begin);
    if (rounds) round_blocks(context, gated, ffn, row, begin / kCut, end / kCut);
    i = stop;
  }
}

void quantise_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const QuantiseOp*>(raw);
  if (thread == 0) deal_panels(*op.context);
  const std::int64_t blocks = op.columns / panels::kBlock;
  const Range items = share(op.rows * blocks, thread, threads);
  for (std::int64_t i = items.begin; i < items.end;) {
    const std::int64_t row = i / blocks;
    const std::int64_t stop = std::min(items.end, (row + 1) * blocks);
    round_blocks(*op.context, op.x + row * op.columns, op.columns, row, i - row * blocks,
                 stop - row * blocks);
    i = stop;
  }
}

// Panels are taken by ticket, so that a thread which lost its core for a while does
// not hold the others up for its whole share.
void packed_product_op(ggml_tensor* /*dst*/, int /*thread*/, int threads, void* raw) {
  const auto& op = *static_cast<const PackedProductOp*>(raw);
  const std::int64_t panels = op.weight->rows / panels::kPanelRows;
  const std::int64_t step = std::max<std::int64_t>(1, panels / (threads * kTicketsPerThread));
  for (;;) {
    const std::int64_t begin = op.context->next_panels.fetch_add(step, std::memory_order_relaxed);
    if (begin >= panels) return;
    panels::product(*op.weight, op.context->act.quantised, op.tokens, begin,
                    std::min(panels, begin + step), op.out, op.weight->rows);
  }
}

void embed_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const auto& op = *static_cast<const EmbedOp*>(raw);
  const CpuContext& context = *op.context;
  const Range rows = share(context.tokens, thread, threads);
  for (std::int64_t t = rows.begin; t < rows.end; ++t) {
    panels::unpack_row(*op.embedding, op.ids[t], context.act.residual + t * context.config.hidden);
  }
}

void scale_op(ggml_tensor* /*dst*/, int thread, int threads, void* raw) {
  const CpuContext& context = *static_cast<const ScaleOp*>(raw)->context;
  const Range items = share(std::int64_t{context.tokens} * context.config.hidden, thread, threads);
  for (std::int64_t i = items.begin; i < items.end; ++i) {
    context.act.residual[i] *= context.config.embedding_scale;
  }
}

}  // namespace fieldprint
