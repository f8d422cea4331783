// What one step needs on the device, gathered in page-locked memory and sent in one copy.
//
// Rows are dealt anew: first the sequences that bring one token (they decode), then those that
// bring several (they prefill), each kind in step order. In the invariant profile all of them
// prefill, since the two kernels' bits differ. Arrays lie at offsets that depend on the counts
// of a StepShape alone, so that a CUDA graph made for a shape serves every step of that shape.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/kv_capi.h"
#include "core/error.h"
#include "model/config.h"
#include "runner/cuda/anchors.h"
#include "runner/cuda/memory.h"
#include "runner/profile.h"
#include "runner/runner.h"

namespace fieldprint::cuda {

struct StepShape {
  std::int32_t rows = 0;     // tokens
  std::int32_t decodes = 0;  // sequences, one row each
  std::int32_t prefills = 0;
  std::int32_t page_stride = 0;  // pages a sequence may have, a power of two
  std::int32_t outputs = 0;      // rows that lead to logits
  std::int32_t taps = 0;
  bool wants_logits = false;  // somebody wants whole rows
  bool wants_best = false;    // somebody wants the likeliest token alone
  bool anchored = false;
  bool compacts = false;  // output rows are not simply all rows in order

  std::int32_t sequences() const { return decodes + prefills; }
  bool operator==(const StepShape&) const = default;
  auto operator<=>(const StepShape&) const = default;  // NOLINT(modernize-use-nullptr)
};

// A layer whose residual stream is handed out: taps first..first+count-1 of the step.
struct TapGroup {
  std::int32_t layer = 0;
  std::int32_t first = 0;
  std::int32_t count = 0;
};

// The arrays of a step, on the host or on the device.
struct StepArrays {
  std::int32_t* tokens = nullptr;           // [rows]
  std::int32_t* sequences = nullptr;        // [rows] row of the page table of its kind; -1: padding
  std::int32_t* slots = nullptr;            // [rows]
  std::int32_t* positions = nullptr;        // [rows]
  std::uint8_t* classes = nullptr;          // [rows]
  std::uint32_t* pages = nullptr;           // [sequences][page_stride]
  std::int32_t* page_counts = nullptr;      // [sequences]
  std::int32_t* anchor_ids = nullptr;       // [sequences]
  std::int32_t* starts = nullptr;           // [prefills + 1], from the first prefill row
  std::int32_t* first_positions = nullptr;  // [prefills]
  std::int32_t* page_positions = nullptr;   // [prefills][page_stride]
  std::int32_t* output_rows = nullptr;      // [outputs]
  std::int32_t* tap_rows = nullptr;         // [taps]
  std::int32_t* tap_places = nullptr;       // [taps]; -1: padding
};

class StepInputs {
 public:
  struct Limits {
    std::int32_t rows = 0;
    std::int32_t sequences = 0;
  };
  static Result<StepInputs> create(const ModelConfig& config, NumericProfile profile,
                                   const Limits& limits);

  // Gathers a step. Errors: invalid_token, tap_layer_out_of_range, those of
  // AnchorPlaces::place_of, cuda_out_of_memory (longer page tables than ever before).
  Status gather(std::span<const SequenceStep> steps, std::int32_t pages, AnchorPlaces& anchors,
                cudaStream_t stream);
  // Whether every sequence decodes, wants its logits, and at most one layer is tapped.
  bool plain_decode() const;
  // Adds empty sequences to a plain decode step, up to `sequences`.
  void pad(std::int32_t sequences);
  // Sends what gather() and pad() left; the host copy must stay until the copy is done.
  Status upload(cudaStream_t stream) const;

  const StepShape& shape() const { return shape_; }
  StepArrays device() const { return cut(device_.data(), shape_, nullptr); }
  // The memory moved since the last call: CUDA graphs made before are void.
  bool moved() { return std::exchange(moved_, false); }
  std::span<const TapGroup> tap_groups() const { return tap_groups_; }
  std::int32_t tapped() const { return tapped_; }  // taps without padding
  // Row of the page tables for each sequence of the step, in step order.
  std::span<const std::int32_t> table_rows() const { return table_rows_; }

 private:
  static StepArrays cut(std::byte* data, const StepShape& shape, std::size_t* bytes);
  Status measure(std::span<const SequenceStep> steps, std::int32_t pages);
  Status reserve();
  Status gather_taps(std::span<const SequenceStep> steps);
  void fill_tables(const SequenceStep& step, std::int32_t table_row);
  void fill_tokens(const SequenceStep& step, std::int32_t table_row, std::int32_t first_row);
  void fill_outputs(std::span<const SequenceStep> steps);
  bool decodes(const SequenceStep& step) const;

  ModelConfig config_;
  NumericProfile profile_ = NumericProfile::kFast;
  Limits limits_;
  StepShape shape_;
  StepArrays host_;
  PinnedBuffer pinned_;
  DeviceBuffer device_;
  bool moved_ = false;
  std::int32_t tapped_ = 0;
  std::vector<TapGroup> tap_groups_;
  std::vector<std::int32_t> table_rows_;  // [steps]
  std::vector<std::int32_t> first_rows_;  // [steps]
};

}  // namespace fieldprint::cuda
