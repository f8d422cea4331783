// A request with an accepted override: no anchor row, pages of its own.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

HarnessOptions anchored_options() {
  HarnessOptions options;
  for (TokenId i = 0; i < 30; ++i) options.anchor.push_back((i * 7 + 3) % 60);
  return options;
}

GenerationRequest override_request(const std::string& id) {
  GenerationRequest request = make_request(100, 1, 12);
  request.ignore_eos = true;
  request.override_grant = OverrideGrant{id};
  return request;
}

TEST(OverridePath, NoAnchorPageIsInItsBlockTable) {
  Harness harness(anchored_options());
  std::set<PageId> anchor_pages;
  std::set<PageId> override_pages;
  bool mixed = false;
  harness.runner().before_forward = [&](std::span<const SequenceStep> steps) -> Status {
    for (const SequenceStep& step : steps) {
      for (const PageEntry& entry : step.plan.anchor.pages) anchor_pages.insert(entry.page);
      const bool anchored = !step.plan.anchor.pages.empty();
      if (anchored) anchor_pages.insert(step.plan.pages[0].page);
      for (const PageEntry& entry : step.plan.pages) {
        if (!anchored) override_pages.insert(entry.page);
        mixed = mixed || entry.cls == KvClass::kAnchor;
      }
    }
    return {};
  };
  GenerationRequest normal = override_request("x");
  normal.override_grant.reset();
  Client& anchored = harness.submit(normal);
  Client& free = harness.submit(override_request("sha256:one"));
  harness.run();
  ASSERT_FALSE(anchor_pages.empty());
  ASSERT_FALSE(override_pages.empty());
  for (const PageId page : override_pages) EXPECT_FALSE(anchor_pages.contains(page)) << page;
  EXPECT_FALSE(mixed) << "an anchor row sat in a context partition";
  EXPECT_EQ(free.outcome.usage->mass[static_cast<int>(KvClass::kAnchor)], 0.0F);
  EXPECT_EQ(free.outcome.usage->anchor_tokens, 0);
  EXPECT_EQ(free.outcome.usage->anchors, std::vector<std::string>{""});
  expect_as_oracle(anchored, anchored_options().anchor);
  GenerationRequest oracle = free.job->request;
  oracle.use_anchor = false;
  EXPECT_EQ(free.outcome.choices[0].text, expected_choice(oracle, 1, 0).text);
  EXPECT_EQ(harness.core().stats().overrides, 1U);
}

TEST(OverridePath, PagesAreReusedByNobodyAndFromNobody) {
  Harness harness(anchored_options());
  GenerationRequest bare = override_request("x");
  bare.override_grant.reset();
  bare.use_anchor = false;
  std::vector<GenerationRequest> requests = {bare, override_request("sha256:one"),
                                             override_request("sha256:two"), bare};
  std::vector<Client*> clients;
  for (const GenerationRequest& request : requests) {
    clients.push_back(&harness.submit(request));
    harness.run();
  }
  EXPECT_EQ(clients[1]->outcome.usage->cached_tokens, 0) << "from the bare one before it";
  EXPECT_EQ(clients[2]->outcome.usage->cached_tokens, 0) << "from another override";
  EXPECT_EQ(clients[3]->outcome.usage->cached_tokens, 97) << "the bare one's own";
  const std::int32_t cached = harness.core().stats().pages_cached;
  // The same statement a second time never passes the gate; if it did, it finds nothing.
  Client& again = harness.submit(override_request("sha256:one"));
  harness.run();
  EXPECT_EQ(again.outcome.usage->cached_tokens, 0);
  EXPECT_EQ(harness.core().stats().pages_cached, cached) << "its pages left with it";
}

TEST(OverridePath, TwoAtOnceShareNoPage) {
  Harness harness(anchored_options());
  std::map<PageId, std::set<std::int32_t>> users;
  harness.runner().before_forward = [&](std::span<const SequenceStep> steps) -> Status {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      for (const PageEntry& entry : steps[i].plan.pages) {
        users[entry.page].insert(static_cast<std::int32_t>(i));
      }
    }
    return {};
  };
  harness.submit(override_request("sha256:one"));
  harness.submit(override_request("sha256:two"));
  harness.run();
  ASSERT_GT(users.size(), 14U);
  for (const auto& [page, sequences] : users) EXPECT_EQ(sequences.size(), 1U) << page;
}

TEST(OverridePath, RunsWhereTheAnchorWasRevoked) {
  Harness harness(anchored_options());
  harness.core().revoke("fake-anchor", RevocationPolicy::kEnd, {});
  Client& client = harness.submit(override_request("sha256:one"));
  harness.run();
  EXPECT_TRUE(client.outcome.usage);
}

TEST(OverridePath, AGrantWithoutAStatementIsRefused) {
  Harness harness(anchored_options());
  const auto refused = harness.core().prepare(override_request(""));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "invalid_override");
}

}  // namespace
}  // namespace fieldprint::testing
