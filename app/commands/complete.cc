#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "api/print_json.h"
#include "app/commands/commands.h"
#include "app/support/answer.h"
#include "app/support/mass.h"
#include "app/support/model_stack.h"
#include "app/support/paths.h"
#include "app/support/release.h"
#include "core/log.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxPromptBytes = std::size_t{16} << 20;

// Of the prompt as the chat template gets it; empty with --raw.
std::vector<ChatMessage> messages_of(const Settings& settings, const std::string& prompt) {
  std::vector<ChatMessage> messages;
  if (settings.flag("raw")) return messages;
  if (!settings.text("system").empty()) messages.push_back({"system", settings.text("system")});
  messages.push_back({"user", prompt});
  return messages;
}

Result<std::vector<TokenSpan>> prompt_spans(const Settings& settings, const EngineStack& stack,
                                            const std::string& prompt) {
  const Tokenizer& tokenizer = *stack.model.tokenizer;
  const bool anchored = stack.anchor.artifact != nullptr;
  if (settings.flag("raw")) {
    if (!settings.text("system").empty())
      return fail(ErrorKind::kInvalid, "option_conflict",
                  "--system needs the chat template, --raw goes without it", "system");
    TokenSpan span;
    if (tokenizer.adds_bos() && !anchored) span.tokens.push_back(tokenizer.bos());
    for (const TokenId token : tokenizer.encode(prompt, false)) span.tokens.push_back(token);
    return std::vector<TokenSpan>{std::move(span)};
  }
  if (!stack.model.chat)
    return fail(ErrorKind::kUnsupported, "chat_template_missing",
                fmt::format("{} has no chat template; use --raw to continue the text as it is",
                            stack.model.path));
  ChatRender render;
  render.add_bos = !anchored;
  return stack.model.chat->render(tokenizer, messages_of(settings, prompt), render);
}

void print_json(const EngineStack& stack, const Answer& answer) {
  const UsageReport& usage = answer.usage;
  nlohmann::ordered_json json = {
      {"text", answer.text},
      {"finish_reason", finish_reason_name(answer.reason)},
      {"seed", answer.seed},
      {"usage",
       {{"prompt_tokens", usage.prompt_tokens},
        {"completion_tokens", usage.completion_tokens},
        {"cached_tokens", usage.cached_tokens},
        {"anchor_tokens", usage.anchor_tokens}}},
      {"seconds", {{"prefill", usage.prefill_seconds}, {"decode", usage.decode_seconds}}},
      {"model_digest", stack.model.digest},
      {"anchor_digest", nullptr},
      {"anchor_trust", nullptr},
      {"attention_mass", mass_json(usage.mass)},
      {"supervision", nullptr}};
  if (answer.supervision) {
    Evidence evidence;
    evidence.supervision = {answer.supervision};
    json["supervision"] = supervision_json(evidence)[0];
  }
  if (stack.anchor.artifact) {
    json["anchor_digest"] = stack.anchor.artifact->digest;
    json["anchor_trust"] = stack.promoted ? "promoted" : "insecure";
  }
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Result<int> cmd_complete(const CommandInput& input) {
  const Settings& settings = input.settings;
  std::string prompt;
  if (input.positionals.empty() || input.positionals[0] == "-") {
    FP_ASSIGN(prompt, read_stdin(kMaxPromptBytes));
  } else {
    prompt = input.positionals[0];
  }
  FP_ASSIGN(EngineStack stack, start_engine(settings, EngineUse::kOneConversation, {}));
  if (stack.anchor.artifact && !stack.promoted)  // there is no banner here to say it
    fmt::print(stderr, "fieldprint: anchor UNSIGNED (development): {}\n",
               stack.anchor.artifact->digest);
  GenerationRequest request;
  request.id = "cmpl-cli";
  FP_ASSIGN(request.prompt, prompt_spans(settings, stack, prompt));
  request.sampling = sampling_from(settings);
  request.max_tokens = static_cast<std::int32_t>(settings.integer("max-tokens"));
  request.stop = settings.list("stop");
  request.use_anchor = stack.anchor.artifact != nullptr;
  const bool json = settings.flag("json");
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  FP_ASSIGN(request.supervision,
            supervision_for(settings, stack, messages_of(settings, prompt),
                            json || terminal ? Retractable::kYes : Retractable::kNo));
  InterruptScope interrupts;
  std::unique_ptr<AnswerView> view;
  if (!json) view = terminal ? make_terminal_view() : make_pipe_view();
  FP_ASSIGN(const Answer answer,
            generate(*stack.engine, std::move(request), view.get(), interrupts.flag()));
  if (json) {
    print_json(stack, answer);
  } else if (terminal || !answer.text.ends_with("\n")) {
    fmt::print("\n");
  }
  if (answer.reason == FinishReason::kContentFilter)
    fmt::print(stderr, "fieldprint: {}\n", report_line(*answer.supervision));
  return 0;
}

}  // namespace fieldprint::app
