// How fast the ledger takes leaves to disk, and how fast it proves them.
//
//   ledger_bench FOLDER COMMIT [LEAVES] > results.jsonl     (defaults: 1,000,000 leaves)
//
// FOLDER is made, must be on the disk that is meant, and stays behind. One producer thread hands
// in segment entries of 272 bytes, `batch` at a time, without waiting; the time runs
// until the last one is durable (SQLite commit, synced) and until it is integrated (tiles
// synced, head committed, checkpoint signed). Proofs are inclusion proofs for random leaves
// under the newest checkpoint, each checked against its root before it is returned; one thread.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "ledger/ledger.h"

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kForever{600'000};
constexpr double kLeavesBar = 100'000;  // what the project asks for
constexpr double kProofsBar = 20'000;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

struct Output {
  std::string commit;
  std::string device = fmt::format("{}, {} cores", cpu_name(), std::thread::hardware_concurrency());
  std::string date = fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)));

  void line(const std::string& label, double value, const char* unit, double bar) const {
    fmt::print(
        "{{\"what\": \"ledger\", \"case\": \"{}\", \"value\": {:.1f}, \"unit\": \"{}\", "
        "\"baseline\": \"bar\", \"baseline_value\": {:.0f}, \"ratio\": {:.3f}, "
        "\"device\": \"{}\", \"date\": \"{}\", \"commit\": \"{}\"}}\n",
        label, value, unit, bar, value / bar, device, date, commit);
    std::fflush(stdout);
  }
};

Entry segment(std::uint64_t number) {
  Entry entry;
  entry.kind = EntryKind::kSegment;
  entry.subject = fmt::format("resp-{:012}", number / 8);
  entry.time_ms = 1'800'000'000'000 + static_cast<std::int64_t>(number);
  entry.body.emplace("first_token", static_cast<std::int64_t>(number % 8 * 32));
  entry.body.emplace("tokens", std::int64_t{1});
  entry.body.emplace("fingerprints", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJw==");
  entry.body.emplace("chain", fmt::format("sha256:{:064x}", number));
  return entry;
}

Status measure_appends(Ledger& ledger, const Output& output, std::uint64_t leaves,
                       std::size_t batch) {
  std::vector<std::vector<Entry>> work;
  for (std::uint64_t at = 0; at < leaves; at += batch) {
    std::vector<Entry>& entries = work.emplace_back();
    for (std::uint64_t i = at; i < std::min<std::uint64_t>(at + batch, leaves); ++i)
      entries.push_back(segment(i));
  }
  const auto start = Clock::now();
  std::optional<Ticket> last;
  for (const std::vector<Entry>& entries : work) {
    Result<Ticket> ticket = ledger.append(entries);
    while (!ticket && ticket.error().code == "ledger_overloaded") {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ticket = ledger.append(entries);
    }
    if (!ticket) return tl::unexpected(ticket.error());
    last = *ticket;
  }
  FP_TRY(ledger.wait(*last, Durability::kDurable, kForever));
  const double durable = seconds_since(start);
  FP_TRY(ledger.wait(*last, Durability::kIntegrated, kForever));
  const double integrated = seconds_since(start);
  const double count = static_cast<double>(leaves);
  output.line(fmt::format("durable, {} leaves in batches of {}", leaves, batch), count / durable,
              "leaves/s", kLeavesBar);
  output.line(fmt::format("integrated, {} leaves in batches of {}", leaves, batch),
              count / integrated, "leaves/s", kLeavesBar);
  return {};
}

// One leaf at a time, each waited for.
Status measure_latency(Ledger& ledger, const Output& output, Durability state, const char* name) {
  constexpr int kCount = 300;
  const auto start = Clock::now();
  for (int i = 0; i < kCount; ++i)
    FP_TRY(ledger.commit(segment(static_cast<std::uint64_t>(i)), state, kForever));
  output.line(fmt::format("{}, one leaf at a time", name), kCount / seconds_since(start),
              "leaves/s", kLeavesBar);
  return {};
}

Status measure_proofs(Ledger& ledger, const Output& output) {
  constexpr int kCount = 200'000;
  FP_ASSIGN(const SignedCheckpoint head, ledger.checkpoint());
  std::mt19937_64 random(1);
  for (const char* name : {"random leaves, tiles from disk", "random leaves, tiles in memory"}) {
    const auto start = Clock::now();
    for (int i = 0; i < kCount; ++i) FP_TRY(ledger.prove(random() % head.size));
    output.line(fmt::format("checked inclusion proofs, {}, tree of {}", name, head.size),
                kCount / seconds_since(start), "proofs/s", kProofsBar);
  }
  return {};
}

Status run(const std::string& folder, const Output& output, std::uint64_t leaves) {
  FP_ASSIGN(SignerKey log, SignerKey::generate("bench.test/log", NoteKeyType::kEd25519));
  FP_ASSIGN(SignerKey cosigner, SignerKey::generate("bench.test/log", NoteKeyType::kCosignature));
  LedgerKeys keys{std::move(log), std::move(cosigner)};
  LedgerOptions options;
  options.cached_tiles = 8192;  // holds the tree: 128 MiB at a million leaves and a half
  FP_TRY(Ledger::create(folder, keys, options));
  FP_ASSIGN(const std::unique_ptr<Ledger> ledger, Ledger::open(folder, std::move(keys), options));
  FP_TRY(measure_latency(*ledger, output, Durability::kDurable, "durable"));
  FP_TRY(measure_latency(*ledger, output, Durability::kIntegrated, "integrated"));
  FP_TRY(measure_appends(*ledger, output, leaves / 10, 1));
  FP_TRY(measure_appends(*ledger, output, leaves / 5, 32));
  FP_TRY(measure_appends(*ledger, output, leaves, 1024));
  return measure_proofs(*ledger, output);
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: ledger_bench FOLDER COMMIT [LEAVES]\n");
    return 2;
  }
  fieldprint::Output output;
  output.commit = argv[2];
  const std::uint64_t leaves = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1'000'000;
  const fieldprint::Status done = fieldprint::run(argv[1], output, leaves);
  if (done) return 0;
  fmt::print(stderr, "ledger_bench: {}: {}\n", done.error().code, done.error().message);
  return 1;
}
