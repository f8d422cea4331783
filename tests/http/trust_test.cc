// Receipts, overrides, anchors and revocations over HTTP.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "codec/base64.h"
#include "http/fake_supervision.h"
#include "http/fixture.h"
#include "ledger/receipt_verify.h"
#include "supervisor/receipt_chain.h"

namespace fieldprint::testing_http {
namespace {

const std::string kAnchorDigest = "sha256:" + std::string(64, 'a');
const std::string kStatement = "sha256:" + std::string(64, 'b');

template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

class NoJudge final : public OverrideJudge {
  Result<SignedStatement> check(std::string_view, const OverrideUse&) override {
    return fail(ErrorKind::kInternal, "unused", "");
  }
};
class NoLog final : public OverrideLog {
  Result<std::uint64_t> record(const Entry&) override {
    return fail(ErrorKind::kInternal, "unused", "");
  }
  Result<std::uint64_t> first_use(const std::string&) override {
    return fail(ErrorKind::kInternal, "unused", "");
  }
};

class FakeGate final : public OverrideGate {
 public:
  FakeGate() : OverrideGate(judge_, log_) {}
  Result<OverrideGrant> admit(const OverrideRequest& request) override {
    seen_ = request;
    ++asked_;
    if (refusal_) return tl::unexpected(*refusal_);
    return OverrideGrant{kStatement};
  }
  std::optional<Error> refusal_;
  OverrideRequest seen_;
  int asked_ = 0;

 private:
  NoJudge judge_;
  NoLog log_;
};

class FakeAnchors final : public AnchorService {
 public:
  explicit FakeAnchors(AnchorBinding binding) : binding_(std::move(binding)) {}
  AnchorReport report() const override {
    AnchorReport report;
    report.state = {kAnchorDigest, false, {}};
    report.front = standing(kAnchorDigest);
    report.tenant = "default";
    report.root_digest = "sha256:root";
    report.root_version = 1;
    report.policy_epoch = 7;
    return report;
  }
  std::optional<AnchorStanding> standing(const std::string& digest) const override {
    if (digest != kAnchorDigest) return std::nullopt;
    AnchorAuthority authority;
    authority.anchor_digest = kAnchorDigest;
    authority.promotion_digest = kStatement;
    authority.promoted_by = {"ada"};
    authority.policy_epoch = 7;
    return AnchorStanding{binding_, authority};
  }
  Result<RevocationReceipt> revoke(std::string_view envelope) override {
    seen_ = std::string(envelope);
    if (refusal_) return tl::unexpected(*refusal_);
    RevocationReceipt receipt;
    receipt.statement_digest = kStatement;
    receipt.subject_digest = kAnchorDigest;
    receipt.index = 12;
    receipt.in_place = true;
    receipt.outcome.emplace();
    receipt.outcome->ended = 3;
    return receipt;
  }
  std::optional<Error> refusal_;
  std::string seen_;

 private:
  AnchorBinding binding_;
};

class Trust : public ServerTest {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "http_trust_test_" + std::to_string(::getpid());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    log_key_ = std::string(
        must(SignerKey::generate("example.org/log", NoteKeyType::kEd25519)).print().view());
    cosigner_ = std::string(
        must(SignerKey::generate("example.org/log", NoteKeyType::kCosignature)).print().view());
    ASSERT_TRUE(Ledger::create(dir_ + "/ledger", keys()));
    ledger_ = must(Ledger::open(dir_ + "/ledger", keys()));
    book_ = must(ReceiptBook::open(Env::real(), dir_ + "/receipts", *ledger_, key()));
    auto artifact = std::make_shared<AnchorArtifact>();
    artifact->digest = kAnchorDigest;
    artifact->name = "aria";
    binding_.artifact = artifact;
    binding_.beta_policy = 0.5F;
    anchors_ = std::make_unique<FakeAnchors>(binding_);
  }
  void TearDown() override {
    server_.reset();
    book_.reset();
    ledger_.reset();
    std::filesystem::remove_all(dir_);
  }
  SignerKey key() const { return must(SignerKey::parse(log_key_)); }
  LedgerKeys keys() const { return {key(), must(SignerKey::parse(cosigner_))}; }
  Policy policy() const {
    return must(Policy::parse("log " + key().verifier().print() + "\nwitness own " +
                              must(SignerKey::parse(cosigner_)).verifier().print() +
                              "\nquorum own\n"));
  }
  ServiceContext service() {
    ServiceContext context = test_service(engine_);
    context.model_digest = "sha256:" + std::string(64, '1');
    context.template_digest = "sha256:" + std::string(64, '2');
    context.anchor = AnchorInfo{kAnchorDigest, "aria", "joint", "system", 12};
    context.front = binding_;
    context.receipts = book_.get();
    context.overrides = &gate_;
    context.anchors = anchors_.get();
    engine_.set_anchor(kAnchorDigest);
    return context;
  }
  void start_trusted() {
    start();
    server_->set_ready(service());
  }
  std::string integrated(const std::string& id) {
    std::string body;
    EXPECT_TRUE(eventually([&] {
      const Reply reply = get(port_, "/v1/fieldprint/receipts/" + id);
      EXPECT_EQ(reply.status, 200) << reply.body;
      body = reply.body;
      return json::parse(body)["state"] == "integrated";
    }));
    return body;
  }
  ReceiptReport verified(const std::string& file, const std::string& request,
                         const std::string& response) {
    ReceiptEvidence evidence;
    evidence.request = request;
    evidence.choices = must(response_texts(response));
    ReceiptReport report = must(verify_receipt(file, policy(), evidence));
    for (const ReceiptCheck& check : report.checks) {
      EXPECT_EQ(check.outcome, CheckOutcome::kHolds) << check.name << ": " << check.detail;
    }
    return report;
  }

  std::string dir_;
  std::string log_key_;
  std::string cosigner_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<ReceiptBook> book_;
  AnchorBinding binding_;
  std::unique_ptr<FakeAnchors> anchors_;
  FakeGate gate_;
};

TEST_F(Trust, AWholeResponseHasAReceiptThatHoldsOffline) {
  start_trusted();
  const std::string request =
      R"({"messages":[{"role":"user","content":"hi"}],"n":2,"seed":5,"temperature":0.5})";
  const Reply reply = post(port_, "/v1/chat/completions", request);
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json block = json::parse(reply.body)["fieldprint"];
  const std::string id = reply.headers.at("fieldprint-receipt");
  EXPECT_EQ(block["receipt"], (json{{"id", id}, {"state", "acknowledged"}}));
  EXPECT_EQ(block["override"], nullptr);
  const ReceiptReport report = verified(integrated(id), request, reply.body);
  const Receipt& receipt = report.receipt;
  EXPECT_EQ(receipt.id, id);
  EXPECT_EQ(receipt.endpoint, "/v1/chat/completions");
  EXPECT_EQ(receipt.response_id, json::parse(reply.body)["id"]);
  EXPECT_EQ(receipt.anchor.digests, std::vector<std::string>{kAnchorDigest});
  EXPECT_EQ(receipt.anchor.promotion, kStatement);
  EXPECT_EQ(receipt.anchor.policy_epoch, 7);
  EXPECT_EQ(receipt.anchor.insecure, 0);
  EXPECT_EQ(receipt.anchor.beta, "0.5");
  EXPECT_EQ(receipt.sampler.temperature, "0.5");
  ASSERT_EQ(receipt.choices.size(), 2U);
  EXPECT_EQ(receipt.choices[1].seed, 6U);
  EXPECT_EQ(receipt.numeric_profile, "fake/exact");
  EXPECT_EQ(receipt.mass_ppm.at("anchor"), 250000);
  EXPECT_EQ(receipt.choices[0].supervision.state, "none");
  EXPECT_EQ(check_receipt_chains(receipt, report.chains).outcome, CheckOutcome::kNotChecked);
  EXPECT_EQ(receipt.tokens.completion, 8);
}

TEST_F(Trust, TheReceiptHoldsTheChainsOfASupervisedResponse) {
  start_trusted();
  engine_.set_supervision({true, true, fake_recipe()}, service().model_digest);
  engine_.set({.words = 5, .breaches = 2, .keep = 1, .gap = 1});
  for (const char* release : {"strict", "optimistic"}) {
    const std::string request =
        R"({"messages":[{"role":"user","content":"hi"}],"n":2,"stream":true,)"
        R"("fieldprint":{"release":")" +
        std::string(release) + "\"}}";
    const Reply reply = post(port_, "/v1/chat/completions", request);
    ASSERT_EQ(reply.status, 200) << reply.body;
    const ReceiptReport report =
        verified(integrated(reply.headers.at("fieldprint-receipt")), request, reply.body);
    const ReceiptCheck check = check_receipt_chains(report.receipt, report.chains);
    EXPECT_EQ(check.outcome, CheckOutcome::kHolds) << check.code << check.detail;
    const ReceiptSupervision& second = report.receipt.choices[1].supervision;
    EXPECT_EQ(second.release, release);
    EXPECT_EQ(second.anchor, kAnchorDigest);
    EXPECT_EQ(second.recipe, digest_string(fake_recipe()));
    EXPECT_EQ(second.gaps, 1);
    EXPECT_EQ(second.alarms, 2);
    ASSERT_EQ(second.rollback_count, 2);
    EXPECT_EQ(second.rollbacks[1].to, 1);
    EXPECT_EQ(second.rollbacks[1].angle_urad, 2500000);
    EXPECT_EQ(second.angle_max_urad, 250000);
    EXPECT_EQ(report.receipt.tokens.dropped, 8);
    // Another response's chains, even of the same text, are not this one's.
    std::vector<std::string> swapped = {report.chains[1], report.chains[0]};
    EXPECT_EQ(check_receipt_chains(report.receipt, swapped).code, "fingerprint_chain_broken");
  }
}

TEST_F(Trust, AStreamHasOneTooAndSoHasACompletion) {
  start_trusted();
  const std::string request =
      R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"seed":1})";
  const Reply stream = post(port_, "/v1/chat/completions", request);
  const std::string id = stream.headers.at("fieldprint-receipt");
  EXPECT_NE(stream.body.find(R"("receipt":{"id":")" + id), std::string::npos);
  verified(integrated(id), request, stream.body);

  const std::string plain = R"({"prompt":"a","max_tokens":3,"seed":1})";
  const Reply whole = post(port_, "/v1/completions", plain);
  const ReceiptReport report =
      verified(integrated(whole.headers.at("fieldprint-receipt")), plain, whole.body);
  EXPECT_EQ(report.receipt.choices[0].finish, "length");
  EXPECT_EQ(report.receipt.sampler.max_tokens, 3);
}

TEST_F(Trust, AnAnchorNobodyVouchedForIsSaidToBeInsecure) {
  start();
  ServiceContext context = service();
  context.anchors = nullptr;
  server_->set_ready(context);
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(json::parse(reply.body)["fieldprint"]["anchor"]["trust"], "insecure");
  const std::string file = integrated(reply.headers.at("fieldprint-receipt"));
  EXPECT_EQ(must(verify_receipt(file, policy(), {})).receipt.anchor.insecure, 1);
  const json anchors = json::parse(get(port_, "/v1/fieldprint/anchors").body);
  EXPECT_EQ(anchors["trust"], nullptr);
  EXPECT_EQ(anchors["front"]["trust"], "insecure");
  EXPECT_EQ(code_of(post(port_, "/v1/fieldprint/anchors/revocations", "{}")), "trust_missing");
}

TEST_F(Trust, FailedRequestsHaveNoReceipt) {
  start_trusted();
  engine_.set({.fail_after = 1, .failure = Error{ErrorKind::kForbidden, "anchor_revoked", "", ""}});
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(code_of(reply), "anchor_revoked");
  EXPECT_FALSE(reply.headers.contains("fieldprint-receipt"));
  const Reply stream = post(port_, "/v1/chat/completions",
                            R"({"messages":[{"role":"user","content":"hi"}],"stream":true})");
  const std::string id = stream.headers.at("fieldprint-receipt");
  EXPECT_EQ(code_of(get(port_, "/v1/fieldprint/receipts/" + id)), "receipt_not_found");
}

TEST_F(Trust, AReceiptThatCannotBeWrittenIsSaidToBeMissing) {
  start_trusted();
  std::filesystem::remove_all(dir_ + "/receipts");
  std::ofstream(dir_ + "/receipts") << "in the way";
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  ASSERT_EQ(reply.status, 200);
  const json receipt = json::parse(reply.body)["fieldprint"]["receipt"];
  EXPECT_EQ(receipt["state"], "failed");
  const std::string code = receipt["code"];
  EXPECT_FALSE(code.empty());
  EXPECT_EQ(metric("fieldprint_receipts_total{result=\"" + code + "\"}"), 1);
}

TEST_F(Trust, ReceiptIdsAreCheckedAndNamed) {
  start_trusted();
  const auto code = [&](const std::string& id) {
    return code_of(get(port_, "/v1/fieldprint/receipts/" + id));
  };
  EXPECT_EQ(code("fpr-" + std::string(32, '0')), "receipt_not_found");
  EXPECT_EQ(code("fpr-%2e%2e"), "receipt_id_invalid");
  EXPECT_EQ(code("..%2f..%2fetc"), "route_not_found");
  EXPECT_EQ(code("x"), "receipt_id_invalid");
  EXPECT_EQ(get(port_, "/v1/fieldprint/receipts/x").status, 400);
  EXPECT_EQ(post(port_, "/v1/fieldprint/receipts/x", "{}").status, 405);
}

TEST_F(Trust, WithoutABookThereAreNone) {
  start_ready();
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_FALSE(reply.headers.contains("fieldprint-receipt"));
  EXPECT_EQ(json::parse(reply.body)["fieldprint"]["receipt"], nullptr);
  EXPECT_EQ(code_of(get(port_, "/v1/fieldprint/receipts/x")), "receipts_off");
}

std::string with_override(const std::string& value) {
  return R"({"messages":[{"role":"user","content":"u"}],)"
         R"("fieldprint":{"session":"s-1","override":)" +
         value + "}}";
}

TEST_F(Trust, AnOverrideRunsWithoutTheAnchor) {
  start_trusted();
  const std::string envelope = R"({"payload":"e30=","payloadType":"t","signatures":[]})";
  for (const std::string& value :
       {envelope, '"' + base64_encode(envelope) + '"'}) {  // as an object and as base64
    const std::string request = with_override(value);
    const Reply reply = post(port_, "/v1/chat/completions", request);
    ASSERT_EQ(reply.status, 200) << reply.body;
    const GenerationRequest seen = engine_.last_request();
    ASSERT_TRUE(seen.override_grant);
    EXPECT_EQ(seen.override_grant->id, kStatement);
    EXPECT_FALSE(seen.use_anchor);
    EXPECT_EQ(seen.prompt[0].tokens, std::vector<TokenId>{256}) << "it begins with BOS";
    EXPECT_EQ(gate_.seen_.envelope, envelope);
    EXPECT_EQ(gate_.seen_.use.session, "s-1");
    EXPECT_EQ(gate_.seen_.use.place.tenant, "default");
    EXPECT_EQ(gate_.seen_.use.anchor_digest, kAnchorDigest);
    const json block = json::parse(reply.body)["fieldprint"];
    EXPECT_EQ(block["override"], kStatement);
    EXPECT_EQ(block["anchor"], nullptr);
    const ReceiptReport report =
        verified(integrated(reply.headers.at("fieldprint-receipt")), request, reply.body);
    EXPECT_EQ(report.receipt.override_digest, kStatement);
    EXPECT_EQ(report.receipt.anchor.digests, std::vector<std::string>{"none"});
    EXPECT_EQ(gate_.seen_.request_commitment, report.receipt.request_digest);
    EXPECT_EQ(gate_.seen_.response_id, report.receipt.response_id);
  }
}

TEST_F(Trust, TheDigestAnOverrideNamesARequestByDoesNotDependOnTheRest) {
  start_trusted();
  post(port_, "/v1/chat/completions", with_override("{}"));
  const std::string first = gate_.seen_.use.request_digest;
  // SHA-256 of {"endpoint":"/v1/chat/completions","messages":[{"content":"u","role":"user"}]}
  EXPECT_EQ(first, "sha256:079316055cc6ed2ab569e7e044d12ac054dfb07026e1e55e06060a81c352f26a");
  post(port_, "/v1/chat/completions",
       R"({"temperature":0.25,"messages":[{"content":[{"type":"text","text":"u"}],"role":"user"}],
           "fieldprint":{"override":{}}})");
  EXPECT_EQ(gate_.seen_.use.request_digest, first);
}

TEST_F(Trust, RefusedOverridesNeverRun) {
  start_trusted();
  gate_.refusal_ = Error{ErrorKind::kForbidden, "override_expired", "late", {}};
  const Reply expired = post(port_, "/v1/chat/completions", with_override("{}"));
  EXPECT_EQ(expired.status, 403);
  EXPECT_EQ(code_of(expired), "override_expired");
  EXPECT_EQ(json::parse(expired.body)["error"]["param"], "fieldprint.override");
  gate_.refusal_ = Error{ErrorKind::kUnavailable, "override_not_logged", "disk", {}};
  EXPECT_EQ(post(port_, "/v1/chat/completions", with_override("{}")).status, 503);
  const int asked = gate_.asked_;
  for (const char* bad : {"7", "\"***\"", "\"\"", "[]"}) {
    EXPECT_EQ(post(port_, "/v1/chat/completions", with_override(bad)).status, 400) << bad;
  }
  const std::string large = '"' + base64_encode(std::string(50000, 'x')) + '"';
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", with_override(large))), "invalid_value");
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions",
                         R"({"messages":[{"role":"user","content":"u"}],
                             "fieldprint":{"overide":{}}})")),
            "unknown_field");
  EXPECT_EQ(gate_.asked_, asked);
  EXPECT_EQ(engine_.submitted(), 0);
}

TEST_F(Trust, WithoutAGateOverridesAreRefused) {
  start();
  ServiceContext context = service();
  context.overrides = nullptr;
  server_->set_ready(context);
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", with_override("{}"))),
            "override_unavailable");
  EXPECT_EQ(engine_.submitted(), 0);
}

TEST_F(Trust, AnchorsAndRevocations) {
  start_trusted();
  const json anchors = json::parse(get(port_, "/v1/fieldprint/anchors").body);
  EXPECT_EQ(anchors["front"]["digest"], kAnchorDigest);
  EXPECT_EQ(anchors["front"]["trust"], "promoted");
  EXPECT_EQ(anchors["front"]["authority"]["promoted_by"], json({"ada"}));
  EXPECT_EQ(anchors["refusing"], false);
  EXPECT_EQ(anchors["trust"]["policy_epoch"], 7);
  const Reply reply = post(port_, "/v1/fieldprint/anchors/revocations", R"({"payload":"x"})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(anchors_->seen_, R"({"payload":"x"})");
  EXPECT_EQ(json::parse(reply.body)["outcome"]["ended"], 3);
  anchors_->refusal_ = Error{ErrorKind::kForbidden, "threshold_not_met", "1 of 2", {}};
  const Reply refused = post(port_, "/v1/fieldprint/anchors/revocations", "{}");
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(code_of(refused), "threshold_not_met");
  EXPECT_EQ(code_of(post(port_, "/v1/fieldprint/anchors/revocations", std::string(50000, ' '))),
            "body_too_large");
}

}  // namespace
}  // namespace fieldprint::testing_http
