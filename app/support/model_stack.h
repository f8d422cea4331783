// Loads what the commands need: model, tokenizer, template, runner, anchor, engine.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/config/settings.h"
#include "app/support/trust.h"
#include "engine/engine.h"
#include "model/chat_template.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "runner/runner.h"
#include "supervisor/segment_log.h"

namespace fieldprint::app {

// A model file that was opened and checked; weights are read when a runner is made.
struct ModelStack {
  std::string path;
  std::string digest;  // "sha256:<hex>" of the file
  std::shared_ptr<const Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat;  // empty: the model has none
};
// Errors: those of choose_model, load_model, Tokenizer::load, ChatTemplate::create,
// model_digest.
Result<ModelStack> open_model(const Settings& settings);

using PercentDone = std::function<void(int percent)>;

struct RunnerSize {
  int threads = 0;
  std::int64_t kv_tokens = 0;
  std::int32_t max_step_tokens = 512;
};
// On the device that the settings name. Errors: those of check_memory and make_cpu_runner, or
// of make_cuda_runner; kv_dtype_unsupported (f32 on a GPU).
Result<std::unique_ptr<Runner>> make_runner(const Settings& settings, const ModelStack& stack,
                                            const RunnerSize& size, const PercentDone& progress);

// Bytes of K and V that one token takes in all layers.
std::int64_t kv_bytes_per_token(const ModelConfig& config, const std::string& kv_dtype);

// Context and KV pool sizes that the settings and the free memory lead to.
struct KvBudget {
  std::int32_t context_length = 0;
  std::int64_t kv_tokens = 0;
  bool context_lowered = false;  // to what the memory holds; the banner says so
};
// What the pool may take without --kv-tokens. Beside other programs' memory it grows no larger
// than a few contexts; a GPU is the engine's alone, and what it does not take lies idle.
enum class PoolSize : std::uint8_t { kFewContexts, kAllMemory };

// conversations: how many full contexts are wanted at most. pool_bytes: what the pool may take;
// 0: unknown.
KvBudget plan_kv(const Settings& settings, const ModelConfig& config, std::int32_t conversations,
                 std::int64_t pool_bytes, PoolSize size = PoolSize::kFewContexts);

struct EngineStack {
  ModelStack model;
  KvBudget budget;
  // Declared before the engine: it outlives whoever watches the ledger for it.
  std::unique_ptr<TrustStack> trust;       // null: no trust folder here
  std::unique_ptr<SegmentLog> segments;    // null: no ledger to write, or not a server
  AnchorBinding anchor;                    // no artifact: served without one
  std::optional<PromotedAnchor> promoted;  // by whose right; absent: --insecure-anchors
  std::string anchor_source;               // folder it came from; empty if none
  bool anchor_compiled = false;            // it was compiled just now
  std::unique_ptr<Engine> engine;
};

enum class EngineUse : std::uint8_t { kOneConversation, kServer };
// Errors: all of the above, those of choose_anchor and of Engine::create.
Result<EngineStack> start_engine(const Settings& settings, EngineUse use,
                                 const PercentDone& progress);

}  // namespace fieldprint::app
