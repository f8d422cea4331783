// kill -9 in a loop, two processes at a time on one ledger. Each child tells the parent through
// a pipe what it was promised; the parent, whose memory is outside the ledger, checks that the
// promises hold whatever moment the kill hit: while making, recovering, writing, signing.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "ledger/ledger.h"
#include "ledger/ledger_fixture.h"
#include "merkle/proof.h"

namespace fieldprint {
namespace {

using testing::kPatience;
using testing::test_keys;
using testing::test_options;
using testing::why;

constexpr int kRounds = 1000;
constexpr int kRoundsPerLedger = 250;
constexpr int kRoundsPerCheck = 4;  // in between, children recover what children left
constexpr int kMaxKillDelayUs = 9000;

// One message of a child; smaller than PIPE_BUF, so a kill never tears it.
struct Message {
  std::uint64_t first = 0;
  std::uint64_t count = 0;  // 0: a checkpoint: `first` is its size, hashes[0] its root
  std::array<Digest256, 40> hashes{};
};
static_assert(sizeof(Message) <= 4096);

void tell(int pipe, const Message& message) {
  if (::write(pipe, &message, sizeof message) != sizeof message) ::_exit(3);
}

[[noreturn]] void child(const std::string& dir, int pipe, std::uint64_t seed) {
  const LedgerOptions options = test_options();
  // Two children make one ledger at the same moment; SQLite may tell one of them at once that a
  // file so new is locked. That one asks again: what counts here begins after.
  Status made = Ledger::create(dir, test_keys(), options);
  for (int tries = 0; !made && made.error().code != "ledger_exists"; ++tries) {
    if (tries == 100) ::_exit(4);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    made = Ledger::create(dir, test_keys(), options);
  }
  const auto ledger = Ledger::open(dir, test_keys(), options);
  if (!ledger) ::_exit(5);
  for (std::uint64_t step = 0;; ++step) {
    std::vector<Entry> entries;
    for (std::uint64_t i = 0; i < (seed + step) % 40 + 1; ++i)
      entries.push_back(testing::segment_entry(seed * 1'000'000 + step * 100 + i));
    const auto ticket = (*ledger)->append(entries);
    const auto state = step % 3 == 0 ? Durability::kIntegrated : Durability::kDurable;
    const auto first = (*ledger)->wait(*ticket, state, kPatience);
    if (!first) ::_exit(6);
    Message message{*first, ticket->count(), {}};
    std::copy(ticket->leaf_hashes().begin(), ticket->leaf_hashes().end(), message.hashes.begin());
    tell(pipe, message);
    const auto head = (*ledger)->checkpoint();
    if (!head) ::_exit(7);
    tell(pipe, Message{head->size, 0, {head->root}});
  }
}

struct Expected {
  std::map<std::uint64_t, Digest256> leaves;
  std::map<std::uint64_t, Digest256> unchecked;
  std::map<std::uint64_t, Digest256> heads;  // size -> root

  void take(const Message& message) {
    if (message.count == 0) {
      const auto [at, fresh] = heads.emplace(message.first, message.hashes[0]);
      ASSERT_TRUE(fresh || at->second == message.hashes[0]) << "two roots for one size";
      return;
    }
    for (std::uint64_t i = 0; i < message.count; ++i) {
      ASSERT_TRUE(leaves.emplace(message.first + i, message.hashes[i]).second) << "index reused";
      unchecked.emplace(message.first + i, message.hashes[i]);
    }
  }
};

class Child {
 public:
  Child(const std::string& dir, std::uint64_t seed) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      child(dir, ends[1], seed);
    }
    ::close(ends[1]);
    read_end_ = ends[0];
  }

  void finish(Expected& expected) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "a child gave up, step " << WEXITSTATUS(status);
    Message message;
    while (::read(read_end_, &message, sizeof message) == sizeof message) expected.take(message);
    ::close(read_end_);
  }

 private:
  pid_t pid_ = 0;
  int read_end_ = -1;
};

void check(const std::string& dir, Expected& expected) {
  const Status made = Ledger::create(dir, test_keys(), test_options());
  ASSERT_TRUE(made || made.error().code == "ledger_exists") << why(made);
  const auto opened = Ledger::open(dir, test_keys(), test_options());
  ASSERT_TRUE(opened) << why(opened);
  Ledger& ledger = **opened;
  const auto index = ledger.commit(testing::receipt_entry(1), Durability::kIntegrated, kPatience);
  ASSERT_TRUE(index) << why(index);
  ASSERT_EQ(expected.leaves.count(*index), 0U) << "index reused";
  const auto head = ledger.checkpoint();
  ASSERT_TRUE(head) << why(head);
  for (const auto& [size, root] : expected.heads) {
    const auto proof = ledger.prove_consistency(size, head->size);
    ASSERT_TRUE(proof) << why(proof);
    ASSERT_TRUE(check_consistency(size, head->size, *proof, root, head->root)) << size;
  }
  for (const auto& [at, hash] : expected.unchecked) {
    const auto included = ledger.prove(at);
    ASSERT_TRUE(included) << why(included);
    ASSERT_TRUE(check_inclusion(at, head->size, hash, included->hashes, head->root)) << at;
  }
  if (!expected.unchecked.empty()) {
    const auto leaf = ledger.read_leaf(expected.unchecked.rbegin()->first);
    ASSERT_TRUE(leaf) << why(leaf);
    EXPECT_EQ(leaf_hash(*leaf), expected.unchecked.rbegin()->second);
  }
  expected.unchecked.clear();
  expected.heads = {{head->size, head->root}};  // the others are its prefixes, now proven
}

TEST(LedgerKillTest, PromisesOutliveAThousandKills) {
  std::mt19937_64 random(20261124);
  std::uint64_t promised = 0;
  for (int round = 0; round < kRounds;) {
    const testing::ScratchFolder scratch;
    const std::string dir = scratch / "log";
    Expected expected;
    for (int k = 0; k < kRoundsPerLedger; ++k, ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      Child first(dir, static_cast<std::uint64_t>(2 * round));
      Child second(dir, static_cast<std::uint64_t>(2 * round + 1));
      ::usleep(static_cast<useconds_t>(random() % kMaxKillDelayUs));
      first.finish(expected);
      second.finish(expected);
      if (k % kRoundsPerCheck == kRoundsPerCheck - 1) check(dir, expected);
      ASSERT_FALSE(HasFailure());
    }
    promised += expected.leaves.size();
  }
  EXPECT_GT(promised, 1000U);  // the children did get somewhere
}

}  // namespace
}  // namespace fieldprint
