#include "ledger/ledger.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "ledger/ledger_fixture.h"
#include "merkle/checkpoint.h"
#include "merkle/proof.h"
#include "merkle/tlog_proof.h"

namespace fieldprint {
namespace {

using testing::kPatience;
using testing::receipt_entry;
using testing::test_keys;
using testing::test_options;
using testing::why;

class LedgerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Ledger> make(const LedgerOptions& options = test_options()) {
    const Status made = Ledger::create(dir(), test_keys(), options);
    EXPECT_TRUE(made) << why(made);
    return reopen(options);
  }
  std::unique_ptr<Ledger> reopen(const LedgerOptions& options = test_options()) {
    auto opened = Ledger::open(dir(), test_keys(), options);
    EXPECT_TRUE(opened) << why(opened);
    return opened ? std::move(*opened) : nullptr;
  }
  std::string dir() const { return scratch_ / "log"; }
  testing::ScratchFolder scratch_;
};

TEST_F(LedgerTest, GenesisIsLeafZeroAndSigned) {
  const auto ledger = make();
  ASSERT_NE(ledger, nullptr);
  const auto head = ledger->checkpoint();
  ASSERT_TRUE(head) << why(head);
  EXPECT_EQ(head->size, 1U);
  EXPECT_GT(head->time_s, 0);
  const auto genesis = ledger->read(0);
  ASSERT_TRUE(genesis) << why(genesis);
  EXPECT_EQ(genesis->kind, EntryKind::kGenesis);
  EXPECT_EQ(genesis->subject, "log.test/fieldprint");
  EXPECT_EQ(*genesis->body.at("log_key").string(), test_keys().log.verifier().print());
}

TEST_F(LedgerTest, AppendedEntriesPassEveryState) {
  const auto ledger = make();
  const std::vector<Entry> entries = {receipt_entry(1), receipt_entry(2), receipt_entry(3)};
  const auto ticket = ledger->append(entries);
  ASSERT_TRUE(ticket) << why(ticket);
  EXPECT_EQ(ticket->count(), 3U);
  const auto durable = ledger->wait(*ticket, Durability::kDurable, kPatience);
  ASSERT_TRUE(durable) << why(durable);
  EXPECT_EQ(*durable, 1U);
  const auto integrated = ledger->wait(*ticket, Durability::kIntegrated, kPatience);
  ASSERT_TRUE(integrated) << why(integrated);
  EXPECT_EQ(ledger->checkpoint()->size, 4U);
  for (std::uint64_t i = 0; i < 3; ++i) {
    const auto proof = ledger->prove(1 + i);
    ASSERT_TRUE(proof) << why(proof);
    EXPECT_TRUE(check_inclusion(proof->index, proof->checkpoint.size, ticket->leaf_hashes()[i],
                                proof->hashes, proof->checkpoint.root));
    EXPECT_EQ(ledger->find_leaf(ticket->leaf_hashes()[i])->value(), 1 + i);
  }
  EXPECT_FALSE(ledger->find_leaf(Digest256{})->has_value());
}

TEST_F(LedgerTest, WitnessedNeedsAPolicy) {
  const auto ledger = make();
  const auto ticket = ledger->append(receipt_entry(1));
  EXPECT_EQ(ledger->wait(*ticket, Durability::kWitnessed, kPatience).error().code,
            "ledger_no_witnesses");
  EXPECT_EQ(ledger->witnessed_checkpoint().error().code, "ledger_no_witnesses");
}

TEST_F(LedgerTest, ProofTextVerifiesWithPublicKeysOnly) {
  const auto ledger = make();
  const auto ticket = ledger->append(receipt_entry(7));
  const auto index = ledger->wait(*ticket, Durability::kIntegrated, kPatience);
  const auto text = ledger->prove_text(*index);
  ASSERT_TRUE(text) << why(text);
  const auto policy =
      Policy::parse("log " + test_keys().log.verifier().print() + "\nquorum none\n");
  ASSERT_TRUE(policy) << why(policy);
  const auto proof = tlog_proof_parse(*text);
  ASSERT_TRUE(proof) << why(proof);
  EXPECT_TRUE(tlog_proof_verify(*proof, ticket->leaf_hashes()[0], *policy));
  EXPECT_FALSE(tlog_proof_verify(*proof, leaf_hash("another"), *policy));
}

TEST_F(LedgerTest, FindsTheNewestOfAKindAndSubject) {
  const auto ledger = make();
  Entry promotion;
  promotion.kind = EntryKind::kPromotion;
  promotion.subject = testing::digest_of(1);
  promotion.body.emplace("envelope", "first");
  ASSERT_TRUE(ledger->commit(promotion, Durability::kDurable, kPatience));
  promotion.body.insert_or_assign("envelope", "second");
  ASSERT_TRUE(ledger->commit(promotion, Durability::kIntegrated, kPatience));
  promotion.subject = testing::digest_of(2);
  ASSERT_TRUE(ledger->commit(promotion, Durability::kDurable, kPatience));

  const auto found = ledger->find(EntryKind::kPromotion, testing::digest_of(1));
  ASSERT_TRUE(found) << why(found);
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->index, 2U);
  EXPECT_EQ(*(*found)->entry.body.at("envelope").string(), "second");
  EXPECT_FALSE(ledger->find(EntryKind::kRevocation, testing::digest_of(1))->has_value());
  const auto all = ledger->list(EntryKind::kPromotion, "", kNoIndexLimit, 10);
  ASSERT_EQ(all->size(), 3U);
  EXPECT_EQ((*all)[0].index, 3U);
  EXPECT_EQ(ledger->list(EntryKind::kPromotion, "", 3, 1)->at(0).index, 2U);
}

// Each size of a tree over two bundles is published once, and each is a prefix of the next.
TEST_F(LedgerTest, EveryCheckpointIsAPrefixOfTheNext) {
  const auto ledger = make();
  SignedCheckpoint old = *ledger->checkpoint();
  for (std::uint64_t i = 1; i < 60; ++i) {
    std::vector<Entry> entries;
    for (std::uint64_t k = 0; k < i % 23 + 1; ++k) entries.push_back(receipt_entry(i * 100 + k));
    const auto ticket = ledger->append(entries);
    ASSERT_TRUE(ledger->wait(*ticket, Durability::kIntegrated, kPatience));
    const SignedCheckpoint head = *ledger->checkpoint();
    const auto proof = ledger->prove_consistency(old.size, head.size);
    ASSERT_TRUE(proof) << why(proof);
    ASSERT_TRUE(check_consistency(old.size, head.size, *proof, old.root, head.root));
    old = head;
  }
  EXPECT_GT(old.size, 512U);
  for (std::uint64_t i = 0; i < old.size; ++i) {
    const auto proof = ledger->prove(i);
    ASSERT_TRUE(proof) << why(proof);
    const auto leaf = ledger->read_leaf(i);
    ASSERT_TRUE(leaf) << why(leaf);
    ASSERT_TRUE(check_inclusion(i, old.size, leaf_hash(*leaf), proof->hashes, old.root));
  }
  // Partial tiles of what is full are gone.
  EXPECT_FALSE(std::filesystem::exists(dir() + "/tile/0/000.p"));
  EXPECT_FALSE(std::filesystem::exists(dir() + "/tile/entries/001.p"));
}

TEST_F(LedgerTest, ReopensWhereItWas) {
  std::uint64_t size = 0;
  {
    const auto ledger = make();
    for (std::uint64_t i = 0; i < 300; ++i) ASSERT_TRUE(ledger->append(receipt_entry(i)));
    ASSERT_TRUE(ledger->commit(receipt_entry(300), Durability::kDurable, kPatience));
  }  // closing integrates what is durable
  const auto ledger = reopen();
  size = ledger->checkpoint()->size;
  EXPECT_EQ(size, 302U);
  EXPECT_EQ(ledger->commit(receipt_entry(301), Durability::kIntegrated, kPatience).value(), size);
}

TEST_F(LedgerTest, RefreshSignsTheSameHeadLater) {
  const auto ledger = make();
  const SignedCheckpoint before = *ledger->checkpoint();
  const auto after = ledger->refresh_checkpoint();
  ASSERT_TRUE(after) << why(after);
  EXPECT_EQ(after->size, before.size);
  EXPECT_EQ(after->root, before.root);
  EXPECT_GE(after->time_s, before.time_s);
  EXPECT_EQ(ledger->reader().checkpoint()->text, after->text);
}

TEST_F(LedgerTest, AQuietLogIsSignedAgainByTheClock) {
  LedgerOptions options = test_options();
  options.refresh_interval = std::chrono::milliseconds(1);
  const auto ledger = make(options);
  const std::int64_t first = ledger->checkpoint()->time_s;
  while (ledger->checkpoint()->time_s == first)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ledger->checkpoint()->size, 1U);
}

TEST_F(LedgerTest, RefusesASecondLedgerInTheFolder) {
  make();
  EXPECT_EQ(Ledger::create(dir(), test_keys(), test_options()).error().code, "ledger_exists");
}

TEST_F(LedgerTest, RefusesOtherKeysAndMissingFolders) {
  make();
  EXPECT_EQ(Ledger::open(dir(), test_keys("log.test/fieldprint", 9), test_options()).error().code,
            "ledger_keys_mismatch");
  EXPECT_EQ(Ledger::open(scratch_ / "nothing", test_keys(), test_options()).error().code,
            "ledger_missing");
  LedgerKeys keys = test_keys();
  const LedgerKeys swapped{std::move(keys.cosigner), std::move(keys.log)};
  EXPECT_EQ(Ledger::create(scratch_ / "x", swapped, test_options()).error().code,
            "ledger_keys_invalid");
}

TEST_F(LedgerTest, RefusesToForkFromAnOldDatabase) {
  make();
  const std::string copy = scratch_ / "old.db";
  std::filesystem::copy_file(dir() + "/ledger.db", copy);
  {
    const auto ledger = reopen();
    ASSERT_TRUE(ledger->commit(receipt_entry(1), Durability::kIntegrated, kPatience));
  }
  std::filesystem::copy_file(copy, dir() + "/ledger.db",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(Ledger::open(dir(), test_keys(), test_options()).error().code, "ledger_rolled_back");
}

TEST_F(LedgerTest, RefusesACheckpointThatAnotherKeySigned) {
  make();
  std::ofstream(dir() + "/checkpoint")
      << sign_checkpoint("log.test/fieldprint", 1, Digest256{},
                         test_keys("log.test/fieldprint", 5).log,
                         test_keys("log.test/fieldprint", 5).cosigner, 1, {})
             .text;
  EXPECT_EQ(Ledger::open(dir(), test_keys(), test_options()).error().code, "note_unsigned");
}

TEST_F(LedgerTest, ALostCheckpointIsSignedAgain) {
  make();
  std::filesystem::remove(dir() + "/checkpoint");
  const auto ledger = reopen();
  EXPECT_EQ(ledger->reader().checkpoint()->size, 1U);
}

TEST_F(LedgerTest, AFullQueueSaysSo) {
  LedgerOptions options = test_options();
  options.max_queued_entries = 2;
  const auto ledger = make(options);
  const std::vector<Entry> three = {receipt_entry(1), receipt_entry(2), receipt_entry(3)};
  EXPECT_EQ(ledger->append(three).error().code, "ledger_overloaded");
  EXPECT_TRUE(ledger->commit(receipt_entry(1), Durability::kDurable, kPatience));
}

TEST_F(LedgerTest, RefusesInvalidEntriesWhole) {
  const auto ledger = make();
  std::vector<Entry> entries = {receipt_entry(1), receipt_entry(2)};
  entries[1].body.erase("receipt_digest");
  EXPECT_EQ(ledger->append(entries).error().code, "entry_invalid");
  EXPECT_EQ(ledger->durable_size().value(), 1U);
  EXPECT_EQ(ledger->read(1).error().code, "ledger_index");
  EXPECT_EQ(ledger->prove(1).error().code, "ledger_index");
}

TEST_F(LedgerTest, AFlippedBitInATileIsNoticedBeforeAProofLeaves) {
  const auto ledger = make();
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(ledger->append(receipt_entry(i)));
  ASSERT_TRUE(ledger->commit(receipt_entry(20), Durability::kIntegrated, kPatience));
  const std::string tile = dir() + "/tile/0/000.p/22";
  std::fstream file(tile, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.good());
  file.seekp(32 * 4);
  file.put(static_cast<char>(file.peek() ^ 1));
  file.close();
  EXPECT_EQ(ledger->prove(5).error().code, "ledger_corrupt");
}

}  // namespace
}  // namespace fieldprint
