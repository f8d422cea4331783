#include "runner/cuda/cuda_runner.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <optional>
#include <string>

#include "core/check.h"
#include "runner/cuda/decoder.h"
#include "runner/cuda/device.h"
#include "runner/cuda/graphs.h"
#include "runner/cuda/status.h"
#include "runner/step.h"

namespace fieldprint {
namespace {

using cuda::check;

constexpr std::int32_t kMaxSequences = 1024;       // of the attention kernels
constexpr std::int64_t kMaxPages = 1 << 23;        // page ids have 23 bits
constexpr std::int64_t kMaxPoolLines = 1LL << 31;  // of the copy engine, see fp_attn_make_pool
constexpr std::size_t kReserve = std::size_t{512} << 20;  // left for libraries and growth

cuda::StepInputs::Limits limits_of(std::int32_t max_step_tokens) {
  return {max_step_tokens, std::min(max_step_tokens, kMaxSequences)};
}

class CudaRunner final : public Runner {
 public:
  CudaRunner(std::shared_ptr<const Model> model, const CudaRunnerOptions& options)
      : config_(model->config),
        model_(std::move(model)),
        options_(options),
        results_(config_.vocab, config_.hidden) {}
  ~CudaRunner() override { cudaDeviceSynchronize(); }

  Status init();

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override;
  Status copy_page(PageId from, PageId to) override {
    FP_TRY(healthy());
    return kept(kv_.copy(from, to, stream_.get()));
  }
  Result<PageRows> read_page(int layer, PageId page, int rows) override {
    FP_TRY(healthy());
    return kept(kv_.read(layer, page, rows, stream_.get()));
  }
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override {
    FP_TRY(healthy());
    return kept(kv_.write(layer, page, rows, data, stream_.get()));
  }
  const ModelConfig& config() const override { return config_; }
  std::int32_t page_count() const override { return kv_.pages(); }
  std::int32_t max_step_tokens() const override { return options_.max_step_tokens; }
  std::string device_name() const override { return device_name_; }
  std::string numeric_profile() const override;

 private:
  Result<std::int32_t> pages_to_take() const;
  Status healthy() const;
  template <typename T>
  Result<T> kept(Result<T> result);
  Status evaluate(std::span<const SequenceStep> steps);
  Status prepare(std::span<const SequenceStep> steps);
  std::int32_t decode_pages(std::span<const SequenceStep> steps) const;

  ModelConfig config_;
  std::shared_ptr<const Model> model_;
  CudaRunnerOptions options_;
  std::string device_name_;
  cuda::Stream stream_;
  cuda::Stream side_;
  cuda::KvPages kv_;
  cuda::AnchorPlaces anchors_;
  cuda::StepInputs inputs_;
  cuda::StepResults results_;
  std::unique_ptr<cuda::Decoder> decoder_;
  cuda::StepGraphs graphs_;
  std::optional<Error> broken_;
};

Status CudaRunner::init() {
  FP_CHECK(options_.kv_tokens >= 0 && options_.max_step_tokens > 0);
  FP_ASSIGN(const cudaDeviceProp device, cuda::find_device());
  FP_TRY(cuda::Decoder::check_model(config_));
  device_name_ = std::string("cuda: ") + device.name;
  const cuda::StepInputs::Limits limits = limits_of(options_.max_step_tokens);
  FP_ASSIGN(stream_, cuda::Stream::create());
  FP_ASSIGN(side_, cuda::Stream::create());
  FP_ASSIGN(auto weights, cuda::CudaWeights::load(*model_, options_.progress));
  FP_ASSIGN(decoder_, cuda::Decoder::create(config_, std::move(weights), options_.profile, limits));
  FP_ASSIGN(anchors_, cuda::AnchorPlaces::create(config_));
  FP_ASSIGN(inputs_, cuda::StepInputs::create(config_, options_.profile, limits));
  FP_ASSIGN(const std::int32_t pages, pages_to_take());
  FP_ASSIGN(kv_, cuda::KvPages::allocate(config_, pages));
  decoder_->set_kv(&kv_);
  // Enough for every page once; sequences that share pages make it grow.
  FP_TRY(decoder_->reserve_pages(pages));
  return {};
}

Result<std::int32_t> CudaRunner::pages_to_take() const {
  const std::int64_t lines = std::int64_t{config_.kv_heads} * kPageRows * (config_.head_dim / 64);
  const std::int64_t most = std::min(kMaxPages, (kMaxPoolLines - 1) / lines);
  std::int64_t pages = (options_.kv_tokens + kPageRows - 1) / kPageRows;
  if (options_.kv_tokens == 0) {
    FP_ASSIGN(const std::size_t free, cuda::free_memory());
    const std::size_t usable = free > kReserve ? (free - kReserve) / 16 * 15 : 0;
    pages = static_cast<std::int64_t>(usable / cuda::KvPages::page_bytes(config_));
  }
  if (pages > 0) return static_cast<std::int32_t>(std::min(pages, most));
  return fail(ErrorKind::kExhausted, "cuda_out_of_memory",
              "the weights leave no room for KV pages on the GPU; take a smaller model, or end "
              "other programs on the GPU");
}

// A kernel that failed leaves the context useless: whatever is asked later, that is the answer.
Status CudaRunner::healthy() const {
  if (!broken_) return {};
  return tl::unexpected(*broken_);
}

template <typename T>
Result<T> CudaRunner::kept(Result<T> result) {
  if (!result && result.error().code == "cuda_error" && cudaDeviceSynchronize() != cudaSuccess) {
    broken_ = result.error();
    broken_->message += " (the GPU's state is lost; start the process again)";
  }
  return result;
}

std::int32_t CudaRunner::decode_pages(std::span<const SequenceStep> steps) const {
  std::size_t pages = 0;
  for (const SequenceStep& step : steps) {
    if (step.tokens.size() == 1) pages += step.plan.pages.size();
  }
  return static_cast<std::int32_t>(std::min<std::size_t>(pages, 1 << 30));
}

// Everything that may fail for want of memory, before anything runs.
Status CudaRunner::prepare(std::span<const SequenceStep> steps) {
  FP_TRY(inputs_.gather(steps, kv_.pages(), anchors_, stream_.get()));
  if (options_.profile == NumericProfile::kFast && inputs_.plain_decode()) {
    inputs_.pad(cuda::Products::padded_rows(inputs_.shape().decodes));
  }
  FP_TRY(results_.reserve(inputs_.shape()));
  FP_ASSIGN(const bool workspace_moved, decoder_->reserve_pages(decode_pages(steps)));
  const bool inputs_moved = inputs_.moved();
  if (results_.moved() || inputs_moved || workspace_moved) graphs_.clear();
  return {};
}

Status CudaRunner::evaluate(std::span<const SequenceStep> steps) {
  FP_TRY(prepare(steps));
  const auto enqueue = [&] {
    return decoder_->enqueue(inputs_, anchors_, results_, stream_.get(), side_.get());
  };
  if (options_.profile == NumericProfile::kFast && inputs_.plain_decode()) {
    const auto taps = inputs_.tap_groups();
    FP_TRY(graphs_.run(inputs_.shape(), taps.empty() ? -1 : taps.front().layer, stream_.get(),
                       enqueue));
  } else {
    FP_TRY(enqueue());
  }
  return check(cudaStreamSynchronize(stream_.get()), "a step");
}

Result<StepOutput> CudaRunner::forward(std::span<const SequenceStep> steps) {
  FP_TRY(healthy());
  FP_TRY(kept(evaluate(steps)));
  std::int32_t outputs = 0;
  for (const SequenceStep& step : steps) outputs += output_rows_of(step);
  return results_.output(steps, inputs_, outputs);
}

// Everything that decides bits. In the invariant profile the chip's generation alone does.
std::string CudaRunner::numeric_profile() const {
  if (options_.profile == NumericProfile::kInvariant) {
    return std::string("invariant/cuda-sm90a/w-bf16/kv-bf16/") + decoder_->products().name();
  }
  std::string device = device_name_.substr(std::string("cuda: ").size());
  std::replace(device.begin(), device.end(), ' ', '_');
  return "fast/cuda-" + device + "/w-bf16/kv-bf16/" + decoder_->products().name();
}

}  // namespace

Result<std::unique_ptr<Runner>> make_cuda_runner(std::shared_ptr<const Model> model,
                                                 const CudaRunnerOptions& options) {
  auto runner = std::make_unique<CudaRunner>(std::move(model), options);
  FP_TRY(runner->init());
  return std::unique_ptr<Runner>(std::move(runner));
}

Result<std::int64_t> cuda_kv_memory(const Model& model, std::int32_t max_step_tokens) {
  FP_TRY(cuda::find_device());
  FP_ASSIGN(const std::size_t free, cuda::free_memory());
  // Activations: a dozen values a row, see Decoder::cut; the logits' buffers beside them.
  const ModelConfig& config = model.config;
  const auto rows = static_cast<std::size_t>(max_step_tokens) + 128;
  const std::size_t row_bytes = static_cast<std::size_t>(config.hidden) * 16 +
                                static_cast<std::size_t>(config.ffn) * 6 +
                                static_cast<std::size_t>(config.heads * config.head_dim) * 12;
  const std::size_t logits = static_cast<std::size_t>(config.vocab) * cuda::kLogitsRun * 4;
  const std::size_t taken =
      cuda::CudaWeights::bytes_for(model) + rows * row_bytes + logits + 2 * kReserve;
  return free > taken ? static_cast<std::int64_t>((free - taken) / 16 * 15) : 0;
}

}  // namespace fieldprint
