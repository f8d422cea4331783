#include "ledger/ledger_fixture.h"

#include <unistd.h>

#include <atomic>
#include <vector>

#include "codec/base64.h"
#include "core/check.h"

namespace fieldprint::testing {

namespace {

// In memory where there is such a folder: these tests kill processes and simulate power cuts;
// no real disk has to be waited for.
std::filesystem::path scratch_root() {
  std::filesystem::path memory = "/dev/shm";
  std::error_code ignored;
  if (::access(memory.c_str(), W_OK) == 0 &&
      std::filesystem::space(memory, ignored).available > (std::uintmax_t{256} << 20))
    return memory;
  return std::filesystem::temp_directory_path();
}

}  // namespace

ScratchFolder::ScratchFolder() {
  static std::atomic<int> counter{0};
  const std::string name = "fieldprint-ledger-" + std::to_string(::getpid()) + "-" +
                           std::to_string(counter.fetch_add(1));
  path_ = (scratch_root() / name).string();
  std::filesystem::remove_all(path_);
  std::filesystem::create_directories(path_);
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

SignerKey test_signer(const std::string& name, NoteKeyType type, std::uint8_t seed) {
  const std::vector<std::uint8_t> bytes(kEd25519SeedBytes, seed);
  const auto key = Ed25519SecretKey::from_seed(bytes);
  const auto verifier = VerifierKey::make(name, type, key->public_key());
  std::string body(1, static_cast<char>(type));
  body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string vkey = verifier->print();
  const std::size_t id = vkey.find('+') + 1;
  auto signer = SignerKey::parse("PRIVATE+KEY+" + name + "+" + vkey.substr(id, 8) + "+" +
                                 base64_encode(body));
  FP_CHECK(signer.has_value());
  return std::move(*signer);
}

LedgerKeys test_keys(const std::string& origin, std::uint8_t variant) {
  const auto seed = static_cast<std::uint8_t>(2 * variant);
  return {test_signer(origin, NoteKeyType::kEd25519, static_cast<std::uint8_t>(seed + 1)),
          test_signer(origin, NoteKeyType::kCosignature, static_cast<std::uint8_t>(seed + 2))};
}

LedgerTrust test_trust(const LedgerKeys& keys) {
  return {keys.log.name(), {keys.log.verifier()}, {keys.cosigner.verifier()}};
}

LedgerOptions test_options(Env& env) {
  LedgerOptions options;
  options.env = &env;
  options.refresh_interval = std::chrono::milliseconds(0);
  options.retry_interval = std::chrono::milliseconds(20);
  return options;
}

std::string digest_of(std::uint64_t number) {
  return digest_string(sha256(std::to_string(number)));
}

Entry receipt_entry(std::uint64_t number) {
  Entry entry;
  entry.kind = EntryKind::kReceipt;
  entry.subject = "rcpt-" + std::to_string(number);
  entry.time_ms = 1'800'000'000'000 + static_cast<std::int64_t>(number);
  entry.body.emplace("receipt_digest", digest_of(number));
  return entry;
}

Entry segment_entry(std::uint64_t number) {
  Entry entry;
  entry.kind = EntryKind::kSegment;
  entry.subject = "resp-" + std::to_string(number / 8);
  entry.time_ms = 1'800'000'000'000 + static_cast<std::int64_t>(number);
  entry.body.emplace("first_token", static_cast<std::int64_t>(number % 8 * 32));
  entry.body.emplace("tokens", std::int64_t{1});
  entry.body.emplace("fingerprints", base64_encode(std::string(40, char('a' + number % 26))));
  entry.body.emplace("chain", "sha256:" + std::string(64, "0123456789abcdef"[number % 16]));
  return entry;
}

}  // namespace fieldprint::testing
