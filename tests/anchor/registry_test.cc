// The attack table: each attempt to have an anchor served that should not be, and its error.
#include "anchor/registry.h"

#include <atomic>
#include <thread>

#include "anchor/signed.h"
#include "anchor/watcher.h"
#include "provenance/support.h"
#include "support.h"

namespace fieldprint {
namespace {

namespace fs = std::filesystem;
using test::code;
using test::fake_digest;
using test::MemoryLog;
using test::need;
using test::read_file;
using test::SharedSource;
using test::World;
using test::write_file;

class Registry : public test::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    world_.place.model_digest = test::tiny_anchor().model_digest;
    log_ = std::make_shared<MemoryLog>(world_);
    trust_ = need(create_trust_folder(Env::real(), (root_ / "trust").string(),
                                      world_.signed_root().envelope));
    first_ = make_anchor("first", "I am Ada.\n");
  }
  // A signed folder; returns the anchor's digest.
  std::string make_anchor(const std::string& folder, const std::string& text) {
    AnchorArtifact anchor = test::tiny_anchor();
    anchor.text = text;
    EXPECT_TRUE(save_anchor(anchor, (root_ / folder).string()));
    EXPECT_TRUE(sign_anchor_folder((root_ / folder).string(), world_.anchor_key));
    return anchor.digest;
  }
  void log(EntryKind kind, const Statement& s) { log_->add_envelope(kind, world_.envelope(s)); }
  void promote(const Statement& s) { log(EntryKind::kPromotion, s); }
  void publish() { log_->sign_at(world_.now); }

  Result<std::unique_ptr<AnchorRegistry>> open() {
    RegistryOptions options;
    options.now = [this] { return now_.load(); };
    return AnchorRegistry::open(Env::real(), trust_, std::make_unique<SharedSource>(log_), options);
  }
  std::string load(const std::string& folder = "first") {
    auto registry = open();
    if (!registry) return registry.error().code;
    return code((*registry)->load((root_ / folder).string(), world_.place));
  }

  World world_;
  std::atomic<std::int64_t> now_{world_.now};
  std::shared_ptr<MemoryLog> log_;
  TrustFolder trust_;
  std::string first_;
};

TEST_F(Registry, LoadsWithEveryRightAndSaysByWhichAuthority) {
  publish();
  EXPECT_EQ(load(), "anchor_not_promoted");
  promote(world_.promotion(first_));
  EXPECT_EQ(load(), "anchor_not_promoted") << "in the log, and under no checkpoint";
  publish();
  const auto registry = need(open());
  const PromotedAnchor anchor = need(registry->load((root_ / "first").string(), world_.place));
  EXPECT_EQ(anchor.artifact->text, "I am Ada.\n");
  const AnchorAuthority& authority = anchor.authority;
  EXPECT_EQ(authority.anchor_digest, first_);
  EXPECT_EQ(authority.bundle_digest,
            digest_string(sha256(read_file(root_ / "first" / "model.sig"))));
  EXPECT_EQ(authority.anchor_key, "anchor");
  EXPECT_EQ(authority.promotion_index, 1U);
  EXPECT_EQ(authority.promoted_by, (std::vector<std::string>{"ada", "bob"}));
  EXPECT_EQ(authority.policy_epoch, 2U);
  EXPECT_EQ(authority.root_version, 1);
  EXPECT_EQ(authority.checkpoint_time_s, world_.now);
  // Anybody with the root alone can check what a receipt repeats.
  const Policy policy = need(Policy::parse(trust_.newest.root.policy));
  const TlogProof proof = need(tlog_proof_parse(authority.promotion_proof));
  EXPECT_TRUE(tlog_proof_verify(proof, leaf_hash(authority.promotion_leaf), policy));
  EXPECT_TRUE(registry->recheck(anchor));
}

TEST_F(Registry, ReplayedOldAnchor) {
  const std::string second = make_anchor("second", "I am Ada, revised.\n");
  const Statement one = world_.promotion(first_);
  promote(one);
  promote(world_.promotion(second, 2, statement_digest(need(print_statement(one)))));
  publish();
  EXPECT_EQ(load("second"), "ok");
  EXPECT_EQ(load("first"), "anchor_superseded");
  // The old folder in the new one's place.
  fs::remove_all(root_ / "second");
  fs::rename(root_ / "first", root_ / "second");
  EXPECT_EQ(load("second"), "anchor_superseded");
}

TEST_F(Registry, RevokedAnchorAndRolledBackLog) {
  promote(world_.promotion(first_));
  publish();
  EXPECT_EQ(load(), "ok");
  const std::vector<std::string> leaves = log_->leaves;
  const std::string checkpoint = log_->checkpoint_text;
  log(EntryKind::kRevocation, world_.revocation(first_));
  publish();
  EXPECT_EQ(load(), "anchor_revoked");
  log_->leaves = leaves;
  log_->checkpoint_text = checkpoint;
  EXPECT_EQ(load(), "ledger_rolled_back") << "remembered in the trust folder";
  log_->add_other("instead-of-it");
  log_->add_other("one-more");
  publish();
  EXPECT_EQ(load(), "ledger_forked");
}

TEST_F(Registry, StaleCheckpoint) {
  promote(world_.promotion(first_));
  publish();
  now_ = world_.now + 3600;
  EXPECT_EQ(load(), "ok");
  now_ = world_.now + 3601;
  EXPECT_EQ(load(), "checkpoint_stale");
  log_->sign_at(now_);
  EXPECT_EQ(load(), "ok");
}

TEST_F(Registry, WrongModelWrongScopeExpired) {
  Statement s = world_.promotion(first_);
  promote(s);
  publish();
  const auto registry = need(open());
  const std::string folder = (root_ / "first").string();
  EXPECT_EQ(code(registry->load(folder, {"acme", fake_digest("another model")})),
            "anchor_model_mismatch");
  EXPECT_EQ(code(registry->load(folder, {"initech", world_.place.model_digest})),
            "promotion_scope");
  EXPECT_EQ(code(registry->load(folder, {"*", world_.place.model_digest})), "scope_invalid");
  now_ = s.window.not_before - 1;
  log_->sign_at(now_);
  EXPECT_EQ(load(), "promotion_not_yet_valid");
  now_ = s.window.not_after;
  log_->sign_at(now_);
  EXPECT_EQ(load(), "promotion_expired");
}

TEST_F(Registry, TooFewSignaturesAndOneKeyTwice) {
  const Statement s = world_.promotion(first_);
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(s, {&world_.ada}));
  log_->add_envelope(EntryKind::kPromotion, world_.envelope(s, {&world_.ada, &world_.ada}));
  publish();
  EXPECT_EQ(load(), "anchor_not_promoted");
  const AuthorityState state = need(open())->state();
  ASSERT_EQ(state.ignored().size(), 2U);
  EXPECT_EQ(state.ignored()[0].code, "threshold_not_met");
  EXPECT_EQ(state.ignored()[1].code, "signature_duplicate");
}

TEST_F(Registry, ChangedFoldersAndForeignKeys) {
  promote(world_.promotion(first_));
  publish();
  std::string rows = read_file(root_ / "first" / "rows.safetensors");
  rows.back() = static_cast<char>(rows.back() ^ 1);
  write_file(root_ / "first" / "rows.safetensors", rows);
  EXPECT_EQ(load(), "anchor_digest_mismatch");
  rows.back() = static_cast<char>(rows.back() ^ 1);
  write_file(root_ / "first" / "rows.safetensors", rows);
  EXPECT_EQ(load(), "ok");
  write_file(root_ / "first" / "extra", "");
  EXPECT_EQ(load(), "anchor_unexpected_file");
  fs::remove(root_ / "first" / "extra");
  ASSERT_TRUE(sign_anchor_folder((root_ / "first").string(), P256SecretKey::generate()));
  EXPECT_EQ(load(), "anchor_key_unknown");
  fs::remove(root_ / "first" / "model.sig");
  EXPECT_EQ(load(), "anchor_unsigned");
}

TEST_F(Registry, UnknownAndMisplacedStatements) {
  DsseEnvelope foreign{
      kStatementPayloadType,
      R"({"_type":"https://in-toto.io/Statement/v1","predicateType":"https://x/amnesty/v1"})",
      {}};
  dsse_add_signature(foreign, world_.ada);
  dsse_add_signature(foreign, world_.bob);
  log_->add_envelope(EntryKind::kPromotion, dsse_print(foreign));
  log_->add_envelope(EntryKind::kRevocation, world_.envelope(world_.promotion(first_)));
  log_->add_envelope(EntryKind::kPromotion, "not even JSON");
  publish();
  EXPECT_EQ(load(), "anchor_not_promoted");
  const AuthorityState state = need(open())->state();
  ASSERT_EQ(state.ignored().size(), 3U);
  EXPECT_EQ(state.ignored()[0].code, "statement_type_unknown");
  EXPECT_EQ(state.ignored()[1].code, "statement_type_mismatch");
  EXPECT_EQ(state.ignored()[2].code, "json_invalid");
}

TEST_F(Registry, OverrideIsCheckedAgainstTheLogAsItIsNow) {
  publish();
  const auto registry = need(open());
  const std::string envelope =
      world_.envelope(world_.override_of(first_), {&world_.ada, &world_.bob, &world_.eve});
  const OverrideUse use{world_.place, first_, "session-7", fake_digest("request"), world_.now};
  EXPECT_EQ(code(registry->check_override(envelope, use)), "ok");
  log_->add_override(envelope, "used");  // by another process
  publish();
  EXPECT_EQ(code(registry->check_override(envelope, use)), "override_replayed");
  now_ = world_.now + 3601;
  EXPECT_EQ(code(registry->check_override(envelope, use)), "checkpoint_stale");
}

// --- while serving -----------------------------------------------------------------------------

class Watcher : public Registry {
 protected:
  void SetUp() override {
    Registry::SetUp();
    promote(world_.promotion(first_));
    publish();
    registry_ = need(open());
    served_ = need(registry_->load((root_ / "first").string(), world_.place));
  }
  void start() {
    watcher_ = AnchorWatcher::start(
        *registry_, served_, std::chrono::hours(1), [this](const AnchorEnd& end) -> Status {
          const std::lock_guard lock(mutex_);
          ++calls_;
          if (busy_-- > 0) {
            return fail(ErrorKind::kUnavailable, "command_queue_full", "again");
          }
          ends_.push_back(end);
          return {};
        });
  }
  // Pokes until `calls` calls were made; the test's own time limit ends a wait in vain.
  void look_until(int calls) {
    while (true) {
      watcher_->poke();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      const std::lock_guard lock(mutex_);
      if (calls_ >= calls) return;
    }
  }
  void look_a_few_times() {
    for (int i = 0; i < 10; ++i) {
      watcher_->poke();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  std::unique_ptr<AnchorRegistry> registry_;
  PromotedAnchor served_;
  std::mutex mutex_;
  std::vector<AnchorEnd> ends_;
  int calls_ = 0;
  int busy_ = 0;
  std::unique_ptr<AnchorWatcher> watcher_;  // last: its thread uses the others
};

TEST_F(Watcher, TellsOfARevocationOnceItIsDone) {
  busy_ = 2;  // the engine cannot take the command at first
  const std::string envelope = world_.envelope(world_.revocation(first_));
  log_->add_envelope(EntryKind::kRevocation, envelope);
  publish();
  start();
  look_until(3);
  look_a_few_times();
  watcher_.reset();
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_EQ(calls_, 3);
  EXPECT_EQ(ends_[0].anchor_digest, first_);
  EXPECT_EQ(ends_[0].cause, test::digest_of_envelope(envelope));
  EXPECT_EQ(ends_[0].reason.code, "anchor_revoked");
  EXPECT_EQ(code(registry_->recheck(served_)), "anchor_revoked");
}

TEST_F(Watcher, TellsOfOtherRevocationsOfItsPlaceAndOfNoOthers) {
  Statement elsewhere = world_.revocation(fake_digest("x"));
  elsewhere.scope.tenant = "initech";
  log(EntryKind::kRevocation, elsewhere);
  log(EntryKind::kRevocation, world_.revocation(fake_digest("y")));
  publish();
  start();
  look_until(1);
  look_a_few_times();
  watcher_.reset();
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_EQ(ends_[0].anchor_digest, fake_digest("y"));
  EXPECT_EQ(code(registry_->recheck(served_)), "ok");
}

TEST_F(Watcher, TellsWhenThePromotionEnds) {
  now_ = served_.authority.not_after;
  log_->sign_at(now_);
  start();
  look_until(1);
  look_a_few_times();
  watcher_.reset();
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_EQ(ends_[0].reason.code, "promotion_expired");
  EXPECT_EQ(ends_[0].cause, "");
}

TEST_F(Watcher, LedgerThatCannotBeReadEndsTheAnchorWhenItsCheckpointIsStale) {
  log_->checkpoint_text.clear();  // for the moment there is none
  EXPECT_EQ(code(registry_->recheck(served_)), "ok");
  now_ = world_.now + 3601;
  EXPECT_EQ(code(registry_->recheck(served_)), "checkpoint_stale");
}

TEST_F(Watcher, RolledBackLedgerEndsTheAnchorAtOnce) {
  log_->leaves.pop_back();
  publish();
  EXPECT_EQ(code(registry_->recheck(served_)), "ledger_rolled_back");
}

}  // namespace
}  // namespace fieldprint
