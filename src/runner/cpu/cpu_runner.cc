#include "runner/cpu/cpu_runner.h"

#include <ggml-cpu.h>
#include <ggml.h>
#include <sched.h>

#include <algorithm>
#include <list>
#include <string>

#include "core/check.h"
#include "runner/cpu/cpu_ops.h"
#include "runner/cpu/graph.h"
#include "runner/step.h"

namespace fieldprint {
namespace {

constexpr std::size_t kCachedGraphs = 64;

cpu_set_t allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  return set;
}

// Keeps the calling thread on one core while it computes. ggml's threads wait for each
// other by spinning, some hundred times a token; two of them on one core would pass a
// time slice (milliseconds) at every wait, and the scheduler does put them there when
// another program keeps the other core busy.
class PinnedToCore {
 public:
  explicit PinnedToCore(int core) : core_(core) {
    if (core_ < 0) return;
    before_ = allowed_cores();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core_, &one);
    sched_setaffinity(0, sizeof one, &one);  // best effort
  }
  ~PinnedToCore() {
    if (core_ >= 0) sched_setaffinity(0, sizeof before_, &before_);
  }
  PinnedToCore(const PinnedToCore&) = delete;
  PinnedToCore& operator=(const PinnedToCore&) = delete;

 private:
  int core_;
  cpu_set_t before_{};
};

// ggml is compiled for fixed instructions: say so before it dies of SIGILL.
Status check_cpu() {
  __builtin_cpu_init();
  const char* missing = nullptr;
  if (ggml_cpu_has_avx2() != 0 && !__builtin_cpu_supports("avx2")) missing = "AVX2";
  if (ggml_cpu_has_avx512() != 0 && !__builtin_cpu_supports("avx512f")) missing = "AVX-512";
  if (ggml_cpu_has_avx512_vnni() != 0 && !__builtin_cpu_supports("avx512vnni")) {
    missing = "AVX-512 VNNI";
  }
  if (ggml_cpu_has_avx512_bf16() != 0 && !__builtin_cpu_supports("avx512bf16")) {
    missing = "AVX-512 BF16";
  }
  if (missing == nullptr) return {};
  return fail(ErrorKind::kUnsupported, "cpu_too_old",
              std::string("ggml was built for ") + missing +
                  ", which this CPU lacks; delete .venv and run make build on this machine");
}

struct PoolDeleter {
  void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
};

class CpuRunner final : public Runner {
 public:
  CpuRunner(std::shared_ptr<const Model> model, const CpuRunnerOptions& options)
      : model_(std::move(model)), options_(options) {}

  Status init();

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override;
  Status copy_page(PageId from, PageId to) override {
    context_.kv.copy_page(from, to);
    return {};
  }
  Result<PageRows> read_page(int layer, PageId page, int rows) override;
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override;
  const ModelConfig& config() const override { return context_.config; }
  std::int32_t page_count() const override { return context_.kv.pages(); }
  std::int32_t max_step_tokens() const override { return options_.max_step_tokens; }
  std::string device_name() const override;
  std::string numeric_profile() const override;

 private:
  Status init_activations();
  void start_threads(const cpu_set_t& cores);
  Status gather_step(std::span<const SequenceStep> steps);
  Status gather_taps(std::span<const SequenceStep> steps);
  void copy_final_taps(std::span<const SequenceStep> steps, StepOutput& output);
  void find_best(std::span<const SequenceStep> steps, StepOutput& output);
  StepGraph& graph_for(std::int32_t tokens, std::int32_t outputs);
  void reserve_outputs(std::int32_t outputs);
  std::size_t page_elements(int rows) const;
  Status check_page(int layer, PageId page, int rows) const;

  std::shared_ptr<const Model> model_;
  CpuRunnerOptions options_;
  CpuContext context_;
  std::unique_ptr<ggml_threadpool, PoolDeleter> pool_;
  int own_core_ = -1;            // core of the thread that calls forward(); -1: any
  std::list<StepGraph> graphs_;  // most recently used first
  GraphBuffers buffers_;
  std::vector<std::byte> work_;
  std::vector<std::int32_t> ids_;
  std::vector<std::int32_t> positions_;
  std::vector<SequencePlan> plans_;
  std::vector<float> hidden_;
  std::vector<float> logits_;
  std::vector<TokenId> best_;
  std::vector<float> mass_;
  std::vector<float> tap_final_;
  std::vector<float> tap_layer_;
};

Status CpuRunner::init() {
  FP_TRY(check_cpu());
  FP_CHECK(options_.kv_tokens > 0 && options_.max_step_tokens > 0);
  const cpu_set_t cores = allowed_cores();
  if (options_.threads <= 0) options_.threads = CPU_COUNT(&cores);
  const ModelConfig& config = model_->config;
  context_.config = config;
  FP_ASSIGN(context_.weights, CpuWeights::load(*model_, options_.profile, options_.progress));

  CpuAttentionOptions attention;
  attention.shape.heads = config.heads;
  attention.shape.kv_heads = config.kv_heads;
  attention.shape.head_dim = config.head_dim;
  attention.shape.scale = config.attention_scale;
  attention.layers = config.layers;
  attention.max_threads = options_.threads;
  attention.kv_dtype = options_.kv_dtype;
  FP_ASSIGN(context_.attention, CpuAttention::create(attention));

  const KvShape shape{config.kv_heads, config.head_dim, options_.kv_dtype};
  const auto pages = static_cast<std::int32_t>((options_.kv_tokens + kPageRows - 1) / kPageRows);
  FP_ASSIGN(context_.kv, KvArena::allocate(shape, config.layers, pages));
  context_.rope = std::make_unique<RopeTables>(config);
  FP_TRY(init_activations());

  start_threads(cores);
  return {};
}

// One thread per allowed core: each is tied to its own. Fewer threads are left to the
// scheduler, so that two programs do not fight over the same cores.
void CpuRunner::start_threads(const cpu_set_t& cores) {
  ggml_threadpool_params params = ggml_threadpool_params_default(options_.threads);
  if (options_.threads > 1 && options_.threads == CPU_COUNT(&cores)) {
    for (int core = 0; core < std::min<int>(CPU_SETSIZE, GGML_MAX_N_THREADS); ++core) {
      if (!CPU_ISSET(core, &cores)) continue;
      params.cpumask[core] = true;
      own_core_ = core;  // ggml deals cores out from the first; the caller gets the last
    }
    params.strict_cpu = true;
    params.paused = true;  // else ggml ties down the thread that happens to be here
  }
  pool_.reset(ggml_threadpool_new(&params));
  FP_CHECK(pool_ != nullptr);
}

Status CpuRunner::init_activations() {
  const ModelConfig& config = context_.config;
  Activations& act = context_.act;
  const auto n = static_cast<std::size_t>(options_.max_step_tokens);
  const auto hidden = static_cast<std::size_t>(config.hidden);
  const auto q = static_cast<std::size_t>(config.heads) * static_cast<std::size_t>(config.head_dim);
  const auto kv =
      static_cast<std::size_t>(config.kv_heads) * static_cast<std::size_t>(config.head_dim);
  const auto ffn = static_cast<std::size_t>(config.ffn);
  const std::size_t widest = std::max({hidden, q, ffn});
  const std::size_t scales = (widest + panels::kBlock - 1) / panels::kBlock;
  const std::size_t quantised = widest / sizeof(float) + 1 + 3 * scales;
  const std::size_t floats = n * (3 * hidden + (q + 2 * kv) + 2 * q + 3 * ffn + quantised);
  FP_ASSIGN(act.memory, HugeBuffer::allocate(floats * sizeof(float), "activations"));
  auto* at = reinterpret_cast<float*>(act.memory.data());
  const auto take = [&](std::size_t width) {
    float* taken = at;
    at += n * width;
    return taken;
  };
  act.residual = take(hidden);
  act.normed = take(hidden);
  act.branch = take(hidden);
  act.q_raw = take(q + 2 * kv);
  act.q = take(q);
  act.attended = take(q);
  act.gate_up = take(2 * ffn);
  act.gated = take(ffn);
  act.quantised.scale = take(scales);
  act.quantised.scaled_total = take(scales);
  act.quantised.total = reinterpret_cast<std::int32_t*>(take(scales));
  act.quantised.values = reinterpret_cast<std::int8_t*>(take(widest / sizeof(float) + 1));
  ids_.resize(n);
  buffers_.token_ids = ids_.data();
  return {};
}

// Logits of every row of a long prompt are large, so the buffer grows on demand;
// graphs hold pointers to it and are dropped when it moves.
void CpuRunner::reserve_outputs(std::int32_t outputs) {
  const auto rows = static_cast<std::size_t>(outputs);
  const std::size_t logits = rows * static_cast<std::size_t>(context_.config.vocab);
  if (logits <= logits_.size()) return;
  graphs_.clear();
  logits_.resize(logits);
  hidden_.resize(rows * static_cast<std::size_t>(context_.config.hidden));
  buffers_.logits = logits_.data();
  buffers_.hidden = hidden_.data();
}

StepGraph& CpuRunner::graph_for(std::int32_t tokens, std::int32_t outputs) {
  const auto found = std::find_if(graphs_.begin(), graphs_.end(), [&](const StepGraph& g) {
    return g.tokens() == tokens && g.outputs() == outputs;
  });
  if (found != graphs_.end()) {
    graphs_.splice(graphs_.begin(), graphs_, found);
  } else {
    if (graphs_.size() >= kCachedGraphs) graphs_.pop_back();
    graphs_.emplace_front(context_, options_.profile, tokens, outputs, buffers_);
  }
  return graphs_.front();
}

Status CpuRunner::gather_step(std::span<const SequenceStep> steps) {
  positions_.clear();
  plans_.clear();
  context_.slots.clear();
  context_.output_rows.clear();
  std::int32_t row = 0;
  for (const SequenceStep& step : steps) {
    const auto count = static_cast<std::int32_t>(step.tokens.size());
    FP_CHECK(count > 0 && step.slots.size() == step.tokens.size());
    FP_CHECK(row + count <= options_.max_step_tokens);
    SequencePlan plan = step.plan;
    plan.first_query = row;
    plan.query_count = count;
    plans_.push_back(plan);
    for (std::int32_t i = 0; i < count; ++i, ++row) {
      const auto at = static_cast<std::size_t>(i);
      if (step.tokens[at] < 0 || step.tokens[at] >= context_.config.vocab) {
        return fail(ErrorKind::kInvalid, "invalid_token",
                    "token id " + std::to_string(step.tokens[at]) + " is outside 0.." +
                        std::to_string(context_.config.vocab - 1));
      }
      FP_CHECK(context_.kv.holds(step.slots[at].page));
      ids_[static_cast<std::size_t>(row)] = step.tokens[at];
      positions_.push_back(plan.first_query_pos + i);
      context_.slots.push_back(step.slots[at]);
      const bool wanted = step.logits == LogitsWanted::kAll ||
                          (step.logits != LogitsWanted::kNone && i + 1 == count);
      if (wanted) context_.output_rows.push_back(row);
    }
  }
  FP_CHECK(row > 0);
  context_.tokens = row;
  return {};
}

// Where the norm ops are to leave copies of the residual.
Status CpuRunner::gather_taps(std::span<const SequenceStep> steps) {
  context_.taps.clear();
  std::int32_t output = 0;
  for (const SequenceStep& step : steps) {
    const std::int32_t rows = output_rows_of(step);
    FP_TRY(check_tap_layer(step, context_.config.layers));
    if (step.tap == TapWanted::kFinalAndLayer) {
      for (std::int32_t row = output; row < output + rows; ++row) {
        const std::int32_t token = context_.output_rows[static_cast<std::size_t>(row)];
        context_.taps.push_back({step.tap_layer, token, row, nullptr});
      }
    }
    output += rows;
  }
  const auto hidden = static_cast<std::size_t>(context_.config.hidden);
  tap_layer_.resize(context_.taps.size() * hidden);
  for (std::size_t i = 0; i < context_.taps.size(); ++i) {
    context_.taps[i].to = tap_layer_.data() + i * hidden;
  }
  return {};
}

void CpuRunner::copy_final_taps(std::span<const SequenceStep> steps, StepOutput& output) {
  tap_final_.clear();
  auto row = output.hidden.begin();
  for (const SequenceStep& step : steps) {
    const auto next = row + static_cast<std::ptrdiff_t>(output_rows_of(step)) * output.hidden_size;
    if (step.tap != TapWanted::kNone) tap_final_.insert(tap_final_.end(), row, next);
    row = next;
  }
  output.tap_final = tap_final_;
  output.tap_layer = tap_layer_;
}

void CpuRunner::find_best(std::span<const SequenceStep> steps, StepOutput& output) {
  best_.clear();
  bool wanted = false;  // more than the best
  auto row = output.logits.begin();
  for (const SequenceStep& step : steps) {
    const auto next = row + static_cast<std::ptrdiff_t>(output_rows_of(step)) * output.vocab_size;
    if (step.logits == LogitsWanted::kBest) {
      best_.push_back(static_cast<TokenId>(std::max_element(row, next) - row));
    } else {
      wanted = wanted || next != row;
    }
    row = next;
  }
  output.best = best_;
  if (!wanted) output.logits = {};
}

Result<StepOutput> CpuRunner::forward(std::span<const SequenceStep> steps) {
  FP_TRY(gather_step(steps));
  FP_TRY(gather_taps(steps));
  const auto outputs = static_cast<std::int32_t>(context_.output_rows.size());
  reserve_outputs(outputs);
  context_.rope->fill(positions_);
  FP_TRY(context_.attention->prepare(plans_, options_.threads));
  {
    const PinnedToCore pinned(own_core_);
    FP_TRY(graph_for(context_.tokens, outputs).compute(pool_.get(), options_.threads, work_));
  }
  mass_.resize(steps.size() * kKvClasses);
  context_.attention->finish(mass_);

  StepOutput output;
  output.vocab_size = context_.config.vocab;
  output.hidden_size = context_.config.hidden;
  const auto rows = static_cast<std::size_t>(outputs);
  output.logits = std::span(logits_).first(rows * static_cast<std::size_t>(output.vocab_size));
  output.hidden = std::span(hidden_).first(rows * static_cast<std::size_t>(output.hidden_size));
  output.mass = mass_;
  copy_final_taps(steps, output);
  find_best(steps, output);
  return output;
}

std::size_t CpuRunner::page_elements(int rows) const {
  return static_cast<std::size_t>(context_.config.kv_heads) * static_cast<std::size_t>(rows) *
         static_cast<std::size_t>(context_.config.head_dim);
}

Status CpuRunner::check_page(int layer, PageId page, int rows) const {
  const bool ok = layer >= 0 && layer < context_.config.layers && context_.kv.holds(page) &&
                  rows > 0 && rows <= kPageRows;
  if (ok) return {};
  return fail(ErrorKind::kInvalid, "page_out_of_range",
              "no rows 0.." + std::to_string(rows) + " in page " + std::to_string(page) +
                  " of layer " + std::to_string(layer));
}

Result<PageRows> CpuRunner::read_page(int layer, PageId page, int rows) {
  FP_TRY(check_page(layer, page, rows));
  PageRows data;
  data.k.resize(page_elements(rows));
  data.v.resize(page_elements(rows));
  kv_read_rows(context_.kv.shape(), context_.kv.page(layer, page), rows, data.k, data.v);
  return data;
}

Status CpuRunner::write_page(int layer, PageId page, int rows, const PageRows& data) {
  FP_TRY(check_page(layer, page, rows));
  if (data.k.size() != page_elements(rows) || data.v.size() != page_elements(rows)) {
    return fail(ErrorKind::kInvalid, "page_size_mismatch",
                "a page of " + std::to_string(rows) + " rows needs " +
                    std::to_string(page_elements(rows)) + " K and V values");
  }
  kv_write_rows(context_.kv.shape(), context_.kv.page(layer, page), rows, data.k, data.v);
  return {};
}

std::string CpuRunner::device_name() const {
  return "cpu: " + std::string(cpu_isa_name(context_.attention->isa())) + ", " +
         std::to_string(options_.threads) + " threads";
}

// Everything that decides bits. Threads do not.
std::string CpuRunner::numeric_profile() const {
  std::string name = options_.profile == NumericProfile::kInvariant ? "invariant" : "fast";
  name += "/cpu-" + std::string(cpu_isa_name(context_.attention->isa()));
  name += options_.kv_dtype == KvDtype::kBf16 ? "/kv-bf16" : "/kv-f32";
  name += std::string("/ggml-") + ggml_version();
  if (context_.weights->repacked) name += "-repack";
  if (context_.weights->panelled()) name += "/panels-vnni";
  return name;
}

}  // namespace

int usable_cores() {
  const cpu_set_t cores = allowed_cores();
  return CPU_COUNT(&cores);
}

Result<std::unique_ptr<Runner>> make_cpu_runner(std::shared_ptr<const Model> model,
                                                const CpuRunnerOptions& options) {
  auto runner = std::make_unique<CpuRunner>(std::move(model), options);
  FP_TRY(runner->init());
  return std::unique_ptr<Runner>(std::move(runner));
}

}  // namespace fieldprint
