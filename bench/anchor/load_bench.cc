// How long a server waits for its anchor: everything is verified, nothing is cached by us.
//
//   anchor_load_bench FOLDER COMMIT [ROWS] > results.jsonl      (default: 512 rows)
//
// FOLDER is made and stays behind: a trust folder with a ledger of 10,000 entries and one
// signed, promoted anchor per model shape, with random rows. Each load reads and hashes every
// byte of the folder (warm page cache), checks the P-256 signature over it, the checkpoint's
// signatures, the promotion's threshold, and the inclusion proof. Median of 15, wall time, and
// beside it the thread's own CPU time, which others on the machine do not lengthen. Opening the
// registry, which hashes the whole ledger once per process, is timed on its own.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "anchor/registry.h"
#include "anchor/signed.h"
#include "attention/bf16.h"
#include "ledger/ledger.h"

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRuns = 15;
constexpr double kBarMs = 50;  // what the project asks for
constexpr int kOtherEntries = 10'000;
constexpr std::chrono::milliseconds kPatience{120'000};

struct Times {
  std::vector<double> wall;
  std::vector<double> cpu;
};

double cpu_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

template <typename Work>
Status take_time(Times& times, const Work& work) {
  const double cpu = cpu_ms();
  const auto start = Clock::now();
  FP_TRY(work());
  times.wall.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  times.cpu.push_back(cpu_ms() - cpu);
  return {};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

struct Shape {
  const char* name;
  std::int32_t layers;
  std::int32_t kv_heads;
  std::int32_t head_dim;
};
constexpr Shape kShapes[] = {{"SmolLM2-135M", 30, 3, 64}, {"Llama-3.1-8B", 32, 8, 128}};

AnchorArtifact make_artifact(const Shape& shape, std::int32_t rows) {
  AnchorArtifact anchor;
  anchor.name = shape.name;
  anchor.text = "benchmark\n";
  anchor.tokens.assign(static_cast<std::size_t>(rows), 1);
  anchor.model_digest = digest_string(sha256(shape.name));
  anchor.layers = shape.layers;
  anchor.kv_heads = shape.kv_heads;
  anchor.head_dim = shape.head_dim;
  const auto values = static_cast<std::size_t>(shape.layers) *
                      static_cast<std::size_t>(shape.kv_heads) * anchor.tokens.size();
  std::mt19937 random(1);
  std::uniform_real_distribution<float> value(-4.0F, 4.0F);
  anchor.k.resize(values * static_cast<std::size_t>(shape.head_dim));
  for (std::uint16_t& k : anchor.k) k = bf16_from_float(value(random));
  anchor.v = anchor.k;
  anchor.beta_fit.assign(values, 0.0F);
  return anchor;
}

struct Keys {
  SignerKey log;
  SignerKey cosigner;
  SignerKey authority;
  P256SecretKey anchor;
};

Result<Keys> make_keys() {
  FP_ASSIGN(SignerKey log, SignerKey::generate("bench.local", NoteKeyType::kEd25519));
  FP_ASSIGN(SignerKey cosigner, SignerKey::generate("bench.local", NoteKeyType::kCosignature));
  FP_ASSIGN(SignerKey authority, SignerKey::generate("owner", NoteKeyType::kEd25519));
  return Keys{std::move(log), std::move(cosigner), std::move(authority), P256SecretKey::generate()};
}

Result<TrustFolder> make_trust(const std::string& dir, const Keys& keys) {
  TrustRoot root;
  root.issued_at = unix_now();
  root.policy = fmt::format("log {}\nwitness operator {}\nquorum operator\n",
                            keys.log.verifier().print(), keys.cosigner.verifier().print());
  root.checkpoint_max_age = 86400;
  root.authorities = {keys.authority.verifier()};
  for (const AuthorityRole role : kAuthorityRoles) root.role(role) = {{"owner"}, 1};
  root.anchor_keys = {{"anchor", keys.anchor.public_key().pem()}};
  const SignerKey* const signer = &keys.authority;
  FP_ASSIGN(const std::string envelope, sign_root(root, {&signer, 1}));
  return create_trust_folder(Env::real(), dir, envelope);
}

Entry promotion_of(const AnchorArtifact& anchor, const Keys& keys) {
  Statement s;
  s.subject_name = anchor.name;
  s.subject_digest = anchor.digest;
  s.scope = {"default", anchor.model_digest};
  s.issued_at = unix_now();
  s.window = {s.issued_at - 60, s.issued_at + 86400};
  s.sequence = 1;
  const SignerKey* const signer = &keys.authority;
  const Result<std::string> envelope = sign_statement(s, {&signer, 1});
  return {EntryKind::kPromotion, anchor.digest, 0, {{"envelope", *envelope}}};
}

Status fill_ledger(Ledger& ledger, const std::vector<Entry>& promotions) {
  std::vector<Entry> entries = promotions;
  for (int i = 0; i < kOtherEntries; ++i) {
    const std::string id = "receipt-" + std::to_string(i);
    entries.push_back(
        {EntryKind::kReceipt, id, 0, {{"receipt_digest", digest_string(sha256(id))}}});
  }
  FP_ASSIGN(const Ticket ticket, ledger.append(entries));
  FP_TRY(ledger.wait(ticket, Durability::kIntegrated, kPatience));
  return {};
}

void print_result(const std::string& name, const Times& times, const std::string& commit) {
  const double wall = median(times.wall);
  fmt::print(
      "{{\"what\": \"anchor_load\", \"case\": \"{}\", \"value\": {:.2f}, \"unit\": \"ms\", "
      "\"baseline\": \"bar\", \"baseline_value\": {:g}, \"ratio\": {:.3f}, \"cpu_ms\": {:.2f}, "
      "\"device\": \"{}\", \"date\": \"{:%Y-%m-%d}\", \"commit\": \"{}\"}}\n",
      name, wall, kBarMs, kBarMs / wall, median(times.cpu), cpu_name(),
      fmt::gmtime(std::time(nullptr)), commit);
}

Status run(const std::string& dir, const std::string& commit, std::int32_t rows) {
  FP_ASSIGN(const Keys keys, make_keys());
  FP_ASSIGN(const TrustFolder folder, make_trust(dir, keys));
  std::filesystem::create_directories(folder.anchors_dir());
  std::vector<Entry> promotions;
  for (const Shape& shape : kShapes) {
    AnchorArtifact anchor = make_artifact(shape, rows);
    const std::string path = folder.anchors_dir() + "/" + shape.name;
    FP_TRY(save_anchor(anchor, path));
    FP_TRY(sign_anchor_folder(path, keys.anchor));
    promotions.push_back(promotion_of(anchor, keys));
  }
  FP_ASSIGN(SignerKey log, SignerKey::parse(keys.log.print().view()));
  FP_ASSIGN(SignerKey cosigner, SignerKey::parse(keys.cosigner.print().view()));
  const LedgerKeys ledger_keys{std::move(log), std::move(cosigner)};
  FP_TRY(Ledger::create(folder.ledger_dir(), ledger_keys));
  FP_ASSIGN(log, SignerKey::parse(keys.log.print().view()));
  FP_ASSIGN(cosigner, SignerKey::parse(keys.cosigner.print().view()));
  FP_ASSIGN(const std::unique_ptr<Ledger> ledger,
            Ledger::open(folder.ledger_dir(), {std::move(log), std::move(cosigner)}));
  FP_TRY(fill_ledger(*ledger, promotions));
  std::unique_ptr<AnchorRegistry> registry;
  Times opening;
  FP_TRY(take_time(opening, [&]() -> Status {
    FP_ASSIGN(registry, AnchorRegistry::open(Env::real(), folder));
    return {};
  }));
  print_result(fmt::format("open registry, ledger of {} entries", registry->checkpoint().size),
               opening, commit);
  for (const Shape& shape : kShapes) {
    Times times;
    for (int i = 0; i < kRuns; ++i) {
      const Place place{"default", digest_string(sha256(shape.name))};
      FP_TRY(take_time(times, [&]() -> Status {
        const auto loaded = registry->load(folder.anchors_dir() + "/" + shape.name, place);
        return loaded ? Status() : tl::unexpected(loaded.error());
      }));
    }
    print_result(fmt::format("{} rows of {}, all verified", rows, shape.name), times, commit);
  }
  return {};
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: anchor_load_bench FOLDER COMMIT [ROWS]\n");
    return 2;
  }
  const int rows = argc > 3 ? std::atoi(argv[3]) : 512;
  const fieldprint::Status done = fieldprint::run(argv[1], argv[2], rows);
  if (done) return 0;
  fmt::print(stderr, "{}: {}\n", done.error().code, done.error().message);
  return 1;
}
