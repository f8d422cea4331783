// The ladder: its order, its end, and that it never touches what is final.
#include "supervisor/rollback_policy.h"

#include <algorithm>
#include <limits>
#include <set>

#include "gtest/gtest.h"
// gtest before rapidcheck.
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

constexpr KvClass kUntrusted[] = {KvClass::kTool, KvClass::kMemory};

RollbackSituation situation_of(std::uint64_t generated, std::uint64_t change_token) {
  RollbackSituation situation;
  situation.generated = generated;
  situation.breach.end_token = generated;
  situation.breach.cause = BreachCause::kDetector;
  situation.breach.change_token = change_token;
  return situation;
}

RollbackRecord record_of(const RollbackDecision& decision, const RollbackSituation& situation) {
  RollbackRecord record;
  record.from_token = situation.generated;
  record.to_token = decision.to_token;
  record.change = decision.change;
  return record;
}

// Breach after breach at the same place until the policy stops.
std::vector<RollbackChange> climb(const RollbackSettings& settings, RollbackSituation situation) {
  std::vector<RollbackRecord> before;
  std::vector<RollbackChange> changes;
  for (int i = 0; i < 20; ++i) {
    situation.before = before;
    const RollbackDecision decision = decide_rollback(settings, situation);
    changes.push_back(decision.change);
    if (decision.change == RollbackChange::kStop) break;
    before.push_back(record_of(decision, situation));
  }
  return changes;
}

TEST(RollbackPolicyTest, TheWholeLadderInOrder) {
  RollbackSituation situation = situation_of(96, 40);
  situation.anchored = true;
  situation.has_reminder = true;
  situation.untrusted = kUntrusted;
  RollbackSettings settings;
  settings.max_attempts = 8;
  using enum RollbackChange;
  EXPECT_EQ(climb(settings, situation),
            (std::vector{kStrongerAnchor, kReseed, kRemind, kQuarantine, kStop}));
  settings.max_attempts = 2;
  EXPECT_EQ(climb(settings, situation), (std::vector{kStrongerAnchor, kReseed, kStop}));
  settings.max_attempts = 0;
  EXPECT_EQ(climb(settings, situation), std::vector{kStop});
}

// Every combination of what applies and what is final.
TEST(RollbackPolicyTest, WhatDoesNotApplyIsPassedOver) {
  RollbackSettings settings;
  settings.max_attempts = 8;
  for (int bits = 0; bits < 32; ++bits) {
    for (const std::uint64_t released : {0U, 16U, 20U, 33U, 90U, 96U}) {
      RollbackSituation situation = situation_of(96, 40);
      situation.anchored = (bits & 1) != 0;
      situation.has_reminder = (bits & 2) != 0;
      if ((bits & 4) != 0) situation.untrusted = kUntrusted;
      situation.released_is_final = (bits & 8) != 0;
      situation.released = released;
      std::vector<RollbackRecord> before;
      if ((bits & 16) != 0) before.push_back({.change = RollbackChange::kManual});
      situation.before = before;
      const bool final = situation.released_is_final && released > 0;
      const bool back = !final || released <= 80;  // a checkpoint lies between
      std::vector<RollbackChange> expected;
      if (back && situation.anchored) expected.push_back(RollbackChange::kStrongerAnchor);
      if (back) expected.push_back(RollbackChange::kReseed);
      if (!final && situation.has_reminder) expected.push_back(RollbackChange::kRemind);
      if (!final && !situation.untrusted.empty()) expected.push_back(RollbackChange::kQuarantine);
      expected.push_back(RollbackChange::kStop);
      EXPECT_EQ(climb(settings, situation), expected) << bits << " " << released;
    }
  }
}

TEST(RollbackPolicyTest, GoesBackToTheChangeAndNoFurther) {
  const RollbackSettings settings;
  RollbackSituation situation = situation_of(96, 40);
  EXPECT_EQ(decide_rollback(settings, situation).to_token, 32U);
  situation.released = 90;  // optimistic: may be taken back
  EXPECT_EQ(decide_rollback(settings, situation).to_token, 32U);
  situation.released_is_final = true;
  situation.released = 64;
  EXPECT_EQ(decide_rollback(settings, situation).to_token, 64U);
  situation.released = 65;
  EXPECT_EQ(decide_rollback(settings, situation).to_token, 80U);
  situation.released = 90;  // no checkpoint between: what is final stays, the rest goes
  EXPECT_EQ(decide_rollback(settings, situation).change, RollbackChange::kStop);
  EXPECT_EQ(decide_rollback(settings, situation).to_token, 90U);
}

TEST(RollbackPolicyTest, TheClassWithMostMassIsQuarantined) {
  RollbackSettings settings;
  settings.max_attempts = 8;
  const RollbackRecord reseeded{.change = RollbackChange::kReseed};
  RollbackSituation situation = situation_of(40, 16);
  situation.before = {&reseeded, 1};
  situation.untrusted = kUntrusted;
  situation.mass[static_cast<std::size_t>(KvClass::kUser)] = 0.9F;  // not among them
  situation.mass[static_cast<std::size_t>(KvClass::kTool)] = 0.1F;
  situation.mass[static_cast<std::size_t>(KvClass::kMemory)] = 0.2F;
  EXPECT_EQ(decide_rollback(settings, situation).quarantine, KvClass::kMemory);
  situation.mass[static_cast<std::size_t>(KvClass::kMemory)] =
      std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(decide_rollback(settings, situation).quarantine, KvClass::kTool);
  situation.mass.fill(0);
  EXPECT_EQ(decide_rollback(settings, situation).quarantine, KvClass::kTool);
}

TEST(RollbackPolicyTest, ImpossibleSettingsAreRefused) {
  EXPECT_TRUE(validate(RollbackSettings{}).has_value());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const RollbackSettings& bad :
       {RollbackSettings{.max_attempts = -1}, RollbackSettings{.max_attempts = 9},
        RollbackSettings{.psi = 1.0F}, RollbackSettings{.psi = -0.1F}, RollbackSettings{.psi = nan},
        RollbackSettings{.gamma_step = 1.5F}, RollbackSettings{.gamma_step = nan},
        RollbackSettings{.cooler = 1.5F}, RollbackSettings{.cooler = nan}}) {
    EXPECT_EQ(validate(bad).error().code, "invalid_options");
  }
}

// Whatever happens, the answer is a place that exists, a change not tried before, and an end.
RC_GTEST_PROP(RollbackPolicyProperty, AlwaysAPlaceThatExists, ()) {
  RollbackSettings settings;
  settings.max_attempts = *rc::gen::inRange(0, 9);
  std::vector<RollbackRecord> before;
  std::set<RollbackChange> tried;
  for (int breach = 0; breach < 12; ++breach) {
    const auto generated = *rc::gen::inRange<std::uint64_t>(0, 200);
    const auto change = *rc::gen::inRange<std::uint64_t>(0, generated + 1);
    RollbackSituation situation = situation_of(generated, change);
    situation.before = before;
    situation.released = *rc::gen::inRange<std::uint64_t>(0, generated + 1);
    situation.released_is_final = *rc::gen::arbitrary<bool>();
    situation.anchored = *rc::gen::arbitrary<bool>();
    situation.has_reminder = *rc::gen::arbitrary<bool>();
    if (*rc::gen::arbitrary<bool>()) situation.untrusted = kUntrusted;
    const RollbackDecision decision = decide_rollback(settings, situation);
    RC_ASSERT(decision.change != RollbackChange::kManual);
    RC_ASSERT(decision.to_token <= generated);
    RC_ASSERT(!situation.released_is_final || decision.to_token >= situation.released);
    if (decision.change == RollbackChange::kStop) {
      RC_ASSERT(decision.to_token % kCheckpointTokens == 0 ||
                (situation.released_is_final && decision.to_token == situation.released));
      continue;
    }
    RC_ASSERT(decision.to_token % kCheckpointTokens == 0);
    RC_ASSERT(decision.to_token < generated);
    RC_ASSERT(decision.to_token <= std::max(change, situation.released + kCheckpointTokens));
    RC_ASSERT(tried.insert(decision.change).second);
    RC_ASSERT((decision.change == RollbackChange::kQuarantine) ==
              (decision.quarantine != KvClass::kReserved));
    before.push_back(record_of(decision, situation));
    RC_ASSERT(before.size() <= static_cast<std::size_t>(settings.max_attempts));
  }
}

}  // namespace
}  // namespace fieldprint
