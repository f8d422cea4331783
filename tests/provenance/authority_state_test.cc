// What holds after reading the log: the rules of decision 0021, and most of the attack table.
#include "provenance/authority_state.h"

#include "support.h"

// After gtest, which it needs.
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

using test::code;
using test::digest_of_envelope;
using test::fake_digest;
using test::fixed_key;
using test::need;
using test::World;

class Authority : public ::testing::Test {
 protected:
  std::string check(const std::string& anchor) const {
    return code(state_.check_anchor(anchor, world_.place, world_.now));
  }
  std::string add(StatementType kind, const std::string& envelope) {
    return code(state_.add_statement(index_++, kind, envelope));
  }
  std::string promote(const Statement& s) {
    return add(StatementType::kPromotion, world_.envelope(s));
  }
  // Promotes as the next of its line.
  std::string promote_next(const std::string& anchor) {
    Statement s = world_.promotion(anchor);
    const auto next = state_.next_in_line(s.type, s.subject_name, s.scope);
    s.sequence = next.sequence;
    s.previous = next.previous;
    return promote(s);
  }
  std::string revoke(const Statement& s) {
    return add(StatementType::kRevocation, world_.envelope(s));
  }

  World world_;
  AuthorityState state_{world_.signed_root()};
  std::uint64_t index_ = 5;
  const std::string one_ = fake_digest("anchor one");
  const std::string two_ = fake_digest("anchor two");
};

TEST_F(Authority, PromotedAnchorMayStand) {
  EXPECT_EQ(check(one_), "anchor_not_promoted");
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  const LoggedStatement found = need(state_.check_anchor(one_, world_.place, world_.now));
  EXPECT_EQ(found.index, 5U);
  EXPECT_EQ(found.signed_statement.signers, (std::vector<std::string>{"ada", "bob"}));
  EXPECT_EQ(state_.policy_epoch(), 6U);
}

TEST_F(Authority, OneSignatureTooFewIsRefused) {
  const Statement s = world_.promotion(one_);
  const std::string lonely = world_.envelope(s, {&world_.ada});
  EXPECT_EQ(add(StatementType::kPromotion, lonely), "threshold_not_met");
  EXPECT_EQ(check(one_), "anchor_not_promoted");
  const Result<SignedStatement> read = verify_statement(lonely, state_.root().root);
  EXPECT_NE(read.error().message.find("1 of 2"), std::string::npos) << read.error().message;
  EXPECT_EQ(add(StatementType::kPromotion, world_.envelope(s, {&world_.ada, &world_.stranger})),
            "threshold_not_met");
  EXPECT_EQ(add(StatementType::kPromotion, world_.envelope(s, {})), "dsse_invalid");
  // Three of three for an override; two promote.
  EXPECT_EQ(code(verify_statement(world_.envelope(world_.override_of(one_)), state_.root().root)),
            "threshold_not_met");
}

TEST_F(Authority, OneKeyCountedTwiceIsRefused) {
  const Statement s = world_.promotion(one_);
  EXPECT_EQ(add(StatementType::kPromotion, world_.envelope(s, {&world_.ada, &world_.ada})),
            "signature_duplicate");
  EXPECT_EQ(
      add(StatementType::kPromotion, world_.envelope(s, {&world_.ada, &world_.bob, &world_.bob})),
      "signature_duplicate");
  // The same key under another name and key id is still one key.
  const std::string secret(world_.ada.print().view());
  std::size_t seed = 0;  // the fifth part; base64 may hold a '+' itself
  for (int part = 0; part < 4; ++part) seed = secret.find('+', seed) + 1;
  const auto twin =
      need(VerifierKey::make("ada2", NoteKeyType::kEd25519, world_.ada.verifier().key()));
  char id[9];
  std::snprintf(id, sizeof id, "%08x", twin.id());
  const SignerKey ada2 =
      need(SignerKey::parse("PRIVATE+KEY+ada2+" + std::string(id) + "+" + secret.substr(seed)));
  EXPECT_EQ(add(StatementType::kPromotion, world_.envelope(s, {&world_.ada, &ada2})),
            "signature_duplicate");
  EXPECT_EQ(check(one_), "anchor_not_promoted");
}

TEST_F(Authority, ChangedOrForeignEnvelopesAreRefused) {
  const std::string good = world_.envelope(world_.promotion(one_));
  DsseEnvelope changed = need(dsse_parse(good));
  changed.untrusted_payload[changed.untrusted_payload.find("acme")] = 'b';
  EXPECT_EQ(add(StatementType::kPromotion, dsse_print(changed)), "threshold_not_met");
  DsseEnvelope retyped = need(dsse_parse(good));
  retyped.payload_type = "application/json";
  EXPECT_EQ(add(StatementType::kPromotion, dsse_print(retyped)), "envelope_type");
  EXPECT_EQ(add(StatementType::kPromotion, std::string(kStatementMaxEnvelope + 1, ' ')),
            "dsse_too_large");
  EXPECT_EQ(add(StatementType::kPromotion, "{"), "json_invalid");
  // Signed by everybody, and still of a type that nobody here knows.
  DsseEnvelope foreign{kStatementPayloadType,
                       R"({"_type":"https://in-toto.io/Statement/v1","predicateType":"x/y"})",
                       {}};
  dsse_add_signature(foreign, world_.ada);
  dsse_add_signature(foreign, world_.bob);
  EXPECT_EQ(add(StatementType::kPromotion, dsse_print(foreign)), "statement_type_unknown");
  // A promotion in the place of a revocation.
  EXPECT_EQ(add(StatementType::kRevocation, good), "statement_type_mismatch");
  EXPECT_EQ(state_.ignored().size(), 6U);
}

TEST_F(Authority, OldAnchorCannotBePlayedBack) {
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  ASSERT_EQ(promote_next(two_), "ok");
  EXPECT_EQ(check(two_), "ok");
  EXPECT_EQ(check(one_), "anchor_superseded");
  // Not even when the newer one has ended.
  Statement s = world_.revocation(two_);
  ASSERT_EQ(revoke(s), "ok");
  EXPECT_EQ(check(two_), "anchor_revoked");
  EXPECT_EQ(check(one_), "anchor_superseded");
  // Only a new promotion brings it back.
  ASSERT_EQ(promote_next(one_), "ok");
  EXPECT_EQ(check(one_), "ok");
}

TEST_F(Authority, PromotionForAnotherPlaceIsNone) {
  Statement s = world_.promotion(one_);
  s.scope.tenant = "initech";
  ASSERT_EQ(promote(s), "ok");
  EXPECT_EQ(check(one_), "promotion_scope");
  s.scope = {world_.place.tenant, fake_digest("another model")};
  ASSERT_EQ(promote(s), "ok");
  EXPECT_EQ(check(one_), "promotion_scope");
  s.scope = {"*", "*"};
  ASSERT_EQ(promote(s), "ok");
  EXPECT_EQ(check(one_), "ok");
}

TEST_F(Authority, PromotionHoldsInItsWindowOnly) {
  Statement s = world_.promotion(one_);
  ASSERT_EQ(promote(s), "ok");
  const auto at = [&](std::int64_t now) {
    return code(state_.check_anchor(one_, world_.place, now));
  };
  EXPECT_EQ(at(s.window.not_before - 1), "promotion_not_yet_valid");
  EXPECT_EQ(at(s.window.not_before), "ok");
  EXPECT_EQ(at(s.window.not_after - 1), "ok");
  EXPECT_EQ(at(s.window.not_after), "promotion_expired");
}

TEST_F(Authority, LineGoesOnFromItsLastPromotion) {
  EXPECT_EQ(promote(world_.promotion(one_, 2, fake_digest("none"))), "statement_out_of_sequence");
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  EXPECT_EQ(promote(world_.promotion(one_)), "statement_repeated");
  EXPECT_EQ(promote(world_.promotion(two_)), "statement_out_of_sequence") << "1 again";
  EXPECT_EQ(promote(world_.promotion(two_, 2, fake_digest("fork"))), "statement_out_of_sequence");
  const auto next = state_.next_in_line(StatementType::kPromotion, "keeper",
                                        {world_.place.tenant, world_.place.model_digest});
  EXPECT_EQ(next.sequence, 2);
  EXPECT_EQ(promote(world_.promotion(two_, 3, next.previous)), "statement_out_of_sequence");
  EXPECT_EQ(check(one_), "ok") << "none of those moved the line";
  EXPECT_EQ(promote(world_.promotion(two_, 2, next.previous)), "ok");
}

TEST_F(Authority, RevocationCountsWhateverItsSequence) {
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  ASSERT_EQ(revoke(world_.revocation(one_, 17, fake_digest("hidden"))), "ok");
  EXPECT_EQ(check(one_), "anchor_revoked");
  ASSERT_EQ(promote_next(one_), "ok");
  EXPECT_EQ(check(one_), "anchor_revoked") << "a revoked digest does not come back";
}

TEST_F(Authority, RevocationEndsInItsScopeOnly) {
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  Statement s = world_.revocation(one_);
  s.scope = {"initech", "*"};
  ASSERT_EQ(revoke(s), "ok");
  EXPECT_EQ(check(one_), "ok");
  s.scope = {"*", "*"};
  ASSERT_EQ(revoke(s), "ok");
  EXPECT_EQ(check(one_), "anchor_revoked");
}

TEST_F(Authority, WithdrawnPromotionCanBeMadeAgain) {
  const Statement first = world_.promotion(one_);
  ASSERT_EQ(promote(first), "ok");
  ASSERT_EQ(revoke(world_.revocation(statement_digest(need(print_statement(first))))), "ok");
  EXPECT_EQ(check(one_), "promotion_revoked");
  ASSERT_EQ(promote_next(one_), "ok");
  EXPECT_EQ(check(one_), "ok");
}

TEST_F(Authority, RevocationNeedsItsThresholdToo) {
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  EXPECT_EQ(
      add(StatementType::kRevocation, world_.envelope(world_.revocation(one_), {&world_.eve})),
      "threshold_not_met");
  EXPECT_EQ(check(one_), "ok");
}

TEST_F(Authority, RotatedOutKeysLiftNothingAnyMore) {
  ASSERT_EQ(promote(world_.promotion(one_)), "ok");
  const SignerKey fay = fixed_key("fay");
  TrustRoot next = world_.root();
  next.version = 2;
  next.previous = state_.root().digest;
  next.authorities = {fay.verifier(), world_.bob.verifier(), world_.eve.verifier()};
  for (const AuthorityRole role : kAuthorityRoles) next.role(role) = {{"fay", "bob", "eve"}, 2};
  EXPECT_EQ(code(state_.add_root(9, need(sign_root(next, std::vector<const SignerKey*>{&fay})))),
            "root_threshold");
  EXPECT_EQ(check(one_), "ok") << "a rotation without the old keys is none";
  ASSERT_EQ(code(state_.add_root(
                10, need(sign_root(
                        next, std::vector<const SignerKey*>{&world_.ada, &world_.bob, &fay})))),
            "ok");
  EXPECT_EQ(state_.policy_epoch(), 11U);
  EXPECT_EQ(check(one_), "promotion_keys_retired");
  index_ = 11;
  Statement again = world_.promotion(one_);
  const auto place = state_.next_in_line(again.type, again.subject_name, again.scope);
  again.sequence = place.sequence;
  again.previous = place.previous;
  EXPECT_EQ(promote(again), "threshold_not_met") << "ada is out";
  EXPECT_EQ(add(StatementType::kPromotion, world_.envelope(again, {&fay, &world_.bob})), "ok");
  EXPECT_EQ(check(one_), "ok");
}

TEST_F(Authority, OverrideIsGoodForOneRequest) {
  const Statement s = world_.override_of(one_);
  const std::vector<const SignerKey*> all{&world_.ada, &world_.bob, &world_.eve};
  const std::string envelope = world_.envelope(s, all);
  OverrideUse use{world_.place, one_, "session-7", fake_digest("request"), world_.now};
  const auto used = [&](const OverrideUse& by) {
    return code(state_.check_override(envelope, by));
  };
  EXPECT_EQ(used(use), "ok");
  OverrideUse other = use;
  other.session = "session-8";
  EXPECT_EQ(used(other), "override_request");
  other = use;
  other.request_digest = fake_digest("another request");
  EXPECT_EQ(used(other), "override_request");
  other = use;
  other.anchor_digest = two_;
  EXPECT_EQ(used(other), "override_target");
  other = use;
  other.place.tenant = "initech";
  EXPECT_EQ(used(other), "override_scope");
  other = use;
  other.now = s.window.not_before - 1;
  EXPECT_EQ(used(other), "override_not_yet_valid");
  other.now = s.window.not_after;
  EXPECT_EQ(used(other), "override_expired");
  EXPECT_EQ(code(state_.check_override(world_.envelope(s), use)), "threshold_not_met");
  EXPECT_EQ(code(state_.check_override(world_.envelope(world_.promotion(one_)), use)),
            "statement_type_mismatch");

  state_.add_override_use(digest_of_envelope(envelope), envelope);
  EXPECT_EQ(used(use), "override_replayed");
  // Another statement with the spent nonce, and one that was spent without its envelope.
  Statement twin = s;
  twin.reason = "again";
  EXPECT_EQ(code(state_.check_override(world_.envelope(twin, all), use)), "override_replayed");
  const std::string third = world_.envelope(world_.override_of(one_, 'b'), all);
  EXPECT_EQ(code(state_.check_override(third, use)), "ok");
  state_.add_override_use(digest_of_envelope(third), "");
  EXPECT_EQ(code(state_.check_override(third, use)), "override_replayed");
}

// Whatever is in the log and in whatever order: an anchor that may stand was promoted by enough
// keys for this place, is the newest of its name there, and is not revoked.
RC_GTEST_PROP(AuthorityProperty, WhatMayStandHasEveryRight, ()) {
  static const World world;
  AuthorityState state(world.signed_root());
  struct Said {
    StatementType type;
    std::string anchor;
    std::string tenant;
    bool accepted;
  };
  std::vector<Said> said;
  const std::string anchors[] = {fake_digest("0"), fake_digest("1"), fake_digest("2")};
  const std::string tenants[] = {"acme", "initech", "*"};
  const int count = *rc::gen::inRange(0, 12);
  for (int i = 0; i < count; ++i) {
    const std::string anchor = anchors[*rc::gen::inRange(0, 3)];
    const bool promotes = *rc::gen::inRange(0, 4) != 0;
    Statement s = promotes ? world.promotion(anchor) : world.revocation(anchor);
    s.scope.tenant = tenants[*rc::gen::inRange(0, 3)];
    const auto next = state.next_in_line(s.type, s.subject_name, s.scope);
    s.sequence = next.sequence + (*rc::gen::inRange(0, 5) == 0 ? 1 : 0);
    s.previous = s.sequence == 1 ? "" : s.sequence == next.sequence ? next.previous : anchor;
    const bool enough = *rc::gen::inRange(0, 4) != 0;
    const std::string envelope = enough ? world.envelope(s) : world.envelope(s, {&world.bob});
    const Status added = state.add_statement(static_cast<std::uint64_t>(i), s.type, envelope);
    const bool fits = s.sequence == next.sequence && s.previous == next.previous;
    RC_ASSERT(added.has_value() == (enough && (fits || !promotes)));
    said.push_back({s.type, anchor, s.scope.tenant, added.has_value()});
  }
  for (const std::string& anchor : anchors) {
    const std::string* newest = nullptr;
    bool revoked = false;
    for (const Said& s : said) {
      if (!s.accepted || (s.tenant != "acme" && s.tenant != "*")) continue;
      if (s.type == StatementType::kPromotion) newest = &s.anchor;
      revoked |= s.type == StatementType::kRevocation && s.anchor == anchor;
    }
    const bool may = newest != nullptr && *newest == anchor && !revoked;
    RC_ASSERT(state.check_anchor(anchor, world.place, world.now).has_value() == may);
  }
}

}  // namespace
}  // namespace fieldprint
