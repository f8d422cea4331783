// A runner evaluates a model on one device: tokens in, logits and evidence out.
// It owns weights and KV memory; it does not own pages (kv/block_pool.h does).
//
// Thread rule: one thread, the engine's. A runner may use worker threads inside.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "model/config.h"

namespace fieldprint {

using TokenId = std::int32_t;

// Best: as Last, but only the likeliest token is wanted and no row of logits: all that greedy
// decoding needs. A device then sends back a number for each sequence instead of a vocabulary.
enum class LogitsWanted : std::uint8_t { kNone, kLast, kAll, kBest };

// Hidden states that a sequence wants handed out, one for each of its output rows: those that
// `logits` selects, so with LogitsWanted::kNone there are none.
//
// Final: after the final norm, what the output head multiplies. Every runner must compute it
// anyway, its scale does not grow with depth, and the next token depends on nothing else of the
// model's state; before the norm a few massive dimensions would drown the others.
// Layer: the residual stream after block `tap_layer`, no norm applied: the embedding plus every
// branch of blocks 0..tap_layer. The residual, because a direction in it means the same at all
// depths; inputs of the next block are scaled by that block's own norm.
enum class TapWanted : std::uint8_t { kNone, kFinal, kFinalAndLayer };

// One sequence's part of a forward step. `plan.pages` already includes the pages
// named by `slots`. first_query and query_count of the plan are set by the runner.
struct SequenceStep {
  std::span<const TokenId> tokens;  // 1..max_step_tokens()
  std::span<const RowSlot> slots;   // one per token
  SequencePlan plan;
  LogitsWanted logits = LogitsWanted::kNone;
  TapWanted tap = TapWanted::kNone;
  std::int32_t tap_layer = 0;  // 0..layers-1; read with kFinalAndLayer only
};

// Results of the last forward(); views stay valid until the next forward().
struct StepOutput {
  std::int32_t vocab_size = 0;
  std::int32_t hidden_size = 0;
  // [rows, vocab_size], rows in step order; empty when no sequence wanted more than its best token.
  std::span<const float> logits;
  std::span<const float> hidden;  // [rows, hidden_size], after the final norm
  // The likeliest token of each sequence with LogitsWanted::kBest, in step order; of equals the
  // lowest id.
  std::span<const TokenId> best;
  // [sequences, kKvClasses]: attention mass of each sequence's last token, mean
  // over layers and heads; sums to 1.
  std::span<const float> mass;
  // Copies for the sequences that asked, [their output rows, hidden_size] in step order. A
  // sequence with kFinal has rows in the first alone. Empty when nobody asked.
  std::span<const float> tap_final;
  std::span<const float> tap_layer;
};

// K and V of one page as bf16 bit patterns, [kv_heads][row][head_dim], RoPE applied.
struct PageRows {
  std::vector<std::uint16_t> k;
  std::vector<std::uint16_t> v;
};

class Runner {
 public:
  virtual ~Runner() = default;

  // Evaluates one step. All sequences' K/V rows are written before any attention
  // reads them. Errors: kExhausted (scratch), kInternal (device), invalid_token,
  // tap_layer_out_of_range. On error the
  // written pages hold undefined rows; the caller drops them.
  virtual Result<StepOutput> forward(std::span<const SequenceStep> steps) = 0;

  // Copies all layers of page `from` to page `to` (copy-on-write).
  virtual Status copy_page(PageId from, PageId to) = 0;
  // Reads or writes the first `rows` rows of a page in one layer (anchors, tests).
  virtual Result<PageRows> read_page(int layer, PageId page, int rows) = 0;
  virtual Status write_page(int layer, PageId page, int rows, const PageRows& data) = 0;

  virtual const ModelConfig& config() const = 0;
  virtual std::int32_t page_count() const = 0;       // KV pages on the device
  virtual std::int32_t max_step_tokens() const = 0;  // most tokens in one forward()
  virtual std::string device_name() const = 0;       // "cpu: avx512_bf16, 2 threads"
  virtual std::string numeric_profile() const = 0;   // "fast/cpu-avx512_bf16/..." for receipts
};

}  // namespace fieldprint
