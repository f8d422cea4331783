#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "app/commands/commands.h"
#include "app/support/banner.h"
#include "app/support/chat.h"
#include "app/support/line_reader.h"
#include "core/progress.h"
#include "engine/anchor_service.h"

namespace fieldprint::app {
namespace {

constexpr const char* kPrompt = "> ";

void show_prompt(ChatLook look) {
  if (look == ChatLook::kPlain) return;
  std::fputs(kPrompt, stdout);
  std::fflush(stdout);
}

// On a terminal an error ends the turn, in a script the program. Leaving is never an error.
Result<Chat::After> after_error(const Error& error, ChatLook look) {
  if (look == ChatLook::kPlain) return tl::unexpected(error);
  std::fprintf(stderr, "fieldprint: %s: %s\n", error.code.c_str(), error.message.c_str());
  return Chat::After::kGoOn;
}

Result<int> talk(Chat& chat, ChatLook look) {
  InterruptScope interrupts;
  LineReader reader(STDIN_FILENO);
  std::string line;
  while (true) {
    show_prompt(look);
    FP_ASSIGN(const LineReader::Event event, reader.next(line));
    if (event == LineReader::Event::kEnd) break;
    if (event == LineReader::Event::kInterrupted) {
      if (look == ChatLook::kPlain) return 130;
      std::fputs("\n(Ctrl-C again, Ctrl-D or /quit to leave)\n", stdout);
      continue;
    }
    Result<Chat::After> after = chat.handle(line, interrupts);
    if (!after) after = after_error(after.error(), look);
    if (!after) return tl::unexpected(after.error());
    if (*after == Chat::After::kQuit) return 0;
    interrupts.reset();
  }
  if (look == ChatLook::kTerminal) std::fputs("\n", stdout);
  return 0;
}

}  // namespace

Result<int> cmd_run(const CommandInput& input) {
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  const ChatLook look = terminal ? ChatLook::kTerminal : ChatLook::kPlain;
  const ProgressStyle style = terminal ? ProgressStyle::kBar : ProgressStyle::kSilent;
  Progress progress("loading model", 100, style, stderr_progress_sink(style));
  FP_ASSIGN(EngineStack stack,
            start_engine(input.settings, EngineUse::kOneConversation, [&](int percent) {
              progress.update(static_cast<std::uint64_t>(percent));
            }));
  progress.finish();
  if (!stack.model.chat)
    return fail(ErrorKind::kUnsupported, "chat_template_missing",
                fmt::format("{} has no chat template, so it cannot chat; 'fieldprint complete "
                            "--raw' continues a text with it",
                            stack.model.path));
  std::fputs(banner(input.settings, stack, {}).c_str(), stderr);
  if (terminal) std::fputs("\nWrite a message, or /help for the commands.\n", stderr);
  // A revocation that arrives while we talk ends the anchor here too: the next turn says so.
  std::unique_ptr<AnchorService> watch;
  if (stack.promoted) {
    watch = make_anchor_service(*stack.engine, *stack.trust->registry, stack.trust->ledger.get(),
                                *stack.promoted, stack.anchor, {});
  }
  Chat chat(stack, input.settings, look);
  return talk(chat, look);
}

}  // namespace fieldprint::app
