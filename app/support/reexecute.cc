#include "app/support/reexecute.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <variant>

#include "api/request.h"
#include "api/response.h"
#include "app/support/fingerprint_check.h"
#include "app/support/model_stack.h"
#include "app/support/trust.h"
#include "app/support/trust_services.h"
#include "engine/anchor_supervision.h"
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
    } else if (std::holds_alternative<DoneEvent>(*event)) {
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

// Why nothing of it can be computed again; empty if something can.
std::string obstacle(const Receipt& receipt, const ModelStack& model) {
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

// Why the same tokens cannot be expected.
std::string sampling_obstacle(const Receipt& receipt, const std::string& profile) {
  if (!receipt.numeric_profile.starts_with("invariant"))
    return fmt::format("made in the profile '{}': its bits depend on what else ran at the time",
                       receipt.numeric_profile);
  if (profile != receipt.numeric_profile)
    return fmt::format("this machine's profile is '{}', the receipt's '{}'", profile,
                       receipt.numeric_profile);
  for (const ReceiptChoice& choice : receipt.choices) {
    if (choice.supervision.rollback_count > 0)
      return "it was rolled back, which depends on when the verdicts came";
  }
  return {};
}

// The ids that the response's text gives, where they are those of the receipt.
std::vector<TokenId> ids_of_text(const ModelStack& model, const Receipt& receipt,
                                 std::size_t choice, const std::string& text) {
  std::vector<TokenId> ids = model.tokenizer->encode(text, false);
  const auto wanted = static_cast<std::size_t>(receipt.choices[choice].tokens);
  const std::string& digest = receipt.choices[choice].tokens_digest;
  if (ids.size() == wanted && tokens_commitment(receipt.salt, choice, ids) == digest) return ids;
  if (ids.size() + 1 != wanted) return {};
  for (TokenId token = 0; token < model.tokenizer->vocab_size(); ++token) {
    if (!model.tokenizer->is_end_of_generation(token)) continue;
    ids.push_back(token);
    if (tokens_commitment(receipt.salt, choice, ids) == digest) return ids;
    ids.pop_back();
  }
  return {};
}

Result<ReceiptCheck> again_tokens(const FingerprintPlace& place, const Receipt& receipt,
                                  GenerationRequest request,
                                  std::vector<std::vector<TokenId>>& tokens) {
  const std::int64_t context =
      receipt.tokens.anchor + receipt.tokens.prompt + request.max_tokens + kSlackTokens;
  CpuRunnerOptions options = place.runner;
  options.kv_tokens = (context + 8 * kSlackTokens) * request.choices;
  options.max_step_tokens = kStepTokens;
  FP_ASSIGN(std::unique_ptr<Runner> runner, make_cpu_runner(place.model.model, options));
  const std::string why = sampling_obstacle(receipt, runner->numeric_profile());
  if (!why.empty()) return not_made(why);
  EngineOptions engine_options;
  engine_options.context_length = static_cast<std::int32_t>(context);
  engine_options.max_sequences = request.choices;
  FP_ASSIGN(
      const std::unique_ptr<Engine> engine,
      Engine::create(std::move(runner), *place.model.tokenizer, engine_options, place.anchor));
  FP_ASSIGN(Output output, generate_again(*engine, std::move(request)));
  ReceiptCheck check = compare(receipt, output);
  if (check.outcome == CheckOutcome::kHolds) {
    tokens = std::move(output.tokens);
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i].resize(static_cast<std::size_t>(receipt.choices[i].tokens));
  }
  return check;
}

std::vector<ReceiptCheck> neither(const std::string& why) {
  return {not_made(why), {"fingerprints", CheckOutcome::kNotChecked, "", why}};
}

}  // namespace

Result<std::vector<ReceiptCheck>> reexecute(const Settings& settings, const ReceiptReport& report,
                                            const ReceiptEvidence& evidence) {
  const Receipt& receipt = report.receipt;
  FP_ASSIGN(const ModelStack model, open_model(settings));
  if (const std::string why = obstacle(receipt, model); !why.empty()) return neither(why);
  const bool anchored = receipt.anchor.digests.front() != kReceiptNone;
  FingerprintPlace place{model, {}, {}, {}};
  if (anchored) {
    if (settings.text("anchor").empty())
      return neither("the receipt's anchor is needed; --anchor names its folder");
    FP_ASSIGN(place.anchor, binding_of(settings, receipt));
    const AnchorArtifact& artifact = *place.anchor.artifact;
    if (artifact.digest != receipt.anchor.digests.front())
      return neither(fmt::format("the anchor given is {}, the receipt's {}", artifact.digest,
                                 receipt.anchor.digests.front()));
    place.anchor.model_digest = model.digest;
    FP_ASSIGN(place.anchor.supervision, supervision_of(artifact, model.model->config));
  }
  FP_ASSIGN(Again again, request_again(model, receipt, *evidence.request, anchored));
  place.prompt = again.request.prompt;
  place.runner.threads = static_cast<int>(settings.integer("threads"));
  place.runner.profile = NumericProfile::kInvariant;
  const bool wide = receipt.numeric_profile.find("/kv-f32") != std::string::npos;
  place.runner.kv_dtype = wide ? KvDtype::kF32 : KvDtype::kBf16;
  std::vector<std::vector<TokenId>> tokens(receipt.choices.size());
  FP_ASSIGN(ReceiptCheck drawn, again_tokens(place, receipt, std::move(again.request), tokens));
  for (std::size_t i = 0; evidence.choices && i < tokens.size(); ++i) {
    if (tokens[i].empty()) tokens[i] = ids_of_text(model, receipt, i, evidence.choices->at(i));
  }
  FP_ASSIGN(ReceiptCheck fingerprints, check_fingerprints(place, report, tokens));
  return std::vector<ReceiptCheck>{std::move(drawn), std::move(fingerprints)};
}

}  // namespace fieldprint::app
