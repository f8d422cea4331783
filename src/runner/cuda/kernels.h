// Launches of the runner's own kernels. Device pointers throughout; nothing allocates or
// synchronises, all may be captured in a CUDA graph, and a launch that the runtime refuses shows
// in cudaGetLastError(). `stream` is a cudaStream_t. Sizes have been checked by the runner:
// hidden and head_dim are multiples of 16, ffn of 8.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fieldprint::cuda {

struct EmbedArgs {
  const void* embedding;       // bf16 [vocab][hidden]
  const std::int32_t* tokens;  // [rows]
  float* residual;             // [rows][hidden]
  float scale;
  int hidden;
};
void embed(const EmbedArgs& args, int rows, void* stream);

inline constexpr int kMaxHidden = 16384;

struct NormArgs {
  float* residual;           // [rows][hidden]
  const float* branch;       // [rows][hidden], normed with post_weight and added; may be null
  const float* post_weight;  // [hidden]
  const float* weight;       // [hidden]
  void* normed;              // bf16 [rows][hidden]
  float* normed_f32;         // the same as float; may be null
  float eps;
  int hidden;
};
void norm(const NormArgs& args, int rows, void* stream);

// Both null: nothing to do, do not call.
struct QkvFinishArgs {
  void* qkv;            // bf16 [rows][heads + 2 kv_heads][head_dim]
  const float* bias;    // [heads + 2 kv_heads][head_dim]; may be null
  const float* q_norm;  // [head_dim]; may be null, then k_norm is too
  const float* k_norm;
  float eps;
  int rows;
  int heads;
  int kv_heads;
  int head_dim;
};
void qkv_finish(const QkvFinishArgs& args, void* stream);

struct GateArgs {
  const void* gate_up;   // bf16 pairs [elements]
  void* gated;           // bf16 [elements]
  std::size_t elements;  // rows * ffn, a multiple of 4
};
enum class GateKind : std::uint8_t { kSilu, kGelu };
void gate(const GateArgs& args, GateKind kind, void* stream);

struct GatherArgs {
  const std::int32_t* rows;
  const float* residual;
  float* residual_to;
  const void* attended;  // bf16
  void* attended_to;
  int hidden;
  int width;  // of attended
};
void gather(const GatherArgs& args, int rows, void* stream);

struct TapArgs {
  const std::int32_t* rows;
  const std::int32_t* places;
  const float* residual;
  float* to;
  int hidden;
};
void tap(const TapArgs& args, int taps, void* stream);

inline constexpr int kStatusWords = 3;

struct MassArgs {
  const float* mass;         // [layers][layer_stride][8], a row per (sequence, head)
  std::size_t layer_stride;  // rows
  float* mean;               // [sequences][8]
  int layers;
  int heads;
  const std::uint32_t* status[kStatusWords];  // where the step's kernels report; may be null
  std::uint32_t* status_out;                  // [kStatusWords]
};
void mass(const MassArgs& args, int sequences, void* stream);

// best[row] = place of the row's greatest value, of equals the first.
void argmax(const float* logits, std::int32_t* best, int rows, int vocab, void* stream);

// Reads so many bytes (a multiple of 16) and does nothing with them, for measuring.
void read_all(const void* data, std::size_t bytes, void* stream);

// y [rows][columns] = x [rows][depth] * weight [columns][depth]^T, bf16 operands, float sums.
// Each output's sum runs over depth in one order that nothing else in the launch decides.
enum class ProductOutput : std::uint8_t { kBf16, kF32, kAddF32 };  // kAddF32: y += the product
struct ProductArgs {
  const void* weight;
  const void* x;
  void* y;
  int rows;
  int columns;
  int depth;  // a multiple of 8
};
void product(const ProductArgs& args, ProductOutput output, void* stream);

// The same for up to kSkinnyRows rows, at the speed of reading the weights. Its sums run in an
// order of their own. columns must be a multiple of 32 and depth of 64.
inline constexpr int kSkinnyRows = 8;
bool skinny_fits(int rows, int columns, int depth);
void skinny_product(const ProductArgs& args, ProductOutput output, void* stream);
// y [rows][columns / 2], bf16: activation(gate) * up of the products with gate and up rows, which
// take turns in the weight.
void skinny_gated(const ProductArgs& args, GateKind kind, void* stream);

}  // namespace fieldprint::cuda
