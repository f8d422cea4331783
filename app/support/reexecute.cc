#include "app/support/reexecute.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <variant>

#include "api/request.h"
#include "api/response.h"
#include "app/support/model_stack.h"
#include "app/support/trust.h"
#include "app/support/trust_services.h"
#include "runner/cpu/cpu_runner.h"

namespace fieldprint::app {
namespace {

constexpr std::int32_t kSlackTokens = 64;  // part-filled pages of each class
constexpr std::int32_t kStepTokens = 512;
constexpr std::chrono::milliseconds kPoll{200};

ReceiptCheck outcome(CheckOutcome what, const std::string& code, const std::string& detail) {
  return {"reexecution", what, code, detail};
}
ReceiptCheck not_made(const std::string& why) {
  return outcome(CheckOutcome::kNotChecked, "", why);
}

// The request in native form, ready for the engine.
struct Again {
  GenerationRequest request;
  RequestBase base;
};

Result<Again> again_from_chat(const ModelStack& model, const std::string& body, bool anchored) {
  FP_ASSIGN(const ChatRequest parsed, parse_chat_request(body, ApiLimits{}));
  if (!model.chat)
    return fail(ErrorKind::kUnsupported, "chat_template_missing",
                "the model given has no chat template, the request needs one");
  Again again;
  again.base = parsed.base;
  ChatRender render;
  render.add_bos = !anchored;
  FP_ASSIGN(again.request.prompt, model.chat->render(*model.tokenizer, parsed.messages, render));
  return again;
}

Result<Again> again_from_completion(const ModelStack& model, const std::string& body,
                                    bool anchored) {
  FP_ASSIGN(const CompletionRequest parsed, parse_completion_request(body, ApiLimits{}));
  Again again;
  again.base = parsed.base;
  TokenSpan span;
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&parsed.prompt)) {
    span.tokens = *tokens;
  } else {
    const Tokenizer& tokenizer = *model.tokenizer;
    span.tokens = tokenizer.encode(std::get<std::string>(parsed.prompt), false);
    if (!anchored && tokenizer.adds_bos() && tokenizer.bos() >= 0)
      span.tokens.insert(span.tokens.begin(), tokenizer.bos());
  }
  again.request.prompt.push_back(std::move(span));
  return again;
}

Result<Again> request_again(const ModelStack& model, const Receipt& receipt,
                            const std::string& body, bool anchored) {
  Result<Again> again = receipt.endpoint == kChatPath
                            ? again_from_chat(model, body, anchored)
                            : again_from_completion(model, body, anchored);
  if (!again) return again;
  GenerationRequest& request = again->request;
  request.id = "reexecution";
  request.sampling = again->base.sampling;
  request.sampling.seed = receipt.choices.front().seed;
  request.sampling.logprobs = -1;
  request.stop = again->base.stop;
  request.ignore_eos = again->base.ignore_eos;
  request.choices = static_cast<std::int32_t>(receipt.choices.size());
  request.use_anchor = anchored;
  std::int64_t longest = 1;
  for (const ReceiptChoice& choice : receipt.choices) longest = std::max(longest, choice.tokens);
  request.max_tokens = static_cast<std::int32_t>(longest);
  return again;
}

float number_of(const std::string& text) {
  float value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);  // parse_receipt checked it
  return value;
}

Result<AnchorBinding> binding_of(const Settings& settings, const Receipt& receipt) {
  const TrustFolder trust{trust_dir(settings), {}, {}};
  FP_ASSIGN(const std::string folder, find_anchor(trust, settings.text("anchor")));
  FP_ASSIGN(AnchorArtifact artifact, load_anchor(folder));
  AnchorBinding binding;
  binding.artifact = std::make_shared<const AnchorArtifact>(std::move(artifact));
  const ReceiptAnchor& anchor = receipt.anchor;
  binding.mode = anchor.mode == "gated"     ? AnchorMode::kGated
                 : anchor.mode == "floored" ? AnchorMode::kFloored
                                            : AnchorMode::kJoint;
  binding.gamma = number_of(anchor.gamma);
  binding.psi = number_of(anchor.psi);
  binding.beta_policy = number_of(anchor.beta);
  return binding;
}

struct Output {
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::string> texts;
};

Result<Output> generate_again(Engine& engine, GenerationRequest request) {
  Output output;
  output.tokens.resize(static_cast<std::size_t>(request.choices));
  output.texts.resize(output.tokens.size());
  FP_ASSIGN(const std::unique_ptr<Generation> generation, engine.submit(std::move(request)));
  while (true) {
    const std::optional<GenerationEvent> event = generation->next(kPoll);
    if (!event) continue;
    if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
      output.texts.at(static_cast<std::size_t>(delta->choice)) += delta->text;
    } else if (const auto* choice = std::get_if<ChoiceDoneEvent>(&*event)) {
      output.tokens.at(static_cast<std::size_t>(choice->choice)) = choice->tokens;
    } else if (const auto* failed = std::get_if<FailedEvent>(&*event)) {
      return tl::unexpected(failed->error);
    } else {
      return output;
    }
  }
}

ReceiptCheck compare(const Receipt& receipt, const Output& output) {
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < receipt.choices.size(); ++i) {
    // A choice that ended before the longest one was not cut here: only its own part counts.
    std::span<const TokenId> ids = output.tokens[i];
    const auto wanted = static_cast<std::size_t>(receipt.choices[i].tokens);
    if (ids.size() > wanted) ids = ids.first(wanted);
    if (tokens_commitment(receipt.salt, i, ids) != receipt.choices[i].tokens_digest)
      return outcome(CheckOutcome::kFails, "receipt_tokens_mismatch",
                     fmt::format("choice {} comes out with other tokens", i));
    tokens += receipt.choices[i].tokens;
  }
  return outcome(CheckOutcome::kHolds, "",
                 fmt::format("all {} tokens come out again, bit for bit", tokens));
}

// Why equal bits cannot be expected; empty if they can.
std::string obstacle(const Receipt& receipt, const ModelStack& model) {
  if (!receipt.numeric_profile.starts_with("invariant"))
    return fmt::format("made in the profile '{}': its bits depend on what else ran at the time",
                       receipt.numeric_profile);
  if (receipt.anchor.digests.size() > 1) return "the anchor changed while it was written";
  if (model.digest != receipt.model_digest)
    return fmt::format("the model given is {}, the receipt's {}", model.digest,
                       receipt.model_digest);
  const std::string chat = template_digest(model);
  if (receipt.endpoint == kChatPath && chat != receipt.template_digest)
    return fmt::format("the chat template here is {}, the receipt's {}", chat,
                       receipt.template_digest);
  return {};
}

}  // namespace

Result<ReceiptCheck> reexecute(const Settings& settings, const Receipt& receipt,
                               const std::string& request) {
  FP_ASSIGN(const ModelStack model, open_model(settings));
  if (const std::string why = obstacle(receipt, model); !why.empty()) return not_made(why);
  const bool anchored = receipt.anchor.digests.front() != kReceiptNone;
  AnchorBinding binding;
  if (anchored) {
    if (settings.text("anchor").empty())
      return not_made("the receipt's anchor is needed; --anchor names its folder");
    FP_ASSIGN(binding, binding_of(settings, receipt));
    if (binding.artifact->digest != receipt.anchor.digests.front())
      return not_made(fmt::format("the anchor given is {}, the receipt's {}",
                                  binding.artifact->digest, receipt.anchor.digests.front()));
    binding.model_digest = model.digest;
  }
  FP_ASSIGN(Again again, request_again(model, receipt, request, anchored));
  const std::int64_t context =
      receipt.tokens.anchor + receipt.tokens.prompt + again.request.max_tokens + kSlackTokens;
  CpuRunnerOptions options;
  options.threads = static_cast<int>(settings.integer("threads"));
  options.kv_tokens = (context + 8 * kSlackTokens) * again.request.choices;
  options.max_step_tokens = kStepTokens;
  options.profile = NumericProfile::kInvariant;
  const bool wide = receipt.numeric_profile.find("/kv-f32") != std::string::npos;
  options.kv_dtype = wide ? KvDtype::kF32 : KvDtype::kBf16;
  FP_ASSIGN(std::unique_ptr<Runner> runner, make_cpu_runner(model.model, options));
  if (runner->numeric_profile() != receipt.numeric_profile)
    return not_made(fmt::format("this machine's profile is '{}', the receipt's '{}'",
                                runner->numeric_profile(), receipt.numeric_profile));
  EngineOptions engine_options;
  engine_options.context_length = static_cast<std::int32_t>(context);
  engine_options.max_sequences = again.request.choices;
  FP_ASSIGN(const std::unique_ptr<Engine> engine,
            Engine::create(std::move(runner), *model.tokenizer, engine_options, binding));
  FP_ASSIGN(const Output output, generate_again(*engine, std::move(again.request)));
  return compare(receipt, output);
}

}  // namespace fieldprint::app
