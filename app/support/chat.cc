#include "app/support/chat.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "app/support/anchor_source.h"
#include "app/support/format.h"
#include "app/support/paths.h"
#include "app/support/release.h"

namespace fieldprint::app {
namespace {

constexpr int kBarCells = 32;
constexpr const char* kCommands[] = {"/help",  "/reset", "/anchor", "/mass",
                                     "/stats", "/save",  "/quit"};

double rate(std::int32_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

}  // namespace

std::string chat_help() {
  return "/help         this list\n"
         "/reset        forget the conversation\n"
         "/anchor       the identity that is in front of the conversation\n"
         "/mass         share of the attention on each class of rows in the last answer\n"
         "/stats        tokens, speed and KV pages\n"
         "/save FILE    write the conversation as JSON lines\n"
         "/quit         leave (also Ctrl-D)\n";
}

Chat::Chat(EngineStack& stack, const Settings& settings, ChatLook look)
    : stack_(stack),
      settings_(settings),
      look_(look),
      colour_(look == ChatLook::kTerminal && std::getenv("NO_COLOR") == nullptr ? Colour::kOn
                                                                                : Colour::kOff) {
  reset();
}

void Chat::reset() {
  history_.clear();
  last_.reset();
  turns_ = 0;
  detector_ = {};
  if (!settings_.text("system").empty()) history_.push_back({"system", settings_.text("system")});
}

Result<Chat::After> Chat::handle(const std::string& line, InterruptScope& interrupts) {
  if (line.find_first_not_of(" \t") == std::string::npos) return After::kGoOn;
  if (line.front() == '/') return command(line);
  FP_TRY(answer(line, interrupts));
  return After::kGoOn;
}

Result<Chat::After> Chat::command(const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  if (name == "/quit" || name == "/exit") return After::kQuit;
  std::string shown;
  if (name == "/help") {
    shown = chat_help();
  } else if (name == "/reset") {
    reset();
    shown = "conversation forgotten\n";
  } else if (name == "/anchor") {
    shown = anchor_text();
  } else if (name == "/mass") {
    shown = mass_text();
  } else if (name == "/stats") {
    shown = stats_text();
  } else if (name == "/save") {
    FP_TRY(save(argument));
    shown = fmt::format("saved to {}\n", argument);
  } else {
    const std::vector<std::string> known(std::begin(kCommands), std::end(kCommands));
    const std::string near = nearest(name, known);
    return fail(ErrorKind::kInvalid, "unknown_chat_command",
                fmt::format("{} is no command, {}", name.substr(0, 80),
                            near.empty() ? "see /help" : fmt::format("did you mean {}?", near)));
  }
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
  return After::kGoOn;
}

Status Chat::answer(const std::string& message, InterruptScope& interrupts) {
  std::vector<ChatMessage> messages = history_;
  messages.push_back({"user", message});
  ChatRender render;
  render.add_bos = stack_.anchor.artifact == nullptr;
  GenerationRequest request;
  request.id = fmt::format("chatcmpl-run-{}", turns_);
  FP_ASSIGN(request.prompt, stack_.model.chat->render(*stack_.model.tokenizer, messages, render));
  request.sampling = sampling_from(settings_);
  request.max_tokens = static_cast<std::int32_t>(settings_.integer("max-tokens"));
  request.use_anchor = stack_.anchor.artifact != nullptr;
  const bool terminal = look_ == ChatLook::kTerminal;
  FP_ASSIGN(request.supervision, supervision_for(settings_, stack_, messages,
                                                 terminal ? Retractable::kYes : Retractable::kNo));
  if (request.supervision) request.supervision->detector = detector_;
  interrupts.reset();
  const auto view = terminal ? make_terminal_view() : make_pipe_view();
  Result<Answer> result =
      generate(*stack_.engine, std::move(request), view.get(), interrupts.flag());
  std::fputs("\n", stdout);
  std::fflush(stdout);
  if (!result) return tl::unexpected(result.error());
  messages.push_back({"assistant", result->text});
  history_ = std::move(messages);
  if (result->supervision) detector_ = result->supervision->detector;
  last_ = std::move(*result);
  ++turns_;
  if (terminal) show_evidence();
  return {};
}

void Chat::show_evidence() const {
  const UsageReport& usage = last_->usage;
  std::string line = "anchor none";
  if (stack_.anchor.artifact)
    line = fmt::format("anchor {} {}", short_digest(stack_.anchor.artifact->digest),
                       stack_.promoted ? "promoted" : "UNSIGNED");
  if (last_->supervision) line += " | " + report_line(*last_->supervision);
  fmt::print("{}{}\n",
             dim(fmt::format("{} | {} tokens, {:.1f} tok/s{} | ", line, usage.completion_tokens,
                             rate(usage.completion_tokens, usage.decode_seconds),
                             last_->reason == FinishReason::kLength ? ", cut at the limit" : "")),
             mass_bar(usage.mass, kBarCells, colour_));
}

std::string Chat::anchor_text() const {
  const AnchorArtifact* anchor = stack_.anchor.artifact.get();
  if (anchor == nullptr) return "no anchor\n";
  std::string policy = anchor_mode_name(stack_.anchor.mode);
  if (stack_.anchor.mode == AnchorMode::kGated)
    policy += fmt::format(", gamma {}", stack_.anchor.gamma);
  if (stack_.anchor.mode == AnchorMode::kFloored)
    policy += fmt::format(", psi {}", stack_.anchor.psi);
  return fmt::format(
      "name    {}\ndigest  {}\nsigned  no (development)\nmode    {}, beta {}\n"
      "tokens  {}\nwrap    {}\nfolder  {}\n\n{}\n",
      anchor->name, anchor->digest, policy, stack_.anchor.beta_policy, anchor->length(),
      anchor->recipe.wrap, stack_.anchor_source, anchor->text);
}

std::string Chat::mass_text() const {
  if (!last_) return "no answer yet\n";
  return mass_bar(last_->usage.mass, kBarCells, colour_) + "\n";
}

std::string Chat::stats_text() const {
  const EngineStats stats = stack_.engine->stats();
  std::string text = fmt::format(
      "turns {}, prompt tokens {}, from cache {}, generated {}\n"
      "KV pages {} of {} used, {} cached; engine busy {:.1f} s in {} steps\n",
      turns_, stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens, stats.pages_used,
      stats.pages_total, stats.pages_cached, stats.busy_seconds, stats.steps);
  if (!last_) return text;
  const UsageReport& usage = last_->usage;
  const std::int32_t computed = usage.prompt_tokens - usage.cached_tokens;
  return text + fmt::format(
                    "last answer: prompt {} ({} cached) at {:.1f} tok/s, {} tokens at {:.1f} "
                    "tok/s, seed {}\n",
                    usage.prompt_tokens, usage.cached_tokens, rate(computed, usage.prefill_seconds),
                    usage.completion_tokens, rate(usage.completion_tokens, usage.decode_seconds),
                    last_->seed);
}

Status Chat::save(const std::string& path) const {
  if (path.empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "/save needs the name of a file");
  std::string lines;
  for (const ChatMessage& message : history_) {
    const nlohmann::ordered_json json = {{"role", message.role}, {"content", message.content}};
    lines += json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return write_file_atomically(path, lines);
}

std::string Chat::dim(const std::string& text) const {
  return colour_ == Colour::kOn ? fmt::format("\x1b[2m{}\x1b[0m", text) : text;
}

}  // namespace fieldprint::app
