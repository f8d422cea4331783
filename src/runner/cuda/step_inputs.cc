#include "runner/cuda/step_inputs.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "core/check.h"
#include "runner/cuda/status.h"
#include "runner/step.h"

namespace fieldprint::cuda {
namespace {

constexpr std::int32_t kLeastStride = 16;

}  // namespace

Result<StepInputs> StepInputs::create(const ModelConfig& config, NumericProfile profile,
                                      const Limits& limits) {
  StepInputs made;
  made.config_ = config;
  made.profile_ = profile;
  made.limits_ = limits;
  return made;
}

StepArrays StepInputs::cut(std::byte* data, const StepShape& shape, std::size_t* bytes) {
  const auto rows = static_cast<std::size_t>(shape.rows);
  const auto sequences = static_cast<std::size_t>(shape.sequences());
  const auto prefills = static_cast<std::size_t>(shape.prefills);
  const auto stride = static_cast<std::size_t>(shape.page_stride);
  const auto taps = static_cast<std::size_t>(shape.taps);
  Cutter cutter(data);
  StepArrays a;
  a.tokens = cutter.take<std::int32_t>(rows);
  a.sequences = cutter.take<std::int32_t>(rows);
  a.slots = cutter.take<std::int32_t>(rows);
  a.positions = cutter.take<std::int32_t>(rows);
  a.classes = cutter.take<std::uint8_t>(rows);
  a.pages = cutter.take<std::uint32_t>(sequences * stride);
  a.page_counts = cutter.take<std::int32_t>(sequences);
  a.anchor_ids = cutter.take<std::int32_t>(sequences);
  a.starts = cutter.take<std::int32_t>(prefills + 1);
  a.first_positions = cutter.take<std::int32_t>(prefills);
  a.page_positions = cutter.take<std::int32_t>(prefills * stride);
  a.output_rows = cutter.take<std::int32_t>(static_cast<std::size_t>(shape.outputs));
  a.tap_rows = cutter.take<std::int32_t>(taps);
  a.tap_places = cutter.take<std::int32_t>(taps);
  if (bytes != nullptr) *bytes = cutter.bytes();
  return a;
}

bool StepInputs::decodes(const SequenceStep& step) const {
  return step.tokens.size() == 1 && profile_ == NumericProfile::kFast;
}

// Checks the step and counts what it brings.
Status StepInputs::measure(std::span<const SequenceStep> steps, std::int32_t pages) {
  shape_ = {};
  tapped_ = 0;
  std::int32_t longest = 1;
  for (const SequenceStep& step : steps) {
    const auto count = static_cast<std::int32_t>(step.tokens.size());
    FP_CHECK(count > 0 && step.slots.size() == step.tokens.size());
    for (std::size_t i = 0; i < step.tokens.size(); ++i) {
      FP_CHECK(step.slots[i].page >= 0 && step.slots[i].page < pages);
      if (step.tokens[i] >= 0 && step.tokens[i] < config_.vocab) continue;
      return fail(ErrorKind::kInvalid, "invalid_token",
                  "token id " + std::to_string(step.tokens[i]) + " is outside 0.." +
                      std::to_string(config_.vocab - 1));
    }
    decodes(step) ? ++shape_.decodes : ++shape_.prefills;
    shape_.rows += count;
    shape_.outputs += output_rows_of(step);
    const bool best = step.logits == LogitsWanted::kBest;
    shape_.wants_best = shape_.wants_best || best;
    shape_.wants_logits = shape_.wants_logits || (!best && step.logits != LogitsWanted::kNone);
    shape_.anchored = shape_.anchored || !step.plan.anchor.pages.empty();
    longest = std::max(longest, static_cast<std::int32_t>(step.plan.pages.size()));
    FP_TRY(check_tap_layer(step, config_.layers));
    if (step.tap == TapWanted::kFinalAndLayer) shape_.taps += output_rows_of(step);
  }
  FP_CHECK(shape_.rows > 0 && shape_.rows <= limits_.rows);
  FP_CHECK(shape_.sequences() <= limits_.sequences);
  tapped_ = shape_.taps;
  const auto power = std::bit_ceil(static_cast<std::uint32_t>(longest));
  shape_.page_stride = std::max(static_cast<std::int32_t>(power), kLeastStride);
  return {};
}

// Room for the step, and for the padded one: a plain decode step grows by less than its double
// plus eight, in every array.
Status StepInputs::reserve() {
  StepShape largest = shape_;
  largest.rows = 2 * shape_.rows + 8;
  largest.decodes = 2 * shape_.decodes + 8;
  largest.outputs = 2 * shape_.outputs + 8;
  largest.taps = 2 * shape_.taps + 8;
  std::size_t bytes = 0;
  cut(nullptr, largest, &bytes);
  if (bytes <= device_.size()) return {};
  bytes = std::bit_ceil(bytes);
  moved_ = true;  // also when there is no new memory: some of the old is gone
  FP_ASSIGN(pinned_, PinnedBuffer::allocate(bytes, "a step's tables"));
  FP_ASSIGN(device_, DeviceBuffer::allocate(bytes, "a step's tables"));
  return {};
}

void StepInputs::fill_tables(const SequenceStep& step, std::int32_t table_row) {
  const auto stride = static_cast<std::size_t>(shape_.page_stride);
  const auto row = static_cast<std::size_t>(table_row);
  const std::span<const PageEntry> pages = step.plan.pages;
  host_.page_counts[row] = static_cast<std::int32_t>(pages.size());
  std::uint32_t* to = host_.pages + row * stride;
  for (const PageEntry& entry : pages) *to++ = pack_page_entry(entry);
  if (table_row < shape_.decodes) return;
  std::int32_t* position =
      host_.page_positions + (row - static_cast<std::size_t>(shape_.decodes)) * stride;
  for (const PageEntry& entry : pages) *position++ = entry.first_pos;
}

// New rows are the last of their sequence, so their pages are found from the end.
void StepInputs::fill_tokens(const SequenceStep& step, std::int32_t table_row,
                             std::int32_t first_row) {
  const std::span<const PageEntry> pages = step.plan.pages;
  std::size_t page = pages.size();
  do {
    FP_CHECK(page > 0);
    --page;
  } while (pages[page].page != step.slots.front().page);
  for (std::size_t i = 0; i < step.tokens.size(); ++i) {
    while (pages[page].page != step.slots[i].page) {
      ++page;
      FP_CHECK(page < pages.size());
    }
    const std::size_t at = static_cast<std::size_t>(first_row) + i;
    host_.tokens[at] = step.tokens[i];
    host_.sequences[at] = table_row;
    host_.slots[at] = static_cast<std::int32_t>(page) * kPageRows + step.slots[i].row;
    host_.positions[at] = step.plan.first_query_pos + static_cast<std::int32_t>(i);
    host_.classes[at] = static_cast<std::uint8_t>(pages[page].cls);
  }
}

void StepInputs::fill_outputs(std::span<const SequenceStep> steps) {
  std::int32_t output = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto count = static_cast<std::int32_t>(steps[i].tokens.size());
    const std::int32_t rows = output_rows_of(steps[i]);
    for (std::int32_t r = count - rows; r < count; ++r) {
      const std::int32_t row = first_rows_[i] + r;
      shape_.compacts = shape_.compacts || row != output;
      host_.output_rows[output++] = row;
    }
  }
  shape_.compacts = shape_.compacts || shape_.outputs != shape_.rows;
}

// Grouped by layer; a tap's place is its rank in step order, which is how they are handed out.
Status StepInputs::gather_taps(std::span<const SequenceStep> steps) {
  tap_groups_.clear();
  if (tapped_ == 0) return {};
  std::vector<std::int32_t> layers;
  for (const SequenceStep& step : steps) {
    if (step.tap == TapWanted::kFinalAndLayer) layers.push_back(step.tap_layer);
  }
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  std::int32_t at = 0;
  for (const std::int32_t layer : layers) {
    TapGroup group{layer, at, 0};
    const bool last = layer + 1 == config_.layers && shape_.compacts;
    std::int32_t output = 0;
    std::int32_t place = 0;
    for (const SequenceStep& step : steps) {
      const std::int32_t rows = output_rows_of(step);
      const bool asks = step.tap == TapWanted::kFinalAndLayer;
      for (std::int32_t r = 0; asks && step.tap_layer == layer && r < rows; ++r) {
        host_.tap_rows[at] = last ? output + r : host_.output_rows[output + r];
        host_.tap_places[at++] = place + r;
      }
      output += rows;
      if (asks) place += rows;
    }
    group.count = at - group.first;
    if (group.count > 0) tap_groups_.push_back(group);
  }
  return {};
}

Status StepInputs::gather(std::span<const SequenceStep> steps, std::int32_t pages,
                          AnchorPlaces& anchors, cudaStream_t stream) {
  FP_TRY(measure(steps, pages));
  FP_TRY(reserve());
  host_ = cut(pinned_.data(), shape_, nullptr);
  anchors.begin_step();
  std::int32_t decode = 0;
  std::int32_t prefill = shape_.decodes;
  std::int32_t row = shape_.decodes;
  table_rows_.clear();
  first_rows_.clear();
  for (const SequenceStep& step : steps) {
    const bool decodes_now = decodes(step);
    const std::int32_t table_row = decodes_now ? decode++ : prefill++;
    const std::int32_t first_row = decodes_now ? table_row : row;
    table_rows_.push_back(table_row);
    first_rows_.push_back(first_row);
    if (!decodes_now) {
      const std::int32_t index = table_row - shape_.decodes;
      host_.starts[index] = first_row - shape_.decodes;
      host_.first_positions[index] = step.plan.first_query_pos;
      row += static_cast<std::int32_t>(step.tokens.size());
    }
    fill_tables(step, table_row);
    fill_tokens(step, table_row, first_row);
    FP_ASSIGN(host_.anchor_ids[table_row], anchors.place_of(step.plan.anchor, stream));
  }
  host_.starts[shape_.prefills] = row - shape_.decodes;
  fill_outputs(steps);
  return gather_taps(steps);
}

bool StepInputs::plain_decode() const {
  return shape_.prefills == 0 && shape_.outputs == shape_.rows && !shape_.compacts &&
         tap_groups_.size() <= 1;
}

// The arrays' places depend on the counts, so everything moves; from the last array to the
// first, since each moves towards the end.
void StepInputs::pad(std::int32_t sequences) {
  const StepShape old = shape_;
  const StepArrays from = host_;
  shape_.rows = shape_.decodes = shape_.outputs = sequences;
  shape_.taps = old.taps > 0 ? sequences : 0;
  const StepArrays to = cut(pinned_.data(), shape_, nullptr);
  const auto move = [](auto* target, const auto* source, std::int32_t count, std::int32_t wanted,
                       auto filler) {
    FP_CHECK(target != nullptr);
    std::memmove(target, source, static_cast<std::size_t>(count) * sizeof(*target));
    std::fill(target + count, target + wanted, filler);
  };
  const std::int32_t stride = shape_.page_stride;
  move(to.tap_places, from.tap_places, old.taps, shape_.taps, -1);
  move(to.tap_rows, from.tap_rows, old.taps, shape_.taps, 0);
  move(to.output_rows, from.output_rows, old.outputs, sequences, 0);
  to.starts[0] = 0;
  move(to.anchor_ids, from.anchor_ids, old.decodes, sequences, -1);
  move(to.page_counts, from.page_counts, old.decodes, sequences, 0);
  move(to.pages, from.pages, old.decodes * stride, old.decodes * stride, 0U);
  move(to.classes, from.classes, old.rows, sequences, std::uint8_t{0});
  move(to.positions, from.positions, old.rows, sequences, 0);
  move(to.slots, from.slots, old.rows, sequences, 0);
  move(to.sequences, from.sequences, old.rows, sequences, -1);
  move(to.tokens, from.tokens, old.rows, sequences, 0);
  host_ = to;
  if (!tap_groups_.empty()) tap_groups_.front().count = shape_.taps;
}

Status StepInputs::upload(cudaStream_t stream) const {
  std::size_t bytes = 0;
  cut(nullptr, shape_, &bytes);
  return check(
      cudaMemcpyAsync(device_.data(), pinned_.data(), bytes, cudaMemcpyHostToDevice, stream),
      "sending a step's tables");
}

}  // namespace fieldprint::cuda
