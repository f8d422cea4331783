// A receipt's chain: the one it was issued with holds, every other is refused by name.
#include "supervisor/receipt_chain.h"

#include <gtest/gtest.h>

#include "supervisor/fingerprint.h"

namespace fieldprint {
namespace {

std::string digest_of(char digit) { return "sha256:" + std::string(64, digit); }

TokenFingerprint record(std::uint64_t token) {
  TokenFingerprint out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>((token + i) % 90);
  return out;
}

// 70 tokens; after 40 a rollback to 32; a gap of 3 at 50.
struct Issued {
  Receipt receipt;
  std::vector<std::string> chains;
};

Issued issue(std::string_view response = "chatcmpl-1", char model = '1', char anchor = '3') {
  Receipt receipt;
  receipt.response_id = response;
  receipt.salt.fill(7);
  receipt.model_digest = digest_of(model);
  receipt.numeric_profile = "invariant/test";
  receipt.anchor.digests = {digest_of(anchor)};
  receipt.choices.resize(1);
  receipt.choices[0].tokens = 70;
  ReceiptSupervision& stated = receipt.choices[0].supervision;
  stated.anchor = digest_of(anchor);
  stated.recipe = digest_of('5');
  auto chain = FingerprintChain::create(receipt_binding(receipt, 0)).value();
  const auto add_until = [&](std::uint64_t end) {
    while (chain.next_token() < end) {
      const auto at = chain.next_token();
      chain.add(static_cast<std::int32_t>(at), record(at));
    }
  };
  add_until(40);
  chain.rollback(32);
  add_until(50);
  chain.skip(3);
  add_until(70);
  chain.flush();
  SupervisionReport report;
  report.release = ReleaseMode::kStrict;
  report.state = SupervisionState::kComplete;
  report.binding = chain.binding();
  report.segments = chain.take_complete();
  report.chain_head = chain.head();
  report.gaps = 3;
  report.rollbacks = {{40, 32, 0, RollbackChange::kReseed, BreachCause::kLimit, 1.5}};
  stated = receipt_supervision(report);
  return {receipt, {print_segments(report.segments)}};
}

std::string verdict(const Receipt& receipt, const std::vector<std::string>& chains) {
  const ReceiptCheck check = check_receipt_chains(receipt, chains);
  return check.code.empty() ? check_outcome_name(check.outcome) : check.code;
}

TEST(ReceiptChain, TheOneItWasIssuedWithHolds) {
  const Issued issued = issue();
  EXPECT_EQ(verdict(issued.receipt, issued.chains), "holds");
  const std::string detail = check_receipt_chains(issued.receipt, issued.chains).detail;
  EXPECT_NE(detail.find("3 without a fingerprint"), std::string::npos) << detail;
  EXPECT_NE(detail.find("1 rollbacks"), std::string::npos) << detail;
}

TEST(ReceiptChain, AnyForgedByteIsRefused) {
  const Issued issued = issue();
  const std::string& chain = issued.chains[0];
  for (std::size_t at = 0; at < chain.size(); at += 11) {
    std::string forged = chain;
    forged[at] = static_cast<char>(forged[at] ^ 0x20);
    const std::string code = verdict(issued.receipt, {forged});
    EXPECT_TRUE(code == "fingerprint_segment_invalid" || code == "fingerprint_chain_broken")
        << at << " " << code;
  }
}

TEST(ReceiptChain, ASegmentForgedWithItsDigestBreaksTheChain) {
  const Issued issued = issue();
  // Another chain of the same binding: every segment's own digest is right.
  auto other = FingerprintChain::create(receipt_binding(issued.receipt, 0)).value();
  for (int i = 0; i < 70; ++i) other.add(i, record(static_cast<std::uint64_t>(i) + 1));
  other.flush();
  EXPECT_EQ(verdict(issued.receipt, {print_segments(other.take_complete())}), "receipt_chain_head");
}

TEST(ReceiptChain, ACutOrContinuedChainIsRefused) {
  const Issued issued = issue();
  const std::string& text = issued.chains[0];
  std::vector<Segment> segments =
      parse_segments({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}).value();
  ASSERT_GE(segments.size(), 4U);
  std::vector<Segment> cut(segments.begin(), segments.end() - 1);
  EXPECT_EQ(verdict(issued.receipt, {print_segments(cut)}), "receipt_chain_head");
  std::vector<Segment> headless(segments.begin() + 1, segments.end());
  EXPECT_EQ(verdict(issued.receipt, {print_segments(headless)}), "fingerprint_chain_broken");
  segments.erase(segments.begin() + 2);
  EXPECT_EQ(verdict(issued.receipt, {print_segments(segments)}), "fingerprint_chain_broken");
  EXPECT_EQ(verdict(issued.receipt, {text.substr(0, text.size() - 1)}),
            "fingerprint_segment_invalid");
}

TEST(ReceiptChain, AnotherModelAnchorOrResponseIsRefused) {
  const Issued issued = issue();
  for (const Issued& other : {issue("chatcmpl-2"), issue("chatcmpl-1", '9')}) {
    EXPECT_EQ(verdict(issued.receipt, other.chains), "fingerprint_chain_broken");
  }
  const Issued anchored = issue("chatcmpl-1", '1', '8');
  EXPECT_EQ(verdict(issued.receipt, anchored.chains), "fingerprint_chain_broken");
  Receipt mixed = issued.receipt;
  mixed.choices[0].supervision.anchor = digest_of('8');
  EXPECT_EQ(verdict(mixed, anchored.chains), "receipt_chain_anchor");
  Receipt salted = issued.receipt;
  salted.salt[0] ^= 1;
  EXPECT_EQ(verdict(salted, issued.chains), "fingerprint_chain_broken");
}

TEST(ReceiptChain, NumbersThatTheChainDoesNotHaveAreRefused) {
  const Issued issued = issue();
  const auto with = [&](const auto& change) {
    Receipt receipt = issued.receipt;
    change(receipt.choices[0]);
    return verdict(receipt, issued.chains);
  };
  EXPECT_EQ(with([](ReceiptChoice& c) { c.supervision.gaps = 0; }), "receipt_chain_counts");
  EXPECT_EQ(with([](ReceiptChoice& c) { c.supervision.segments = 3; }), "receipt_chain_counts");
  EXPECT_EQ(with([](ReceiptChoice& c) { c.tokens = 69; }), "receipt_chain_counts");
  EXPECT_EQ(with([](ReceiptChoice& c) {
              c.supervision.rollback_count = 0;
              c.supervision.rollbacks.clear();
            }),
            "receipt_chain_counts");
  // A stop after the chain's last segment takes tokens back that are in it.
  EXPECT_EQ(with([](ReceiptChoice& c) {
              c.supervision.rollback_count = 2;
              c.supervision.rollbacks.push_back({70, 64, 0, "stop", "limit", -1, "none"});
              c.tokens = 64;
            }),
            "holds");
}

TEST(ReceiptChain, WhatIsNotThereIsNotChecked) {
  const Issued issued = issue();
  EXPECT_EQ(verdict(issued.receipt, {}), "not checked");
  EXPECT_EQ(verdict(issued.receipt, {""}), "not checked");
  Receipt open = issued.receipt;
  open.choices[0].supervision.state = "incomplete";
  open.choices[0].supervision.chain_head = "none";
  EXPECT_EQ(verdict(open, issued.chains), "not checked");
  Receipt none = issued.receipt;
  none.choices[0].supervision = {};
  EXPECT_EQ(verdict(none, issued.chains), "not checked");
}

TEST(Report, AnglesAreThoseOfTheTextThatStayed) {
  SupervisionReport report;
  const auto add = [&](std::uint32_t generation, std::uint64_t end, double angle) {
    SegmentReading reading;
    reading.generation = generation;
    reading.end_token = end;
    reading.measured = true;
    reading.angle = angle;
    report.timeline.push_back(reading);
  };
  add(0, 16, 0.1);
  add(0, 32, 0.2);
  add(0, 48, 0.9);
  report.rollbacks.push_back({48, 32, 0, RollbackChange::kReseed, BreachCause::kLimit, 0.9});
  add(1, 48, 0.8);
  report.rollbacks.push_back({48, 16, 0, RollbackChange::kReseed, BreachCause::kLimit, 0.8});
  add(2, 32, 0.3);
  report.timeline.emplace_back().generation = 2;  // nothing measured
  EXPECT_EQ(kept_angles(report), (std::vector<double>{0.1, 0.3}));
}

}  // namespace
}  // namespace fieldprint
