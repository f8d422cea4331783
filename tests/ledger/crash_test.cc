// Every write, sync, rename and removal of a small life of a ledger fails once, and the power
// goes off at every one of them. What must hold afterwards is kept here, outside the ledger:
// no durable leaf is lost or moved, and every checkpoint ever seen is a prefix of the newest.
#include <gtest/gtest.h>

#include <map>

#include "ledger/ledger.h"
#include "ledger/ledger_fixture.h"
#include "merkle/proof.h"
#include "store/fault_env.h"

namespace fieldprint {
namespace {

using testing::kPatience;
using testing::receipt_entry;
using testing::segment_entry;
using testing::test_keys;
using testing::test_options;
using testing::why;

// Every operation; under a sanitizer, which looks for other faults, every seventh.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kStride = 7;
#else
constexpr std::uint64_t kStride = 1;
#endif

// What a client was told.
struct Promises {
  std::map<std::uint64_t, Digest256> durable;  // index -> leaf hash
  std::uint64_t size = 0;                      // of the newest checkpoint seen
  Digest256 root{};
  std::size_t receipts = 0;         // of the durable leaves
  std::vector<std::string> errors;  // codes

  void note(const Error& error) { errors.push_back(error.code); }
  void note(const Ticket& ticket, std::uint64_t first) {
    for (std::size_t i = 0; i < ticket.count(); ++i) {
      const auto [at, fresh] = durable.emplace(first + i, ticket.leaf_hashes()[i]);
      ASSERT_TRUE(fresh || at->second == ticket.leaf_hashes()[i]) << "index reused";
    }
  }
};

void append_some(Ledger& ledger, std::uint64_t seed, std::size_t count, Durability state,
                 Promises& promises) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < count; ++i)
    entries.push_back(i % 5 == 0 ? receipt_entry(seed + i) : segment_entry(seed + i));
  const auto ticket = ledger.append(entries);
  ASSERT_TRUE(ticket) << why(ticket);
  const auto durable = ledger.wait(*ticket, Durability::kDurable, kPatience);
  if (!durable) return promises.note(durable.error());
  promises.note(*ticket, *durable);
  promises.receipts += (count + 4) / 5;
  if (state == Durability::kDurable) return;
  const auto reached = ledger.wait(*ticket, state, kPatience);
  if (!reached) promises.note(reached.error());
}

void look_at_head(Ledger& ledger, Promises& promises) {
  const auto head = ledger.checkpoint();
  if (!head) return promises.note(head.error());
  ASSERT_GE(head->size, promises.size);
  promises.size = head->size;
  promises.root = head->root;
}

// Makes the ledger if need be and appends: single leaves, a batch that fills a bundle, and what
// is only durable when the process ends.
void live(FaultEnv& env, const std::string& dir, Promises& promises) {
  LedgerOptions options = test_options(env);
  options.retry_interval = std::chrono::milliseconds(1);
  if (const Status made = Ledger::create(dir, test_keys(), options); !made)
    if (made.error().code != "ledger_exists") return promises.note(made.error());
  const auto opened = Ledger::open(dir, test_keys(), options);
  if (!opened) return promises.note(opened.error());
  Ledger& ledger = **opened;
  const std::uint64_t seed = 1000 * (promises.durable.size() + 1);
  append_some(ledger, seed, 1, Durability::kIntegrated, promises);
  look_at_head(ledger, promises);
  append_some(ledger, seed + 10, 260, Durability::kIntegrated, promises);
  look_at_head(ledger, promises);
  append_some(ledger, seed + 300, 3, Durability::kDurable, promises);
}

void expect_kept(FaultEnv& env, const std::string& dir, const Promises& promises) {
  const LedgerOptions options = test_options(env);
  if (promises.durable.empty()) {  // perhaps not even made: making it must then work
    const Status made = Ledger::create(dir, test_keys(), options);
    ASSERT_TRUE(made || made.error().code == "ledger_exists") << why(made);
  }
  const auto opened = Ledger::open(dir, test_keys(), options);
  ASSERT_TRUE(opened) << why(opened);
  Ledger& ledger = **opened;
  const auto added = ledger.commit(receipt_entry(9), Durability::kIntegrated, kPatience);
  ASSERT_TRUE(added) << why(added);
  ASSERT_EQ(promises.durable.count(*added), 0U) << "index reused";
  const auto head = ledger.checkpoint();
  ASSERT_TRUE(head) << why(head);
  ASSERT_GT(head->size, promises.size);
  const auto proof = ledger.prove_consistency(promises.size, head->size);
  ASSERT_TRUE(proof) << why(proof);
  const Digest256 old_root = promises.size == 0 ? empty_root() : promises.root;
  ASSERT_TRUE(check_consistency(promises.size, head->size, *proof, old_root, head->root));
  for (const auto& [index, hash] : promises.durable) {
    const auto included = ledger.prove(index);
    ASSERT_TRUE(included) << why(included);
    ASSERT_TRUE(check_inclusion(index, head->size, hash, included->hashes, head->root));
    if (index % 16 != 0) continue;
    const auto leaf = ledger.read_leaf(index);
    ASSERT_TRUE(leaf) << why(leaf);
    ASSERT_EQ(leaf_hash(*leaf), hash) << "leaf " << index;
  }
  const auto receipts = ledger.list(EntryKind::kReceipt, "", kNoIndexLimit, head->size);
  ASSERT_TRUE(receipts) << why(receipts);
  std::size_t listed = 0;
  for (const FoundEntry& receipt : *receipts) listed += promises.durable.count(receipt.index);
  EXPECT_EQ(listed, promises.receipts);
}

struct Ending {
  const char* name;
  Fault fault;
  FaultSpan span;
  Survival survival;
  const char* code;  // the only errors that a caller may see
  const char* database_code;
};

class CrashTest : public ::testing::TestWithParam<Ending> {};

TEST_P(CrashTest, NothingPromisedIsLostWhateverCallFails) {
  const Ending& ending = GetParam();
  std::uint64_t failed_runs = 0;
  for (std::uint64_t n = 1;; n += kStride) {
    SCOPED_TRACE("operation " + std::to_string(n));
    const testing::ScratchFolder scratch;
    FaultEnv env(scratch.path());
    Promises promises;
    env.disk().fail_at(n, ending.fault, ending.span);
    live(env, scratch / "log", promises);
    if (HasFatalFailure()) return;
    const bool failed = env.disk().faults() != 0;
    env.disk().heal();
    env.disk().lose_power(ending.survival, n);
    expect_kept(env, scratch / "log", promises);
    if (HasFatalFailure()) return;
    if (!failed) break;
    ++failed_runs;
    for (const std::string& code : promises.errors)
      EXPECT_TRUE(code == ending.code || code == ending.database_code) << code;
  }
  EXPECT_GT(failed_runs * kStride, 200U);  // the whole life was walked through
}

INSTANTIATE_TEST_SUITE_P(
    Endings, CrashTest,
    ::testing::Values(Ending{"PowerCut", Fault::kIoError, FaultSpan::kFromThenOn,
                             Survival::kSyncedOnly, "io_error", "database_io"},
                      Ending{"PowerCutTorn", Fault::kIoError, FaultSpan::kFromThenOn,
                             Survival::kRandom, "io_error", "database_io"},
                      Ending{"Killed", Fault::kIoError, FaultSpan::kFromThenOn, Survival::kAll,
                             "io_error", "database_io"},
                      Ending{"OneError", Fault::kIoError, FaultSpan::kOnce, Survival::kSyncedOnly,
                             "io_error", "database_io"},
                      Ending{"DiskFull", Fault::kDiskFull, FaultSpan::kOnce, Survival::kAll,
                             "disk_full", "disk_full"},
                      Ending{"ReadOnly", Fault::kReadOnly, FaultSpan::kFromThenOn, Survival::kAll,
                             "disk_read_only", "disk_read_only"}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace fieldprint
