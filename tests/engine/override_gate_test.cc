// What the gate lets through, with a judge and a log made for the purpose.
#include "engine/override_gate.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fieldprint::testing {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

class FakeJudge final : public OverrideJudge {
 public:
  Result<SignedStatement> check(std::string_view envelope, const OverrideUse&) override {
    if (refusal_) return tl::unexpected(*refusal_);
    SignedStatement statement;
    statement.digest = kDigest;
    statement.envelope = std::string(envelope);
    return statement;
  }
  std::optional<Error> refusal_;
};

class FakeLog final : public OverrideLog {
 public:
  Result<std::uint64_t> record(const Entry& use) override {
    if (failure_) return tl::unexpected(*failure_);
    EXPECT_TRUE(print_entry(use)) << print_entry(use).error().message;
    if (another_was_first_) entries_.push_back(use);
    entries_.push_back(use);
    return entries_.size() - 1;
  }
  Result<std::uint64_t> first_use(const std::string& digest) override {
    const auto found = std::ranges::find(entries_, digest, &Entry::subject);
    if (found == entries_.end()) return fail(ErrorKind::kInternal, "none", "none");
    return static_cast<std::uint64_t>(found - entries_.begin());
  }
  std::vector<Entry> entries_;
  std::optional<Error> failure_;
  bool another_was_first_ = false;
};

class Gate : public ::testing::Test {
 protected:
  std::string admit() {
    OverrideRequest request;
    request.envelope = "{envelope}";
    request.response_id = "chatcmpl-1";
    request.request_commitment = "sha256:" + std::string(64, 'b');
    const auto grant = gate_.admit(request);
    if (grant) {
      EXPECT_EQ(grant->id, kDigest);
      return "granted";
    }
    return grant.error().code;
  }
  FakeJudge judge_;
  FakeLog log_;
  OverrideGate gate_{judge_, log_};
};

TEST_F(Gate, GrantsOnceAndTheUseIsInTheLog) {
  EXPECT_EQ(admit(), "granted");
  ASSERT_EQ(log_.entries_.size(), 1U);
  EXPECT_EQ(*log_.entries_[0].body.at("event").string(), "used");
  EXPECT_EQ(*log_.entries_[0].body.at("envelope").string(), "{envelope}");
  EXPECT_EQ(admit(), "override_replayed") << "even if the judge has not seen the first use yet";
}

TEST_F(Gate, WhatTheJudgeRefusesLeavesNoTrace) {
  judge_.refusal_ = Error{ErrorKind::kForbidden, "override_expired", "late", {}};
  EXPECT_EQ(admit(), "override_expired");
  EXPECT_TRUE(log_.entries_.empty());
}

TEST_F(Gate, ALogThatCannotBeWrittenRefuses) {
  log_.failure_ = Error{ErrorKind::kExhausted, "disk_full", "no space", {}};
  EXPECT_EQ(admit(), "override_not_logged");
}

TEST_F(Gate, OfTwoAtOnceTheLogKnowsTheFirst) {
  log_.another_was_first_ = true;
  EXPECT_EQ(admit(), "override_replayed");
}

}  // namespace
}  // namespace fieldprint::testing
