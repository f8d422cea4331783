#include "app/support/model_stack.h"

#include <algorithm>

#include "app/support/anchor_source.h"
#include "app/support/memory.h"
#include "app/support/model_file.h"
#include "app/support/paths.h"
#include "app/support/release.h"
#include "runner/cpu/cpu_runner.h"
#include "runner/cuda/cuda_runner.h"

namespace fieldprint::app {
namespace {

constexpr std::int64_t kPageSlack = 64;      // part-filled pages of one conversation's classes
constexpr std::int64_t kServedContexts = 4;  // full contexts a server's pool holds by default
constexpr std::int64_t kMemoryShare = 4;     // a pool beside other programs takes a quarter
// Prompt tokens per step that a GPU is given unless the user says otherwise: enough to fill it.
constexpr std::int32_t kCudaPrefillChunk = 2048;
constexpr std::int32_t kCudaMixedPrefillChunk = 512;

bool on_cuda(const Settings& settings) { return settings.text("device") == "cuda"; }

std::int32_t chunk_of(const Settings& settings, const char* option, std::int32_t on_a_gpu) {
  if (on_cuda(settings) && !settings.given(option)) return on_a_gpu;
  return static_cast<std::int32_t>(settings.integer(option));
}

EngineOptions engine_options(const Settings& settings, const KvBudget& budget, EngineUse use) {
  EngineOptions options;
  options.context_length = budget.context_length;
  options.prefill_chunk = chunk_of(settings, "prefill-chunk", kCudaPrefillChunk);
  options.prefix_cache = settings.flag("prefix-cache");
  options.supervision = supervision_options(settings);
  if (use == EngineUse::kOneConversation) {
    options.max_sequences = 1;
    return options;
  }
  options.max_sequences = static_cast<std::int32_t>(settings.integer("max-sequences"));
  options.max_queue = static_cast<std::int32_t>(settings.integer("max-queue"));
  options.mixed_prefill_chunk = chunk_of(settings, "mixed-prefill-chunk", kCudaMixedPrefillChunk);
  return options;
}

// A server opens the trust folder whenever there is one, others when an anchor needs it. A trust
// folder that cannot be read stops a server even without an anchor: revocations and receipts
// would be missing without a word.
Status open_wanted_trust(const Settings& settings, EngineUse use, EngineStack& stack) {
  const bool secure = !settings.flag("insecure-anchors") && !settings.flag("no-anchor");
  const bool needed = secure && !settings.text("anchor").empty();
  if (!needed && (use != EngineUse::kServer || !has_trust(settings))) return {};
  FP_ASSIGN(stack.trust, open_trust_stack(settings));
  return {};
}

}  // namespace

Result<ModelStack> open_model(const Settings& settings) {
  ModelStack stack;
  FP_ASSIGN(stack.path, choose_model(settings));
  FP_ASSIGN(stack.model, load_model(stack.path));
  FP_ASSIGN(stack.tokenizer, Tokenizer::load(stack.path));
  const std::string& named = settings.text("chat-template");
  const std::string& chat = named.empty() ? stack.tokenizer->chat_template() : named;
  if (!chat.empty()) {
    FP_ASSIGN(stack.chat, ChatTemplate::create(chat));
  }
  const DigestTrust trust =
      settings.flag("verify-model") ? DigestTrust::kHash : DigestTrust::kCached;
  FP_ASSIGN(stack.digest, model_digest(stack.path, cache_dir(settings), trust));
  return stack;
}

Result<std::unique_ptr<Runner>> make_runner(const Settings& settings, const ModelStack& stack,
                                            const RunnerSize& size, const PercentDone& progress) {
  const NumericProfile profile = settings.text("numeric-profile") == "invariant"
                                     ? NumericProfile::kInvariant
                                     : NumericProfile::kFast;
  LoadProgress loaded;
  if (progress) loaded = [&](double share) { progress(static_cast<int>(share * 100)); };
  if (on_cuda(settings)) {
    if (settings.text("kv-dtype") != "bf16")
      return fail(ErrorKind::kUnsupported, "kv_dtype_unsupported",
                  "on a GPU the KV cache is bf16; leave --kv-dtype out or use --device cpu",
                  "kv-dtype");
    return make_cuda_runner(stack.model, {size.kv_tokens, size.max_step_tokens, profile, loaded});
  }
  const std::int64_t kv_bytes =
      size.kv_tokens * kv_bytes_per_token(stack.model->config, settings.text("kv-dtype"));
  FP_TRY(check_memory(static_cast<std::int64_t>(stack.model->weight_bytes), kv_bytes,
                      available_memory()));
  CpuRunnerOptions options;
  options.threads = size.threads;
  options.kv_tokens = size.kv_tokens;
  options.max_step_tokens = size.max_step_tokens;
  options.profile = profile;
  options.kv_dtype = settings.text("kv-dtype") == "f32" ? KvDtype::kF32 : KvDtype::kBf16;
  options.progress = loaded;
  return make_cpu_runner(stack.model, options);
}

std::int64_t kv_bytes_per_token(const ModelConfig& config, const std::string& kv_dtype) {
  const std::int64_t element = kv_dtype == "f32" ? 4 : 2;
  return 2 * element * config.layers * config.kv_heads * config.head_dim;
}

KvBudget plan_kv(const Settings& settings, const ModelConfig& config, std::int32_t conversations,
                 std::int64_t pool_bytes, PoolSize size) {
  KvBudget budget;
  const auto context = static_cast<std::int32_t>(settings.integer("context-length"));
  budget.context_length = context > 0 ? context : config.context_train;
  budget.kv_tokens = settings.integer("kv-tokens");
  if (budget.kv_tokens == 0) {
    const std::int64_t contexts = std::min<std::int64_t>(conversations, kServedContexts);
    budget.kv_tokens = contexts * (budget.context_length + kPageSlack);
    const std::int64_t fitting = pool_bytes / kv_bytes_per_token(config, settings.text("kv-dtype"));
    if (size == PoolSize::kAllMemory) budget.kv_tokens = fitting;
    if (pool_bytes > 0) budget.kv_tokens = std::min(budget.kv_tokens, fitting);
    budget.kv_tokens = std::max<std::int64_t>(budget.kv_tokens, 2 * kPageSlack);
  }
  // A context that the pool cannot hold would fail late; without an explicit wish it is
  // lowered now, where the banner can say so.
  const std::int64_t most = std::max<std::int64_t>(budget.kv_tokens - kPageSlack, kPageSlack);
  if (context == 0 && budget.context_length > most) {
    budget.context_length = static_cast<std::int32_t>(most);
    budget.context_lowered = true;
  }
  return budget;
}

namespace {

Result<KvBudget> budget_for(const Settings& settings, const Model& model,
                            std::int32_t conversations, std::int32_t max_step_tokens) {
  if (!on_cuda(settings))
    return plan_kv(settings, model.config, conversations, available_memory() / kMemoryShare);
  FP_ASSIGN(const std::int64_t bytes, cuda_kv_memory(model, max_step_tokens));
  return plan_kv(settings, model.config, conversations, bytes, PoolSize::kAllMemory);
}

}  // namespace

Result<EngineStack> start_engine(const Settings& settings, EngineUse use,
                                 const PercentDone& progress) {
  EngineStack stack;
  FP_TRY(check_anchor_settings(settings));
  FP_ASSIGN(stack.model, open_model(settings));
  const std::int32_t conversations =
      use == EngineUse::kServer ? static_cast<std::int32_t>(settings.integer("max-sequences")) : 1;
  RunnerSize size;
  size.threads = static_cast<int>(settings.integer("threads"));
  size.max_step_tokens =
      std::max(chunk_of(settings, "prefill-chunk", kCudaPrefillChunk), conversations);
  FP_ASSIGN(stack.budget,
            budget_for(settings, *stack.model.model, conversations, size.max_step_tokens));
  size.kv_tokens = stack.budget.kv_tokens;
  FP_ASSIGN(std::unique_ptr<Runner> runner, make_runner(settings, stack.model, size, progress));
  FP_TRY(open_wanted_trust(settings, use, stack));
  FP_ASSIGN(ChosenAnchor anchor,
            choose_anchor(settings, stack.model, *runner,
                          stack.trust ? stack.trust->registry.get() : nullptr));
  stack.anchor = std::move(anchor.binding);
  stack.promoted = std::move(anchor.promoted);
  stack.anchor_source = std::move(anchor.folder);
  stack.anchor_compiled = anchor.compiled;
  if (use == EngineUse::kServer && stack.trust && stack.trust->ledger) {
    stack.segments = std::make_unique<SegmentLog>(*stack.trust->ledger);
  }
  FP_ASSIGN(stack.engine, Engine::create(std::move(runner), *stack.model.tokenizer,
                                         engine_options(settings, stack.budget, use), stack.anchor,
                                         stack.segments.get()));
  return stack;
}

}  // namespace fieldprint::app
