#include "runner/cuda/decoder.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "runner/cuda/status.h"

namespace fieldprint::cuda {
namespace {

constexpr std::int32_t kMaxGroup = 8;

Status unsupported(const ModelConfig& config, const std::string& what) {
  return fail(ErrorKind::kUnsupported, "model_unsupported",
              "this " + config.architecture + " model has " + what +
                  ", which is not supported on a GPU yet; use --device cpu");
}

}  // namespace

Status Decoder::check_model(const ModelConfig& config) {
  if (config.head_dim != 64 && config.head_dim != 128) {
    return unsupported(config, "heads of " + std::to_string(config.head_dim) +
                                   " elements (64 and 128 are supported)");
  }
  if (config.heads / config.kv_heads > kMaxGroup) {
    return unsupported(config, "more than 8 query heads per KV head");
  }
  if (config.window > 0) return unsupported(config, "sliding-window layers");
  if (config.rope_dims % 16 != 0) return unsupported(config, "an uneven rotary dimension");
  if (config.ffn % 8 != 0) return unsupported(config, "an FFN size that 8 does not divide");
  if (config.hidden > kMaxHidden) return unsupported(config, "a hidden size above 16384");
  if (config.layers > FP_KV_MAX_LAYERS) return unsupported(config, "more than 128 layers");
  return {};
}

Result<std::unique_ptr<Decoder>> Decoder::create(const ModelConfig& config,
                                                 std::unique_ptr<CudaWeights> weights,
                                                 NumericProfile profile,
                                                 const StepInputs::Limits& limits) {
  FP_TRY(check_model(config));
  std::unique_ptr<Decoder> made(new Decoder(config));
  made->weights_ = std::move(weights);
  FP_ASSIGN(made->products_, make_products(profile));
  const fp_kv_rope_spec rope{
      config.rope_style == RopeStyle::kAdjacent ? FP_KV_ROPE_ADJACENT : FP_KV_ROPE_HALVES,
      config.rope_dims, config.rope_base, config.rope_scale,
      config.rope_factors.empty() ? nullptr : config.rope_factors.data()};
  FP_TRY(check(fp_kv_make_rope(&rope, &made->rope_), "reading the rotary positions"));
  FP_ASSIGN(made->forked_, Event::create());
  FP_ASSIGN(made->joined_, Event::create());
  FP_TRY(made->allocate(limits));
  return made;
}

std::size_t Decoder::q_width() const {
  return static_cast<std::size_t>(config_.heads) * static_cast<std::size_t>(config_.head_dim);
}

std::size_t Decoder::cut(Cutter cutter, const StepInputs::Limits& limits) {
  const auto rows = static_cast<std::size_t>(Products::padded_rows(limits.rows));
  const auto hidden = static_cast<std::size_t>(config_.hidden);
  const auto ffn = static_cast<std::size_t>(config_.ffn);
  const std::size_t qkv =
      q_width() + 2 * static_cast<std::size_t>(config_.kv_heads * config_.head_dim);
  act_.residual = cutter.take<float>(rows * hidden);
  act_.kept = cutter.take<float>(rows * hidden);
  act_.branch = config_.post_norms ? cutter.take<float>(rows * hidden) : nullptr;
  act_.normed = cutter.take<std::uint16_t>(rows * hidden);
  act_.qkv = cutter.take<std::uint16_t>(rows * qkv);
  act_.q = cutter.take<std::uint16_t>(rows * q_width());
  act_.attended = cutter.take<std::uint16_t>(rows * q_width());
  act_.gate_up = cutter.take<std::uint16_t>(rows * 2 * ffn);
  act_.gated = cutter.take<std::uint16_t>(rows * ffn);
  const auto masses = static_cast<std::size_t>(limits.sequences) *
                      static_cast<std::size_t>(config_.heads) *
                      static_cast<std::size_t>(config_.layers);
  act_.mass = cutter.take<float>(masses * kKvClasses);
  act_.kv_status = cutter.take<std::uint32_t>(1);
  return cutter.bytes();
}

Status Decoder::allocate(const StepInputs::Limits& limits) {
  FP_ASSIGN(memory_, DeviceBuffer::allocate(cut(Cutter(), limits), "activations"));
  cut(Cutter(memory_.data()), limits);
  // Rows that only pad a product are read before anything writes them.
  FP_TRY(check(cudaMemset(memory_.data(), 0, memory_.size()), "clearing activations"));
  const fp_attn_shape shape{config_.head_dim, config_.heads, config_.kv_heads, kPageRows};
  prefill_workspace_.limits = {limits.sequences, 0};
  prefill_workspace_.bytes = fp_attn_prefill_workspace_bytes(&shape, &prefill_workspace_.limits);
  FP_ASSIGN(prefill_memory_,
            DeviceBuffer::allocate(prefill_workspace_.bytes, "the prefill workspace"));
  prefill_workspace_.data = prefill_memory_.data();
  FP_TRY(check(cudaMemset(prefill_memory_.data(), 0, prefill_memory_.size()),
               "clearing the prefill workspace"));
  decode_workspace_.limits = {limits.sequences, 0};
  return {};
}

Result<bool> Decoder::reserve_pages(std::int32_t total_pages) {
  if (decode_workspace_.data != nullptr &&
      total_pages <= decode_workspace_.limits.max_total_pages) {
    return false;
  }
  constexpr std::int32_t kSlack = 1024;
  const fp_attn_shape shape{config_.head_dim, config_.heads, config_.kv_heads, kPageRows};
  decode_workspace_.data = nullptr;
  decode_memory_.release();
  decode_workspace_.limits.max_total_pages = total_pages + total_pages / 2 + kSlack;
  decode_workspace_.bytes = fp_attn_workspace_bytes(&shape, &decode_workspace_.limits);
  FP_ASSIGN(decode_memory_,
            DeviceBuffer::allocate(decode_workspace_.bytes, "the decode workspace"));
  FP_TRY(check(cudaMemset(decode_memory_.data(), 0, decode_memory_.size()),
               "clearing the decode workspace"));
  decode_workspace_.data = decode_memory_.data();
  return true;
}

Decoder::Pass Decoder::begin(const StepInputs& inputs, const AnchorPlaces& anchors,
                             const StepResults& results, cudaStream_t stream,
                             cudaStream_t side) const {
  const StepShape& shape = inputs.shape();
  Pass pass{inputs, shape, inputs.device(), anchors, results};
  const StepArrays& a = pass.arrays;
  pass.all.pages = a.pages;
  pass.all.page_counts = a.page_counts;
  pass.all.page_stride = shape.page_stride;
  pass.all.batch = shape.sequences();
  if (shape.anchored) {
    pass.all.anchor_ids = a.anchor_ids;
    anchors.fill(pass.all);
  }
  pass.decode = pass.all;
  pass.decode.batch = shape.decodes;
  pass.prefill = pass.all;
  pass.prefill.batch = shape.prefills;
  pass.prefill.pages += static_cast<std::ptrdiff_t>(shape.decodes) * shape.page_stride;
  pass.prefill.page_counts += shape.decodes;
  if (shape.anchored) pass.prefill.anchor_ids += shape.decodes;
  pass.queries = {a.starts, a.first_positions, a.page_positions,
                  shape.anchored ? anchors.positions() : nullptr, shape.rows - shape.decodes};
  pass.stream = stream;
  pass.side = side;
  pass.rows = shape.rows;
  pass.residual = act_.residual;
  return pass;
}

// On the side stream: the first layer's products need no plan.
Status Decoder::plan(const Pass& pass) const {
  const fp_attn_shape& shape = kv_->cache().shape;
  FP_TRY(check(cudaMemsetAsync(act_.kv_status, 0, sizeof(std::uint32_t), pass.stream),
               "beginning a step"));
  FP_TRY(check(cudaEventRecord(forked_.get(), pass.stream), "a step"));
  FP_TRY(check(cudaStreamWaitEvent(pass.side, forked_.get(), 0), "a step"));
  if (pass.shape.decodes > 0) {
    FP_TRY(check(fp_attn_plan(&shape, &pass.decode, &decode_workspace_, pass.side),
                 "planning the attention"));
  }
  if (pass.shape.prefills > 0) {
    FP_TRY(check(
        fp_attn_prefill_plan(&shape, &pass.prefill, &pass.queries, &prefill_workspace_, pass.side),
        "planning the attention"));
  }
  return check(cudaEventRecord(joined_.get(), pass.side), "a step");
}

void Decoder::norm(const Pass& pass, const float* weight, const float* post_weight,
                   float* wide) const {
  const float* branch = post_weight == nullptr ? nullptr : act_.branch;
  cuda::norm({pass.residual, branch, post_weight, weight, act_.normed, wide, config_.norm_eps,
              config_.hidden},
             pass.rows, pass.stream);
}

Status Decoder::project_qkv(const Pass& pass, int layer) const {
  const CudaLayer& w = weights_->layers[static_cast<std::size_t>(layer)];
  FP_TRY(
      products_->run(w.qkv, act_.normed, pass.rows, act_.qkv, ProductOutput::kBf16, pass.stream));
  if (w.qkv_bias != nullptr || w.q_norm != nullptr) {
    qkv_finish({act_.qkv, w.qkv_bias, w.q_norm, w.k_norm, config_.norm_eps, pass.rows,
                config_.heads, config_.kv_heads, config_.head_dim},
               pass.stream);
  }
  const auto q = static_cast<std::int64_t>(q_width());
  const std::int64_t kv = std::int64_t{config_.kv_heads} * config_.head_dim;
  const auto* rows = static_cast<const std::uint16_t*>(act_.qkv);
  const std::int64_t stride = q + 2 * kv;
  const fp_kv_tokens tokens{pass.arrays.sequences, pass.arrays.slots, pass.arrays.positions,
                            pass.arrays.classes, pass.rows};
  const fp_kv_append_args args{rows + q, rows + q + kv, rows, act_.q,        stride,
                               stride,   stride,        q,    act_.kv_status};
  return check(fp_kv_append(&kv_->cache(), layer, &pass.all, &tokens, &rope_, &args, pass.stream),
               "writing K and V");
}

Status Decoder::attend(const Pass& pass, int layer) const {
  const auto heads = static_cast<std::size_t>(config_.heads);
  const std::size_t layer_rows = static_cast<std::size_t>(pass.shape.sequences()) * heads;
  if (layer == 0) {
    FP_TRY(check(cudaStreamWaitEvent(pass.stream, joined_.get(), 0), "a step"));
  }
  fp_attn_decode_args args{};
  args.q = act_.q;
  args.o = act_.attended;
  args.scale = config_.attention_scale;
  args.mass = act_.mass + static_cast<std::size_t>(layer) * layer_rows * kKvClasses;
  if (pass.shape.anchored) pass.anchors.fill(layer, args);
  if (pass.shape.decodes > 0) {
    FP_TRY(check(
        fp_attn_decode(&kv_->pool(layer), &pass.decode, &decode_workspace_, &args, pass.stream),
        "attention"));
  }
  if (pass.shape.prefills == 0) return {};
  const auto skipped = static_cast<std::size_t>(pass.shape.decodes);
  fp_attn_prefill_args prefill{};
  prefill.base = args;
  prefill.rows = FP_ATTN_ROWS_LAST;
  prefill.base.q = static_cast<const std::uint16_t*>(act_.q) + skipped * q_width();
  prefill.base.o = static_cast<std::uint16_t*>(act_.attended) + skipped * q_width();
  prefill.base.mass = args.mass + skipped * heads * kKvClasses;
  return check(fp_attn_prefill(&kv_->pool(layer), &pass.prefill, &pass.queries, &prefill_workspace_,
                               &prefill, pass.stream),
               "attention");
}

// From here on only rows that lead to logits are computed; act_.q is free by now.
void Decoder::keep_output_rows(Pass& pass) const {
  if (!pass.shape.compacts) return;
  gather({pass.arrays.output_rows, act_.residual, act_.kept, act_.attended, act_.q, config_.hidden,
          static_cast<int>(q_width())},
         pass.shape.outputs, pass.stream);
  pass.rows = pass.shape.outputs;
  pass.residual = act_.kept;
}

Status Decoder::add_branch(const Pass& pass, const Matrix& weight, const void* x) const {
  return config_.post_norms
             ? products_->run(weight, x, pass.rows, act_.branch, ProductOutput::kF32, pass.stream)
             : products_->run(weight, x, pass.rows, pass.residual, ProductOutput::kAddF32,
                              pass.stream);
}

void Decoder::hand_out_taps(const Pass& pass, int completed_layer) const {
  for (const TapGroup& group : pass.inputs.tap_groups()) {
    if (group.layer != completed_layer) continue;
    tap({pass.arrays.tap_rows + group.first, pass.arrays.tap_places + group.first, pass.residual,
         pass.results.taps(), config_.hidden},
        group.count, pass.stream);
  }
}

// One block, from its first norm to the branch that the next norm (or the product itself) adds.
Status Decoder::layer(Pass& pass, int layer) const {
  const CudaLayer& w = weights_->layers[static_cast<std::size_t>(layer)];
  const float* pending =
      layer > 0 ? weights_->layers[static_cast<std::size_t>(layer) - 1].ffn_post_norm : nullptr;
  norm(pass, w.attn_norm, pending, nullptr);
  if (layer > 0) hand_out_taps(pass, layer - 1);
  FP_TRY(project_qkv(pass, layer));
  const bool last = layer + 1 == config_.layers;
  if (last && pass.shape.outputs == 0) return {};  // nothing after it could be read
  FP_TRY(attend(pass, layer));
  const bool compacts = last && pass.shape.compacts;
  if (compacts) keep_output_rows(pass);
  FP_TRY(add_branch(pass, w.attn_out, compacts ? act_.q : act_.attended));
  norm(pass, w.ffn_norm, w.attn_post_norm, nullptr);
  FP_TRY(products_->gated(
      w.gate_up, act_.normed, pass.rows, act_.gate_up, act_.gated,
      config_.activation == Activation::kGeluTanh ? GateKind::kGelu : GateKind::kSilu,
      pass.stream));
  return add_branch(pass, w.down, act_.gated);
}

Status Decoder::output_head(const Pass& pass) const {
  const std::size_t row = static_cast<std::size_t>(config_.hidden);
  for (std::int32_t first = 0; first < pass.rows; first += kLogitsRun) {
    const std::int32_t rows = std::min(kLogitsRun, pass.rows - first);
    const auto* x =
        static_cast<const std::uint16_t*>(act_.normed) + static_cast<std::size_t>(first) * row;
    FP_TRY(products_->run(weights_->output, x, rows, pass.results.logits(), ProductOutput::kF32,
                          pass.stream));
    if (pass.shape.wants_logits) FP_TRY(pass.results.fetch_logits(first, rows, pass.stream));
    if (pass.shape.wants_best) {
      argmax(pass.results.logits(), pass.results.best() + first, rows, config_.vocab, pass.stream);
    }
  }
  return pass.shape.wants_best ? pass.results.fetch_best(pass.rows, pass.stream) : Status{};
}

Status Decoder::finish(const Pass& pass, int layers_attended) const {
  MassArgs args{};
  args.mass = act_.mass;
  args.layer_stride =
      static_cast<std::size_t>(pass.shape.sequences()) * static_cast<std::size_t>(config_.heads);
  args.mean = pass.results.mass();
  args.layers = layers_attended;
  args.heads = config_.heads;
  args.status[0] = act_.kv_status;
  args.status[1] = pass.shape.decodes > 0 ? decode_memory_.as<std::uint32_t>() : nullptr;
  args.status[2] = pass.shape.prefills > 0 ? prefill_memory_.as<std::uint32_t>() : nullptr;
  args.status_out = pass.results.status();
  mass(args, pass.shape.sequences(), pass.stream);
  // Hidden states, masses and taps travel while the output head computes.
  FP_TRY(check(cudaEventRecord(forked_.get(), pass.stream), "a step"));
  FP_TRY(check(cudaStreamWaitEvent(pass.side, forked_.get(), 0), "a step"));
  if (pass.shape.outputs > 0) FP_TRY(pass.results.fetch_hidden(pass.rows, pass.side));
  FP_TRY(pass.results.fetch_rest(pass.shape, pass.side));
  FP_TRY(check(cudaEventRecord(joined_.get(), pass.side), "a step"));
  if (pass.shape.outputs > 0) FP_TRY(output_head(pass));
  return check(cudaStreamWaitEvent(pass.stream, joined_.get(), 0), "a step");
}

Status Decoder::enqueue(const StepInputs& inputs, const AnchorPlaces& anchors,
                        const StepResults& results, cudaStream_t stream, cudaStream_t side) {
  FP_CHECK(kv_ != nullptr && decode_workspace_.data != nullptr);
  FP_TRY(inputs.upload(stream));
  Pass pass = begin(inputs, anchors, results, stream, side);
  FP_TRY(plan(pass));
  embed({weights_->embedding.data, pass.arrays.tokens, act_.residual, config_.embedding_scale,
         config_.hidden},
        pass.rows, stream);
  for (int i = 0; i < config_.layers; ++i) FP_TRY(layer(pass, i));
  int attended = config_.layers;
  if (pass.shape.outputs > 0) {
    norm(pass, weights_->output_norm, weights_->layers.back().ffn_post_norm, results.hidden());
    hand_out_taps(pass, config_.layers - 1);
  } else {
    --attended;
  }
  FP_TRY(finish(pass, attended));
  return check(cudaGetLastError(), "launching a step");
}

}  // namespace fieldprint::cuda
