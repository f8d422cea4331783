#include "runner/cuda/anchors.h"

#include <algorithm>
#include <string>

#include "runner/cuda/status.h"

namespace fieldprint::cuda {
namespace {

bool same_page(const PageEntry& a, const PageEntry& b) {
  return a.page == b.page && a.cls == b.cls && a.rows == b.rows && a.first_pos == b.first_pos;
}

// Whether `values` at `from` are those kept; neither there is the same, too.
bool same_values(const std::vector<float>& kept, const float* from, std::size_t values) {
  if (from == nullptr) return kept.empty();
  return kept.size() == values && std::equal(kept.begin(), kept.end(), from);
}

template <typename T>
Status put(T* to, const T* from, std::size_t count) {
  return check(cudaMemcpy(to, from, count * sizeof(T), cudaMemcpyHostToDevice),
               "bringing an anchor to the GPU");
}

}  // namespace

Result<AnchorPlaces> AnchorPlaces::create(const ModelConfig& config) {
  AnchorPlaces made;
  made.layers_ = config.layers;
  made.heads_ = config.heads;
  made.kv_heads_ = config.kv_heads;
  made.places_.resize(kAnchorPlaces);
  const auto layers = static_cast<std::size_t>(config.layers);
  const auto cut = [&](Cutter cutter) {
    made.pages_ = cutter.take<std::uint32_t>(kAnchorPlaces * kAnchorPages);
    made.counts_ = cutter.take<std::int32_t>(kAnchorPlaces);
    made.positions_ = cutter.take<std::int32_t>(kAnchorPlaces * kAnchorPages);
    made.modes_ = cutter.take<std::uint8_t>(kAnchorPlaces);
    made.psi_ = cutter.take<float>(kAnchorPlaces);
    made.beta_ = cutter.take<float>(layers * kAnchorPlaces *
                                    static_cast<std::size_t>(config.kv_heads) * kLeafRows);
    made.gamma_ =
        cutter.take<float>(layers * kAnchorPlaces * static_cast<std::size_t>(config.heads));
    return cutter.bytes();
  };
  FP_ASSIGN(made.memory_, DeviceBuffer::allocate(cut(Cutter()), "anchors"));
  cut(Cutter(made.memory_.data()));
  FP_TRY(check(cudaMemset(made.memory_.data(), 0, made.memory_.size()), "clearing anchors"));
  return made;
}

bool AnchorPlaces::holds(const Place& place, const AnchorView& view) const {
  if (place.used_in == 0 || place.mode != view.mode || place.psi != view.psi) return false;
  const bool same = std::equal(place.pages.begin(), place.pages.end(), view.pages.begin(),
                               view.pages.end(), same_page);
  const auto lists = static_cast<std::size_t>(layers_) * static_cast<std::size_t>(kv_heads_);
  const auto stride = static_cast<std::size_t>(view.beta_stride);
  return same && same_values(place.beta, view.beta, lists * stride) &&
         same_values(place.gamma, view.gamma,
                     static_cast<std::size_t>(layers_) * static_cast<std::size_t>(heads_));
}

Result<std::int32_t> AnchorPlaces::place_of(const AnchorView& view, cudaStream_t stream) {
  if (view.pages.empty()) return -1;
  if (view.pages.size() > kAnchorPages) {
    return fail(ErrorKind::kUnsupported, "anchor_too_long",
                "this anchor takes " + std::to_string(view.pages.size()) +
                    " pages; on a GPU it may take " + std::to_string(kAnchorPages) +
                    " (512 tokens): shorten its text or use --device cpu");
  }
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (!holds(places_[i], view)) continue;
    places_[i].used_in = step_;
    return static_cast<std::int32_t>(i);
  }
  const auto oldest =
      std::min_element(places_.begin(), places_.end(),
                       [](const Place& a, const Place& b) { return a.used_in < b.used_in; });
  if (oldest->used_in == step_) {
    return fail(ErrorKind::kUnsupported, "anchors_exhausted",
                "a step on a GPU can hold " + std::to_string(kAnchorPlaces) +
                    " different anchors; serve fewer at once");
  }
  const auto place = static_cast<std::int32_t>(oldest - places_.begin());
  FP_TRY(check(cudaStreamSynchronize(stream), "bringing an anchor to the GPU"));
  oldest->used_in = 0;  // half-filled until the end
  FP_TRY(upload(place, view));
  oldest->used_in = step_;
  return place;
}

Status AnchorPlaces::upload(int place, const AnchorView& view) {
  Place& kept = places_[static_cast<std::size_t>(place)];
  const auto layers = static_cast<std::size_t>(layers_);
  const auto heads = static_cast<std::size_t>(heads_);
  const auto kv_heads = static_cast<std::size_t>(kv_heads_);
  const auto at = static_cast<std::size_t>(place);
  const auto stride = static_cast<std::size_t>(view.beta_stride);
  kept.pages.assign(view.pages.begin(), view.pages.end());
  kept.beta.clear();
  if (view.beta != nullptr) kept.beta.assign(view.beta, view.beta + layers * kv_heads * stride);
  kept.gamma.clear();
  if (view.gamma != nullptr) kept.gamma.assign(view.gamma, view.gamma + layers * heads);
  kept.mode = view.mode;
  kept.psi = view.psi;

  std::vector<std::uint32_t> entries;
  std::vector<std::int32_t> positions;
  for (const PageEntry& entry : view.pages) {
    entries.push_back(pack_page_entry(entry));
    positions.push_back(entry.first_pos);
  }
  const auto count = static_cast<std::int32_t>(entries.size());
  const auto mode = static_cast<std::uint8_t>(view.mode);
  FP_TRY(put(pages_ + at * kAnchorPages, entries.data(), entries.size()));
  FP_TRY(put(positions_ + at * kAnchorPages, positions.data(), positions.size()));
  FP_TRY(put(counts_ + at, &count, 1));
  FP_TRY(put(modes_ + at, &mode, 1));
  FP_TRY(put(psi_ + at, &view.psi, 1));
  const std::size_t slots = view.pages.size() * kPageRows;  // at most the stride
  std::vector<float> beta(kv_heads * kLeafRows);
  const std::vector<float> no_gamma(heads, 0.0F);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    std::fill(beta.begin(), beta.end(), 0.0F);
    for (std::size_t head = 0; head < kv_heads && view.beta != nullptr; ++head) {
      std::copy_n(view.beta + (layer * kv_heads + head) * stride, slots,
                  beta.begin() + static_cast<std::ptrdiff_t>(head * kLeafRows));
    }
    FP_TRY(put(beta_ + (layer * kAnchorPlaces + at) * beta.size(), beta.data(), beta.size()));
    FP_TRY(put(gamma_ + (layer * kAnchorPlaces + at) * heads,
               view.gamma == nullptr ? no_gamma.data() : view.gamma + layer * heads, heads));
  }
  return {};
}

void AnchorPlaces::fill(fp_attn_tables& tables) const {
  tables.anchor_pages = pages_;
  tables.anchor_page_counts = counts_;
  tables.anchor_stride = kAnchorPages;
  tables.anchors = kAnchorPlaces;
}

void AnchorPlaces::fill(int layer, fp_attn_decode_args& args) const {
  const auto at = static_cast<std::size_t>(layer) * kAnchorPlaces;
  args.beta = beta_ + at * static_cast<std::size_t>(kv_heads_) * kLeafRows;
  args.gamma = gamma_ + at * static_cast<std::size_t>(heads_);
  args.modes = modes_;
  args.psi = psi_;
}

}  // namespace fieldprint::cuda
