#include "runner/cuda/results.h"

#include <algorithm>
#include <bit>
#include <string>

#include "runner/cuda/products.h"
#include "runner/cuda/status.h"
#include "runner/step.h"

namespace fieldprint::cuda {
namespace {

constexpr std::size_t kMaxSequences = 1024;

// Grows a buffer to a power of two rows.
template <MemoryKind kKind>
Status grow(Buffer<kKind>& buffer, std::size_t rows, std::size_t row_bytes, const char* what,
            bool& moved) {
  if (rows * row_bytes <= buffer.size()) return {};
  moved = true;  // also when there is no new memory: the old is gone
  buffer.release();
  FP_ASSIGN(buffer, Buffer<kKind>::allocate(std::bit_ceil(rows) * row_bytes, what));
  return {};
}

}  // namespace

Status StepResults::reserve(const StepShape& shape) {
  const auto outputs = static_cast<std::size_t>(Products::padded_rows(shape.outputs));
  const std::size_t vocab_bytes = static_cast<std::size_t>(vocab_) * sizeof(float);
  const std::size_t hidden_bytes = static_cast<std::size_t>(hidden_) * sizeof(float);
  const auto taps = static_cast<std::size_t>(shape.taps);
  FP_TRY(grow(logits_, std::min<std::size_t>(outputs, kLogitsRun), vocab_bytes, "logits", moved_));
  if (shape.wants_logits) FP_TRY(grow(logits_host_, outputs, vocab_bytes, "logits", moved_));
  if (shape.wants_best) {
    FP_TRY(grow(best_, outputs, sizeof(std::int32_t), "best tokens", moved_));
    FP_TRY(grow(best_host_, outputs, sizeof(std::int32_t), "best tokens", moved_));
  }
  FP_TRY(grow(hidden_rows_, outputs, hidden_bytes, "hidden states", moved_));
  FP_TRY(grow(hidden_host_, outputs, hidden_bytes, "hidden states", moved_));
  FP_TRY(grow(taps_, taps, hidden_bytes, "hidden states", moved_));
  FP_TRY(grow(taps_host_, taps, hidden_bytes, "hidden states", moved_));
  if (mass_.size() > 0) return {};
  status_offset_ = kMaxSequences * kKvClasses * sizeof(float);
  const std::size_t bytes = status_offset_ + kStatusWords * sizeof(std::uint32_t);
  FP_ASSIGN(mass_, DeviceBuffer::allocate(bytes, "class masses"));
  FP_ASSIGN(mass_host_, PinnedBuffer::allocate(bytes, "class masses"));
  return {};
}

Status StepResults::fetch_logits(std::int32_t first, std::int32_t rows, cudaStream_t stream) const {
  const std::size_t row = static_cast<std::size_t>(vocab_);
  return check(cudaMemcpyAsync(logits_host_.as<float>() + static_cast<std::size_t>(first) * row,
                               logits_.data(), static_cast<std::size_t>(rows) * row * sizeof(float),
                               cudaMemcpyDeviceToHost, stream),
               "fetching logits");
}

Status StepResults::fetch_best(std::int32_t rows, cudaStream_t stream) const {
  return check(cudaMemcpyAsync(best_host_.data(), best_.data(),
                               static_cast<std::size_t>(rows) * sizeof(std::int32_t),
                               cudaMemcpyDeviceToHost, stream),
               "fetching the best tokens");
}

void StepResults::hand_out_best(std::span<const SequenceStep> steps, const StepShape& shape,
                                StepOutput& out) {
  best_in_order_.clear();
  const auto* from = best_host_.as<std::int32_t>();
  for (const SequenceStep& step : steps) {
    if (step.logits == LogitsWanted::kBest) best_in_order_.push_back(*from);
    if (shape.wants_best) from += output_rows_of(step);
  }
  out.best = best_in_order_;
}

Status StepResults::fetch_hidden(std::int32_t rows, cudaStream_t stream) const {
  const std::size_t bytes =
      static_cast<std::size_t>(rows) * static_cast<std::size_t>(hidden_) * sizeof(float);
  return check(cudaMemcpyAsync(hidden_host_.data(), hidden_rows_.data(), bytes,
                               cudaMemcpyDeviceToHost, stream),
               "fetching hidden states");
}

Status StepResults::fetch_rest(const StepShape& shape, cudaStream_t stream) const {
  const std::size_t tap_bytes =
      static_cast<std::size_t>(shape.taps) * static_cast<std::size_t>(hidden_) * sizeof(float);
  if (tap_bytes > 0) {
    FP_TRY(check(
        cudaMemcpyAsync(taps_host_.data(), taps_.data(), tap_bytes, cudaMemcpyDeviceToHost, stream),
        "fetching hidden states"));
  }
  return check(cudaMemcpyAsync(mass_host_.data(), mass_.data(), mass_.size(),
                               cudaMemcpyDeviceToHost, stream),
               "fetching class masses");
}

Result<StepOutput> StepResults::output(std::span<const SequenceStep> steps,
                                       const StepInputs& inputs, std::int32_t outputs) {
  const auto* words = mass_host_.as<std::uint32_t>(status_offset_);
  for (int i = 0; i < kStatusWords; ++i) {
    if (words[i] == 0) continue;
    return fail(ErrorKind::kInternal, "cuda_error",
                "a kernel refused the step's tables: status word " + std::to_string(i) + " is " +
                    std::to_string(words[i]) + "; please report this");
  }
  const auto rows = static_cast<std::size_t>(outputs);
  const auto hidden = static_cast<std::size_t>(hidden_);
  StepOutput out;
  out.vocab_size = vocab_;
  out.hidden_size = hidden_;
  if (rows > 0) {
    if (inputs.shape().wants_logits) {
      out.logits = {logits_host_.as<float>(), rows * static_cast<std::size_t>(vocab_)};
    }
    out.hidden = {hidden_host_.as<float>(), rows * hidden};
  }
  hand_out_best(steps, inputs.shape(), out);
  mass_in_order_.resize(steps.size() * kKvClasses);
  auto to = mass_in_order_.begin();
  for (const std::int32_t row : inputs.table_rows()) {
    to = std::copy_n(mass_host_.as<float>() + static_cast<std::ptrdiff_t>(row) * kKvClasses,
                     kKvClasses, to);
  }
  out.mass = mass_in_order_;
  tap_final_.clear();
  auto from = out.hidden.begin();
  for (const SequenceStep& step : steps) {
    const auto next = from + static_cast<std::ptrdiff_t>(output_rows_of(step)) * hidden_;
    if (step.tap != TapWanted::kNone) tap_final_.insert(tap_final_.end(), from, next);
    from = next;
  }
  out.tap_final = tap_final_;
  if (inputs.tapped() > 0) {
    out.tap_layer = {taps_host_.as<float>(), static_cast<std::size_t>(inputs.tapped()) * hidden};
  }
  return out;
}

}  // namespace fieldprint::cuda
