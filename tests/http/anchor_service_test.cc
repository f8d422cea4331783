// The anchor service and the override gate over a real trust folder, registry and ledger.
#include "engine/anchor_service.h"

#include <thread>

#include "anchor/signed.h"
#include "anchor/support.h"
#include "engine/override_gate.h"
#include "http/fake_engine.h"
#include "provenance/support.h"

namespace fieldprint::testing_http {
namespace {

using std::chrono::milliseconds;
using test::need;
using test::World;
constexpr milliseconds kLong{30000};

class Service : public test::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    world_.now = unix_now();
    world_.place.model_digest = test::tiny_anchor().model_digest;
    trust_ = need(create_trust_folder(Env::real(), (root_ / "trust").string(),
                                      world_.signed_root().envelope));
    ASSERT_TRUE(Ledger::create(trust_.ledger_dir(), keys()));
    ledger_ = need(Ledger::open(trust_.ledger_dir(), keys()));
    first_ = make_anchor("first", "I am Ada.\n");
    second_ = make_anchor("second", "I am Bea.\n");
    promotion_ = log(EntryKind::kPromotion, world_.envelope(world_.promotion(first_)));
    registry_ = need(AnchorRegistry::open(Env::real(), trust_));
    promoted_ = need(registry_->load((root_ / "first").string(), world_.place));
    engine_.set_anchor(first_);
    options_.watch_period = milliseconds(20);
  }
  void TearDown() override {
    service_.reset();
    registry_.reset();
    ledger_.reset();
    FolderTest::TearDown();
  }
  LedgerKeys keys() const {
    return {test::fixed_key("log.example/one"),
            test::fixed_key("log.example/one", NoteKeyType::kCosignature)};
  }
  std::string make_anchor(const std::string& folder, const std::string& text) {
    AnchorArtifact anchor = test::tiny_anchor();
    anchor.text = text;
    EXPECT_TRUE(save_anchor(anchor, (root_ / folder).string()));
    EXPECT_TRUE(sign_anchor_folder((root_ / folder).string(), world_.anchor_key));
    return anchor.digest;
  }
  // As another process would; returns the statement's digest.
  std::string log(EntryKind kind, const std::string& envelope) {
    Entry entry{kind, test::fake_digest("subject"), 0, {{"envelope", envelope}}};
    EXPECT_TRUE(ledger_->commit(entry, Durability::kIntegrated, kLong));
    return test::digest_of_envelope(envelope);
  }
  void start(Ledger* ledger) {
    AnchorBinding binding;
    binding.artifact = promoted_.artifact;
    service_ = make_anchor_service(engine_, *registry_, ledger, promoted_, binding, options_);
  }
  bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 3000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  std::string refusal(const std::string& envelope) {
    const auto receipt = service_->revoke(envelope);
    return receipt ? "ok" : receipt.error().code;
  }

  World world_;
  TrustFolder trust_;
  std::unique_ptr<Ledger> ledger_;
  std::string first_;
  std::string second_;
  std::string promotion_;
  std::unique_ptr<AnchorRegistry> registry_;
  PromotedAnchor promoted_;
  FakeEngine engine_;
  AnchorServiceOptions options_;
  std::unique_ptr<AnchorService> service_;
};

TEST_F(Service, ASignedRevocationTakesTheAnchorAwayAndIsInTheLedger) {
  start(ledger_.get());
  ASSERT_TRUE(service_->report().front);
  EXPECT_EQ(service_->standing(first_)->authority->promotion_digest, promotion_);
  const std::string envelope = world_.envelope(world_.revocation(first_));
  const RevocationReceipt receipt = need(service_->revoke(envelope));
  EXPECT_TRUE(receipt.in_place);
  ASSERT_TRUE(receipt.outcome);
  EXPECT_EQ(receipt.statement_digest, test::digest_of_envelope(envelope));
  EXPECT_EQ(engine_.last_revocation().digest, first_);
  EXPECT_EQ(engine_.last_revocation().cause, receipt.statement_digest);
  const Entry entry = need(ledger_->read(receipt.index));
  EXPECT_EQ(entry.kind, EntryKind::kRevocation);
  EXPECT_EQ(*entry.body.at("envelope").string(), envelope);
  ASSERT_TRUE(registry_->refresh());
  EXPECT_EQ(test::code(registry_->load((root_ / "first").string(), world_.place)),
            "anchor_revoked");
  const AnchorReport report = service_->report();
  EXPECT_TRUE(report.state.refusing);
  ASSERT_EQ(report.endings.size(), 1U);
  EXPECT_EQ(report.endings[0].code, "anchor_revoked");
  // Sent again it is known, and written once.
  EXPECT_EQ(need(service_->revoke(envelope)).index, receipt.index);
}

TEST_F(Service, WhatHasNoAuthorityDoesNothing) {
  start(ledger_.get());
  const Statement revocation = world_.revocation(first_);
  EXPECT_EQ(refusal(world_.envelope(revocation, {&world_.ada})), "threshold_not_met");
  EXPECT_EQ(refusal(world_.envelope(revocation, {&world_.ada, &world_.stranger})),
            "threshold_not_met");
  EXPECT_EQ(refusal(world_.envelope(world_.promotion(second_))), "statement_type_mismatch");
  EXPECT_NE(refusal("{}"), "ok");
  Statement elsewhere = revocation;
  elsewhere.scope.tenant = "other";
  const RevocationReceipt receipt = need(service_->revoke(world_.envelope(elsewhere)));
  EXPECT_FALSE(receipt.in_place);
  EXPECT_FALSE(receipt.outcome);
  EXPECT_TRUE(engine_.revoked().empty());
}

TEST_F(Service, WithoutTheLedgersKeysItSaysWhereToGo) {
  start(nullptr);
  EXPECT_EQ(refusal(world_.envelope(world_.revocation(first_))), "ledger_read_only");
  EXPECT_TRUE(engine_.revoked().empty());
}

TEST_F(Service, ARevocationMadeElsewhereIsFoundInTheLedger) {
  start(nullptr);
  log(EntryKind::kRevocation, world_.envelope(world_.revocation(first_)));
  EXPECT_TRUE(eventually([&] { return engine_.last_revocation().digest == first_; }));
}

TEST_F(Service, SoIsTheRevocationOfItsPromotion) {
  start(nullptr);
  log(EntryKind::kRevocation, world_.envelope(world_.revocation(promotion_)));
  EXPECT_TRUE(eventually([&] { return engine_.last_revocation().digest == first_; }));
}

TEST_F(Service, TheFallbackTakesOverAndIsWatchedToo) {
  Statement next = world_.promotion(second_);
  next.subject_name = "fallback";
  log(EntryKind::kPromotion, world_.envelope(next));
  options_.policy = RevocationPolicy::kReanchor;
  options_.fallback_folder = (root_ / "second").string();
  start(ledger_.get());
  need(service_->revoke(world_.envelope(world_.revocation(first_))));
  EXPECT_EQ(engine_.last_revocation().policy, RevocationPolicy::kReanchor);
  const AnchorReport report = service_->report();
  ASSERT_TRUE(report.front);
  EXPECT_EQ(report.front->binding.artifact->digest, second_);
  log(EntryKind::kRevocation, world_.envelope(world_.revocation(second_)));
  EXPECT_TRUE(eventually([&] { return engine_.last_revocation().digest == second_; }));
}

TEST_F(Service, AFallbackWithoutPromotionEndsTheConversations) {
  options_.policy = RevocationPolicy::kReanchor;
  options_.fallback_folder = (root_ / "second").string();
  start(ledger_.get());
  need(service_->revoke(world_.envelope(world_.revocation(first_))));
  EXPECT_EQ(engine_.last_revocation().policy, RevocationPolicy::kEnd);
  EXPECT_FALSE(engine_.last_revocation().replacement.artifact);
}

TEST_F(Service, OneOverrideRunsOnceHoweverManyAskAtOnce) {
  Statement leave = world_.override_of(first_);
  leave.request = {};
  OverrideRequest request;
  request.envelope = world_.envelope(leave, {&world_.ada, &world_.bob, &world_.eve});
  request.use.place = world_.place;
  request.use.anchor_digest = first_;
  request.use.now = world_.now;
  request.response_id = "chatcmpl-1";
  request.request_commitment = test::fake_digest("request");
  std::atomic<int> granted{0};
  std::atomic<int> replayed{0};
  std::vector<std::thread> servers;
  for (int i = 0; i < 4; ++i) {
    servers.emplace_back([&] {  // each as a process of its own would be
      const auto registry = need(AnchorRegistry::open(Env::real(), trust_));
      RegistryJudge judge(*registry);
      LedgerOverrideLog uses(*ledger_, kLong);
      OverrideGate gate(judge, uses);
      const auto grant = gate.admit(request);
      granted += grant ? 1 : 0;
      replayed += !grant && grant.error().code == "override_replayed" ? 1 : 0;
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(granted, 1);
  EXPECT_EQ(replayed, 3);
}

}  // namespace
}  // namespace fieldprint::testing_http
