// emit_ledger DIR: grows a real ledger in DIR to 70,000 leaves, keeps a copy of its checkpoint at
// many sizes on the way in DIR/checkpoints, and writes DIR/log.vkey and DIR/cosigner.vkey.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/check.h"
#include "ledger/ledger.h"
#include "ledger/ledger_fixture.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::uint64_t kSizes[] = {2,    3,     7,     100,   255,   256,   257,  300,
                                    1000, 10000, 65535, 65536, 65537, 69999, 70000};
constexpr std::uint64_t kBatch = 10000;

void write_file(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  FP_CHECK(out.flush().good());
}

// The genesis leaf counts, so `size` leaves are size - 1 of ours.
void grow(Ledger& ledger, std::uint64_t& have, std::uint64_t size) {
  while (have < size) {
    std::vector<Entry> entries;
    for (std::uint64_t end = std::min(size, have + kBatch); have < end; ++have) {
      entries.push_back(testing::segment_entry(have));
    }
    const auto ticket = ledger.append(entries);
    FP_CHECK(ticket.has_value());
    FP_CHECK(ledger.wait(*ticket, Durability::kIntegrated, milliseconds(60000)).has_value());
  }
}

void emit(const fs::path& dir) {
  LedgerKeys keys = testing::test_keys("log.example/ledger");
  write_file(dir / "log.vkey", keys.log.verifier().print());
  write_file(dir / "cosigner.vkey", keys.cosigner.verifier().print());
  const std::string folder = (dir / "ledger").string();
  FP_CHECK(Ledger::create(folder, keys, {}).has_value());
  const auto ledger = Ledger::open(folder, std::move(keys), {});
  FP_CHECK(ledger.has_value());
  std::uint64_t have = 1;
  for (const std::uint64_t size : kSizes) {
    grow(**ledger, have, size);
    fs::create_directories(dir / "ledger/checkpoints");
    fs::copy_file(dir / "ledger/checkpoint", dir / "ledger/checkpoints" / std::to_string(size));
  }
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: emit_ledger DIR\n", stderr);
    return 2;
  }
  fieldprint::emit(argv[1]);
  return 0;
}
