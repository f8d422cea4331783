// Reading a log that may lie: rolled back, forked, stale, with a leaf changed or left out.
#include "provenance/authority_log.h"

#include "support.h"

namespace fieldprint {
namespace {

using test::code;
using test::digest_of_envelope;
using test::fake_digest;
using test::fixed_key;
using test::MemoryLog;
using test::need;
using test::SharedSource;
using test::World;

class AuthorityLogTest : public ::testing::Test {
 protected:
  AuthorityLog reader(std::optional<SeenHead> seen = {}) const {
    const SignedRoot root = world_.signed_root();
    return AuthorityLog(root, root, std::make_unique<SharedSource>(log_), seen);
  }
  std::string check(const AuthorityLog& reader) const {
    return code(reader.state().check_anchor(anchor_, world_.place, world_.now));
  }
  void publish() { log_->sign_at(world_.now); }

  World world_;
  std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>(world_);
  const std::string anchor_ = fake_digest("anchor");
};

TEST_F(AuthorityLogTest, FollowsTheLogAsItGrows) {
  AuthorityLog log = reader();
  EXPECT_EQ(code(log.check_fresh(world_.now, 60)), "ledger_unread");
  publish();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(check(log), "anchor_not_promoted");
  const std::uint64_t index =
      log_->add_envelope(EntryKind::kPromotion, world_.envelope(world_.promotion(anchor_)));
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(check(log), "anchor_not_promoted") << "not under a checkpoint yet";
  publish();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(check(log), "ok");
  // Across several bundles, with partial ones in between.
  for (int i = 0; i < 600; ++i) {
    log_->add_other("receipt-" + std::to_string(i));
    if (i % 151 != 0) continue;
    publish();
    ASSERT_TRUE(log.refresh());
  }
  const auto proven = need(log.prove(index));
  EXPECT_EQ(proven.leaf, log_->leaves[index]);
  EXPECT_EQ(need(tlog_proof_parse(proven.proof)).index, index);
  log_->add_envelope(EntryKind::kRevocation, world_.envelope(world_.revocation(anchor_)));
  publish();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(check(log), "anchor_revoked");
  EXPECT_EQ(log.state().policy_epoch(), log_->leaves.size());
}

TEST_F(AuthorityLogTest, RolledBackLogIsRefused) {
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(world_.promotion(anchor_)));
  publish();
  const std::vector<std::string> old_leaves = log_->leaves;
  const std::string old_checkpoint = log_->checkpoint_text;
  log_->add_envelope(EntryKind::kRevocation, world_.envelope(world_.revocation(anchor_)));
  publish();
  AuthorityLog log = reader();
  ASSERT_TRUE(log.refresh());
  const SeenHead seen = log.head();
  EXPECT_EQ(check(log), "anchor_revoked");

  log_->leaves = old_leaves;
  log_->checkpoint_text = old_checkpoint;
  EXPECT_EQ(code(log.refresh()), "ledger_rolled_back");
  EXPECT_EQ(check(log), "anchor_revoked") << "what was known stays known";
  // A process that starts afterwards knows it from the head it remembers.
  AuthorityLog later = reader(seen);
  EXPECT_EQ(code(later.refresh()), "ledger_rolled_back");
}

TEST_F(AuthorityLogTest, RewrittenHistoryIsRefused) {
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(world_.promotion(anchor_)));
  log_->add_envelope(EntryKind::kRevocation, world_.envelope(world_.revocation(anchor_)));
  publish();
  AuthorityLog log = reader();
  ASSERT_TRUE(log.refresh());
  const SeenHead seen = log.head();
  // The operator, who has the key, replaces the revocation and lets the log grow beyond it.
  log_->leaves.pop_back();
  for (int i = 0; i < 5; ++i) log_->add_other("filler-" + std::to_string(i));
  publish();
  AuthorityLog later = reader(seen);
  EXPECT_EQ(code(later.refresh()), "ledger_forked");
  EXPECT_EQ(code(log.refresh()), "ledger_corrupt") << "it does not continue what was read";
}

TEST_F(AuthorityLogTest, LeafChangedOrLeftOutIsNoticed) {
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(world_.promotion(anchor_)));
  log_->add_envelope(EntryKind::kRevocation, world_.envelope(world_.revocation(anchor_)));
  publish();
  const std::vector<std::string> leaves = log_->leaves;
  log_->leaves[2] = leaves[0];  // hides the revocation
  EXPECT_EQ(code(reader().refresh()), "ledger_corrupt");
  log_->leaves = leaves;
  log_->leaves.pop_back();
  EXPECT_EQ(code(reader().refresh()), "ledger_tile_missing");
  log_->leaves = leaves;
  EXPECT_EQ(code(reader().refresh()), "ok");
}

TEST_F(AuthorityLogTest, CheckpointsOfOthersAreRefused) {
  publish();
  log_->checkpoint_text[log_->checkpoint_text.find('\n') + 1] = '7';  // the size
  EXPECT_EQ(code(reader().refresh()), "note_signature_invalid");
  const SignerKey other = fixed_key("log.example/two");
  const SignerKey other_cosigner = fixed_key("log.example/two", NoteKeyType::kCosignature);
  log_->checkpoint_text = sign_checkpoint("log.example/two", 1, leaf_hash(log_->leaves[0]), other,
                                          other_cosigner, world_.now, {})
                              .text;
  EXPECT_EQ(code(reader().refresh()), "policy_no_log");
}

TEST_F(AuthorityLogTest, StaleCheckpointIsNamed) {
  log_->sign_at(world_.now);
  AuthorityLog log = reader();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(code(log.check_fresh(world_.now + 3600, 3600)), "ok");
  EXPECT_EQ(code(log.check_fresh(world_.now + 3601, 3600)), "checkpoint_stale");
  EXPECT_EQ(code(log.check_fresh(world_.now - 301, 3600)), "checkpoint_time_ahead");
  // The same head, signed again later.
  log_->sign_at(world_.now + 3000);
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(code(log.check_fresh(world_.now + 3601, 3600)), "ok");
}

TEST_F(AuthorityLogTest, FreshSignatureBesideAStaleQuorumProvesNothing) {
  const SignerKey witness = fixed_key("witness", NoteKeyType::kCosignature);
  TrustRoot root = world_.root();
  root.policy = "log " + world_.log.verifier().print() + "\nwitness operator " +
                world_.cosigner.verifier().print() + "\nwitness other " +
                witness.verifier().print() + "\ngroup both all operator other\nquorum both\n";
  const SignedRoot trusted = World::sign(root, {&world_.ada, &world_.bob});
  publish();
  EXPECT_EQ(
      code(AuthorityLog(trusted, trusted, std::make_unique<SharedSource>(log_), {}).refresh()),
      "policy_quorum");
  CompactRange range;
  range.append(leaf_hash(log_->leaves[0]));
  const Note note = need(note_parse(log_->checkpoint_text));
  const NoteSignature old =
      note_cosign(note.text, witness, static_cast<std::uint64_t>(world_.now - 5000));
  log_->checkpoint_text = sign_checkpoint("log.example/one", 1, range.root(), world_.log,
                                          world_.cosigner, world_.now, {&old, 1})
                              .text;
  AuthorityLog log(trusted, trusted, std::make_unique<SharedSource>(log_), {});
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(log.checkpoint().time_s, world_.now - 5000);
  EXPECT_EQ(code(log.check_fresh(world_.now, 3600)), "checkpoint_stale");
}

TEST_F(AuthorityLogTest, RootsRotateInTheLog) {
  TrustRoot next = world_.root();
  next.version = 2;
  next.previous = world_.signed_root().digest;
  next.role(AuthorityRole::kPromotion).threshold = 3;
  const SignedRoot second = World::sign(next, {&world_.ada, &world_.bob});
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(world_.promotion(anchor_)));
  publish();
  AuthorityLog log = reader();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(check(log), "ok");
  // Known here and not in the log: somebody gave this machine another past.
  AuthorityLog ahead(world_.signed_root(), second, std::make_unique<SharedSource>(log_), {});
  EXPECT_EQ(code(ahead.refresh()), "root_unknown");
  log_->add_root(second.envelope, 2);
  publish();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(log.state().root().root.version, 2);
  EXPECT_EQ(check(log), "promotion_keys_retired") << "two signatures, three are needed now";
  EXPECT_EQ(code(ahead.refresh()), "ok");
}

TEST_F(AuthorityLogTest, OverrideUseIsRememberedFromTheLog) {
  const std::vector<const SignerKey*> all{&world_.ada, &world_.bob, &world_.eve};
  const std::string envelope = world_.envelope(world_.override_of(anchor_), all);
  const OverrideUse use{world_.place, anchor_, "session-7", fake_digest("request"), world_.now};
  log_->add_override(envelope, "issued");
  publish();
  AuthorityLog log = reader();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(code(log.state().check_override(envelope, use)), "ok");
  log_->add_override(envelope, "used");
  publish();
  ASSERT_TRUE(log.refresh());
  EXPECT_EQ(code(log.state().check_override(envelope, use)), "override_replayed");
}

TEST_F(AuthorityLogTest, EntryOfAuthorityThatCannotBeReadStopsTheReader) {
  std::string leaf = log_->leaves[0];
  leaf.replace(leaf.find(R"("kind":"receipt")"), 16, R"("kind":"revocation")");
  log_->leaves.push_back(leaf);  // a revocation without an envelope
  publish();
  EXPECT_EQ(code(reader().refresh()), "ledger_entry_unreadable");
}

}  // namespace
}  // namespace fieldprint
