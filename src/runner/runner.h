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

enum class LogitsWanted : std::uint8_t { kNone, kLast, kAll };

// One sequence's part of a forward step. `plan.pages` already includes the pages
// named by `slots`. first_query and query_count of the plan are set by the runner.
struct SequenceStep {
  std::span<const TokenId> tokens;  // 1..max_step_tokens()
  std::span<const RowSlot> slots;   // one per token
  SequencePlan plan;
  LogitsWanted logits = LogitsWanted::kNone;
};

// Results of the last forward(); views stay valid until the next forward().
struct StepOutput {
  std::int32_t vocab_size = 0;
  std::int32_t hidden_size = 0;
  std::span<const float> logits;  // [rows, vocab_size], rows in step order
  std::span<const float> hidden;  // [rows, hidden_size], after the final norm
  // [sequences, kKvClasses]: attention mass of each sequence's last token, mean
  // over layers and heads; sums to 1.
  std::span<const float> mass;
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
  // reads them. Errors: kExhausted (scratch), kInternal (device). On error the
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
