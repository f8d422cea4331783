// What a step hands back: device buffers that kernels fill, and their page-locked copies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "model/config.h"
#include "runner/cuda/kernels.h"
#include "runner/cuda/memory.h"
#include "runner/cuda/step_inputs.h"
#include "runner/runner.h"

namespace fieldprint::cuda {

// Logits are made and copied in runs of so many rows: those of a long prompt's every token
// would take gigabytes.
inline constexpr std::int32_t kLogitsRun = 256;

class StepResults {
 public:
  StepResults(std::int32_t vocab, std::int32_t hidden) : vocab_(vocab), hidden_(hidden) {}

  // Room for a step of this shape. Errors: cuda_out_of_memory.
  Status reserve(const StepShape& shape);
  bool moved() { return std::exchange(moved_, false); }

  float* logits() const { return logits_.as<float>(); }  // device, [kLogitsRun or fewer][vocab]
  std::int32_t* best() const { return best_.as<std::int32_t>(); }  // device, [outputs]
  float* hidden() const { return hidden_rows_.as<float>(); }       // device, [outputs][hidden]
  float* taps() const { return taps_.as<float>(); }                // device, [taps][hidden]
  float* mass() const { return mass_.as<float>(); }                // device, [sequences][8]
  std::uint32_t* status() const { return mass_.as<std::uint32_t>(status_offset_); }

  // Copies to the host, on a stream.
  Status fetch_logits(std::int32_t first, std::int32_t rows, cudaStream_t stream) const;
  Status fetch_best(std::int32_t rows, cudaStream_t stream) const;
  Status fetch_hidden(std::int32_t rows, cudaStream_t stream) const;
  Status fetch_rest(const StepShape& shape, cudaStream_t stream) const;

  // After the copies: what forward() returns. Errors: cuda_error (a kernel found the step's
  // tables wrong).
  Result<StepOutput> output(std::span<const SequenceStep> steps, const StepInputs& inputs,
                            std::int32_t outputs);

 private:
  std::int32_t vocab_;
  std::int32_t hidden_;
  bool moved_ = false;
  std::size_t status_offset_ = 0;
  void hand_out_best(std::span<const SequenceStep> steps, const StepShape& shape, StepOutput& out);

  DeviceBuffer logits_, best_, hidden_rows_, taps_, mass_;
  PinnedBuffer logits_host_, best_host_, hidden_host_, taps_host_, mass_host_;
  std::vector<TokenId> best_in_order_;
  std::vector<float> mass_in_order_;
  std::vector<float> tap_final_;
};

}  // namespace fieldprint::cuda
