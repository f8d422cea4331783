// Receipts: the format, what a flipped bit does to it, and the way through a real ledger.
#include "ledger/receipt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "crypto/dsse.h"
#include "ledger/receipt_book.h"
#include "ledger/receipt_verify.h"
#include "merkle/tlog_proof.h"

namespace fieldprint {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLong{30000};

std::string digest_of(char digit) { return "sha256:" + std::string(64, digit); }

template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

const std::string kRequest = R"({"messages":[{"role":"user","content":"Who are you?"}]})";
const std::string kAnswer = "I am Ada.";

ReceiptSupervision supervised() {
  ReceiptSupervision supervision;
  supervision.state = "complete";
  supervision.release = "optimistic";
  supervision.anchor = digest_of('3');
  supervision.recipe = digest_of('5');
  supervision.chain_head = digest_of('6');
  supervision.segments = 2;
  supervision.alarms = 1;
  supervision.measured = 1;
  supervision.angle_max_urad = 412000;
  supervision.rollback_count = 1;
  supervision.rollbacks = {{4, 0, 3, "reseed", "limit", 1430000, "none"}};
  return supervision;
}

Receipt example() {
  Receipt receipt;
  receipt.id = "fpr-000102030405060708090a0b0c0d0e0f";
  receipt.origin = "example.org/log";
  receipt.issued_at = 1700000000;
  for (std::size_t i = 0; i < receipt.salt.size(); ++i) {
    receipt.salt[i] = static_cast<std::uint8_t>(i);
  }
  receipt.endpoint = "/v1/chat/completions";
  receipt.request_digest = receipt_commitment(receipt.salt, "request", kRequest);
  receipt.response_id = "chatcmpl-1";
  const std::vector<std::int32_t> tokens = {40, 716, 28051, 30, 2};
  receipt.choices = {{"stop", 1234, 5, receipt_commitment(receipt.salt, "response/0", kAnswer),
                      tokens_commitment(receipt.salt, 0, tokens), supervised()}};
  receipt.build = "0.1.0+test";
  receipt.model_digest = digest_of('1');
  receipt.template_digest = digest_of('2');
  receipt.numeric_profile = "invariant/cpu-avx2";
  receipt.anchor.digests = {digest_of('3')};
  receipt.anchor.mode = "joint";
  receipt.anchor.promotion = digest_of('4');
  receipt.anchor.policy_epoch = 3;
  receipt.sampler.temperature = receipt_number(0.7F);
  receipt.tokens = {52, 30, 16, 4, 5};
  receipt.mass_ppm = {{"anchor", 220000}, {"sink", 410000}, {"user", 370000}};
  return receipt;
}

// The vector of docs/formats/receipt.md.
constexpr const char* kExamplePayload =
    R"({"anchor":{"beta":"0",)"
    R"("digests":["sha256:3333333333333333333333333333333333333333333333333333333333333333"],)"
    R"("gamma":"0","insecure":0,"mode":"joint","policy_epoch":3,)"
    R"("promotion":"sha256:)"
    R"(4444444444444444444444444444444444444444444444444444444444444444","psi":"0"},)"
    R"("build":"0.1.0+test","choices":[{"finish":"stop",)"
    R"("ids":"sha256:d9fed147ed3bf4d95150d229d97c95d95609644b1f11668a6180e2b1943d331f",)"
    R"("seed":"1234","supervision":{"alarms":1,)"
    R"("anchor":"sha256:3333333333333333333333333333333333333333333333333333333333333333",)"
    R"("angle_max_urad":412000,)"
    R"("chain_head":"sha256:6666666666666666666666666666666666666666666666666666666666666666",)"
    R"("gaps":0,"measured":1,)"
    R"("recipe":"sha256:5555555555555555555555555555555555555555555555555555555555555555",)"
    R"("release":"optimistic","rollback_count":1,"rollbacks":[{"angle_urad":1430000,)"
    R"("cause":"limit","change":"reseed","from":4,"quarantined":"none","released":3,"to":0}],)"
    R"("segments":2,"state":"complete","unlogged":0},)"
    R"("text":"sha256:)"
    R"(4d7af98f33efb12a5eef66fe9a51f551f692da798e4e3e978c0b06eadc39033f","tokens":5}],)"
    R"("format":"fieldprint-receipt/v1","id":"fpr-000102030405060708090a0b0c0d0e0f",)"
    R"("issued_at":1700000000,)"
    R"("mass_ppm":{"anchor":220000,"sink":410000,"user":370000},)"
    R"("model":"sha256:1111111111111111111111111111111111111111111111111111111111111111",)"
    R"("numeric_profile":"invariant/cpu-avx2","origin":"example.org/log","override":"none",)"
    R"("request":{"digest":"sha256:)"
    R"(a840dfe667ec1caa549c82cba000feecb7b7faed2cf4d06e12dc8164f106a250",)"
    R"("endpoint":"/v1/chat/completions"},"response":"chatcmpl-1",)"
    R"("salt":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",)"
    R"("sampler":{"frequency_penalty":"0","logit_bias":0,"max_tokens":-1,"min_p":"0",)"
    R"("presence_penalty":"0",)"
    R"("repetition_penalty":"1","temperature":"0.7","top_k":0,"top_p":"1"},)"
    R"("template":"sha256:2222222222222222222222222222222222222222222222222222222222222222",)"
    R"("tokens":{"anchor":52,"cached":16,"completion":5,"dropped":4,"prompt":30}})";

TEST(ReceiptFormat, TheDocumentedVector) {
  EXPECT_EQ(must(print_receipt(example())), kExamplePayload);
  const Receipt read = must(parse_receipt(kExamplePayload));
  EXPECT_EQ(must(print_receipt(read)), kExamplePayload);
  EXPECT_EQ(read.salt, example().salt);
  EXPECT_EQ(read.choices[0].seed, 1234U);
}

TEST(ReceiptFormat, NoTextOfPeopleInTheLeaf) {
  const Receipt receipt = example();
  const std::string payload = must(print_receipt(receipt));
  const std::string leaf = must(print_entry(must(receipt_entry(receipt, payload))));
  for (const std::string& text :
       {kRequest, kAnswer, std::string("Ada"), std::string("salt"), receipt.request_digest}) {
    EXPECT_EQ(leaf.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(payload.find("Ada"), std::string::npos);
}

TEST(ReceiptFormat, CommitmentsDependOnSaltLabelAndEveryByte) {
  const Receipt receipt = example();
  ReceiptSalt other = receipt.salt;
  other[31] ^= 1;
  const std::string base = receipt_commitment(receipt.salt, "response/0", kAnswer);
  EXPECT_NE(receipt_commitment(other, "response/0", kAnswer), base);
  EXPECT_NE(receipt_commitment(receipt.salt, "response/1", kAnswer), base);
  EXPECT_NE(receipt_commitment(receipt.salt, "response/0", kAnswer + " "), base);
  EXPECT_NE(receipt_commitment(receipt.salt, "response/", "0" + kAnswer), base);
}

TEST(ReceiptFormat, NumbersReadBackToTheSameFloat) {
  for (const float value : {0.0F, 0.7F, 1.1F, 1e-7F, 0.333333343F, 100.0F}) {
    EXPECT_EQ(std::stof(receipt_number(value)), value);
  }
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ReceiptFormat, RefusesByName) {
  const std::string good = must(print_receipt(example()));
  const auto code = [](const std::string& text) {
    const auto read = parse_receipt(text);
    return read ? std::string("ok") : read.error().code;
  };
  EXPECT_EQ(code(good), "ok");
  EXPECT_EQ(code(good + "\n"), "receipt_corrupt");
  EXPECT_EQ(code("[]"), "receipt_corrupt");
  EXPECT_EQ(code(std::string(kReceiptMaxBytes + 1, ' ')), "receipt_too_large");
  EXPECT_EQ(code(replaced(good, "receipt/v1", "receipt/v2")), "receipt_field_invalid");
  EXPECT_EQ(code(replaced(good, R"("build":)", R"("built":)")), "receipt_corrupt");
  EXPECT_EQ(code(replaced(good, R"("build":)", R"("aaa":"x","build":)")), "receipt_corrupt")
      << "not sorted";
  EXPECT_EQ(code(replaced(good, R"("choices":)", R"("buildx":"x","choices":)")),
            "receipt_unknown_field");
  EXPECT_EQ(code(replaced(good, R"("dropped":4)", R"("dropped":-1)")), "receipt_corrupt");
  EXPECT_EQ(code(replaced(good, R"("temperature":"0.7")", R"("temperature":"hot")")),
            "receipt_field_invalid");
  EXPECT_EQ(code(replaced(good, R"("temperature":"0.7")", R"("temperature":"nan")")),
            "receipt_field_invalid");
  EXPECT_EQ(code(replaced(good, R"("seed":"1234")", R"("seed":"01234")")), "receipt_field_invalid");
  EXPECT_EQ(code(replaced(good, R"("mode":"joint")", R"("mode":"loud")")), "receipt_field_invalid");
  EXPECT_EQ(code(replaced(good, R"("insecure":0)", R"("insecure":2)")), "receipt_corrupt");
}

// Each is a contradiction that a signer must not put its name to.
TEST(ReceiptFormat, SupervisionSaysOneThing) {
  const auto param = [](const auto& change) {
    Receipt receipt = example();
    change(receipt.choices[0].supervision);
    const auto printed = print_receipt(receipt);
    return printed ? std::string("ok") : printed.error().param.substr(20);
  };
  using S = ReceiptSupervision;
  EXPECT_EQ(param([](S&) {}), "ok");
  EXPECT_EQ(param([](S& s) { s = {}; }), "ok");
  EXPECT_EQ(param([](S& s) { s.state = "incomplete", s.chain_head = "none"; }), "ok");
  EXPECT_EQ(param([](S& s) { s.state = "incomplete"; }), "chain_head");
  EXPECT_EQ(param([](S& s) { s.chain_head = "none"; }), "chain_head");
  EXPECT_EQ(param([](S& s) { s.state = "none"; }), "release");
  EXPECT_EQ(param([](S& s) { s.state = "maybe"; }), "state");
  EXPECT_EQ(param([](S& s) { s.release = "none"; }), "release");
  EXPECT_EQ(param([](S& s) { s.recipe = "none"; }), "recipe");
  EXPECT_EQ(param([](S& s) { s.anchor = "x"; }), "anchor");
  EXPECT_EQ(param([](S& s) { s.rollback_count = 2; }), "rollbacks");
  EXPECT_EQ(param([](S& s) { s.rollbacks[0].to = 5; }), "rollbacks");
  EXPECT_EQ(param([](S& s) { s.rollbacks[0].released = 5; }), "rollbacks");
  EXPECT_EQ(param([](S& s) { s.rollbacks[0].cause = "a b"; }), "rollbacks");
  EXPECT_EQ(param([](S& s) { s.measured = 0; }), "angle_max_urad");
  EXPECT_EQ(param([](S& s) { s = {}, s.gaps = 1; }), "state");
  EXPECT_EQ(param([](S& s) {
              s.rollback_count = 40;
              s.rollbacks.assign(kReceiptMaxRollbacks, s.rollbacks[0]);
            }),
            "ok");
}

TEST(ReceiptFormat, TheLargestOneFits) {
  Receipt receipt = example();
  ReceiptSupervision& supervision = receipt.choices[0].supervision;
  supervision.rollback_count = 1000000000;
  ReceiptRollback longest{1000000000,      0,       1000000000, "stronger_anchor",
                          "state_invalid", 3141593, "reserved"};
  supervision.rollbacks.assign(kReceiptMaxRollbacks, longest);
  receipt.choices.resize(kReceiptMaxChoices, receipt.choices[0]);
  EXPECT_TRUE(print_receipt(receipt));
}

TEST(ReceiptFormat, WhatCannotBeReadIsNotSigned) {
  Receipt receipt = example();
  receipt.choices.clear();
  EXPECT_EQ(print_receipt(receipt).error().code, "receipt_field_invalid");
  receipt = example();
  receipt.model_digest = "sha256:short";
  EXPECT_EQ(print_receipt(receipt).error().param, "model");
  receipt = example();
  receipt.numeric_profile = "\xff";
  EXPECT_EQ(print_receipt(receipt).error().code, "receipt_field_invalid");
  receipt = example();
  receipt.build.assign(600, 'b');
  EXPECT_FALSE(print_receipt(receipt));
}

TEST(ReceiptFile, ReadsBackAndTakesABareEnvelope) {
  const ReceiptFile file{"fpr-1", "durable", R"({"payload":"","payloadType":"t","signatures":[]})",
                         "leaf",  "proof\n", {"", std::string("\0\xff", 2)}};
  const ReceiptFile read = must(parse_receipt_file(print_receipt_file(file)));
  EXPECT_EQ(read.envelope, file.envelope);
  EXPECT_EQ(read.leaf, file.leaf);
  EXPECT_EQ(read.proof, file.proof);
  EXPECT_EQ(read.chains, file.chains);
  EXPECT_EQ(must(parse_receipt_file(file.envelope)).envelope, file.envelope);
  for (const char* bad :
       {"", "[]", "{}",
        R"({"format":"other","id":"","state":"","envelope":"","leaf":"","proof":"","chains":[]})",
        R"({"format":"fieldprint-receipt-file/v1","id":"","state":"","envelope":"","leaf":"",)"
        R"("proof":"","chains":["not base64"]})",
        R"({"format":"fieldprint-receipt-file/v1","id":"","state":"","envelope":"","leaf":"",)"
        R"("proof":"","chains":[1]})"}) {
    EXPECT_EQ(parse_receipt_file(bad).error().code, "receipt_file_invalid") << bad;
  }
  EXPECT_EQ(parse_receipt_file(std::string(kReceiptMaxFileBytes + 1, ' ')).error().code,
            "receipt_too_large");
}

// A ledger on disk with a book beside it.
class Book : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "receipt_test_" + std::to_string(::getpid());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    log_key_text_ = std::string(
        must(SignerKey::generate("example.org/log", NoteKeyType::kEd25519)).print().view());
    cosigner_text_ = std::string(
        must(SignerKey::generate("example.org/log", NoteKeyType::kCosignature)).print().view());
    ASSERT_TRUE(Ledger::create(dir_ + "/ledger", keys()));
    open();
  }
  void TearDown() override {
    book_.reset();
    ledger_.reset();
    std::filesystem::remove_all(dir_);
  }
  void open() {
    book_.reset();
    ledger_.reset();
    ledger_ = must(Ledger::open(dir_ + "/ledger", keys()));
    book_ = must(ReceiptBook::open(Env::real(), dir_ + "/receipts", *ledger_, log_key()));
  }
  SignerKey log_key() const { return must(SignerKey::parse(log_key_text_)); }
  LedgerKeys keys() const { return {log_key(), must(SignerKey::parse(cosigner_text_))}; }
  Policy policy() const {
    const SignerKey cosigner = must(SignerKey::parse(cosigner_text_));
    return must(Policy::parse("log " + log_key().verifier().print() + "\nwitness own " +
                              cosigner.verifier().print() + "\nquorum own\n"));
  }
  Receipt fresh() const {
    Receipt receipt = example();
    receipt.id = ReceiptBook::draw_id();
    return receipt;
  }
  ReceiptBook::Found integrated(const std::string& id) {
    for (int i = 0; i < 3000; ++i) {
      ReceiptBook::Found found = must(book_->find(id));
      if (found.state >= Durability::kIntegrated) return found;
      std::this_thread::sleep_for(milliseconds(10));
    }
    ADD_FAILURE() << "never integrated";
    return {};
  }
  static std::string outcome(const ReceiptReport& report, std::string_view name) {
    for (const ReceiptCheck& check : report.checks) {
      if (check.name != name) continue;
      return check.code.empty() ? check_outcome_name(check.outcome) : check.code;
    }
    return "missing";
  }

  std::string dir_;
  std::string log_key_text_;
  std::string cosigner_text_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<ReceiptBook> book_;
};

TEST_F(Book, FromIssueToAnOfflineCheck) {
  const Receipt receipt = fresh();
  ASSERT_TRUE(book_->issue(receipt, {}));
  const ReceiptBook::Found found = integrated(receipt.id);
  const std::string text = print_receipt_file(found.file);
  ReceiptEvidence evidence;
  evidence.request = kRequest;
  evidence.choices = std::vector<std::string>{kAnswer};
  const ReceiptReport report = must(verify_receipt(text, policy(), evidence));
  for (const ReceiptCheck& check : report.checks) {
    if (check.name == "time") continue;  // the example's time is long past
    EXPECT_EQ(check.outcome, CheckOutcome::kHolds) << check.name << ": " << check.detail;
  }
  EXPECT_EQ(report.checks.size(), 6U);
  EXPECT_FALSE(report.failed());

  evidence.request = kRequest + " ";
  evidence.choices = std::vector<std::string>{"I am Eve."};
  const ReceiptReport wrong = must(verify_receipt(text, policy(), evidence));
  EXPECT_EQ(outcome(wrong, "request"), "receipt_request_mismatch");
  EXPECT_EQ(outcome(wrong, "response"), "receipt_response_mismatch");
  EXPECT_TRUE(wrong.failed());
}

TEST_F(Book, PendingReceiptsAreSaidToBePending) {
  const Receipt receipt = fresh();
  ASSERT_TRUE(book_->issue(receipt, {}));
  const std::string envelope = must(sign_receipt(receipt, log_key()));
  const ReceiptReport report = must(verify_receipt(envelope, policy(), {}));
  EXPECT_EQ(outcome(report, "signature"), "holds");
  for (const char* name : {"leaf", "inclusion", "time", "request", "response"}) {
    EXPECT_EQ(outcome(report, name), "not checked") << name;
  }
  EXPECT_FALSE(report.failed());
}

TEST_F(Book, ForeignKeysAndForeignLeavesAreNoticed) {
  const Receipt receipt = fresh();
  const Receipt other = fresh();
  ASSERT_TRUE(book_->issue(receipt, {}));
  ASSERT_TRUE(book_->issue(other, {}));
  ReceiptFile file = integrated(receipt.id).file;
  const ReceiptFile other_file = integrated(other.id).file;

  const SignerKey stranger = must(SignerKey::generate("example.org/log", NoteKeyType::kEd25519));
  ReceiptFile forged = file;
  forged.envelope = must(sign_receipt(receipt, stranger));
  EXPECT_EQ(verify_receipt(print_receipt_file(forged), policy(), {}).error().code,
            "receipt_signature");

  ReceiptFile swapped = file;
  swapped.leaf = other_file.leaf;
  swapped.proof = other_file.proof;
  EXPECT_EQ(outcome(must(verify_receipt(print_receipt_file(swapped), policy(), {})), "leaf"),
            "receipt_leaf_mismatch");

  ReceiptFile misplaced = file;
  misplaced.proof = other_file.proof;
  EXPECT_EQ(outcome(must(verify_receipt(print_receipt_file(misplaced), policy(), {})), "inclusion"),
            "proof_invalid");

  ReceiptFile renamed = file;
  renamed.id = other.id;
  EXPECT_EQ(outcome(must(verify_receipt(print_receipt_file(renamed), policy(), {})), "id"),
            "receipt_id_mismatch");

  // A leaf that says more than the receipt does.
  Entry richer = must(parse_entry(file.leaf));
  richer.body.emplace("override_digest", digest_of('9'));
  ReceiptFile changed = file;
  changed.leaf = must(print_entry(richer));
  EXPECT_EQ(outcome(must(verify_receipt(print_receipt_file(changed), policy(), {})), "leaf"),
            "receipt_leaf_mismatch");
}

TEST_F(Book, EveryFlippedBitOfAPayloadBreaksTheSignature) {
  const std::string payload = must(print_receipt(fresh()));
  DsseEnvelope envelope = dsse_sign(kReceiptPayloadType, payload, log_key());
  for (std::size_t at = 0; at < payload.size(); at += 7) {
    DsseEnvelope flipped = envelope;
    flipped.untrusted_payload[at] = static_cast<char>(flipped.untrusted_payload[at] ^ 1);
    const auto report = verify_receipt(dsse_print(flipped), policy(), {});
    ASSERT_FALSE(report) << at;
    EXPECT_EQ(report.error().code, "receipt_signature");
  }
}

TEST_F(Book, SurvivesARestartAndAppendsWhatWasLost) {
  const Receipt kept = fresh();
  ASSERT_TRUE(book_->issue(kept, {"chain\x01"}));
  integrated(kept.id);
  // The envelope reached the disk, the leaf did not: as after a crash between the two.
  const Receipt lost = fresh();
  const std::string folder = dir_ + "/receipts/" + lost.id.substr(4, 2);
  ReceiptFile file;
  file.id = lost.id;
  file.envelope = must(sign_receipt(lost, log_key()));
  ASSERT_TRUE(
      write_file_durably(Env::real(), folder + "/" + lost.id + ".json", print_receipt_file(file)));
  open();
  EXPECT_FALSE(integrated(kept.id).file.proof.empty());
  EXPECT_EQ(integrated(kept.id).file.chains, std::vector<std::string>{"chain\x01"});
  EXPECT_EQ(must(book_->find(lost.id)).state, Durability::kAcknowledged);
  integrated(lost.id);
}

TEST_F(Book, AStoredFileOfAnotherReceiptIsNotHandedOut) {
  const Receipt receipt = fresh();
  ASSERT_TRUE(book_->issue(receipt, {}));
  const Receipt other = fresh();
  const auto path = [&](const std::string& id) {
    return dir_ + "/receipts/" + id.substr(4, 2) + "/" + id + ".json";
  };
  std::filesystem::create_directories(dir_ + "/receipts/" + other.id.substr(4, 2));
  std::filesystem::copy_file(path(receipt.id), path(other.id));
  EXPECT_EQ(book_->find(other.id).error().code, "receipt_corrupt");
}

TEST_F(Book, ChainsHaveALimit) {
  EXPECT_EQ(book_->issue(fresh(), {std::string(kReceiptMaxChainBytes, 'x'), "y"}).error().code,
            "receipt_too_large");
}

TEST_F(Book, UnknownIdsAreNamed) {
  EXPECT_EQ(book_->find(ReceiptBook::draw_id()).error().code, "receipt_not_found");
  EXPECT_EQ(book_->find("../../../etc/passwd").error().code, "receipt_id_invalid");
  EXPECT_EQ(book_->find("fpr-000102030405060708090A0B0C0D0E0F").error().code, "receipt_id_invalid");
  SignerKey stranger = must(SignerKey::generate("elsewhere", NoteKeyType::kEd25519));
  EXPECT_EQ(ReceiptBook::open(Env::real(), dir_ + "/x", *ledger_, std::move(stranger)).error().code,
            "ledger_keys_mismatch");
}

}  // namespace
}  // namespace fieldprint
