// Both sides of C2SP tlog-witness without a network: the transport calls the witness.
#include "ledger/witness.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "ledger/ledger.h"
#include "ledger/ledger_fixture.h"
#include "ledger/witness_client.h"
#include "merkle/compact_range.h"
#include "merkle/proof.h"
#include "store/fault_env.h"

namespace fieldprint {
namespace {

using testing::kPatience;
using testing::receipt_entry;
using testing::test_keys;
using testing::test_options;
using testing::test_signer;
using testing::why;

constexpr const char* kOrigin = "log.test/fieldprint";

Policy logs_policy() {
  return *Policy::parse("log " + test_keys().log.verifier().print() + "\nquorum none\n");
}

// A small tree kept in memory, with proofs, and its signed heads.
class TestLog : public NodeReader {
 public:
  void grow(std::uint64_t size) {
    while (range_.size() < size)
      range_.append(leaf_hash(std::to_string(range_.size())),
                    [this](NodeId id, const Digest256& hash) {
                      nodes_[{id.level, id.index}] = hash;
                    });
  }
  Result<std::vector<Digest256>> read_nodes(std::span<const NodeId> ids) override {
    std::vector<Digest256> hashes;
    for (const NodeId& id : ids) hashes.push_back(nodes_.at({id.level, id.index}));
    return hashes;
  }
  AddCheckpointRequest request(std::uint64_t old_size, std::uint64_t size) {
    grow(size);
    AddCheckpointRequest request;
    request.old_size = old_size;
    request.proof = *make_consistency_proof(old_size, size, *this);
    request.checkpoint = head(size).text;
    return request;
  }
  SignedCheckpoint head(std::uint64_t size) {
    return sign_checkpoint(kOrigin, size, size == 0 ? empty_root() : *tree_root(size, *this),
                           test_keys().log, test_keys().cosigner, 1, {});
  }

 private:
  CompactRange range_;
  std::map<std::pair<int, std::uint64_t>, Digest256> nodes_;
};

class WitnessTest : public ::testing::Test {
 protected:
  void SetUp() override { witness_ = open(); }
  std::unique_ptr<Witness> open(Env& env = Env::real()) {
    auto opened =
        Witness::open(env, scratch_ / "witness",
                      test_signer("w.test", NoteKeyType::kCosignature, 77), logs_policy());
    EXPECT_TRUE(opened) << why(opened);
    return opened ? std::move(*opened) : nullptr;
  }
  WitnessAnswer ask(const AddCheckpointRequest& request) {
    return witness_->add_checkpoint(print_add_checkpoint(request));
  }
  testing::ScratchFolder scratch_;
  TestLog log_;
  std::unique_ptr<Witness> witness_;
};

TEST_F(WitnessTest, CosignsAGrowingLog) {
  std::uint64_t old_size = 0;
  for (const std::uint64_t size : {1U, 5U, 5U, 300U}) {
    const AddCheckpointRequest request = log_.request(old_size, size);
    const WitnessAnswer answer = ask(request);
    ASSERT_EQ(answer.status, 200) << answer.body;
    Note note = *note_parse(request.checkpoint);
    note.signatures = *parse_signature_lines(answer.body);
    const VerifierKey key = witness_->key();
    const auto verified = note_verify(note, {&key, 1});
    ASSERT_TRUE(verified) << why(verified);
    EXPECT_TRUE(verified->at(0).time.has_value());
    old_size = size;
  }
  EXPECT_EQ(witness_->logs()->at(0).size, 300U);
}

TEST_F(WitnessTest, RemembersAcrossRestarts) {
  ASSERT_EQ(ask(log_.request(0, 9)).status, 200);
  witness_.reset();
  witness_ = open();
  const WitnessAnswer answer = ask(log_.request(0, 12));
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(answer.content_type, kTlogSizeType);
  EXPECT_EQ(answer.body, "9\n");
  EXPECT_EQ(ask(log_.request(9, 12)).status, 200);
}

TEST_F(WitnessTest, AnswersAsTheSpecificationSays) {
  ASSERT_EQ(ask(log_.request(0, 8)).status, 200);
  EXPECT_EQ(witness_->add_checkpoint("nonsense").status, 400);

  AddCheckpointRequest above = log_.request(8, 8);
  above.old_size = 9;
  EXPECT_EQ(ask(above).status, 400) << "old size above the checkpoint";

  AddCheckpointRequest bad_proof = log_.request(8, 20);
  bad_proof.proof[0][0] ^= 1;
  EXPECT_EQ(ask(bad_proof).status, 422);
  AddCheckpointRequest no_proof = log_.request(8, 20);
  no_proof.proof.clear();
  EXPECT_EQ(ask(no_proof).status, 422);

  AddCheckpointRequest foreign = log_.request(8, 20);
  foreign.checkpoint =
      sign_checkpoint("other.test/log", 20, Digest256{}, test_keys("other.test/log").log,
                      test_keys("other.test/log").cosigner, 1, {})
          .text;
  EXPECT_EQ(ask(foreign).status, 404);
  AddCheckpointRequest forged = log_.request(8, 20);
  forged.checkpoint = sign_checkpoint(kOrigin, 20, Digest256{}, test_keys(kOrigin, 5).log,
                                      test_keys(kOrigin, 5).cosigner, 1, {})
                          .text;
  EXPECT_EQ(ask(forged).status, 403);

  AddCheckpointRequest forked = log_.request(8, 8);
  forked.checkpoint =
      sign_checkpoint(kOrigin, 8, Digest256{}, test_keys().log, test_keys().cosigner, 1, {}).text;
  EXPECT_EQ(ask(forked).status, 409) << "the same size with another root";
  EXPECT_EQ(witness_->logs()->at(0).size, 8U) << "nothing of this moved the head";
}

// The race of the specification: a request that was checked against an old state must not
// bring it back.
TEST_F(WitnessTest, ConcurrentRequestsNeverRollBack) {
  constexpr std::uint64_t kSizes = 60;
  std::vector<std::string> requests;
  for (std::uint64_t size = 1; size <= kSizes; ++size)
    requests.push_back(print_add_checkpoint(log_.request(size - 1, size)));
  const auto other = open();  // a second process on the same state
  std::vector<std::thread> threads;
  for (Witness* witness : {witness_.get(), other.get(), witness_.get()})
    threads.emplace_back([&, witness] {
      for (int pass = 0; pass < 20; ++pass)
        for (const std::string& request : requests) (void)witness->add_checkpoint(request);
    });
  std::uint64_t seen = 0;
  while (seen < kSizes) {
    const std::uint64_t now = witness_->logs()->at(0).size;
    ASSERT_GE(now, seen);
    seen = now;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(witness_->logs()->at(0).size, kSizes);
}

TEST_F(WitnessTest, SignsNothingThatItCouldNotKeep) {
  const testing::ScratchFolder scratch;
  FaultEnv env(scratch.path());
  const auto reopen = [&] {
    witness_.reset();
    witness_ = *Witness::open(env, scratch / "witness",
                              test_signer("w.test", NoteKeyType::kCosignature, 77), logs_policy());
  };
  for (std::uint64_t n = 1;; ++n) {
    reopen();
    const std::uint64_t held = witness_->logs()->at(0).size;
    env.disk().fail_at(n, Fault::kDiskFull, FaultSpan::kFromThenOn);
    const WitnessAnswer answer = ask(log_.request(held, held + 3));
    witness_.reset();
    const bool failed = env.disk().faults() != 0;
    env.disk().heal();
    env.disk().lose_power(Survival::kSyncedOnly, n);
    reopen();
    const std::uint64_t after = witness_->logs()->at(0).size;
    if (answer.status == 200)
      EXPECT_EQ(after, held + 3);
    else
      EXPECT_EQ(answer.status, 500);
    EXPECT_GE(after, held);
    if (!failed) break;
  }
  witness_.reset();  // before its disk goes
}

TEST_F(WitnessTest, RefusesWrongKeysAndEmptyPolicies) {
  EXPECT_EQ(Witness::open(Env::real(), scratch_ / "x",
                          test_signer("w.test", NoteKeyType::kEd25519, 1), logs_policy())
                .error()
                .code,
            "witness_key_invalid");
  EXPECT_EQ(Witness::open(Env::real(), scratch_ / "x",
                          test_signer("w.test", NoteKeyType::kCosignature, 1),
                          *Policy::parse("quorum none\n"))
                .error()
                .code,
            "witness_no_logs");
}

// Carries requests to witnesses in this process; any may be down.
class LocalTransport : public WitnessTransport {
 public:
  Result<WitnessReply> post(const std::string& url, std::string_view body) override {
    ++posts;
    Witness* const witness = witnesses.count(url) != 0 ? witnesses.at(url) : nullptr;
    if (witness == nullptr)
      return fail(ErrorKind::kUnavailable, "witness_unreachable", url + ": down");
    const WitnessAnswer answer = witness->add_checkpoint(body);
    return WitnessReply{answer.status, answer.content_type, answer.body};
  }
  std::map<std::string, Witness*> witnesses;
  std::atomic<int> posts{0};
};

TEST_F(WitnessTest, ALedgerCollectsAQuorum) {
  const auto second =
      *Witness::open(Env::real(), scratch_ / "second",
                     test_signer("v.test", NoteKeyType::kCosignature, 78), logs_policy());
  const auto transport = std::make_shared<LocalTransport>();
  transport->witnesses["http://w/add-checkpoint"] = witness_.get();
  transport->witnesses["http://v/base/add-checkpoint"] = second.get();
  const auto policy = Policy::parse(
      "log " + test_keys().log.verifier().print() + "\nwitness w " + witness_->key().print() +
      " http://w\nwitness v " + second->key().print() + " http://v/base/\nwitness down " +
      test_signer("d.test", NoteKeyType::kCosignature, 79).verifier().print() +
      " http://d\nwitness own " + test_keys().cosigner.verifier().print() +
      "\ngroup g 2 w v down\ngroup both all g own\nquorum both\n");
  ASSERT_TRUE(policy) << why(policy);
  LedgerOptions options = test_options();
  options.witnesses = *WitnessClient::make(*policy, transport);
  const std::string dir = scratch_ / "log";
  ASSERT_TRUE(Ledger::create(dir, test_keys(), options));
  std::uint64_t index = 0;
  {
    const auto ledger = *Ledger::open(dir, test_keys(), options);
    for (std::uint64_t i = 0; i < 5; ++i) {
      const auto done = ledger->commit(receipt_entry(i), Durability::kWitnessed, kPatience);
      ASSERT_TRUE(done) << why(done);
      index = *done;
    }
    const int posts = transport->posts;
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(ledger->checkpoint());
    EXPECT_EQ(transport->posts, posts) << "reading a checkpoint asks nobody";
    const auto proof = ledger->prove(index);
    ASSERT_TRUE(proof) << why(proof);
    const auto accepted = policy->open(proof->checkpoint.text);
    EXPECT_TRUE(accepted) << why(accepted);
  }
  // What was witnessed is still so after a restart, and the file stands for itself.
  const auto ledger = *Ledger::open(dir, test_keys(), options);
  EXPECT_GT(ledger->witnessed_checkpoint()->size, index);
  const auto file = Env::real().read_file(dir + "/checkpoint.witnessed", 1 << 20);
  ASSERT_TRUE(file) << why(file);
  EXPECT_TRUE(policy->open({reinterpret_cast<const char*>(file->data()), file->size()}));
}

TEST_F(WitnessTest, WithoutAQuorumTheReasonIsNamed) {
  const auto transport = std::make_shared<LocalTransport>();  // everybody is down
  const auto policy = Policy::parse("log " + test_keys().log.verifier().print() + "\nwitness w " +
                                    witness_->key().print() + " http://w\nquorum w\n");
  LedgerOptions options = test_options();
  options.witnesses = *WitnessClient::make(*policy, transport);
  const std::string dir = scratch_ / "log";
  ASSERT_TRUE(Ledger::create(dir, test_keys(), options));
  const auto ledger = *Ledger::open(dir, test_keys(), options);
  const auto ticket = ledger->append(receipt_entry(1));
  EXPECT_EQ(ledger->wait(*ticket, Durability::kWitnessed, kPatience).error().code,
            "ledger_not_witnessed");
  EXPECT_TRUE(ledger->wait(*ticket, Durability::kIntegrated, kPatience));
  EXPECT_EQ(ledger->witnessed_checkpoint().error().code, "ledger_not_witnessed");
}

TEST(WitnessClientTest, NeedsAUrlForEachWitness) {
  const auto policy = Policy::parse(
      "log " + test_keys().log.verifier().print() + "\nwitness w " +
      test_signer("w.test", NoteKeyType::kCosignature, 77).verifier().print() + "\nquorum w\n");
  EXPECT_EQ(WitnessClient::make(*policy, nullptr).error().code, "witness_no_url");
}

}  // namespace
}  // namespace fieldprint
