// What the ledger's tests share: a scratch folder, keys from fixed seeds, plain entries.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ledger/ledger.h"

namespace fieldprint::testing {

inline constexpr std::chrono::milliseconds kPatience{60'000};

// A folder of its own for one test, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The same keys in every process and run; `variant` gives others.
LedgerKeys test_keys(const std::string& origin = "log.test/fieldprint", std::uint8_t variant = 0);
LedgerTrust test_trust(const LedgerKeys& keys);
SignerKey test_signer(const std::string& name, NoteKeyType type, std::uint8_t seed);

// Options for tests: no refresh by the clock, quick retries.
LedgerOptions test_options(Env& env = Env::real());

// A small valid entry that differs for each `number`.
Entry receipt_entry(std::uint64_t number);
Entry segment_entry(std::uint64_t number);

std::string digest_of(std::uint64_t number);  // "sha256:..."

template <typename T>
std::string why(const Result<T>& result) {
  return result ? std::string("no error") : result.error().code + ": " + result.error().message;
}

}  // namespace fieldprint::testing
