// Our operations in the CPU graph: everything between the weight products.
//
// Each is a ggml custom-op callback: fun(dst, thread, threads, userdata), called by
// all threads at once, with a barrier of ggml's after it. Buffers are ours, not
// ggml's, so an op may update the residual stream in place.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "attention/cpu/cpu_attention.h"
#include "model/config.h"
#include "runner/cpu/cpu_weights.h"
#include "runner/cpu/kv_arena.h"
#include "runner/cpu/rope.h"
#include "runner/cpu/row_ops.h"

struct ggml_tensor;

namespace fieldprint {

// Activations of one step, [tokens][size] each, float.
struct Activations {
  HugeBuffer memory;
  float* residual = nullptr;        // [hidden]
  float* normed = nullptr;          // [hidden], input of the next product
  float* q_raw = nullptr;           // [q + 2 kv]: fused, or q then k then v blocks
  float* q = nullptr;               // [heads * head_dim], after norm and rotation
  float* attended = nullptr;        // [heads * head_dim]
  float* branch = nullptr;          // [hidden], output of attention or FFN
  float* gate_up = nullptr;         // [2 ffn]
  float* gated = nullptr;           // [ffn]
  panels::QuantisedRows quantised;  // input of a packed product, up to its widest
};

// One hidden state to copy out of the residual stream (SequenceStep::tap_layer).
struct LayerTap {
  std::int32_t layer = 0;
  std::int32_t token = 0;   // row of the step
  std::int32_t output = 0;  // row among the output rows: the last layer keeps only those
  float* to = nullptr;      // [hidden]
};

// What the ops of all layers share. One step at a time.
struct CpuContext {
  ModelConfig config;
  std::unique_ptr<CpuWeights> weights;
  std::unique_ptr<CpuAttention> attention;
  KvArena kv;
  std::unique_ptr<RopeTables> rope;
  Activations act;
  // The step in progress:
  std::int32_t tokens = 0;
  std::vector<RowSlot> slots;                // [tokens]
  std::vector<std::int32_t> output_rows;     // token of each logits row, ascending
  std::vector<LayerTap> taps;                // usually empty
  std::atomic<std::int64_t> next_panels{0};  // work ticket of the packed product under way
};

// Whether an op leaves its output in act.quantised too, for the packed product that comes next:
// the thread that made a block rounds it, which spares a node and its barrier.
enum class Rounding : std::uint8_t { kNone, kEightBits };

// residual += branch (through post_norm if given); normed = rms_norm(residual).
struct NormOp {
  CpuContext* context = nullptr;
  const float* weight = nullptr;
  const float* branch = nullptr;     // nullptr: nothing to add
  const float* post_norm = nullptr;  // nullptr: added as it is
  float* out = nullptr;
  std::int32_t rows = 0;
  Rounding rounding = Rounding::kNone;
  std::int32_t completed_layer = -1;  // block whose output the residual is, with the branch added
};
void norm_op(ggml_tensor* dst, int thread, int threads, void* op);

// Bias, QK norm and rotation of q, k, v; q goes to act.q, k and v to the KV pages.
struct RopeAppendOp {
  CpuContext* context = nullptr;
  int layer = 0;
};
void rope_append_op(ggml_tensor* dst, int thread, int threads, void* op);

struct AttentionOp {
  CpuContext* context = nullptr;
  int layer = 0;
};
void attention_op(ggml_tensor* dst, int thread, int threads, void* op);

// Keeps only the rows that lead to logits: attended -> q, residual compacted.
struct GatherOp {
  CpuContext* context = nullptr;
};
void gather_op(ggml_tensor* dst, int thread, int threads, void* op);

// gated = activation(gate) * up.
struct GateOp {
  CpuContext* context = nullptr;
  std::int32_t rows = 0;
  bool fused = false;  // gate and up side by side in a row, or in two blocks
  Rounding rounding = Rounding::kNone;
};
void gate_op(ggml_tensor* dst, int thread, int threads, void* op);

// Rounds x [rows][columns] to 8 bits for the packed product that follows.
struct QuantiseOp {
  CpuContext* context = nullptr;
  const float* x = nullptr;
  std::int64_t columns = 0;
  std::int64_t rows = 0;
};
void quantise_op(ggml_tensor* dst, int thread, int threads, void* op);

// out [tokens][weight rows] = weight * act.quantised. One product for each rounding: the op
// that rounds also deals the panels' tickets anew.
struct PackedProductOp {
  CpuContext* context = nullptr;
  const panels::PackedMatrix* weight = nullptr;
  std::int64_t tokens = 0;
  float* out = nullptr;
};
void packed_product_op(ggml_tensor* dst, int thread, int threads, void* op);

// residual = rows of a packed embedding.
struct EmbedOp {
  CpuContext* context = nullptr;
  const panels::PackedMatrix* embedding = nullptr;
  const std::int32_t* ids = nullptr;  // [tokens]
};
void embed_op(ggml_tensor* dst, int thread, int threads, void* op);

// residual = embedding rows * scale, in place.
struct ScaleOp {
  CpuContext* context = nullptr;
};
void scale_op(ggml_tensor* dst, int thread, int threads, void* op);

}  // namespace fieldprint
