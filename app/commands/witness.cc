// witness: cosigns the checkpoints of other people's logs, over HTTP.
#include "ledger/witness.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "app/commands/commands.h"
#include "app/support/paths.h"
#include "app/support/shutdown.h"
#include "http/witness_server.h"
#include "ledger/trust.h"

namespace fieldprint::app {
namespace {

// "127.0.0.1:8090", "[::1]:8090".
Result<WitnessServerOptions> parse_listen(const std::string& text) {
  const auto invalid = [&] {
    return fail(ErrorKind::kInvalid, "option_value",
                "--listen wants ADDRESS:PORT, not '" + text.substr(0, 80) + "'", "listen");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return invalid();
  WitnessServerOptions options;
  options.host = text.substr(0, colon);
  if (options.host.front() == '[' && options.host.back() == ']')
    options.host = options.host.substr(1, options.host.size() - 2);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, options.port);
  if (error != std::errc() || stop != end || options.port < 0 || options.port > 65535)
    return invalid();
  return options;
}

}  // namespace

Result<int> cmd_witness(const CommandInput& input) {
  const Settings& settings = input.settings;
  for (const char* option : {"witness-key", "log-policy"})
    if (settings.text(option).empty())
      return fail(ErrorKind::kInvalid, "missing_argument",
                  fmt::format("'witness' needs --{} FILE", option), option);
  FP_ASSIGN(const WitnessServerOptions options, parse_listen(settings.text("listen")));
  FP_ASSIGN(SignerKey key, SignerKey::load(settings.text("witness-key")));
  FP_ASSIGN(const Policy logs, load_policy(Env::real(), settings.text("log-policy")));
  ShutdownSignals signals;  // before any thread
  const std::string dir =
      input.positionals.empty() ? state_dir(settings) + "/witness" : input.positionals[0];
  FP_ASSIGN(const std::unique_ptr<Witness> witness,
            Witness::open(Env::real(), dir, std::move(key), logs));
  FP_ASSIGN(const std::unique_ptr<WitnessServer> server, WitnessServer::start(options, *witness));
  FP_ASSIGN(const std::vector<WitnessedLog> known, witness->logs());
  fmt::print("witness  {}\nstate    {}\nurl      http://{}:{}\n", witness->key().print(), dir,
             options.host.find(':') == std::string::npos ? options.host : "[" + options.host + "]",
             server->port());
  for (const WitnessedLog& log : known)
    fmt::print("log      {} ({} entries cosigned)\n", log.origin, log.size);
  std::fflush(stdout);
  notify_service_manager("READY=1");
  signals.begin_service();
  while (!signals.wait_for(std::chrono::hours(1))) {
  }
  notify_service_manager("STOPPING=1");
  return 0;
}

}  // namespace fieldprint::app
