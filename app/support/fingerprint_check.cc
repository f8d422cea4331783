#include "app/support/fingerprint_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "app/support/state_recorder.h"
#include "core/check.h"
#include "supervisor/receipt_chain.h"
#include "supervisor/verify.h"

namespace fieldprint::app {
namespace {

constexpr const char* kName = "fingerprints";
constexpr std::int32_t kStepTokens = 64;  // logits of all of them are computed
constexpr std::int32_t kSlackTokens = 64;
constexpr std::chrono::milliseconds kPoll{200};

ReceiptCheck made(CheckOutcome what, const std::string& code, const std::string& detail) {
  return {kName, what, code, detail};
}
ReceiptCheck not_made(const std::string& why) { return made(CheckOutcome::kNotChecked, "", why); }

std::int32_t count_tokens(const std::vector<TokenSpan>& spans) {
  std::size_t count = 0;
  for (const TokenSpan& span : spans) count += span.tokens.size();
  return static_cast<std::int32_t>(count);
}

struct Run {
  RecordedStates recorded;
  std::string numeric_profile;
};

// Prompt and response through the model as one prompt: no token is drawn, so any profile can
// follow any response.
Result<Run> run_through(const FingerprintPlace& place, const std::vector<TokenId>& tokens) {
  Run run;
  GenerationRequest request;
  request.id = "fingerprints";
  request.prompt = place.prompt;
  request.prompt.push_back({tokens, KvClass::kOutput});
  request.max_tokens = 1;
  request.use_anchor = place.anchor.artifact != nullptr;
  const std::int32_t anchor = request.use_anchor ? place.anchor.artifact->length() : 0;
  EngineOptions options;
  options.context_length = anchor + count_tokens(request.prompt) + kSlackTokens;
  options.max_sequences = 1;
  options.prefill_chunk = kStepTokens;
  options.prefix_cache = false;  // every state has to be computed
  CpuRunnerOptions runner_options = place.runner;
  runner_options.kv_tokens = options.context_length + 8 * kSlackTokens;
  runner_options.max_step_tokens = kStepTokens;
  FP_ASSIGN(std::unique_ptr<Runner> runner, make_cpu_runner(place.model.model, runner_options));
  run.numeric_profile = runner->numeric_profile();
  FP_ASSIGN(const std::unique_ptr<Engine> engine,
            Engine::create(record_states(std::move(runner), run.recorded), *place.model.tokenizer,
                           options, place.anchor));
  FP_ASSIGN(const std::unique_ptr<Generation> generation, engine->submit(std::move(request)));
  while (true) {
    const std::optional<GenerationEvent> event = generation->next(kPoll);
    if (!event) continue;
    if (const auto* failed = std::get_if<FailedEvent>(&*event)) {
      return tl::unexpected(failed->error);
    }
    if (std::holds_alternative<DoneEvent>(*event)) return run;
  }
}

// Why the states of this choice cannot be computed again; empty if they can.
std::string obstacle(const ReceiptSupervision& supervision, bool tokens_known) {
  for (const ReceiptRollback& rollback : supervision.rollbacks) {
    if (rollback.change == rollback_change_name(RollbackChange::kReseed)) continue;
    return fmt::format("it went on after a rollback with '{}'", rollback.change);
  }
  if (supervision.rollback_count > static_cast<std::int64_t>(supervision.rollbacks.size()))
    return "it was rolled back more often than the receipt lists";
  if (!tokens_known) return "its token ids are not known";
  return {};
}

Result<FingerprintReport> judge(const FingerprintPlace& place, const ReceiptReport& report,
                                std::size_t choice, const std::vector<TokenId>& tokens,
                                bool& exact) {
  const SupervisionModel& model = *place.anchor.supervision;
  FP_ASSIGN(const std::vector<Segment> segments,
            open_receipt_chain(report.receipt, report.chains, choice));
  FP_ASSIGN(const Run run, run_through(place, tokens));
  const auto hidden = static_cast<std::size_t>(model.fingerprinter().recipe().hidden);
  const std::size_t first = static_cast<std::size_t>(count_tokens(place.prompt)) - 1;
  FP_CHECK(run.recorded.tokens.size() >= first + tokens.size());
  // The state that response token t was drawn from is that of the token before it.
  const Reexecution own{
      tokens, std::span(run.recorded.states).subspan(first * hidden, tokens.size() * hidden),
      run.numeric_profile};
  const ChainBinding binding = receipt_binding(report.receipt, choice);
  exact = run.numeric_profile.starts_with("invariant") &&
          run.numeric_profile == binding.numeric_profile;
  if (exact) return verify_fingerprints_exact(model.fingerprinter(), binding, segments, own);
  if (!model.recipe().tolerance)
    return fail(ErrorKind::kUnsupported, "no_tolerance",
                fmt::format("the profile here is '{}', and the anchor has no limits for another "
                            "than the receipt's",
                            run.numeric_profile));
  return verify_fingerprints_tolerant(model.fingerprinter(), binding, segments, own,
                                      *model.recipe().tolerance);
}

ReceiptCheck verdict_of(std::size_t choice, const FingerprintReport& report, bool exact) {
  const std::string what = fmt::format(
      "choice {}: {} tokens compared {}, {} without a fingerprint, {} taken back", choice,
      report.tokens, exact ? "byte for byte" : "by distance", report.gaps, report.dropped);
  switch (report.verdict) {
    case FingerprintVerdict::kAccepted:
      return made(
          CheckOutcome::kHolds, "",
          exact ? what : fmt::format("{}, mean distance {:.3f} steps", what, report.capped_mean));
    case FingerprintVerdict::kNothingToJudge:
    case FingerprintVerdict::kSaturated:
    case FingerprintVerdict::kIndistinct:
      return not_made(fmt::format("{}: {}", what, fingerprint_verdict_name(report.verdict)));
    case FingerprintVerdict::kTokensDiffer:
    case FingerprintVerdict::kBytesDiffer:
    case FingerprintVerdict::kTooFar:
      return made(CheckOutcome::kFails,
                  std::string("fingerprint_") + fingerprint_verdict_name(report.verdict),
                  fmt::format("{}; first wrong at token {}", what, report.first_token));
  }
  FP_UNREACHABLE();
}

Result<ReceiptCheck> check_choice(const FingerprintPlace& place, const ReceiptReport& report,
                                  std::size_t choice, const std::vector<TokenId>& tokens) {
  const ReceiptChoice& stated = report.receipt.choices[choice];
  const bool known = static_cast<std::int64_t>(tokens.size()) == stated.tokens && !tokens.empty();
  if (const std::string why = obstacle(stated.supervision, known); !why.empty())
    return not_made(fmt::format("choice {}: {}", choice, why));
  bool exact = false;
  const auto judged = judge(place, report, choice, tokens, exact);
  if (judged) return verdict_of(choice, *judged, exact);
  const Error& error = judged.error();
  const bool cannot = error.code == "receipt_chain_missing" || error.code == "no_tolerance";
  if (cannot) return not_made(fmt::format("choice {}: {}", choice, error.message));
  if (error.code.starts_with("fingerprint_") || error.code.starts_with("receipt_"))
    return made(CheckOutcome::kFails, error.code,
                fmt::format("choice {}: {}", choice, error.message));
  return tl::unexpected(error);
}

}  // namespace

Result<ReceiptCheck> check_fingerprints(const FingerprintPlace& place, const ReceiptReport& report,
                                        const std::vector<std::vector<TokenId>>& tokens) {
  if (!place.anchor.supervision) return not_made("the anchor given has no supervision recipe");
  ReceiptCheck all = not_made("");
  bool every = true;
  for (std::size_t i = 0; i < report.receipt.choices.size(); ++i) {
    if (report.receipt.choices[i].supervision.state == kReceiptNone) continue;
    FP_ASSIGN(const ReceiptCheck check, check_choice(place, report, i, tokens.at(i)));
    if (check.outcome == CheckOutcome::kFails) return check;
    every = every && check.outcome == CheckOutcome::kHolds;
    all.detail += (all.detail.empty() ? "" : "; ") + check.detail;
  }
  if (all.detail.empty()) return not_made("no supervisor ran");
  if (every) all.outcome = CheckOutcome::kHolds;
  return all;
}

}  // namespace fieldprint::app
