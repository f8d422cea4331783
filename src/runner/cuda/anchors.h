// The anchors that sequences of a step may name, on the device.
//
// A fixed number of places with fixed addresses, so that CUDA graphs hold. A place keeps a copy
// of the view it was filled from, and is filled again only when a step brings another view:
// plans are plain views, so contents are compared, never addresses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/cuda/capi.h"
#include "attention/plan.h"
#include "core/error.h"
#include "model/config.h"
#include "runner/cuda/memory.h"

namespace fieldprint::cuda {

inline constexpr int kAnchorPlaces = 16;
inline constexpr int kAnchorPages = kLeafRows / kPageRows;

class AnchorPlaces {
 public:
  static Result<AnchorPlaces> create(const ModelConfig& config);

  void begin_step() { ++step_; }
  // The place of this anchor; fills one if need be. Waits for the stream then. Errors:
  // anchor_too_long (more than 512 row slots), anchors_exhausted (more than 16 different ones in
  // a step), cuda_error.
  Result<std::int32_t> place_of(const AnchorView& view, cudaStream_t stream);

  void fill(fp_attn_tables& tables) const;  // all anchor fields but anchor_ids
  const std::int32_t* positions() const { return positions_; }
  void fill(int layer, fp_attn_decode_args& args) const;

 private:
  struct Place {
    std::vector<PageEntry> pages;
    std::vector<float> beta;   // [layers * kv_heads][slots], empty: 0
    std::vector<float> gamma;  // [layers * heads], empty: not gated
    AnchorMode mode = AnchorMode::kJoint;
    float psi = 0.0F;
    std::uint64_t used_in = 0;  // step; 0: never filled
  };
  bool holds(const Place& place, const AnchorView& view) const;
  Status upload(int place, const AnchorView& view);

  std::int32_t layers_ = 0;
  std::int32_t heads_ = 0;
  std::int32_t kv_heads_ = 0;
  std::uint64_t step_ = 1;
  std::vector<Place> places_;
  DeviceBuffer memory_;
  std::uint32_t* pages_ = nullptr;     // [places][kAnchorPages]
  std::int32_t* counts_ = nullptr;     // [places]
  std::int32_t* positions_ = nullptr;  // [places][kAnchorPages]
  std::uint8_t* modes_ = nullptr;      // [places]
  float* psi_ = nullptr;               // [places]
  float* beta_ = nullptr;              // [layers][places][kv_heads][kLeafRows]
  float* gamma_ = nullptr;             // [layers][places][heads]
};

}  // namespace fieldprint::cuda
